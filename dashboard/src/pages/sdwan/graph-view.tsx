import { For, Index, Show } from "solid-js";
import type { Path } from "../../api/sdwan-types";
import { latency, percent } from "../../format";
import { href } from "../../router";
import { type Drawn, type Edge, fitted, WIDTH } from "./graph";
import { heard, reading, siteReading, summary } from "./reading";

/** Colours alone tell little: each state has a line of its own. */
const LEGEND = [
  { line: "good", text: "up" },
  { line: "warn", text: "impaired" },
  { line: "accent", text: "on trial" },
  { line: "bad", text: "down" },
  { line: "none", text: "never heard of" },
  { line: "taken", text: "taken by new flows" },
];

const lineOf = (path: Path) => reading(path).tone || "none";

function figures(path: Path): string {
  if (!heard(path)) return reading(path).text;
  const lost = path.loss > 0 ? ` · ${percent(path.loss)} lost` : "";
  return `${latency(path.latency_ms / 1000)}${lost}`;
}

function EdgeView(props: { site: string; edge: Edge }) {
  const said = () => `${props.site}, ${summary(props.edge.path)}`;
  return (
    <g class={`edge ${lineOf(props.edge.path)}${props.edge.path.chosen ? " taken" : ""}`}>
      <a href={href("/sdwan/paths", { path: props.edge.path.id })} aria-label={said()}>
        <title>{said()}</title>
        <path class="edge-reach" d={props.edge.d} />
        <path class="edge-line" d={props.edge.d} />
        <text x={props.edge.label[0]} y={props.edge.label[1] + 4}>
          {figures(props.edge.path)}
        </text>
      </a>
    </g>
  );
}

/** Our site in the middle, the others around it, and an edge for each path. On a phone the list below says it better. */
export function Graph(props: { of: Drawn; here: string }) {
  const centre = () => props.of.centre;
  const box = () => props.of.box;
  return (
    <section class="card graph" aria-label="Map of sites">
      {/* biome-ignore lint/a11y/useSemanticElements: what is drawn can be no fieldset */}
      <svg
        viewBox={`0 0 ${WIDTH} ${props.of.height}`}
        classList={{ quiet: !props.of.figures }}
        role="group"
        aria-label="Sites and the paths to them"
      >
        {/* By place: nothing is drawn anew, and keeps the focus, when only figures change. */}
        <Index each={props.of.sites}>
          {(site) => (
            <Index each={site().edges}>{(edge) => <EdgeView site={site().site.name} edge={edge()} />}</Index>
          )}
        </Index>
        <Index each={props.of.sites}>
          {(site) => (
            <g class={`node ${siteReading(site().site).tone || "none"}`}>
              <a
                href={href("/sdwan/paths", { site: site().site.name })}
                aria-label={`${site().site.name}: ${siteReading(site().site).text}, ${siteReading(site().site).detail}`}
              >
                <title>{site().site.name}</title>
                <rect
                  x={site().at[0] - box()[0]}
                  y={site().at[1] - box()[1]}
                  width={2 * box()[0]}
                  height={2 * box()[1]}
                  rx="8"
                />
                <text class="node-name" x={site().at[0]} y={site().at[1] - 2}>
                  {fitted(site().site.name, props.of.letters)}
                </text>
                <text class="node-state" x={site().at[0]} y={site().at[1] + 13}>
                  {siteReading(site().site).text}
                </text>
              </a>
            </g>
          )}
        </Index>
        <g class="node here">
          <rect x={centre()[0] - 74} y={centre()[1] - 24} width="148" height="48" rx="8" />
          <text class="node-name" x={centre()[0]} y={centre()[1] - 2}>
            {fitted(props.here, 16)}
          </text>
          <text class="node-state" x={centre()[0]} y={centre()[1] + 14}>
            this site
          </text>
        </g>
      </svg>
      <ul class="legend" aria-label="What lines mean">
        <For each={LEGEND}>
          {(one) => (
            <li>
              <svg width="30" height="8" viewBox="0 0 30 8" aria-hidden="true">
                <g class={`edge ${one.line}`}>
                  <path class="edge-line" d="M1 4H29" />
                </g>
              </svg>
              {one.text}
            </li>
          )}
        </For>
      </ul>
      <Show when={!props.of.figures}>
        <p class="muted graph-hint">Point at a path for its figures; they stand in the list, too.</p>
      </Show>
    </section>
  );
}
