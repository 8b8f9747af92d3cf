import { createMemo, For, Show } from "solid-js";
import type { NetworkChange } from "../../api/controller-types";
import { timestamp } from "../../format";
import { History } from "../../ui/history";
import { Empty } from "../../ui/states";
import { changed } from "./documents";

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

/** Who has changed what of the network. */
export default function Changes() {
  return (
    <History<NetworkChange>
      label="History"
      lead="Every change of the network, and what it made different."
      path="/controller/changes"
      columns={["When", "Who", "What", "What is different"]}
      class="documents"
      empty={<Empty icon="info" title="Nothing has been changed yet" />}
    >
      {(row) => <Row row={row} />}
    </History>
  );
}
