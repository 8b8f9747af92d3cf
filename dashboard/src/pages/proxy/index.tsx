import "./proxy.css";
import { createMemo, createSignal, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { latest } from "../../api/live";
import type { Pool } from "../../api/proxy-types";
import { rate } from "../../format";
import { pageOf, route } from "../../router";
import { NoPage } from "../../ui/no-page";
import { Skeleton } from "../../ui/states";
import { Tabs } from "../../ui/widgets";
import { headline } from "./reading";

const Backends = lazy(() => import("./backends"));
const Listeners = lazy(() => import("./listeners"));
const Rules = lazy(() => import("./rules"));
const Acceleration = lazy(() => import("./acceleration"));
const Benchmarks = lazy(() => import("./benchmarks"));

// Named as the others are, it is found as well.
const FIRST = { path: "/proxy", alias: "/proxy/backends", text: "Backends" };
const TABS = [
  FIRST,
  { path: "/proxy/listeners", text: "Listeners" },
  { path: "/proxy/rules", text: "Rules" },
  { path: "/proxy/acceleration", text: "Acceleration" },
  { path: "/proxy/benchmarks", text: "Benchmarks" },
];

export default function ProxyPages() {
  const tab = createMemo(() => pageOf(TABS, route().segments));
  // What the cards are drawn from, while they are.
  const [pools, setPools] = createSignal<Pool[] | null>(null);
  const backends = () => headline(tab() === FIRST.path ? pools() : null, latest());
  const requests = () => latest().proxy_requests_rate;
  return (
    <>
      <div class="page-head">
        <h1>Proxy</h1>
        <p>
          {backends()}
          <Show when={requests() !== undefined}>, {rate(requests() ?? 0)} requests a second to them</Show>
        </p>
      </div>
      <Tabs label="Proxy" current={tab() ?? ""} items={TABS} />
      <Suspense fallback={<Skeleton height={600} />}>
        <Switch fallback={<Backends onTold={setPools} />}>
          <Match when={tab() === null}>
            <NoPage first={FIRST} />
          </Match>
          <Match when={tab() === "/proxy/listeners"}>
            <Listeners />
          </Match>
          <Match when={tab() === "/proxy/rules"}>
            <Rules />
          </Match>
          <Match when={tab() === "/proxy/acceleration"}>
            <Acceleration />
          </Match>
          <Match when={tab() === "/proxy/benchmarks"}>
            <Benchmarks />
          </Match>
        </Switch>
      </Suspense>
    </>
  );
}
