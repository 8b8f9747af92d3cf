import { createMemo, For, Show } from "solid-js";
import { bytes, compact, count, rate, throughput } from "../../format";
import { href } from "../../router";
import { createTimeline, type Plot, Plots, quantiles, RangePicker, TimelineProblem } from "../../ui/plots";
import { ARRIVALS, CACHE_HITS, CONNECTIONS, ERRORS, LATENCY, REQUESTS, THROUGHPUT } from "../web/plots";

const DHCP_PLOTS: Plot[] = [
  {
    title: "DHCP requests a second",
    names: ["dhcp_requests_rate", "dhcp_replies_rate"],
    series: [
      { label: "requests", color: 1 },
      { label: "replies", color: 4, dashed: true },
    ],
    format: rate,
  },
  quantiles("DHCP latency", "dhcp_latency"),
  {
    title: "DHCP traffic",
    names: ["dhcp_received_rate", "dhcp_sent_rate"],
    series: [
      { label: "in", color: 1 },
      { label: "out", color: 4 },
    ],
    format: throughput,
    bytes: true,
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
    axisFormat: (cores) => cores.toFixed(3),
  },
  {
    title: "Memory",
    names: ["process_resident_memory"],
    series: [{ label: "", color: 1 }],
    format: bytes,
    bytes: true,
  },
  {
    title: "Disk",
    names: ["process_disk_written_rate", "process_disk_read_rate"],
    series: [
      { label: "written", color: 1 },
      { label: "read", color: 4 },
    ],
    format: throughput,
    bytes: true,
  },
  {
    title: "Network of the machine",
    names: ["process_network_transmit_rate", "process_network_receive_rate"],
    series: [
      { label: "out", color: 1 },
      { label: "in", color: 4 },
    ],
    format: throughput,
    bytes: true,
  },
];

interface Group {
  title: string;
  plots: Plot[];
  more?: { path: string; text: string };
  narrow?: boolean;
}

/** What there is to see of what this server does; a service that it does not have has no charts. */
export function groups(runs: { web: boolean; caches: boolean; dhcp: boolean }): Group[] {
  return [
    ...(runs.web
      ? [
          {
            title: "Web",
            plots: [REQUESTS, LATENCY, ERRORS, THROUGHPUT, CONNECTIONS, runs.caches ? CACHE_HITS : ARRIVALS],
            more: { path: "/web", text: "Routes, errors and more" },
          },
        ]
      : []),
    ...(runs.dhcp
      ? [
          {
            title: "DHCP",
            plots: DHCP_PLOTS,
            more: { path: "/dhcp", text: "Subnets and leases" },
            narrow: true,
          },
        ]
      : []),
    { title: "Resources", plots: PROCESS_PLOTS, narrow: true },
  ];
}

export function Charts(props: { web: boolean; caches: boolean; dhcp: boolean }) {
  const shown = createMemo(() => groups(props));
  const timeline = createTimeline(() => [
    ...new Set(shown().flatMap((group) => group.plots.flatMap((plot) => plot.names))),
  ]);
  return (
    <>
      <div class="page-head">
        <h2>Activity</h2>
        <div class="actions">
          <RangePicker />
        </div>
      </div>
      <TimelineProblem timeline={timeline} />
      <For each={shown()}>
        {(group) => (
          <section aria-label={`Activity: ${group.title}`}>
            <div class="charts-head">
              <h3>{group.title}</h3>
              <Show when={group.more}>{(more) => <a href={href(more().path)}>{more().text}</a>}</Show>
            </div>
            <Plots plots={group.plots} timeline={timeline} narrow={group.narrow ?? false} />
          </section>
        )}
      </For>
    </>
  );
}
