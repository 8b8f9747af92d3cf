import type { CacheSummary, PurgeReport } from "../../api/web-types";
import { plural } from "../../format";
import type { ToastTone } from "../../ui/notify";

// What a purge means, before and after. Pure.

export type PurgeKind = "url" | "prefix" | "tag" | "all";

/** The body of the request. */
export function requestOf(kind: PurgeKind, target: string): Record<string, string | boolean> {
  return kind === "all" ? { all: true } : { [kind]: target };
}

/** The places that a purge reaches, and what it does there. */
export function reach(kind: PurgeKind, summary: CacheSummary): string[] {
  const kinds = summary.tiers.map((tier) => tier.kind);
  const lines = ["Memory here, at once."];
  if (kinds.includes("redis")) lines.push("Redis, and with it the memory of every instance that shares it.");
  if (kinds.includes("disk")) lines.push("The disk.");
  if (summary.edge === "fastly" && kind === "prefix")
    lines.push("Not the CDN: fastly knows no purge by beginning, and keeps what it has.");
  else if (summary.edge) lines.push(`The CDN (${summary.edge}), which is told within moments.`);
  lines.push("What is being fetched at this moment is not given to who asks from now on.");
  if (kind === "all") lines.push("The next request for each URL asks its handler again: expect load.");
  return lines;
}

/** What came of it, in a sentence. */
export function outcome(report: PurgeReport): { text: string; tone: ToastTone } {
  const entries = `${plural(report.removed, "entry", "entries")} left memory`;
  const late = [
    report.shared === "pending" ? "Redis could not be told yet and is not asked until it has been" : "",
    report.disk === "pending" ? "the disk could not be told yet and is not asked until it has been" : "",
    report.edge === "everything"
      ? "too many purges wait for the CDN: it will be told to throw out everything"
      : "",
    report.edge === "unsupported" ? "the CDN knows no such purge" : "",
  ].filter((part) => part !== "");
  if (late.length > 0) return { text: `Purged: ${entries}; ${late.join("; ")}`, tone: "warn" };
  const done = [
    report.shared === "done" ? "Redis" : "",
    report.disk === "done" ? "the disk" : "",
    report.edge === "queued" ? "the CDN" : "",
  ].filter((part) => part !== "");
  const also = done.length === 0 ? "" : `; ${done.join(" and ")} told`;
  return { text: `Purged: ${entries}${also}`, tone: "good" };
}

/** The URLs of a text, one a line; the same once. */
export function urlsIn(text: string): string[] {
  const lines = text.split(/\s+/).filter((line) => line !== "");
  return [...new Set(lines)];
}
