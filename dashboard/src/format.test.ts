import { describe, expect, test } from "vitest";
import {
  bits,
  bytes,
  compact,
  expiry,
  inLocalTime,
  kept,
  latency,
  percent,
  plural,
  preciseClock,
  rate,
  relative,
  sentence,
  span,
  throughput,
  tick,
  timestamp,
  tomlValue,
  trimmed,
  typedParts,
} from "./format";

describe("numbers", () => {
  test("compact keeps three significant digits and never shows 1000 of a unit", () => {
    expect([0, 7, 999, 999.6, 1240, 25_400, 999_600, 1_200_000].map(compact)).toEqual([
      "0",
      "7",
      "999",
      "1.00k",
      "1.24k",
      "25.4k",
      "1.00M",
      "1.20M",
    ]);
    expect(compact(0.25)).toBe("0.25");
    expect(compact(12.34)).toBe("12.3");
  });

  test("a rate from ten on is whole, and next to nothing is nothing", () => {
    expect([0.01, 0.25, 9.96, 12.34, 96.02, 25_400].map(rate)).toEqual([
      "0",
      "0.25",
      "9.96",
      "12",
      "96",
      "25.4k",
    ]);
  });

  test("an axis label drops the zeros that say nothing, and only those", () => {
    expect(
      ["75.0 ms", "0.50", "0.00", "100k", "50.0k", "1.05 s", "10", "16.0 MiB", "1.20M"].map(trimmed),
    ).toEqual(["75 ms", "0.5", "0", "100k", "50k", "1.05 s", "10", "16 MiB", "1.2M"]);
  });

  test("latency picks the unit that reads best", () => {
    expect([0, 0.000085, 0.00124, 0.9996, 2.1].map(latency)).toEqual([
      "0 ms",
      "85.0 µs",
      "1.24 ms",
      "1.00 s",
      "2.10 s",
    ]);
  });

  test("bytes are binary and whole below a KiB", () => {
    expect([0, 512, 1024, 40_055_603].map(bytes)).toEqual(["0 B", "512 B", "1.00 KiB", "38.2 MiB"]);
  });

  test("a pool that is not quite full never reads 100%", () => {
    expect(percent(1)).toBe("100%");
    expect(percent(0.9999)).toBe(">99.9%");
    expect(percent(0.00001)).toBe("<0.1%");
    expect(percent(0)).toBe("0%");
    expect(percent(0.531)).toBe("53.1%");
  });

  test("one lease is singular, a million are grouped", () => {
    expect(plural(1, "lease")).toBe("1 lease");
    expect(plural(1_000_000, "lease")).toBe("1,000,000 leases");
  });
});

describe("times", () => {
  test("a lease without an end never expires", () => {
    const now = Date.parse("2026-11-21T04:00:00Z");
    expect(expiry("9999-12-31T23:59:59.000Z", now)).toBe("never");
    expect(expiry("2026-11-21T08:30:00.000Z", now)).toBe("in 4 h");
    expect(expiry("2026-11-21T03:55:00.000Z", now)).toBe("5 m ago");
  });

  test("a moment within a sentence reads in the reader's time zone", () => {
    const moment = "2026-11-21T16:24:01.000Z";
    expect(inLocalTime(`192.0.2.7 is active until ${moment}: it is moved`)).toBe(
      `192.0.2.7 is active until ${timestamp(moment)}: it is moved`,
    );
    expect(inLocalTime("nothing to tell")).toBe("nothing to tell");
  });

  test("events tell milliseconds", () => {
    expect(preciseClock("2026-11-21T04:15:07.042Z")).toMatch(/:15:07\.042$/);
    expect(preciseClock("nonsense")).toBe("–");
  });

  test("a span shows its two largest parts, and none across a gap", () => {
    expect([0, 45, 725, 7200, 273_600, 86_405].map(span)).toEqual([
      "0 s",
      "45 s",
      "12 m 5 s",
      "2 h",
      "3 d 4 h",
      "1 d",
    ]);
  });

  test("relative looks both ways", () => {
    expect(relative(5_400_000, 0)).toBe("in 1 h");
    expect(relative(0, 90_000)).toBe("1 m ago");
    expect(relative(10, 0)).toBe("now");
  });

  test("what is no time shows a dash, not NaN", () => {
    expect(relative(Number.NaN, 0)).toBe("–");
    expect(timestamp("never")).toBe("–");
  });

  test("axis labels are as precise as the ticks are close", () => {
    const at = new Date(2026, 10, 21, 4, 5, 6).getTime() / 1000;
    expect(tick(at, 10)).toBe("04:05:06");
    expect(tick(at, 300)).toBe("04:05");
    expect(tick(at, 86_400)).toBe("11/21");
  });
});

test("configuration values read as TOML", () => {
  expect(tomlValue(["eth0", 2])).toBe('["eth0", 2]');
  expect(tomlValue({ a: true })).toBe("{ a = true }");
  expect(tomlValue(null)).toBe("unset");
});

test("what a sentence sets in backticks is told from the rest", () => {
  expect(typedParts("see `outwork stats malformed` for more")).toEqual([
    "see ",
    "outwork stats malformed",
    " for more",
  ]);
  expect(typedParts("`a` b")).toEqual(["", "a", " b"]);
  expect(typedParts("none")).toEqual(["none"]);
  expect(typedParts("`a` and ` alone")).toEqual(["", "a", " and ` alone"]);
});

test("a sentence begins with a capital unless it begins with a setting, a command or a figure", () => {
  expect(sentence("widen the pools")).toBe("Widen the pools");
  expect(sentence("dhcp.workers is low")).toBe("dhcp.workers is low");
  expect(sentence("`outwork stats` tells")).toBe("`outwork stats` tells");
  expect(sentence("99 of 100 writes")).toBe("99 of 100 writes");
});

test("octets a second keep their unit", () => {
  expect(throughput(0)).toBe("0 B/s");
  expect(throughput(39_117)).toBe("38.2 KiB/s");
});

test("a number stays on the line of its unit", () => {
  expect(kept("up 13 m 39 s, 3 requests")).toBe("up 13\u00a0m 39\u00a0s, 3 requests");
});

test("bits a second are counted in thousands", () => {
  expect([0, 800, 940_000_000, 1_200_000_000].map(bits)).toEqual([
    "0 bit/s",
    "800 bit/s",
    "940 Mbit/s",
    "1.20 Gbit/s",
  ]);
});
