import { createMemo, createSignal, For, onMount, Show } from "solid-js";
import { api, query } from "../../api/client";
import type { NetworkChange } from "../../api/controller-types";
import { createAction } from "../../api/query";
import type { Page } from "../../api/types";
import { timestamp } from "../../format";
import { Icon } from "../../ui/icon";
import { Empty, ProblemNotice, Skeleton } from "../../ui/states";
import { changed } from "./documents";

const PAGE = 100;

function Row(props: { row: NetworkChange }) {
  const parts = createMemo(() => changed(props.row.detail));
  const came = () => parts().every(({ before }) => before === "–");
  const went = () => parts().every(({ after }) => after === "–");
  return (
    <tr>
      <td class="nowrap">
        <time datetime={props.row.at} title={`${props.row.at} (UTC)`}>
          {timestamp(props.row.at)}
        </time>
      </td>
      <td>{props.row.who}</td>
      <td>
        {props.row.what} <strong>{props.row.target}</strong>
      </td>
      <td class="wide history-detail">
        <For each={parts()}>
          {(part) => (
            <div>
              <span class="muted">{part.label}</span>{" "}
              <Show when={!came()}>
                <span class="mono">{part.before}</span>
              </Show>
              <Show when={!came() && !went()}> → </Show>
              <Show when={!went()}>
                <span class="mono">{part.after}</span>
              </Show>
            </div>
          )}
        </For>
      </td>
    </tr>
  );
}

/** Who has changed what of the network: newest first, older pages are added below as they are asked for. */
export default function Changes() {
  const [rows, setRows] = createSignal<NetworkChange[] | null>(null);
  const [next, setNext] = createSignal<string | null>(null);
  const load = createAction(async (after: string | null) => {
    const page = await api.get<Page<NetworkChange>>(`/controller/changes${query({ limit: PAGE, after })}`);
    setRows(after === null ? page.items : [...(rows() ?? []), ...page.items]);
    setNext(page.next);
  });
  onMount(() => void load.run(null));
  return (
    <section class="card" aria-label="History">
      <div class="toolbar">
        <p class="muted">Every change of the network, and what it made different.</p>
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
            fallback={<Empty icon="info" title="Nothing has been changed yet" />}
          >
            <div class="table-frame">
              <table class="table stacking documents">
                <thead>
                  <tr>
                    <th scope="col">When</th>
                    <th scope="col">Who</th>
                    <th scope="col">What</th>
                    <th scope="col">What is different</th>
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
