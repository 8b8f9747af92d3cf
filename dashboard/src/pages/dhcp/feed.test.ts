import { expect, test } from "vitest";
import { Feed, type Group, groupOf, matches } from "./feed";

const event = (kind: string, more = {}) => ({ time: "2026-11-21T00:00:00Z", kind, ...more });
const kinds = (feed: Feed) => feed.flush().map((row) => ("event" in row ? row.event.kind : row.missed));

test("the newest event is first", () => {
  const feed = new Feed(10);
  feed.event(event("discover"));
  feed.event(event("offer"));
  expect(kinds(feed)).toEqual(["offer", "discover"]);
  feed.event(event("request"));
  expect(kinds(feed)).toEqual(["request", "offer", "discover"]);
});

test("a flood between two redraws keeps only the newest, and counts them all", () => {
  const feed = new Feed(3);
  for (let i = 0; i < 1000; i++) feed.event(event(`k${i}`));
  expect(feed.arrived).toBe(1000);
  expect(kinds(feed)).toEqual(["k999", "k998", "k997"]);
});

test("what the server left out is told in its place", () => {
  const feed = new Feed(10);
  feed.event(event("ack"));
  feed.missed(312);
  expect(feed.arrived).toBe(313);
  expect(kinds(feed)).toEqual([312, "ack"]);
});

test("rows keep their identity across redraws, so that only new ones are drawn", () => {
  const feed = new Feed(10);
  feed.event(event("ack"));
  const [before] = feed.flush();
  feed.event(event("nak"));
  expect(feed.flush()[1]).toBe(before);
});

test("a kind the dashboard does not know counts as a problem rather than vanish", () => {
  expect(groupOf("ack")).toBe("answers");
  expect(groupOf("drop")).toBe("problems");
  expect(groupOf("drop_rate_limited")).toBe("problems");
});

test("filters join: a group and a text must both match", () => {
  const row = { id: 1, event: event("ack", { address: "10.0.0.7", mac: "52:54:00:aa:bb:cc" }) };
  const only = (...groups: Group[]) => new Set(groups);
  expect(matches(row, only(), "")).toBe(true);
  expect(matches(row, only("answers"), "aa:bb")).toBe(true);
  expect(matches(row, only("problems"), "aa:bb")).toBe(false);
  expect(matches(row, only("answers"), "zz")).toBe(false);
});
