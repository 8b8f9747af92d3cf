//! The tables, and how they came to be what they are.

use outwork_store::database::Migrations;

/// Steps that have been released never change: a change is a new one at the end.
pub(super) const MIGRATIONS: Migrations =
    Migrations { component: "sdwan", steps: &[FIRST, SECOND, TRAFFIC, SHARED, RESTORED] };

/// A kind of documents: what all have, and what one has besides.
macro_rules! documents {
    ($table:literal $(, $more:literal)?) => {
        concat!(
            "CREATE TABLE ",
            $table,
            " (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated INTEGER NOT NULL,
    updated_by TEXT NOT NULL",
            $(",\n", $more,)?
            "\n) STRICT;\n"
        )
    };
}

const FIRST: &str = concat!(
    "\n",
    documents!(
        "sites",
        "    status TEXT NOT NULL DEFAULT 'unknown',
    last_seen INTEGER,
    plan_version INTEGER"
    ),
    "CREATE INDEX idx_sites_status ON sites (status);
CREATE INDEX idx_sites_last_seen ON sites (last_seen);
",
    documents!("uplinks"),
    documents!("classes"),
    documents!("applications"),
    documents!(
        "policies",
        "    priority INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(json_extract(body, '$.priority'), 100)) STORED"
    ),
    "CREATE INDEX idx_policies_priority ON policies (priority);
CREATE TABLE removed (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX idx_removed_revision ON removed (revision);
CREATE TABLE revisions (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    latest INTEGER NOT NULL,
    floor INTEGER NOT NULL
) STRICT;
INSERT INTO revisions VALUES (1, 0, 0);
CREATE TABLE audit_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp INTEGER NOT NULL,
    username TEXT NOT NULL,
    event_type TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX idx_audit_logs_user_time ON audit_logs (username, timestamp);
CREATE INDEX idx_audit_logs_event_time ON audit_logs (event_type, timestamp);
CREATE INDEX idx_audit_logs_time ON audit_logs (timestamp);
CREATE TABLE paths (
    id INTEGER PRIMARY KEY,
    source_site_id TEXT NOT NULL,
    source_uplink TEXT NOT NULL,
    dest_site_id TEXT NOT NULL,
    dest_uplink TEXT NOT NULL,
    via_site_id TEXT NOT NULL,
    status TEXT NOT NULL,
    chosen INTEGER NOT NULL,
    latency_ms REAL NOT NULL,
    jitter_ms REAL NOT NULL,
    loss REAL NOT NULL,
    mos REAL NOT NULL,
    updated INTEGER NOT NULL,
    UNIQUE (source_site_id, source_uplink, dest_site_id, dest_uplink, via_site_id)
) STRICT;
CREATE INDEX idx_paths_src_dest ON paths (source_site_id, dest_site_id);
CREATE INDEX idx_paths_status ON paths (status);
CREATE TABLE sdwan_path_health (
    path_id INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    status TEXT NOT NULL,
    latency_ms REAL NOT NULL,
    jitter_ms REAL NOT NULL,
    loss REAL NOT NULL,
    mos REAL NOT NULL
) STRICT;
CREATE INDEX idx_path_health_path_time ON sdwan_path_health (path_id, timestamp);
CREATE INDEX idx_path_health_time ON sdwan_path_health (timestamp);
CREATE TABLE sdwan_path_health_aggregates (
    path_id INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    up REAL NOT NULL,
    latency_ms REAL NOT NULL,
    latency_max_ms REAL NOT NULL,
    jitter_ms REAL NOT NULL,
    loss REAL NOT NULL,
    loss_max REAL NOT NULL,
    mos REAL NOT NULL,
    mos_min REAL NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (path_id, timestamp)
) STRICT, WITHOUT ROWID;
CREATE INDEX idx_path_health_aggregates_time ON sdwan_path_health_aggregates (timestamp);
CREATE TABLE traffic_stats (
    site_id TEXT NOT NULL,
    policy_id TEXT NOT NULL,
    path_id INTEGER,
    timestamp INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL
) STRICT;
CREATE INDEX idx_traffic_stats_policy_time ON traffic_stats (policy_id, timestamp);
CREATE INDEX idx_traffic_stats_time ON traffic_stats (timestamp);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp INTEGER NOT NULL,
    site_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    about TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    why TEXT NOT NULL
) STRICT;
CREATE INDEX idx_events_time ON events (timestamp);
CREATE INDEX idx_events_site ON events (site_id, id);
CREATE TABLE reported (
    site_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE rolled_up (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    until INTEGER NOT NULL
) STRICT;
CREATE TABLE enrolments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    hash BLOB NOT NULL,
    site_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires INTEGER NOT NULL,
    used INTEGER
) STRICT;
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    site_id TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER,
    revoked_by TEXT
) STRICT;
CREATE INDEX idx_certificates_site ON certificates (site_id);
"
);

const SECOND: &str = "
ALTER TABLE sites ADD COLUMN refused TEXT;
CREATE TABLE late_spans (
    timestamp INTEGER PRIMARY KEY
) STRICT;
";

const TRAFFIC: &str = "
DROP TABLE traffic_stats;
CREATE TABLE traffic_stats (
    site_id TEXT NOT NULL,
    policy_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    octets INTEGER NOT NULL
) STRICT;
CREATE INDEX idx_traffic_stats_policy_time ON traffic_stats (policy_id, timestamp);
CREATE INDEX idx_traffic_stats_time ON traffic_stats (timestamp);
CREATE TABLE traffic_stats_aggregates (
    policy_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    site_id TEXT NOT NULL,
    packets INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    PRIMARY KEY (policy_id, timestamp, site_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX idx_traffic_stats_aggregates_time ON traffic_stats_aggregates (timestamp);
ALTER TABLE sdwan_path_health ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sdwan_path_health ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sdwan_path_health_aggregates ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sdwan_path_health_aggregates ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sites ADD COLUMN release TEXT NOT NULL DEFAULT '';
ALTER TABLE reported ADD COLUMN begun INTEGER;
ALTER TABLE audit_logs ADD COLUMN revision INTEGER;
CREATE INDEX idx_audit_logs_revision ON audit_logs (revision) WHERE revision IS NOT NULL;
";

const RESTORED: &str = "
ALTER TABLE revisions ADD COLUMN held_back INTEGER NOT NULL DEFAULT 0;
CREATE TABLE marks (
    revision INTEGER PRIMARY KEY,
    mark INTEGER NOT NULL
);
";

const SHARED: &str = concat!("\n", documents!("settings"), "ALTER TABLE enrolments ADD COLUMN subnets TEXT;\n");
