import { createMemo, createSignal, For, lazy, Show, Suspense } from "solid-js";
import { api } from "../../api/client";
import { share, sum, sums, total } from "../../api/figures";
import { createQuery } from "../../api/query";
import { may } from "../../api/session";
import type { Database, QuerySummary } from "../../api/web-types";
import { FIRST_QUERY } from "../../examples";
import { bytes, compact, count, latency, percent, plural, rate, span } from "../../format";
import { Figures } from "../../ui/facts";
import { type Plot, PlotSection, quantiles, range } from "../../ui/plots";
import { createSort, type SortColumn } from "../../ui/sort";
import { Loaded, ProblemNotice } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { type StatementRow, statementNames, statementRow } from "./rows";
import { createMetrics, createRoutes, createSummary } from "./shared";

const InvalidateDialog = lazy(() => import("./invalidate"));

const PLOTS: Plot[] = [
  {
    title: "Queries a second, by how they ended",
    names: [
      "answered",
      "empty",
      "invalid",
      "refused",
      "full",
      "unavailable",
      "timeout",
      "too-large",
      "failed",
    ].map((outcome) => `sql_queries_rate{outcome="${outcome}"}`),
    series: [
      { label: "answered", color: 4 },
      { label: "refused", color: 2 },
      { label: "failed", color: 3 },
    ],
    derive: sums([
      [0, 1],
      [2, 3],
      [4, 5, 6, 7, 8],
    ]),
    format: rate,
  },
  quantiles("Time of a query", "sql_query_time"),
  {
    title: "Results asked for a second",
    names: ["hit", "collapsed", "miss"].map((result) => `sql_lookups_rate{result="${result}"}`),
    series: [
      { label: "kept", color: 4 },
      { label: "coalesced", color: 1 },
      { label: "queried", color: 3 },
    ],
    format: rate,
  },
  {
    title: "Connections",
    names: ["sql_used", "sql_idle", "sql_waiting"],
    series: [
      { label: "in use", color: 1 },
      { label: "idle", color: 4 },
      { label: "waited for", color: 3 },
    ],
    format: count,
    axisFormat: compact,
  },
  {
    title: "Memory of results",
    names: ["sql_kept"],
    series: [{ label: "", color: 1 }],
    format: bytes,
    bytes: true,
  },
  {
    title: "Turned away or stopped a second",
    names: ["sql_turned_away_rate", "sql_timeouts_rate"],
    series: [
      { label: "no connection", color: 2 },
      { label: "too slow", color: 3 },
    ],
    format: rate,
  },
];

function Pool(props: { database: Database }) {
  const width = (n: number) => `${Math.min(1, n / Math.max(1, props.database.pool_size)) * 100}%`;
  const told = () =>
    `${count(props.database.used)} in use, ${count(props.database.idle)} idle, of ${count(props.database.pool_size)}`;
  return (
    <div class="fill" title={`${plural(props.database.opened, "connection")} opened since the start`}>
      <span>{told()}</span>
      {/* biome-ignore lint/a11y/useSemanticElements: the meter element cannot show two shares */}
      <div
        class="meter"
        classList={{ warning: props.database.waiting > 0 }}
        role="meter"
        aria-label={`Connections to ${props.database.name}`}
        aria-valuemin={0}
        aria-valuemax={props.database.pool_size}
        aria-valuenow={props.database.used}
        aria-valuetext={told()}
      >
        <span class="active" style={{ width: width(props.database.used) }} />
        <span class="offered" style={{ width: width(props.database.idle) }} />
      </div>
    </div>
  );
}

function DatabaseRow(props: { database: Database; onInvalidate: (() => void) | null }) {
  const trouble = (n: number) => <span classList={{ failing: n > 0 }}>{count(n)}</span>;
  return (
    <tr>
      <td class="key-cell">
        <strong>{props.database.name}</strong>
        <div class="muted mono">{props.database.url}</div>
      </td>
      <td class="wide">
        <Pool database={props.database} />
      </td>
      <td class="number">
        {trouble(props.database.waiting)}
        <span class="phone-only muted"> waiting</span>
      </td>
      <td class="number phone-hidden">{trouble(props.database.turned_away)}</td>
      <td class="number phone-hidden">{trouble(props.database.timeouts)}</td>
      <td class="number phone-hidden">{trouble(props.database.unreachable)}</td>
      <Show when={props.onInvalidate}>
        {(invalidate) => (
          <td class="tools side">
            <button
              type="button"
              class="button quiet small"
              aria-label={`Forget results of ${props.database.name}`}
              onClick={() => invalidate()()}
            >
              Forget…
            </button>
          </td>
        )}
      </Show>
    </tr>
  );
}

const COLUMNS: SortColumn<StatementRow>[] = [
  { key: "route", text: "Statement", by: (row) => row.route.route },
  { key: "requests", text: "Requests", by: (row) => row.requests, number: true },
  { key: "runs", text: "Runs", by: (row) => row.runs, number: true },
  { key: "hits", text: "Kept", by: (row) => share(row.hits, sum([row.hits, row.runs])), number: true },
  { key: "p99", text: "p99 of a run", by: (row) => row.p99, number: true },
  { key: "failures", text: "Failed", by: (row) => row.failures, number: true },
];

function StatementLine(props: { row: StatementRow }) {
  const a = (value: number | null) => (value === null ? "–" : `${rate(value)}/s`);
  const hits = () => {
    if (props.row.route.writes) return "writes";
    if (props.row.route.kept_seconds === undefined) return "off";
    const of = share(props.row.hits, sum([props.row.hits, props.row.runs]));
    return of === null ? "–" : percent(of);
  };
  const kept = () =>
    props.row.route.kept_seconds === undefined ? "" : `kept for ${span(props.row.route.kept_seconds)}`;
  return (
    <tr>
      <td>
        <code class="route">{props.row.route.route}</code>
        <div class="route-with muted" title={props.row.route.with}>
          <span class="badge">{props.row.route.database}</span>
          <span class="mono">{props.row.route.with.replace(/\s+/g, " ")}</span>
        </div>
      </td>
      <td class="number side">{a(props.row.requests)}</td>
      <td class="number phone-hidden">{a(props.row.runs)}</td>
      <td class="number" title={kept()}>
        <span class="phone-only muted">kept </span>
        {hits()}
      </td>
      <td class="number side">
        <span class="phone-only muted">p99 </span>
        {props.row.p99 === null ? "–" : latency(props.row.p99)}
      </td>
      <td class="number phone-hidden">
        <span classList={{ failing: (props.row.failures ?? 0) > 0 }}>{a(props.row.failures)}</span>
      </td>
    </tr>
  );
}

function Statements() {
  const routes = createRoutes();
  const statements = createMemo(() =>
    (routes.data()?.items ?? []).filter((route) => route.answers === "query"),
  );
  const labels = createMemo(() =>
    statements()
      .map((one) => one.route)
      .join("\n"),
  );
  const names = createMemo(() => (labels() === "" ? [] : statementNames(labels().split("\n"))));
  const history = createSummary(names);
  const sort = createSort(COLUMNS, "requests");
  return (
    <section class="card" aria-label="Statements">
      <div class="card-head">
        <h2>Statements</h2>
        <span class="muted push">over the last {range().replace(/(\d+)/, "$1 ")}</span>
      </div>
      <Show when={history.error()}>
        {(problem) => (
          <div class="card-body">
            <ProblemNotice problem={problem()} retry={history.refetch} />
          </div>
        )}
      </Show>
      <Loaded query={routes} height={160}>
        {() => (
          <div class="table-frame">
            <table class="table stacking routes">
              <thead>
                <tr>
                  <sort.Heads />
                </tr>
              </thead>
              <tbody>
                <For each={sort.sorted(statements().map((one) => statementRow(one, history.data())))}>
                  {(row) => <StatementLine row={row} />}
                </For>
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
    </section>
  );
}

export default function Queries() {
  const summary = createQuery<null, QuerySummary>(
    () => null,
    (_, signal) => api.get("/web/queries", signal),
    { every: 2_000, key: "name" },
  );
  const metrics = createMetrics();
  const [forgetting, setForgetting] = createSignal<string | null>(null);
  const number = (name: string) => {
    const n = total(metrics(), name);
    return n === null ? null : count(n);
  };
  return (
    <Loaded query={summary} height={600}>
      {(now) => (
        <Show
          when={now.databases.length > 0}
          fallback={
            <section class="card" aria-label="Databases">
              <Teach icon="database" title="No database yet" snippet={FIRST_QUERY}>
                A route can answer out of SQLite or PostgreSQL: SQL here, JSON there.
              </Teach>
            </section>
          }
        >
          <div class="stack">
            <div>
              <PlotSection title="Activity" plots={PLOTS} />
            </div>
            <section class="card" aria-label="Databases">
              <div class="card-head">
                <h2>Databases</h2>
                <span class="muted push">counted since the start</span>
              </div>
              <div class="table-frame">
                <table class="table stacking">
                  <thead>
                    <tr>
                      <th scope="col">Database</th>
                      <th scope="col">Connections</th>
                      <th scope="col" class="number">
                        Waiting
                      </th>
                      <th scope="col" class="number">
                        Turned away
                      </th>
                      <th scope="col" class="number">
                        Timed out
                      </th>
                      <th scope="col" class="number">
                        Unreachable
                      </th>
                      <Show when={may("operator")}>
                        <th scope="col">
                          <span class="visually-hidden">Actions</span>
                        </th>
                      </Show>
                    </tr>
                  </thead>
                  <tbody>
                    <For each={now.databases}>
                      {(database) => (
                        <DatabaseRow
                          database={database}
                          onInvalidate={may("operator") ? () => setForgetting(database.name) : null}
                        />
                      )}
                    </For>
                  </tbody>
                </table>
              </div>
            </section>
            <Statements />
            <section class="card" aria-label="Kept results">
              <div class="card-head">
                <h2>Kept results</h2>
              </div>
              <div class="card-body">
                <Figures
                  items={[
                    ["Results kept now", count(now.kept_results)],
                    [
                      "Their memory",
                      now.kept_limit === null
                        ? bytes(now.kept_bytes)
                        : `${bytes(now.kept_bytes)} of ${bytes(now.kept_limit)}`,
                    ],
                    ["Made room for others", count(now.evicted)],
                    ["Too large to be kept", number("outwork_sql_oversized_total")],
                    ["Forgotten because a table changed", number("outwork_sql_invalidations_total")],
                    ["Statements prepared", number("outwork_sql_prepared_total")],
                    ["Prepared already", number("outwork_sql_reused_total")],
                    ["Stopped at the database", number("outwork_sql_stopped_total")],
                  ]}
                />
              </div>
            </section>
            <Suspense>
              <Show when={forgetting()}>
                {(database) => (
                  <InvalidateDialog
                    database={database()}
                    onClose={() => setForgetting(null)}
                    onDone={summary.refetch}
                  />
                )}
              </Show>
            </Suspense>
          </div>
        </Show>
      )}
    </Loaded>
  );
}
