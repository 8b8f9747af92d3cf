import { createMemo, createSignal, lazy, Show, Suspense } from "solid-js";
import { api, query } from "../../api/client";
import { clockSkew, liveTick, samples } from "../../api/live";
import { createQuery } from "../../api/query";
import { type Columns, historyColumns, joinColumns } from "../../api/samples";
import type { History } from "../../api/types";
import { bytes, compact, count, latency, rate } from "../../format";
import type { ChartSeries } from "../../ui/chart";
import { ProblemNotice } from "../../ui/states";
import { createNow, Segments } from "../../ui/widgets";

const Chart = lazy(() => import("../../ui/chart"));

interface Plot {
  title: string;
  names: string[];
  series: ChartSeries[];
  format: (value: number) => string;
  axisFormat?: (value: number) => string;
  bytes?: boolean;
  half?: boolean;
}

const DHCP_PLOTS: Plot[] = [
  {
    title: "DHCP requests a second",
    names: ["dhcp_requests_rate", "dhcp_replies_rate"],
    series: [
      { label: "requests", color: 1 },
      { label: "replies", color: 4, dashed: true },
    ],
    format: rate,
    half: true,
  },
  {
    title: "DHCP latency",
    names: ["dhcp_latency_p99", "dhcp_latency_p95", "dhcp_latency_p50"],
    series: [
      { label: "p99", color: 3 },
      { label: "p95", color: 2 },
      { label: "p50", color: 1 },
    ],
    format: latency,
    half: true,
  },
  {
    title: "Active leases",
    names: ["dhcp_leases_active"],
    series: [{ label: "", color: 1 }],
    format: count,
    axisFormat: compact,
  },
];

const PROCESS_PLOTS: Plot[] = [
  {
    title: "CPU",
    names: ["process_cpu_rate"],
    series: [{ label: "cores", color: 1 }],
    format: (cores) => cores.toFixed(2),
  },
  {
    title: "Memory",
    names: ["process_resident_memory"],
    series: [{ label: "", color: 1 }],
    format: bytes,
    bytes: true,
  },
];

type RangeName = "15m" | "1h" | "6h" | "1d" | "7d" | "30d" | "90d";

/** Length and step in seconds. The steps are multiples of what the server keeps: 10 s points, then 5 min ones. */
const RANGES: Record<RangeName, [number, number]> = {
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

function PlotView(props: {
  plot: Plot;
  history: History | undefined;
  live: boolean;
  window: [number, number];
}) {
  const columns = createMemo((): Columns => {
    const names = props.plot.names;
    const history: Columns = props.history
      ? historyColumns(props.history, names)
      : [[], ...names.map(() => [])];
    if (!props.live) return history;
    liveTick();
    return joinColumns(history, samples.columns(names, props.window[0]), props.history?.step ?? 10);
  });
  return (
    <div classList={{ half: props.plot.half ?? false }}>
      <Suspense fallback={<div class="card" />}>
        <Chart
          title={props.plot.title}
          series={props.plot.series}
          columns={columns()}
          from={props.window[0]}
          to={props.window[1]}
          format={props.plot.format}
          axisFormat={props.plot.axisFormat ?? props.plot.format}
          bytes={props.plot.bytes ?? false}
        />
      </Suspense>
    </div>
  );
}

export function Charts(props: { dhcp: boolean }) {
  const [range, setRange] = createSignal<RangeName>("15m");
  const live = () => range() === "15m";
  const plots = createMemo(() =>
    props.dhcp
      ? [...DHCP_PLOTS.filter((p) => p.half), ...PROCESS_PLOTS, ...DHCP_PLOTS.filter((p) => !p.half)]
      : PROCESS_PLOTS,
  );
  const history = createQuery<{ range: RangeName; names: string[]; skew: number }, History>(
    () => ({ range: range(), names: plots().flatMap((plot) => plot.names), skew: clockSkew() }),
    (source, signal) => {
      const [length, step] = RANGES[source.range];
      const to = Math.floor((Date.now() + source.skew) / 1000);
      return api.get(`/metrics/history${query({ name: source.names, from: to - length, to, step })}`, signal);
    },
    { every: 60_000, key: "name" },
  );
  const now = createNow();
  const frame = createMemo((): [number, number] => {
    // The live window slides each second; a longer one moves when its history is fetched again.
    const to = live() ? now() / 1000 : Math.floor(now() / 60_000) * 60;
    return [to - RANGES[range()][0], to];
  });
  return (
    <>
      <div class="page-head">
        <h2>Activity</h2>
        <div class="actions">
          <Segments label="Time shown" value={range()} options={RANGE_OPTIONS} onChange={setRange} />
        </div>
      </div>
      <Show when={history.error()}>
        {(problem) => <ProblemNotice problem={problem()} retry={history.refetch} />}
      </Show>
      <div class="charts">
        {plots().map((plot) => (
          <PlotView plot={plot} history={history.data()} live={live()} window={frame()} />
        ))}
      </div>
    </>
  );
}
