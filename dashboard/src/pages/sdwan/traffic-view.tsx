import "./traffic.css";
import { createMemo, createSignal, For, lazy, Show, Suspense } from "solid-js";
import { api, query } from "../../api/client";
import type { PolicySent, PolicyTraffic } from "../../api/controller-types";
import { serverNow } from "../../api/live";
import { createQuery } from "../../api/query";
import { freshFor } from "../../api/samples";
import { bits, bytes, count, percent, plural } from "../../format";
import { Drawer } from "../../ui/dialog";
import { Facts } from "../../ui/facts";
import { Empty, Loaded } from "../../ui/states";
import { Segments } from "../../ui/widgets";
import { createDocuments } from "./network-data";
import { columnsOf, LENGTH_OPTIONS, type Length, shares, since } from "./traffic";

const Chart = lazy(() => import("../../ui/chart"));

/** Of the sites that have sent under a policy, so many are told: those with most. */
const MOST_SITES = 50;

interface Asked {
  length: Length;
  site: string;
}

function Share(props: { of: number; label: string }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: the meter element takes no colours of ours
    <div
      class="meter share"
      role="meter"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={1}
      aria-valuenow={props.of}
      aria-valuetext={percent(props.of)}
    >
      <span class="active" style={{ width: `${props.of * 100}%` }} />
    </div>
  );
}

/** What one policy has carried: over time, and by site. */
function PolicyDrawer(props: { policy: string; asked: Asked; onClose: () => void }) {
  const traffic = createQuery<{ policy: string } & Asked, PolicyTraffic & { from: number; until: number }>(
    () => ({ policy: props.policy, ...props.asked }),
    async ({ policy, length, site }, signal) => {
      const [from, until] = [since(length, serverNow()), Math.floor(serverNow() / 1000)];
      const there = `/controller/policies/${encodeURIComponent(policy)}/traffic${query({ from, until, site })}`;
      return { ...(await api.get<PolicyTraffic>(there, signal)), from, until };
    },
    { every: 60_000, key: "at" },
  );
  return (
    <Drawer title={`Sent under ${props.policy}`} onClose={props.onClose}>
      <Loaded query={traffic} height={300}>
        {(data) => (
          <>
            <Facts
              items={[
                ["Time", LENGTH_OPTIONS.find(({ value }) => value === props.asked.length)?.text ?? ""],
                ["Sent by", props.asked.site === "" ? "all sites" : props.asked.site],
                ["Octets", bytes(data.octets)],
                ["Packets", count(data.packets)],
              ]}
            />
            <Suspense fallback={<div class="card" />}>
              <Chart
                title="Sent"
                series={[{ label: "", color: 1 }]}
                columns={columnsOf(data, data.from, data.until)}
                from={data.from}
                to={data.until}
                fresh={freshFor(false, data.step_seconds)}
                format={bits}
              />
            </Suspense>
            <Show when={props.asked.site === "" && data.sites.length > 0}>
              <section class="card" aria-label="By site">
                <div class="card-head">
                  <h2>By site</h2>
                  <span class="muted push">{plural(data.sites.length, "site")}</span>
                </div>
                <table class="table">
                  <tbody>
                    <For each={data.sites.slice(0, MOST_SITES)}>
                      {(one) => (
                        <tr>
                          <td class="traffic-name">{one.site}</td>
                          <td>
                            <Share
                              of={data.octets === 0 ? 0 : one.octets / data.octets}
                              label={`Part of ${one.site}`}
                            />
                          </td>
                          <td class="number nowrap" title={`${count(one.packets)} packets`}>
                            {bytes(one.octets)}
                          </td>
                        </tr>
                      )}
                    </For>
                  </tbody>
                </table>
                <Show when={data.sites.length > MOST_SITES}>
                  <p class="card-body muted">
                    And {count(data.sites.length - MOST_SITES)} that have sent less.
                  </p>
                </Show>
              </section>
            </Show>
          </>
        )}
      </Loaded>
    </Drawer>
  );
}

function Row(props: { sent: PolicySent; share: number; there: boolean; onOpen: (policy: string) => void }) {
  return (
    <tr>
      <td>
        <Show when={props.sent.policy} fallback={<span class="muted">under no policy</span>}>
          {(policy) => (
            <>
              <button type="button" class="link policy-name" onClick={() => props.onOpen(policy())}>
                {policy()}
              </button>{" "}
              <Show when={!props.there}>
                <span class="badge">no longer there</span>
              </Show>
            </>
          )}
        </Show>
      </td>
      <td class="wide">
        <div class="traffic-share">
          <Share of={props.share} label={`Part of ${props.sent.policy ?? "what is under no policy"}`} />
          <span class="muted">{percent(props.share)}</span>
        </div>
      </td>
      <td class="number">
        {count(props.sent.packets)}
        <span class="phone-only muted"> packets</span>
      </td>
      <td class="number side">{bytes(props.sent.octets)}</td>
    </tr>
  );
}

/** What was sent under each policy at all sites, as they have reported it. */
export default function Traffic(props: { policies: string[] }) {
  const [length, setLength] = createSignal<Length>("24h");
  const [site, setSite] = createSignal("");
  const [opened, setOpened] = createSignal<string | null>(null);
  const sites = createDocuments("sites");
  const asked = (): Asked => ({ length: length(), site: site() });
  const traffic = createQuery<Asked, { items: PolicySent[] }>(
    asked,
    (of, signal) =>
      api.get(`/controller/traffic${query({ from: since(of.length, serverNow()), site: of.site })}`, signal),
    { every: 30_000, key: "policy" },
  );
  const parts = createMemo(() => shares(traffic.data()?.items ?? []));
  const names = createMemo(() => new Set(props.policies));
  return (
    <section class="card" aria-label="Traffic by policy">
      <div class="card-head">
        <h2>Traffic by policy</h2>
        <span class="muted push">as sites have reported it</span>
      </div>
      <div class="toolbar">
        <Segments label="Time of traffic" value={length()} options={LENGTH_OPTIONS} onChange={setLength} />
        <select class="input" aria-label="Sent by" onChange={(event) => setSite(event.currentTarget.value)}>
          <option value="">Sent by all sites</option>
          <For each={sites.data()?.items ?? []}>
            {({ id }) => (
              <option value={id} selected={id === site()}>
                Sent by {id}
              </option>
            )}
          </For>
        </select>
      </div>
      <Loaded query={traffic} height={160}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="sdwan" title="Nothing was sent in this time">
                <p>Sites report what flows under each policy have sent: it is added up here.</p>
              </Empty>
            }
          >
            <div class="table-frame">
              <table class="table stacking traffic">
                <thead>
                  <tr>
                    <th scope="col">Policy</th>
                    <th scope="col">Part of all</th>
                    <th scope="col" class="number">
                      Packets
                    </th>
                    <th scope="col" class="number">
                      Sent
                    </th>
                  </tr>
                </thead>
                <tbody>
                  <For each={data.items}>
                    {(sent, i) => (
                      <Row
                        sent={sent}
                        share={parts()[i()] ?? 0}
                        there={sent.policy === null || names().has(sent.policy)}
                        onOpen={setOpened}
                      />
                    )}
                  </For>
                </tbody>
              </table>
            </div>
          </Show>
        )}
      </Loaded>
      <Show when={opened()} keyed>
        {(policy) => <PolicyDrawer policy={policy} asked={asked()} onClose={() => setOpened(null)} />}
      </Show>
    </section>
  );
}
