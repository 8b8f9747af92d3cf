import "./web.css";
import { createMemo, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { latest } from "../../api/live";
import { FIRST_LISTENER } from "../../examples";
import { count, plural, rate } from "../../format";
import { pageOf, route } from "../../router";
import { useStatus } from "../../status";
import { NoPage } from "../../ui/no-page";
import { Loaded, Skeleton } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { Tabs } from "../../ui/widgets";

const Traffic = lazy(() => import("./traffic"));
const Cache = lazy(() => import("./cache"));
const Files = lazy(() => import("./files"));
const Queries = lazy(() => import("./queries"));
const Certificates = lazy(() => import("./certificates"));

const FIRST = { path: "/web", text: "Traffic" };
const TABS = [
  FIRST,
  { path: "/web/cache", text: "Cache" },
  { path: "/web/files", text: "Files" },
  { path: "/web/queries", text: "Queries" },
  { path: "/web/certificates", text: "Certificates" },
];

export default function Web() {
  const status = useStatus();
  const tab = createMemo(() => pageOf(TABS, route().segments));
  const open = () => latest().front_connections_open;
  const requests = () => latest().front_requests_rate;
  return (
    <>
      <div class="page-head">
        <h1>Web</h1>
        <p>
          <Show when={open() !== undefined}>
            {open() === 1 ? plural(1, "open connection") : `${count(open() ?? 0)} open connections`}
          </Show>
          <Show when={requests() !== undefined}>, {rate(requests() ?? 0)} requests a second</Show>
        </p>
      </div>
      <Loaded query={status} height={600}>
        {(now) => (
          <Show
            when={now.services.some((service) => service.name === "front" && service.state === "running")}
            fallback={
              <section class="card" aria-label="Web">
                <Teach
                  icon="web"
                  title="No web server yet: it has no listener"
                  snippet={FIRST_LISTENER}
                  restart
                >
                  A listener says where clients come in, a route what answers them. Routes can change while
                  Outwork runs.
                </Teach>
              </section>
            }
          >
            <Tabs label="Web" current={tab() ?? ""} items={TABS} />
            <Suspense fallback={<Skeleton height={600} />}>
              <Switch fallback={<Traffic />}>
                <Match when={tab() === null}>
                  <NoPage first={FIRST} />
                </Match>
                <Match when={tab() === "/web/cache"}>
                  <Cache />
                </Match>
                <Match when={tab() === "/web/files"}>
                  <Files />
                </Match>
                <Match when={tab() === "/web/queries"}>
                  <Queries />
                </Match>
                <Match when={tab() === "/web/certificates"}>
                  <Certificates />
                </Match>
              </Switch>
            </Suspense>
          </Show>
        )}
      </Loaded>
    </>
  );
}
