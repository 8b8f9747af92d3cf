import "./chart.css";
import { createEffect, createSignal, For, on, onCleanup, onMount, Show } from "solid-js";
import uPlot from "uplot";
import { type Columns, lastMeasured, markedPoints } from "../api/samples";
import { clock, relative, tick, timestamp, trimmed } from "../format";
import { themeChanged } from "../theme";

export interface ChartSeries {
  /** What the line is called beside its value; empty where the title says it. */
  label: string;
  color: 1 | 2 | 3 | 4;
  /** Lets a line that runs below show through, where the two are meant to be the same. */
  dashed?: boolean;
}

const HEIGHT = 168;
/** Binary steps, so that an axis of bytes reads in whole MiB. */
const BYTE_STEPS = Array.from({ length: 45 }, (_, i) => 2 ** i);

function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Lines over time. The values in the head are those of now, or those under the cursor; the cursor is shared by every
 * chart of the page, so one moment can be read across them. What was measured too long ago to be so now is no reading:
 * where nobody asks, no one of a hundred fails.
 */
export default function Chart(props: {
  title: string;
  series: ChartSeries[];
  columns: Columns;
  /** Unix seconds. */
  from: number;
  to: number;
  /** Seconds for which what was measured last counts as now. */
  fresh: number;
  format: (value: number) => string;
  /** How the axis writes values, where that is shorter. */
  axisFormat?: (value: number) => string;
  bytes?: boolean;
  /** The end of the axis, where values have one. */
  top?: number | undefined;
}) {
  let place: HTMLDivElement | undefined;
  let plot: uPlot | undefined;
  const [hovered, setHovered] = createSignal<number | null>(null);

  const reading = (i: number): string => {
    const at = hovered();
    const column = props.columns[i + 1] as (number | null)[] | undefined;
    const last = lastMeasured(props.columns, i);
    const now = last !== null && last.at >= props.to - props.fresh ? last.value : null;
    const value = at === null ? now : (column?.[at] ?? null);
    return value === null ? "–" : props.format(value);
  };
  /** What it was when it last was anything, for who asks. */
  const before = (i: number): string | undefined => {
    const last = lastMeasured(props.columns, i);
    if (hovered() !== null || last === null || last.at >= props.to - props.fresh) return undefined;
    return `Last ${props.format(last.value)}, ${relative(last.at * 1000, props.to * 1000)}`;
  };
  const moment = () => {
    const at = hovered();
    const time = at === null ? undefined : props.columns[0][at];
    if (time === undefined) return "";
    return props.to - props.from > 86_400 ? timestamp(time * 1000) : clock(time * 1000);
  };
  const summary = () =>
    `${props.title}: ${props.series.map((series, i) => `${series.label} ${reading(i)}`.trim()).join(", ")}`;

  function draw(): void {
    plot?.destroy();
    if (!place) return;
    const axis = { stroke: css("--muted"), font: `11px ${css("--sans")}`, ticks: { show: false } };
    const grid = { stroke: css("--line"), width: 1 };
    plot = new uPlot(
      {
        width: place.clientWidth,
        height: HEIGHT,
        padding: [8, 16, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          drag: { x: false, y: false },
          sync: { key: "outwork" },
          points: { size: 6 },
        },
        scales: {
          x: { range: () => [props.from, props.to] },
          y: { range: (_, __, max) => [0, props.top ?? (max > 0 ? max * 1.1 : 1)] },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 24,
            gap: 4,
            space: 64,
            values: (_, splits, __, ___, increment) => splits.map((at) => tick(at, increment)),
          },
          {
            ...axis,
            grid,
            size: (_, labels) =>
              Math.max(56, 12 + 6.6 * Math.max(0, ...(labels ?? []).map((label) => label.length))),
            gap: 6,
            space: 30,
            ...(props.bytes ? { incrs: BYTE_STEPS } : {}),
            values: (_, splits) => splits.map((value) => trimmed((props.axisFormat ?? props.format)(value))),
          },
        ],
        series: [
          {},
          ...props.series.map((series, i): uPlot.Series => {
            const color = css(`--series-${series.color}`);
            return {
              label: series.label,
              stroke: color,
              width: 1.5,
              points: {
                show: false,
                size: 5,
                fill: color,
                filter: (self, index) => markedPoints(self.data[index] ?? []),
              },
              ...(series.dashed ? { dash: [5, 4] } : {}),
              ...(i === 0 ? { fill: `${color}1a` } : {}),
            };
          }),
        ],
        hooks: { setCursor: [(self) => setHovered(self.cursor.idx ?? null)] },
      },
      props.columns as uPlot.AlignedData,
      place,
    );
  }

  onMount(() => {
    draw();
    const observer = new ResizeObserver(() => {
      if (place && plot && place.clientWidth > 0) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    });
    if (place) observer.observe(place);
    onCleanup(() => observer.disconnect());
  });
  onCleanup(() => plot?.destroy());
  createEffect(on(themeChanged, draw, { defer: true }));
  createEffect(
    on(
      () => [props.columns, props.from, props.to] as const,
      ([columns]) => plot?.setData(columns as uPlot.AlignedData),
      { defer: true },
    ),
  );

  return (
    <figure class="card chart">
      <figcaption class="chart-head">
        <h2>
          {props.title} <span>{moment()}</span>
        </h2>
        <For each={props.series}>
          {(series, i) => (
            <span class="chart-value" classList={{ past: before(i()) !== undefined }} title={before(i())}>
              <Show when={props.series.length > 1}>
                <span class={`swatch s${series.color}`} />
              </Show>
              {reading(i())}
              <Show when={series.label !== ""}>
                <small>{series.label}</small>
              </Show>
            </span>
          )}
        </For>
      </figcaption>
      <div class="chart-plot">
        {/* uPlot owns what is inside this one. */}
        <div ref={place} role="img" aria-label={summary()} />
        <Show when={props.columns[0].length < 2}>
          <span class="chart-waiting">Measuring: the first points are seconds away</span>
        </Show>
      </div>
    </figure>
  );
}
