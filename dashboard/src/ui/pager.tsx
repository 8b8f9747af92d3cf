import { Show } from "solid-js";
import { count, plural } from "../format";

/** Below a list that is not shown whole: how much of it is, and a button for more. Nothing where all of it is. */
export function More(props: { shown: number; total: number; noun: string; onMore: () => void }) {
  return (
    <Show when={props.total > props.shown}>
      <div class="pager">
        {count(props.shown)} of {plural(props.total, props.noun)}
        <button type="button" class="button small" onClick={() => props.onMore()}>
          Show more
        </button>
      </div>
    </Show>
  );
}

/** Below a list that comes newest first, page by page: a button for the next one, if there is one. */
export function Older(props: { next: string | null; pending: boolean; onAsk: (after: string) => void }) {
  return (
    <Show when={props.next}>
      {(after) => (
        <div class="pager">
          <button
            type="button"
            class="button small"
            disabled={props.pending}
            onClick={() => props.onAsk(after())}
          >
            Show older
          </button>
        </div>
      )}
    </Show>
  );
}
