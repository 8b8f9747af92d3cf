import { shares, sums } from "../../api/figures";
import { compact, count, percent, rate, throughput } from "../../format";
import { type Plot, quantiles } from "../../ui/plots";

// What the web server's charts are drawn from.

const of = (name: string, label: string, values: string[]) =>
  values.map((value) => `${name}{${label}="${value}"}`);

const STATUSES = of("front_requests_rate", "status", ["2xx", "3xx", "4xx", "5xx"]);

export const REQUESTS: Plot = {
  title: "Requests a second",
  names: STATUSES,
  series: [
    { label: "2xx", color: 4 },
    { label: "3xx", color: 1 },
    { label: "4xx", color: 2 },
    { label: "5xx", color: 3 },
  ],
  format: rate,
};

export const LATENCY = quantiles("Time to answer", "front_request_time");

export const THROUGHPUT: Plot = {
  title: "Throughput",
  names: ["front_sent_rate", "front_received_rate"],
  series: [
    { label: "out", color: 1 },
    { label: "in", color: 4 },
  ],
  format: throughput,
  bytes: true,
};

export const CONNECTIONS: Plot = {
  title: "Connections open",
  names: ["front_connections_open"],
  series: [{ label: "", color: 1 }],
  format: count,
  axisFormat: compact,
};

export const ERRORS: Plot = {
  title: "Errors, of all requests",
  names: [...STATUSES, "front_requests_rate"],
  series: [
    { label: "5xx", color: 3 },
    { label: "4xx", color: 2 },
  ],
  derive: shares([
    { of: [3], among: [4] },
    { of: [2], among: [4] },
  ]),
  format: percent,
};

const SPARED = of("responses_requests_rate", "outcome", ["hit", "stale", "collapsed"]);
const ASKED = of("responses_requests_rate", "outcome", ["stood_in", "revalidated", "miss", "pass"]);

export const CACHE_HITS: Plot = {
  title: "Answered from the cache",
  names: [...SPARED, ...ASKED],
  series: [{ label: "", color: 4 }],
  derive: shares([{ of: [0, 1, 2], among: [0, 1, 2, 3, 4, 5, 6] }]),
  format: percent,
  top: 1,
};

const CUTS = of("front_connections_cut_rate", "reason", [
  "full",
  "client",
  "tls",
  "late",
  "broken",
  "flood",
  "accept",
]);

export const ARRIVALS: Plot = {
  title: "Connections a second",
  names: ["front_connections_rate", ...CUTS],
  series: [
    { label: "accepted", color: 1 },
    { label: "refused", color: 3 },
    { label: "too slow", color: 2 },
  ],
  derive: sums([[0], [1, 2, 3, 5, 6, 7], [4]]),
  format: rate,
};

export const PROTOCOLS: Plot = {
  title: "Requests by protocol",
  names: of("front_protocols_rate", "protocol", ["http1", "http2", "http3"]),
  series: [
    { label: "HTTP/1.1", color: 1 },
    { label: "HTTP/2", color: 4 },
    { label: "HTTP/3", color: 2 },
  ],
  format: rate,
};

export const HANDSHAKES: Plot = {
  title: "TLS handshakes a second",
  names: of("front_tls_handshakes_rate", "handshake", [
    "full_tls13",
    "full_tls12",
    "resumed_tls13",
    "resumed_tls12",
    "quic",
  ]),
  series: [
    { label: "full", color: 1 },
    { label: "resumed", color: 4 },
    { label: "QUIC", color: 2 },
  ],
  derive: sums([[0, 1], [2, 3], [4]]),
  format: rate,
};

export const REFUSALS: Plot = {
  title: "Refused before their handler",
  names: of("front_refused_rate", "reason", [
    "rate",
    "credentials",
    "address",
    "maintenance",
    "body",
    "time",
    "rewrite",
    "loop",
    "certificate",
  ]),
  series: [
    { label: "rate limit", color: 2 },
    { label: "credentials", color: 3 },
    { label: "other", color: 1 },
  ],
  derive: sums([[0], [1], [2, 3, 4, 5, 6, 7, 8]]),
  format: rate,
};
