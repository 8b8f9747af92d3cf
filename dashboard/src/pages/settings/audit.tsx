import { createSignal, For, onMount, Show } from "solid-js";
import { api, query } from "../../api/client";
import { createAction } from "../../api/query";
import type { AuditRow, Page } from "../../api/types";
import { timestamp, tomlValue } from "../../format";
import { Icon } from "../../ui/icon";
import { Empty, ProblemNotice, Skeleton } from "../../ui/states";

const PAGE = 100;

function detailOf(detail: unknown): string {
  if (detail === null || detail === undefined) return "";
  return typeof detail === "string" ? detail : tomlValue(detail);
}

function Row(props: { row: AuditRow }) {
  const ok = () => /^(ok|success|2\d\d)/i.test(props.row.result);
  // "refused: the operator role is needed": the verdict is the badge, its reason goes with the rest.
  const verdict = () => props.row.result.split(":", 1)[0];
  const reason = () => props.row.result.slice((verdict()?.length ?? 0) + 1).trim();
  return (
    <tr>
      <td class="nowrap">
        <time datetime={props.row.time} title={`${props.row.time} (UTC)`}>
          {timestamp(props.row.time)}
        </time>
      </td>
      <td class="side">
        <span class={`badge ${ok() ? "good" : "bad"}`}>{verdict()}</span>
      </td>
      <td class="nowrap">
        {props.row.who} <span class="muted">{props.row.role}</span>
      </td>
      <td class="mono nowrap phone-hidden">{props.row.peer ?? ""}</td>
      <td class="wide">
        {props.row.action} <span class="mono">{props.row.target ?? ""}</span>{" "}
        <span class="muted">
          {detailOf(props.row.detail)} {reason()}
        </span>
      </td>
    </tr>
  );
}

/** Newest first; older pages are added below as they are asked for. */
export function Audit() {
  const [rows, setRows] = createSignal<AuditRow[] | null>(null);
  const [next, setNext] = createSignal<string | null>(null);
  const load = createAction(async (after: string | null) => {
    const page = await api.get<Page<AuditRow>>(`/audit${query({ limit: PAGE, after })}`);
    setRows(after === null ? page.items : [...(rows() ?? []), ...page.items]);
    setNext(page.next);
  });
  onMount(() => void load.run(null));
  return (
    <section class="card" aria-label="Audit log">
      <div class="toolbar">
        <p class="muted">Every change, who made it, and whether it was allowed.</p>
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
          <Show
            when={list().length > 0}
            fallback={
              <Empty icon="info" title="Nothing has been changed yet">
                <p>Changes made here, through the API and by the command line appear in this list.</p>
              </Empty>
            }
          >
            <div class="table-frame">
              <table class="table stacking">
                <thead>
                  <tr>
                    <th scope="col">Time</th>
                    <th scope="col">Result</th>
                    <th scope="col">Who</th>
                    <th scope="col">From</th>
                    <th scope="col">What</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={list()}>{(row) => <Row row={row} />}</For>
                </tbody>
              </table>
            </div>
            <Show when={next()}>
              {(after) => (
                <div class="pager">
                  <button
                    type="button"
                    class="button small"
                    disabled={load.pending()}
                    onClick={() => void load.run(after())}
                  >
                    Show older
                  </button>
                </div>
              )}
            </Show>
          </Show>
        )}
      </Show>
    </section>
  );
}
