import { createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import type { Benchmark } from "../../api/proxy-types";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import { plural, relative, sentence, timestamp } from "../../format";
import { Icon } from "../../ui/icon";
import { notify } from "../../ui/notify";
import { Empty, Loaded, Notice, ProblemNotice } from "../../ui/states";
import { createNow } from "../../ui/widgets";
import { figures, progress, trouble } from "./figures";
import { MeasureDialog } from "./measure";

function Row(props: { run: Benchmark; now: number; pending: boolean; onEnd: () => void }) {
  const state = () => progress(props.run);
  const first = () => props.run.results[0];
  return (
    <tr>
      <td>
        <strong>{first()?.target ?? "–"}</strong>
        <div class="muted backend-place">
          <Show when={first()}>
            {(report) => (
              <>
                {report().protocol.toUpperCase()}, {plural(report().connections, "connection")},{" "}
                {plural(report().packet_size, "byte")} at a time
              </>
            )}
          </Show>
        </div>
        <div class="muted backend-place">
          no. {props.run.id} by {props.run.by},{" "}
          <time datetime={props.run.began} title={timestamp(props.run.began)}>
            {relative(Date.parse(props.run.began), props.now)}
          </time>
        </div>
      </td>
      <td class="side">
        <span class={`badge ${state().tone}`}>{state().text}</span>
      </td>
      <td class="wide">
        <ul class="parts">
          <For each={props.run.results}>
            {(report) => (
              <li>
                <strong>{report.kind}</strong>{" "}
                <span class="muted">{plural(Math.round(report.seconds), "second")}</span>
                <div>{figures(report).join(" · ")}</div>
                <Show when={trouble(report)}>{(text) => <div class="part-trouble">{text()}</div>}</Show>
              </li>
            )}
          </For>
        </ul>
        <Show when={props.run.hint}>{(hint) => <p class="part-trouble">{sentence(hint())}</p>}</Show>
      </td>
      <td class="tools">
        <Show when={props.run.state === "running"}>
          <button
            type="button"
            class="button small"
            disabled={props.pending}
            aria-label={`End benchmark ${props.run.id}`}
            onClick={() => props.onEnd()}
          >
            End
          </button>
        </Show>
      </td>
    </tr>
  );
}

function Runs() {
  const runs = createQuery<null, { items: Benchmark[] }>(
    () => null,
    async (_, signal) => ({ items: await api.get<Benchmark[]>("/proxy/benchmarks", signal) }),
    { every: 2_000 },
  );
  const now = createNow(5_000);
  const [asking, setAsking] = createSignal(false);
  const isRunning = () => runs.data()?.items.some((run) => run.state === "running") ?? false;
  const end = createAction(async (id: number) => {
    await api.delete(`/proxy/benchmarks/${id}`);
    notify(`Benchmark ${id} has ended`);
    runs.refetch();
  });
  return (
    <Loaded query={runs} height={400}>
      {(data) => (
        <section class="card" aria-label="Benchmarks">
          <div class="card-head">
            <h2>Benchmarks</h2>
            <button
              type="button"
              class="button small push"
              disabled={isRunning()}
              title={isRunning() ? "One runs at a time" : undefined}
              onClick={() => setAsking(true)}
            >
              <Icon name="play" size={12} /> Begin…
            </button>
          </div>
          <Show when={end.problem()}>
            {(problem) => (
              <div class="card-body">
                <ProblemNotice problem={problem()} />
              </div>
            )}
          </Show>
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="rising" title="No benchmark was run yet">
                <p>
                  A benchmark loads a listener or a backend, and says how much goes through, how long answers
                  take and how many connections begin in a second. The last 50 are kept.
                </p>
              </Empty>
            }
          >
            <div class="table-frame">
              <table class="table stacking benchmarks">
                <thead>
                  <tr>
                    <th scope="col">Target</th>
                    <th scope="col">State</th>
                    <th scope="col">What came of it</th>
                    <th scope="col">
                      <span class="visually-hidden">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  <For each={data.items}>
                    {(run) => (
                      <Row run={run} now={now()} pending={end.pending()} onEnd={() => void end.run(run.id)} />
                    )}
                  </For>
                </tbody>
              </table>
            </div>
          </Show>
          <Show when={asking()}>
            <MeasureDialog onClose={() => setAsking(false)} onDone={runs.refetch} />
          </Show>
        </section>
      )}
    </Loaded>
  );
}

/** What was measured by loading something, and what is. The server lets admins alone see it and begin. */
export default function Benchmarks() {
  return (
    <Show
      when={may("admin")}
      fallback={
        <Notice tone="plain">
          <strong>Benchmarks are for admins</strong>
          <div>They load machines with all that these take. Sign in with the token of an admin.</div>
        </Notice>
      }
    >
      <Runs />
    </Show>
  );
}
