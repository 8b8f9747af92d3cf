import { describe, expect, test } from "vitest";
import type { Rule } from "../../api/proxy-types";
import { ofEveryRoute, ownReasons } from "./fold";

const HTTP = { reason: "http", detail: "requests are read, and written anew for the backend" };
const AUTH = { reason: "auth", detail: "requests have to show whose they are" };

const rule = (kind: Rule["kind"], ...reasons: Rule["reasons"]): Rule => ({
  rule: "/app/*",
  kind,
  protocol: kind === "route" ? "http" : "tcp",
  addresses: [],
  pools: ["app"],
  path: "slow",
  tier: "application",
  reasons,
});

describe("what keeps routes from the fast path", () => {
  test("is said once where it is the same of all of them, and what is a route's own beside it", () => {
    const own = rule("route", HTTP, AUTH);
    const shared = ofEveryRoute([rule("route", HTTP), own, rule("listener", AUTH)]);
    expect(shared).toEqual([HTTP]);
    expect(ownReasons(own, shared)).toEqual([AUTH]);
    expect(ownReasons(rule("route", HTTP), shared)).toEqual([]);
  });

  test("is said by the route itself where there is but one", () => {
    expect(ofEveryRoute([rule("route", HTTP), rule("listener", HTTP)])).toEqual([]);
    expect(ofEveryRoute([])).toEqual([]);
  });

  test("is not taken from a listener that has the same reason", () => {
    expect(ownReasons(rule("listener", HTTP), [HTTP])).toEqual([HTTP]);
  });
});
