import type { ReportedEvent, ReportedPath } from "../../api/controller-types";
import type { Path, PathEvent, PathState } from "../../api/sdwan-types";
import { plural } from "../../format";
import { carries, type Joined, type Reading, reading, siteReading, urgency } from "./reading";

// The whole network, as its controller has it from the sites. Pure.

/** With more sites than this, lines between each two say nothing: it is drawn as one of them sees it. */
export const MOST_BETWEEN = 24;

const STATES: string[] = ["new", "down", "trial", "up", "suspect"] satisfies PathState[];

/** A path as the site at its near end has reported it; none where it is reported no longer. */
export function pathOf(reported: ReportedPath): Path | null {
  if (!STATES.includes(reported.state)) return null;
  return {
    id: reported.id,
    site: reported.remote_site,
    uplink: reported.uplink,
    remote_uplink: reported.remote_uplink,
    via: reported.via,
    mtu: 0,
    state: reported.state as PathState,
    chosen: reported.chosen,
    // Who reports has them, or says that the path is down.
    keys: true,
    endpoint: null,
    latency_ms: reported.latency_ms,
    jitter_ms: reported.jitter_ms,
    loss: reported.loss,
    mos: reported.mos,
    sent: 0,
    received: 0,
  };
}

/** What a site sees of the others. */
export function seenFrom(from: string, sites: string[], reported: ReportedPath[]): Joined[] {
  const others = new Map<string, Joined>(
    sites.filter((name) => name !== from).map((name) => [name, { name, subnets: [], paths: [] }]),
  );
  for (const one of reported) {
    if (one.site !== from) continue;
    const path = pathOf(one);
    if (path) others.get(one.remote_site)?.paths.push(path);
  }
  return [...others.values()].sort((a, b) => a.name.localeCompare(b.name));
}

/** Two sites, and all paths between them, of either direction. */
export interface Pair {
  a: string;
  b: string;
  paths: (Path & { from: string })[];
  /** The hub, where nothing goes straight. */
  via: string | null;
  reading: Reading;
}

export function pairs(sites: string[], reported: ReportedPath[]): Pair[] {
  const known = new Set(sites);
  const found = new Map<string, Pair>();
  for (const one of reported) {
    const path = pathOf(one);
    if (!path || !known.has(one.site) || !known.has(one.remote_site)) continue;
    const [a = "", b = ""] = [one.site, one.remote_site].sort();
    const key = JSON.stringify([a, b]);
    const pair = found.get(key) ?? {
      a,
      b,
      paths: [],
      via: null,
      reading: siteReading({ name: b, subnets: [], paths: [] }),
    };
    pair.paths.push({ ...path, from: one.site });
    found.set(key, pair);
  }
  for (const pair of found.values()) {
    pair.reading = siteReading({ name: pair.b, subnets: [], paths: pair.paths });
    const used = pair.paths.filter(carries);
    pair.via = used.length > 0 && used.every((path) => path.via) ? (used[0]?.via ?? null) : null;
  }
  return [...found.values()];
}

/** How a site is joined to all others. */
export function standing(name: string, all: Pair[]): Reading {
  const own = all.filter((pair) => pair.a === name || pair.b === name);
  const off = own.filter((pair) => pair.reading.tone === "bad");
  const troubled = own.filter((pair) => pair.reading.tone !== "good" && pair.reading.tone !== "bad");
  if (own.length === 0)
    return { tone: "", icon: "minus", text: "not heard of", detail: "No path from or to it is reported" };
  if (off.length === own.length)
    return {
      tone: "bad",
      icon: "critical",
      text: "cut off",
      detail: `No path to ${plural(own.length, "site")} carries`,
    };
  if (off.length > 0 || troubled.length > 0) {
    const parts = [
      off.length > 0 ? `cut off from ${plural(off.length, "site")}` : "",
      troubled.length > 0 ? `impaired to ${plural(troubled.length, "site")}` : "",
    ];
    return { tone: "warn", icon: "alert", text: "impaired", detail: parts.filter(Boolean).join(", ") };
  }
  return { tone: "good", icon: "check", text: "joined", detail: `Joined to ${plural(own.length, "site")}` };
}

/** Paths of a pair or a site, what is pressing first. */
export function pressingFirst<P extends Path>(paths: P[]): P[] {
  return [...paths].sort((a, b) => urgency(reading(b).tone) - urgency(reading(a).tone) || a.id - b.id);
}

/** What has happened at a site, as that site tells it itself. */
export function eventOf({ id, at, kind, of, from, to, why }: ReportedEvent): PathEvent {
  // Paths are called by the site that they lead to, and its name has no spaces.
  const site = of === "none" ? "" : (of.split(" ", 1)[0] ?? "");
  return { number: id, at_ms: Date.parse(at), kind, site, of, from, to, why };
}
