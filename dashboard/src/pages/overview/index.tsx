import "./overview.css";
import { createMemo, Show } from "solid-js";
import { api } from "../../api/client";
import { connection } from "../../api/live";
import { createQuery } from "../../api/query";
import type { Status, Subnet } from "../../api/types";
import { FIRST_SUBNET } from "../../examples";
import { href } from "../../router";
import { useStatus } from "../../status";
import { Empty, Loaded, Notice, ProblemNotice, Skeleton } from "../../ui/states";
import { Charts } from "./charts";
import { Services, Store } from "./panels";

/** The worst thing there is to say about the whole, in one line. */
function healthOf(status: Status): { tone: "good" | "warn" | "bad"; text: string } {
  const failed = status.services.filter((service) => service.state === "failed");
  if (status.store.health === "failed") return { tone: "bad", text: "The store has failed" };
  if (failed.length > 0)
    return { tone: "bad", text: `${failed.map((service) => service.name).join(", ")} failed` };
  const waiting = status.services.filter((service) => service.state === "running" && !service.ready);
  if (waiting.length > 0)
    return { tone: "warn", text: `${waiting.map((service) => service.name).join(", ")} not ready yet` };
  return { tone: "good", text: "All services are running" };
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

/** Drawn once the subnets are known too, so that a warning about them pushes nothing down. */
function Body(props: { status: Status }) {
  const dhcp = createMemo(() => props.status.services.some((service) => service.name === "dhcp"));
  const subnets = createQuery<boolean, { items: Subnet[] }>(
    dhcp,
    async (running, signal) => (running ? api.get("/dhcp/subnets", signal) : { items: [] }),
    { every: 30_000 },
  );
  const full = createMemo(() =>
    (subnets.data()?.items ?? []).filter((subnet) => subnet.pools.some((pool) => pool.warning)),
  );
  return (
    <Show when={subnets.data() ?? subnets.error()} fallback={<Skeleton height={900} />}>
      <div class="form">
        <Show when={subnets.error()}>
          {(problem) => <ProblemNotice problem={problem()} retry={subnets.refetch} />}
        </Show>
        <Show when={full().length > 0}>
          <Notice tone="warn" action={<a href={href("/dhcp")}>See the pools</a>}>
            <strong>Pools are nearly full in </strong>
            {full()
              .map((subnet) => subnet.prefix)
              .slice(0, 5)
              .join(", ")}
            {full().length > 5 ? ` and ${full().length - 5} more` : ""}
          </Notice>
        </Show>
        <Show when={dhcp() && subnets.data()?.items.length === 0}>
          <NoSubnets file={props.status.config_file} />
        </Show>
        <div>
          <Charts dhcp={dhcp()} />
          <div class="panels">
            <Services status={props.status} />
            <Store status={props.status} />
          </div>
        </div>
      </div>
    </Show>
  );
}

export default function Overview() {
  const status = useStatus();
  const health = (now: Status) =>
    connection().phase === "lost" ? ({ tone: "warn", text: "Connection lost" } as const) : healthOf(now);
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
