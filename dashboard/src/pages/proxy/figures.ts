import type { Benchmark, BenchmarkKind, BenchmarkReport } from "../../api/proxy-types";
import { bits, compact, count, latency, rate } from "../../format";

// What benchmarks came to, in words. Pure.

/** What a load measures. */
export const MEASURES: Record<BenchmarkKind, string> = {
  throughput: "how much goes through",
  latency: "how long an answer takes",
  connections: "how many begin in a second",
  mixed: "all of it at once",
};

const micros = (us: number) => latency(us / 1e6);

/** What a load was for: the figures that tell it, the first before the others. */
export function figures(report: BenchmarkReport): string[] {
  const exchanges = `${rate(report.exchanges_per_second)} exchanges a second`;
  const times =
    report.latency.count === 0
      ? []
      : [`p50 ${micros(report.latency.p50_us)}`, `p99 ${micros(report.latency.p99_us)}`];
  switch (report.kind) {
    case "throughput":
      return [`${bits(report.sent_bits_per_second)} out`, `${bits(report.received_bits_per_second)} back`];
    case "latency":
      return [...times, exchanges];
    case "connections":
      return [`${rate(report.opened_per_second)} opened a second`, ...times];
    case "mixed":
      return [exchanges, ...times];
  }
}

/** What went wrong with a load; null where nothing did. */
export function trouble(report: BenchmarkReport): string | null {
  const why = report.first_failure === null ? "" : `, the first: ${report.first_failure}`;
  const parts = [
    report.failures > 0 ? `${count(report.failures)} failed${why}` : null,
    report.lost > 0 ? `${compact(report.lost)} had no answer` : null,
  ].filter((part) => part !== null);
  return parts.length === 0 ? null : parts.join("; ");
}

/** How far one has come, and how it looks. */
export function progress(run: Benchmark): { tone: "good" | "warn" | "accent" | ""; text: string } {
  switch (run.state) {
    case "running":
      return {
        tone: "accent",
        text: run.parts > 1 ? `part ${Math.max(1, run.results.length)} of ${run.parts}` : "running",
      };
    case "cancelled":
      return { tone: "", text: "ended early" };
    case "done": {
      const isClean = run.hint === null && run.results.every((report) => trouble(report) === null);
      return isClean ? { tone: "good", text: "done" } : { tone: "warn", text: "done, with failures" };
    }
  }
}
