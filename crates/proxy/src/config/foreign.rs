//! Words that HAProxy, nginx, Envoy and Traefik have for what is said of pools, and what is written here instead.

use outwork_config::expansion::Foreign;

const AS_POOL: &str = "write a [proxy.pool.NAME] with backend = [{ url = \"http://HOST:PORT\" }]";
const AS_BACKEND: &str = "write backend = [{ url = \"http://HOST:PORT\" }]";
const AS_POLICY: &str = "write policy = \"round_robin\", \"least_conn\", \"random\", \"ip_hash\" or \"maglev\"";
const AS_LEAST: &str = "write policy = \"least_conn\"";
const AS_TURNS: &str = "write policy = \"round_robin\"";
const AS_CLIENT: &str = "write policy = \"ip_hash\"";
const AS_HASH: &str = "write policy = \"maglev\", and hash = \"target\", \"header:NAME\" or \"cookie:NAME\"";
const AS_STICKY: &str = "write sticky = { cookie = \"NAME\" }";
const AS_CHECK: &str = "write health_check = { path = \"/health\" }, in the pool: it holds for all of its backends";
const AS_THRESHOLDS: &str = "write health_check = { healthy_threshold = 2, unhealthy_threshold = 3 }, in the pool: it holds for all of its backends";
const AS_OUTLIER: &str = "write outlier = { consecutive_gateway = 5, base_ejection = \"30s\" }, in the pool";
const AS_CONNECT_TIMEOUT: &str = "write connections = { connect_timeout = \"5s\" }";
const AS_RESPONSE_TIMEOUT: &str = "write connections = { response_timeout = \"60s\" }";
const AS_REQUESTS: &str = "write limits = { requests = 1000 } for the pool, or max_requests = 100 in one backend";
const AS_RETRY: &str = "write retry = { attempts = 2 }";

/// What they have where pools are.
pub(super) const OF_THE_PROXY: Foreign = &[
    ("backend", AS_POOL),
    ("upstream", AS_POOL),
    ("server", AS_POOL),
    ("cluster", AS_POOL),
    ("pools", "write a [proxy.pool.NAME] for each"),
    ("frontend", "write a [[front.listener]], or a [[proxy.listener]] for what is not HTTP"),
    ("listen", "write a [[front.listener]], or a [[proxy.listener]] for what is not HTTP"),
    ("listeners", "write [[proxy.listener]] once for each"),
    ("maxconn", "write limits = { max_connections = 10000 }"),
];

/// What they have in a pool.
pub(super) const OF_A_POOL: Foreign = &[
    ("server", AS_BACKEND),
    ("servers", AS_BACKEND),
    ("upstream", AS_BACKEND),
    ("upstreams", AS_BACKEND),
    ("endpoints", AS_BACKEND),
    ("balance", AS_POLICY),
    ("lb_policy", AS_POLICY),
    ("leastconn", AS_LEAST),
    ("least_conn", AS_LEAST),
    ("roundrobin", AS_TURNS),
    ("round_robin", AS_TURNS),
    ("ip_hash", AS_CLIENT),
    ("source", AS_CLIENT),
    ("uri", AS_HASH),
    ("hash_policy", AS_HASH),
    ("cookie", AS_STICKY),
    ("check", AS_CHECK),
    ("httpchk", AS_CHECK),
    ("health_checks", AS_CHECK),
    ("rise", AS_THRESHOLDS),
    ("fall", AS_THRESHOLDS),
    ("outlier_detection", AS_OUTLIER),
    ("max_fails", AS_OUTLIER),
    ("fail_timeout", AS_OUTLIER),
    ("maxconn", AS_REQUESTS),
    ("max_conns", AS_REQUESTS),
    ("maxqueue", "write limits = { pending = 1024 }"),
    ("backup", "write priority = 1 in a backend: it is used once too few of those with priority 0 are left"),
    ("retries", AS_RETRY),
    ("redispatch", AS_RETRY),
    ("keepalive", "write connections = { max_idle = 100 }"),
    ("timeout", AS_RESPONSE_TIMEOUT),
    ("connect_timeout", AS_CONNECT_TIMEOUT),
    ("proxy_connect_timeout", AS_CONNECT_TIMEOUT),
    ("proxy_read_timeout", AS_RESPONSE_TIMEOUT),
    ("slowstart", "write slow_start = \"30s\""),
];

/// What they have where one server is named.
pub(super) const OF_A_BACKEND: Foreign = &[
    ("server", "write url = \"http://HOST:PORT\""),
    ("address", "write url = \"http://HOST:PORT\""),
    ("host", "write url = \"http://HOST:PORT\""),
    ("port", "write url = \"http://HOST:PORT\""),
    ("backup", "write priority = 1: it is used once too few of those with priority 0 are left"),
    ("maxconn", "write max_requests = 100"),
    ("max_conns", "write max_requests = 100"),
    ("check", AS_CHECK),
    ("health_check", AS_CHECK),
    ("inter", "write health_check = { interval = \"5s\" }, in the pool: it holds for all of its backends"),
    ("rise", AS_THRESHOLDS),
    ("fall", AS_THRESHOLDS),
    ("max_fails", AS_OUTLIER),
    ("fail_timeout", AS_OUTLIER),
    ("slow_start", "write slow_start = \"30s\", in the pool: it holds for all of its backends"),
    ("slowstart", "write slow_start = \"30s\", in the pool: it holds for all of its backends"),
    ("down", "take it out of the list, or see `outwork backends drain`"),
    ("disabled", "take it out of the list, or see `outwork backends drain`"),
    ("send_proxy", "write send_proxy = \"v2\", in the pool: it holds for all of its backends"),
];

/// What they have where checks are.
pub(super) const OF_A_CHECK: Foreign = &[
    ("rise", "write healthy_threshold = 2"),
    ("passes", "write healthy_threshold = 2"),
    ("fall", "write unhealthy_threshold = 3"),
    ("fails", "write unhealthy_threshold = 3"),
    ("inter", "write interval = \"5s\""),
    ("fastinter", "write fast_interval = \"1s\""),
    ("uri", "write path = \"/health\""),
    ("type", "write kind = \"http\", \"tcp\" or \"grpc\""),
    ("expect", "write status = \"200-399\", or body = \"TEXT\""),
    ("expected_statuses", "write status = \"200-399\""),
];
