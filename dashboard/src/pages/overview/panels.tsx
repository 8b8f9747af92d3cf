import { createMemo, For, Show } from "solid-js";
import { api } from "../../api/client";
import { createQuery } from "../../api/query";
import type { Metric, MetricsNow, Status } from "../../api/types";
import { bytes, compact, count, latency } from "../../format";
import { Notice } from "../../ui/states";

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

/** `outwork_store_sync_seconds` reads "Sync". The full meaning is the metric's own help text. */
function labelOf(metric: Metric): string {
  const words = metric.name
    .replace(/^outwork_store_/, "")
    .replace(/_(seconds|bytes|total)$/, "")
    .replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function Store(props: { status: Status }) {
  const metrics = createQuery<null, MetricsNow>(
    () => null,
    (_, signal) => api.get("/metrics/now", signal),
    { every: 5_000, key: "name" },
  );
  const rows = createMemo(() =>
    (metrics.data()?.metrics ?? []).filter((metric) => metric.name.startsWith("outwork_store_")),
  );
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
            {(metric) => (
              <>
                <dt title={metric.help}>{labelOf(metric)}</dt>
                <dd>{readingOf(metric)}</dd>
              </>
            )}
          </For>
        </dl>
      </div>
    </section>
  );
}
