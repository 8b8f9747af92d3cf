import { createSignal } from "solid-js";
import { api } from "../../api/client";
import { createAction } from "../../api/query";
import { plural } from "../../format";
import { FormDialog } from "../../ui/dialog";
import { notify } from "../../ui/notify";
import { Notice } from "../../ui/states";
import { Field } from "../../ui/widgets";

/** Forgets results whose tables were changed by somebody who did not tell. */
export default function InvalidateDialog(props: {
  database: string;
  onClose: () => void;
  onDone: () => void;
}) {
  const [text, setText] = createSignal("");
  const tables = () =>
    text()
      .split(/[\s,]+/)
      .filter((name) => name !== "");
  const action = createAction(async () => {
    const { removed } = await api.post<{ removed: number }>("/web/queries/invalidate", {
      database: props.database,
      tables: tables(),
    });
    notify(`Forgot ${plural(removed, "result")} of ${props.database}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Forget results of ${props.database}`}
      submit="Forget"
      danger
      pending={action.pending()}
      problem={action.problem()}
      fields={["tables"]}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Field
        label="Tables"
        name="tables"
        hint="Separated by spaces or commas. Without any, every result of the database is forgotten."
        problem={action.problem()}
      >
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            value={text()}
            placeholder="product category"
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        )}
      </Field>
      <Notice tone="plain">
        Changes through routes are noticed by themselves, those by others in SQLite, and those that PostgreSQL
        tells of (<code>listen</code>). This is for what nobody tells. The next request for each result asks
        the database again; a query under way cannot bring back what was before.
      </Notice>
    </FormDialog>
  );
}
