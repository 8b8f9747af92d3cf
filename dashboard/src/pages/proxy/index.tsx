import "./proxy.css";
import { createMemo, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { latest } from "../../api/live";
import { count, plural, rate } from "../../format";
import { route } from "../../router";
import { Skeleton } from "../../ui/states";
import { Tabs } from "../../ui/widgets";

const Backends = lazy(() => import("./backends"));
const Listeners = lazy(() => import("./listeners"));
const Rules = lazy(() => import("./rules"));
const Acceleration = lazy(() => import("./acceleration"));

const TABS = [
  { path: "/proxy", text: "Backends" },
  { path: "/proxy/listeners", text: "Listeners" },
  { path: "/proxy/rules", text: "Rules" },
  { path: "/proxy/acceleration", text: "Acceleration" },
];

export default function ProxyPages() {
  const tab = createMemo(() => {
    const path = `/${route().segments.slice(0, 2).join("/")}`;
    return TABS.some((one) => one.path === path) ? path : "/proxy";
  });
  const usable = () => latest().proxy_usable;
  const others = () =>
    (["ejected", "unhealthy", "draining"] as const)
      .map((state) => ({ state, many: latest()[`proxy_${state}`] ?? 0 }))
      .filter(({ many }) => many > 0)
      .map(({ state, many }) => `, ${count(many)} ${state}`)
      .join("");
  const requests = () => latest().proxy_requests_rate;
  return (
    <>
      <div class="page-head">
        <h1>Proxy</h1>
        <p>
          <Show when={usable() !== undefined}>
            {plural(usable() ?? 0, "usable backend")}
            {others()}
          </Show>
          <Show when={requests() !== undefined}>, {rate(requests() ?? 0)} requests a second to them</Show>
        </p>
      </div>
      <Tabs label="Proxy" current={tab()} items={TABS} />
      <Suspense fallback={<Skeleton height={600} />}>
        <Switch fallback={<Backends />}>
          <Match when={tab() === "/proxy/listeners"}>
            <Listeners />
          </Match>
          <Match when={tab() === "/proxy/rules"}>
            <Rules />
          </Match>
          <Match when={tab() === "/proxy/acceleration"}>
            <Acceleration />
          </Match>
        </Switch>
      </Suspense>
    </>
  );
}
