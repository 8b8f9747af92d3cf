import { For } from "solid-js";
import { sentence, typedParts } from "../format";

/** A sentence of the server's, with what is to be typed set as such. */
export function Said(props: { text: string }) {
  return (
    <For each={typedParts(sentence(props.text))}>
      {(part, i) => (i() % 2 === 1 ? <code>{part}</code> : part)}
    </For>
  );
}
