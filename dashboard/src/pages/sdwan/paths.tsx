import { createMemo, createSignal, For, lazy, Show, Suspense } from "solid-js";
import { liveTick, samples } from "../../api/live";
import { type Columns, historyColumns, joinColumns } from "../../api/samples";
import type { Path } from "../../api/sdwan-types";
import { count, latency, percent, plural } from "../../format";
import { href, route, setParams } from "../../router";
import { More } from "../../ui/pager";
import { createTimeline, range, type Timeline, TimelineProblem } from "../../ui/plots";
import { createSort, type SortColumn } from "../../ui/sort";
import Sparkline from "../../ui/sparkline";
import { Empty, Loaded } from "../../ui/states";
import { Search, Segments } from "../../ui/widgets";
import { MOST_WITH_SERIES, seriesOfPath, spread } from "./plots";
import { ends, heard, reading, urgency } from "./reading";
import { createPaths, MOST_AT_ONCE, State, Taken } from "./shared";

const PathDrawer = lazy(() => import("./path-drawer"));

/** Rows drawn at once; more on request. */
const STEP = 50;
/** Seconds of a live latency that are drawn: a row shows what happens now, and charts what went before. */
const LIVE = 180;

type Which = "all" | "taken" | "troubled";

const WHICH: Record<Which, (path: Path) => boolean> = {
  all: () => true,
  taken: (path) => path.chosen,
  troubled: (path) => reading(path).tone !== "good",
};

const measured = (path: Path, value: number) => (heard(path) ? value : null);

const COLUMNS: SortColumn<Path>[] = [
  { key: "path", text: "Path", by: (path) => `${path.site} ${ends(path)}` },
  { key: "state", text: "State", by: (path) => urgency(reading(path).tone), number: true },
  { key: "latency", text: "Latency", by: (path) => measured(path, path.latency_ms), number: true },
  { key: "jitter", text: "Jitter", by: (path) => measured(path, path.jitter_ms), number: true },
  { key: "loss", text: "Lost", by: (path) => measured(path, path.loss), number: true },
  { key: "mos", text: "MOS", by: (path) => measured(path, path.mos), number: true },
  { key: "mtu", text: "MTU", by: (path) => path.mtu, number: true },
  { key: "endpoint", text: "Endpoint", by: (path) => path.via ?? path.endpoint ?? "" },
];

/** Latency, and what jitter adds to it. */
function Trace(props: { path: Path; timeline: Timeline }) {
  const columns = createMemo((): Columns => {
    const names = seriesOfPath(props.path).slice(0, 2);
    const history = props.timeline.history.data();
    const joined: Columns = history ? historyColumns(history, names) : [[], [], []];
    if (!props.timeline.live()) return spread(joined);
    liveTick();
    const live = samples.columns(names, props.timeline.window()[0]);
    return spread(joinColumns(joined, live, history?.step ?? 10));
  });
  const drawn = (): [number, number] => {
    const [from, to] = props.timeline.window();
    return props.timeline.live() ? [to - LIVE, to] : [from, to];
  };
  const time = () => (props.timeline.live() ? `${LIVE / 60} m` : range().replace(/(\d+)/, "$1 "));
  return (
    <Show when={columns()[0].length > 0}>
      <Sparkline columns={columns()} window={drawn()} label={`Latency and jitter over the last ${time()}`} />
    </Show>
  );
}

function Row(props: { path: Path; timeline: Timeline | null; onOpen: () => void }) {
  const shown = (text: () => string) => (heard(props.path) ? text() : "–");
  return (
    <tr>
      <td>
        <button type="button" class="link path-name" onClick={() => props.onOpen()}>
          {props.path.site} <span class="path-ends">{ends(props.path)}</span>
        </button>
      </td>
      <td class="side path-state">
        <State of={reading(props.path)} /> <Taken when={props.path.chosen} />
      </td>
      <td class="number">
        <div class="trace">
          <Show when={props.timeline}>{(timeline) => <Trace path={props.path} timeline={timeline()} />}</Show>
          <span class="trace-now">{shown(() => latency(props.path.latency_ms / 1000))}</span>
        </div>
      </td>
      <td class="number side" classList={{ "phone-hidden": !heard(props.path) }}>
        <span class="phone-only muted">jitter </span>
        {shown(() => latency(props.path.jitter_ms / 1000))}
      </td>
      <td class="number" classList={{ "phone-hidden": !heard(props.path) }}>
        <span class="phone-only muted">lost </span>
        <span classList={{ failing: heard(props.path) && props.path.loss > 0 }}>
          {shown(() => percent(props.path.loss))}
        </span>
      </td>
      <td class="number side" classList={{ "phone-hidden": !heard(props.path) }}>
        <span class="phone-only muted">MOS </span>
        {shown(() => props.path.mos.toFixed(1))}
      </td>
      <td class="number phone-hidden">{props.path.mtu}</td>
      <td
        class="mono path-endpoint"
        classList={{ "phone-hidden": props.path.endpoint === null && !props.path.via }}
      >
        <Show when={props.path.via} fallback={props.path.endpoint ?? "–"}>
          {(hub) => <span class="badge">by hub {hub()}</span>}
        </Show>
      </td>
    </tr>
  );
}

/** A path that is looked at, of so many that the list is asked for seldom: those to its site are asked for as often as ever. */
function Near(props: { path: Path; at: number; onClose: () => void }) {
  const near = createPaths(() => props.path.site);
  const path = () => near.data()?.items.find(({ id }) => id === props.path.id) ?? props.path;
  return (
    <PathDrawer path={path()} at={near.data()?.at ?? props.at} kept={false} onClose={() => props.onClose()} />
  );
}

/** Every path to every site: what it is taken for, and how it fares. */
export default function Paths() {
  const paths = createPaths();
  const all = () => paths.data()?.items ?? [];
  const param = (name: string) => route().params.get(name) ?? "";
  const which = (): Which => (Object.hasOwn(WHICH, param("show")) ? (param("show") as Which) : "all");
  const [most, setMost] = createSignal(STEP);
  const sort = createSort(COLUMNS, "state");
  // As a text: a list of the same sites is the same list.
  const siteNames = createMemo(() => JSON.stringify([...new Set(all().map((path) => path.site))].sort()));
  const sites = createMemo(() => JSON.parse(siteNames()) as string[]);
  const names = createMemo(() => {
    const wanted =
      all().length > MOST_WITH_SERIES ? [] : all().flatMap((path) => seriesOfPath(path).slice(0, 2));
    return JSON.stringify(wanted);
  });
  const timeline = createTimeline(createMemo(() => JSON.parse(names()) as string[]));
  const found = createMemo(() => {
    const needle = param("q").trim().toLowerCase();
    const fits = WHICH[which()];
    return sort.sorted(
      all().filter(
        (path) =>
          fits(path) &&
          (param("site") === "" || path.site === param("site")) &&
          `${path.site} ${path.uplink} ${path.remote_uplink} ${path.via ?? ""} ${path.endpoint ?? ""} ${reading(path).text}`
            .toLowerCase()
            .includes(needle),
      ),
    );
  });
  const opened = createMemo(() => param("path"));
  const subject = () => all().find((path) => String(path.id) === opened());
  return (
    <Loaded query={paths} height={600}>
      {(now) => (
        <section class="card" aria-label="Paths">
          <Show
            when={now.items.length > 0}
            fallback={
              <Empty icon="sdwan" title="No path to another site">
                <p>
                  A path is a pair of uplinks that can reach each other: one of ours, and one of another site.{" "}
                  <a href={href("/sdwan")}>Sites</a> says how to add one.
                </p>
              </Empty>
            }
          >
            <div class="toolbar">
              <Search
                label="Search paths"
                placeholder="Site, uplink, hub, endpoint or state"
                value={param("q")}
                onInput={(text) => setParams({ q: text })}
              />
              <Show when={sites().length > 1}>
                <select
                  class="input"
                  aria-label="Site"
                  onChange={(event) => setParams({ site: event.currentTarget.value })}
                >
                  <option value="">All sites</option>
                  <For each={sites()}>
                    {(site) => (
                      <option value={site} selected={site === param("site")}>
                        {site}
                      </option>
                    )}
                  </For>
                </select>
              </Show>
              <Segments
                label="Paths shown"
                value={which()}
                options={[
                  { value: "all", text: "All" },
                  { value: "taken", text: "Taken" },
                  { value: "troubled", text: "Troubled" },
                ]}
                onChange={(value) => setParams({ show: value === "all" ? null : value })}
              />
              <span class="muted push">
                {found().length === now.items.length
                  ? plural(now.items.length, "path")
                  : `${count(found().length)} of ${plural(now.items.length, "path")}`}
              </span>
            </div>
            <TimelineProblem timeline={timeline} />
            <Show
              when={found().length > 0}
              fallback={
                <Empty icon="search" title="No path is like that">
                  <button
                    type="button"
                    class="button"
                    onClick={() => setParams({ q: null, site: null, show: null })}
                  >
                    Clear search and filters
                  </button>
                </Empty>
              }
            >
              <div class="table-frame">
                <table class="table stacking paths">
                  <thead>
                    <tr>
                      <sort.Heads />
                    </tr>
                  </thead>
                  <tbody>
                    <For each={found().slice(0, most())}>
                      {(path) => (
                        <Row
                          path={path}
                          timeline={now.items.length > MOST_WITH_SERIES ? null : timeline}
                          onOpen={() => setParams({ path: path.id }, "push")}
                        />
                      )}
                    </For>
                  </tbody>
                </table>
              </div>
              <More shown={most()} total={found().length} noun="path" onMore={() => setMost(most() + STEP)} />
            </Show>
          </Show>
          <Show when={subject()} keyed>
            {(path) => (
              <Suspense>
                <Show
                  when={now.items.length > MOST_AT_ONCE}
                  fallback={
                    <PathDrawer
                      path={path}
                      at={now.at}
                      kept={now.items.length <= MOST_WITH_SERIES}
                      onClose={() => setParams({ path: null })}
                    />
                  }
                >
                  <Near path={path} at={now.at} onClose={() => setParams({ path: null })} />
                </Show>
              </Suspense>
            )}
          </Show>
        </section>
      )}
    </Loaded>
  );
}
