import { expect, test } from "vitest";
import type { PolicyTraffic } from "../../api/controller-types";
import { columnsOf, shares, since } from "./traffic";

const AT = Date.parse("2026-11-23T10:00:00Z") / 1000;

const traffic = (items: PolicyTraffic["items"]): PolicyTraffic => ({
  policy: "calls",
  packets: 0,
  octets: 0,
  step_seconds: 300,
  items,
  sites: [],
});

test("what was sent is drawn as bits a second, with nothing in parts that nobody tells of", () => {
  const sent = traffic([
    { at: "2026-11-23T10:00:00Z", packets: 3, octets: 37_500 },
    { at: "2026-11-23T10:10:00Z", packets: 3, octets: 75_000 },
  ]);
  expect(columnsOf(sent, AT + 20, AT + 900)).toEqual([
    [AT, AT + 300, AT + 600],
    [1_000, 0, 2_000],
  ]);
});

test("a part that is not over is left out", () => {
  const sent = traffic([{ at: "2026-11-23T10:05:00Z", packets: 1, octets: 300 }]);
  expect(columnsOf(sent, AT, AT + 599)).toEqual([[AT], [0]]);
  expect(columnsOf({ ...sent, step_seconds: 0 }, AT, AT + 599)).toEqual([[], []]);
});

test("each has its part of all that was sent, and none where nothing was", () => {
  const of = (octets: number) => ({ policy: null, packets: 1, octets });
  expect(shares([of(300), of(100)])).toEqual([0.75, 0.25]);
  expect(shares([of(0)])).toEqual([0]);
});

test("a time is asked for from its beginning on", () => {
  expect(since("24h", AT * 1000 + 400)).toBe(AT - 86_400);
});
