import { createEffect, createMemo, createSignal, For, on, Show } from "solid-js";
import { api, asProblem } from "../../api/client";
import { latest } from "../../api/live";
import type { Backend, BackendAction, Pool } from "../../api/proxy-types";
import { createQuery } from "../../api/query";
import { may } from "../../api/session";
import { FIRST_POOL } from "../../examples";
import { notify } from "../../ui/notify";
import { createTimeline, PlotSection, TimelineProblem } from "../../ui/plots";
import { Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { createNow, Search } from "../../ui/widgets";
import { type Change, ChangeDialog, change } from "./change";
import { ATTEMPTS, latencyNames, RETRIES, STATES } from "./plots";
import { PoolCard } from "./pool";
import { tally } from "./reading";

/** The history has series of each backend up to so many; beyond, there is what balancing knows of them. */
const MOST_WITH_SERIES = 64;
/** With more backends than this there is something to search in. */
const FEW = 12;

interface Pools {
  /** When the server told of them, by the browser's clock. */
  at: number;
  /** With a key of the kind that backends have, so that a refresh keeps both in place. */
  items: (Pool & { key: string })[];
}

async function fetchPools(signal: AbortSignal): Promise<Pools> {
  const items = await api.get<Pool[]>("/proxy/pools", signal);
  return { at: Date.now(), items: items.map((pool) => ({ ...pool, key: pool.name })) };
}

export default function Backends(props: {
  /** Hears what the cards are drawn from: the head of the page says no other. */
  onTold: (pools: Pool[]) => void;
}) {
  const pools = createQuery<null, Pools>(
    () => null,
    (_, signal) => fetchPools(signal),
    { every: 2_000, key: "key" },
  );
  createEffect(() => {
    const told = pools.data()?.items;
    if (told) props.onTold(told);
  });
  // The live stream knows within a second that a backend has come or gone: the next poll need not be waited for.
  const census = createMemo(() => {
    const { proxy_usable: usable, proxy_unhealthy: unhealthy, proxy_ejected: ejected } = latest();
    return [usable, unhealthy, ejected].join(" ");
  });
  createEffect(on(census, pools.refetch, { defer: true }));

  const names = createMemo(() => {
    const all = (pools.data()?.items ?? []).flatMap((pool) =>
      pool.backends.map((backend) => [pool.name, backend.key] as const),
    );
    const wanted = all.length > MOST_WITH_SERIES ? [] : all.flatMap(([pool, key]) => latencyNames(pool, key));
    return wanted.join("\n");
  });
  // A list of the same names is the same question.
  const timeline = createTimeline(createMemo(() => (names() === "" ? [] : names().split("\n"))));
  const now = createNow(1000, Date.now);
  const [text, setText] = createSignal("");
  const [asking, setAsking] = createSignal<Change | null>(null);
  const [pending, setPending] = createSignal(false);

  const total = () => (pools.data()?.items ?? []).reduce((sum, pool) => sum + pool.backends.length, 0);
  const many = () => total() > FEW || (pools.data()?.items.length ?? 0) > FEW / 3;
  const fits = (pool: Pool) => (backend: Backend) =>
    `${pool.name} ${backend.key} ${backend.address} ${backend.state} ${backend.zone ?? ""}`
      .toLowerCase()
      .includes(text().trim().toLowerCase());
  const subject = () => {
    const wanted = asking();
    const pool = pools.data()?.items.find((one) => one.name === wanted?.pool);
    const backend = pool?.backends.find((one) => one.key === wanted?.backend);
    return wanted && pool && backend ? { wanted, pool, backend } : null;
  };

  const act = async (pool: string, backend: string, action: BackendAction) => {
    if (action !== "admit") {
      setAsking({ pool, backend, action });
      return;
    }
    // It hurts nobody: what fails goes again by itself.
    setPending(true);
    try {
      await change(pool, backend, action);
      notify(`${backend} is admitted`);
    } catch (error) {
      notify(asProblem(error).message, "bad");
    }
    setPending(false);
    pools.refetch();
  };

  return (
    <Loaded query={pools} height={600}>
      {(data) => (
        <Show
          when={data.items.length > 0}
          fallback={
            <section class="card" aria-label="Backends">
              <Teach icon="proxy" title="No pool of backends yet" snippet={FIRST_POOL}>
                A pool is a list of servers of which any one can answer, and a route passes requests on to it.
                Whoever fails is left out until it is well again.
              </Teach>
            </section>
          }
        >
          <div class="stack">
            <Show when={many() || !may("operator")}>
              <div class="row wrap">
                <Show when={many()}>
                  <Search
                    label="Search backends"
                    placeholder="Pool, address, zone or state"
                    value={text()}
                    onInput={setText}
                  />
                </Show>
                <Show when={!may("operator")}>
                  <p class="muted">Your role sees backends; an operator may drain, eject and admit them.</p>
                </Show>
              </div>
            </Show>
            <TimelineProblem timeline={timeline} />
            <For each={data.items}>
              {(pool) => (
                <Show
                  when={text() === "" || pool.name.includes(text().trim()) || pool.backends.some(fits(pool))}
                >
                  <PoolCard
                    pool={pool}
                    ago={Math.max(0, (now() - data.at) / 1000)}
                    shown={fits(pool)}
                    timeline={timeline}
                    allowed={may("operator")}
                    pending={pending()}
                    onAct={(backend, action) => void act(pool.name, backend, action)}
                  />
                </Show>
              )}
            </For>
            <div>
              <PlotSection title="Activity" plots={[ATTEMPTS, RETRIES, STATES]} />
            </div>
            {/* Those who hear the page are told when a backend comes or goes, not each time figures change. */}
            <div class="visually-hidden" role="status" aria-label="State of pools">
              {data.items.map((pool) => `${pool.name}: ${tally(pool)}`).join("; ")}
            </div>
            <Show when={subject()}>
              {(found) => (
                <ChangeDialog
                  change={found().wanted}
                  pool={found().pool}
                  backend={found().backend}
                  onClose={() => setAsking(null)}
                  onDone={pools.refetch}
                />
              )}
            </Show>
          </div>
        </Show>
      )}
    </Loaded>
  );
}
