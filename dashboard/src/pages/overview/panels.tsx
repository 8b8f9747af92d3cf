import { createMemo, For, Show } from "solid-js";
import { api } from "../../api/client";
import { cells, total } from "../../api/figures";
import { createQuery } from "../../api/query";
import type { Metric, MetricsNow, Status } from "../../api/types";
import { bytes, compact, count, latency, span } from "../../format";
import { href } from "../../router";
import { Loaded, Notice } from "../../ui/states";

const TONE = { running: "good", stopped: "", failed: "bad" } as const;

export function Services(props: { status: Status }) {
  return (
    <section class="card" aria-label="Services">
      <div class="card-head">
        <h2>Services</h2>
      </div>
      <table class="table stacking">
        <thead>
          <tr>
            <th scope="col">Service</th>
            <th scope="col">State</th>
            <th scope="col">Listens on</th>
          </tr>
        </thead>
        <tbody>
          <For each={props.status.services}>
            {(service) => (
              <tr>
                <td>
                  <strong>{service.name}</strong>
                </td>
                <td class="side">
                  <span
                    class={`badge ${service.state === "running" && !service.ready ? "warn" : TONE[service.state]}`}
                  >
                    {service.state === "running" && !service.ready ? "not ready" : service.state}
                  </span>
                </td>
                <td class="wide">
                  <For each={props.status.listeners.filter((one) => one.service === service.name)}>
                    {(listener) => (
                      <div>
                        <span class="mono">{listener.address}</span>{" "}
                        <span class="muted">{listener.protocol}</span>
                      </div>
                    )}
                  </For>
                  <Show when={service.detail}>
                    <div class="muted">{service.detail}</div>
                  </Show>
                </td>
              </tr>
            )}
          </For>
        </tbody>
      </table>
    </section>
  );
}

const WHAT_IT_MEANS: Record<string, string> = {
  fsync: "every answer follows the disk",
  os: "an answer may outrun the disk: a power cut can lose leases",
  none: "nothing is kept across a restart",
};

function readingOf(metric: Metric): string {
  const sample = metric.samples[0];
  if (sample === undefined) return "–";
  if (metric.kind === "histogram") {
    if (!sample.count) return "none yet";
    const format = metric.unit === "seconds" ? latency : compact;
    const value = (n: number | undefined) => (n === undefined ? "–" : format(n));
    return `${value(sample.p50)} median, ${value(sample.p99)} p99, ${value(sample.max)} longest`;
  }
  const total = metric.samples.reduce((sum, one) => sum + (one.value ?? 0), 0);
  if (metric.unit === "seconds") return latency(total);
  return metric.unit === "bytes" ? bytes(total) : count(total);
}

/** The store's metrics in the order they are read. A trouble is shown once there is any. */
const STORE_METRICS: { name: string; label: string; trouble?: boolean }[] = [
  { name: "outwork_store_commit_seconds", label: "Time of a commit" },
  { name: "outwork_store_records_total", label: "Changes since start" },
  { name: "outwork_store_written_bytes_total", label: "Written since start" },
  { name: "outwork_store_log_bytes", label: "Size of the log" },
  { name: "outwork_store_compactions_total", label: "Snapshots" },
  { name: "outwork_store_failures_total", label: "Failed commits", trouble: true },
  { name: "outwork_store_refused_total", label: "Refused changes", trouble: true },
  { name: "outwork_store_compaction_failures_total", label: "Failed snapshots", trouble: true },
];

interface StoreRow {
  label: string;
  trouble: boolean;
  metric: Metric;
}

function storeRows(metrics: Metric[]): StoreRow[] {
  return STORE_METRICS.flatMap(({ name, label, trouble = false }) => {
    const metric = metrics.find((one) => one.name === name);
    if (metric === undefined || (trouble && metric.samples.every((sample) => !sample.value))) return [];
    return [{ label, trouble, metric }];
  });
}

/** What to know of the web server beside its charts. */
export function WebServer() {
  const metrics = createQuery<null, MetricsNow>(
    () => null,
    (_, signal) => api.get("/metrics/now", signal),
    { every: 5_000, key: "name" },
  );
  const all = () => metrics.data()?.metrics ?? [];
  const sumOf = (name: string, label?: [string, string]) => total(all(), name, label) ?? 0;
  const row = (label: string, n: number, trouble = false) => ({
    label,
    text: count(n),
    warned: trouble && n > 0,
  });
  const rows = createMemo(() => {
    const expiries = cells(all(), "outwork_front_certificate_expiry_seconds", "certificate");
    const first = expiries.sort((a, b) => a[1] - b[1])[0];
    const open = cells(all(), "outwork_cache_breaker", "tier").filter(([, state]) => state === 2);
    return [
      row("Requests since the start", sumOf("outwork_front_requests_total")),
      row("Failed on our side (5xx)", sumOf("outwork_front_requests_total", ["status", "5xx"]), true),
      row("Refused before their handler", sumOf("outwork_front_refused_total")),
      row("Connections refused or cut", sumOf("outwork_front_connections_cut_total")),
      {
        label: "Answers kept in memory",
        text: `${count(sumOf("outwork_cache_entries", ["tier", "l1"]))} (${bytes(sumOf("outwork_cache_used_bytes", ["tier", "l1"]))})`,
        warned: false,
      },
      {
        label: "Files kept in memory",
        text: `${count(sumOf("outwork_web_kept_files"))} (${bytes(sumOf("outwork_web_kept_bytes"))})`,
        warned: false,
      },
      ...(open.length > 0
        ? [
            {
              label: "Cache tiers left alone",
              text: open.map(([tier]) => tier.toUpperCase()).join(", "),
              warned: true,
            },
          ]
        : []),
      ...(first
        ? [
            {
              label: "First certificate to expire",
              text: `${first[0]}, ${first[1] > 0 ? `in ${span(first[1])}` : "it has"}`,
              warned: first[1] < 86_400,
            },
          ]
        : []),
    ];
  });
  return (
    <section class="card" aria-label="Web server">
      <div class="card-head">
        <h2>Web server</h2>
        <a class="push" href={href("/web")}>
          Traffic
        </a>
      </div>
      <div class="card-body">
        <Loaded query={metrics} height={200}>
          {() => (
            <dl class="facts">
              <For each={rows()}>
                {(one) => (
                  <>
                    <dt>{one.label}</dt>
                    <dd classList={{ warned: one.warned }}>{one.text}</dd>
                  </>
                )}
              </For>
            </dl>
          )}
        </Loaded>
      </div>
    </section>
  );
}

export function Store(props: { status: Status }) {
  const metrics = createQuery<null, MetricsNow>(
    () => null,
    (_, signal) => api.get("/metrics/now", signal),
    { every: 5_000, key: "name" },
  );
  const rows = createMemo(() => storeRows(metrics.data()?.metrics ?? []));
  return (
    <section class="card" aria-label="Store">
      <div class="card-head">
        <h2>Store</h2>
        <span class={`badge push ${props.status.store.health === "ok" ? "good" : "bad"}`}>
          {props.status.store.health === "ok" ? "healthy" : "failed"}
        </span>
      </div>
      <div class="card-body form">
        <Show when={props.status.store.health === "failed"}>
          <Notice tone="bad">
            <strong>Changes are refused until the store can write again</strong>
            <div>{props.status.store.error}</div>
            <div class="muted">Free or repair the disk that holds the data folder, then restart Outwork.</div>
          </Notice>
        </Show>
        <dl class="facts">
          <dt>Durability</dt>
          <dd>
            <code>{props.status.store.durability}</code>
            <Show when={WHAT_IT_MEANS[props.status.store.durability]}>
              {(meaning) => <span class="muted">: {meaning()}</span>}
            </Show>
          </dd>
          <dt>Waiting for disk</dt>
          <dd>{bytes(props.status.store.pending_bytes)}</dd>
          <dt>Records on disk</dt>
          <dd>{count(props.status.store.durable_lsn)}</dd>
          <For each={rows()}>
            {(row) => (
              <>
                <dt title={row.metric.help}>{row.label}</dt>
                <dd classList={{ warned: row.trouble }}>{readingOf(row.metric)}</dd>
              </>
            )}
          </For>
        </dl>
      </div>
    </section>
  );
}
