import { createMemo, createSignal, For, Show } from "solid-js";
import { FIRST_SITE } from "../../examples";
import { count, latency, percent, plural } from "../../format";
import { href } from "../../router";
import { useStatus } from "../../status";
import { Icon } from "../../ui/icon";
import { Empty, Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { Search } from "../../ui/widgets";
import { draw } from "./graph";
import { Graph } from "./graph-view";
import { ends, heard, type Joined, joined, reading, siteReading, summary, tally } from "./reading";
import { createPaths, createSites, State } from "./shared";

/** Rows drawn at once; more on request. */
const STEP = 50;
/** With more sites than this there is something to search in. */
const FEW = 12;
/** With more paths than this each is a coloured mark, and says the rest when it is pointed at. */
const MOST_WORDY = 48;

/** Each path of a site, coloured by its health. */
function Marks(props: { site: Joined; wordy: boolean }) {
  const ids = createMemo(() => props.site.paths.map((path) => path.id));
  const path = (id: number) => props.site.paths.find((one) => one.id === id);
  return (
    <ul class="marks">
      <For each={ids()}>
        {(id) => (
          <Show when={path(id)}>
            {(one) => (
              <li>
                <a
                  class={`mark ${reading(one()).tone}`}
                  classList={{ taken: one().chosen, bare: !props.wordy }}
                  href={href("/sdwan/paths", { path: id })}
                  title={summary(one())}
                  aria-label={summary(one())}
                >
                  <Icon name={reading(one()).icon} size={12} />
                  <Show when={props.wordy}>
                    {ends(one())}
                    <Show when={heard(one())} fallback={<small>{reading(one()).text}</small>}>
                      <small>
                        {latency(one().latency_ms / 1000)}
                        {one().loss > 0 ? `, ${percent(one().loss)} lost` : ""}
                      </small>
                    </Show>
                  </Show>
                </a>
              </li>
            )}
          </Show>
        )}
      </For>
    </ul>
  );
}

function Row(props: { site: Joined; wordy: boolean }) {
  const taken = () => props.site.paths.filter((path) => path.chosen).map(ends);
  return (
    <tr>
      <td>
        <a class="site-name" href={href("/sdwan/paths", { site: props.site.name })}>
          {props.site.name}
        </a>
        <div class="muted site-nets mono">{props.site.subnets.join(", ")}</div>
      </td>
      <td class="side">
        <State of={siteReading(props.site)} />
        <div class="muted site-nets">{siteReading(props.site).detail}</div>
      </td>
      <td classList={{ "phone-hidden": taken().length === 0 }}>
        <span class="phone-only muted">takes </span>
        <Show when={taken().length > 0} fallback={<span class="muted">–</span>}>
          {taken().join(", ")}
        </Show>
      </td>
      <td class="wide">
        <Marks site={props.site} wordy={props.wordy} />
      </td>
    </tr>
  );
}

function SiteList(props: { sites: Joined[]; paths: number }) {
  const [text, setText] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const found = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return props.sites.filter((site) =>
      `${site.name} ${site.subnets.join(" ")} ${siteReading(site).text}`.toLowerCase().includes(needle),
    );
  });
  const byName = createMemo(() => new Map(found().map((site) => [site.name, site])));
  // Rows stay, with the focus in them, as long as their site does: they are told apart by its name.
  const names = createMemo(() =>
    found()
      .slice(0, most())
      .map((site) => site.name),
  );
  return (
    <section class="card" aria-label="Sites">
      <div class="card-head">
        <h2>Sites</h2>
        <span class="muted push">{tally(props.sites)}</span>
      </div>
      <Show when={props.sites.length > FEW}>
        <div class="toolbar">
          <Search
            label="Search sites"
            placeholder="Name, network or state"
            value={text()}
            onInput={setText}
          />
        </div>
      </Show>
      <Show when={found().length > 0} fallback={<Empty icon="search" title="No site is like that" />}>
        <div class="table-frame">
          <table class="table stacking sites">
            <thead>
              <tr>
                <th scope="col">Site</th>
                <th scope="col">State</th>
                <th scope="col">Takes</th>
                <th scope="col">Paths</th>
              </tr>
            </thead>
            <tbody>
              <For each={names()}>
                {(name) => (
                  <Show when={byName().get(name)}>
                    {(site) => <Row site={site()} wordy={props.paths <= MOST_WORDY} />}
                  </Show>
                )}
              </For>
            </tbody>
          </table>
        </div>
        <Show when={found().length > most()}>
          <div class="pager">
            {count(most())} of {plural(found().length, "site")}
            <button type="button" class="button small" onClick={() => setMost(most() + STEP)}>
              Show more
            </button>
          </div>
        </Show>
      </Show>
    </section>
  );
}

/** Which sites there are, and how each is reached. */
export default function Overview() {
  const status = useStatus();
  const [sites, paths] = [createSites(), createPaths()];
  const all = createMemo(() => joined(sites.data()?.items ?? [], paths.data()?.items ?? []));
  const drawn = createMemo(() => draw(all()));
  return (
    <Loaded query={sites} height={600}>
      {(known) => (
        <Show
          when={known.items.length > 0}
          fallback={
            <section class="card" aria-label="Sites">
              <Teach icon="sdwan" title="No other site yet" snippet={FIRST_SITE}>
                Another site is known by the public keys of its uplinks, which stand there under Tunnels; ours
                stand here. Every pair of uplinks that can reach each other is a path.
              </Teach>
            </section>
          }
        >
          <Loaded query={paths} height={600}>
            {(now) => (
              <div class="stack">
                <Show when={drawn()}>
                  {(graph) => <Graph of={graph()} here={status.data()?.host ?? "here"} />}
                </Show>
                <SiteList sites={all()} paths={now.items.length} />
                {/* Those who hear the page are told when a site is joined or lost, not each time figures change. */}
                <div class="visually-hidden" role="status" aria-label="State of sites">
                  {tally(all())}
                </div>
              </div>
            )}
          </Loaded>
        </Show>
      )}
    </Loaded>
  );
}
