import type { Backend, BackendAction, Name, Policy, Pool } from "../../api/proxy-types";
import { count, plural, span } from "../../format";
import type { IconName } from "../../ui/icon";

// What backends and pools are, in words. Pure: how long ago the server said so is an argument.

export interface Reading {
  tone: "good" | "warn" | "bad" | "accent" | "";
  /** A shape of its own for each, for who does not tell colours apart. */
  icon: IconName;
  text: string;
  /** What else there is to know, and how long it lasts. */
  detail: string;
}

/** How a backend is chosen. */
export const POLICY: Record<Policy, string> = {
  round_robin: "in turn, by weight",
  least_conn: "fewest requests under way",
  random: "better of two at random",
  ip_hash: "by address of the client",
  maglev: "by hash",
};

/** Where the server does not say it in words itself. */
const EJECTED_BY: Record<string, string> = {
  "consecutive-5xx": "failed several times in a row",
  "consecutive-gateway": "answered 502, 503 or 504, or not at all, several times in a row",
  "success-rate": "fails far more than the others",
  "failure-percentage": "fails too much of what it is asked",
  hand: "by hand",
};

/** Seconds that are left by now, in words; the last moment is one, too. */
function left(seconds: number | null, ago: number): string {
  return span(Math.max(1, Math.ceil((seconds ?? 0) - ago)));
}

const joined = (parts: (string | null)[]) => parts.filter((part) => part !== null).join("; ");

/** What a backend is, `ago` seconds after the server said so. */
export function reading(backend: Backend, checked: boolean, ago: number): Reading {
  switch (backend.state) {
    case "usable": {
      if (backend.share !== null)
        return {
          tone: "accent",
          icon: "rising",
          text: "slow start",
          detail: `${Math.round(backend.share * 100)}% of its weight, all of it in ${left(backend.starts_for, ago)}`,
        };
      const since = backend.state_for === null ? "" : `for ${span(backend.state_for + ago)}`;
      const fails = backend.problem === null ? null : `a check failed: ${backend.problem}`;
      return checked
        ? { tone: "good", icon: "check", text: "healthy", detail: joined([since, fails]) }
        : { tone: "good", icon: "check", text: "in use", detail: joined([since, "not checked"]) };
    }
    case "unhealthy":
      return {
        tone: "bad",
        icon: "critical",
        text: "unhealthy",
        detail: joined([
          backend.state_for === null ? null : `for ${span(backend.state_for + ago)}`,
          backend.problem,
        ]),
      };
    case "ejected":
      return {
        tone: "warn",
        icon: "eject",
        text: "ejected",
        detail: joined([
          `back in ${left(backend.ejected_for, ago)}`,
          backend.ejected_because ?? EJECTED_BY[backend.ejected_by ?? ""] ?? backend.ejected_by,
        ]),
      };
    case "draining":
      return {
        tone: "accent",
        icon: "drain",
        text: backend.leaving ? "leaving" : "draining",
        detail: joined([
          `${left(backend.drains_for, ago)} left for what it has`,
          backend.leaving ? "no longer in the configuration" : null,
        ]),
      };
    case "drained":
      return {
        tone: "",
        icon: "minus",
        text: "drained",
        detail: backend.leaving ? "no longer in the configuration" : "until it is admitted",
      };
  }
}

/** What holds by hand of a backend that is not there, should it come. */
export function ordered(absent: Pool["absent"][number]): string {
  if (absent.drains_for !== null) return "is drained";
  return isTakenOut(absent) ? "is left out" : `weighs ${absent.weight ?? 0}`;
}

/** Whether that one may be admitted. */
export function isTakenOut(absent: Pool["absent"][number]): boolean {
  return absent.drains_for !== null || absent.ejected_for !== null;
}

/** What a backend is known by: its URL, and where that is a name, one of its addresses. */
export function named(key: string): { url: string; address: string | null } {
  const [url = key, address = null] = key.split(" at ", 2);
  return { url, address };
}

/** Why it is not known what a name stands for, `ago` seconds after the server said so; null where it is known. */
export function unknown(name: Name, ago: number): string | null {
  if (name.problem === null && name.addresses > 0) return null;
  if (name.tried_ago === null) return `${name.asked} has not answered yet`;
  const again = name.next_in === null ? "now" : `in ${left(name.next_in, ago)}`;
  const found = name.problem ?? "nobody gives this service";
  return `${found}; asked ${name.asked} ${span(Math.floor(name.tried_ago + ago))} ago, and again ${again}`;
}

/** What comes to a pool: that of a pool of layer 4 is no request. */
export function unit(pool: Pool): "Requests" | "Connections" | "Sessions" {
  const all = (schemes: RegExp) =>
    pool.backends.length > 0 && pool.backends.every((one) => schemes.test(one.key));
  if (all(/^(tcp|tls)(\+srv)?:/)) return "Connections";
  return all(/^udp(\+srv)?:/) ? "Sessions" : "Requests";
}

/** What an operator may do with a backend. */
export function actions(backend: Backend): BackendAction[] {
  if (backend.leaving) return [];
  switch (backend.state) {
    case "ejected":
      return ["drain", "admit"];
    case "draining":
    case "drained":
      return ["admit"];
    default:
      return ["drain", "eject"];
  }
}

/** How long something may go on, in words. */
export function lasting(seconds: number): string {
  return seconds === 0 ? "at once" : span(seconds);
}

/** Seconds to choose from: an ejection of no time would be none. */
export const SPANS: Record<"drain" | "eject", number[]> = {
  drain: [0, 10, 60, 300, 3_600, 86_400],
  eject: [10, 60, 300, 3_600, 86_400],
};

/** What a change leads to, a sentence each, and whether clients suffer from it. */
export function consequences(
  pool: Pool,
  backend: Backend,
  action: "drain" | "eject",
  seconds: number,
): { lines: string[]; hurts: boolean } {
  const busy = backend.requests === 0 ? "" : ` (${plural(backend.requests, "request")} now)`;
  const rest = seconds === 0 ? "is cut off at once" : `may go on for ${span(seconds)}`;
  const lines =
    action === "drain"
      ? [
          `It gets no new requests. What it has${busy} ${rest}.`,
          "It stays out until it is admitted, through restarts too.",
        ]
      : [`It gets nothing for ${span(seconds)}, and then comes back by itself. What it has${busy} goes on.`];
  const others = pool.backends.filter((one) => one.key !== backend.key);
  // Who drains does not count: the others are not weaker for it.
  const counted = others.filter((one) => one.state !== "draining" && one.state !== "drained");
  const usable = counted.filter((one) => one.state === "usable").length;
  const total = counted.length + (action === "eject" ? 1 : 0);
  const panics = total > 0 && usable * 100 < total * pool.panic_threshold;
  if (panics) {
    const too = action === "eject" ? ", this backend too" : "";
    lines.push(
      `Then less than ${pool.panic_threshold}% of the pool is healthy: all that is left is used, whatever its health${too}.`,
    );
  } else if (usable === 0) {
    lines.push("No other backend is usable: requests of this pool are answered with 503 until one is.");
  }
  const cuts = action === "drain" && seconds === 0 && backend.requests > 0;
  return { lines, hurts: panics || usable === 0 || cuts };
}

/** How many of a pool's backends are usable, and what the others are: 2 of 3 usable, 1 ejected. */
export function tally(pool: Pool): string {
  const many = (state: Backend["state"]) => pool.backends.filter((one) => one.state === state).length;
  const rest = (["unhealthy", "ejected", "draining", "drained"] as const)
    .filter((state) => many(state) > 0)
    .map((state) => `${many(state)} ${state}`);
  const all = pool.backends.length;
  if (all === 0) return "no backends";
  const usable = many("usable");
  const first = usable === all ? (all === 1 ? "usable" : `all ${all} usable`) : `${usable} of ${all} usable`;
  return [first, ...rest].join(", ");
}

/** What all pools are together: as the cards of their backends say, or, where those are not known, as the live figures do. */
export function headline(pools: Pool[] | null, live: Record<string, number>): string | null {
  const backends = pools?.flatMap((pool) => pool.backends);
  const of = (state: Backend["state"]) => backends?.filter((one) => one.state === state).length;
  // Live figures do not tell who drains from who has drained.
  const rest: [number | undefined, string][] = backends
    ? (["unhealthy", "ejected", "draining", "drained"] as const).map((state) => [of(state), state])
    : [
        [live.proxy_unhealthy, "unhealthy"],
        [live.proxy_ejected, "ejected"],
        [live.proxy_draining, "draining or drained"],
      ];
  const usable = backends ? of("usable") : live.proxy_usable;
  if (usable === undefined) return null;
  const others = rest.flatMap(([many, word]) => (many ? [`${count(many)} ${word}`] : []));
  return [plural(usable, "usable backend"), ...others].join(", ");
}

/** Whether there is nothing to see of a pool now but that it is well: nobody asks it for anything. */
export function idles(pool: Pool): boolean {
  const passedOn = pool.backends.some((backend) => backend.passed !== null);
  const asked = pool.rate >= 0.05 || pool.requests > 0 || pool.waiting > 0;
  return !asked && !passedOn && !pool.panics && poolTone(pool) === "good";
}

/** How bad it is that not all are usable. */
export function poolTone(pool: Pool): "good" | "warn" | "bad" {
  const usable = pool.backends.filter((one) => one.state === "usable").length;
  if (usable === 0) return "bad";
  const troubled = pool.backends.some((one) => one.state === "unhealthy" || one.state === "ejected");
  return troubled ? "warn" : "good";
}
