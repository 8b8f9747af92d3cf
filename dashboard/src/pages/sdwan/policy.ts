import type { Body } from "../../api/controller-types";
import type { PolicyRule, TrafficClass } from "../../api/sdwan-types";
import { latency, percent } from "../../format";

// What policies match and do, in words. Pure.

const texts = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);
const text = (value: unknown): string | null =>
  value === undefined || value === null || value === "" ? null : String(value);
const number = (value: unknown, unset: number): number => (typeof value === "number" ? value : unset);

/** What a document says of a policy, with what is so where it says nothing. */
export function ruleOf(body: Body): PolicyRule {
  const strategy = text(body.strategy) ?? "best";
  const mends = strategy === "fec";
  return {
    name: text(body.name) ?? "",
    priority: number(body.priority, 100),
    sources: texts(body.sources),
    destinations: texts(body.destinations),
    protocols: texts(body.protocols),
    source_ports: texts(body.source_ports),
    ports: texts(body.ports),
    dscp: texts(body.dscp),
    applications: texts(body.applications),
    class: text(body.class) ?? "",
    strategy,
    uplinks: texts(body.uplinks),
    data: mends ? number(body.data, 8) : null,
    parity: mends ? number(body.parity, 1) : null,
    mark: text(body.mark),
  };
}

/** What flows have to be for a policy, part by part; nothing where it takes all. */
export function matches(rule: PolicyRule): { what: string; values: string }[] {
  const parts: [string, string[]][] = [
    ["application", rule.applications],
    ["from", rule.sources],
    ["to", rule.destinations],
    ["protocol", rule.protocols],
    ["to port", rule.ports],
    ["from port", rule.source_ports],
    ["marked", rule.dscp],
  ];
  return parts
    .filter(([, values]) => values.length > 0)
    .map(([what, values]) => ({ what, values: values.join(", ") }));
}

/** How its paths are chosen. */
export function chooses(rule: PolicyRule): string {
  switch (rule.strategy) {
    case "best":
      return "the path that suits the class most";
    case "ordered":
      return rule.uplinks.length > 0 ? `first of ${rule.uplinks.join(", ")}` : "in the order of uplinks";
    case "weighted":
      return "spread over paths, more on wider ones";
    case "duplicate":
      return "every packet by two paths";
    case "fec":
      return `${rule.parity ?? 1} of ${(rule.data ?? 8) + (rule.parity ?? 1)} packets mend what is lost`;
    default:
      return rule.strategy;
  }
}

/** Everything that one may search for. */
export function searched(rule: PolicyRule): string {
  const parts = matches(rule).map(({ what, values }) => `${what} ${values}`);
  return [rule.name, rule.class, rule.strategy, rule.mark ?? "", chooses(rule), ...parts]
    .join(" ")
    .toLowerCase();
}

/** What a class needs of its path. */
export function limits(one: TrafficClass): string {
  const parts = [
    one.latency_ms === null ? null : `${latency(one.latency_ms / 1000)} one way`,
    one.jitter_ms === null ? null : `${latency(one.jitter_ms / 1000)} jitter`,
    one.loss === null ? null : `${percent(one.loss)} lost`,
  ].filter((part) => part !== null);
  return parts.length === 0 ? "no limits" : `at most ${parts.join(", ")}`;
}

/** Policies that no flow comes to: one that is asked before takes all. */
export function unreached(rules: PolicyRule[]): Map<string, string> {
  const all = rules.findIndex((rule) => matches(rule).length === 0);
  const by = rules[all]?.name;
  return new Map(by === undefined ? [] : rules.slice(all + 1).map((rule) => [rule.name, by]));
}

/** Who says what policies there are, where it is not this process. */
export function follows(detail: string): { controller: boolean; address: string | null } {
  const at = /of the controller at (\S+?)[,;]?(?:\s|$)/.exec(detail);
  return { controller: at !== null || detail.includes("without its controller"), address: at?.[1] ?? null };
}
