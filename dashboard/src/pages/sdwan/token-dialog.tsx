import "./documents.css";
import { createSignal, createUniqueId, For, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { api, Problem } from "../../api/client";
import type { Enrolment, NetworkDocument } from "../../api/controller-types";
import { createAction, createQuery } from "../../api/query";
import { timestamp } from "../../format";
import { FormDialog, PlainDialog } from "../../ui/dialog";
import { CopyButton, Field } from "../../ui/widgets";
import { everything } from "./network-data";
import { tokenAsked, tokenNetworks } from "./presence";

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
        {timestamp(props.made.expires)}
        <Show when={props.made.subnets}>
          {(subnets) => <>, with these networks: {tokenNetworks(subnets())}</>}
        </Show>
        . Type this there:
      </p>
      <div class="token-command mono">{command()}</div>
    </PlainDialog>
  );
}

/** Makes a token that lets one site in. */
export function TokenDialog(props: { site: string; onClose: () => void; onDone: () => void }) {
  const [draft, setDraft] = createStore({ site: props.site, networks: "", expires_in: 3_600 });
  const [made, setMade] = createSignal<Made | null>(null);
  const known = createUniqueId();
  const sites = createQuery<null, { items: NetworkDocument[] }>(
    () => null,
    async (_, signal) => ({ items: await everything<NetworkDocument>("/controller/sites", signal) }),
  );
  const action = createAction(async () => {
    setMade(
      await api.post<Made>(
        "/controller/enrolments",
        tokenAsked(draft.site, draft.networks, draft.expires_in),
      ),
    );
    props.onDone();
  });
  // One of the list is to blame: it is told at the field.
  const problem = () => {
    const found = action.problem();
    return found?.key?.startsWith("subnets")
      ? new Problem(found.status, found.title, found.detail, "subnets")
      : found;
  };
  const there = () => sites.data()?.items.some(({ id }) => id === draft.site.trim());
  return (
    <Show
      when={made()}
      fallback={
        <FormDialog
          title="Invite a site"
          submit="Make a token"
          pending={action.pending()}
          problem={problem()}
          fields={["site", "subnets", "expires_in"]}
          onSubmit={() => void action.run()}
          onClose={props.onClose}
        >
          <Field
            label="Site"
            name="site"
            hint={
              there() ? "It is in the network already, and comes back by this" : "What it is to be called"
            }
            problem={problem()}
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
          <Field
            label="Networks it may come with"
            name="subnets"
            hint={
              there()
                ? "They are known already, and stay as they are"
                : "Such as 10.1.0.0/16, and those within; empty, any that no other site has, but no default route"
            }
            problem={problem()}
          >
            {(attributes) => (
              <input
                {...attributes}
                class="input mono"
                value={draft.networks}
                placeholder="any"
                autocomplete="off"
                autocapitalize="none"
                spellcheck={false}
                onInput={(event) => setDraft("networks", event.currentTarget.value)}
              />
            )}
          </Field>
          <Field label="Good for" name="expires_in" problem={problem()}>
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
