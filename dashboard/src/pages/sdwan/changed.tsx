import "./documents.css";
import { For, Show } from "solid-js";
import type { ChangeList, DocumentChange } from "../../api/controller-types";
import { plural } from "../../format";
import { Notice } from "../../ui/states";
import { differences } from "./documents";

/** What becomes of a document, in a word. */
function becomes(change: DocumentChange): string {
  if (change.before === null) return "comes";
  return change.after === null ? "goes" : "changes";
}

/** What changes come to, by document and by what each says. */
export function Changed(props: { list: ChangeList }) {
  return (
    <ul class="changed" aria-label="What is different">
      <For each={props.list.items}>
        {(change) => (
          <li>
            <strong>
              {change.kind} {change.id}
            </strong>{" "}
            <span class="muted">{becomes(change)}</span>
            <For each={differences(change.before ?? {}, change.after ?? {})}>
              {(one) => (
                <div class="changed-part">
                  <span class="muted">{one.label}</span> <span class="mono">{one.before}</span> →{" "}
                  <span class="mono">{one.after}</span>
                </div>
              )}
            </For>
          </li>
        )}
      </For>
    </ul>
  );
}

/** Sites whose release may not know what is said. */
export function OtherReleases(props: { count: number }) {
  return (
    <Show when={props.count > 0}>
      <Notice tone="warn">
        {plural(props.count, "site")} {props.count === 1 ? "runs" : "run"} another release than this
        controller: what theirs does not know they refuse, and stay as they are.
      </Notice>
    </Show>
  );
}
