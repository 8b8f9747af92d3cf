import { createContext, createEffect, on, useContext } from "solid-js";
import { api } from "./api/client";
import { systemEvent } from "./api/live";
import { createQuery, type Query } from "./api/query";
import type { Alert, AlertList } from "./api/types";
import { plural } from "./format";

const AlertsContext = createContext<Query<AlertList>>();
export const AlertsProvider = AlertsContext.Provider;

/** Asks as soon as one starts or ends, and between for their figures. */
export function createAlerts(): Query<AlertList> {
  const alerts = createQuery<null, AlertList>(
    () => null,
    (_, signal) => api.get("/alerts", signal),
    { every: 10_000 },
  );
  createEffect(on(systemEvent, alerts.refetch, { defer: true }));
  return alerts;
}

/** The alerts that hold; one poll for the whole page. */
export function useAlerts(): Query<AlertList> {
  const alerts = useContext(AlertsContext);
  if (alerts === undefined) throw new Error("useAlerts is called outside the signed-in shell");
  return alerts;
}

/** As bad as the worst of them; null where there is none. */
export function worst(alerts: Alert[]): Alert["severity"] | null {
  if (alerts.length === 0) return null;
  return alerts.some((alert) => alert.severity === "critical") ? "critical" : "warning";
}

/** How many of each severity: 1 critical alert, 2 warnings. */
export function tally(alerts: Alert[]): string {
  const critical = alerts.filter((alert) => alert.severity === "critical").length;
  const warnings = alerts.length - critical;
  return [
    critical > 0 ? plural(critical, "critical alert") : "",
    warnings > 0 ? plural(warnings, "warning") : "",
  ]
    .filter((part) => part !== "")
    .join(", ");
}
