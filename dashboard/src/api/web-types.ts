// The shapes of what answers web requests: /api/v1/front, /cache and /web. As in types.ts.

/** A route, and what it has got since the start. */
export interface FrontRoute {
  /** The label of its figures: the metrics outwork_front_route_*. */
  route: string;
  answers: "files" | "query" | "redirect" | "respond";
  /** With what: a folder, a statement, a target, a status. */
  with: string;
  database?: string;
  writes: boolean;
  cached: boolean;
  kept_seconds?: number;
  requests: number;
  client_errors: number;
  server_errors: number;
  sent_bytes: number;
  p50: number;
  p99: number;
}

export interface Failure {
  time: string;
  status: number;
  method: string | null;
  host: string | null;
  path: string | null;
  route: string | null;
  request_id: string | null;
  /** What went wrong, as the client was told. */
  detail: string | null;
}

export interface CacheTier {
  tier: "l1" | "l2" | "l3";
  kind: "memory" | "redis" | "disk";
  entries?: number;
  bytes?: number;
  limit?: number;
  hits: number;
  misses: number;
  hit_rate?: number;
  evictions: number;
  errors: number;
  circuit: "closed" | "open" | "half-open";
}

export interface CacheSummary {
  tiers: CacheTier[];
  requests: {
    hit: number;
    stale: number;
    stood_in: number;
    revalidated: number;
    miss: number;
    collapsed: number;
    pass: number;
    only_if_cached: number;
    hit_rate?: number;
  };
  stored: number;
  fetches: number;
  edge_waiting: number;
  /** Whether it has yet to be told to throw out everything. */
  edge_owed: boolean;
  /** The provider of the cache before this one. */
  edge: string | null;
}

export interface TopEntry {
  name: string;
  /** By which variants of a URL mostly differ. */
  encoding?: string;
  media_type?: string;
  status: number;
  key: string;
  hits: number;
  bytes: number;
}

export interface WarmReport {
  queued: number;
  stored: number;
  pending: number;
  /** Those that are not in the cache. */
  unstored: { url: string; status?: number; why: string }[];
}

type Reach = "off" | "done" | "pending";

export interface PurgeReport {
  removed: number;
  shared: Reach;
  disk: Reach;
  edge: "off" | "queued" | "unsupported" | "everything";
}

export interface NamedCount {
  name: string;
  count: number;
}

export interface Folder {
  root: string;
  files: number;
  bytes: number;
  limit: number;
  variants: number;
  variant_bytes: number;
  lookups: NamedCount[];
  sent: NamedCount[];
  watch: boolean;
  watching: boolean;
  watches: number;
}

export interface Database {
  name: string;
  url: string;
  used: number;
  idle: number;
  pool_size: number;
  waiting: number;
  opened: number;
  unreachable: number;
  turned_away: number;
  timeouts: number;
}

export interface QuerySummary {
  databases: Database[];
  queries: NamedCount[];
  lookups: NamedCount[];
  kept_results: number;
  kept_bytes: number;
  kept_limit: number | null;
  evicted: number;
}

export interface Certificate {
  name: string;
  names: string[];
  addresses: string[];
  kind: "files" | "acme" | "local";
  subject: string;
  issuer: string;
  fingerprint: string;
  not_before: string;
  not_after: string;
  expires_in_seconds: number;
  provisional: boolean;
  next_renewal: string | null;
  failures: number;
  last_error: string | null;
  warnings: string[];
}
