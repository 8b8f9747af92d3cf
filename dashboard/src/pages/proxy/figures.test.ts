import { describe, expect, test } from "vitest";
import type { Benchmark, BenchmarkReport } from "../../api/proxy-types";
import { figures, progress, trouble } from "./figures";

const REPORT: BenchmarkReport = {
  kind: "throughput",
  target: "127.0.0.1:8080",
  protocol: "tcp",
  packet_size: 1400,
  connections: 16,
  workers: 1,
  seconds: 10,
  opened: 16,
  opened_per_second: 1.6,
  exchanges: 0,
  exchanges_per_second: 0,
  packets: 0,
  packets_per_second: 0,
  sent_bytes: 1,
  received_bytes: 0,
  sent_bits_per_second: 1.2e9,
  received_bits_per_second: 0,
  lost: 0,
  failures: 0,
  first_failure: null,
  latency: { count: 0, mean_us: 0, p50_us: 0, p95_us: 0, p99_us: 0, p999_us: 0, max_us: 0 },
};

const RUN: Benchmark = {
  id: 3,
  by: "ann",
  began: "2026-01-01T00:00:00Z",
  state: "done",
  parts: 1,
  results: [REPORT],
  result: REPORT,
  hint: null,
};

describe("a benchmark", () => {
  test("is told by the figures that it was for", () => {
    const times = { ...REPORT.latency, count: 9, p50_us: 85, p99_us: 1_240 };
    const of = (changes: Partial<BenchmarkReport>) => figures({ ...REPORT, ...changes });
    expect(of({})).toEqual(["1.20 Gbit/s out", "0 bit/s back"]);
    expect(of({ kind: "latency", latency: times, exchanges_per_second: 12_300 })).toEqual([
      "p50 85.0 µs",
      "p99 1.24 ms",
      "12.3k exchanges a second",
    ]);
    expect(of({ kind: "connections", opened_per_second: 4_200 })).toEqual(["4.20k opened a second"]);
    expect(of({ kind: "mixed", exchanges_per_second: 50 })).toEqual(["50 exchanges a second"]);
  });

  test("says what failed, and what failed first", () => {
    expect(trouble(REPORT)).toBeNull();
    const failed = { ...REPORT, failures: 450, first_failure: "Connection reset by peer", lost: 2 };
    expect(trouble(failed)).toBe("450 failed, the first: Connection reset by peer; 2 had no answer");
  });

  test("reads by how far it has come", () => {
    const of = (changes: Partial<Benchmark>) => progress({ ...RUN, ...changes }).text;
    expect(of({})).toBe("done");
    expect(of({ hint: "nobody accepts connections" })).toBe("done, with failures");
    expect(of({ state: "running" })).toBe("running");
    expect(of({ state: "running", parts: 4, results: [REPORT, REPORT] })).toBe("part 2 of 4");
    expect(of({ state: "cancelled" })).toBe("ended early");
  });
});
