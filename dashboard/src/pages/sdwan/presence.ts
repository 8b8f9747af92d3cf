import type { Enrolment, NetworkDocument, Presence } from "../../api/controller-types";
import { listed } from "./documents";
import type { Reading } from "./reading";

// How sites are to their controller, in words. Pure.

/** The version of the network of now, as far as any site has it. */
export function latestVersion(presences: Presence[]): number | null {
  return presences.find((one) => one.current)?.version ?? null;
}

/** Whether a site is there, and holds what the network is to be. */
export function presenceReading(one: Presence, latest: number | null): Reading {
  if (one.status === "connected" && one.current)
    return { tone: "good", icon: "check", text: "connected", detail: "It holds the network of now" };
  if (one.status === "connected" && one.refused !== null)
    return {
      tone: "bad",
      icon: "alert",
      text: "refuses",
      detail: "It stays as it was: it does not take up what it was told",
    };
  if (one.status === "connected")
    return { tone: "warn", icon: "alert", text: "behind", detail: lag(one, latest) };
  if (one.status === "gone")
    return {
      tone: "bad",
      icon: "offline",
      text: "gone",
      detail: `It goes on as it was told last${one.current ? ", which is the network of now" : ""}`,
    };
  return { tone: "", icon: "minus", text: "never came", detail: "Make a token, and enrol it there" };
}

/** How far a site is behind. */
export function lag(one: Presence, latest: number | null): string {
  if (one.current) return "up to date";
  if (one.version === null) return "It holds nothing yet";
  const behind = latest === null ? 0 : latest - one.version;
  return behind > 0
    ? `${behind} ${behind === 1 ? "change" : "changes"} behind`
    : `It holds version ${one.version}`;
}

/** What is to be said of the release of a site, beside that of its controller; null where nothing is. */
export function releaseNote(one: Presence, here: string | undefined): string | null {
  return one.release === null || here === undefined || one.release === here
    ? null
    : `release ${one.release}, this controller ${here}`;
}

/** How many sites are there, and how many are not. */
export function presenceTally(presences: Presence[]): string {
  const words = presences.map((one) => presenceReading(one, null).text);
  const parts = ["connected", "behind", "refuses", "gone", "never came"]
    .map((text) => ({ text, many: words.filter((word) => word === text).length }))
    .filter(({ many }) => many > 0);
  return parts.map(({ text, many }) => `${many} ${text}`).join(", ");
}

/** A site of the network: what it is to be, and how it is. */
export interface Enrolled {
  id: string;
  document: NetworkDocument;
  uplinks: NetworkDocument[];
  presence: Presence | undefined;
}

export function enrolled(
  sites: NetworkDocument[],
  uplinks: NetworkDocument[],
  presences: Presence[],
): Enrolled[] {
  const there = new Map(presences.map((one) => [one.site, one]));
  const of = new Map<string, NetworkDocument[]>();
  for (const uplink of uplinks) {
    const site = String(uplink.body.site ?? "");
    const known = of.get(site);
    if (known) known.push(uplink);
    else of.set(site, [uplink]);
  }
  return sites.map((document) => ({
    id: document.id,
    document,
    uplinks: of.get(document.id) ?? [],
    presence: there.get(document.id),
  }));
}

/** The networks that a site may come with by a token, in words. */
export function tokenNetworks(subnets: string[] | null): string {
  if (subnets === null) return "any";
  return subnets.length === 0 ? "none" : subnets.join(", ");
}

/** What a token is to be, as it is asked for: networks only where some are said. */
export function tokenAsked(site: string, networks: string, expires_in: number) {
  const subnets = listed(networks);
  return { site: site.trim(), expires_in, ...(subnets.length > 0 ? { subnets } : {}) };
}

/** What a token is good for. `now` is milliseconds since the epoch. */
export function tokenReading(one: Enrolment, now: number): Reading {
  if (one.used !== null)
    return { tone: "", icon: "check", text: "used", detail: "The site that showed it is taken in" };
  if (Date.parse(one.expires) <= now)
    return { tone: "", icon: "minus", text: "expired", detail: "Its time is over" };
  return { tone: "good", icon: "key", text: "good", detail: "It lets its site in, once" };
}
