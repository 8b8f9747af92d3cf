import { createSignal, For, Show } from "solid-js";
import { api, query } from "../../api/client";
import { createQuery } from "../../api/query";
import type { Failure } from "../../api/web-types";
import { relative, sentence, timestamp } from "../../format";
import { Empty, Loaded } from "../../ui/states";
import { createNow, Segments } from "../../ui/widgets";

type Blame = "server" | "client";

const NONE: Record<Blame, { title: string; text: string }> = {
  server: {
    title: "No request has failed on our side",
    text: "Answers with 5xx since the start appear here, with the request that each was for.",
  },
  client: {
    title: "No request was refused",
    text: "Answers with 4xx since the start appear here: what is not there, not allowed or not understood.",
  },
};

/** Rows at first, and all that there are. */
const [FEW, ALL] = [8, 256];

/** The latest answers that were errors. */
export function Failures() {
  const [most, setMost] = createSignal(FEW);
  const [blame, setBlame] = createSignal<Blame>("server");
  const failures = createQuery<{ blame: Blame; limit: number }, { items: Failure[] }>(
    () => ({ blame: blame(), limit: most() + 1 }),
    (source, signal) => api.get(`/front/failures${query(source)}`, signal),
    { every: 5_000 },
  );
  const now = createNow(5_000);
  return (
    <section class="card" aria-label="Recent errors">
      <div class="card-head">
        <h2>Recent errors</h2>
        <div class="push">
          <Segments
            label="Whose errors"
            value={blame()}
            options={[
              { value: "server", text: "Ours (5xx)" },
              { value: "client", text: "Clients’ (4xx)" },
            ]}
            onChange={setBlame}
          />
        </div>
      </div>
      <Loaded query={failures} height={160}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="check" title={NONE[blame()].title}>
                <p>{NONE[blame()].text}</p>
              </Empty>
            }
          >
            <div class="table-frame">
              <table class="table stacking">
                <thead>
                  <tr>
                    <th scope="col">Request</th>
                    <th scope="col">Status</th>
                    <th scope="col">When</th>
                    <th scope="col">Route</th>
                    <th scope="col">Request id</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={data.items.slice(0, most())}>
                    {(failure) => (
                      <tr>
                        <td class="clip" title={failure.path ?? ""}>
                          <span class="mono">
                            {failure.method ?? ""} {failure.path ?? "not understood"}
                          </span>
                          <Show when={failure.host}>
                            <span class="muted"> at {failure.host}</span>
                          </Show>
                          <Show when={failure.detail}>
                            <div class="muted">{sentence(failure.detail ?? "")}</div>
                          </Show>
                        </td>
                        <td class="side">
                          <span class={`badge ${failure.status >= 500 ? "bad" : "warn"}`}>
                            {failure.status}
                          </span>
                        </td>
                        <td class="nowrap" title={timestamp(failure.time)}>
                          {relative(Date.parse(failure.time), now())}
                        </td>
                        <td class="clip">
                          <Show when={failure.route} fallback={<span class="muted">none</span>}>
                            <code>{failure.route}</code>
                          </Show>
                        </td>
                        <td class="clip phone-hidden">
                          <Show when={failure.request_id} fallback={<span class="muted">–</span>}>
                            <code class="muted">{failure.request_id}</code>
                          </Show>
                        </td>
                      </tr>
                    )}
                  </For>
                </tbody>
              </table>
            </div>
            <Show when={data.items.length > most()}>
              <div class="pager">
                <button type="button" class="button small" onClick={() => setMost(ALL)}>
                  Show older
                </button>
              </div>
            </Show>
          </Show>
        )}
      </Loaded>
    </section>
  );
}
