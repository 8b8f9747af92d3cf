import { createMemo, createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import type { ChangeList, NetworkChange } from "../../api/controller-types";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import { plural, timestamp } from "../../format";
import { FormDialog } from "../../ui/dialog";
import { History } from "../../ui/history";
import { notify } from "../../ui/notify";
import { Empty, Notice, Skeleton } from "../../ui/states";
import { Changed, OtherReleases } from "./changed";
import { changed, enrolledAnew } from "./documents";

/** What taking a change back would make different, before it is done. */
function UndoDialog(props: { row: NetworkChange; onClose: () => void; onDone: () => void }) {
  const there = () => `/controller/changes/${props.row.id}/undo`;
  const tried = createQuery<null, ChangeList>(
    () => null,
    () => api.post<ChangeList>(`${there()}?dry_run=true`),
  );
  const action = createAction(async () => {
    const { items } = await api.post<ChangeList>(there());
    notify(`Took back ${props.row.what} ${props.row.target}: ${plural(items.length, "document")} changed`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Take back ${props.row.what} ${props.row.target}`}
      submit="Take back"
      pending={action.pending()}
      disabled={tried.data() === undefined || tried.error() !== null}
      problem={action.problem() ?? tried.error()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>
        {props.row.who} made this change at {timestamp(props.row.at)}. What was made at once with it goes back
        with it, and sites are told at once.
      </p>
      <Show
        when={tried.data()}
        fallback={<Show when={tried.error() === null} children={<Skeleton height={80} />} />}
      >
        {(list) => (
          <section class="would-be" aria-label="What would change">
            <Changed list={list()} />
            <Show when={enrolledAnew(list().items).length > 0}>
              <Notice tone="warn">
                {enrolledAnew(list().items).join(", ")} came by a certificate that is believed no longer: it
                is enrolled anew, by a new token.
              </Notice>
            </Show>
            <OtherReleases count={list().other_releases} />
          </section>
        )}
      </Show>
    </FormDialog>
  );
}

function Row(props: { row: NetworkChange; onUndo: () => void }) {
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
      <Show when={may("operator")}>
        <td class="tools side">
          <Show when={props.row.revision !== null}>
            <button
              type="button"
              class="button quiet small"
              aria-label={`Take back ${props.row.what} ${props.row.target}`}
              onClick={() => props.onUndo()}
            >
              Take back…
            </button>
          </Show>
        </td>
      </Show>
    </tr>
  );
}

/** Who has changed what of the network. */
export default function Changes() {
  const [asked, setAsked] = createSignal<{ row: NetworkChange; refresh: () => void } | null>(null);
  return (
    <>
      <History<NetworkChange>
        label="History"
        lead="Every change of the network, and what it made different."
        path="/controller/changes"
        columns={["When", "Who", "What", "What is different"]}
        class="documents changes"
        tools={may("operator")}
        empty={<Empty icon="info" title="Nothing has been changed yet" />}
      >
        {(row, refresh) => <Row row={row} onUndo={() => setAsked({ row, refresh })} />}
      </History>
      <Show when={asked()}>
        {(one) => (
          <UndoDialog row={one().row} onClose={() => setAsked(null)} onDone={() => one().refresh()} />
        )}
      </Show>
    </>
  );
}
