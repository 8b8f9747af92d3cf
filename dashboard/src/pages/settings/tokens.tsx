import { createSignal, For, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { api } from "../../api/client";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import type { Role, Token } from "../../api/types";
import { relative, timestamp } from "../../format";
import { FormDialog, PlainDialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";
import { notify } from "../../ui/notify";
import { Empty, Loaded } from "../../ui/states";
import { CopyButton, createNow, Field } from "../../ui/widgets";

const ROLES: Record<Role, string> = {
  viewer: "sees everything, changes nothing",
  operator: "changes leases, reservations and log levels, and reloads",
  admin: "does everything, tokens included",
};

const LIFETIMES: [number | null, string][] = [
  [null, "Never"],
  [86_400, "In 1 day"],
  [2_592_000, "In 30 days"],
  [7_776_000, "In 90 days"],
  [31_536_000, "In 1 year"],
];

interface Created {
  name: string;
  token: string;
}

function CreateDialog(props: { onClose: () => void; onDone: (created: Created) => void }) {
  const [draft, setDraft] = createStore<{ name: string; role: Role; expires_in: number | null }>({
    name: "",
    role: "viewer",
    expires_in: 7_776_000,
  });
  const action = createAction(async () => {
    const name = draft.name.trim();
    const created = await api.post<{ token: string }>("/tokens", {
      name,
      role: draft.role,
      ...(draft.expires_in === null ? {} : { expires_in: draft.expires_in }),
    });
    props.onDone({ name, token: created.token });
  });
  return (
    <FormDialog
      title="Create an access token"
      submit="Create"
      pending={action.pending()}
      problem={action.problem()}
      fields={["name", "role", "expires_in"]}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Field label="Name" name="name" hint="Who or what will use it" problem={action.problem()}>
        {(attributes) => (
          <input
            {...attributes}
            class="input"
            value={draft.name}
            required
            autocomplete="off"
            onInput={(event) => setDraft("name", event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Role" name="role" hint={`It ${ROLES[draft.role]}.`} problem={action.problem()}>
        {(attributes) => (
          <select
            {...attributes}
            class="input"
            onChange={(event) => setDraft("role", event.currentTarget.value as Role)}
          >
            <For each={Object.keys(ROLES) as Role[]}>
              {(role) => (
                <option value={role} selected={role === draft.role}>
                  {role}
                </option>
              )}
            </For>
          </select>
        )}
      </Field>
      <Field label="Expires" name="expires_in" problem={action.problem()}>
        {(attributes) => (
          <select
            {...attributes}
            class="input"
            onChange={(event) => {
              const chosen = event.currentTarget.value;
              setDraft("expires_in", chosen === "" ? null : Number(chosen));
            }}
          >
            <For each={LIFETIMES}>
              {([seconds, text]) => (
                <option value={seconds ?? ""} selected={seconds === draft.expires_in}>
                  {text}
                </option>
              )}
            </For>
          </select>
        )}
      </Field>
    </FormDialog>
  );
}

function RevokeDialog(props: { token: Token; onClose: () => void; onDone: () => void }) {
  const action = createAction(async () => {
    await api.delete(`/tokens/${encodeURIComponent(props.token.id)}`);
    notify(`Revoked ${props.token.name}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Revoke ${props.token.name}`}
      submit="Revoke"
      danger
      pending={action.pending()}
      problem={action.problem()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>Whoever uses this token is refused from now on, in open browsers too. This cannot be undone.</p>
    </FormDialog>
  );
}

function TokenTable(props: { tokens: Token[]; onRevoke: (token: Token) => void }) {
  const now = createNow(10_000);
  const moment = (at: string | null, none: string) => (at === null ? none : relative(Date.parse(at), now()));
  return (
    <div class="table-frame">
      <table class="table stacking">
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Role</th>
            <th scope="col">Created</th>
            <th scope="col">Last used</th>
            <th scope="col">Expires</th>
            <th scope="col">
              <span class="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          <For each={props.tokens}>
            {(token) => (
              <tr>
                <td class="clip">{token.name}</td>
                <td class="side">
                  <span class="badge" classList={{ accent: token.role === "admin" }}>
                    {token.role}
                  </span>
                </td>
                <td class="nowrap phone-hidden" title={timestamp(token.created)}>
                  {moment(token.created, "")}
                </td>
                <td class="nowrap">
                  <span class="muted phone-only">used </span>
                  {moment(token.last_used, "never")}
                </td>
                <td class="nowrap">
                  <span class="muted phone-only">expires </span>
                  {moment(token.expires, "never")}
                </td>
                <td class="tools side">
                  <button
                    type="button"
                    class="button quiet small danger"
                    aria-label={`Revoke ${token.name}`}
                    onClick={() => props.onRevoke(token)}
                  >
                    Revoke…
                  </button>
                </td>
              </tr>
            )}
          </For>
        </tbody>
      </table>
    </div>
  );
}

export function Tokens() {
  const [creating, setCreating] = createSignal(false);
  const [created, setCreated] = createSignal<Created | null>(null);
  const [revoking, setRevoking] = createSignal<Token | null>(null);
  return (
    <section class="card" aria-label="Access tokens">
      <Show
        when={may("admin")}
        fallback={
          <Empty icon="key" title="Tokens are for admins">
            <p>
              Your token sees and changes other things but not tokens. Sign in with an admin token to manage
              them.
            </p>
          </Empty>
        }
      >
        {(() => {
          const tokens = createQuery<null, { items: Token[] }>(
            () => null,
            (_, signal) => api.get("/tokens", signal),
          );
          return (
            <>
              <div class="toolbar">
                <p class="muted">For people in this dashboard and for programs that use the API.</p>
                <button type="button" class="button push" onClick={() => setCreating(true)}>
                  <Icon name="plus" /> Create token
                </button>
              </div>
              <Loaded query={tokens} height={240}>
                {(data) => <TokenTable tokens={data.items} onRevoke={setRevoking} />}
              </Loaded>
              <Show when={creating()}>
                <CreateDialog
                  onClose={() => setCreating(false)}
                  onDone={(token) => {
                    setCreating(false);
                    setCreated(token);
                    tokens.refetch();
                  }}
                />
              </Show>
              <Show when={created()}>
                {(one) => (
                  <PlainDialog
                    title={`Token for ${one().name}`}
                    onClose={() => setCreated(null)}
                    foot={
                      <>
                        <CopyButton text={one().token} label="Copy" />
                        <button type="button" class="button primary" onClick={() => setCreated(null)}>
                          Done
                        </button>
                      </>
                    }
                  >
                    <p>Copy it now: only its hash is kept, so it is not shown again.</p>
                    <div class="token mono">{one().token}</div>
                  </PlainDialog>
                )}
              </Show>
              <Show when={revoking()}>
                {(token) => (
                  <RevokeDialog token={token()} onClose={() => setRevoking(null)} onDone={tokens.refetch} />
                )}
              </Show>
            </>
          );
        })()}
      </Show>
    </section>
  );
}
