import type { Columns } from "../api/samples";

// A small line of what many points say. Pure.

type Values = (number | null)[];

/** What each of `steps` equal parts of the time says of a column; null where nothing was measured. */
export function steps(
  columns: Columns,
  place: number,
  [from, to]: readonly [number, number],
  parts: number,
  fold: (values: number[]) => number,
): Values {
  const found: number[][] = Array.from({ length: parts }, () => []);
  const [times, ...values] = columns;
  times.forEach((time, i) => {
    const value = values[place]?.[i];
    const part = Math.min(parts - 1, Math.floor(((time - from) / (to - from)) * parts));
    if (value !== null && value !== undefined && part >= 0) found[part]?.push(value);
  });
  return found.map((part) => (part.length === 0 ? null : fold(part)));
}

export const meanOf = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
export const largestOf = (values: number[]) => Math.max(...values);

/** Parts of the time that a line bridges though nothing was measured there. */
const BRIDGED = 2;

/** Runs of what was measured: where nothing was for long, a line ends. */
export function runs(values: Values): [place: number, value: number][][] {
  const found: [number, number][][] = [];
  values.forEach((value, place) => {
    if (value === null) return;
    const last = found.at(-1)?.at(-1)?.[0];
    if (last !== undefined && place - last <= BRIDGED + 1) found.at(-1)?.push([place, value]);
    else found.push([[place, value]]);
  });
  return found;
}

/** The line through a run in a box, with y from the bottom up; of a single point, a speck. */
export function line(
  run: [number, number][],
  parts: number,
  top: number,
  [width, height]: readonly [number, number],
): string {
  const x = (place: number) => ((place + 0.5) / parts) * width;
  const y = (value: number) => height - (top > 0 ? Math.min(1, value / top) : 0) * height;
  const points = run.map(([place, value]) => `${x(place).toFixed(1)} ${y(value).toFixed(1)}`);
  return points.length === 1 ? `M${points[0]}h0.01` : `M${points.join("L")}`;
}

/** The same line, with what is below it. */
export function area(
  run: [number, number][],
  parts: number,
  top: number,
  size: readonly [number, number],
): string {
  const x = (place: number) => (((place + 0.5) / parts) * size[0]).toFixed(1);
  const [first, last] = [run[0]?.[0] ?? 0, run.at(-1)?.[0] ?? 0];
  return `${line(run, parts, top, size)}L${x(last)} ${size[1]}L${x(first)} ${size[1]}Z`;
}
