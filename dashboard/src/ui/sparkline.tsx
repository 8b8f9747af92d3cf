import "./sparkline.css";
import { createMemo, For } from "solid-js";
import type { Columns } from "../api/samples";
import { area, largestOf, line, meanOf, runs, steps } from "./spark";

const PARTS = 36;
const SIZE = [96, 26] as const;

/**
 * Two lines over time as small as a word: what is usual, and above it what is rare. The first column of what is
 * measured is the one, the second the other.
 */
export default function Sparkline(props: { columns: Columns; window: [number, number]; label: string }) {
  const drawn = createMemo(() => {
    const usual = steps(props.columns, 0, props.window, PARTS, meanOf);
    const rare = steps(props.columns, 1, props.window, PARTS, largestOf);
    const top = Math.max(0, ...rare.map((value) => value ?? 0), ...usual.map((value) => value ?? 0)) * 1.05;
    return {
      lines: runs(usual).map((run) => line(run, PARTS, top, SIZE)),
      areas: runs(rare).map((run) => area(run, PARTS, top, SIZE)),
    };
  });
  return (
    <svg
      class="sparkline"
      width={SIZE[0]}
      height={SIZE[1]}
      viewBox={`0 0 ${SIZE[0]} ${SIZE[1]}`}
      role="img"
      aria-label={props.label}
    >
      <title>{props.label}</title>
      <For each={drawn().areas}>{(d) => <path class="rare" d={d} />}</For>
      <For each={drawn().lines}>{(d) => <path class="usual" d={d} />}</For>
    </svg>
  );
}
