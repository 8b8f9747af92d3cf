import { createEffect, createMemo, createSignal, For, on, onCleanup, Show } from "solid-js";
import { api, query } from "../../api/client";
import { createQuery } from "../../api/query";
import { may } from "../../api/session";
import type { CountedPage, Lease, LeaseState, Subnet } from "../../api/types";
import { count, expiry, isForever, timestamp } from "../../format";
import { route, setParams } from "../../router";
import { Icon } from "../../ui/icon";
import { Empty, Loaded } from "../../ui/states";
import { createNow, Search } from "../../ui/widgets";
import { AddLeaseDialog } from "./forms";
import { LeaseDrawer, StateBadge } from "./lease-drawer";
import { SubnetLabel, titleOf } from "./subnet-label";

const STATES: LeaseState[] = ["active", "offered", "declined", "released", "expired"];
const PAGE_SIZES = [50, 100, 250];

function LeaseRow(props: { lease: Lease; subnet: Subnet | undefined; now: number; onOpen: () => void }) {
  return (
    // The button in the first cell is what the keyboard reaches; the row only widens where a pointer may land.
    <tr class="pickable" onClick={() => props.onOpen()}>
      <td>
        <button
          type="button"
          class="address"
          onClick={(event) => {
            event.stopPropagation();
            props.onOpen();
          }}
        >
          {props.lease.address}
        </button>
      </td>
      <td class="side">
        <StateBadge state={props.lease.state} />{" "}
        <Show when={props.lease.fixed}>
          <span class="badge accent">reserved</span>
        </Show>
      </td>
      <td class="clip">{props.lease.hostname ?? ""}</td>
      <td class="mono nowrap">{props.lease.mac ?? props.lease.client_id ?? ""}</td>
      <td class="clip phone-hidden" title={props.subnet ? titleOf(props.subnet) : ""}>
        <SubnetLabel subnet={props.subnet} id={props.lease.subnet_id} />
      </td>
      <td
        class="nowrap number side"
        title={isForever(props.lease.expires) ? "" : timestamp(props.lease.expires)}
      >
        {expiry(props.lease.expires, props.now)}
      </td>
    </tr>
  );
}

export function Leases(props: { subnets: Subnet[] }) {
  const now = createNow();
  const filter = createMemo(() => ({
    q: route().params.get("q") ?? "",
    subnet: route().params.get("subnet") ?? "",
    state: route().params.get("state") ?? "",
  }));
  const open = createMemo(() => route().params.get("lease"));
  const filtered = () => filter().q !== "" || filter().subnet !== "" || filter().state !== "";

  // The cursors of the pages walked so far: the last is the page on screen, "" is the first.
  const [cursors, setCursors] = createSignal([""]);
  const [size, setSize] = createSignal(PAGE_SIZES[0] ?? 50);
  const [adding, setAdding] = createSignal(false);
  const filterKey = createMemo(() => query(filter()));
  createEffect(on([filterKey, size], () => setCursors([""]), { defer: true }));

  const source = createMemo(() => query({ ...filter(), limit: size(), after: cursors().at(-1) ?? "" }));
  const leases = createQuery<string, CountedPage<Lease>>(
    source,
    (search, signal) => api.get(`/dhcp/leases${search}`, signal),
    { every: 5_000, key: "address" },
  );

  const byId = createMemo(() => new Map(props.subnets.map((subnet) => [subnet.id, subnet])));
  const subnetOf = (id: number) => byId().get(id);

  // Each letter would be a query of its own: wait until the typing pauses.
  let typing: ReturnType<typeof setTimeout> | undefined;
  onCleanup(() => clearTimeout(typing));
  const search = (text: string) => {
    clearTimeout(typing);
    typing = setTimeout(() => setParams({ q: text.trim() }), 200);
  };
  const first = () => (cursors().length - 1) * size() + 1;

  return (
    <section class="card" aria-label="Leases">
      <div class="toolbar">
        <Search
          label="Search leases"
          placeholder="Address, MAC, hostname or client id"
          value={filter().q}
          onInput={search}
        />
        <select
          class="input"
          aria-label="Subnet"
          onChange={(event) => setParams({ subnet: event.currentTarget.value })}
        >
          <option value="">All subnets</option>
          <For each={props.subnets}>
            {(subnet) => (
              <option value={subnet.id} selected={String(subnet.id) === filter().subnet}>
                {titleOf(subnet)}
              </option>
            )}
          </For>
        </select>
        <select
          class="input"
          aria-label="State"
          onChange={(event) => setParams({ state: event.currentTarget.value })}
        >
          <option value="">All states</option>
          <For each={STATES}>
            {(state) => (
              <option value={state} selected={state === filter().state}>
                {state}
              </option>
            )}
          </For>
        </select>
        <Show when={may("operator")}>
          <button type="button" class="button push" onClick={() => setAdding(true)}>
            <Icon name="plus" /> Add<span class="desk-only"> lease</span>
          </button>
        </Show>
      </div>
      <Loaded query={leases} height={520}>
        {(page) => (
          <Show
            when={page.items.length > 0}
            fallback={
              <Show
                when={filtered()}
                fallback={
                  <Empty icon="dhcp" title="No leases yet">
                    <p>
                      A lease appears here the moment a device asks for an address. Plug one in, or try the
                      server from another shell with <code>outwork bench dhcp</code>.
                    </p>
                  </Empty>
                }
              >
                <Empty icon="search" title="No lease matches">
                  <p>Search looks at addresses, MAC addresses, hostnames and client ids.</p>
                  <button
                    type="button"
                    class="button"
                    onClick={() => setParams({ q: null, subnet: null, state: null })}
                  >
                    Clear search and filters
                  </button>
                </Empty>
              </Show>
            }
          >
            <div class="table-frame leases-table" aria-busy={leases.loading()}>
              <table class="table stacking">
                <thead>
                  <tr>
                    <th scope="col">Address</th>
                    <th scope="col">State</th>
                    <th scope="col">Hostname</th>
                    <th scope="col">Client</th>
                    <th scope="col">Subnet</th>
                    <th scope="col" class="number">
                      Expires
                    </th>
                  </tr>
                </thead>
                <tbody>
                  <For each={page.items}>
                    {(lease) => (
                      <LeaseRow
                        lease={lease}
                        subnet={subnetOf(lease.subnet_id)}
                        now={now()}
                        onOpen={() => setParams({ lease: lease.address }, "push")}
                      />
                    )}
                  </For>
                </tbody>
              </table>
            </div>
            <div class="pager">
              <span>
                {count(first())}–{count(first() + page.items.length - 1)} of {count(page.total)}
              </span>
              <select
                class="input small"
                aria-label="Leases on a page"
                onChange={(event) => setSize(Number(event.currentTarget.value))}
              >
                <For each={PAGE_SIZES}>
                  {(n) => (
                    <option value={n} selected={n === size()}>
                      {n} a page
                    </option>
                  )}
                </For>
              </select>
              <span class="row">
                <button
                  type="button"
                  class="button small"
                  disabled={cursors().length === 1}
                  onClick={() => setCursors(cursors().slice(0, -1))}
                >
                  <Icon name="left" size={14} /> Previous
                </button>
                <button
                  type="button"
                  class="button small"
                  disabled={page.next === null}
                  onClick={() => page.next !== null && setCursors([...cursors(), page.next])}
                >
                  Next <Icon name="right" size={14} />
                </button>
              </span>
            </div>
          </Show>
        )}
      </Loaded>
      <Show when={open()} keyed>
        {(address) => (
          <LeaseDrawer
            address={address}
            subnetOf={subnetOf}
            onClose={() => setParams({ lease: null })}
            onChanged={leases.refetch}
          />
        )}
      </Show>
      <Show when={adding()}>
        <AddLeaseDialog onClose={() => setAdding(false)} onDone={leases.refetch} />
      </Show>
    </section>
  );
}
