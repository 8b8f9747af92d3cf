import { createMemo, createSignal, For, Show } from "solid-js";
import { liveTick, samples } from "../../api/live";
import type { Backend, BackendAction, Pool } from "../../api/proxy-types";
import { type Columns, historyColumns, joinColumns } from "../../api/samples";
import { count, kept, latency, rate, span } from "../../format";
import { Figures } from "../../ui/facts";
import { Icon } from "../../ui/icon";
import { More } from "../../ui/pager";
import { range, type Timeline } from "../../ui/plots";
import Sparkline from "../../ui/sparkline";
import { latencyNames, recent, usualOf, wasMeasured } from "./plots";
import {
  actions,
  idles,
  isTakenOut,
  named,
  ordered,
  POLICY,
  poolTone,
  reading,
  tally,
  unit,
  unknown,
} from "./reading";

/** Rows drawn at once; more on request. */
const STEP = 30;

/** Seconds of a live latency that are drawn: a row shows what happens now, and charts what went before. */
const LIVE = 180;

/** The time that latencies are drawn over, in words. */
const drawnOver = (timeline: Timeline) =>
  timeline.live() ? `${LIVE / 60} m` : range().replace(/(\d+)/, "$1 ");

const ACTION: Record<BackendAction, string> = { drain: "Drain…", eject: "Eject…", admit: "Admit" };

/** The server does not say it of more backends than the history has room for. */
function createLatency(pool: () => string, backend: () => Backend, timeline: Timeline) {
  const columns = createMemo((): Columns => {
    const names = latencyNames(pool(), backend().key);
    const history = timeline.history.data();
    const joined: Columns = history ? historyColumns(history, names) : [[], [], []];
    if (!timeline.live()) return joined;
    liveTick();
    return joinColumns(joined, samples.columns(names, timeline.window()[0]), history?.step ?? 10);
  });
  const step = () => (timeline.live() ? 10 : (timeline.history.data()?.step ?? 10));
  const drawn = createMemo((): [number, number] => {
    const [from, to] = timeline.window();
    return timeline.live() ? [to - LIVE, to] : [from, to];
  });
  const now = createMemo(() => recent(columns(), timeline.window()[1], step()));
  return { columns, now, drawn };
}

function Latency(props: { pool: string; backend: Backend; timeline: Timeline }) {
  const seen = createLatency(
    () => props.pool,
    () => props.backend,
    props.timeline,
  );
  const measured = () => seen.columns()[0].length > 0;
  const known = () => usualOf(seen.now()[0] ?? null, measured(), props.backend.latency_ms);
  const usual = () => {
    const value = known();
    return value === null ? "–" : latency(value);
  };
  const rare = () => {
    const value = seen.now()[1] ?? null;
    return value === null ? null : latency(value);
  };
  // On a phone there is no column that would be empty: the word would stand there alone.
  return (
    <td class="number wide latency-cell" classList={{ "phone-hidden": known() === null }}>
      <div class="latency">
        <Show when={measured()}>
          <Sparkline
            columns={seen.columns()}
            window={seen.drawn()}
            label={`Time to answer over the last ${drawnOver(props.timeline)}: half within ${usual()}${rare() ? `, 99 of 100 within ${rare()}` : ""}`}
          />
        </Show>
        <span class="latency-now">
          <span class="phone-only muted">latency </span>
          {usual()}
          <Show when={rare()}>
            <small>p99 {rare()}</small>
          </Show>
        </span>
      </div>
    </td>
  );
}

const checked = (ago: number) => (ago < 1 ? "now" : `${span(Math.floor(ago))} ago`);

function Row(props: {
  pool: Pool;
  backend: Backend;
  ago: number;
  timeline: Timeline;
  allowed: boolean;
  pending: boolean;
  onAct: (backend: string, action: BackendAction) => void;
}) {
  const read = () => reading(props.backend, props.pool.checked, props.ago);
  const name = () => named(props.backend.key);
  const place = () =>
    [
      name().address === null ? null : `at ${name().address}`,
      `weight ${props.backend.weight}`,
      props.pool.backends.some((one) => one.priority !== 0) ? `priority ${props.backend.priority}` : null,
      props.backend.zone === null ? null : `zone ${props.backend.zone}`,
    ].filter((part) => part !== null);
  return (
    <tr>
      <td class="backend">
        <code class="backend-key">{name().url}</code>
        <div class="muted backend-place">{place().join(" · ")}</div>
      </td>
      <td class="wide state">
        <span class={`badge ${read().tone}`}>
          <Icon name={read().icon} size={12} />
          {read().text}
        </span>
        <div class="muted state-detail">{kept(read().detail)}</div>
      </td>
      <td class="number side rates">
        <span>{rate(props.backend.rate)}/s</span>
        <span class="phone-only muted"> {unit(props.pool).toLowerCase()}</span>
        <Show when={props.backend.requests > 0}>
          <div class="muted rates-now">{count(props.backend.requests)} under way</div>
        </Show>
        <Show when={props.backend.failure_rate >= 0.05}>
          <div class="failing rates-now">{rate(props.backend.failure_rate)}/s fail</div>
        </Show>
      </td>
      <Latency pool={props.pool.name} backend={props.backend} timeline={props.timeline} />
      <td class="number phone-hidden checked">
        {props.backend.checked_ago === null ? (
          <span class="muted">–</span>
        ) : (
          checked(props.backend.checked_ago + props.ago)
        )}
      </td>
      <td class="tools wide">
        <For each={actions(props.backend)}>
          {(action) => (
            <button
              type="button"
              class="button small"
              disabled={!props.allowed || props.pending}
              title={props.allowed ? undefined : "This needs the role of an operator"}
              aria-label={`${ACTION[action]} ${props.backend.key}`}
              onClick={() => props.onAct(props.backend.key, action)}
            >
              {ACTION[action]}
            </button>
          )}
        </For>
      </td>
    </tr>
  );
}

/** A pool, and each of its backends. */
export function PoolCard(props: {
  pool: Pool;
  /** Seconds since the server told of it. */
  ago: number;
  /** Those of its backends that are looked for. */
  shown: (backend: Backend) => boolean;
  timeline: Timeline;
  allowed: boolean;
  pending: boolean;
  onAct: (backend: string, action: BackendAction) => void;
}) {
  const [most, setMost] = createSignal(STEP);
  const found = createMemo(() => props.pool.backends.filter(props.shown));
  const ailing = createMemo(() =>
    props.pool.names.flatMap((name) => {
      const why = unknown(name, props.ago);
      return why === null ? [] : [{ name: name.name, why }];
    }),
  );
  const measured = () => {
    const history = props.timeline.history.data();
    // Until it is known, nothing folds.
    if (!history) return true;
    const drawn = props.pool.backends.slice(0, STEP);
    const names = drawn.flatMap((backend) => latencyNames(props.pool.name, backend.key));
    if (!props.timeline.live()) return wasMeasured(names, history, [[]]);
    liveTick();
    return wasMeasured(names, history, samples.columns(names, props.timeline.window()[0]));
  };
  // On a phone a quiet pool is a line for each of its backends, until it is unfolded.
  const quiet = createMemo(() => idles(props.pool) && ailing().length === 0 && !measured());
  const [unfolded, setUnfolded] = createSignal(false);
  return (
    <section
      class="card pool"
      classList={{ quiet: quiet() && !unfolded() }}
      aria-label={`Pool ${props.pool.name}`}
    >
      <div class="card-head">
        <h2>{props.pool.name}</h2>
        <span class={`badge ${poolTone(props.pool)}`}>{tally(props.pool)}</span>
        <Show when={props.pool.panics}>
          <span
            class="badge bad"
            title={`Less than ${props.pool.panic_threshold}% of its backends are usable: all of them are used, whatever their health`}
          >
            <Icon name="critical" size={12} /> panic: all are used
          </span>
        </Show>
        <span class="muted push policy" title={props.pool.policy}>
          {POLICY[props.pool.policy] ?? props.pool.policy}
        </span>
      </div>
      <Show when={quiet()}>
        <div class="pool-quiet">
          <span class="muted">
            No {unit(props.pool).toLowerCase()} in the last {range().replace(/(\d+)/, "$1 ")}
          </span>
          <button
            type="button"
            class="button small push"
            aria-expanded={unfolded()}
            aria-label={`${unfolded() ? "Hide" : "Show"} figures of ${props.pool.name}`}
            onClick={() => setUnfolded(!unfolded())}
          >
            {unfolded() ? "Hide" : "Show"}
          </button>
        </div>
      </Show>
      <div class="card-body pool-figures">
        <div>
          <h3>Now</h3>
          <Figures
            narrow
            items={[
              [`${unit(props.pool)} a second`, rate(props.pool.rate)],
              ["Under way", count(props.pool.requests)],
              ["Waiting", count(props.pool.waiting)],
            ]}
          />
        </div>
        <div>
          <h3>Since the start</h3>
          <Figures
            narrow
            items={[
              ["Tried again", count(props.pool.retries)],
              ["Ejections", count(props.pool.ejections)],
              ["Turned away", count(props.pool.refused), props.pool.refused > 0],
            ]}
          />
        </div>
      </div>
      <Show when={props.pool.backends.length > 0}>
        <div class="table-frame">
          <table class="table stacking backends">
            <thead>
              <tr>
                <th scope="col">Backend</th>
                <th scope="col" class="state">
                  State
                </th>
                <th scope="col" class="number rates">
                  {unit(props.pool)}
                  <small>now</small>
                </th>
                <th scope="col" class="number latency-cell">
                  Latency
                  <small>
                    <span class="drawn">last {drawnOver(props.timeline)}, and </span>now
                  </small>
                </th>
                <th scope="col" class="number checked">
                  Checked
                </th>
                <th scope="col" class="tools">
                  <span class="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              <For each={found().slice(0, most())}>
                {(backend) => (
                  <Row
                    pool={props.pool}
                    backend={backend}
                    ago={props.ago}
                    timeline={props.timeline}
                    allowed={props.allowed}
                    pending={props.pending}
                    onAct={props.onAct}
                  />
                )}
              </For>
            </tbody>
          </table>
        </div>
      </Show>
      <Show when={ailing().length > 0 || props.pool.absent.length > 0}>
        <ul class="pool-notes">
          <For each={ailing()}>
            {({ name, why }) => (
              <li>
                <Icon name="critical" size={12} /> <code>{name}</code> <span class="muted">{kept(why)}</span>
              </li>
            )}
          </For>
          <For each={props.pool.absent}>
            {(absent) => (
              <li>
                <Icon name="minus" size={12} /> <code>{absent.key}</code>{" "}
                <span class="muted">is not there, and {ordered(absent)} by hand should it come back</span>
                <Show when={isTakenOut(absent)}>
                  <button
                    type="button"
                    class="button small"
                    disabled={!props.allowed || props.pending}
                    aria-label={`Admit ${absent.key}`}
                    onClick={() => props.onAct(absent.key, "admit")}
                  >
                    Admit
                  </button>
                </Show>
              </li>
            )}
          </For>
        </ul>
      </Show>
      <More shown={most()} total={found().length} noun="backend" onMore={() => setMost(most() + STEP)} />
    </section>
  );
}
