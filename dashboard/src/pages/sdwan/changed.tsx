import "./documents.css";
import { For, Show } from "solid-js";
import type { ChangeList, DocumentChange } from "../../api/controller-types";
import { count } from "../../format";
import { Notice } from "../../ui/states";
import { calledOf, differences, kindOf } from "./documents";

/** What it is called: by its kind, where this dashboard knows that. */
function called({ kind, id }: DocumentChange): string {
  const known = kindOf(kind);
  return known ? calledOf(known, id) : `${kind} ${id}`;
}

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
            <strong>{called(change)}</strong> <span class="muted">{becomes(change)}</span>
            <For each={differences(change.before ?? {}, change.after ?? {})}>
              {(one) => (
                <div class="changed-part">
                  <span class="muted">{one.label}</span>{" "}
                  <Show when={change.before !== null}>
                    <span class="mono">{one.before}</span>
                  </Show>
                  <Show when={change.before !== null && change.after !== null}> → </Show>
                  <Show when={change.after !== null}>
                    <span class="mono">{one.after}</span>
                  </Show>
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
        {props.count === 1
          ? "1 site runs another release than this controller: what that does not know it refuses, and stays as it is."
          : `${count(props.count)} sites run another release than this controller: what theirs does not know they refuse, and stay as they are.`}
      </Notice>
    </Show>
  );
}
