import { byName, largest, mean, seriesOf } from "../../api/figures";
import type { History } from "../../api/types";
import type { FrontRoute } from "../../api/web-types";

// Routes and statements over the time that was chosen. Pure.

export interface RouteRow {
  route: FrontRoute;
  /** Each second over the time that was chosen; since the start, in all. */
  requests: number | null;
  clientErrors: number | null;
  serverErrors: number | null;
  p99: number | null;
  sent: number | null;
}

const ROUTE_SERIES = {
  requests: "front_route_time_rate",
  clientErrors: "front_route_client_errors_rate",
  serverErrors: "front_route_server_errors_rate",
  p99: "front_route_time_p99",
  sent: "front_route_sent_rate",
};

export interface StatementRow {
  route: FrontRoute;
  requests: number | null;
  runs: number | null;
  hits: number | null;
  failures: number | null;
  p99: number | null;
}

const STATEMENT_SERIES = {
  requests: "front_route_time_rate",
  runs: "sql_statement_time_rate",
  hits: "sql_statement_hits_rate",
  failures: "sql_statement_failures_rate",
  p99: "sql_statement_time_p99",
};

type Table = Record<string, string>;

/** Every series that a table is made of, for routes of these labels. */
const namesOf = (table: Table) => (routes: string[]) =>
  routes.flatMap((route) => Object.values(table).map((name) => seriesOf(name, { route })));

export const routeNames = namesOf(ROUTE_SERIES);
export const statementNames = namesOf(STATEMENT_SERIES);

function read<T extends Table>(table: T, route: FrontRoute, history: History | undefined) {
  const series = byName(history);
  // A rate is a mean; of quantiles, the mean would hide what they show.
  const value = (name: string) =>
    (/_p\d+$/.test(name) ? largest : mean)(series.get(seriesOf(name, { route: route.route })));
  return Object.fromEntries(Object.entries(table).map(([key, name]) => [key, value(name)])) as {
    [K in keyof T]: number | null;
  };
}

export function routeRow(route: FrontRoute, history: History | undefined): RouteRow {
  return { route, ...read(ROUTE_SERIES, route, history) };
}

export function statementRow(route: FrontRoute, history: History | undefined): StatementRow {
  return { route, ...read(STATEMENT_SERIES, route, history) };
}

/** The same out of what was counted since the start, for more routes than the history has series for. */
export function routeSinceStart(route: FrontRoute): RouteRow {
  return {
    route,
    requests: route.requests,
    clientErrors: route.client_errors,
    serverErrors: route.server_errors,
    p99: route.requests === 0 ? null : route.p99,
    sent: route.sent_bytes,
  };
}
