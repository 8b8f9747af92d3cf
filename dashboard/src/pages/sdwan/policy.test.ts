import { expect, test } from "vitest";
import { chooses, follows, limits, matches, ruleOf, searched, unreached } from "./policy";

test("a policy that says nothing of flows takes all, of the default class, by the best path", () => {
  const rule = ruleOf({ name: "rest" });
  expect(matches(rule)).toEqual([]);
  expect(rule).toMatchObject({ priority: 100, class: "", strategy: "best", data: null, mark: null });
  expect(chooses(rule)).toBe("the path that suits the class most");
});

test("a policy reads part by part", () => {
  const rule = ruleOf({
    name: "calls",
    applications: ["meet"],
    ports: ["5060", "5061"],
    protocols: ["udp"],
    dscp: ["EF"],
  });
  expect(matches(rule).map(({ what, values }) => `${what} ${values}`)).toEqual([
    "application meet",
    "protocol udp",
    "to port 5060, 5061",
    "marked EF",
  ]);
  expect(searched(rule)).toContain("to port 5060, 5061");
});

test.each([
  [{ strategy: "ordered", uplinks: ["fibre", "lte"] }, "first of fibre, lte"],
  [{ strategy: "weighted" }, "spread over paths, more on wider ones"],
  [{ strategy: "duplicate" }, "every packet by two paths"],
  [{ strategy: "fec" }, "1 of 9 packets mend what is lost"],
  [{ strategy: "fec", data: 10, parity: 3 }, "3 of 13 packets mend what is lost"],
])("a strategy reads as what it does: %o", (body, words) => {
  expect(chooses(ruleOf(body))).toBe(words);
});

test("policies behind one that takes all are told apart, and which one that is", () => {
  const rules = [{ name: "a", ports: ["1"] }, { name: "all" }, { name: "b", ports: ["2"] }].map(ruleOf);
  expect([...unreached(rules)]).toEqual([["b", "all"]]);
  expect(unreached(rules.slice(0, 1)).size).toBe(0);
});

test("a class says what it needs of its path", () => {
  const none = { name: "x", preset: false, default: false, latency_ms: null, jitter_ms: null, loss: null };
  expect(limits(none)).toBe("no limits");
  expect(limits({ ...none, latency_ms: 150, loss: 0.01 })).toBe("at most 150 ms one way, 1.0% lost");
});

test("who says what policies there are is read from how the site stands", () => {
  expect(follows("1 of 2 tunnels have keys")).toEqual({ controller: false, address: null });
  expect(follows("2 of 2 tunnels have keys; site a, version 4 of the controller at 192.0.2.9:8068")).toEqual({
    controller: true,
    address: "192.0.2.9:8068",
  });
  expect(
    follows("x; site a, version 4 of the controller at 192.0.2.9:8068, and not what it said since: no")
      .address,
  ).toBe("192.0.2.9:8068");
  expect(follows("x; site a, without its controller: not yet")).toEqual({ controller: true, address: null });
});
