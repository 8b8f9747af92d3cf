// The shapes of what joins sites: /api/v1/sdwan. As in types.ts.

/** A way out of this site. */
export interface Uplink {
  name: string;
  /** Who we are there: what others are to know us by. */
  public_key: string;
  listens: string[];
}

/** Whoever speaks WireGuard and is no site. */
export interface Tunnel {
  /** A peer, or a site. */
  peer: string;
  /** None where it leads to a peer. */
  path: { id: number; remote_uplink: string; via: string | null } | null;
  uplink: string;
  /** The kernel counts nothing of what it refuses. */
  carrier: "process" | "kernel";
  public_key: string;
  endpoint: string | null;
  networks: string[];
  /** None without a session. */
  keys_age_seconds: number | null;
  mtu: number;
  sent_bytes: number;
  received_bytes: number;
  /** Datagrams that were forged, altered, replayed or too late. */
  refused: number;
  /** Packets whose source is not behind it. */
  foreign: number;
}

/** A class of what leaves by an uplink that is shaped. Rates are bits a second. */
export interface QosClass {
  class: string;
  /** What it always may have, and has at most. */
  rate: number;
  ceiling: number;
  priority: number;
  dscp: string[];
  mark: string;
  bytes: number;
  packets: number;
  drops: number;
  backlog_bytes: number;
  backlog_packets: number;
}

/** An uplink that is to be shaped. */
export interface ShapedUplink {
  uplink: string;
  interface: string;
  rate: number;
  state: "shaped" | "rolled-back" | "missing" | "foreign" | "absent";
  /** None where it is not shaped. */
  queue: string | null;
  classes: QosClass[];
}

/** How uplinks are shaped. */
export interface Qos {
  enabled: boolean;
  uplinks: ShapedUplink[];
}

/** A site other than ours. */
export interface Site {
  name: string;
  subnets: string[];
  uplinks: string[];
}

export type PathState = "new" | "down" | "trial" | "up" | "suspect";

/** A pair of uplinks, of this site and of another. */
export interface Path {
  id: number;
  site: string;
  uplink: string;
  remote_uplink: string;
  /** The hub that passes it on; none where it goes straight. */
  via: string | null;
  /** Octets of the longest packet that it takes. */
  mtu: number;
  state: PathState;
  /** Whether new flows take it. */
  chosen: boolean;
  keys: boolean;
  endpoint: string | null;
  /** One way. */
  latency_ms: number;
  jitter_ms: number;
  /** 0 to 1. */
  loss: number;
  /** 1 to 4.5. */
  mos: number;
  /** Datagrams. */
  sent: number;
  received: number;
}

/** Something that has happened to a path, or to the traffic to a site. */
export interface PathEvent {
  number: number;
  /** Milliseconds since the epoch; of what has happened more than once, the last time. */
  at_ms: number;
  /** `path`, `mtu`, `switch`, or what a newer server tells of. */
  kind: string;
  /** Empty where its path is there no longer. */
  site: string;
  /** The path, or the site. */
  of: string;
  /** Of a switch: the class of the traffic, and how paths of it are chosen. */
  class?: string | null;
  strategy?: string | null;
  /** A state, octets of the longest packet, or a path; `none` where there is none. */
  from: string;
  to: string;
  why: string;
  /** How often it has happened, where that is told as one. */
  count?: number | null;
  /** When the first of these was, in milliseconds since the epoch. */
  since_ms?: number | null;
}

/** A class of traffic: what it needs of its path. None is no limit. */
export interface TrafficClass {
  name: string;
  preset: boolean;
  default: boolean;
  latency_ms: number | null;
  jitter_ms: number | null;
  loss: number | null;
}

/** What a policy matches and does, by the words of the configuration; an empty list does not matter. */
export interface PolicyRule {
  name: string;
  priority: number;
  sources: string[];
  destinations: string[];
  protocols: string[];
  source_ports: string[];
  ports: string[];
  dscp: string[];
  applications: string[];
  class: string;
  strategy: string;
  uplinks: string[];
  data: number | null;
  parity: number | null;
  mark: string | null;
}

/** A policy that is in force here, with what was sent under it. */
export interface Policy extends PolicyRule {
  packets: number;
  bytes: number;
}

/** A path that a flow might take. */
export interface Considered {
  path: string;
  state: PathState;
  keeps_limits: boolean;
  taken: "first" | "second" | null;
  latency_ms: number;
  jitter_ms: number;
  loss: number;
}

/** What becomes of a flow that begins now. */
export interface Explanation {
  to: string | null;
  application: string | null;
  policy: string | null;
  class: string | null;
  strategy: string | null;
  mark: string | null;
  paths: Considered[];
  why: string[];
}
