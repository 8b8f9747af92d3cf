import "../../ui/facts.css";
import "./sdwan.css";
import { createMemo, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { FIRST_UPLINK } from "../../examples";
import { count, plural } from "../../format";
import { route } from "../../router";
import { useStatus } from "../../status";
import { Loaded, Skeleton } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { Tabs } from "../../ui/widgets";
import { useRoles } from "./network-data";
import { inState, STATES } from "./shared";

const Overview = lazy(() => import("./overview"));
const Paths = lazy(() => import("./paths"));
const Events = lazy(() => import("./events"));
const Tunnels = lazy(() => import("./tunnels"));
const Shaping = lazy(() => import("./shaping"));
const Policies = lazy(() => import("./policies"));
const Controller = lazy(() => import("./controller"));
const Network = lazy(() => import("./network-page"));

interface Tab {
  path: string;
  text: string;
  /** Only where this process is a site, or the controller of a network. */
  of?: "site" | "controller";
}

const TABS: Tab[] = [
  { path: "/sdwan", text: "Sites" },
  { path: "/sdwan/paths", text: "Paths", of: "site" },
  { path: "/sdwan/policies", text: "Policies" },
  { path: "/sdwan/events", text: "Events", of: "site" },
  { path: "/sdwan/tunnels", text: "Tunnels", of: "site" },
  { path: "/sdwan/shaping", text: "Shaping", of: "site" },
  { path: "/sdwan/network", text: "Network", of: "controller" },
  { path: "/sdwan/controller", text: "Controller", of: "controller" },
];

export default function SdwanPages() {
  const status = useStatus();
  const { controls, joins } = useRoles();
  // A controller that is no site has the whole network in the place of what a site sees of it.
  const tabs = createMemo(() =>
    TABS.filter((one) => {
      if (one.of === "controller") return controls() && (joins() || one.path !== "/sdwan/network");
      return one.of !== "site" || joins();
    }),
  );
  const tab = createMemo(() => {
    const path = `/${route().segments.slice(0, 2).join("/")}`;
    return tabs().some((one) => one.path === path) ? path : "/sdwan";
  });
  const up = () => (inState("up") ?? 0) + (inState("suspect") ?? 0);
  const all = () => STATES.reduce((sum, state) => sum + (inState(state) ?? 0), 0);
  const others = () =>
    (
      [
        ["down", "down"],
        ["trial", "on trial"],
        ["new", "never heard of"],
      ] as const
    )
      .map(([state, text]) => ({ text, many: inState(state) ?? 0 }))
      .filter(({ many }) => many > 0)
      .map(({ text, many }) => `, ${count(many)} ${text}`)
      .join("");
  return (
    <>
      <div class="page-head">
        <h1>SD-WAN</h1>
        <p>
          <Show when={all() > 0}>
            {plural(up(), "path")} up{others()}
          </Show>
        </p>
      </div>
      <Loaded query={status} height={600}>
        {() => (
          <Show
            when={joins() || controls()}
            fallback={
              <section class="card" aria-label="SD-WAN">
                <Teach icon="sdwan" title="Not configured: it has no uplink" snippet={FIRST_UPLINK} restart>
                  An uplink is a way out of this site. Over all of them it is joined to other sites,
                  encrypted, and traffic leaves a bad one before anyone notices; whoever speaks WireGuard may
                  come in, too. Sites and peers can change while Outwork runs.
                </Teach>
              </section>
            }
          >
            <Tabs label="SD-WAN" current={tab()} items={tabs()} />
            <Suspense fallback={<Skeleton height={600} />}>
              <Switch
                fallback={
                  <Show when={joins()} fallback={<Network />}>
                    <Overview />
                  </Show>
                }
              >
                <Match when={tab() === "/sdwan/policies"}>
                  <Policies />
                </Match>
                <Match when={tab() === "/sdwan/network"}>
                  <Network />
                </Match>
                <Match when={tab() === "/sdwan/controller"}>
                  <Controller />
                </Match>
                <Match when={tab() === "/sdwan/paths"}>
                  <Paths />
                </Match>
                <Match when={tab() === "/sdwan/events"}>
                  <Events />
                </Match>
                <Match when={tab() === "/sdwan/tunnels"}>
                  <Tunnels />
                </Match>
                <Match when={tab() === "/sdwan/shaping"}>
                  <Shaping />
                </Match>
              </Switch>
            </Suspense>
          </Show>
        )}
      </Loaded>
    </>
  );
}
