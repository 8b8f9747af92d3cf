import { For, Show } from "solid-js";
import { api } from "../../api/client";
import type { Listener } from "../../api/proxy-types";
import { createQuery } from "../../api/query";
import { FIRST_FORWARDED } from "../../examples";
import { bytes, count, plural } from "../../format";
import { href } from "../../router";
import { Icon } from "../../ui/icon";
import { Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { type Gathered, gather, pools } from "./gather";

function Row(props: { listener: Gathered }) {
  const what = () => (props.listener.protocol === "udp" ? "session" : "connection");
  return (
    <tr>
      <td class="rule">
        <code class="backend-key">{props.listener.name}</code>
        <div class="muted backend-place">
          {[
            props.listener.protocol.toUpperCase(),
            props.listener.tls ? "TLS ends here" : null,
            ...props.listener.addresses,
          ]
            .filter((part) => part !== null)
            .join(" · ")}
        </div>
        <Show when={props.listener.forwarding !== "sockets"}>
          <div class="muted backend-place">
            {props.listener.forwarding}:{" "}
            <Show when={props.listener.passed} fallback="no tier passes packets on now">
              {(passed) => (
                <>
                  {plural(passed().flows, "flow")} with {bytes(passed().bytes)} in were passed on by a tier,
                  beside these figures
                </>
              )}
            </Show>
          </div>
        </Show>
      </td>
      <td class="side">
        <span class="badge">{plural(props.listener.active, what())} open</span>
      </td>
      <td>
        <span class="phone-only muted">to </span>
        <a href={href("/proxy")}>{pools(props.listener).join(", ")}</a>
      </td>
      <td class="number">
        {count(props.listener.total)}
        <span class="phone-only muted"> accepted</span>
      </td>
      <td class="number" classList={{ "phone-hidden": props.listener.refused === 0 }}>
        <Show when={props.listener.refused > 0} fallback={<span class="muted">0</span>}>
          <span class="failing">
            <Icon name="alert" size={12} /> {count(props.listener.refused)}
          </span>
          <span class="phone-only muted"> refused</span>
        </Show>
      </td>
      <td class="number">
        {bytes(props.listener.received)}
        <span class="phone-only muted"> in</span>
      </td>
      <td class="number">
        {bytes(props.listener.sent)}
        <span class="phone-only muted"> out</span>
      </td>
    </tr>
  );
}

/** Who passes connections and datagrams on as they come, and what each has. */
export default function Listeners() {
  const listeners = createQuery<null, { items: Gathered[] }>(
    () => null,
    async (_, signal) => ({ items: gather(await api.get<Listener[]>("/proxy/listeners", signal)) }),
    { every: 2_000, key: "key" },
  );
  return (
    <Loaded query={listeners} height={400}>
      {(data) => (
        <section class="card" aria-label="Listeners">
          <Show
            when={data.items.length > 0}
            fallback={
              <Teach icon="proxy" title="No listener of layer 4 yet" snippet={FIRST_FORWARDED}>
                A listener of layer 4 passes connections of TCP, or datagrams of UDP, on to a pool as they
                come: databases, mail, DNS, or TLS that ends at the backends. Requests of HTTP have routes.
              </Teach>
            }
          >
            <div class="card-head">
              <h2>Listeners of layer 4</h2>
              <span class="muted push">{plural(data.items.length, "listener")}</span>
            </div>
            <div class="table-frame">
              <table class="table stacking listeners">
                <thead>
                  <tr>
                    <th scope="col">Listener</th>
                    <th scope="col">Open</th>
                    <th scope="col">Pool</th>
                    <th scope="col" class="number">
                      Accepted
                    </th>
                    <th scope="col" class="number">
                      Refused
                    </th>
                    <th scope="col" class="number">
                      Received
                    </th>
                    <th scope="col" class="number">
                      Sent
                    </th>
                  </tr>
                </thead>
                <tbody>
                  <For each={data.items}>{(listener) => <Row listener={listener} />}</For>
                </tbody>
              </table>
            </div>
          </Show>
        </section>
      )}
    </Loaded>
  );
}
