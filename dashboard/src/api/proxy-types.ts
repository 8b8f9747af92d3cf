// The shapes of what passes requests on: /api/v1/proxy. As in types.ts.

export type Policy = "round_robin" | "least_conn" | "random" | "ip_hash" | "maglev";

export interface Pool {
  name: string;
  policy: Policy;
  /** Requests under way. */
  requests: number;
  /** Attempts at requests a second, lately. */
  rate: number;
  waiting: number;
  refused: number;
  retries: number;
  ejections: number;
  checked: boolean;
  drain_seconds: number;
  ejection_seconds: number;
  /** In percent. */
  panic_threshold: number;
  backends: Backend[];
}

/** A moment is told by its distance in seconds from the answer. */
export interface Backend {
  key: string;
  address: string;
  state: "usable" | "unhealthy" | "ejected" | "draining" | "drained";
  state_for: number | null;
  health: "unknown" | "healthy" | "unhealthy";
  problem: string | null;
  checked_ago: number | null;
  weight: number;
  priority: number;
  zone: string | null;
  /** Of its weight, where it starts slowly. */
  share: number | null;
  starts_for: number | null;
  requests: number;
  rate: number;
  failure_rate: number;
  total: number;
  failures: number;
  connections: number;
  latency_ms: number | null;
  ejected_for: number | null;
  ejected_by: string | null;
  drains_for: number | null;
  /** It is no longer in the configuration. */
  leaving: boolean;
}

export type BackendAction = "drain" | "eject" | "admit";
