//! Settings of Kea that have no counterpart in the file, each with the reason: what Outwork does instead, or that it is lost.
use crate::import::json::{Notes, Object, describe};
use serde_json::Value;

/// When a setting says nothing: its value means what Outwork does anyway.
#[derive(Clone, Copy)]
pub(super) enum Silent {
    Never,
    IfTrue,
    IfFalse,
    IfZero,
    Flag,
}

impl Silent {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Never => matches!(value, Value::Array(items) if items.is_empty()),
            Self::IfTrue => *value == Value::Bool(true),
            Self::IfFalse => *value == Value::Bool(false),
            Self::Flag => value.is_boolean(),
            Self::IfZero => value.as_f64() == Some(0.0),
        }
    }
}

/// Key, when it may go without a word, whether it is lost (or replaced), and why.
pub(super) type Setting = (&'static str, Silent, bool, &'static str);

/// At the top of `Dhcp4`.
pub(super) const GLOBAL: &[Setting] = &[
    (
        "hosts-database",
        Silent::Never,
        true,
        "reservations live in the file and the API: export them from the database and import them",
    ),
    (
        "hosts-databases",
        Silent::Never,
        true,
        "reservations live in the file and the API: export them from the databases and import them",
    ),
    ("config-control", Silent::Never, true, "the configuration is one file; changes come by reload or the API"),
    ("server-tag", Silent::Never, true, "the configuration is one file, not a shared database"),
    (
        "expired-leases-processing",
        Silent::Never,
        false,
        "expired leases are taken back in bounded slices all the time, and a returning client gets its address back: nothing to tune",
    ),
    (
        "multi-threading",
        Silent::Never,
        false,
        "one worker serves for every two cores, and at most 8, unless `workers` says otherwise",
    ),
    ("control-socket", Silent::Never, false, "the admin API and the command line do this"),
    ("control-sockets", Silent::Never, false, "the admin API and the command line do this"),
    (
        "loggers",
        Silent::Never,
        false,
        "logs go to standard output as text or JSON, their level is a setting of each service",
    ),
    ("dhcp-queue-control", Silent::Never, false, "every worker has a bounded queue"),
    (
        "parked-packet-limit",
        Silent::Never,
        false,
        "answers that wait for the disk have a bounded queue: see `queue_size`",
    ),
    ("dhcp4o6-port", Silent::IfZero, true, "DHCPv4 over DHCPv6 is not served"),
    (
        "sanity-checks",
        Silent::Never,
        false,
        "an imported lease belongs to the subnet that has its address, and the import says where the file said another",
    ),
    ("statistic-default-sample-count", Silent::Never, false, "metrics have a history of their own"),
    ("statistic-default-sample-age", Silent::Never, false, "metrics have a history of their own"),
    ("reservations-lookup-first", Silent::IfFalse, false, "a reservation is looked up before a lease is given, always"),
    ("early-global-reservations-lookup", Silent::IfFalse, true, "classes of a reservation do not choose the subnet"),
    ("ip-reservations-unique", Silent::IfTrue, true, "an address can be reserved for one client only"),
    ("allow-address-registration", Silent::Never, true, "it is a setting of DHCPv6"),
    ("hostname-char-replacement", Silent::Never, true, "names of clients are kept as they are sent"),
];

/// In any scope.
pub(super) const SCOPE: &[Setting] = &[
    ("4o6-interface", Silent::Never, true, "DHCPv4 over DHCPv6 is not served"),
    ("4o6-interface-id", Silent::Never, true, "DHCPv4 over DHCPv6 is not served"),
    ("4o6-subnet", Silent::Never, true, "DHCPv4 over DHCPv6 is not served"),
    (
        "allocator",
        Silent::Never,
        false,
        "fresh addresses are given in order, then those unused longest; a returning client gets its old one",
    ),
    (
        "cache-max-age",
        Silent::Never,
        true,
        "a renewal that is not written has no bound in seconds: `lease_cache` is a part of the lease, and of the whole server",
    ),
    (
        "store-extended-info",
        Silent::Never,
        true,
        "whether relay information is kept with the lease is a setting of the whole server: see `store_relay`",
    ),
    ("offer-lifetime", Silent::IfZero, false, "an offered address is held for its client: see `offer_time`"),
    ("offer-lft", Silent::IfZero, false, "an offered address is held for its client: see `offer_time`"),
    ("hostname-char-set", Silent::Never, true, "names of clients are kept as they are sent"),
    ("hostname-char-replacement", Silent::Never, true, "names of clients are kept as they are sent"),
    ("reservation-mode", Silent::Never, false, "reservations of a subnet always count, in its pools and out of them"),
    (
        "reservations-in-subnet",
        Silent::IfTrue,
        true,
        "reservations of a subnet always count: remove those that should not",
    ),
    (
        "reservations-out-of-pool",
        Silent::IfFalse,
        false,
        "reservations of a subnet always count, in its pools and out of them",
    ),
    // Read as a whole: see `global_in_force`.
    ("reservations-global", Silent::Flag, false, "expected true or false"),
    ("pool-id", Silent::IfZero, false, "pools are known by their range"),
    ("ddns-send-updates", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-override-no-update", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-override-client-update", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-replace-client-name", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-generated-prefix", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-qualifying-suffix", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-update-on-renew", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-use-conflict-resolution", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-conflict-resolution-mode", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-ttl", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-ttl-min", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-ttl-max", Silent::Never, true, "DNS updates are not sent"),
    ("ddns-ttl-percent", Silent::Never, true, "DNS updates are not sent"),
    ("metadata", Silent::Never, true, "the configuration is one file, not a shared database"),
];

const COMPATIBILITY: &[Setting] = &[
    ("lenient-option-parsing", Silent::Never, false, "a malformed option is passed over, the message is answered"),
    ("ignore-rai-link-selection", Silent::IfFalse, true, "link selection of relay agents (RFC 3527) is obeyed"),
    (
        "ignore-dhcp-server-identifier",
        Silent::IfFalse,
        true,
        "a request for another server (option 54) is not answered",
    ),
    ("exclude-first-last-24", Silent::IfFalse, true, "leave x.x.x.0 and x.x.x.255 out with `exclude` in the subnet"),
];

/// Hook libraries by the name of their file, without `libdhcp_` and `.so`; whether what they did is lost, and why.
const HOOKS: &[(&str, bool, &str)] = &[
    ("lease_cmds", false, "leases are listed and changed by the admin API and `outwork leases`"),
    ("host_cmds", false, "reservations are listed and changed by the admin API"),
    ("subnet_cmds", false, "subnets change by reloading the file"),
    ("class_cmds", false, "classes change by reloading the file"),
    ("stat_cmds", false, "pool and lease counts are metrics and part of the admin API"),
    ("lease_query", false, "RFC 4388 leasequery is built in"),
    ("perfmon", false, "latency percentiles are metrics"),
    ("ping_check", false, "addresses are probed before they are offered: see conflict detection"),
    ("host_cache", false, "reservations are in memory"),
    ("ha", true, "high availability is not there yet"),
    ("bootp", true, "clients without a DHCP message type are not in the file's settings"),
    ("flex_option", true, "options computed from the message: give the option a value in a class instead"),
    ("limits", true, "limits of a class or subnet are not carried over: see the flood protection of `dhcp`"),
    ("legal_log", true, "the forensic log: leases are in the events and logs instead"),
    ("forensic_log", true, "the forensic log: leases are in the events and logs instead"),
    ("radius", true, "RADIUS is not asked"),
    ("ddns_tuning", true, "DNS updates are not sent"),
    ("gss_tsig", true, "DNS updates are not sent"),
    ("run_script", true, "no scripts are run: follow the admin API's event stream"),
    ("user_chk", true, "no user registry is read: use reservations and classes"),
    ("rbac", false, "API tokens have roles"),
    ("cb_cmds", true, "the configuration is one file; changes come by reload or the API"),
    ("mysql_cb", true, "the configuration is one file; changes come by reload or the API"),
    ("pgsql_cb", true, "the configuration is one file; changes come by reload or the API"),
    ("mysql", true, "leases live in Outwork's own log: export them from the database and import them"),
    ("pgsql", true, "leases live in Outwork's own log: export them from the database and import them"),
];

/// Notes every key that nobody read: with its reason if it is a known one, as unknown otherwise.
pub(super) fn leftovers(object: &Object<'_>, settings: &[&[Setting]], notes: &mut Notes) {
    for (key, value) in object.unread() {
        let path = object.path_of(key);
        match settings.iter().copied().flatten().find(|(known, ..)| *known == key) {
            Some((_, silent, ..)) if silent.holds(value) => {}
            Some((_, _, true, reason)) => notes.lost(path, *reason),
            Some((_, _, false, reason)) => notes.changed(path, *reason),
            None => notes.lost(path, "the importer does not know this setting"),
        }
    }
}

/// `compatibility`: promises to broken clients.
pub(super) fn compatibility(dhcp4: &mut Object<'_>, notes: &mut Notes) {
    if let Some(object) = dhcp4.object("compatibility", notes) {
        leftovers(&object, &[COMPATIBILITY], notes);
    }
}

/// The most that `lease_cache` may be.
const MOST_CACHED: f64 = 0.5;

/// `cache-threshold`: the part of a lease in which a renewal is confirmed as it stands.
pub(super) fn lease_cache(dhcp4: &mut Object<'_>, notes: &mut Notes) -> Option<f64> {
    let path = dhcp4.path_of("cache-threshold");
    let threshold = dhcp4.fraction("cache-threshold", notes)?;
    if !(0.0..1.0).contains(&threshold) {
        notes.lost(path, format!("expected a part of a lease from 0 to 1, found {threshold}"));
        return None;
    }
    if dhcp4.peek("cache-max-age").and_then(Value::as_u64) == Some(0) {
        notes.changed(path, "`cache-max-age` of 0 lets no renewal go unwritten: `lease_cache` is 0");
        return Some(0.0);
    }
    if threshold > MOST_CACHED {
        notes.changed(path, format!("a renewal is written from half of the lease on: `lease_cache` is {MOST_CACHED}"));
    }
    Some(threshold.min(MOST_CACHED))
}

/// `lease-database`: where the leases are, and how they come along.
pub(super) fn lease_database(dhcp4: &mut Object<'_>, notes: &mut Notes) {
    let Some(mut object) = dhcp4.object("lease-database", notes) else { return };
    let path = object.path.clone();
    match object.text("type", notes) {
        Some("memfile") => {
            let file = object.filled("name", notes).unwrap_or("/var/lib/kea/kea-leases4.csv");
            let how = format!("stop Kea, then run `outwork leases import {file}`");
            notes.changed(&path, format!("Outwork keeps leases in its own log; to bring them along, {how}"));
        }
        other => notes.lost(
            &path,
            format!(
                "Outwork keeps leases in its own log, not in {}: dump them with `kea-admin lease-dump`, then run `outwork leases import`",
                other.unwrap_or("a database")
            ),
        ),
    }
}

/// `dhcp-ddns`: only worth a word if it was on.
pub(super) fn ddns(dhcp4: &mut Object<'_>, notes: &mut Notes) {
    if let Some(mut object) = dhcp4.object("dhcp-ddns", notes)
        && object.flag("enable-updates", notes) == Some(true)
    {
        notes.lost(&object.path, "DNS updates are not sent; the `ddns-` settings go with it");
    }
}

/// `hooks-libraries`; gives the expression of the flex_id library if there is one.
pub(super) fn hooks(dhcp4: &mut Object<'_>, notes: &mut Notes) -> Option<String> {
    let mut flex_identifier = None;
    for mut hook in dhcp4.objects("hooks-libraries", notes) {
        let library = hook.filled("library", notes).unwrap_or_default();
        let file = library.rsplit('/').next().unwrap_or(library);
        let name = file.strip_prefix("libdhcp_").unwrap_or(file).trim_end_matches(".so");
        if name == "flex_id" {
            flex_identifier = flex_id(&mut hook, notes).or(flex_identifier);
            continue;
        }
        match HOOKS.iter().find(|(known, ..)| *known == name) {
            Some((_, true, reason)) => notes.lost(&hook.path, format!("{file}: {reason}")),
            Some((_, false, reason)) => notes.changed(&hook.path, format!("{file}: {reason}")),
            None => notes.lost(&hook.path, format!("{file}: Outwork loads no libraries")),
        }
    }
    flex_identifier
}

fn flex_id(hook: &mut Object<'_>, notes: &mut Notes) -> Option<String> {
    let mut parameters = hook.object("parameters", notes)?;
    let expression = parameters.filled("identifier-expression", notes);
    for key in ["replace-client-id", "ignore-iaid"] {
        if parameters.flag(key, notes) == Some(true) {
            notes.lost(
                parameters.path_of(key),
                "the flex identifier finds reservations; it does not stand in for the client id",
            );
        }
    }
    for (key, value) in parameters.unread() {
        notes.lost(parameters.path_of(key), format!("the importer does not know this parameter ({})", describe(value)));
    }
    expression.map(str::to_owned)
}
