import type { PolicySent, PolicyTraffic } from "../../api/controller-types";
import type { Columns } from "../../api/samples";

// What policies have carried, as it is asked for and drawn. Pure.

export type Length = "1h" | "24h" | "7d" | "30d";

/** Seconds. */
const LENGTHS: Record<Length, number> = { "1h": 3_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000 };

export const LENGTH_OPTIONS = (Object.keys(LENGTHS) as Length[]).map((value) => ({
  value,
  text: value.replace(/(\d+)/, "$1 "),
}));

/** From when on what is asked for was sent, in seconds. `now` is milliseconds since the epoch. */
export function since(length: Length, now: number): number {
  return Math.floor(now / 1000) - LENGTHS[length];
}

/** The part of all that was sent which each has. */
export function shares(items: PolicySent[]): number[] {
  const all = items.reduce((sum, { octets }) => sum + octets, 0);
  return items.map(({ octets }) => (all === 0 ? 0 : octets / all));
}

/**
 * Bits a second in each part of a time, in seconds since the epoch: nothing where nothing is told of one. What is not
 * over is left out, for it is not known yet how much it comes to.
 */
export function columnsOf(traffic: PolicyTraffic, from: number, until: number): Columns {
  const step = traffic.step_seconds;
  if (step <= 0) return [[], []];
  const sent = new Map(traffic.items.map(({ at, octets }) => [Math.round(Date.parse(at) / 1000), octets]));
  const first = Math.floor(from / step) * step;
  const parts = Math.max(0, Math.floor((until - first) / step));
  const times = Array.from({ length: parts }, (_, i) => first + i * step);
  return [times, times.map((at) => ((sent.get(at) ?? 0) * 8) / step)];
}
