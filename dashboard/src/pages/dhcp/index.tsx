import "./dhcp.css";
import { createMemo, Match, Show, Switch } from "solid-js";
import { api } from "../../api/client";
import { latest } from "../../api/live";
import { createQuery } from "../../api/query";
import type { Subnet } from "../../api/types";
import { plural, rate } from "../../format";
import { pageOf, route } from "../../router";
import { NoPage } from "../../ui/no-page";
import { Tabs } from "../../ui/widgets";
import { Events } from "./events";
import { Leases } from "./leases";
import { Reservations } from "./reservations";
import { Subnets } from "./subnets";

const FIRST = { path: "/dhcp", text: "Subnets" };
const TABS = [
  FIRST,
  { path: "/dhcp/leases", text: "Leases" },
  { path: "/dhcp/reservations", text: "Reservations" },
  { path: "/dhcp/events", text: "Events" },
];

export default function Dhcp() {
  const tab = createMemo(() => pageOf(TABS, route().segments));
  const subnets = createQuery<null, { items: Subnet[] }>(
    () => null,
    (_, signal) => api.get("/dhcp/subnets", signal),
    { every: 5_000 },
  );
  const requests = () => latest().dhcp_requests_rate;
  const active = () => latest().dhcp_leases_active;
  return (
    <>
      <div class="page-head">
        <h1>DHCP</h1>
        <p>
          <Show when={active() !== undefined}>{plural(active() ?? 0, "active lease")}</Show>
          <Show when={requests() !== undefined}>, {rate(requests() ?? 0)} requests a second</Show>
        </p>
      </div>
      <Tabs label="DHCP" current={tab() ?? ""} items={TABS} />
      <Switch>
        <Match when={tab() === "/dhcp/leases"}>
          <Leases subnets={subnets.data()?.items ?? []} />
        </Match>
        <Match when={tab() === "/dhcp/reservations"}>
          <Reservations subnets={subnets.data()?.items ?? []} />
        </Match>
        <Match when={tab() === "/dhcp/events"}>
          <Events />
        </Match>
        <Match when={tab() === null}>
          <NoPage first={FIRST} />
        </Match>
        <Match when={true}>
          <Subnets query={subnets} />
        </Match>
      </Switch>
    </>
  );
}
