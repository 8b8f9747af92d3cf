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
  /** Fewer are healthy than that: all are used. */
  panics: boolean;
  backends: Backend[];
  names: Name[];
  /** What holds by hand of backends that are not there. */
  absent: { key: string; drains_for: number | null; ejected_for: number | null; weight?: number | null }[];
}

/** A name of backends, and how it goes with looking it up. */
export interface Name {
  name: string;
  kind: "host" | "service";
  /** Who is asked. */
  asked: string;
  addresses: number;
  problem: string | null;
  tried_ago: number | null;
  next_in: number | null;
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
  /** The same in words, where requests that it failed have done it. */
  ejected_because: string | null;
  drains_for: number | null;
  /** What a tier has passed on to it beside these; null where none does. */
  passed: Passed | null;
  /** It is no longer in the configuration. */
  leaving: boolean;
}

export type BackendAction = "drain" | "eject" | "admit";

/** A listener of layer 4, or a route that passes requests on. */
export interface Rule {
  rule: string;
  kind: "listener" | "route";
  protocol: "tcp" | "udp" | "http";
  addresses: string[];
  pools: string[];
  path: "fast" | "slow";
  /** The one that it has now. */
  tier: string;
  /** What keeps it from the fast path, or off it now. */
  reasons: { reason: string; detail: string }[];
}

export type BenchmarkKind = "throughput" | "latency" | "connections" | "mixed";

/** What came of a load; of one under way, what has so far. */
export interface BenchmarkReport {
  kind: BenchmarkKind;
  target: string;
  protocol: "tcp" | "udp";
  packet_size: number;
  connections: number;
  workers: number;
  seconds: number;
  opened: number;
  opened_per_second: number;
  exchanges: number;
  exchanges_per_second: number;
  packets: number;
  packets_per_second: number;
  sent_bytes: number;
  received_bytes: number;
  sent_bits_per_second: number;
  received_bits_per_second: number;
  lost: number;
  failures: number;
  first_failure: string | null;
  latency: {
    count: number;
    mean_us: number;
    p50_us: number;
    p95_us: number;
    p99_us: number;
    p999_us: number;
    max_us: number;
  };
}

export interface Benchmark {
  id: number;
  by: string;
  began: string;
  state: "running" | "done" | "cancelled";
  /** How many loads it has, one after the other. */
  parts: number;
  results: BenchmarkReport[];
  result: BenchmarkReport | null;
  /** What to look at, where nothing came of one of them. */
  hint: string | null;
}

/** What a tier has passed on. */
export interface Passed {
  flows: number;
  packets: number;
  bytes: number;
}

/** An address of layer 4. Figures are of all addresses of its listener. */
export interface Listener {
  name: string;
  address: string;
  protocol: "tcp" | "udp";
  pool: string | null;
  sni: { names: string[]; pool: string }[];
  tls: boolean;
  forwarding: string;
  active: number;
  total: number;
  refused: number;
  received: number;
  sent: number;
  /** What a tier has passed on beside these; null where none does. */
  passed: Passed | null;
}

export interface Tier {
  tier: "dpdk" | "xdp" | "af_xdp" | "sr-iov" | "tc" | "application" | "sockets";
  available: boolean;
  in_use: boolean;
  interfaces: string[];
  why_not: string | null;
  remark: string | null;
}

export interface NetworkInterface {
  name: string;
  driver: string | null;
  bus: string | null;
  mtu: number;
  up: boolean;
  receive_queues: number;
  transmit_queues: number;
  gro: boolean | null;
  tx_checksums: boolean | null;
  /** null where only trying tells. */
  xdp: { mode: "hw" | "native" | "skb"; works: boolean | null; why: string | null }[];
  vfs: number | null;
  vfs_total: number | null;
  tier: string | null;
  /** What was tried before that, or in vain. */
  tried: string[];
  stays: boolean;
  /** Whether frames are copied on the way into user space; null where none come there. */
  copied: boolean | null;
  copied_because: string | null;
  /** What is in the way of forwarding. */
  concerns: string[];
}

export interface Acceleration {
  kernel: string;
  tiers: Tier[];
  interfaces: NetworkInterface[];
  huge_pages: { kibibytes: number; total: number; free: number }[];
  problem: string | null;
}
