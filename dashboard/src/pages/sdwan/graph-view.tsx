import { Index } from "solid-js";
import type { Path } from "../../api/sdwan-types";
import { latency, percent } from "../../format";
import { href } from "../../router";
import { type Point, shape } from "./constellation";
import { type Drawn, type Edge, fitted, WIDTH } from "./graph";
import { heard, reading, siteReading, summary } from "./reading";

const lineOf = (path: Path) => reading(path).tone || "none";

function figures(path: Path): string {
  if (!heard(path)) return reading(path).text;
  const lost = path.loss > 0 ? ` · ${percent(path.loss)} lost` : "";
  return `${latency(path.latency_ms / 1000)}${lost}`;
}

/** How wide a letter is about. */
const LETTER = 6.2;

function EdgeView(props: { site: string; edge: Edge; figures: boolean }) {
  const said = () => `${props.site}, ${summary(props.edge.path)}`;
  const text = () => figures(props.edge.path);
  // The shape stands before the words, and where there are none, in their place.
  const mark = (): Point => [
    props.edge.label[0] - (props.figures ? LETTER * (text().length / 2) + 12 : 0),
    props.edge.label[1],
  ];
  return (
    <g
      class={`edge ${lineOf(props.edge.path)}`}
      classList={{ taken: props.edge.path.chosen, hub: props.edge.hub }}
    >
      <a href={href("/sdwan/paths", { path: props.edge.path.id })} aria-label={said()}>
        <title>{said()}</title>
        <path class="edge-reach" d={props.edge.d} />
        <path class="edge-line" d={props.edge.d} />
        <text x={props.edge.label[0]} y={props.edge.label[1] + 4}>
          {text()}
        </text>
        <path
          class={`shape ${lineOf(props.edge.path)}`}
          d={shape(reading(props.edge.path).tone, mark(), 5.5)}
        />
      </a>
    </g>
  );
}

/** Our site in the middle, the others around it, and an edge for each path. */
export function Graph(props: {
  of: Drawn;
  here: string;
  chosen: string | null;
  address: (site: string) => string;
  onPoint: (site: string | null) => void;
}) {
  const centre = () => props.of.centre;
  const box = () => props.of.box;
  return (
    // biome-ignore lint/a11y/useSemanticElements: what is drawn can be no fieldset
    <svg
      viewBox={`0 0 ${WIDTH} ${props.of.height}`}
      classList={{ quiet: !props.of.figures }}
      role="group"
      aria-label="Sites and the paths to them"
    >
      {/* By place: nothing is drawn anew, and keeps the focus, when only figures change. */}
      <Index each={props.of.sites}>
        {(site) => (
          <Index each={site().edges}>
            {(edge) => <EdgeView site={site().site.name} edge={edge()} figures={props.of.figures} />}
          </Index>
        )}
      </Index>
      <Index each={props.of.sites}>
        {(site) => (
          <g class={`node ${siteReading(site().site).tone || "none"}`}>
            <a
              href={props.address(site().site.name)}
              classList={{ chosen: site().site.name === props.chosen }}
              aria-label={`${site().site.name}: ${siteReading(site().site).text}, ${siteReading(site().site).detail}`}
              aria-current={site().site.name === props.chosen ? "true" : undefined}
              onMouseEnter={() => props.onPoint(site().site.name)}
              onMouseLeave={() => props.onPoint(null)}
              onFocus={() => props.onPoint(site().site.name)}
              onBlur={() => props.onPoint(null)}
            >
              <title>{site().site.name}</title>
              <rect
                x={site().at[0] - box()[0]}
                y={site().at[1] - box()[1]}
                width={2 * box()[0]}
                height={2 * box()[1]}
                rx="8"
              />
              <path
                class={`shape ${siteReading(site().site).tone || "none"}`}
                d={shape(siteReading(site().site).tone, [site().at[0] - box()[0] + 13, site().at[1]], 5.5)}
              />
              <text class="node-name" x={site().at[0] + 7} y={site().at[1] - 2}>
                {fitted(site().site.name, props.of.letters)}
              </text>
              <text class="node-state" x={site().at[0] + 7} y={site().at[1] + 13}>
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
  );
}
