import { createMemo, createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import type { Enrolment } from "../../api/controller-types";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import { relative, timestamp } from "../../format";
import { FormDialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";
import { notify } from "../../ui/notify";
import { More } from "../../ui/pager";
import { Empty, Loaded } from "../../ui/states";
import { createNow } from "../../ui/widgets";
import { everything } from "./network-data";
import { tokenNetworks, tokenReading } from "./presence";
import { State } from "./shared";
import { TokenDialog } from "./token-dialog";

/** Rows drawn at once; more on request. */
const STEP = 50;

function WithdrawDialog(props: { token: Enrolment; onClose: () => void; onDone: () => void }) {
  const action = createAction(async () => {
    await api.delete(`/controller/enrolments/${props.token.id}`);
    notify(`Withdrew the token for ${props.token.site}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Withdraw the token for ${props.token.site}`}
      submit="Withdraw"
      danger
      pending={action.pending()}
      problem={action.problem()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>Who shows it is let in no longer. Sites that are in the network already stay there.</p>
    </FormDialog>
  );
}

function Table(props: { tokens: Enrolment[]; onWithdraw: (token: Enrolment) => void }) {
  const now = createNow(5_000);
  return (
    <div class="table-frame">
      <table class="table stacking">
        <thead>
          <tr>
            <th scope="col">For site</th>
            <th scope="col">State</th>
            <th scope="col">With networks</th>
            <th scope="col">Made</th>
            <th scope="col">Good until</th>
            <th scope="col">
              <span class="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          <For each={props.tokens}>
            {(token) => {
              const state = createMemo(() => tokenReading(token, now()));
              return (
                <tr>
                  <td>
                    <strong>{token.site}</strong>
                  </td>
                  <td class="side">
                    <State of={state()} />
                  </td>
                  <td classList={{ "phone-hidden": token.subnets === null }}>
                    <span class="phone-only muted">with </span>
                    <Show when={token.subnets} fallback={<span class="muted">any</span>}>
                      {(subnets) => <span class="token-nets mono">{tokenNetworks(subnets())}</span>}
                    </Show>
                  </td>
                  <td title={timestamp(token.created)}>
                    <span class="phone-only muted">made </span>
                    {relative(Date.parse(token.created), now())}{" "}
                    <span class="muted">by {token.created_by}</span>
                  </td>
                  <td title={timestamp(token.expires)}>
                    <Show
                      when={token.used}
                      fallback={
                        <>
                          <span class="phone-only muted">ends </span>
                          {relative(Date.parse(token.expires), now())}
                        </>
                      }
                    >
                      {(used) => <span class="muted">used {relative(Date.parse(used()), now())}</span>}
                    </Show>
                  </td>
                  <td class="tools side">
                    <Show when={state().text === "good"}>
                      <button
                        type="button"
                        class="button quiet small danger"
                        aria-label={`Withdraw the token for ${token.site}`}
                        onClick={() => props.onWithdraw(token)}
                      >
                        Withdraw…
                      </button>
                    </Show>
                  </td>
                </tr>
              );
            }}
          </For>
        </tbody>
      </table>
    </div>
  );
}

function List() {
  const tokens = createQuery<null, { items: Enrolment[] }>(
    () => null,
    async (_, signal) => ({ items: await everything<Enrolment>("/controller/enrolments", signal) }),
    { every: 10_000 },
  );
  const [making, setMaking] = createSignal(false);
  const [withdrawn, setWithdrawn] = createSignal<Enrolment | null>(null);
  const [most, setMost] = createSignal(STEP);
  return (
    <>
      <div class="toolbar">
        <p class="muted">A token lets one site in, once. Nobody can read it here again.</p>
        <button type="button" class="button push" onClick={() => setMaking(true)}>
          <Icon name="plus" /> Make a token
        </button>
      </div>
      <Loaded query={tokens} height={240}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="key" title="No token">
                <p>Make one for each site that is to come in.</p>
              </Empty>
            }
          >
            <Table tokens={data.items.slice(0, most())} onWithdraw={setWithdrawn} />
            <More
              shown={most()}
              total={data.items.length}
              noun="token"
              onMore={() => setMost(most() + STEP)}
            />
          </Show>
        )}
      </Loaded>
      <Show when={making()}>
        <TokenDialog site="" onClose={() => setMaking(false)} onDone={tokens.refetch} />
      </Show>
      <Show when={withdrawn()}>
        {(token) => (
          <WithdrawDialog token={token()} onClose={() => setWithdrawn(null)} onDone={tokens.refetch} />
        )}
      </Show>
    </>
  );
}

/** Tokens by which sites come in. */
export default function Enrolments() {
  return (
    <section class="card" aria-label="Tokens">
      <Show
        when={may("admin")}
        fallback={
          <Empty icon="key" title="Tokens are for admins">
            <p>Sign in with an admin token to let sites in.</p>
          </Empty>
        }
      >
        <List />
      </Show>
    </section>
  );
}
