import "./documents.css";
import { createSignal, createUniqueId, For, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { api } from "../../api/client";
import type { Enrolment, NetworkDocument } from "../../api/controller-types";
import { createAction, createQuery } from "../../api/query";
import { timestamp } from "../../format";
import { FormDialog, PlainDialog } from "../../ui/dialog";
import { CopyButton, Field } from "../../ui/widgets";
import { everything } from "./network-data";

const LIVES: [seconds: number, text: string][] = [
  [3_600, "1 hour"],
  [86_400, "1 day"],
  [604_800, "7 days"],
  [2_592_000, "30 days"],
];

type Made = Enrolment & { token: string };

/** The token itself: it is shown here, and never again. */
function Shown(props: { made: Made; onClose: () => void }) {
  const command = () => `outwork sdwan enrol ${props.made.token}`;
  return (
    <PlainDialog
      title={`Token for ${props.made.site}`}
      onClose={props.onClose}
      foot={
        <>
          <CopyButton text={command()} label="Copy the command" />
          <CopyButton text={props.made.token} label="Copy the token" />
          <button type="button" class="button primary" onClick={() => props.onClose()}>
            Done
          </button>
        </>
      }
    >
      <p>
        Copy it now: it is not shown again. It lets {props.made.site} in, once, until{" "}
        {timestamp(props.made.expires)}. Type this there:
      </p>
      <div class="token-command mono">{command()}</div>
    </PlainDialog>
  );
}

/** Makes a token that lets one site in. */
export function TokenDialog(props: { site: string; onClose: () => void; onDone: () => void }) {
  const [draft, setDraft] = createStore({ site: props.site, expires_in: 3_600 });
  const [made, setMade] = createSignal<Made | null>(null);
  const known = createUniqueId();
  const sites = createQuery<null, { items: NetworkDocument[] }>(
    () => null,
    async (_, signal) => ({ items: await everything<NetworkDocument>("/controller/sites", signal) }),
  );
  const action = createAction(async () => {
    setMade(
      await api.post<Made>("/controller/enrolments", {
        site: draft.site.trim(),
        expires_in: draft.expires_in,
      }),
    );
    props.onDone();
  });
  const there = () => sites.data()?.items.some(({ id }) => id === draft.site.trim());
  return (
    <Show
      when={made()}
      fallback={
        <FormDialog
          title="Invite a site"
          submit="Make a token"
          pending={action.pending()}
          problem={action.problem()}
          fields={["site", "expires_in"]}
          onSubmit={() => void action.run()}
          onClose={props.onClose}
        >
          <Field
            label="Site"
            name="site"
            hint={
              there() ? "It is in the network already, and comes back by this" : "What it is to be called"
            }
            problem={action.problem()}
          >
            {(attributes) => (
              <input
                {...attributes}
                class="input"
                value={draft.site}
                list={known}
                required
                maxLength={64}
                autocomplete="off"
                autocapitalize="none"
                spellcheck={false}
                onInput={(event) => setDraft("site", event.currentTarget.value)}
              />
            )}
          </Field>
          <datalist id={known}>
            <For each={sites.data()?.items ?? []}>{(site) => <option value={site.id} />}</For>
          </datalist>
          <Field label="Good for" name="expires_in" problem={action.problem()}>
            {(attributes) => (
              <select
                {...attributes}
                class="input"
                onChange={(event) => setDraft("expires_in", Number(event.currentTarget.value))}
              >
                <For each={LIVES}>
                  {([seconds, text]) => (
                    <option value={seconds} selected={seconds === draft.expires_in}>
                      {text}
                    </option>
                  )}
                </For>
              </select>
            )}
          </Field>
        </FormDialog>
      }
    >
      {(one) => <Shown made={one()} onClose={props.onClose} />}
    </Show>
  );
}
