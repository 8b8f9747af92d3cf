import { expect, test } from "vitest";
import type { CacheSummary, CacheTier, PurgeReport } from "../../api/web-types";
import { outcome, reach, requestOf, urlsIn } from "./reach";

const tier = (kind: CacheTier["kind"]): CacheTier => ({
  tier: "l1",
  kind,
  hits: 0,
  misses: 0,
  evictions: 0,
  errors: 0,
  circuit: "closed",
});

const summary = (kinds: CacheTier["kind"][], edge: string | null): CacheSummary => ({
  tiers: kinds.map(tier),
  requests: {
    hit: 0,
    stale: 0,
    stood_in: 0,
    revalidated: 0,
    miss: 0,
    collapsed: 0,
    pass: 0,
    only_if_cached: 0,
  },
  stored: 0,
  fetches: 0,
  edge_waiting: 0,
  edge_owed: false,
  edge,
});

test("a purge says which tiers it reaches", () => {
  expect(reach("url", summary(["memory"], null)).join(" ")).not.toMatch(/Redis|disk|CDN/);
  const all = reach("tag", summary(["memory", "redis", "disk"], "cloudflare")).join(" ");
  expect(all).toMatch(/Redis.*disk.*cloudflare/);
  expect(reach("all", summary(["memory"], null)).at(-1)).toContain("expect load");
});

test("a purge by beginning does not reach a CDN that knows none", () => {
  expect(reach("prefix", summary(["memory"], "fastly")).join(" ")).toContain("Not the CDN");
  expect(reach("url", summary(["memory"], "fastly")).join(" ")).toContain("The CDN (fastly)");
});

test("the request names exactly one thing", () => {
  expect(requestOf("tag", "a")).toEqual({ tag: "a" });
  expect(requestOf("all", "ignored")).toEqual({ all: true });
});

test("what came of a purge is told with what is still to come", () => {
  const report: PurgeReport = { removed: 1, shared: "done", disk: "off", edge: "queued" };
  expect(outcome(report)).toEqual({
    text: "Purged: 1 entry left memory; Redis and the CDN told",
    tone: "good",
  });
  expect(outcome({ ...report, shared: "pending" }).tone).toBe("warn");
  expect(outcome({ ...report, edge: "everything" }).text).toContain("throw out everything");
  expect(outcome({ removed: 3, shared: "off", disk: "off", edge: "off" }).text).toBe(
    "Purged: 3 entries left memory",
  );
});

test("URLs are read by lines, each once", () => {
  expect(urlsIn(" https://a/x \n\nhttps://a/y\nhttps://a/x")).toEqual(["https://a/x", "https://a/y"]);
});
