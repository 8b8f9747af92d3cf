import { For, Show } from "solid-js";
import { api } from "../../api/client";
import { createQuery } from "../../api/query";
import type { Qos, QosClass, ShapedUplink } from "../../api/sdwan-types";
import { FIRST_SHAPING } from "../../examples";
import { bits, bytes, count } from "../../format";
import { Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { shaping } from "./reading";
import { State } from "./shared";

type Keyed<T> = T & { key: string };
type Uplink = Omit<Keyed<ShapedUplink>, "classes"> & { classes: Keyed<QosClass>[] };

function createShaping() {
  return createQuery<null, { items: Uplink[] }>(
    () => null,
    async (_, signal) => {
      const { uplinks } = await api.get<Qos>("/sdwan/qos", signal);
      const classes = (all: QosClass[]) => all.map((one) => ({ ...one, key: one.class }));
      return { items: uplinks.map((one) => ({ ...one, key: one.uplink, classes: classes(one.classes) })) };
    },
    { every: 2_000, key: "key" },
  );
}

function Row(props: { of: QosClass }) {
  return (
    <tr>
      <td>
        <strong>{props.of.class}</strong>
        <div class="muted site-nets mono">{props.of.dscp.join(" ")}</div>
      </td>
      <td class="number">
        {bits(props.of.rate)}
        <span class="phone-only muted"> always</span>
      </td>
      <td class="number">
        {bits(props.of.ceiling)}
        <span class="phone-only muted"> at most</span>
      </td>
      <td class="number" title={`${count(props.of.packets)} packets`}>
        {bytes(props.of.bytes)}
        <span class="phone-only muted"> sent</span>
      </td>
      <td class="number" title={`${count(props.of.backlog_packets)} packets`}>
        {bytes(props.of.backlog_bytes)}
        <span class="phone-only muted"> waiting</span>
      </td>
      <td class="number">
        <Show when={props.of.drops > 0} fallback={<span class="muted">0</span>}>
          {count(props.of.drops)}
        </Show>
        <span class="phone-only muted"> dropped</span>
      </td>
    </tr>
  );
}

function Card(props: { of: Uplink }) {
  return (
    <section class="card" aria-label={`Shaping of ${props.of.uplink}`}>
      <div class="card-head">
        <h2>{props.of.uplink}</h2>
        <State of={shaping(props.of.state)} />
        <span class="muted push">
          {props.of.interface}, {bits(props.of.rate)}
          <Show when={props.of.queue}>{(queue) => <>, {queue()}</>}</Show>
        </span>
      </div>
      <Show
        when={props.of.classes.length > 0}
        fallback={<p class="muted">{shaping(props.of.state).detail}</p>}
      >
        <div class="table-frame">
          <table class="table stacking">
            <thead>
              <tr>
                <th scope="col">Class</th>
                <th scope="col" class="number">
                  Always
                </th>
                <th scope="col" class="number">
                  At most
                </th>
                <th scope="col" class="number">
                  Sent
                </th>
                <th scope="col" class="number">
                  Waiting
                </th>
                <th scope="col" class="number">
                  Dropped
                </th>
              </tr>
            </thead>
            <tbody>
              <For each={props.of.classes}>{(one) => <Row of={one} />}</For>
            </tbody>
          </table>
        </div>
      </Show>
    </section>
  );
}

/** How uplinks are shaped, and what each class has sent, lost and waits for. */
export default function ShapingPage() {
  const uplinks = createShaping();
  return (
    <Loaded query={uplinks} height={300}>
      {(data) => (
        <Show
          when={data.items.length > 0}
          fallback={
            <section class="card" aria-label="Shaping">
              <Teach icon="sdwan" title="No uplink is shaped" snippet={FIRST_SHAPING}>
                An uplink that is shaped is held to its rate here, so that packets wait in the queue of their
                class, and what is urgent passes what is not. It changes the interface of the uplink, and is
                taken back at the end.
              </Teach>
            </section>
          }
        >
          <div class="stack">
            <For each={data.items}>{(uplink) => <Card of={uplink} />}</For>
          </div>
        </Show>
      )}
    </Loaded>
  );
}
