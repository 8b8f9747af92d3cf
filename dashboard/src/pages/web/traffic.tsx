import { For, Show } from "solid-js";
import { cells, total } from "../../api/figures";
import type { Metric } from "../../api/types";
import { count } from "../../format";
import { Figures } from "../../ui/facts";
import { PlotSection } from "../../ui/plots";
import { Failures } from "./failures";
import {
  ARRIVALS,
  CONNECTIONS,
  ERRORS,
  HANDSHAKES,
  LATENCY,
  PROTOCOLS,
  REFUSALS,
  REQUESTS,
  THROUGHPUT,
} from "./plots";
import { RouteTable } from "./routes";
import { createMetrics } from "./shared";

const PLOTS = [REQUESTS, LATENCY, ERRORS, THROUGHPUT, CONNECTIONS, ARRIVALS, PROTOCOLS, HANDSHAKES, REFUSALS];

/** Why a connection ended that did not end by itself, and the setting that bears on it. */
const CUTS: Record<string, { text: string; setting?: string }> = {
  full: { text: "As many open as may be", setting: "front.limits.max_connections" },
  client: { text: "As many of one client as may be", setting: "front.limits.max_connections_per_client" },
  tls: { text: "TLS handshake failed" },
  late: { text: "Client too slow", setting: "front.limits.header_timeout" },
  broken: { text: "Connection broke" },
  flood: { text: "Too many requests begun and given up" },
  accept: { text: "The kernel refused to accept" },
  proxy: { text: "No sound PROXY header from a proxy", setting: "front.listener[].proxy_protocol" },
};

const LATE: Record<string, { text: string; setting?: string }> = {
  body: { text: "Request's body too slow", setting: "front.limits.request_timeout" },
  handler: { text: "Answer took too long", setting: "front.limits.request_timeout" },
  answer: { text: "Client took the answer too slowly", setting: "front.limits.send_timeout" },
};

const REFUSED: Record<string, { text: string; setting?: string }> = {
  rate: { text: "Beyond a rate limit (429)", setting: "front.rate_limit" },
  credentials: { text: "Name or password missing or wrong (401)", setting: "front.basic_auth" },
  token: { text: "Token missing or not good (401)", setting: "front.jwt" },
  claims: { text: "Token does not allow it (403)", setting: "front.jwt" },
  forward_auth: { text: "Who was asked did not let it through", setting: "front.forward_auth" },
  address: { text: "Address not allowed (403)", setting: "front.addresses" },
  maintenance: { text: "Closed for maintenance", setting: "front.maintenance" },
  body: { text: "Body too large (413)", setting: "front.limits.max_body" },
  time: { text: "Route's time was up (504)", setting: "front.route[].timeout" },
  rewrite: { text: "Target could not be rewritten" },
  loop: { text: "Sent on in a circle" },
};

/** What a counter's cells count, those that have counted anything. */
function Reasons(props: {
  title: string;
  none: string;
  items: { metric: string; label: string; words: Record<string, { text: string; setting?: string }> }[];
  metrics: Metric[];
}) {
  const rows = () =>
    props.items
      .flatMap(({ metric, label, words }) =>
        cells(props.metrics, metric, label).map(([value, n]) => ({
          n,
          ...(words[value] ?? { text: value }),
        })),
      )
      .filter((row) => row.n > 0);
  return (
    <section class="card" aria-label={props.title}>
      <div class="card-head">
        <h2>{props.title}</h2>
        <span class="muted push">since the start</span>
      </div>
      <Show when={rows().length > 0} fallback={<p class="card-body muted">{props.none}</p>}>
        <ul class="reasons">
          <For each={rows()}>
            {(row) => (
              <li>
                <span>
                  {row.text}
                  <Show when={row.setting}>
                    <code class="muted">{row.setting}</code>
                  </Show>
                </span>
                <strong>{count(row.n)}</strong>
              </li>
            )}
          </For>
        </ul>
      </Show>
    </section>
  );
}

export default function Traffic() {
  const metrics = createMetrics();
  const number = (name: string) => {
    const n = total(metrics(), name);
    return n === null ? null : count(n);
  };
  return (
    <div class="stack">
      <div>
        <PlotSection title="Activity" plots={PLOTS} />
      </div>
      <RouteTable />
      <Failures />
      <div class="panels">
        <Reasons
          title="Connections and requests that were cut"
          none="None: every connection ended by itself, and every request in time."
          metrics={metrics()}
          items={[
            { metric: "outwork_front_connections_cut_total", label: "reason", words: CUTS },
            { metric: "outwork_front_requests_late_total", label: "part", words: LATE },
          ]}
        />
        <Reasons
          title="Refused before their handler"
          none="None: no limit, password or list has turned a request away."
          metrics={metrics()}
          items={[{ metric: "outwork_front_refused_total", label: "reason", words: REFUSED }]}
        />
      </div>
      <section class="card" aria-label="In all">
        <div class="card-head">
          <h2>In all</h2>
          <span class="muted push">since the start</span>
        </div>
        <div class="card-body">
          <Figures
            items={[
              ["Requests answered", number("outwork_front_requests_total")],
              ["Connections accepted", number("outwork_front_connections_total")],
              ["Of them over QUIC", number("outwork_front_quic_connections_total")],
              ["TLS handshakes", number("outwork_front_tls_handshakes_total")],
              ["Lines in the access log", number("outwork_front_access_log_lines_total")],
              ["Lines that were lost", number("outwork_front_access_log_dropped_total")],
            ]}
          />
        </div>
      </section>
    </div>
  );
}
