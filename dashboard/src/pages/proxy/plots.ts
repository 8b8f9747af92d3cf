import { seriesOf, sums } from "../../api/figures";
import type { Columns } from "../../api/samples";
import type { History } from "../../api/types";
import { count, rate } from "../../format";
import type { Plot } from "../../ui/plots";
import { meanOf } from "../../ui/spark";

// What the proxy's charts are drawn from.

const of = (name: string, label: string, values: string[]) =>
  values.map((value) => seriesOf(name, { [label]: value }));

const OUTCOMES = [
  "answered",
  "server-error",
  "gateway-error",
  "connect-failed",
  "timed-out",
  "reset",
  "cancelled",
  "deadline",
];

export const ATTEMPTS: Plot = {
  title: "Asked of backends, a second",
  names: of("proxy_requests_rate", "outcome", OUTCOMES),
  series: [
    { label: "answered", color: 4 },
    { label: "errors", color: 2 },
    { label: "no answer", color: 3 },
  ],
  derive: sums([[0], [1, 2], [3, 4, 5, 7]]),
  format: rate,
};

export const RETRIES: Plot = {
  title: "Failures of backends, a second",
  names: of("proxy_retries_rate", "outcome", ["again", "budget", "not-safe", "spent"]),
  series: [
    { label: "tried again", color: 1 },
    { label: "passed on", color: 3 },
  ],
  derive: sums([[0], [1, 2, 3]]),
  format: rate,
};

export const STATES: Plot = {
  title: "Backends",
  names: ["proxy_usable", "proxy_ejected", "proxy_unhealthy"],
  series: [
    { label: "usable", color: 4 },
    { label: "ejected", color: 2 },
    { label: "unhealthy", color: 3 },
  ],
  format: count,
};

/** The series of a backend's latency: what is usual, and what is rare. */
export function latencyNames(pool: string, backend: string): [string, string] {
  // The server's own order of labels.
  const labels = { pool, backend };
  return [seriesOf("proxy_backend_time_p50", labels), seriesOf("proxy_backend_time_p99", labels)];
}

/** Whether any of these series has a value, in the history or in the live columns of the same series. */
export function wasMeasured(names: string[], history: History | undefined, live: Columns): boolean {
  const [, ...columns] = live;
  const series = (history?.series ?? []).filter((one) => names.includes(one.name));
  return [...columns, ...series.map((one) => one.values)].some((values) =>
    values.some((value) => value !== null),
  );
}

/**
 * Seconds that a backend takes, as its row says; null where nobody knows. The server's own milliseconds are for backends of
 * which nothing was `measured` over time.
 */
export function usualOf(now: number | null, measured: boolean, ms: number | null): number | null {
  if (now !== null) return now;
  return measured || ms === null ? null : ms / 1000;
}

/** Seconds that a reading is made of: a single one would flicker. */
const RECENT = 10;

/** What the columns say at their end; null where they say nothing of that time. */
export function recent(columns: Columns, now: number, step: number): (number | null)[] {
  const [times, ...values] = columns;
  const from = now - Math.max(RECENT, 2 * step);
  const first = times.findIndex((time) => time > from);
  return values.map((column) => {
    const measured = first < 0 ? [] : column.slice(first).filter((value) => value !== null);
    return measured.length === 0 ? null : meanOf(measured);
  });
}
