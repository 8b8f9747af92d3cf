import { createMemo, createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import { createQuery } from "../../api/query";
import type { Tunnel, Uplink } from "../../api/sdwan-types";
import { FIRST_PEER } from "../../examples";
import { bytes, count, plural, span } from "../../format";
import { Icon } from "../../ui/icon";
import { More } from "../../ui/pager";
import { Empty, Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { CopyButton, Search } from "../../ui/widgets";

/** Rows drawn at once; more on request. */
const STEP = 50;
/** With more peers than this there is something to search in. */
const FEW = 12;

function Uplinks() {
  const uplinks = createQuery<null, { items: Uplink[] }>(
    () => null,
    (_, signal) => api.get("/sdwan/uplinks", signal),
    { every: 30_000, key: "name" },
  );
  return (
    <Loaded query={uplinks} height={160}>
      {(data) => (
        <section class="card" aria-label="Uplinks">
          <div class="card-head">
            <h2>Uplinks</h2>
            <span class="muted push">others know us by these keys</span>
          </div>
          <div class="table-frame">
            <table class="table stacking uplinks">
              <thead>
                <tr>
                  <th scope="col">Uplink</th>
                  <th scope="col">Listens</th>
                  <th scope="col">Public key</th>
                  <th scope="col">
                    <span class="visually-hidden">Copy</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                <For each={data.items}>
                  {(uplink) => (
                    <tr>
                      <td>
                        <strong>{uplink.name}</strong>
                      </td>
                      <td class="mono">{uplink.listens.join(", ")}</td>
                      <td class="mono key-text">{uplink.public_key}</td>
                      <td class="tools">
                        <CopyButton text={uplink.public_key} label="Copy key" />
                      </td>
                    </tr>
                  )}
                </For>
              </tbody>
            </table>
          </div>
        </section>
      )}
    </Loaded>
  );
}

function Failures(props: { count: number; what: string; title: string }) {
  return (
    <td class="number" classList={{ "phone-hidden": props.count === 0 }} title={props.title}>
      <Show when={props.count > 0} fallback={<span class="muted">0</span>}>
        <span class="failing">
          <Icon name="alert" size={12} /> {count(props.count)}
        </span>
        <span class="phone-only muted"> {props.what}</span>
      </Show>
    </td>
  );
}

function Row(props: { tunnel: Tunnel }) {
  return (
    <tr>
      <td>
        <strong class="peer-name">
          {props.tunnel.path ? `${props.tunnel.peer}/${props.tunnel.path.remote_uplink}` : props.tunnel.peer}
        </strong>
        <div class="muted mono site-nets">{props.tunnel.networks.join(", ")}</div>
        <div class="muted site-nets">
          by {props.tunnel.uplink}, packets of up to {count(props.tunnel.mtu)} octets
        </div>
      </td>
      <td class="side">
        <Show
          when={props.tunnel.keys_age_seconds !== null}
          fallback={
            <span class="badge" title="No session: nobody has had anything to send, or it does not answer">
              <Icon name="minus" size={12} /> no keys
            </span>
          }
        >
          <span class="badge good">
            <Icon name="key" size={12} /> {span(props.tunnel.keys_age_seconds ?? 0)} old
          </span>
        </Show>
      </td>
      <td class="mono path-endpoint">
        {props.tunnel.endpoint ?? (
          <span class="muted">
            {props.tunnel.path?.via ? `by ${props.tunnel.path.via}` : "not known yet"}
          </span>
        )}
      </td>
      <td class="number">
        {bytes(props.tunnel.received_bytes)}
        <span class="phone-only muted"> in</span>
      </td>
      <td class="number">
        {bytes(props.tunnel.sent_bytes)}
        <span class="phone-only muted"> out</span>
      </td>
      <Failures
        count={props.tunnel.refused}
        what="refused"
        title="Datagrams that were forged, altered, replayed or too late"
      />
      <Failures
        count={props.tunnel.foreign}
        what="foreign"
        title="Packets from a source that is not behind this peer"
      />
      <td class="key-text wide">
        <span class="key-with">
          <span class="mono">{props.tunnel.public_key}</span>
          <CopyButton text={props.tunnel.public_key} label="Copy" />
        </span>
      </td>
    </tr>
  );
}

/** Of which tunnels a table is. */
interface Of {
  to: "peers" | "sites";
  title: string;
  noun: string;
  every: number;
}

const PEERS: Of = { to: "peers", title: "Peers", noun: "peer", every: 2_000 };
const SITES: Of = { to: "sites", title: "Tunnels to sites", noun: "tunnel", every: 10_000 };

/** What one answer has at most. */
const MOST = 999;

function Table(props: { of: Of }) {
  const tunnels = createQuery<null, { items: (Tunnel & { key: string })[] }>(
    () => null,
    async (_, signal) => {
      const there = `/sdwan/tunnels?to=${props.of.to}&limit=${MOST}`;
      const { items } = await api.get<{ items: Tunnel[] }>(there, signal);
      const key = (one: Tunnel) => `${one.path?.id ?? ""} ${one.uplink} ${one.public_key}`;
      return { items: items.map((tunnel) => ({ ...tunnel, key: key(tunnel) })) };
    },
    { every: props.of.every, key: "key" },
  );
  const [text, setText] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const found = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return (tunnels.data()?.items ?? []).filter((one) =>
      `${one.peer} ${one.path?.remote_uplink ?? ""} ${one.uplink} ${one.endpoint ?? ""} ${one.networks.join(" ")} ${one.public_key}`
        .toLowerCase()
        .includes(needle),
    );
  });
  const up = () => (tunnels.data()?.items ?? []).filter((one) => one.keys_age_seconds !== null).length;
  return (
    <Loaded query={tunnels} height={300}>
      {(data) => (
        <section
          class="card"
          aria-label={props.of.title}
          hidden={props.of.to === "sites" && data.items.length === 0}
        >
          <Show
            when={data.items.length > 0}
            fallback={
              <Teach icon="key" title="No peer beside sites" snippet={FIRST_PEER}>
                A peer is whoever speaks WireGuard and is no site: a phone, a single machine, somebody else’s
                gateway. It is known by its public key, and told ours.
              </Teach>
            }
          >
            <div class="card-head">
              <h2>{props.of.title}</h2>
              <span class="muted push">
                {count(up())} of {plural(data.items.length, props.of.noun)} with keys
              </span>
            </div>
            <Show when={data.items.length > FEW}>
              <div class="toolbar">
                <Search
                  label={`Search ${props.of.noun}s`}
                  placeholder="Name, key, endpoint or network"
                  value={text()}
                  onInput={setText}
                />
              </div>
            </Show>
            <Show
              when={found().length > 0}
              fallback={<Empty icon="search" title={`No ${props.of.noun} is like that`} />}
            >
              <div class="table-frame">
                <table class="table stacking peers">
                  <thead>
                    <tr>
                      <th scope="col">{props.of.to === "peers" ? "Peer" : "To"}</th>
                      <th scope="col">Keys</th>
                      <th scope="col">Endpoint</th>
                      <th scope="col" class="number">
                        Received
                      </th>
                      <th scope="col" class="number">
                        Sent
                      </th>
                      <th scope="col" class="number">
                        Refused
                      </th>
                      <th scope="col" class="number">
                        Foreign
                      </th>
                      <th scope="col">Public key</th>
                    </tr>
                  </thead>
                  <tbody>
                    <For each={found().slice(0, most())}>{(tunnel) => <Row tunnel={tunnel} />}</For>
                  </tbody>
                </table>
              </div>
              <More
                shown={most()}
                total={found().length}
                noun={props.of.noun}
                onMore={() => setMost(most() + STEP)}
              />
            </Show>
          </Show>
        </section>
      )}
    </Loaded>
  );
}

/** Who we are to others, and who is joined to us. */
export default function Tunnels() {
  return (
    <div class="stack">
      <Uplinks />
      <Table of={PEERS} />
      <Table of={SITES} />
    </div>
  );
}
