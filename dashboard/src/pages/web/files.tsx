import { createMemo, For, Show } from "solid-js";
import { api, query } from "../../api/client";
import { cells, share, sum, sums, tallied, total } from "../../api/figures";
import { createQuery } from "../../api/query";
import type { Failure, Folder, NamedCount } from "../../api/web-types";
import { FIRST_FOLDER } from "../../examples";
import { bytes, count, percent, plural, rate, relative } from "../../format";
import { Facts } from "../../ui/facts";
import { type Plot, PlotSection } from "../../ui/plots";
import { Empty, Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { createNow } from "../../ui/widgets";
import { createMetrics, createRoutes, Fill } from "./shared";

const PLOTS: Plot[] = [
  {
    title: "Files asked for a second",
    names: ["hit", "changed", "miss"].map((result) => `web_lookups_rate{result="${result}"}`),
    series: [
      { label: "kept", color: 4 },
      { label: "changed", color: 2 },
      { label: "opened", color: 3 },
    ],
    format: rate,
  },
  {
    title: "Sent a second, by where from",
    names: ["memory", "sendfile", "mapped", "direct", "read"].map((tier) => `web_sent_rate{tier="${tier}"}`),
    series: [
      { label: "memory", color: 4 },
      { label: "sendfile", color: 1 },
      { label: "mmap, direct", color: 2 },
      { label: "read", color: 3 },
    ],
    derive: sums([[0], [1], [2, 3], [4]]),
    format: rate,
  },
  {
    title: "Memory of kept files",
    names: ["web_kept"],
    series: [{ label: "", color: 1 }],
    format: bytes,
    bytes: true,
  },
];

const SENT: Record<string, string> = {
  memory: "memory",
  sendfile: "sendfile",
  mapped: "memory map",
  direct: "direct I/O",
  read: "read",
};

function countOf(counts: NamedCount[], name: string): number {
  return counts.find((one) => one.name === name)?.count ?? 0;
}

/** How often a file did not have to be opened. */
function found(folder: Folder): number | null {
  return share(countOf(folder.lookups, "hit"), sum(folder.lookups.map((one) => one.count)));
}

function Watching(props: { folder: Folder }) {
  const state = () => {
    if (!props.folder.watch)
      return {
        tone: "",
        text: "off",
        title: "files.watch is off: each request looks whether its file has changed.",
      };
    if (!props.folder.watching)
      return {
        tone: "warn",
        text: "cannot",
        title: "The kernel cannot tell of changes here: each request looks for them.",
      };
    return {
      tone: "good",
      text: plural(props.folder.watches, "watch", "watches"),
      title: "The kernel tells of changes (inotify): what is kept costs no look at the disk.",
    };
  };
  return (
    <span class={`badge ${state().tone}`} title={state().title}>
      {state().text}
    </span>
  );
}

function FolderRow(props: { folder: Folder; route: string }) {
  const sent = () => {
    const all = sum(props.folder.sent.map((one) => one.count)) ?? 0;
    return props.folder.sent
      .filter((one) => one.count > 0)
      .sort((a, b) => b.count - a.count)
      .map((one) => `${SENT[one.name] ?? one.name} ${percent(one.count / all)}`)
      .join(", ");
  };
  const share = () => found(props.folder);
  return (
    <tr>
      <td class="key-cell">
        <strong class="mono">{props.route}</strong>
        <div class="muted mono">{props.folder.root}</div>
      </td>
      <td class="side">
        <Watching folder={props.folder} />
      </td>
      <td class="wide">
        <Fill
          used={props.folder.bytes}
          limit={props.folder.limit}
          label={`Memory of ${props.folder.root} in use`}
        />
      </td>
      <td class="number">
        {count(props.folder.files)}
        <span class="phone-only muted"> files kept</span>
      </td>
      <td class="number phone-hidden" title={`${bytes(props.folder.variant_bytes)} of memory`}>
        {count(props.folder.variants)}
      </td>
      <td class="number side">
        <span class="phone-only muted">found </span>
        {share() === null ? "–" : percent(share() ?? 0)}
      </td>
      <td class="wide">{sent() === "" ? <span class="muted">nothing yet</span> : sent()}</td>
    </tr>
  );
}

/** What clients lately asked for in vain. */
function NotFound() {
  const failures = createQuery<null, { items: Failure[] }>(
    () => null,
    (_, signal) => api.get(`/front/failures${query({ blame: "client", limit: 256 })}`, signal),
    { every: 10_000 },
  );
  const now = createNow(10_000);
  const rows = createMemo(() => {
    const missing = (failures.data()?.items ?? []).filter((one) => one.status === 404 && one.path !== null);
    return tallied(missing, (one) => `${one.host ?? ""}${one.path}`).slice(0, 15);
  });
  return (
    <section class="card" aria-label="Not found lately">
      <div class="card-head">
        <h2>Not found lately</h2>
        <span class="muted push">of the last 256 clients’ errors</span>
      </div>
      <Loaded query={failures} height={160}>
        {() => (
          <Show
            when={rows().length > 0}
            fallback={
              <Empty icon="check" title="Nobody asked in vain">
                <p>Paths that are answered 404 appear here: broken links, and what moved.</p>
              </Empty>
            }
          >
            <div class="table-frame">
              <table class="table stacking">
                <thead>
                  <tr>
                    <th scope="col">Path</th>
                    <th scope="col" class="number">
                      Times
                    </th>
                    <th scope="col">Last</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={rows()}>
                    {(row) => (
                      <tr>
                        <td class="key-cell">
                          <code>{row.latest.path}</code>
                          <Show when={row.latest.host}>
                            <span class="muted"> at {row.latest.host}</span>
                          </Show>
                        </td>
                        <td class="number side">{count(row.count)}</td>
                        <td class="nowrap">{relative(Date.parse(row.latest.time), now())}</td>
                      </tr>
                    )}
                  </For>
                </tbody>
              </table>
            </div>
          </Show>
        )}
      </Loaded>
    </section>
  );
}

export default function Files() {
  const folders = createQuery<null, { items: Folder[] }>(
    () => null,
    (_, signal) => api.get("/web/files", signal),
    { every: 5_000 },
  );
  const routes = createRoutes();
  const metrics = createMetrics();
  // Both are in the order of the configuration.
  const routeOf = (index: number) =>
    (routes.data()?.items ?? []).filter((route) => route.answers === "files")[index]?.route ?? "";
  const number = (name: string) => {
    const n = total(metrics(), name);
    return n === null ? null : count(n);
  };
  const codings = (name: string) => {
    const made = cells(metrics(), name, "coding").filter(([, n]) => n > 0);
    return made.length === 0 ? "none" : made.map(([coding, n]) => `${coding} ${count(n)}`).join(", ");
  };
  const troubles = (name: string): [string | null, boolean] => {
    const n = total(metrics(), name) ?? 0;
    return [count(n), n > 0];
  };
  return (
    <Loaded query={folders} height={600}>
      {(data) => (
        <Show
          when={data.items.length > 0}
          fallback={
            <section class="card" aria-label="Folders">
              <Teach icon="files" title="No route serves files" snippet={FIRST_FOLDER}>
                A folder becomes a site: with index pages, ranges, compression and small files from memory.
              </Teach>
            </section>
          }
        >
          <div class="stack">
            <div>
              <PlotSection title="Activity" plots={PLOTS} />
            </div>
            <section class="card" aria-label="Folders">
              <div class="card-head">
                <h2>Folders</h2>
                <span class="muted push">since the last reload</span>
              </div>
              <div class="table-frame">
                <table class="table stacking">
                  <thead>
                    <tr>
                      <th scope="col">Folder</th>
                      <th scope="col">Changes</th>
                      <th scope="col">Memory</th>
                      <th scope="col" class="number">
                        Files kept
                      </th>
                      <th scope="col" class="number">
                        Compressed
                      </th>
                      <th scope="col" class="number">
                        Found
                      </th>
                      <th scope="col">Sent from</th>
                    </tr>
                  </thead>
                  <tbody>
                    <For each={data.items}>
                      {(folder, i) => <FolderRow folder={folder} route={routeOf(i())} />}
                    </For>
                  </tbody>
                </table>
              </div>
            </section>
            <div class="panels">
              <NotFound />
              <section class="card" aria-label="All folders">
                <div class="card-head">
                  <h2>All folders</h2>
                  <span class="muted push">since the start</span>
                </div>
                <div class="card-body">
                  <Facts
                    items={[
                      ["Compressed forms made", codings("outwork_web_variants_made_total")],
                      ["Compressed forms sent", codings("outwork_web_variants_sent_total")],
                      ["Looks at the disk for changes", number("outwork_web_looks_total")],
                      ["Changes told by the kernel", number("outwork_web_watch_events_total")],
                      ["Too many changes at once", ...troubles("outwork_web_watch_overflows_total")],
                      ["Files that cannot be watched", ...troubles("outwork_web_watch_refused_total")],
                      ["Made room for others", number("outwork_web_evicted_total")],
                      ["Lists of folders", number("outwork_web_listings_total")],
                      ["Error pages", number("outwork_web_error_pages_total")],
                      ["Could not be served", ...troubles("outwork_web_errors_total")],
                    ]}
                  />
                </div>
              </section>
            </div>
          </div>
        </Show>
      )}
    </Loaded>
  );
}
