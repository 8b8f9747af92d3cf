import "../../ui/facts.css";
import "./sdwan.css";
import { createMemo, lazy, Show, Suspense } from "solid-js";
import { Dynamic } from "solid-js/web";
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
const Network = lazy(() => import("./network-page"));

interface Tab {
  path: string;
  text: string;
  /** Only where this process is a site, or the controller of a network. */
  of?: "site" | "controller";
  page: ReturnType<typeof lazy>;
}

const TABS: Tab[] = [
  { path: "/sdwan", text: "Sites", page: Overview },
  { path: "/sdwan/paths", text: "Paths", of: "site", page: lazy(() => import("./paths")) },
  { path: "/sdwan/policies", text: "Policies", page: lazy(() => import("./policies")) },
  { path: "/sdwan/events", text: "Events", of: "site", page: lazy(() => import("./events")) },
  { path: "/sdwan/tunnels", text: "Tunnels", of: "site", page: lazy(() => import("./tunnels")) },
  { path: "/sdwan/shaping", text: "Shaping", of: "site", page: lazy(() => import("./shaping")) },
  { path: "/sdwan/network", text: "Network", of: "controller", page: Network },
  {
    path: "/sdwan/controller",
    text: "Controller",
    of: "controller",
    page: lazy(() => import("./controller")),
  },
];

/** The page that an address names. */
function addressed(): string {
  return `/${route().segments.slice(0, 2).join("/")}`;
}

export default function SdwanPages() {
  const status = useStatus();
  const { controls, joins } = useRoles();
  // Its code is on its way while the server says what it is.
  void TABS.find((one) => one.path === addressed())?.page.preload();
  // A controller that is no site has the whole network in the place of what a site sees of it.
  const tabs = createMemo(() =>
    TABS.filter((one) => {
      if (one.of === "controller") return controls() && (joins() || one.path !== "/sdwan/network");
      return one.of !== "site" || joins();
    }),
  );
  const tab = createMemo(() => {
    const path = addressed();
    return tabs().some((one) => one.path === path) ? path : "/sdwan";
  });
  const page = () =>
    tab() === "/sdwan" && !joins() ? Network : (TABS.find((one) => one.path === tab())?.page ?? Overview);
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
              <Dynamic component={page()} />
            </Suspense>
          </Show>
        )}
      </Loaded>
    </>
  );
}
