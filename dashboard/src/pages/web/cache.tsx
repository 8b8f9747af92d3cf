import { createMemo, createSignal, For, lazy, Show, Suspense } from "solid-js";
import { api } from "../../api/client";
import { cells, share, shares, sums, total } from "../../api/figures";
import { createQuery } from "../../api/query";
import { may } from "../../api/session";
import type { Metric } from "../../api/types";
import type { CacheSummary, CacheTier, QuerySummary, TopEntry } from "../../api/web-types";
import { FIRST_CACHE } from "../../examples";
import { bytes, compact, count, latency, percent, plural, rate } from "../../format";
import { href } from "../../router";
import type { ChartSeries } from "../../ui/chart";
import { Facts } from "../../ui/facts";
import { type Plot, PlotSection } from "../../ui/plots";
import { Empty, Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import type { Purge } from "./purge";
import { createMetrics, createRoutes, Fill } from "./shared";

const PurgeDialog = lazy(() => import("./purge").then((module) => ({ default: module.PurgeDialog })));
const WarmDialog = lazy(() => import("./purge").then((module) => ({ default: module.WarmDialog })));

export const TIERS: Record<CacheTier["kind"], string> = { memory: "Memory", redis: "Redis", disk: "Disk" };

/** One line for each tier that there is. */
function tierPlots(tiers: CacheTier[]): Plot[] {
  const each = (name: string) => tiers.map((tier) => `${name}{tier="${tier.tier}"}`);
  const series = tiers.map(
    (tier, i): ChartSeries => ({
      label: tiers.length === 1 ? "" : TIERS[tier.kind].toLowerCase(),
      color: ([1, 4, 2] as const)[i] ?? 3,
    }),
  );
  const below = tiers.filter((tier) => tier.kind !== "memory");
  const own = tiers.filter((tier) => tier.bytes !== undefined);
  const plots: Plot[] = [
    {
      title: "Found, of what each tier was asked for",
      names: [...each("cache_hits_rate"), ...each("cache_misses_rate")],
      series,
      derive: shares(tiers.map((_, i) => ({ of: [i], among: [i, tiers.length + i] }))),
      format: percent,
      top: 1,
    },
    {
      title: "Size",
      names: own.map((tier) => `cache_used{tier="${tier.tier}"}`),
      series: series.filter((_, i) => tiers[i]?.bytes !== undefined),
      format: bytes,
      bytes: true,
    },
    {
      title: "Evictions a second",
      names: own.map((tier) => `cache_evictions_rate{tier="${tier.tier}"}`),
      series: series.filter((_, i) => tiers[i]?.bytes !== undefined),
      format: rate,
    },
  ];
  if (below.length > 0)
    plots.push({
      title: "Lookup below memory, p99",
      names: below.map((tier) => `cache_lookup_time_p99{tier="${tier.tier}"}`),
      series: series.filter((_, i) => tiers[i]?.kind !== "memory"),
      format: latency,
    });
  return plots;
}

const OUTCOMES = ["hit", "stale", "stood_in", "revalidated", "collapsed", "miss", "pass"];
const ANSWERS: Plot = {
  title: "Requests a second",
  names: OUTCOMES.map((outcome) => `responses_requests_rate{outcome="${outcome}"}`),
  series: [
    { label: "hit", color: 4 },
    { label: "stale", color: 2 },
    { label: "coalesced", color: 1 },
    { label: "fetched", color: 3 },
  ],
  derive: sums([[0, 3], [1, 2], [4], [5, 6]]),
  format: rate,
};
const FETCHES: Plot = {
  title: "Fetches under way",
  names: ["responses_fetches"],
  series: [{ label: "", color: 1 }],
  format: count,
  axisFormat: compact,
};

/** Whether a tier is asked. */
const CIRCUIT = {
  closed: { tone: "good", text: "in use", title: "It is asked." },
  "half-open": {
    tone: "warn",
    text: "on trial",
    title: "It had failed; a few lookups find out whether it works again.",
  },
  open: { tone: "bad", text: "left alone", title: "It failed too often and is not asked for a while." },
} as const;

function Tiers(props: { summary: CacheSummary }) {
  return (
    <section class="card" aria-label="Tiers">
      <div class="card-head">
        <h2>Tiers</h2>
        <span class="muted push">since the start</span>
      </div>
      <div class="table-frame">
        <table class="table stacking">
          <thead>
            <tr>
              <th scope="col">Tier</th>
              <th scope="col">State</th>
              <th scope="col">Size</th>
              <th scope="col" class="number">
                Entries
              </th>
              <th scope="col" class="number">
                Found
              </th>
              <th scope="col" class="number">
                Hits
              </th>
              <th scope="col" class="number">
                Misses
              </th>
              <th scope="col" class="number">
                Evicted
              </th>
              <th scope="col" class="number">
                Errors
              </th>
            </tr>
          </thead>
          <tbody>
            <For each={props.summary.tiers}>
              {(tier) => (
                <tr>
                  <td>
                    <strong>{TIERS[tier.kind]}</strong> <span class="muted">{tier.tier.toUpperCase()}</span>
                  </td>
                  <td class="side">
                    <span class={`badge ${CIRCUIT[tier.circuit].tone}`} title={CIRCUIT[tier.circuit].title}>
                      {CIRCUIT[tier.circuit].text}
                    </span>
                  </td>
                  <td class="wide">
                    <Show
                      when={tier.bytes !== undefined}
                      fallback={<span class="muted">shared with others, counts its own</span>}
                    >
                      <Fill used={tier.bytes ?? 0} limit={tier.limit} label={`${TIERS[tier.kind]} in use`} />
                    </Show>
                  </td>
                  <td class="number phone-hidden">
                    {tier.entries === undefined ? "–" : count(tier.entries)}
                  </td>
                  <td class="number side">
                    <span class="phone-only muted">found </span>
                    {tier.hit_rate === undefined ? "–" : percent(tier.hit_rate)}
                  </td>
                  <td class="number">
                    <span class="phone-only muted">hits </span>
                    {count(tier.hits)}
                  </td>
                  <td class="number phone-hidden">{count(tier.misses)}</td>
                  <td class="number phone-hidden">{count(tier.evictions)}</td>
                  <td class="number phone-hidden">
                    <span classList={{ failing: tier.errors > 0 }}>{count(tier.errors)}</span>
                  </td>
                </tr>
              )}
            </For>
            <Show when={props.summary.edge}>
              {(edge) => (
                <tr>
                  <td>
                    <strong>CDN</strong> <span class="muted">{edge()}</span>
                  </td>
                  <td class="side">
                    <span class={`badge ${told(props.summary) ? "good" : "warn"}`}>
                      {props.summary.edge_owed
                        ? "has yet to throw out everything"
                        : told(props.summary)
                          ? "told of every purge"
                          : `${plural(props.summary.edge_waiting, "purge")} waiting`}
                    </span>
                  </td>
                  <td class="muted wide" colSpan={7}>
                    before this one: it counts its own
                  </td>
                </tr>
              )}
            </Show>
          </tbody>
        </table>
      </div>
    </section>
  );
}

const told = (summary: CacheSummary) => summary.edge_waiting === 0 && !summary.edge_owed;

function Top(props: { items: TopEntry[]; onPurge: (purge: Purge) => void }) {
  return (
    <Show
      when={props.items.length > 0}
      fallback={
        <Empty icon="cache" title="Nothing is in memory yet">
          <p>What is asked for most appears here, once an answer has been stored and given again.</p>
        </Empty>
      }
    >
      <div class="table-frame">
        <table class="table stacking">
          <thead>
            <tr>
              <th scope="col">What</th>
              <th scope="col" class="number">
                Hits
              </th>
              <th scope="col" class="number">
                Size
              </th>
              <Show when={may("operator")}>
                <th scope="col">
                  <span class="visually-hidden">Actions</span>
                </th>
              </Show>
            </tr>
          </thead>
          <tbody>
            <For each={props.items}>
              {(entry) => (
                <tr>
                  <td class="key-cell">
                    <code>{entry.name}</code>
                    <Show when={entry.encoding}>
                      {(encoding) => <span class="muted"> {encoding()}</span>}
                    </Show>
                  </td>
                  <td class="number">
                    {count(entry.hits)}
                    <span class="phone-only muted"> hits</span>
                  </td>
                  <td class="number phone-hidden">{bytes(entry.bytes)}</td>
                  <Show when={may("operator")}>
                    <td class="tools side">
                      <button
                        type="button"
                        class="button quiet small"
                        aria-label={`Purge ${entry.name}`}
                        onClick={() => props.onPurge({ kind: "url", target: entry.name })}
                      >
                        Purge…
                      </button>
                    </td>
                  </Show>
                </tr>
              )}
            </For>
          </tbody>
        </table>
      </div>
    </Show>
  );
}

const UNSTORED: Record<string, string> = {
  no_store: "no-store",
  private: "private",
  authorization: "request had credentials",
  cookie: "request had cookies",
  set_cookie: "answer sets cookies",
  vary: "varies by everything",
  status: "status is not cached",
  no_lifetime: "no lifetime said",
  client: "client wished so",
  too_large: "too large",
};

function Answered(props: { summary: CacheSummary; metrics: Metric[] }) {
  const requests = () => props.summary.requests;
  const unstored = () =>
    cells(props.metrics, "outwork_responses_unstored_total", "reason").filter(([, n]) => n > 0);
  return (
    <section class="card" aria-label="Requests of routes that cache">
      <div class="card-head">
        <h2>Requests of routes that cache</h2>
        <span class="muted push">since the start</span>
      </div>
      <div class="card-body">
        <Facts
          items={[
            [
              "Spared the handler",
              requests().hit_rate === undefined ? "–" : percent(requests().hit_rate ?? 0),
            ],
            ["Hits", count(requests().hit)],
            ["Stale, fetched behind", count(requests().stale)],
            ["Stale, for want of a new one", count(requests().stood_in)],
            ["Found unchanged", count(requests().revalidated)],
            ["Coalesced into a fetch", count(requests().collapsed)],
            ["Misses", count(requests().miss)],
            ["Past the cache", count(requests().pass)],
            ["Stored", count(props.summary.stored)],
            ["Fetches under way", count(props.summary.fetches)],
            [
              "Not stored",
              unstored().length === 0
                ? null
                : unstored()
                    .map(([reason, n]) => `${count(n)} ${UNSTORED[reason] ?? reason}`)
                    .join(", "),
            ],
          ]}
        />
      </div>
    </section>
  );
}

/** The other cache: results of queries. */
function QueryResults(props: { metrics: Metric[] }) {
  const queries = createQuery<null, QuerySummary>(
    () => null,
    (_, signal) => api.get("/web/queries", signal),
    { every: 5_000, key: "name" },
  );
  const found = (name: string) => total(props.metrics, "outwork_sql_lookups_total", ["result", name]) ?? 0;
  const spared = () =>
    share(found("hit") + found("collapsed"), found("hit") + found("collapsed") + found("miss"));
  return (
    <Show when={queries.data()?.databases.length ? queries.data() : null}>
      {(summary) => (
        <section class="card" aria-label="Results of queries">
          <div class="card-head">
            <h2>Results of queries</h2>
            <a class="push" href={href("/web/queries")}>
              Queries
            </a>
          </div>
          <div class="card-body stack">
            <Fill used={summary().kept_bytes} limit={summary().kept_limit} label="Memory of results in use" />
            <Facts
              items={[
                ["Results kept", count(summary().kept_results)],
                ["Spared the database", spared() === null ? "–" : percent(spared() ?? 0)],
                ["Made room for others", count(summary().evicted)],
              ]}
            />
          </div>
        </section>
      )}
    </Show>
  );
}

export default function Cache() {
  const summary = createQuery<null, CacheSummary>(
    () => null,
    (_, signal) => api.get("/cache", signal),
    { every: 2_000, key: "tier" },
  );
  const top = createQuery<null, { items: TopEntry[] }>(
    () => null,
    (_, signal) => api.get("/cache/top?limit=15", signal),
    { every: 5_000, key: "key" },
  );
  const routes = createRoutes();
  const metrics = createMetrics();
  const [purging, setPurging] = createSignal<Purge | null>(null);
  const [warming, setWarming] = createSignal(false);
  const caches = () => routes.data()?.items.some((route) => route.cached);
  const refetch = () => {
    summary.refetch();
    top.refetch();
  };
  // The plots are made anew when the tiers change, not with each of their figures.
  const kinds = createMemo(
    () =>
      summary
        .data()
        ?.tiers.map((tier) => tier.tier)
        .join(" ") ?? "",
  );
  const plots = createMemo(() => {
    kinds();
    return [ANSWERS, ...tierPlots(summary.data()?.tiers ?? []), FETCHES];
  });
  return (
    <Loaded query={summary} height={600}>
      {(now) => (
        <div class="stack">
          <Show when={caches() === false}>
            <section class="card" aria-label="No cached routes">
              <Teach icon="cache" title="No route caches its answers" snippet={FIRST_CACHE}>
                What a route answers is kept as long as its <code>Cache-Control</code> says, or as you say
                here, and given again without asking its handler.
              </Teach>
            </section>
          </Show>
          <Show when={caches()}>
            <div>
              <Show when={kinds()} keyed>
                <PlotSection title="Activity" plots={plots()} />
              </Show>
            </div>
          </Show>
          <Tiers summary={now} />
          <section class="card" aria-label="Asked for most">
            <div class="card-head">
              <h2>Asked for most</h2>
              <Show when={may("operator")}>
                <div class="row push">
                  <button type="button" class="button small" onClick={() => setWarming(true)}>
                    Warm…
                  </button>
                  <button
                    type="button"
                    class="button small"
                    onClick={() => setPurging({ kind: "url", target: "" })}
                  >
                    Purge…
                  </button>
                </div>
              </Show>
            </div>
            <Loaded query={top} height={200}>
              {(list) => <Top items={list.items} onPurge={setPurging} />}
            </Loaded>
          </section>
          <div class="panels">
            <Answered summary={now} metrics={metrics()} />
            <QueryResults metrics={metrics()} />
          </div>
          <Suspense>
            <Show when={purging()}>
              {(purge) => (
                <PurgeDialog
                  purge={purge()}
                  summary={now}
                  onClose={() => setPurging(null)}
                  onDone={refetch}
                />
              )}
            </Show>
            <Show when={warming()}>
              <WarmDialog onClose={() => setWarming(false)} onDone={refetch} />
            </Show>
          </Suspense>
        </div>
      )}
    </Loaded>
  );
}
