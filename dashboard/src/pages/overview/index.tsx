import "./overview.css";
import { createMemo, Show } from "solid-js";
import { tally, useAlerts, worst } from "../../alerts";
import { api } from "../../api/client";
import { connection } from "../../api/live";
import { createQuery } from "../../api/query";
import type { Alert, Status, Subnet } from "../../api/types";
import type { FrontRoute } from "../../api/web-types";
import { FIRST_LISTENER, FIRST_SUBNET } from "../../examples";
import { useStatus } from "../../status";
import { Empty, Loaded, ProblemNotice, Skeleton } from "../../ui/states";
import { Alerts } from "./alerts";
import { Charts } from "./charts";
import { Services, Store, WebServer } from "./panels";

/** The worst thing there is to say about the whole, in one line. Whether alerts hold may be not known yet. */
function healthOf(
  status: Status,
  alerts: Alert[] | undefined,
): { tone: "good" | "warn" | "bad"; text: string } {
  const failed = status.services.filter((service) => service.state === "failed");
  if (status.store.health === "failed") return { tone: "bad", text: "The store has failed" };
  if (failed.length > 0)
    return { tone: "bad", text: `${failed.map((service) => service.name).join(", ")} failed` };
  const waiting = status.services.filter((service) => service.state === "running" && !service.ready);
  if (waiting.length > 0)
    return { tone: "warn", text: `${waiting.map((service) => service.name).join(", ")} not ready yet` };
  const severity = worst(alerts ?? []);
  if (severity !== null)
    return {
      tone: severity === "critical" ? "bad" : "warn",
      text: `All services are running, ${tally(alerts ?? [])}`,
    };
  return { tone: "good", text: alerts ? "All services are running, no alerts" : "All services are running" };
}

function NoSubnets(props: { file: string | null }) {
  return (
    <section class="card">
      <Empty icon="dhcp" title="DHCP answers nobody yet: it has no subnets">
        <p>
          {props.file
            ? `Describe the network in ${props.file}, then reload from Settings or with outwork reload.`
            : "Describe the network in a configuration file and start with outwork run --config outwork.toml."}
        </p>
        <pre class="snippet">{FIRST_SUBNET}</pre>
      </Empty>
    </section>
  );
}

function NothingServed(props: { file: string | null }) {
  return (
    <section class="card">
      <Empty icon="info" title="Nothing is served yet">
        <p>
          Outwork serves what {props.file ?? "its configuration file"} describes: a network by DHCP, a site,
          or both. Write one of these into it, then restart Outwork.
        </p>
        <pre class="snippet">{`${FIRST_SUBNET}\n\n${FIRST_LISTENER}`}</pre>
      </Empty>
    </section>
  );
}

/** Drawn once the subnets and the alerts are known too, so that what is said of them pushes nothing down. */
function Body(props: { status: Status }) {
  const dhcp = createMemo(() => props.status.services.some((service) => service.name === "dhcp"));
  const web = createMemo(() =>
    props.status.services.some((service) => service.name === "front" && service.state === "running"),
  );
  const subnets = createQuery<boolean, { items: Subnet[] }>(
    dhcp,
    async (running, signal) => (running ? api.get("/dhcp/subnets", signal) : { items: [] }),
    { every: 30_000 },
  );
  const routes = createQuery<boolean, { items: FrontRoute[] }>(
    web,
    async (running, signal) => (running ? api.get("/front/routes", signal) : { items: [] }),
    { every: 30_000, key: "route" },
  );
  const caches = createMemo(() => routes.data()?.items.some((route) => route.cached) ?? false);
  const alerts = useAlerts();
  const known = () =>
    [subnets, routes, alerts].every((query) => query.data() !== undefined || query.error() !== null);
  return (
    <Show when={known()} fallback={<Skeleton height={900} />}>
      <div class="form">
        <Alerts />
        <Show when={subnets.error()}>
          {(problem) => <ProblemNotice problem={problem()} retry={subnets.refetch} />}
        </Show>
        <Show when={!dhcp() && !web()}>
          <NothingServed file={props.status.config_file} />
        </Show>
        <Show when={dhcp() && subnets.data()?.items.length === 0}>
          <NoSubnets file={props.status.config_file} />
        </Show>
        <div>
          <Charts web={web()} caches={caches()} dhcp={dhcp()} />
          <div class="panels">
            <Services status={props.status} />
            <Show when={web()}>
              <WebServer />
            </Show>
            {/* It keeps leases: without them there is nothing in it. */}
            <Show when={dhcp()}>
              <Store status={props.status} />
            </Show>
          </div>
        </div>
      </div>
    </Show>
  );
}

export default function Overview() {
  const status = useStatus();
  const alerts = useAlerts();
  const health = (now: Status) =>
    connection().phase === "lost"
      ? ({ tone: "warn", text: "Connection lost" } as const)
      : healthOf(now, alerts.data()?.items);
  return (
    <>
      <div class="page-head">
        <h1>Overview</h1>
        <Show when={status.data()}>
          {(now) => (
            <span class="health">
              <span class={`dot ${health(now()).tone}`} />
              {health(now()).text}
            </span>
          )}
        </Show>
      </div>
      <Loaded query={status} height={900}>
        {(now) => <Body status={now} />}
      </Loaded>
    </>
  );
}
