import type { History } from "./types";

/** Columns for a chart: unix seconds, then one list of values a series; null is a gap. */
export type Columns = [number[], ...(number | null)[][]];

/** The latest samples of the live stream, oldest first, at most `limit`. */
export class LiveSamples {
  private times: number[] = [];
  private values: Record<string, number>[] = [];

  constructor(private readonly limit: number) {}

  push(time: number, values: Record<string, number>): void {
    if (!Number.isFinite(time)) return;
    const last = this.times.at(-1);
    if (last !== undefined && time <= last) return;
    this.times.push(time);
    this.values.push(values);
    if (this.times.length > this.limit) {
      this.times.shift();
      this.values.shift();
    }
  }

  /** The samples after `from`, as columns for `names`. */
  columns(names: string[], from: number): Columns {
    const first = this.times.findIndex((time) => time > from);
    if (first < 0) return [[], ...names.map(() => [])];
    return [
      this.times.slice(first),
      ...names.map((name) => this.values.slice(first).map((sample) => sample[name] ?? null)),
    ];
  }
}

export function historyColumns(history: History, names: string[]): Columns {
  const length = Math.max(0, ...history.series.map((series) => series.values.length));
  const times = Array.from({ length }, (_, i) => history.start + i * history.step);
  const byName = new Map(history.series.map((series) => [series.name, series.values]));
  return [times, ...names.map((name) => times.map((_, i) => byName.get(name)?.[i] ?? null))];
}

/**
 * History up to where the live samples begin, then the live samples. Where the stream was away for longer than
 * a history step, a gap is drawn rather than a line across what was not measured.
 */
export function joinColumns(history: Columns, live: Columns, step: number): Columns {
  // A stream's first sample has no rates yet: they are differences.
  const measured = live[0].findIndex((_, i) => live.slice(1).some((values) => (values[i] ?? null) !== null));
  const liveStart = live[0][measured];
  if (liveStart === undefined) return history;
  const keep = history[0].findIndex((time) => time >= liveStart);
  let cut = keep < 0 ? history[0].length : keep;
  // The newest steps are often not written yet: that is no gap.
  while (cut > 0 && history.slice(1).every((values) => values[cut - 1] === null)) cut -= 1;
  const times = history[0].slice(0, cut);
  const columns = history.slice(1).map((values) => values.slice(0, cut));
  const lastKept = times.at(-1);
  // History is written once a step, so its newest point may trail the first live sample by two.
  if (lastKept !== undefined && liveStart - lastKept > 3 * step) {
    times.push(liveStart - 1);
    for (const column of columns) column.push(null);
  }
  return [
    [...times, ...live[0].slice(measured)],
    ...columns.map((values, i) => [...values, ...(live[i + 1] ?? []).slice(measured)]),
  ] as Columns;
}

/** The last that was measured of a column, and when; null where nothing was. */
export function lastMeasured(
  [times, ...columns]: Columns,
  place: number,
): { at: number; value: number } | null {
  const values = columns[place] ?? [];
  const last = values.findLastIndex((value) => value !== null);
  const [at, value] = [times[last], values[last]];
  return at === undefined || value === undefined || value === null ? null : { at, value };
}

/** Live samples come each second, and what is in a history is fetched again each minute. */
const [LIVE_LAG, HISTORY_LAG] = [20, 60];

/** Seconds after which what was measured last is no longer so now: two steps, and what they come late by. */
export function freshFor(live: boolean, step: number): number {
  return live ? LIVE_LAG : 2 * step + HISTORY_LAG;
}

/** A line of fewer points is drawn with them: it may be no longer than a speck. */
const FEW_POINTS = 12;

/** The points that are drawn as such: all of a few, else those that no line leads to. */
export function markedPoints(values: ArrayLike<number | null | undefined>): number[] {
  const there = (i: number) => values[i] !== null && values[i] !== undefined;
  const points = Array.from({ length: values.length }, (_, i) => i).filter(there);
  return points.length < FEW_POINTS ? points : points.filter((i) => !there(i - 1) && !there(i + 1));
}
