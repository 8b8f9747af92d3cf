import type { Path, PathEvent, PathState, ShapedUplink, Site } from "../../api/sdwan-types";
import { latency, percent, plural } from "../../format";
import type { IconName } from "../../ui/icon";

// What paths and sites are, and what has happened to them, in words. Pure.

export type Tone = "good" | "warn" | "bad" | "accent" | "";

export interface Reading {
  tone: Tone;
  /** A shape of its own for each, for who does not tell colours apart. */
  icon: IconName;
  text: string;
  detail: string;
}

/** Below, many who speak by it are dissatisfied (ITU-T G.107, annex B: R under 70). */
const POOR_MOS = 3.6;
/** What calls and meetings bear of loss. */
const LOSSY = 0.01;

/** Whether it carries traffic. */
export function carries(path: Path): boolean {
  return path.state === "up" || path.state === "suspect";
}

/** Whether what was measured of it is of now. */
export function heard(path: Path): boolean {
  return carries(path) || path.state === "trial";
}

/** What keeps a path from being heard of. */
function silent(path: Path): string {
  if (path.keys) return "It has keys, and nothing gets through";
  return path.endpoint === null
    ? "The other end has to dial, and has not yet"
    : "The other end does not answer";
}

/** Whether an uplink is shaped as it is to be. */
export function shaping(state: ShapedUplink["state"]): Reading {
  switch (state) {
    case "shaped":
      return { tone: "good", icon: "check", text: "shaped", detail: "It is held to its rate" };
    case "rolled-back":
      return {
        tone: "",
        icon: "pause",
        text: "rolled back",
        detail: "That was taken back by hand; `outwork qos apply` shapes it again",
      };
    case "missing":
      return {
        tone: "warn",
        icon: "alert",
        text: "not shaped",
        detail: "Somebody has taken its classes away; `outwork qos apply` puts them back",
      };
    case "foreign":
      return {
        tone: "warn",
        icon: "alert",
        text: "not shaped",
        detail: "Somebody has put a queueing discipline in the place of its classes",
      };
    case "absent":
      return {
        tone: "bad",
        icon: "offline",
        text: "no interface",
        detail: "This machine has its interface no longer",
      };
  }
}

export function reading(path: Path): Reading {
  switch (path.state) {
    case "up":
      if (path.loss >= LOSSY)
        return {
          tone: "warn",
          icon: "alert",
          text: "lossy",
          detail: `It carries, and loses ${percent(path.loss)}`,
        };
      if (path.mos < POOR_MOS)
        return {
          tone: "warn",
          icon: "alert",
          text: "poor",
          detail: "It carries, and a call by it would sound poor",
        };
      return { tone: "good", icon: "check", text: "up", detail: "It carries" };
    case "suspect":
      return {
        tone: "warn",
        icon: "alert",
        text: "suspect",
        detail: "It carries, and what was due has not come",
      };
    case "trial":
      return {
        tone: "accent",
        icon: "rising",
        text: "on trial",
        detail: "It is back, and watched before traffic is trusted to it",
      };
    case "down":
      return { tone: "bad", icon: "critical", text: "down", detail: silent(path) };
    case "new":
      return { tone: "", icon: "minus", text: "new", detail: silent(path) };
  }
}

/** How pressing it is, the most first. */
const URGENCY: Record<Tone, number> = { bad: 4, warn: 3, accent: 2, "": 1, good: 0 };

export function urgency(tone: Tone): number {
  return URGENCY[tone];
}

/** Its two ends, and the hub between them. */
export function ends(path: Path): string {
  return `${path.uplink} → ${path.remote_uplink}${path.via ? ` by ${path.via}` : ""}`;
}

/** What events call a path. */
export function called(path: Path): string {
  return `${path.site} ${path.uplink}-${path.remote_uplink}${path.via ? ` by ${path.via}` : ""}`;
}

/** Why a path is what it is: what has made it so last, as far as that is remembered. The latest event comes first. */
export function causeOf(path: Path, events: PathEvent[]): PathEvent | null {
  const last = events.find((event) => event.kind === "path" && event.of === called(path));
  // What is older than the state is no cause of it.
  return last?.to === path.state ? last : null;
}

/** What it is like, for who cannot see it: fibre → dsl: up, taken, 12.3 ms, no loss. */
export function summary(path: Path): string {
  const figures = heard(path)
    ? [latency(path.latency_ms / 1000), path.loss > 0 ? `${percent(path.loss)} lost` : "no loss"]
    : [];
  const parts = [reading(path).text, path.chosen ? "taken" : null, ...figures];
  return `${ends(path)}: ${parts.filter((part) => part !== null).join(", ")}`;
}

/** A site, and the paths that lead to it. */
export interface Joined {
  name: string;
  subnets: string[];
  paths: Path[];
}

/** Sites with their paths: what is pressing first, then by name. */
export function joined(sites: Site[], paths: Path[]): Joined[] {
  const found = new Map<string, Joined>(
    sites.map(({ name, subnets }) => [name, { name, subnets, paths: [] as Path[] }]),
  );
  for (const path of paths) {
    const known = found.get(path.site);
    if (known) known.paths.push(path);
    else found.set(path.site, { name: path.site, subnets: [], paths: [path] });
  }
  const pressing = (site: Joined) => urgency(siteReading(site).tone);
  return [...found.values()].sort((a, b) => pressing(b) - pressing(a) || a.name.localeCompare(b.name));
}

/** How a site is to be reached. */
export function siteReading(site: Joined): Reading {
  const all = site.paths.length;
  const carrying = site.paths.filter(carries).length;
  if (all === 0)
    return {
      tone: "bad",
      icon: "critical",
      text: "no path",
      detail: "No uplink of ours can reach one of theirs, nor theirs one of ours",
    };
  if (carrying === 0)
    return {
      tone: "bad",
      icon: "critical",
      text: "cut off",
      detail: all === 1 ? "Its only path does not carry" : `None of ${plural(all, "path")} carries`,
    };
  const detail = carrying === all ? `${plural(all, "path")} up` : `${carrying} of ${plural(all, "path")} up`;
  if (carrying < all) return { tone: "warn", icon: "alert", text: "impaired", detail };
  const troubled = site.paths.filter((path) => reading(path).tone !== "good").length;
  return troubled === 0
    ? { tone: "good", icon: "check", text: "joined", detail }
    : { tone: "warn", icon: "alert", text: "impaired", detail: `${detail}, ${troubled} of them troubled` };
}

/** How many sites are joined, and what the others are. */
export function tally(sites: Joined[]): string {
  const many = (text: string) => sites.filter((site) => siteReading(site).text === text).length;
  const rest = ["impaired", "cut off", "no path"]
    .filter((text) => many(text) > 0)
    .map((text) => `${many(text)} ${text}`);
  const whole = many("joined");
  if (whole === sites.length) return `all of ${plural(whole, "site")} joined`;
  return [...(whole > 0 ? [`${whole} joined`] : []), ...rest].join(", ");
}

const NONE = "none";

/** A path without the site that it leads to, where that is said already. */
function within(site: string, path: string): string {
  return path.startsWith(`${site} `) ? path.slice(site.length + 1) : path;
}

const BECOMES: Record<PathState, [tone: Tone, icon: IconName]> = {
  new: ["", "minus"],
  down: ["bad", "critical"],
  trial: ["accent", "rising"],
  up: ["good", "check"],
  suspect: ["warn", "alert"],
};

/** A state in colour, shape and word, without what is behind it. */
export function becomes(state: string): Pick<Reading, "tone" | "icon" | "text"> {
  const [tone, icon]: [Tone, IconName] = BECOMES[state as PathState] ?? ["", "info"];
  return { tone, icon, text: word(state) };
}

const word = (state: string) => (state === "trial" ? "on trial" : state);

/** What a change means where the server has no reason to tell: only a path that goes down has one. */
const MEANS: Record<PathState, string> = {
  new: "",
  down: "",
  trial: "it is heard again, and watched for a while before traffic is trusted to it",
  up: "it is heard as it should be",
  suspect: "what was due by it has not come",
};

/** Why it has happened. */
export function why(event: PathEvent): string {
  if (event.why !== "" || event.kind !== "path") return event.why;
  return MEANS[event.to as PathState] ?? "";
}

/** When the first of what is told as one has happened, in milliseconds since the epoch; null where it has happened once. */
export function begun(event: PathEvent): number | null {
  return (event.count ?? 1) > 1 ? (event.since_ms ?? null) : null;
}

/** How many things have happened: some are told as one. */
export function happened(events: PathEvent[]): number {
  return events.reduce((sum, event) => sum + Math.max(1, event.count ?? 1), 0);
}

/** The traffic that a switch is about. */
function flows(event: PathEvent): string {
  return event.class ? ` of class ${event.class}` : "";
}

/** Kinds of what has happened, in the words that choose them; those that a newer server tells of by their own. */
const KINDS: Record<string, string> = { switch: "Switches", path: "Paths", mtu: "MTU" };

export function kindsOf(events: PathEvent[]): { value: string; text: string }[] {
  const others = new Set(events.map((event) => event.kind).filter((kind) => !Object.hasOwn(KINDS, kind)));
  return [
    ...Object.entries(KINDS).map(([value, text]) => ({ value, text })),
    ...[...others].sort().map((kind) => ({ value: kind, text: kind })),
  ];
}

/** What has happened, as a sentence; why it has is the server's own. */
export function told(event: PathEvent): Reading {
  const site = event.site === "" ? event.of : event.site;
  if (event.kind === "switch") {
    const [from, to] = [within(site, event.from), within(site, event.to)];
    if (event.to === NONE)
      return {
        tone: "bad",
        icon: "critical",
        text: "no path",
        detail: `Traffic${flows(event)} took ${from}, and has no path left`,
      };
    const instead = event.from === NONE ? "" : ` instead of ${from}`;
    return {
      tone: "accent",
      icon: "sdwan",
      text: "switch",
      detail: `New flows${flows(event)} take ${to}${instead}`,
    };
  }
  const path = event.of === NONE ? "A path that is gone" : `Path ${within(site, event.of)}`;
  if (event.kind === "mtu") {
    const [tone, icon]: [Tone, IconName] =
      Number(event.to) < Number(event.from) ? ["warn", "alert"] : ["", "rising"];
    return {
      tone,
      icon,
      text: "MTU",
      detail: `${path}: packets of ${event.to} octets, which were of ${event.from}`,
    };
  }
  if (event.kind !== "path") {
    const changed =
      event.from === "" || event.from === event.to ? event.to : `${event.from}, now ${event.to}`;
    return {
      tone: "",
      icon: "info",
      text: event.kind,
      detail: [event.of, changed].filter(Boolean).join(": "),
    };
  }
  const [tone, icon] = BECOMES[event.to as PathState] ?? ["", "info"];
  return { tone, icon, text: word(event.to), detail: `${path}, which was ${word(event.from)}` };
}
