import { createMemo, createSignal, For, Match, Show, Switch } from "solid-js";
import { FIRST_SITE } from "../../examples";
import { latency, percent } from "../../format";
import { href, route } from "../../router";
import { useStatus } from "../../status";
import { Icon } from "../../ui/icon";
import { More } from "../../ui/pager";
import { Empty, Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { Search } from "../../ui/widgets";
import { type Point, rings } from "./constellation";
import { draw, WIDTH } from "./graph";
import { Graph } from "./graph-view";
import { createNarrow, Legend, type Line, SitePanel, type Star, Stars, Tiles } from "./map-view";
import { carries, ends, heard, type Joined, joined, reading, siteReading, summary, tally } from "./reading";
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
        <More shown={most()} total={found().length} noun="site" onMore={() => setMost(most() + STEP)} />
      </Show>
    </section>
  );
}

/** How large the picture is, on a desk and on a phone. */
const [DESK, PHONE]: Point[] = [
  [WIDTH, 560],
  [358, 358],
];

/** All of a site's paths that carry go by this hub; null where one goes straight. */
function byHub(site: Joined): string | null {
  const used = site.paths.filter(carries);
  const all = used.length > 0 ? used : site.paths;
  return all.length > 0 && all.every((path) => path.via) ? (all[0]?.via ?? null) : null;
}

/** Sites and paths as a picture: with an edge for each path where they are few, a shape for each site where they are many, and in rows beyond. */
function SiteMap(props: { sites: Joined[]; here: string }) {
  const narrow = createNarrow();
  const [pointed, setPointed] = createSignal<string | null>(null);
  const chosen = () => route().params.get("site");
  const address = (site: string) => href("/sdwan", { site: site === chosen() ? null : site });
  const detailed = createMemo(() => (narrow() ? null : draw(props.sites)));
  const box = () => (narrow() ? PHONE : DESK) ?? [WIDTH, 560];
  // In a picture everything stays where it is, whatever becomes of it.
  const order = createMemo(() => [...props.sites].sort((a, b) => a.name.localeCompare(b.name)));
  const placed = createMemo(() => rings(order().length, box()));
  const stars = createMemo((): Star[] =>
    order().map((site, i) => ({
      name: site.name,
      reading: siteReading(site),
      at: placed()?.points[i] ?? [0, 0],
    })),
  );
  const lines = createMemo((): Line[] => {
    const middle: Point = [box()[0] / 2, box()[1] / 2];
    const at = new Map(stars().map((star) => [star.name, star.at]));
    return order().map((site, i) => {
      const hub = byHub(site);
      const read = stars()[i]?.reading;
      return {
        from: middle,
        to: stars()[i]?.at ?? middle,
        tone: read?.tone ?? "",
        by: (hub && at.get(hub)) || null,
        hub: hub !== null,
        said: `${site.name}: ${read?.text ?? ""}${hub ? `, by hub ${hub}` : ""}`,
      };
    });
  });
  const told = createMemo(() => {
    const name = pointed() ?? chosen();
    return props.sites.find((site) => site.name === name) ?? null;
  });
  return (
    <section class="card graph" aria-label="Map of sites">
      <Switch
        fallback={
          <Tiles
            sites={stars().map(({ name, reading: read }) => ({ name, reading: read }))}
            chosen={chosen()}
            address={address}
            onPoint={setPointed}
          />
        }
      >
        <Match when={detailed()}>
          {(graph) => (
            <Graph of={graph()} here={props.here} chosen={chosen()} address={address} onPoint={setPointed} />
          )}
        </Match>
        <Match when={placed()}>
          {(drawn) => (
            <Stars
              box={box()}
              stars={stars()}
              lines={lines()}
              radius={drawn().radius}
              names={drawn().names}
              here={props.here}
              chosen={chosen()}
              address={address}
              onPoint={setPointed}
            />
          )}
        </Match>
      </Switch>
      <Legend lines={detailed() !== null} />
      <SitePanel
        name={told()?.name ?? null}
        reading={told() ? siteReading(told() as Joined) : null}
        paths={told()?.paths ?? []}
        linked
      />
    </section>
  );
}

/** Which sites there are, and how each is reached. */
export default function Overview() {
  const status = useStatus();
  const [sites, paths] = [createSites(), createPaths()];
  const all = createMemo(() => joined(sites.data()?.items ?? [], paths.data()?.items ?? []));
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
                <SiteMap sites={all()} here={status.data()?.host ?? "here"} />
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
