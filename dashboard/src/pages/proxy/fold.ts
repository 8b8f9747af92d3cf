import type { Rule } from "../../api/proxy-types";

// What is the same of every route is said once.

export type Reason = Rule["reasons"][number];

const same = (one: Reason, other: Reason) => one.reason === other.reason && one.detail === other.detail;

/** What keeps every route from the fast path; nothing where there is one route, which says it itself. */
export function ofEveryRoute(rules: Rule[]): Reason[] {
  const [first, ...others] = rules.filter((rule) => rule.kind === "route");
  if (first === undefined || others.length === 0) return [];
  return first.reasons.filter((reason) =>
    others.every((rule) => rule.reasons.some((one) => same(one, reason))),
  );
}

/** What is left to say of a rule where that is said already. */
export function ownReasons(rule: Rule, shared: Reason[]): Reason[] {
  if (rule.kind !== "route") return rule.reasons;
  return rule.reasons.filter((reason) => !shared.some((one) => same(one, reason)));
}
