import "./map.css";
import { type Accessor, createSignal, For, Index, type JSX, onCleanup, Show } from "solid-js";
import type { Path } from "../../api/sdwan-types";
import { count, latency, percent } from "../../format";
import { href } from "../../router";
import { Icon } from "../../ui/icon";
import { type Point, shape } from "./constellation";
import { fitted } from "./graph";
import { ends, heard, type Reading, reading, type Tone } from "./reading";
import { State, Taken } from "./shared";

/** A site as a shape. */
export interface Star {
  name: string;
  reading: Reading;
  at: Point;
}

/** Two places, and how well they are joined. */
export interface Line {
  from: Point;
  to: Point;
  tone: Tone;
  /** Where it bends: at the hub. */
  by: Point | null;
  hub: boolean;
  said: string;
}

const PHONE = "(max-width: 760px)";

/** Whether the page is as narrow as on a phone. */
export function createNarrow(): Accessor<boolean> {
  const query = matchMedia(PHONE);
  const [narrow, setNarrow] = createSignal(query.matches);
  const changed = () => setNarrow(query.matches);
  query.addEventListener("change", changed);
  onCleanup(() => query.removeEventListener("change", changed));
  return narrow;
}

const LEGEND: { tone: Tone; text: string }[] = [
  { tone: "good", text: "joined, up" },
  { tone: "warn", text: "impaired" },
  { tone: "accent", text: "on trial" },
  { tone: "bad", text: "cut off, down" },
  { tone: "", text: "never heard of" },
];

/** What shapes and lines mean. */
export function Legend(props: { lines: boolean }) {
  return (
    <ul class="legend" aria-label="What shapes and lines mean">
      <For each={LEGEND}>
        {(one) => (
          <li>
            <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
              <path class={`shape ${one.tone || "none"}`} d={shape(one.tone, [8, 8], 5.5)} />
            </svg>
            {one.text}
          </li>
        )}
      </For>
      <Show when={props.lines}>
        <li>
          <svg width="30" height="8" viewBox="0 0 30 8" aria-hidden="true">
            <g class="edge taken">
              <path class="edge-line" d="M1 4H29" />
            </g>
          </svg>
          taken by new flows
        </li>
      </Show>
      <li>
        <svg width="30" height="8" viewBox="0 0 30 8" aria-hidden="true">
          <g class="edge hub">
            <path class="edge-line" d="M1 4H29" />
          </g>
        </svg>
        by a hub
      </li>
    </ul>
  );
}

const drawnAs = ({ from, to, by }: Line) =>
  by
    ? `M${from[0]} ${from[1]}L${by[0]} ${by[1]}L${to[0]} ${to[1]}`
    : `M${from[0]} ${from[1]}L${to[0]} ${to[1]}`;

/** Sites as shapes, and lines between them. A site is chosen by its address, so that the keyboard, a tap and a link do the same. */
export function Stars(props: {
  box: Point;
  stars: Star[];
  lines: Line[];
  radius: number;
  /** Whether names stand at shapes; else they are told when a site is pointed at. */
  names: boolean;
  /** What is in the middle. */
  here?: string | undefined;
  chosen: string | null;
  address: (site: string) => string;
  onPoint: (site: string | null) => void;
}) {
  const middle = (): Point => [props.box[0] / 2, props.box[1] / 2];
  return (
    // biome-ignore lint/a11y/useSemanticElements: what is drawn can be no fieldset
    <svg
      class="stars"
      viewBox={`0 0 ${props.box[0]} ${props.box[1]}`}
      role="group"
      aria-label="Sites and how they are joined"
    >
      <Index each={props.lines}>
        {(line) => (
          <g class={`edge ${line().tone || "none"}${line().hub ? " hub" : ""}`}>
            <path class="edge-line" d={drawnAs(line())}>
              <title>{line().said}</title>
            </path>
          </g>
        )}
      </Index>
      <Index each={props.stars}>
        {(star) => (
          <g>
            <a
              class="star"
              classList={{ chosen: star().name === props.chosen }}
              href={props.address(star().name)}
              aria-label={`${star().name}: ${star().reading.text}, ${star().reading.detail}`}
              aria-current={star().name === props.chosen ? "true" : undefined}
              onMouseEnter={() => props.onPoint(star().name)}
              onMouseLeave={() => props.onPoint(null)}
              onFocus={() => props.onPoint(star().name)}
              onBlur={() => props.onPoint(null)}
            >
              <title>{star().name}</title>
              <circle
                class="star-reach"
                cx={star().at[0]}
                cy={star().at[1]}
                r={Math.max(15, props.radius + 5)}
              />
              <path
                class={`shape ${star().reading.tone || "none"}`}
                d={shape(star().reading.tone, star().at, props.radius)}
              />
              <Show when={props.names}>
                <text x={star().at[0]} y={star().at[1] + props.radius + 13}>
                  {fitted(star().name, 14)}
                </text>
              </Show>
            </a>
          </g>
        )}
      </Index>
      <Show when={props.here}>
        {(name) => (
          <g class="node here">
            <rect x={middle()[0] - 58} y={middle()[1] - 17} width="116" height="34" rx="8" />
            <text class="node-name" x={middle()[0]} y={middle()[1] + 5}>
              {fitted(name(), 13)}
            </text>
          </g>
        )}
      </Show>
    </svg>
  );
}

/** Too many sites for a picture: the same shapes in rows, by how they are. */
export function Tiles(props: {
  sites: { name: string; reading: Reading }[];
  chosen: string | null;
  address: (site: string) => string;
  onPoint: (site: string | null) => void;
}) {
  const groups = () => {
    const found = new Map<string, { reading: Reading; sites: { name: string; reading: Reading }[] }>();
    for (const site of props.sites) {
      const known = found.get(site.reading.text);
      if (known) known.sites.push(site);
      else found.set(site.reading.text, { reading: site.reading, sites: [site] });
    }
    return [...found.values()];
  };
  return (
    <div class="tiles">
      <For each={groups()}>
        {(group) => (
          <section aria-label={`Sites that are ${group.reading.text}`}>
            <h3>
              <State of={{ ...group.reading, detail: "" }} /> {count(group.sites.length)}
            </h3>
            <ul>
              <For each={group.sites}>
                {(site) => (
                  <li>
                    <a
                      class={`tile ${site.reading.tone || "none"}`}
                      classList={{ chosen: site.name === props.chosen }}
                      href={props.address(site.name)}
                      title={`${site.name}: ${site.reading.detail}`}
                      onMouseEnter={() => props.onPoint(site.name)}
                      onMouseLeave={() => props.onPoint(null)}
                      onFocus={() => props.onPoint(site.name)}
                      onBlur={() => props.onPoint(null)}
                    >
                      <span class="visually-hidden">
                        {site.name}: {site.reading.text}
                      </span>
                      <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">
                        <path
                          class={`shape ${site.reading.tone || "none"}`}
                          d={shape(site.reading.tone, [7, 7], 5)}
                        />
                      </svg>
                    </a>
                  </li>
                )}
              </For>
            </ul>
          </section>
        )}
      </For>
    </div>
  );
}

function PathLine(props: { path: Path; from: string | null; linked: boolean }) {
  const words = () => `${props.from ? `${props.from}: ` : ""}${ends(props.path)}`;
  return (
    <li>
      <State of={reading(props.path)} />
      <Show when={props.linked} fallback={<span>{words()}</span>}>
        <a href={href("/sdwan/paths", { path: props.path.id })}>{words()}</a>
      </Show>
      <Taken when={props.path.chosen} />
      <Show when={heard(props.path)}>
        <span class="muted">
          {latency(props.path.latency_ms / 1000)},{" "}
          {props.path.loss > 0 ? `${percent(props.path.loss)} lost` : "no loss"}
        </span>
      </Show>
    </li>
  );
}

/** Of a panel, so many paths; the rest is where the paths are. */
const MOST_LISTED = 16;

/** The site that is pointed at or chosen, and its paths. */
export function SitePanel(props: {
  name: string | null;
  reading: Reading | null;
  paths: (Path & { from?: string })[];
  /** Whether paths are of this process, and have a page of their own. */
  linked: boolean;
  more?: JSX.Element;
}) {
  return (
    <section class="site-panel" aria-label="Paths of the site">
      <Show
        when={props.name !== null && props.reading}
        fallback={<p class="muted">Point at a site or choose it: its paths are listed here.</p>}
      >
        {(is) => (
          <>
            <h3>
              {props.name} <State of={is()} /> <span class="muted">{is().detail}</span>
            </h3>
            <ul>
              <For each={props.paths.slice(0, MOST_LISTED)}>
                {(path) => <PathLine path={path} from={path.from ?? null} linked={props.linked} />}
              </For>
            </ul>
            <p class="row wrap">
              <Show when={props.paths.length > MOST_LISTED}>
                <span class="muted">and {count(props.paths.length - MOST_LISTED)} more</span>
              </Show>
              <Show when={props.linked}>
                <a href={href("/sdwan/paths", { site: props.name })}>
                  All of it under Paths <Icon name="right" size={12} />
                </a>
              </Show>
              {props.more}
            </p>
          </>
        )}
      </Show>
    </section>
  );
}
