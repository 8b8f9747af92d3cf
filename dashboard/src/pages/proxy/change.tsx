import { createSignal, For } from "solid-js";
import { api } from "../../api/client";
import type { Backend, Pool } from "../../api/proxy-types";
import { createAction } from "../../api/query";
import { FormDialog } from "../../ui/dialog";
import { notify } from "../../ui/notify";
import { Notice } from "../../ui/states";
import { Field } from "../../ui/widgets";
import { consequences, lasting, SPANS } from "./reading";

export interface Change {
  pool: string;
  backend: string;
  action: "drain" | "eject";
}

/** Has the server do something with a backend; null seconds are as the configuration says. */
export async function change(
  pool: string,
  backend: string,
  action: "drain" | "eject" | "admit",
  seconds: number | null = null,
): Promise<void> {
  await api.post(`/proxy/pools/${encodeURIComponent(pool)}/backends`, {
    backend,
    action,
    ...(seconds === null ? {} : { seconds }),
  });
}

const TITLE = { drain: "Drain", eject: "Eject" } as const;
const DONE = { drain: "drains", eject: "is ejected" } as const;

export function ChangeDialog(props: {
  change: Change;
  pool: Pool;
  backend: Backend;
  onClose: () => void;
  onDone: () => void;
}) {
  const kind = () => props.change.action;
  const usual = () => (kind() === "drain" ? props.pool.drain_seconds : props.pool.ejection_seconds);
  const [chosen, setChosen] = createSignal<number | null>(null);
  const effects = () => consequences(props.pool, props.backend, kind(), chosen() ?? usual());
  const action = createAction(async () => {
    await change(props.pool.name, props.backend.key, kind(), chosen());
    notify(`${props.backend.key} ${DONE[kind()]}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`${TITLE[kind()]} a backend of ${props.pool.name}`}
      submit={TITLE[kind()]}
      danger={effects().hurts}
      pending={action.pending()}
      problem={action.problem()}
      fields={["seconds"]}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>
        <code class="backend-key">{props.backend.key}</code>
      </p>
      <Field
        label={kind() === "drain" ? "Time for what it has" : "For how long"}
        name="seconds"
        problem={action.problem()}
      >
        {(attributes) => (
          <select
            {...attributes}
            class="input"
            onChange={(event) =>
              setChosen(event.currentTarget.value === "" ? null : Number(event.currentTarget.value))
            }
          >
            <option value="">As configured: {lasting(usual())}</option>
            <For each={SPANS[kind()]}>{(seconds) => <option value={seconds}>{lasting(seconds)}</option>}</For>
          </select>
        )}
      </Field>
      <Notice tone={effects().hurts ? "warn" : "plain"}>
        <strong>What it leads to</strong>
        <ul class="effects">
          <For each={effects().lines}>{(line) => <li>{line}</li>}</For>
        </ul>
      </Notice>
    </FormDialog>
  );
}
