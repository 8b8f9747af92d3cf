import { createMemo, createSignal, For, Match, Show, Switch } from "solid-js";
import type { NetworkDocument, ReportedPath } from "../../api/controller-types";
import { createQuery } from "../../api/query";
import { plural } from "../../format";
import { href, route, setParams } from "../../router";
import { More } from "../../ui/pager";
import { Empty, Loaded } from "../../ui/states";
import { Search } from "../../ui/widgets";
import { boxFor, type Point, ring, rings } from "./constellation";
import { createNarrow, Legend, type Line, SitePanel, type Star, Stars, Tiles } from "./map-view";
import { MOST_BETWEEN, type Pair, pairs, pressingFirst, seenFrom, standing } from "./network";
import { everything } from "./network-data";
import { NetworkEvents } from "./network-events";
import { carries, type Reading, siteReading, urgency } from "./reading";
import { State } from "./shared";

const [DESK, PHONE]: Point[] = [
  [960, 560],
  [358, 358],
];
/** So many sites have room for their names on a phone. */
const NAMED = 6;
/** Rows drawn at once; more on request. */
const STEP = 50;

interface Network {
  sites: NetworkDocument[];
  paths: ReportedPath[];
}

/** All sites, and how each two are joined; with many sites, how one of them sees the others. */
function NetworkMap(props: { names: string[]; all: Pair[]; paths: ReportedPath[] }) {
  const narrow = createNarrow();
  const [pointed, setPointed] = createSignal<string | null>(null);
  const chosen = () => route().params.get("site");
  const page = () => `/${route().segments.join("/")}`;
  const few = () => props.names.length <= (narrow() ? 12 : MOST_BETWEEN);
  const from = () => {
    const asked = route().params.get("from");
    if (asked !== null && props.names.includes(asked)) return asked;
    return few() ? null : (props.names[0] ?? null);
  };
  const address = (site: string) =>
    href(page(), { from: route().params.get("from"), site: site === chosen() ? null : site });
  const whole = () => (narrow() ? PHONE : DESK) ?? [960, 560];
  const box = () => (from() === null ? boxFor(props.names.length, whole()) : whole());
  const seen = createMemo(() => {
    const own = from();
    return own === null ? null : seenFrom(own, props.names, props.paths);
  });
  const readings = createMemo((): { name: string; reading: Reading }[] => {
    const others = seen();
    return others
      ? others.map((site) => ({ name: site.name, reading: siteReading(site) }))
      : props.names.map((name) => ({ name, reading: standing(name, props.all) }));
  });
  const placed = createMemo(() => {
    if (from() !== null) return rings(readings().length, box());
    return {
      points: ring(readings().length, box()),
      names: !narrow() || readings().length <= NAMED,
      radius: 9,
    };
  });
  const stars = createMemo((): Star[] =>
    readings().map((one, i) => ({ ...one, at: placed()?.points[i] ?? [0, 0] })),
  );
  const lines = createMemo((): Line[] => {
    const at = new Map(stars().map((star) => [star.name, star.at]));
    const others = seen();
    if (others) {
      const middle: Point = [box()[0] / 2, box()[1] / 2];
      return others.map((site, i) => {
        const used = site.paths.filter(carries);
        const hub = used.length > 0 && used.every((path) => path.via) ? (used[0]?.via ?? null) : null;
        const reading = readings()[i]?.reading;
        return {
          from: middle,
          to: at.get(site.name) ?? middle,
          tone: reading?.tone ?? "",
          by: (hub && at.get(hub)) || null,
          hub: hub !== null,
          said: `${site.name}: ${reading?.text ?? ""}`,
        };
      });
    }
    return props.all.flatMap((pair) => {
      const [a, b] = [at.get(pair.a), at.get(pair.b)];
      if (!a || !b) return [];
      const by = (pair.via && at.get(pair.via)) || null;
      const said = `${pair.a} and ${pair.b}: ${pair.reading.text}${pair.via ? `, by hub ${pair.via}` : ""}`;
      return [{ from: a, to: b, tone: pair.reading.tone, by, hub: pair.via !== null, said }];
    });
  });
  const told = createMemo(() => {
    const name = pointed() ?? chosen();
    const reading = readings().find((one) => one.name === name)?.reading ?? null;
    if (name === null || reading === null) return null;
    const own = from();
    const paths = props.all
      .filter(
        (pair) => (pair.a === name || pair.b === name) && (own === null || pair.a === own || pair.b === own),
      )
      .flatMap((pair) => pair.paths)
      .map(({ from: near, ...path }) => ({ ...path, from: `${near} to ${path.site}` }));
    return { name, reading, paths: pressingFirst(paths) };
  });
  return (
    <section class="card graph" aria-label="Map of the network">
      <div class="map-tools">
        <label for="seen-from">Drawn as seen from</label>
        <select
          id="seen-from"
          class="input small"
          onChange={(event) => setParams({ from: event.currentTarget.value, site: null })}
        >
          <Show when={few()}>
            <option value="" selected={from() === null}>
              no site: all of it
            </option>
          </Show>
          <For each={props.names}>
            {(name) => (
              <option value={name} selected={name === from()}>
                {name}
              </option>
            )}
          </For>
        </select>
      </div>
      <Switch
        fallback={<Tiles sites={readings()} chosen={chosen()} address={address} onPoint={setPointed} />}
      >
        <Match when={placed()}>
          {(drawn) => (
            <Stars
              box={box()}
              stars={stars()}
              lines={lines()}
              radius={drawn().radius}
              names={drawn().names}
              here={from() ?? undefined}
              chosen={chosen()}
              address={address}
              onPoint={setPointed}
            />
          )}
        </Match>
      </Switch>
      <Legend lines={false} />
      <SitePanel
        name={told()?.name ?? null}
        reading={told()?.reading ?? null}
        paths={told()?.paths ?? []}
        linked={false}
        more={
          <Show when={told() && told()?.name !== from()}>
            <a href={href(page(), { from: told()?.name ?? null })}>See the network from {told()?.name}</a>
          </Show>
        }
      />
    </section>
  );
}

/** Each two sites that any path joins, what is pressing first. */
function PairList(props: { all: Pair[] }) {
  const [text, setText] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const found = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return props.all
      .filter((pair) =>
        `${pair.a} ${pair.b} ${pair.via ?? ""} ${pair.reading.text}`.toLowerCase().includes(needle),
      )
      .sort(
        (a, b) =>
          urgency(b.reading.tone) - urgency(a.reading.tone) ||
          a.a.localeCompare(b.a) ||
          a.b.localeCompare(b.b),
      );
  });
  return (
    <section class="card" aria-label="Joined sites">
      <div class="toolbar">
        <Search
          label="Search pairs of sites"
          placeholder="Site, hub or state"
          value={text()}
          onInput={setText}
        />
        <span class="muted push">{plural(found().length, "pair")} of sites</span>
      </div>
      <Show
        when={found().length > 0}
        fallback={
          <Empty
            icon="search"
            title={props.all.length > 0 ? "No two sites are like that" : "No site has reported a path yet"}
          />
        }
      >
        <div class="table-frame">
          <table class="table stacking">
            <thead>
              <tr>
                <th scope="col">Sites</th>
                <th scope="col">State</th>
                <th scope="col">Paths, of both directions</th>
              </tr>
            </thead>
            <tbody>
              <For each={found().slice(0, most())}>
                {(pair) => (
                  <tr>
                    <td>
                      <strong>{pair.a}</strong> and <strong>{pair.b}</strong>{" "}
                      <Show when={pair.via}>{(hub) => <span class="badge">by hub {hub()}</span>}</Show>
                    </td>
                    <td class="side">
                      <State of={pair.reading} />
                    </td>
                    <td>{pair.reading.detail}</td>
                  </tr>
                )}
              </For>
            </tbody>
          </table>
        </div>
        <More shown={most()} total={found().length} noun="pair" onMore={() => setMost(most() + STEP)} />
      </Show>
    </section>
  );
}

/** The network as its controller has it from the sites. */
export default function NetworkPage() {
  const network = createQuery<null, Network>(
    () => null,
    async (_, signal) => {
      const [sites, paths] = await Promise.all([
        everything<NetworkDocument>("/controller/sites", signal),
        everything<ReportedPath>("/controller/paths", signal),
      ]);
      return { sites, paths };
    },
    { every: 10_000 },
  );
  const names = createMemo(() =>
    (network.data()?.sites ?? []).map(({ id }) => id).sort((a, b) => a.localeCompare(b)),
  );
  const all = createMemo(() => pairs(names(), network.data()?.paths ?? []));
  return (
    <Loaded query={network} height={600}>
      {(data) => (
        <Show
          when={data.sites.length > 0}
          fallback={
            <section class="card" aria-label="Map of the network">
              <Empty icon="sdwan" title="No site yet">
                <p>
                  <a href={href("/sdwan/controller")}>Controller</a> lets sites in: each is drawn here with
                  how it is joined to the others.
                </p>
              </Empty>
            </section>
          }
        >
          <div class="stack">
            <NetworkMap names={names()} all={all()} paths={data.paths} />
            <PairList all={all()} />
            <NetworkEvents names={names()} />
          </div>
        </Show>
      )}
    </Loaded>
  );
}
