import { expect, test } from "vitest";
import type { ReportedPath } from "../../api/controller-types";
import { eventOf, pairs, pathOf, pressingFirst, seenFrom, standing } from "./network";
import { told } from "./reading";

const reported = (site: string, remote_site: string, changes: Partial<ReportedPath> = {}): ReportedPath => ({
  id: 1,
  site,
  uplink: "fibre",
  remote_site,
  remote_uplink: "dsl",
  via: null,
  state: "up",
  chosen: true,
  latency_ms: 10,
  jitter_ms: 1,
  loss: 0,
  mos: 4.3,
  updated: "2026-11-23T10:00:00Z",
  ...changes,
});

test("a path that is reported no longer is none", () => {
  expect(pathOf(reported("a", "b", { state: "gone" }))).toBe(null);
  expect(pathOf(reported("a", "b", { via: "hub" }))).toMatchObject({ site: "b", via: "hub", state: "up" });
});

test("a site sees the others by what it has reported itself", () => {
  const all = [reported("a", "b"), reported("b", "a", { state: "down" }), reported("a", "stranger")];
  expect(seenFrom("a", ["c", "b", "a"], all).map((one) => [one.name, one.paths.length])).toEqual([
    ["b", 1],
    ["c", 0],
  ]);
});

test("two sites are joined as well as their paths of either direction are", () => {
  const sites = ["a", "b", "c"];
  const all = pairs(sites, [
    reported("a", "b"),
    reported("b", "a", { state: "down" }),
    reported("c", "a", { via: "b" }),
    reported("a", "stranger"),
  ]);
  expect(all.map((pair) => [pair.a, pair.b, pair.reading.text, pair.via])).toEqual([
    ["a", "b", "impaired", null],
    ["a", "c", "joined", "b"],
  ]);
  expect(all[0]?.paths.map((path) => path.from)).toEqual(["a", "b"]);
  expect(pressingFirst(all[0]?.paths ?? []).map((path) => path.state)).toEqual(["down", "up"]);
});

test("a site stands as it is joined to all others", () => {
  const sites = ["a", "b", "c", "d"];
  const of = (...paths: ReportedPath[]) => standing("a", pairs(sites, paths)).text;
  expect(of()).toBe("not heard of");
  expect(of(reported("a", "b"), reported("a", "c"))).toBe("joined");
  expect(of(reported("a", "b"), reported("a", "c", { state: "down" }))).toBe("impaired");
  expect(of(reported("a", "b", { loss: 0.2 }))).toBe("impaired");
  expect(of(reported("a", "b", { state: "down" }), reported("c", "a", { state: "new" }))).toBe("cut off");
});

test("what a site has reported reads as it does there", () => {
  const switched = {
    id: 4,
    at: "2026-11-23T10:00:00Z",
    site: "a",
    kind: "switch",
    of: "b",
    from: "b fibre-dsl",
    to: "b lte-dsl by hub",
    why: "the one before is gone",
  };
  expect(told(eventOf(switched)).detail).toBe("New flows take lte-dsl by hub instead of fibre-dsl");
  const down = { ...switched, kind: "path", of: "b fibre-dsl", from: "up", to: "down" };
  expect(told(eventOf(down)).detail).toBe("Path fibre-dsl, which was up");
  expect(told(eventOf({ ...down, of: "none" })).detail).toBe("A path that is gone, which was up");
});
