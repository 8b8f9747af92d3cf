import { createMemo, createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import { createAction, type Query } from "../../api/query";
import { may } from "../../api/session";
import type { Counts, Pool, Subnet } from "../../api/types";
import { FIRST_SUBNET } from "../../examples";
import { count, percent, plural, span } from "../../format";
import { href } from "../../router";
import { useStatus } from "../../status";
import { FormDialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";
import { RowMenu } from "../../ui/menu";
import { notify } from "../../ui/notify";
import { More } from "../../ui/pager";
import { Empty, Loaded, Notice } from "../../ui/states";
import { Field, Search, Utilisation } from "../../ui/widgets";

/** Rows drawn at once; more on request, so that a thousand subnets stay light. */
const STEP = 50;

/** A pool on its own needs no bar and no figures: the subnet's say the same. */
function PoolRow(props: { pool: Pool; alone: boolean }) {
  const reserved = () => (props.pool.reserved > 0 ? `, reserved: ${count(props.pool.reserved)}` : "");
  return (
    <div class="pool">
      <span class="mono">{props.pool.range.replace("-", " – ")}</span>
      <Show when={!props.alone}>
        <Utilisation
          counts={props.pool}
          warning={props.pool.warning}
          label={`Pool ${props.pool.range} in use`}
        />
        <span class="share">{percent(props.pool.utilisation)}</span>
      </Show>
      <Show when={!props.alone || props.pool.warning || props.pool.reserved > 0}>
        <span class="muted">
          {props.pool.warning ? (
            <span class="warned">
              <Icon name="alert" size={13} /> nearly full: {count(props.pool.free)} free{reserved()}
            </span>
          ) : (
            `${count(props.pool.free)} of ${count(props.pool.total)} free${reserved()}`
          )}
        </span>
      </Show>
    </div>
  );
}

/** What the bar shows: leases outside of pools take nothing of them. */
function ofPools(subnet: Subnet): Counts {
  const sum = (what: "active" | "offered" | "declined") =>
    subnet.pools.reduce((total, pool) => total + pool[what], 0);
  return { ...subnet, active: sum("active"), offered: sum("offered"), declined: sum("declined") };
}

function SubnetRow(props: { subnet: Subnet; onWipe: () => void }) {
  const warning = () => props.subnet.pools.some((pool) => pool.warning);
  const about = () =>
    [
      props.subnet.name ? props.subnet.prefix : "",
      `leases of ${span(props.subnet.lease_time_seconds)}`,
      props.subnet.shared_network,
    ]
      .filter(Boolean)
      .join(" · ");
  return (
    <li class="subnet">
      <div class="subnet-name">
        <strong>
          <a href={href("/dhcp/leases", { subnet: props.subnet.id })} title={props.subnet.name ?? ""}>
            {props.subnet.name ?? props.subnet.prefix}
          </a>
        </strong>
        <span class="muted" title={about()}>
          {about()}
        </span>
      </div>
      <Utilisation
        counts={ofPools(props.subnet)}
        warning={warning()}
        label={`${props.subnet.prefix} in use`}
      />
      <span class="share">{percent(props.subnet.utilisation)}</span>
      <dl class="subnet-counts">
        <div>
          <dt>active</dt>
          <dd>{count(props.subnet.active)}</dd>
        </div>
        <div>
          <dt>free</dt>
          <dd>{count(props.subnet.free)}</dd>
        </div>
        <div>
          <dt>declined</dt>
          <dd>{count(props.subnet.declined)}</dd>
        </div>
        <div>
          <dt>reserved</dt>
          <dd>{count(props.subnet.reservations)}</dd>
        </div>
      </dl>
      <span class="tools">
        <Show when={may("operator")}>
          <RowMenu
            label={`More for ${props.subnet.prefix}`}
            items={[{ text: "Wipe leases…", icon: "trash", danger: true, onSelect: props.onWipe }]}
          />
        </Show>
      </span>
      <div class="pools">
        <For each={props.subnet.pools}>
          {(pool) => <PoolRow pool={pool} alone={props.subnet.pools.length === 1} />}
        </For>
      </div>
    </li>
  );
}

function WipeDialog(props: { subnet: Subnet; onClose: () => void; onDone: () => void }) {
  const [typed, setTyped] = createSignal("");
  const action = createAction(async () => {
    await api.post(`/dhcp/subnets/${props.subnet.id}/wipe`);
    notify(`Wiped the leases of ${props.subnet.prefix}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Wipe the leases of ${props.subnet.prefix}`}
      submit="Wipe leases"
      danger
      disabled={typed().trim() !== props.subnet.prefix}
      pending={action.pending()}
      problem={action.problem()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Notice tone="warn">
        {plural(props.subnet.active, "active lease")} will be forgotten. Devices keep using their addresses
        until they renew, so the server may give an address that is still in use. Reservations stay.
      </Notice>
      <Field label={`Type ${props.subnet.prefix} to confirm`} name="confirm">
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            value={typed()}
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        )}
      </Field>
    </FormDialog>
  );
}

export function Subnets(props: { query: Query<{ items: Subnet[] }> }) {
  const status = useStatus();
  const [text, setText] = createSignal("");
  const [onlyWarned, setOnlyWarned] = createSignal(false);
  const [shown, setShown] = createSignal(STEP);
  const [wiping, setWiping] = createSignal<Subnet | null>(null);
  const warned = (subnet: Subnet) => subnet.pools.some((pool) => pool.warning);
  const items = createMemo(() => props.query.data()?.items ?? []);
  const matching = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return items().filter(
      (subnet) =>
        (!onlyWarned() || warned(subnet)) &&
        [subnet.name, subnet.prefix, subnet.shared_network, ...subnet.pools.map((pool) => pool.range)]
          .join(" ")
          .toLowerCase()
          .includes(needle),
    );
  });
  return (
    <section class="card" aria-label="Subnets">
      <Loaded query={props.query} height={420}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="dhcp" title="No subnets yet">
                <p>
                  A subnet says which addresses to give out on a network. Add one to{" "}
                  {status.data()?.config_file ?? "a configuration file"}, then reload: clients are answered at
                  once.
                </p>
                <pre class="snippet">{FIRST_SUBNET}</pre>
              </Empty>
            }
          >
            <div class="toolbar">
              <Search
                label="Search subnets"
                placeholder="Name, prefix, shared network or pool"
                value={text()}
                onInput={setText}
              />
              <button
                type="button"
                class="chip"
                aria-pressed={onlyWarned()}
                onClick={() => setOnlyWarned(!onlyWarned())}
              >
                Nearly full ({items().filter(warned).length})
              </button>
              <div class="key push">
                <span>
                  <i class="swatch s1" /> active
                </span>
                <span>
                  <i class="swatch s4" /> offered
                </span>
                <span>
                  <i class="swatch bad" /> declined
                </span>
              </div>
            </div>
            <ul>
              <For each={matching().slice(0, shown())}>
                {(subnet) => <SubnetRow subnet={subnet} onWipe={() => setWiping(subnet)} />}
              </For>
            </ul>
            <Show when={matching().length === 0}>
              <Empty icon="search" title="No subnet matches">
                <button
                  type="button"
                  class="button"
                  onClick={() => {
                    setText("");
                    setOnlyWarned(false);
                  }}
                >
                  Show all {count(items().length)}
                </button>
              </Empty>
            </Show>
            <More
              shown={shown()}
              total={matching().length}
              noun="subnet"
              onMore={() => setShown(shown() + STEP)}
            />
          </Show>
        )}
      </Loaded>
      <Show when={wiping()}>
        {(subnet) => (
          <WipeDialog subnet={subnet()} onClose={() => setWiping(null)} onDone={props.query.refetch} />
        )}
      </Show>
    </section>
  );
}
