import { For, Show } from "solid-js";
import { api } from "../../api/client";
import type { Acceleration as Accelerated, NetworkInterface, Tier } from "../../api/proxy-types";
import { createQuery } from "../../api/query";
import { bytes, count, plural, trimmed } from "../../format";
import { Facts } from "../../ui/facts";
import { Icon } from "../../ui/icon";
import { Said } from "../../ui/said";
import { Loaded, Notice } from "../../ui/states";

/** What tiers are, the fastest first. */
const TIERS: Record<Tier["tier"], { name: string; text: string }> = {
  dpdk: { name: "DPDK", text: "Cards that a program has for itself" },
  xdp: { name: "XDP", text: "Programs in the driver, before the kernel's own work" },
  af_xdp: { name: "AF_XDP", text: "Frames in memory that is shared with the kernel" },
  "sr-iov": { name: "SR-IOV", text: "Virtual functions of a card" },
  tc: { name: "tc", text: "Programs on the kernel's packets" },
  application: { name: "Outwork itself", text: "Connections that it passes on" },
  sockets: { name: "Sockets", text: "As every program has them" },
};

function TierRow(props: { tier: Tier }) {
  const known = () => TIERS[props.tier.tier] ?? { name: props.tier.tier, text: "" };
  return (
    <tr>
      <td>
        <strong>{known().name}</strong>
        <div class="muted backend-place">{known().text}</div>
      </td>
      <td class="side">
        <Show
          when={props.tier.in_use}
          fallback={
            <Show
              when={props.tier.available}
              fallback={
                <span class="badge">
                  <Icon name="minus" size={12} /> unavailable
                </span>
              }
            >
              <span class="badge accent">
                <Icon name="plus" size={12} /> available
              </span>
            </Show>
          }
        >
          <span class="badge good">
            <Icon name="check" size={12} /> in use
          </span>
        </Show>
      </td>
      <td class="mono">{props.tier.interfaces.join(", ")}</td>
      <td class="wide tier-remark">
        <Show when={props.tier.why_not ?? props.tier.remark}>{(text) => <Said text={text()} />}</Show>
      </td>
    </tr>
  );
}

const MODE = { hw: "card", native: "driver", skb: "generic" } as const;

/** Where programs of a mode run. */
const WHERE = {
  hw: "On the card itself",
  native: "In the driver of the card",
  skb: "In the kernel, with any driver",
} as const;

function Mode(props: { mode: NetworkInterface["xdp"][number] }) {
  const read = () =>
    ({
      true: { tone: "good", icon: "check", text: "works" },
      false: { tone: "", icon: "close", text: "does not work" },
      null: { tone: "warn", icon: "alert", text: "only trying tells" },
    }) as const;
  const now = () => read()[`${props.mode.works}`];
  return (
    <span class={`badge ${now().tone}`} title={`${WHERE[props.mode.mode]}: ${props.mode.why ?? now().text}`}>
      <Icon name={now().icon} size={11} />
      {MODE[props.mode.mode]}
      <span class="visually-hidden">
        {now().text}
        {props.mode.why ? `: ${props.mode.why}` : ""}
      </span>
    </span>
  );
}

function InterfaceRow(props: { one: NetworkInterface }) {
  const offloads = () =>
    [props.one.gro ? "GRO" : null, props.one.tx_checksums ? "TX checksums" : null].filter(
      (part) => part !== null,
    );
  const remark = () => {
    if (props.one.copied === null) return props.one.stays ? "It outlives this process" : undefined;
    if (!props.one.copied) return "Frames are not copied";
    return `Frames are copied${props.one.copied_because ? `: ${props.one.copied_because}` : ""}`;
  };
  const said = () => [...props.one.tried, ...props.one.concerns];
  return (
    <tr>
      <td>
        <code class="backend-key">{props.one.name}</code>
        <div class="muted backend-place">
          {[props.one.up ? null : "down", props.one.driver, props.one.bus]
            .filter((part) => part !== null)
            .join(" · ")}
        </div>
      </td>
      <td class="side" classList={{ "phone-hidden": props.one.tier === null }}>
        <Show when={props.one.tier} fallback={<span class="muted">–</span>}>
          {(tier) => (
            <span class="badge good" title={remark()}>
              <Icon name="check" size={12} />
              {tier()}
            </span>
          )}
        </Show>
      </td>
      <td>
        {plural(props.one.receive_queues, "queue")} in, {count(props.one.transmit_queues)} out
        <div class="muted backend-place">MTU {props.one.mtu}</div>
      </td>
      <td class="wide">
        <div class="modes">
          <span class="phone-only muted">XDP </span>
          <For each={props.one.xdp}>{(mode) => <Mode mode={mode} />}</For>
        </div>
      </td>
      <td classList={{ "phone-hidden": offloads().length === 0 }}>
        <Show when={offloads().length > 0} fallback={<span class="muted">–</span>}>
          <span class="phone-only muted">offloads </span>
          {offloads().join(", ")}
        </Show>
      </td>
      <td class="number" classList={{ "phone-hidden": props.one.vfs_total === null }}>
        <Show when={props.one.vfs_total !== null} fallback={<span class="muted">–</span>}>
          <span class="phone-only muted">virtual functions </span>
          {count(props.one.vfs ?? 0)} of {count(props.one.vfs_total ?? 0)}
        </Show>
      </td>
      <td class="wide reasons-cell">
        <ul>
          <For each={said()}>
            {(text) => (
              <li>
                <Said text={text} />
              </li>
            )}
          </For>
        </ul>
      </td>
    </tr>
  );
}

/** What of this machine can make packets faster, what does, and why the rest does not. */
export default function Acceleration() {
  const acceleration = createQuery<null, Accelerated>(
    () => null,
    (_, signal) => api.get("/proxy/acceleration", signal),
    { every: 5_000, key: "name" },
  );
  return (
    <Loaded query={acceleration} height={600}>
      {(now) => (
        <div class="stack">
          <Show when={now.problem}>
            {(problem) => (
              <Notice tone="bad">
                <strong>The kernel passes nothing on, though the configuration wants it</strong>
                <div>
                  <Said text={problem()} />
                </div>
              </Notice>
            )}
          </Show>
          <section class="card" aria-label="Tiers">
            <div class="card-head">
              <h2>Tiers</h2>
              <span class="muted push">the fastest first</span>
            </div>
            <div class="table-frame">
              <table class="table stacking tiers">
                <thead>
                  <tr>
                    <th scope="col">Tier</th>
                    <th scope="col">State</th>
                    <th scope="col">Interfaces</th>
                    <th scope="col">What to know</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={now.tiers}>{(tier) => <TierRow tier={tier} />}</For>
                </tbody>
              </table>
            </div>
          </section>
          <section class="card" aria-label="Interfaces">
            <div class="card-head">
              <h2>Interfaces</h2>
              <span class="muted push">kernel {now.kernel}</span>
            </div>
            <p class="interfaces-note">
              XDP programs run on the card itself (card), in its driver before the kernel's own work (driver),
              or in the kernel with any driver, which is slower (generic). Functions are the virtual ones of
              SR-IOV, cards of their own to who uses them: how many there are, of how many there can be.
            </p>
            <div class="table-frame">
              <table class="table stacking interfaces">
                <thead>
                  <tr>
                    <th scope="col">Interface</th>
                    <th scope="col">Tier</th>
                    <th scope="col">Queues</th>
                    <th scope="col">XDP</th>
                    <th scope="col">Offloads</th>
                    <th
                      scope="col"
                      class="number"
                      title="Virtual functions (SR-IOV), and how many there can be"
                    >
                      Functions
                    </th>
                    <th scope="col">What to know</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={now.interfaces}>{(one) => <InterfaceRow one={one} />}</For>
                </tbody>
              </table>
            </div>
          </section>
          <Show when={now.huge_pages.some((pages) => pages.total > 0)}>
            <section class="card" aria-label="Huge pages">
              <div class="card-head">
                <h2>Huge pages</h2>
              </div>
              <div class="card-body">
                <Facts
                  items={now.huge_pages.map((pages) => [
                    `Of ${trimmed(bytes(pages.kibibytes * 1024))}`,
                    `${count(pages.free)} of ${count(pages.total)} free`,
                  ])}
                />
              </div>
            </section>
          </Show>
        </div>
      )}
    </Loaded>
  );
}
