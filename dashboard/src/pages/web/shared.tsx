import { createMemo, Show } from "solid-js";
import { api } from "../../api/client";
import { clockSkew } from "../../api/live";
import { createQuery, type Query } from "../../api/query";
import type { History, Metric, MetricsNow } from "../../api/types";
import type { FrontRoute } from "../../api/web-types";
import { bytes, percent } from "../../format";
import { fetchHistory, RANGES, type RangeName, range } from "../../ui/plots";

/** Every metric as it reads now, for what is shown since the start. */
export function createMetrics(): () => Metric[] {
  const metrics = createQuery<null, MetricsNow>(
    () => null,
    (_, signal) => api.get("/metrics/now", signal),
    { every: 5_000, key: "name" },
  );
  return createMemo(() => metrics.data()?.metrics ?? []);
}

export function createRoutes(): Query<{ items: FrontRoute[] }> {
  return createQuery(
    () => null,
    (_, signal) => api.get("/front/routes", signal),
    { every: 5_000, key: "route" },
  );
}

/** Series over the time that was chosen in a few steps: what tables show of it. */
export function createSummary(names: () => string[]): Query<History> {
  return createQuery<{ range: RangeName; names: string[]; skew: number }, History>(
    () => ({ range: range(), names: names(), skew: clockSkew() }),
    async (source, signal) => {
      const [length] = RANGES[source.range];
      if (source.names.length === 0) return { step: length, start: 0, series: [] };
      return fetchHistory(source.names, [length, length / 6], source.skew, signal);
    },
    { every: 10_000, key: "name" },
  );
}

/** How much of a limit is used. */
export function Fill(props: { used: number; limit: number | null | undefined; label: string }) {
  const share = () => (props.limit ? Math.min(1, props.used / props.limit) : 0);
  const told = () => (props.limit ? `${bytes(props.used)} of ${bytes(props.limit)}` : bytes(props.used));
  return (
    <div class="fill">
      <span>{told()}</span>
      <Show when={props.limit}>
        {/* biome-ignore lint/a11y/useSemanticElements: the meter element is drawn differently by every browser */}
        <div
          class="meter"
          role="meter"
          aria-label={props.label}
          aria-valuemin={0}
          aria-valuemax={1}
          aria-valuenow={share()}
          aria-valuetext={`${told()}, ${percent(share())}`}
        >
          <span style={{ width: `${share() * 100}%` }} />
        </div>
      </Show>
    </div>
  );
}
