import { describe, expect, test } from "vitest";
import type { Backend, Pool } from "../../api/proxy-types";
import { latencyNames, usualOf, wasMeasured } from "./plots";
import {
  actions,
  consequences,
  headline,
  idles,
  lasting,
  named,
  poolTone,
  reading,
  SPANS,
  tally,
  unit,
  unknown,
} from "./reading";

const USABLE: Backend = {
  key: "http://192.0.2.1:80",
  address: "192.0.2.1:80",
  state: "usable",
  state_for: 60,
  health: "healthy",
  problem: null,
  checked_ago: 1,
  weight: 1,
  priority: 0,
  zone: null,
  share: null,
  starts_for: null,
  requests: 0,
  rate: 0,
  failure_rate: 0,
  total: 0,
  failures: 0,
  connections: 0,
  latency_ms: null,
  ejected_for: null,
  ejected_by: null,
  ejected_because: null,
  drains_for: null,
  passed: null,
  leaving: false,
};

const POOL: Pool = {
  name: "app",
  policy: "round_robin",
  requests: 0,
  rate: 0,
  waiting: 0,
  refused: 0,
  retries: 0,
  ejections: 0,
  checked: true,
  drain_seconds: 30,
  ejection_seconds: 30,
  panic_threshold: 50,
  panics: false,
  backends: [],
  names: [],
  absent: [],
};

const backend = (changes: Partial<Backend> = {}): Backend => ({ ...USABLE, ...changes });
const pool = (...backends: Partial<Backend>[]): Pool => ({
  ...POOL,
  backends: backends.map((changes, i) => backend({ key: `http://192.0.2.${i + 1}:80`, ...changes })),
});

describe("a backend reads", () => {
  test.each<[string, Partial<Backend>, boolean, string, string]>([
    ["healthy for as long as it is", {}, true, "healthy", "for 1 m 4 s"],
    ["in use where nobody checks", {}, false, "in use", "for 1 m 4 s; not checked"],
    [
      "healthy though one check failed",
      { problem: "it answers 503" },
      true,
      "healthy",
      "for 1 m 4 s; a check failed: it answers 503",
    ],
    [
      "starting, with what it has of its weight",
      { share: 0.4, starts_for: 10 },
      true,
      "slow start",
      "40% of its weight, all of it in 6 s",
    ],
    [
      "unhealthy, with what was found",
      { state: "unhealthy", problem: "nobody listens" },
      true,
      "unhealthy",
      "for 1 m 4 s; nobody listens",
    ],
    [
      "ejected, with what ejected it",
      { state: "ejected", ejected_for: 20, ejected_by: "consecutive-5xx" },
      true,
      "ejected",
      "back in 16 s; failed several times in a row",
    ],
    [
      "ejected, in the words of the server",
      {
        state: "ejected",
        ejected_for: 20,
        ejected_by: "consecutive-gateway",
        ejected_because: "answered 502, 503 or 504 5 times in a row",
      },
      true,
      "ejected",
      "back in 16 s; answered 502, 503 or 504 5 times in a row",
    ],
    [
      "draining until its time is over",
      { state: "draining", drains_for: 2 },
      true,
      "draining",
      "1 s left for what it has",
    ],
    ["drained until it is admitted", { state: "drained" }, true, "drained", "until it is admitted"],
    [
      "leaving where the configuration has it no longer",
      { state: "draining", drains_for: 14, leaving: true },
      true,
      "leaving",
      "10 s left for what it has; no longer in the configuration",
    ],
  ])("%s", (_, changes, checked, text, detail) => {
    expect(reading(backend(changes), checked, 4)).toMatchObject({ text, detail });
  });

  test("with a shape of its own in each state", () => {
    const states = ["usable", "unhealthy", "ejected", "draining", "drained"] as const;
    const icons = states.map((state) => reading(backend({ state }), true, 0).icon);
    icons.push(reading(backend({ share: 0.5, starts_for: 1 }), true, 0).icon);
    expect(new Set(icons).size).toBe(icons.length);
  });
});

test("a backend of several addresses is told from the others of its name", () => {
  expect(named("http://app.test:80 at 192.0.2.1")).toEqual({
    url: "http://app.test:80",
    address: "192.0.2.1",
  });
  expect(named("unix:/run/app.sock")).toEqual({ url: "unix:/run/app.sock", address: null });
});

test("a name that is not known says who was asked, what they said and when they are asked again", () => {
  const name = {
    name: "app.test",
    kind: "host",
    asked: "192.0.2.53:53",
    addresses: 0,
    problem: "it has no address",
    tried_ago: 3,
    next_in: 2,
  } as const;
  const said = (changes: object) => unknown({ ...name, ...changes }, 1);
  expect(said({})).toBe("it has no address; asked 192.0.2.53:53 4 s ago, and again in 1 s");
  expect(said({ next_in: null })).toBe("it has no address; asked 192.0.2.53:53 4 s ago, and again now");
  expect(said({ problem: null, tried_ago: null, next_in: null })).toBe("192.0.2.53:53 has not answered yet");
  expect(said({ problem: null, addresses: 2 })).toBe(null);
});

test("what comes to a pool of layer 4 is connections", () => {
  expect(unit(pool({}))).toBe("Requests");
  expect(unit(pool({ key: "tcp://192.0.2.1:5" }, { key: "tls+srv://_a._tcp.b at 192.0.2.2:5" }))).toBe(
    "Connections",
  );
  expect(unit(pool({ key: "udp://192.0.2.1:53" }))).toBe("Sessions");
});

test("an operator is offered what makes a difference", () => {
  expect(actions(backend())).toEqual(["drain", "eject"]);
  expect(actions(backend({ state: "ejected" }))).toEqual(["drain", "admit"]);
  expect(actions(backend({ state: "drained" }))).toEqual(["admit"]);
  expect(actions(backend({ state: "draining", leaving: true }))).toEqual([]);
});

describe("what a change leads to", () => {
  const said = (of: Pool, action: "drain" | "eject", seconds = 90) => {
    const [first] = of.backends;
    if (!first) throw new Error("an empty pool");
    const { lines, hurts } = consequences(of, first, action, seconds);
    return { text: lines.join(" "), hurts };
  };

  test("is harmless where others can take over", () => {
    const { text, hurts } = said(pool({ requests: 3 }, {}, {}), "drain");
    expect(text).toContain("What it has (3 requests now) may go on for 1 m 30 s.");
    expect(hurts).toBe(false);
    expect(said(pool({}, {}, {}), "eject").hurts).toBe(false);
  });

  test("is that what is under way is cut off where a drain has no time", () => {
    const { text, hurts } = said(pool({ requests: 3 }, {}, {}), "drain", 0);
    expect(text).toContain("What it has (3 requests now) is cut off at once.");
    expect(hurts).toBe(true);
    expect(said(pool({}, {}, {}), "drain", 0).hurts).toBe(false);
    expect(SPANS.drain.slice(0, 2).map(lasting)).toEqual(["at once", "10 s"]);
    expect(SPANS.eject).not.toContain(0);
  });

  test("is that requests fail where it is the last", () => {
    const drained = said(pool({}, { state: "drained" }), "drain");
    expect(drained.text).toContain("answered with 503");
    expect(drained.hurts).toBe(true);
    const alone = pool({}, { state: "unhealthy" });
    expect(said({ ...alone, panic_threshold: 0 }, "eject").text).toContain("answered with 503");
  });

  test("is that health is not looked at where too few are left", () => {
    const few = pool({}, { state: "unhealthy" }, { state: "ejected" });
    const { text, hurts } = said(few, "eject");
    expect(text).toContain("less than 50% of the pool is healthy");
    expect(text).toContain("this backend too");
    expect(hurts).toBe(true);
    // Of two others one is usable: that is half of them, and enough.
    expect(said(pool({}, {}, { state: "unhealthy" }), "drain").hurts).toBe(false);
  });
});

test("a pool says how many are usable and what the others are", () => {
  expect(tally(pool({}))).toBe("usable");
  expect(tally(pool({}, {}))).toBe("all 2 usable");
  const mixed = pool({}, { state: "ejected" }, { state: "unhealthy" });
  expect(tally(mixed)).toBe("1 of 3 usable, 1 unhealthy, 1 ejected");
  expect([pool({}), mixed, pool({ state: "draining" })].map(poolTone)).toEqual(["good", "warn", "bad"]);
});

test("the head of the page says of backends what their cards say", () => {
  const gauges = { proxy_usable: 1, proxy_unhealthy: 0, proxy_ejected: 0, proxy_draining: 1 };
  expect(headline([pool({}), pool({ state: "drained" })], gauges)).toBe("1 usable backend, 1 drained");
  expect(headline([pool({}, {}), pool({ state: "draining" })], gauges)).toBe("2 usable backends, 1 draining");
  expect(headline(null, gauges)).toBe("1 usable backend, 1 draining or drained");
  expect(headline(null, {})).toBeNull();
});

test("a pool idles where nobody asks it for anything and nothing is wrong with it", () => {
  expect(idles(pool({}, { state: "drained" }))).toBe(true);
  expect(idles({ ...pool({}), rate: 3 })).toBe(false);
  expect(idles({ ...pool({}), requests: 1 })).toBe(false);
  expect(idles(pool({}, { state: "unhealthy" }))).toBe(false);
  expect(idles(pool({ passed: { flows: 1, packets: 9, bytes: 900 } }))).toBe(false);
});

test("what was measured of a pool in the time shown is told from what was not", () => {
  const [p50, p99] = latencyNames("app", "http://192.0.2.1:80");
  const history = (values: (number | null)[]) => ({
    step: 10,
    start: 0,
    series: [{ name: p50, unit: "seconds", values }],
  });
  expect(wasMeasured([p50, p99], history([null, 0.2]), [[], [], []])).toBe(true);
  expect(wasMeasured([p50, p99], history([null, null]), [[], [], []])).toBe(false);
  expect(wasMeasured([p50, p99], undefined, [[1], [null], [0.4]])).toBe(true);
});

test("a latency is what is measured now, or else what the server says of a backend that has no series", () => {
  expect([usualOf(0.2, true, 90), usualOf(0, true, 90)]).toEqual([0.2, 0]);
  expect(usualOf(null, false, 90)).toBe(0.09);
  expect([usualOf(null, true, 90), usualOf(null, false, null)]).toEqual([null, null]);
});
