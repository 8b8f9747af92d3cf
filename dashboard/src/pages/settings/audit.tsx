import type { AuditRow } from "../../api/types";
import { timestamp, tomlValue } from "../../format";
import { History } from "../../ui/history";
import { Empty } from "../../ui/states";

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

/** Who has changed what of this server. */
export function Audit() {
  return (
    <History<AuditRow>
      label="Audit log"
      lead="Every change, who made it, and whether it was allowed."
      path="/audit"
      columns={["Time", "Result", "Who", "From", "What"]}
      empty={
        <Empty icon="info" title="Nothing has been changed yet">
          <p>Changes made here, through the API and by the command line appear in this list.</p>
        </Empty>
      }
    >
      {(row) => <Row row={row} />}
    </History>
  );
}
