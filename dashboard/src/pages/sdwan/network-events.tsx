import { createSignal, For, Show } from "solid-js";
import { api, query } from "../../api/client";
import type { ReportedEvent } from "../../api/controller-types";
import { createQuery } from "../../api/query";
import type { Page } from "../../api/types";
import { count, preciseClock, relative, timestamp } from "../../format";
import { Said } from "../../ui/said";
import { Empty, Loaded } from "../../ui/states";
import { createNow } from "../../ui/widgets";
import { eventOf } from "./network";
import { told, why } from "./reading";
import { State } from "./shared";

/** Rows that are asked for at first, and more each time. */
const STEP = 50;
const MOST = 999;

function Row(props: { event: ReportedEvent; now: number }) {
  const event = () => eventOf(props.event);
  return (
    <tr>
      <td class="muted" title={timestamp(props.event.at)}>
        <time class="mono" datetime={props.event.at}>
          {preciseClock(props.event.at)}
        </time>
        <div class="event-ago">{relative(Date.parse(props.event.at), props.now)}</div>
      </td>
      <td class="side">
        <State of={{ ...told(event()), detail: "" }} />
      </td>
      <td>
        {props.event.site}
        <Show when={event().site !== ""}>
          <span class="muted"> to </span>
          {event().site}
        </Show>
      </td>
      <td class="event-what">{told(event()).detail}</td>
      <td class="event-why wide">
        <Said text={why(event())} />
      </td>
    </tr>
  );
}

/** What has happened at all sites, or at one, and why. */
export function NetworkEvents(props: { names: string[] }) {
  const [site, setSite] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const now = createNow();
  const events = createQuery<{ site: string; limit: number }, Page<ReportedEvent>>(
    () => ({ site: site(), limit: most() }),
    (asked, signal) => api.get(`/controller/events${query(asked)}`, signal),
    { every: 10_000 },
  );
  return (
    <section class="card" aria-label="Events of the network">
      <div class="toolbar">
        <p class="muted">What has happened at sites, and why.</p>
        <select class="input" aria-label="Site" onChange={(event) => setSite(event.currentTarget.value)}>
          <option value="">All sites</option>
          <For each={props.names}>{(name) => <option value={name}>{name}</option>}</For>
        </select>
      </div>
      <Loaded query={events} height={240}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={<Empty icon="sdwan" title="No site has reported anything yet" />}
          >
            <div class="table-frame">
              <table class="table stacking happened">
                <thead>
                  <tr>
                    <th scope="col">When</th>
                    <th scope="col">What</th>
                    <th scope="col">Sites</th>
                    <th scope="col">Details</th>
                    <th scope="col">Why</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={data.items}>{(event) => <Row event={event} now={now()} />}</For>
                </tbody>
              </table>
            </div>
            <Show when={data.next !== null && most() < MOST}>
              <div class="pager">
                The latest {count(data.items.length)}
                <button
                  type="button"
                  class="button small"
                  onClick={() => setMost(Math.min(MOST, most() * 2))}
                >
                  Show older
                </button>
              </div>
            </Show>
          </Show>
        )}
      </Loaded>
    </section>
  );
}
