import { createEffect, createMemo, on, Show } from "solid-js";
import { api, query } from "../../api/client";
import { latest } from "../../api/live";
import { createQuery, type Query } from "../../api/query";
import type { Path, PathState, Site } from "../../api/sdwan-types";
import { Icon } from "../../ui/icon";
import type { Reading } from "./reading";

export const STATES: PathState[] = ["up", "suspect", "trial", "down", "new"];

/** How many paths are in a state, by the live stream. */
export function inState(state: PathState): number | undefined {
  return latest()[`sdwan_paths{state="${state}"}`];
}

export interface Paths {
  /** When the server told of them, by the browser's clock. */
  at: number;
  items: Path[];
}

/** The live stream knows within a second that a path has come or gone: the next poll need not be waited for. */
export function refetchOnChange(refetch: () => void): void {
  const census = createMemo(() => STATES.map(inState).join(" "));
  createEffect(on(census, refetch, { defer: true }));
}

/** More paths than this are not asked for every two seconds: what changes its state is known at once all the same. */
export const MOST_AT_ONCE = 200;

/** All paths, or those to one site. */
export function createPaths(site: () => string | null = () => null): Query<Paths> {
  const paths = createQuery<string | null, Paths>(
    site,
    async (of, signal) => {
      const { items } = await api.get<{ items: Path[] }>(`/sdwan/paths${query({ site: of })}`, signal);
      return { at: Date.now(), items };
    },
    { every: (last) => ((last?.items.length ?? 0) > MOST_AT_ONCE ? 10_000 : 2_000) },
  );
  refetchOnChange(paths.refetch);
  return paths;
}

export function createSites(): Query<{ items: Site[] }> {
  return createQuery<null, { items: Site[] }>(
    () => null,
    (_, signal) => api.get("/sdwan/sites", signal),
    { every: 10_000, key: "name" },
  );
}

/** A state in colour, shape and word. */
export function State(props: { of: Reading }) {
  return (
    <span class={`badge ${props.of.tone}`} title={props.of.detail === "" ? undefined : props.of.detail}>
      <Icon name={props.of.icon} size={12} />
      {props.of.text}
    </span>
  );
}

/** That new flows take a path. */
export function Taken(props: { when: boolean }) {
  return (
    <Show when={props.when}>
      <span class="badge accent" title="New flows take it">
        <Icon name="right" size={12} /> taken
      </span>
    </Show>
  );
}
