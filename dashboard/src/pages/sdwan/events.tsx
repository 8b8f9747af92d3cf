import { createMemo, createSignal, For, Show } from "solid-js";
import { api, query } from "../../api/client";
import { createQuery } from "../../api/query";
import type { PathEvent, Site } from "../../api/sdwan-types";
import type { Page } from "../../api/types";
import { clock, count, plural, preciseClock, relative, timestamp } from "../../format";
import { href, route, setParams } from "../../router";
import { More } from "../../ui/pager";
import { Said } from "../../ui/said";
import { Empty, Loaded } from "../../ui/states";
import { createNow, Search, Segments } from "../../ui/widgets";
import { begun, happened, kindsOf, told, why } from "./reading";
import { refetchOnChange, State } from "./shared";

/** Rows drawn at once; more on request. */
const STEP = 100;

function Row(props: { event: PathEvent; now: number }) {
  const read = () => told(props.event);
  return (
    <tr>
      <td class="muted" title={timestamp(props.event.at_ms)}>
        <time class="mono" datetime={new Date(props.event.at_ms).toISOString()}>
          {preciseClock(props.event.at_ms)}
        </time>
        <div class="event-ago">{relative(props.event.at_ms, props.now)}</div>
      </td>
      <td class="side">
        <State of={{ ...read(), detail: "" }} />
        <Show when={(props.event.count ?? 1) > 1}>
          <div class="event-ago muted">
            <strong>{count(props.event.count ?? 1)} times</strong>
            <Show when={begun(props.event)}>
              {(since) => (
                <>
                  {" "}
                  <span class="nowrap" title={timestamp(since())}>
                    since {clock(since())}
                  </span>
                </>
              )}
            </Show>
          </div>
        </Show>
      </td>
      <td>
        <Show when={props.event.site !== ""} fallback={<span class="muted">–</span>}>
          <a href={href("/sdwan/paths", { site: props.event.site })}>{props.event.site}</a>
        </Show>
      </td>
      <td class="event-what">{read().detail}</td>
      <td class="event-why wide">
        <Said text={why(props.event)} />
      </td>
    </tr>
  );
}

/** What has happened to paths and to the traffic of sites, and why. */
export default function Events() {
  const now = createNow();
  const [kind, setKind] = createSignal("all");
  const [text, setText] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const site = () => route().params.get("site") ?? "";
  // What is typed is looked for in all of them; else no more are asked for than are shown.
  const searched = createMemo(() => text().trim() !== "");
  const asked = createMemo(() =>
    query({ site: site(), kind: kind() === "all" ? null : kind(), limit: searched() ? null : most() }),
  );
  const events = createQuery<string, Page<PathEvent>>(
    asked,
    (which, signal) => api.get(`/sdwan/events${which}`, signal),
    { every: 5_000, key: "number" },
  );
  refetchOnChange(events.refetch);
  const known = createQuery<null, { items: Site[] }>(
    () => null,
    (_, signal) => api.get("/sdwan/sites", signal),
    { key: "name" },
  );
  const siteNames = createMemo(() => {
    const named = (events.data()?.items ?? []).map((event) => event.site);
    const there = (known.data()?.items ?? []).map(({ name }) => name);
    return JSON.stringify([...new Set([...there, ...named, site()])].filter((name) => name !== "").sort());
  });
  const sites = createMemo(() => JSON.parse(siteNames()) as string[]);
  const more = () => !searched() && (events.data()?.next ?? null) !== null;
  const filtered = () => site() !== "" || kind() !== "all" || searched();
  const kindNames = createMemo(() => JSON.stringify(kindsOf(events.data()?.items ?? [])));
  const kinds = createMemo(() => JSON.parse(kindNames()) as ReturnType<typeof kindsOf>);
  const found = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return (events.data()?.items ?? []).filter(
      (event) =>
        (kind() === "all" || event.kind === kind()) &&
        (site() === "" || event.site === site()) &&
        `${event.of} ${event.from} ${event.to} ${event.class ?? ""} ${why(event)}`
          .toLowerCase()
          .includes(needle),
    );
  });
  return (
    <Loaded query={events} height={600}>
      {(data) => (
        <section class="card" aria-label="Events">
          <div class="toolbar">
            <Search
              label="Search events"
              placeholder="Path, state, class or reason"
              value={text()}
              onInput={setText}
            />
            <select
              class="input"
              aria-label="Site"
              onChange={(event) => setParams({ site: event.currentTarget.value })}
            >
              <option value="">All sites</option>
              <For each={sites()}>
                {(name) => (
                  <option value={name} selected={name === site()}>
                    {name}
                  </option>
                )}
              </For>
            </select>
            <Segments
              label="Events shown"
              value={kind()}
              options={[{ value: "all", text: "All" }, ...kinds()]}
              onChange={setKind}
            />
            <span class="muted push">
              {more() ? `the latest ${count(found().length)}` : plural(happened(found()), "event")}
            </span>
          </div>
          <Show
            when={found().length > 0}
            fallback={
              <Show
                when={data.items.length > 0 || filtered()}
                fallback={
                  <Empty icon="sdwan" title="Nothing has happened yet">
                    <p>
                      When a path comes, goes or is suspected, and when traffic takes another, it is said here
                      with the reason. The last thousand are remembered, as long as Outwork runs.
                    </p>
                  </Empty>
                }
              >
                <Empty icon="search" title="No event is like that">
                  <button
                    type="button"
                    class="button"
                    onClick={() => {
                      setText("");
                      setKind("all");
                      setParams({ site: null });
                    }}
                  >
                    Show all
                  </button>
                </Empty>
              </Show>
            }
          >
            <div class="table-frame">
              <table class="table stacking happened">
                <thead>
                  <tr>
                    <th scope="col">When</th>
                    <th scope="col">What</th>
                    <th scope="col">Site</th>
                    <th scope="col">Details</th>
                    <th scope="col">Why</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={found().slice(0, most())}>{(event) => <Row event={event} now={now()} />}</For>
                </tbody>
              </table>
            </div>
            <Show
              when={more()}
              fallback={
                <More
                  shown={most()}
                  total={found().length}
                  noun="event"
                  onMore={() => setMost(most() + STEP)}
                />
              }
            >
              <div class="pager">
                The latest {count(found().length)}
                <button type="button" class="button small" onClick={() => setMost(most() + STEP)}>
                  Show older
                </button>
              </div>
            </Show>
          </Show>
        </section>
      )}
    </Loaded>
  );
}
