import type { Columns } from "./samples";
import type { History, Metric } from "./types";

// Figures made out of metrics. Pure.

type Values = (number | null)[];

/** The name of a series of one cell, as the server writes it. */
export function seriesOf(name: string, labels: Record<string, string>): string {
  const escaped = (value: string) => value.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));
  const parts = Object.entries(labels).map(([label, value]) => `${label}="${escaped(value)}"`);
  return parts.length === 0 ? name : `${name}{${parts.join(",")}}`;
}

/** The sum of those that were measured; null where none was. */
export function sum(values: (number | null | undefined)[]): number | null {
  const measured = values.filter((value) => value !== null && value !== undefined);
  return measured.length === 0 ? null : measured.reduce((total, value) => total + value, 0);
}

/** The share of `part` in `whole`; null where there is nothing that it could be a share of. */
export function share(part: number | null, whole: number | null): number | null {
  return part === null || whole === null || whole <= 0 ? null : Math.min(1, part / whole);
}

/** Lines that are sums of series: for each line, the places of its series. */
export function sums(lines: number[][]): (columns: Columns) => Columns {
  return ([times, ...values]) => [
    times,
    ...lines.map((places) => times.map((_, i) => sum(places.map((place) => values[place]?.[i])))),
  ];
}

/** Lines that are shares: for each, the places of what is counted and of all that it is a part of. */
export function shares(lines: { of: number[]; among: number[] }[]): (columns: Columns) => Columns {
  return ([times, ...values]) => [
    times,
    ...lines.map(({ of, among }) =>
      times.map((_, i) => {
        const at = (places: number[]) => sum(places.map((place) => values[place]?.[i]));
        return share(at(of), at(among));
      }),
    ),
  ];
}

/** The mean of what was measured. */
export function mean(values: Values | undefined): number | null {
  const measured = (values ?? []).filter((value) => value !== null);
  return measured.length === 0 ? null : measured.reduce((total, value) => total + value, 0) / measured.length;
}

/** The largest of what was measured. */
export function largest(values: Values | undefined): number | null {
  const measured = (values ?? []).filter((value) => value !== null);
  return measured.length === 0 ? null : Math.max(...measured);
}

/** The series of a history by their names. */
export function byName(history: History | undefined): Map<string, Values> {
  return new Map((history?.series ?? []).map((series) => [series.name, series.values]));
}

/** What a metric's cells add up to: those with this value of a label, or all. */
export function total(metrics: Metric[], name: string, label?: [name: string, value: string]): number | null {
  const metric = metrics.find((one) => one.name === name);
  const cells = (metric?.samples ?? []).filter((cell) => !label || cell.labels[label[0]] === label[1]);
  return sum(cells.map((cell) => cell.value ?? cell.count));
}

/** The cells of a metric by the value of a label, in their order. */
export function cells(metrics: Metric[], name: string, label: string): [string, number][] {
  const metric = metrics.find((one) => one.name === name);
  return (metric?.samples ?? []).map((cell) => [cell.labels[label] ?? "", cell.value ?? cell.count ?? 0]);
}

/** Rows that agree in `key`, counted, the most frequent first. */
export function tallied<T>(rows: T[], key: (row: T) => string): { key: string; count: number; latest: T }[] {
  const found = new Map<string, { key: string; count: number; latest: T }>();
  for (const row of rows) {
    const name = key(row);
    const before = found.get(name);
    if (before) before.count += 1;
    else found.set(name, { key: name, count: 1, latest: row });
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}
