// The shapes of what a controller says of its network: /api/v1/controller. Times are RFC 3339 strings.

export type DocumentKind = "sites" | "uplinks" | "classes" | "applications" | "policies" | "settings";

/** What a document says, in the words of the configuration file. */
export type Body = Record<string, unknown>;

export interface NetworkDocument {
  id: string;
  /** Counts its changes: what a change of it names. */
  version: number;
  created: string;
  created_by: string;
  updated: string;
  updated_by: string;
  body: Body;
}

/** A token that lets one site in, once. */
export interface Enrolment {
  id: number;
  site: string;
  /** The networks that the site may come with; none where nobody has said which. */
  subnets: string[] | null;
  created: string;
  created_by: string;
  expires: string;
  used: string | null;
}

/** How a site is to the controller. */
export interface Presence {
  site: string;
  status: string;
  last_seen: string | null;
  /** The version of the network that it has said it holds. */
  version: number | null;
  /** Whether that is the one of now. */
  current: boolean;
  /** Why it does not take up what it was told, where that is so. */
  refused: string | null;
  /** The release that it runs; none where it has not said. */
  release: string | null;
}

/** A path of the network, as the site at its near end has reported it last. */
export interface ReportedPath {
  id: number;
  site: string;
  uplink: string;
  remote_site: string;
  remote_uplink: string;
  via: string | null;
  state: string;
  chosen: boolean;
  latency_ms: number;
  jitter_ms: number;
  loss: number;
  mos: number;
  updated: string;
}

/** Something that has happened at a site, as it has reported it. */
export interface ReportedEvent {
  id: number;
  /** By the clock of the site. */
  at: string;
  site: string;
  kind: string;
  of: string;
  from: string;
  to: string;
  why: string;
}

/** A change of the network. */
export interface NetworkChange {
  id: number;
  at: string;
  who: string;
  what: string;
  target: string;
  /** What was there before and after, as JSON; empty where there is nothing to tell. */
  detail: string;
  /** The version of the network that it has made, with all that was made at once; none where it has made none, and cannot be taken back. */
  revision: number | null;
}

/** What a document says, and what it would say; none where it is not there, or would go. */
export interface DocumentChange {
  /** As `policy`. */
  kind: string;
  id: string;
  before: Body | null;
  after: Body | null;
}

/** What changes come to. */
export interface ChangeList {
  /** Whether they are made, and not only tried. */
  made: boolean;
  items: DocumentChange[];
  /** How many sites run another release than the controller: they refuse documents with what theirs does not know. */
  other_releases: number;
}

/** What flows under a policy have sent; none for those under none. */
export interface PolicySent {
  policy: string | null;
  packets: number;
  octets: number;
}

/** What was sent under a policy in a time: in all, in each part in which anything was, and by each site. */
export interface PolicyTraffic {
  policy: string;
  packets: number;
  octets: number;
  /** Seconds of a part. */
  step_seconds: number;
  items: { at: string; packets: number; octets: number }[];
  sites: { site: string; packets: number; octets: number }[];
}
