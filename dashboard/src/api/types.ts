// The shapes of /api/v1, as the server documents them in /api/v1/openapi.json.
// Times are RFC 3339 strings unless a name says seconds.

export type Role = "viewer" | "operator" | "admin";

export interface Session {
  name: string;
  role: Role;
}

export interface ServiceStatus {
  name: string;
  state: "running" | "stopped" | "failed";
  ready: boolean;
  detail: string;
}

export interface StoreStatus {
  health: "ok" | "failed";
  error?: string | null;
  durability: string;
  pending_bytes: number;
  durable_lsn: number;
}

export interface Listener {
  service: string;
  address: string;
  protocol: string;
}

export interface Status {
  version: string;
  started: string;
  uptime_seconds: number;
  host: string;
  config_file: string | null;
  services: ServiceStatus[];
  store: StoreStatus;
  listeners: Listener[];
}

export interface MetricSample {
  labels: Record<string, string>;
  value?: number;
  count?: number;
  sum?: number;
  p50?: number;
  p95?: number;
  p99?: number;
  max?: number;
}

export interface Metric {
  name: string;
  kind: "counter" | "gauge" | "histogram";
  unit: string;
  help: string;
  samples: MetricSample[];
}

export interface MetricsNow {
  metrics: Metric[];
}

export interface HistorySeries {
  name: string;
  unit: string;
  values: (number | null)[];
}

/** Points start at `start` (unix seconds) and are `step` seconds apart. */
export interface History {
  step: number;
  start: number;
  series: HistorySeries[];
}

export interface Counts {
  total: number;
  active: number;
  offered: number;
  declined: number;
  free: number;
  /** 0 to 1. */
  utilisation: number;
}

export interface Pool extends Counts {
  range: string;
  warning: boolean;
  /** Addresses that reservations took out of it. */
  reserved: number;
}

/** Its leases, in pools and outside of them; total, free and utilisation are of its pools. */
export interface Subnet extends Counts {
  id: number;
  name?: string | null;
  prefix: string;
  shared_network?: string | null;
  lease_time_seconds: number;
  pools: Pool[];
  reservations: number;
}

export type LeaseState = "active" | "offered" | "declined" | "released" | "expired";

export interface Relay {
  giaddr: string | null;
  circuit_id: string | null;
  remote_id: string | null;
}

export interface Lease {
  address: string;
  state: LeaseState;
  mac: string | null;
  client_id: string | null;
  hostname: string | null;
  subnet_id: number;
  /** When its client was last heard. */
  starts: string;
  /** When it ends, or ended; the end of the year 9999 if never. */
  expires: string;
  relay: Relay | null;
  vendor_class: string | null;
  /** Where the device says that a description of it is (RFC 8520). */
  mud_url: string | null;
  fixed: boolean;
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

/** A page that tells how many there are on all pages. */
export interface CountedPage<T> extends Page<T> {
  total: number;
}

export type IdentifierKind = "mac" | "client_id" | "circuit_id" | "remote_id" | "flex";

/** As it is sent. A PUT replaces the whole: what is left out is gone. */
export interface ReservationDraft {
  subnet_id: number;
  identifier: { kind: IdentifierKind; value: string };
  /** Without one the client gets an address from a pool, and what else is said here. */
  address: string | null;
  hostname?: string | null;
  options?: Record<string, unknown>;
  classes?: string[];
  next_server?: string;
  server_hostname?: string;
  boot_file?: string;
}

export interface Reservation extends ReservationDraft {
  id: string;
  source: "config" | "api";
  /** In the answer to a change: what to know about it. */
  warning?: string;
}

export interface ConfigItem {
  key: string;
  value: unknown;
  origin: string;
}

export interface Token {
  id: string;
  name: string;
  role: Role;
  created: string;
  last_used: string | null;
  expires: string | null;
}

export interface AuditRow {
  id: string | number;
  time: string;
  who: string;
  role: string;
  peer: string | null;
  action: string;
  target: string | null;
  detail: unknown;
  result: string;
}

export interface DhcpEvent {
  time: string;
  kind: string;
  address?: string | null;
  mac?: string | null;
  client_id?: string | null;
  hostname?: string | null;
  subnet_id?: number | null;
  reason?: string | null;
}

export interface MetricsEvent {
  time: string;
  values: Record<string, number>;
}

/** A condition that holds now. */
export interface Alert {
  /** Which condition: the label of the metric outwork_alerts. */
  id: string;
  severity: "warning" | "critical";
  since: string;
  /** What is the matter, with figures. */
  what: string;
  advice: string;
  /** The keys that bear on it. */
  settings: string[];
}

/** The worst first. */
export interface AlertList {
  items: Alert[];
}

/** Of an event about an alert, its fields too. */
export type SystemEvent =
  | { time: string; kind: "reload" | "reloaded" }
  | ({ time: string; kind: "alert_started" | "alert_ended" } & Alert);
