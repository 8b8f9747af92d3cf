import { describe, expect, test } from "vitest";
import type { Path, PathEvent } from "../../api/sdwan-types";
import {
  begun,
  called,
  causeOf,
  ends,
  happened,
  type Joined,
  joined,
  kindsOf,
  reading,
  shaping,
  siteReading,
  summary,
  tally,
  told,
  why,
} from "./reading";

const UP: Path = {
  id: 0,
  site: "north",
  uplink: "fibre",
  remote_uplink: "dsl",
  via: null,
  mtu: 1420,
  state: "up",
  chosen: false,
  keys: true,
  endpoint: "192.0.2.1:51820",
  latency_ms: 12.3,
  jitter_ms: 0.4,
  loss: 0,
  mos: 4.3,
  sent: 1,
  received: 2,
};

const path = (changes: Partial<Path> = {}): Path => ({ ...UP, ...changes });
const site = (...paths: Partial<Path>[]): Joined => ({
  name: "north",
  subnets: [],
  paths: paths.map((changes, id) => path({ id, ...changes })),
});

test.each([
  ["shaped", "good", "held to its rate"],
  ["rolled-back", "", "outwork qos apply"],
  ["missing", "warn", "outwork qos apply"],
  ["foreign", "warn", "queueing discipline"],
  ["absent", "bad", "interface no longer"],
] as const)("an uplink whose shaping is %s says so and what to do", (state, tone, detail) => {
  expect(shaping(state).tone).toBe(tone);
  expect(shaping(state).detail).toContain(detail);
});

describe("a path reads", () => {
  test.each<[string, Partial<Path>, string, string]>([
    ["up where it carries and nothing is lost", {}, "up", "good"],
    ["lossy where a call would suffer", { loss: 0.02 }, "lossy", "warn"],
    ["poor where what is said by it comes late", { mos: 3.1, latency_ms: 300 }, "poor", "warn"],
    ["suspect where something is overdue", { state: "suspect" }, "suspect", "warn"],
    ["on trial where it has come back", { state: "trial" }, "on trial", "accent"],
    ["down where nothing gets through", { state: "down" }, "down", "bad"],
    ["new where nothing was ever heard", { state: "new" }, "new", ""],
  ])("%s", (_, changes, text, tone) => {
    expect(reading(path(changes))).toMatchObject({ text, tone });
  });

  test("with what keeps it down: no way in, no answer, or a way that swallows everything", () => {
    const why = (changes: Partial<Path>) => reading(path({ state: "down", ...changes })).detail;
    expect(why({})).toContain("nothing gets through");
    expect(why({ keys: false })).toContain("does not answer");
    expect(why({ keys: false, endpoint: null })).toContain("has to dial");
  });

  test("as one line for who cannot see it, without figures that are old", () => {
    expect(summary(path({ chosen: true }))).toBe("fibre → dsl: up, taken, 12.3 ms, no loss");
    expect(summary(path({ loss: 0.004 }))).toBe("fibre → dsl: up, 12.3 ms, 0.4% lost");
    expect(summary(path({ state: "down" }))).toBe("fibre → dsl: down");
  });
});

describe("a site is", () => {
  test.each<[string, Partial<Path>[], string, string]>([
    ["joined where all paths are well", [{}, {}], "joined", "2 paths up"],
    ["impaired where one is down", [{}, { state: "down" }], "impaired", "1 of 2 paths up"],
    ["impaired where one loses much", [{}, { loss: 0.1 }], "impaired", "2 paths up, 1 of them troubled"],
    [
      "cut off where none carries",
      [{ state: "down" }, { state: "trial" }],
      "cut off",
      "None of 2 paths carries",
    ],
  ])("%s", (_, paths, text, detail) => {
    expect(siteReading(site(...paths))).toMatchObject({ text, detail });
  });

  test("without a path where no uplinks can reach each other", () => {
    expect(siteReading(site())).toMatchObject({ text: "no path", tone: "bad" });
  });
});

test("sites come with their paths, what is pressing first, and a site without any is among them", () => {
  const named = (name: string) => ({ name, subnets: ["10.0.0.0/8"], uplinks: [] });
  const all = joined(
    [named("a"), named("b"), named("c")],
    [path({ id: 1, site: "a" }), path({ id: 2, site: "b", state: "down" }), path({ id: 3, site: "b" })],
  );
  expect(all.map((one) => [one.name, one.paths.map(({ id }) => id)])).toEqual([
    ["c", []],
    ["b", [2, 3]],
    ["a", [1]],
  ]);
  expect(tally(all)).toBe("1 joined, 1 impaired, 1 no path");
  expect(tally(joined([named("a")], [path({ site: "a" })]))).toBe("all of 1 site joined");
});

describe("an event tells", () => {
  const event = (changes: Partial<PathEvent>): PathEvent => ({
    number: 1,
    at_ms: 0,
    kind: "switch",
    site: "north",
    of: "north",
    from: "north fibre-dsl",
    to: "north lte-dsl",
    why: "the one before is gone",
    ...changes,
  });

  test("which path traffic takes instead of which", () => {
    expect(told(event({})).detail).toBe("New flows take lte-dsl instead of fibre-dsl");
    expect(told(event({ from: "none" })).detail).toBe("New flows take lte-dsl");
  });

  test("why: what the server says, and where it has no reason to tell, what the change means", () => {
    const path = event({ kind: "path", from: "up", to: "down", why: "its uplink has no carrier" });
    expect(why(path)).toBe("its uplink has no carrier");
    expect(why({ ...path, to: "suspect", why: "" })).toContain("has not come");
    expect(why({ ...path, to: "trial", why: "" })).toContain("watched");
    expect(why(event({}))).toBe("the one before is gone");
  });

  test("that a site has no path left", () => {
    expect(told(event({ to: "none" }))).toMatchObject({
      tone: "bad",
      detail: "Traffic took fibre-dsl, and has no path left",
    });
  });

  test("how long packets of a path are from now on, and how long they were", () => {
    const narrow = event({
      kind: "mtu",
      of: "north fibre-dsl",
      from: "1420",
      to: "1280",
      why: "they are lost",
    });
    expect(told(narrow)).toMatchObject({
      tone: "warn",
      text: "MTU",
      detail: "Path fibre-dsl: packets of 1280 octets, which were of 1420",
    });
    expect(told({ ...narrow, from: "1280", to: "1420" }).tone).toBe("");
    expect(why(narrow)).toBe("they are lost");
  });

  test("what a path has become, and what it was", () => {
    const down = event({ kind: "path", of: "north fibre-dsl", from: "up", to: "down" });
    expect(told(down)).toMatchObject({ tone: "bad", text: "down", detail: "Path fibre-dsl, which was up" });
    expect(told({ ...down, to: "trial" })).toMatchObject({ tone: "accent", text: "on trial" });
    expect(told({ ...down, site: "", of: "none" }).detail).toBe("A path that is gone, which was up");
    expect(told({ ...down, from: "trial", to: "up" }).detail).toBe("Path fibre-dsl, which was on trial");
  });

  test("which class of traffic goes elsewhere", () => {
    const voice = event({ class: "voice", strategy: "best" });
    expect(told(voice).detail).toBe("New flows of class voice take lte-dsl instead of fibre-dsl");
    expect(told({ ...voice, to: "none" }).detail).toBe(
      "Traffic of class voice took fibre-dsl, and has no path left",
    );
  });

  test("what a newer server has a word for, in that word", () => {
    const odd = event({ kind: "rekey", of: "north fibre-dsl", from: "old", to: "new" });
    expect(told(odd)).toMatchObject({ text: "rekey", detail: "north fibre-dsl: old, now new" });
    expect(kindsOf([odd, event({})]).map(({ value }) => value)).toEqual(["switch", "path", "mtu", "rekey"]);
  });

  test("how often it has happened and since when, where it is told as one", () => {
    expect(begun(event({ since_ms: 7 }))).toBe(null);
    expect(begun(event({ count: 1, since_ms: 7 }))).toBe(null);
    expect(begun(event({ count: 4, since_ms: 7 }))).toBe(7);
    expect(begun(event({ count: 4 }))).toBe(null);
    expect(happened([event({}), event({ count: 4 })])).toBe(5);
  });

  test("why a path is what it is, if that is what it has become last", () => {
    const down = event({ kind: "path", of: "north fibre-dsl", from: "up", to: "down", why: "silence" });
    const before = event({ kind: "path", of: "north fibre-dsl", from: "new", to: "up" });
    expect(causeOf(path({ state: "down" }), [event({}), down, before])).toBe(down);
    expect(causeOf(path({ state: "up" }), [down, before])).toBe(null);
    expect(causeOf(path({ state: "down", via: "hub" }), [down])).toBe(null);
  });
});

test("a path that a hub passes on says by which", () => {
  const far = path({ via: "hub-1" });
  expect([ends(far), called(far)]).toEqual(["fibre → dsl by hub-1", "north fibre-dsl by hub-1"]);
});
