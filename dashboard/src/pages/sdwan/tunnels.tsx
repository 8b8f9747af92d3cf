import { createMemo, createSignal, For, Show } from "solid-js";
import { api, query } from "../../api/client";
import { createQuery, type Query } from "../../api/query";
import type { Tunnel, Uplink } from "../../api/sdwan-types";
import type { Page } from "../../api/types";
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
                      <td class="mono">
                        <For each={uplink.listens}>{(at) => <div class="endpoint">{at}</div>}</For>
                      </td>
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
        <div class="muted site-nets" title={`Packets of up to ${count(props.tunnel.mtu)} octets`}>
          by {props.tunnel.uplink}, <span class="nowrap">MTU {props.tunnel.mtu}</span>
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
      <td class="mono endpoint">
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
          {/* The whole of it stands there, and is marked by a click: nobody copies without a button what is cut off. */}
          <span class="mono key-short" title={props.tunnel.public_key}>
            {props.tunnel.public_key}
          </span>
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

type Listed = Tunnel & { key: string };

interface Tunnels {
  query: Query<Page<Listed>>;
  text: () => string;
  setText: (text: string) => void;
  most: () => number;
  showMore: () => void;
}

/** No more tunnels are asked for than are shown; what is typed is looked for in all that one answer has. */
function createTunnels(of: Of): Tunnels {
  const [text, setText] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const limit = createMemo(() => (text().trim() === "" ? Math.min(most(), MOST) : MOST));
  const tunnels = createQuery<number, Page<Listed>>(
    limit,
    async (limit, signal) => {
      const there = `/sdwan/tunnels${query({ to: of.to, limit })}`;
      const { items, next } = await api.get<Page<Tunnel>>(there, signal);
      const key = (one: Tunnel) => `${one.path?.id ?? ""} ${one.uplink} ${one.public_key}`;
      return { items: items.map((tunnel) => ({ ...tunnel, key: key(tunnel) })), next };
    },
    { every: of.every, key: "key" },
  );
  return { query: tunnels, text, setText, most, showMore: () => setMost(most() + STEP) };
}

function Table(props: { of: Of; tunnels: Tunnels }) {
  const items = () => props.tunnels.query.data()?.items ?? [];
  const found = createMemo(() => {
    const needle = props.tunnels.text().trim().toLowerCase();
    return items().filter((one) =>
      `${one.peer} ${one.path?.remote_uplink ?? ""} ${one.uplink} ${one.endpoint ?? ""} ${one.networks.join(" ")} ${one.public_key}`
        .toLowerCase()
        .includes(needle),
    );
  });
  const up = () => items().filter((one) => one.keys_age_seconds !== null).length;
  const next = () => props.tunnels.query.data()?.next ?? null;
  const all = () =>
    next() === null
      ? plural(items().length, props.of.noun)
      : `the first ${plural(items().length, props.of.noun)}`;
  return (
    <section class="card" aria-label={props.of.title}>
      <div class="card-head">
        <h2>{props.of.title}</h2>
        <span class="muted push">
          {count(up())} of {all()} with keys
        </span>
      </div>
      <Show when={items().length > FEW}>
        <div class="toolbar">
          <Search
            label={`Search ${props.of.noun}s`}
            placeholder="Name, key, endpoint or network"
            value={props.tunnels.text()}
            onInput={props.tunnels.setText}
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
              <For each={found().slice(0, props.tunnels.most())}>{(tunnel) => <Row tunnel={tunnel} />}</For>
            </tbody>
          </table>
        </div>
        <Show
          when={next() !== null && items().length < MOST}
          fallback={
            <More
              shown={props.tunnels.most()}
              total={found().length}
              noun={props.of.noun}
              onMore={props.tunnels.showMore}
            />
          }
        >
          <div class="pager">
            The first {count(found().length)}
            <button type="button" class="button small" onClick={() => props.tunnels.showMore()}>
              Show more
            </button>
          </div>
        </Show>
      </Show>
    </section>
  );
}

/** What a peer is, where there is none. */
const PEER =
  "A peer is whoever speaks WireGuard and is no site: a phone, a single machine, somebody else’s gateway. It is known by its public key, and told ours.";

/** That there is no peer: all there is to see, or a line below the tunnels to sites. */
function NoPeer(props: { alone: boolean }) {
  return (
    <section class="card" aria-label="Peers">
      <Show
        when={props.alone}
        fallback={
          <details class="card-body no-peer">
            <summary>
              No peer beside sites <span class="muted">such as a phone: how one is joined</span>
            </summary>
            <Teach icon="key" title="The first peer" snippet={FIRST_PEER}>
              {PEER}
            </Teach>
          </details>
        }
      >
        <Teach icon="key" title="No peer beside sites" snippet={FIRST_PEER}>
          {PEER}
        </Teach>
      </Show>
    </section>
  );
}

/** Who we are to others, and who is joined to us. */
export default function TunnelPages() {
  const [peers, sites] = [createTunnels(PEERS), createTunnels(SITES)];
  const some = (one: Tunnels) => (one.query.data()?.items.length ?? 0) > 0;
  return (
    <div class="stack">
      <Uplinks />
      <Loaded query={peers.query} height={300}>
        {() => (
          <Show when={some(peers)}>
            <Table of={PEERS} tunnels={peers} />
          </Show>
        )}
      </Loaded>
      <Loaded query={sites.query} height={300}>
        {() => (
          <Show when={some(sites)}>
            <Table of={SITES} tunnels={sites} />
          </Show>
        )}
      </Loaded>
      <Show when={peers.query.data() && sites.query.data() && !some(peers)}>
        <NoPeer alone={!some(sites)} />
      </Show>
    </div>
  );
}
