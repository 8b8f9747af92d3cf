import { createMemo, createSignal, For, onCleanup, onMount, Show } from "solid-js";
import { type Connection, openDhcpStream } from "../../api/live";
import type { DhcpEvent } from "../../api/types";
import { count, rate as perSecond, preciseClock } from "../../format";
import { href } from "../../router";
import { Icon } from "../../ui/icon";
import { Empty } from "../../ui/states";
import { Search } from "../../ui/widgets";
import { Feed, type FeedRow, type Group, groupOf, matches } from "./feed";

const LIMIT = 400;
const REDRAW_MS = 250;

const CHIPS: { group: Group; text: string }[] = [
  { group: "requests", text: "Requests" },
  { group: "answers", text: "Answers" },
  { group: "ends", text: "Ends" },
  { group: "problems", text: "Problems" },
];

const TONE: Record<Group, string> = { requests: "", answers: "good", ends: "accent", problems: "bad" };

function EventRow(props: { event: DhcpEvent }) {
  return (
    <tr>
      <td class="mono muted">{preciseClock(props.event.time)}</td>
      <td>
        <span class={`badge ${TONE[groupOf(props.event.kind)]}`}>{props.event.kind}</span>
      </td>
      <td class="mono">
        <Show when={props.event.address}>
          {(address) => <a href={href("/dhcp/leases", { lease: address() })}>{address()}</a>}
        </Show>
      </td>
      <td class="mono">{props.event.mac ?? props.event.client_id ?? ""}</td>
      <td>{props.event.hostname ?? ""}</td>
      <td class="muted">{props.event.reason ?? ""}</td>
    </tr>
  );
}

export function Events() {
  const feed = new Feed(LIMIT);
  const [rows, setRows] = createSignal<FeedRow[]>([]);
  const [rate, setRate] = createSignal(0);
  const [paused, setPaused] = createSignal(false);
  const [held, setHeld] = createSignal(0);
  const [connection, setConnection] = createSignal<Connection>({ phase: "connecting" });
  const [groups, setGroups] = createSignal<ReadonlySet<Group>>(new Set());
  const [text, setText] = createSignal("");

  onMount(() => {
    onCleanup(
      openDhcpStream({
        event: (event) => feed.event(event),
        lagged: (missed) => feed.missed(missed),
        connection: setConnection,
      }),
    );
    const timer = setInterval(() => {
      if (document.hidden) return;
      if (paused()) {
        setHeld(feed.arrived);
        return;
      }
      // A slow average, so that the figure can be read.
      setRate(rate() * 0.7 + (feed.arrived * 1000 * 0.3) / REDRAW_MS);
      if (feed.arrived > 0) setRows(feed.flush());
    }, REDRAW_MS);
    onCleanup(() => clearInterval(timer));
  });

  const visible = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return rows().filter((row) => matches(row, groups(), needle));
  });
  const state = () => {
    if (paused()) return `${count(held())} waiting`;
    if (connection().phase === "open") return `live, ${perSecond(rate())}/s`;
    return connection().phase === "lost" ? "reconnecting" : "connecting";
  };
  const toggle = (group: Group) => {
    const next = new Set(groups());
    if (!next.delete(group)) next.add(group);
    setGroups(next);
  };
  const resume = () => {
    setPaused(false);
    setHeld(0);
    setRows(feed.flush());
  };

  return (
    <section class="card" aria-label="Live events">
      <div class="toolbar">
        <Search
          label="Search events"
          placeholder="Address, MAC, hostname or reason"
          value={text()}
          onInput={setText}
        />
        <div class="chips">
          <For each={CHIPS}>
            {(chip) => (
              <button
                type="button"
                class="chip"
                aria-pressed={groups().has(chip.group)}
                onClick={() => toggle(chip.group)}
              >
                {chip.text}
              </button>
            )}
          </For>
        </div>
        <div class="row push events-state">
          <span class="live">
            <span class={`dot ${connection().phase === "open" ? (paused() ? "" : "good") : "warn"}`} />
            {state()}
          </span>
          <button
            type="button"
            class="button"
            aria-pressed={paused()}
            onClick={() => (paused() ? resume() : setPaused(true))}
          >
            <Icon name={paused() ? "play" : "pause"} /> {paused() ? "Resume" : "Pause"}
          </button>
          <button
            type="button"
            class="button quiet"
            onClick={() => {
              feed.clear();
              setHeld(0);
              setRows([]);
            }}
          >
            Clear
          </button>
        </div>
      </div>
      <section class="feed" tabindex="0" aria-label="Events, newest first">
        <Show
          when={visible().length > 0}
          fallback={
            <Show
              when={rows().length > 0}
              fallback={
                <Empty
                  icon="dhcp"
                  title={connection().phase === "open" ? "Listening" : "Connecting to the event stream"}
                >
                  <p>
                    Each DHCP message appears here as it is answered, from now on: who asked, what they were
                    given, and why a request was refused. What was before is not kept; leases are in the list.
                  </p>
                </Empty>
              }
            >
              <Empty icon="search" title="No recent event matches">
                <button
                  type="button"
                  class="button"
                  onClick={() => {
                    setText("");
                    setGroups(new Set<Group>());
                  }}
                >
                  Show all
                </button>
              </Empty>
            </Show>
          }
        >
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Event</th>
                <th scope="col">Address</th>
                <th scope="col">Client</th>
                <th scope="col">Hostname</th>
                <th scope="col">Reason</th>
              </tr>
            </thead>
            <tbody>
              <For each={visible()}>
                {(row) =>
                  "event" in row ? (
                    <EventRow event={row.event} />
                  ) : (
                    <tr class="missed">
                      <td colspan="6">
                        {count(row.missed)} events left out: they came faster than this page reads
                      </td>
                    </tr>
                  )
                }
              </For>
            </tbody>
          </table>
        </Show>
      </section>
    </section>
  );
}
