import { createSignal, type JSX, Match, Show, Switch } from "solid-js";
import { api } from "../../api/client";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import type { Lease, LeaseState, Subnet } from "../../api/types";
import { expiry, isForever, timestamp } from "../../format";
import { Drawer, FormDialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";
import { notify } from "../../ui/notify";
import { Loaded } from "../../ui/states";
import { createNow } from "../../ui/widgets";
import { HostnameDialog, ReservationDialog } from "./forms";
import { reservationFrom } from "./reservation";
import { SubnetLabel } from "./subnet-label";

const TONE: Record<LeaseState, string> = {
  active: "good",
  offered: "accent",
  declined: "bad",
  released: "",
  expired: "",
};

export function StateBadge(props: { state: LeaseState }) {
  return <span class={`badge ${TONE[props.state]}`}>{props.state}</span>;
}

function Fact(props: { name: string; value: JSX.Element; mono?: boolean }) {
  return (
    <Show when={props.value}>
      <dt>{props.name}</dt>
      <dd classList={{ mono: props.mono ?? false }}>{props.value}</dd>
    </Show>
  );
}

function Facts(props: { lease: Lease; subnet: Subnet | undefined }) {
  const now = createNow();
  const moment = (at: string) =>
    isForever(at) ? (
      "never"
    ) : (
      <time datetime={at} title={`${at} (UTC)`}>
        {timestamp(at)} <span class="muted nowrap">({expiry(at, now())})</span>
      </time>
    );
  const ended = () => props.lease.state === "released" || props.lease.state === "expired";
  return (
    <dl class="facts">
      <Fact name="State" value={<StateBadge state={props.lease.state} />} />
      <Fact name="Hostname" value={props.lease.hostname} />
      <Fact name="MAC address" value={props.lease.mac} mono />
      <Fact name="Client id" value={props.lease.client_id} mono />
      <Fact name="Vendor class" value={props.lease.vendor_class} />
      {/* Any device can send any address: it is read, not followed. */}
      <Fact name="MUD URL" value={props.lease.mud_url} mono />
      <Fact name="Subnet" value={<SubnetLabel subnet={props.subnet} id={props.lease.subnet_id} />} />
      <Fact name="Reserved" value={props.lease.fixed ? "yes, by a reservation" : "no"} />
      <Fact name="Last heard" value={moment(props.lease.starts)} />
      <Fact name={ended() ? "Ended" : "Expires"} value={moment(props.lease.expires)} />
      <Fact name="Relay agent" value={props.lease.relay?.giaddr} mono />
      <Fact name="Circuit id" value={props.lease.relay?.circuit_id} mono />
      <Fact name="Remote id" value={props.lease.relay?.remote_id} mono />
    </dl>
  );
}

function ReleaseDialog(props: { lease: Lease; onClose: () => void; onDone: () => void }) {
  const action = createAction(async () => {
    await api.delete(`/dhcp/leases/${props.lease.address}`);
    notify(`Released ${props.lease.address}`);
    props.onDone();
  });
  return (
    <FormDialog
      title={`Release ${props.lease.address}`}
      submit="Release"
      danger
      pending={action.pending()}
      problem={action.problem()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>
        The address goes back to its pool. {props.lease.hostname ?? props.lease.mac ?? "The device"} is not
        told: it keeps using the address until it renews.
      </p>
    </FormDialog>
  );
}

export function LeaseDrawer(props: {
  address: string;
  subnetOf: (id: number) => Subnet | undefined;
  onClose: () => void;
  onChanged: () => void;
}) {
  const [asking, setAsking] = createSignal<"release" | "reserve" | "hostname" | null>(null);
  const lease = createQuery<string, Lease>(
    () => props.address,
    (address, signal) => api.get(`/dhcp/leases/${encodeURIComponent(address)}`, signal),
    { every: 5_000, key: "address" },
  );
  const changed = () => {
    lease.refetch();
    props.onChanged();
  };
  const live = () => {
    const state = lease.data()?.state;
    return state === "active" || state === "offered" || state === "declined";
  };
  const actions = () => (
    <>
      <Show when={!lease.data()?.fixed}>
        <button type="button" class="button" onClick={() => setAsking("reserve")}>
          <Icon name="pin" /> Reserve…
        </button>
      </Show>
      <button type="button" class="button" onClick={() => setAsking("hostname")}>
        <Icon name="edit" /> Hostname…
      </button>
      <Show when={live()}>
        <button type="button" class="button danger" onClick={() => setAsking("release")}>
          <Icon name="release" /> Release…
        </button>
      </Show>
    </>
  );
  return (
    <Drawer
      title={<span class="mono">{props.address}</span>}
      onClose={props.onClose}
      foot={<Show when={may("operator") && lease.data()}>{actions()}</Show>}
    >
      <Loaded query={lease}>
        {(data) => (
          <>
            <Facts lease={data} subnet={props.subnetOf(data.subnet_id)} />
            <Switch>
              <Match when={asking() === "release"}>
                <ReleaseDialog
                  lease={data}
                  onClose={() => setAsking(null)}
                  onDone={() => {
                    props.onChanged();
                    props.onClose();
                  }}
                />
              </Match>
              <Match when={asking() === "hostname"}>
                <HostnameDialog lease={data} onClose={() => setAsking(null)} onDone={changed} />
              </Match>
              <Match when={asking() === "reserve"}>
                <ReservationDialog
                  title={`Reserve ${data.address}`}
                  draft={reservationFrom(data)}
                  onClose={() => setAsking(null)}
                  onDone={changed}
                />
              </Match>
            </Switch>
          </>
        )}
      </Loaded>
    </Drawer>
  );
}
