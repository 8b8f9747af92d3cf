import "./plots.css";
import { type Accessor, createMemo, createSignal, lazy, Show, Suspense } from "solid-js";
import { api, query } from "../api/client";
import { clockSkew, liveTick, samples } from "../api/live";
import { createQuery, type Query } from "../api/query";
import { type Columns, freshFor, historyColumns, joinColumns } from "../api/samples";
import type { History } from "../api/types";
import { latency } from "../format";
import type { ChartSeries } from "./chart";
import { ProblemNotice } from "./states";
import { createNow, Segments } from "./widgets";

const Chart = lazy(() => import("./chart"));

/** Lines over time: which series of the history they are drawn from, and how their values read. */
export interface Plot {
  title: string;
  names: string[];
  series: ChartSeries[];
  format: (value: number) => string;
  axisFormat?: (value: number) => string;
  bytes?: boolean;
  /** Makes the lines out of the series, where they are not the same. */
  derive?: (columns: Columns) => Columns;
  /** The end of the axis, where values have one. */
  top?: number;
}

/** How long something takes: one of a hundred takes longer, one of twenty, and every other. */
export function quantiles(title: string, histogram: string): Plot {
  return {
    title,
    names: ["p99", "p95", "p50"].map((part) => `${histogram}_${part}`),
    series: [
      { label: "p99", color: 3 },
      { label: "p95", color: 2 },
      { label: "p50", color: 1 },
    ],
    format: latency,
  };
}

export type RangeName = "15m" | "1h" | "6h" | "1d" | "7d" | "30d" | "90d";

/** Length and step in seconds. The steps are multiples of what the server keeps: 10 s points, then 5 min ones. */
export const RANGES: Record<RangeName, [number, number]> = {
  "15m": [900, 10],
  "1h": [3_600, 10],
  "6h": [21_600, 60],
  "1d": [86_400, 300],
  "7d": [604_800, 1_800],
  "30d": [2_592_000, 7_200],
  "90d": [7_776_000, 21_600],
};

const RANGE_OPTIONS = (Object.keys(RANGES) as RangeName[]).map((value) => ({
  value,
  text: value.replace(/(\d+)/, "$1 "),
}));

// What was chosen holds for every page, for as long as the dashboard is open.
const [range, setRange] = createSignal<RangeName>("15m");

export { range };

export function RangePicker() {
  return <Segments label="Time shown" value={range()} options={RANGE_OPTIONS} onChange={setRange} />;
}

/** How many series one question may name. */
const MOST_NAMES = 64;

/** Series of the last `length` seconds in steps, however many. */
export async function fetchHistory(
  names: string[],
  [length, step]: [number, number],
  skew: number,
  signal: AbortSignal,
): Promise<History> {
  const to = Math.floor((Date.now() + skew) / 1000);
  const parts = Array.from({ length: Math.ceil(names.length / MOST_NAMES) }, (_, i) =>
    names.slice(i * MOST_NAMES, (i + 1) * MOST_NAMES),
  );
  const answers = await Promise.all(
    parts.map((name) =>
      api.get<History>(`/metrics/history${query({ name, from: to - length, to, step })}`, signal),
    ),
  );
  return {
    step: answers[0]?.step ?? step,
    start: answers[0]?.start ?? to - length,
    series: answers.flatMap((answer) => answer.series),
  };
}

export interface Timeline {
  history: Query<History>;
  live: Accessor<boolean>;
  window: Accessor<[number, number]>;
}

/** The history of series over the time that was chosen; the shortest goes on live. */
export function createTimeline(names: Accessor<string[]>): Timeline {
  const live = () => range() === "15m";
  const history = createQuery<{ range: RangeName; names: string[]; skew: number }, History>(
    () => ({ range: range(), names: names(), skew: clockSkew() }),
    (source, signal) => fetchHistory(source.names, RANGES[source.range], source.skew, signal),
    { every: 60_000, key: "name" },
  );
  const now = createNow();
  const frame = createMemo((): [number, number] => {
    // The live window slides each second; a longer one moves when its history is fetched again.
    const to = live() ? now() / 1000 : Math.floor(now() / 60_000) * 60;
    return [to - RANGES[range()][0], to];
  });
  return { history, live, window: frame };
}

function PlotView(props: { plot: Plot; timeline: Timeline }) {
  const columns = createMemo((): Columns => {
    const { names, derive } = props.plot;
    const history = props.timeline.history.data();
    let joined: Columns = history ? historyColumns(history, names) : [[], ...names.map(() => [])];
    if (props.timeline.live()) {
      liveTick();
      joined = joinColumns(joined, samples.columns(names, props.timeline.window()[0]), history?.step ?? 10);
    }
    return derive ? derive(joined) : joined;
  });
  return (
    <div>
      <Suspense fallback={<div class="card" />}>
        <Chart
          title={props.plot.title}
          series={props.plot.series}
          columns={columns()}
          from={props.timeline.window()[0]}
          to={props.timeline.window()[1]}
          fresh={freshFor(props.timeline.live(), props.timeline.history.data()?.step ?? 10)}
          format={props.plot.format}
          axisFormat={props.plot.axisFormat ?? props.plot.format}
          bytes={props.plot.bytes ?? false}
          top={props.plot.top}
        />
      </Suspense>
    </div>
  );
}

/** `narrow` puts four beside each other: for those that have few readings. */
export function Plots(props: { plots: Plot[]; timeline: Timeline; narrow?: boolean }) {
  return (
    <div class="charts" classList={{ narrow: props.narrow ?? false }}>
      {props.plots.map((plot) => (
        <PlotView plot={plot} timeline={props.timeline} />
      ))}
    </div>
  );
}

/** Charts with a head of their own, over the time that is chosen there. */
export function PlotSection(props: { title: string; plots: Plot[] }) {
  const timeline = createTimeline(() => [...new Set(props.plots.flatMap((plot) => plot.names))]);
  return (
    <>
      <div class="page-head">
        <h2>{props.title}</h2>
        <div class="actions">
          <RangePicker />
        </div>
      </div>
      <TimelineProblem timeline={timeline} />
      <Plots plots={props.plots} timeline={timeline} />
    </>
  );
}

export function TimelineProblem(props: { timeline: Timeline }) {
  return (
    <Show when={props.timeline.history.error()}>
      {(problem) => <ProblemNotice problem={problem()} retry={props.timeline.history.refetch} />}
    </Show>
  );
}
