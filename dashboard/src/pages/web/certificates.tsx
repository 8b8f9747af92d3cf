import { createMemo, For, Show } from "solid-js";
import { api } from "../../api/client";
import { cells, share, sum } from "../../api/figures";
import { createQuery } from "../../api/query";
import type { Certificate } from "../../api/web-types";
import { FIRST_CERTIFICATE } from "../../examples";
import { count, expiry, percent, relative, timestamp } from "../../format";
import { Figures } from "../../ui/facts";
import { Icon } from "../../ui/icon";
import { Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { createNow } from "../../ui/widgets";
import { createMetrics } from "./shared";
import { urgency } from "./urgency";

const KINDS: Record<Certificate["kind"], string> = {
  files: "from files",
  acme: "by ACME",
  local: "local authority",
};

function Row(props: { certificate: Certificate; now: number }) {
  const state = () => urgency(props.certificate);
  const names = () => [...props.certificate.names, ...props.certificate.addresses];
  return (
    <tr>
      <td class="key-cell">
        <strong>{props.certificate.name}</strong>
        <Show when={names().length > 1}>
          <div class="muted">{names().slice(1, 6).join(", ")}</div>
        </Show>
        <For each={props.certificate.warnings}>
          {(warning) => (
            <div class="trouble">
              <Icon name="alert" size={13} /> {warning}
            </div>
          )}
        </For>
        <Show when={props.certificate.last_error}>
          {(error) => (
            <div class="trouble">
              <Icon name="alert" size={13} /> {error()}
            </div>
          )}
        </Show>
      </td>
      <td class="side">
        <span class={`badge ${state().tone}`}>{state().text}</span>
      </td>
      <td class="nowrap" title={timestamp(props.certificate.not_after)}>
        <span class="phone-only muted">expires </span>
        {expiry(props.certificate.not_after, props.now)}
      </td>
      <td>
        {KINDS[props.certificate.kind]}
        <div class="muted">{props.certificate.issuer}</div>
      </td>
      <td class="nowrap">
        <Show
          when={props.certificate.next_renewal}
          fallback={<span class="muted">when its file changes</span>}
        >
          {(at) => (
            <span title={timestamp(at())}>
              <span class="phone-only muted">renewed </span>
              {relative(Date.parse(at()), props.now)}
            </span>
          )}
        </Show>
      </td>
      <td class="clip phone-hidden" title={props.certificate.fingerprint}>
        <code class="muted">{props.certificate.fingerprint.slice(0, 16)}…</code>
      </td>
    </tr>
  );
}

const HANDSHAKES: Record<string, string> = {
  full_tls13: "TLS 1.3",
  resumed_tls13: "TLS 1.3, resumed",
  full_tls12: "TLS 1.2",
  resumed_tls12: "TLS 1.2, resumed",
  quic: "QUIC",
};

export default function Certificates() {
  const certificates = createQuery<null, { items: Certificate[] }>(
    () => null,
    (_, signal) => api.get("/front/certificates", signal),
    { every: 30_000, key: "fingerprint" },
  );
  const metrics = createMetrics();
  const now = createNow(10_000);
  const handshakes = createMemo(() => cells(metrics(), "outwork_front_tls_handshakes_total", "handshake"));
  const resumed = () =>
    share(
      sum(
        handshakes()
          .filter(([kind]) => kind.startsWith("resumed"))
          .map(([, n]) => n),
      ),
      sum(handshakes().map(([, n]) => n)),
    );
  const failed = () =>
    cells(metrics(), "outwork_front_connections_cut_total", "reason").find(
      ([reason]) => reason === "tls",
    )?.[1] ?? 0;
  return (
    <Loaded query={certificates} height={400}>
      {(data) => (
        <Show
          when={data.items.length > 0}
          fallback={
            <section class="card" aria-label="Certificates">
              <Teach icon="key" title="Nothing is encrypted yet" snippet={FIRST_CERTIFICATE}>
                A listener with <code>tls</code> speaks HTTPS: with certificates from files, by ACME, or from
                a local authority for development.
              </Teach>
            </section>
          }
        >
          <div class="stack">
            <section class="card" aria-label="Certificates">
              <div class="table-frame">
                <table class="table stacking">
                  <thead>
                    <tr>
                      <th scope="col">Certificate</th>
                      <th scope="col">State</th>
                      <th scope="col">Expires</th>
                      <th scope="col">From</th>
                      <th scope="col">Next renewal</th>
                      <th scope="col">SHA-256</th>
                    </tr>
                  </thead>
                  <tbody>
                    <For each={data.items}>{(one) => <Row certificate={one} now={now()} />}</For>
                  </tbody>
                </table>
              </div>
            </section>
            <section class="card" aria-label="Handshakes">
              <div class="card-head">
                <h2>Handshakes</h2>
                <span class="muted push">since the start</span>
              </div>
              <div class="card-body">
                <Figures
                  items={[
                    ...handshakes().map(([kind, n]): [string, string] => [
                      HANDSHAKES[kind] ?? kind,
                      count(n),
                    ]),
                    ["Went on with an earlier session", resumed() === null ? "–" : percent(resumed() ?? 0)],
                    ["Failed", count(failed()), failed() > 0],
                  ]}
                />
              </div>
            </section>
          </div>
        </Show>
      )}
    </Loaded>
  );
}
