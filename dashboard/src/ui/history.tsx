import { createSignal, For, type JSX, onMount, Show } from "solid-js";
import { api, query } from "../api/client";
import { createAction } from "../api/query";
import type { Page } from "../api/types";
import { Icon } from "./icon";
import { Older } from "./pager";
import { ProblemNotice, Skeleton } from "./states";

const PAGE = 100;

/** A log of what was changed: newest first, older pages are added below as they are asked for. */
export function History<T>(props: {
  label: string;
  lead: string;
  /** Where the API has it. */
  path: string;
  columns: string[];
  class?: string;
  /** Whether rows end with something to do. */
  tools?: boolean;
  empty: JSX.Element;
  children: (row: T, refresh: () => void) => JSX.Element;
}) {
  const [rows, setRows] = createSignal<T[] | null>(null);
  const [next, setNext] = createSignal<string | null>(null);
  const load = createAction(async (after: string | null) => {
    const page = await api.get<Page<T>>(`${props.path}${query({ limit: PAGE, after })}`);
    const before = after === null ? [] : (rows() ?? []);
    setRows(() => [...before, ...page.items]);
    setNext(page.next);
  });
  onMount(() => void load.run(null));
  return (
    <section class="card" aria-label={props.label}>
      <div class="toolbar">
        <p class="muted">{props.lead}</p>
        <button
          type="button"
          class="button push"
          disabled={load.pending()}
          onClick={() => void load.run(null)}
        >
          <Icon name="refresh" /> Refresh
        </button>
      </div>
      <Show when={load.problem()}>
        {(problem) => (
          <div class="card-body">
            <ProblemNotice problem={problem()} retry={() => void load.run(null)} />
          </div>
        )}
      </Show>
      <Show when={rows()} fallback={<Show when={!load.problem()} children={<Skeleton height={400} />} />}>
        {(list) => (
          <Show when={list().length > 0} fallback={props.empty}>
            <div class="table-frame">
              <table class={`table stacking ${props.class ?? ""}`}>
                <thead>
                  <tr>
                    <For each={props.columns}>{(column) => <th scope="col">{column}</th>}</For>
                    <Show when={props.tools}>
                      <th scope="col">
                        <span class="visually-hidden">Actions</span>
                      </th>
                    </Show>
                  </tr>
                </thead>
                <tbody>
                  <For each={list()}>{(row) => props.children(row, () => void load.run(null))}</For>
                </tbody>
              </table>
            </div>
            <Older next={next()} pending={load.pending()} onAsk={(after) => void load.run(after)} />
          </Show>
        )}
      </Show>
    </section>
  );
}
