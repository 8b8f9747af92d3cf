//! Settings of Kea that have no counterpart in the file, each with the reason: what Outwork does instead, or that it is lost.
use crate::import::json::{Notes, Object, describe};
use serde_json::Value;

/// When a setting says nothing: its value means what Outwork does anyway.
#[derive(Clone, Copy)]
pub(super) enum Silent {
    Never,
    Always,
    IfTrue,
    IfFalse,
    IfZero,
}

impl Silent {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Never => matches!(value, Value::Array(items) if items.is_empty()),
            Self::Always => true,
            Self::IfTrue => *value == Value::Bool(true),
            Self::IfFalse => *value == Value::Bool(false),
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
    ("multi-threading", Silent::Never, false, "every core serves by default"),
    ("control-socket", Silent::Never, false, "the admin API and the command line do this"),
    ("control-sockets", Silent::Never, false, "the admin API and the command line do this"),
    (
        "loggers",
        Silent::Never,
        false,
        "logs go to standard output as text or JSON, their level is a setting of each service",
    ),
    ("dhcp-queue-control", Silent::Never, false, "every worker has a bounded queue"),
    ("parked-packet-limit", Silent::Always, false, ""),
    ("dhcp4o6-port", Silent::IfZero, true, "DHCPv4 over DHCPv6 is not served"),
    ("sanity-checks", Silent::Always, false, ""),
    ("statistic-default-sample-count", Silent::Always, false, ""),
    ("statistic-default-sample-age", Silent::Always, false, ""),
    ("reservations-lookup-first", Silent::Always, false, ""),
    ("early-global-reservations-lookup", Silent::IfFalse, true, "classes of a reservation do not choose the subnet"),
    ("ip-reservations-unique", Silent::IfTrue, true, "an address can be reserved for one client only"),
    ("allow-address-registration", Silent::Always, false, ""),
    ("hostname-char-replacement", Silent::Always, false, ""),
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
    ("cache-threshold", Silent::IfZero, false, "every renewal is committed, which is cheap here: see `lease_cache`"),
    ("cache-max-age", Silent::IfZero, false, "every renewal is committed, which is cheap here: see `lease_cache`"),
    ("store-extended-info", Silent::IfTrue, false, "relay information is kept with the lease: see `store_relay`"),
    ("offer-lifetime", Silent::IfZero, false, "an offered address is held for its client: see `offer_time`"),
    ("offer-lft", Silent::IfZero, false, "an offered address is held for its client: see `offer_time`"),
    ("hostname-char-set", Silent::Never, true, "names of clients are kept as they are sent"),
    ("hostname-char-replacement", Silent::Always, false, ""),
    ("reservation-mode", Silent::Never, false, "reservations of a subnet always count, in its pools and out of them"),
    (
        "reservations-in-subnet",
        Silent::IfTrue,
        true,
        "reservations of a subnet always count: remove those that should not",
    ),
    ("reservations-out-of-pool", Silent::Always, false, ""),
    ("reservations-global", Silent::Always, false, ""),
    ("ddns-send-updates", Silent::Always, false, ""),
    ("ddns-override-no-update", Silent::Always, false, ""),
    ("ddns-override-client-update", Silent::Always, false, ""),
    ("ddns-replace-client-name", Silent::Always, false, ""),
    ("ddns-generated-prefix", Silent::Always, false, ""),
    ("ddns-qualifying-suffix", Silent::Always, false, ""),
    ("ddns-update-on-renew", Silent::Always, false, ""),
    ("ddns-use-conflict-resolution", Silent::Always, false, ""),
    ("ddns-conflict-resolution-mode", Silent::Always, false, ""),
    ("ddns-ttl", Silent::Always, false, ""),
    ("ddns-ttl-min", Silent::Always, false, ""),
    ("ddns-ttl-max", Silent::Always, false, ""),
    ("ddns-ttl-percent", Silent::Always, false, ""),
    ("metadata", Silent::Always, false, ""),
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
            Some((_, _, false, reason)) => notes.replaced(path, *reason),
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

/// `lease-database`: where the leases are, and how they come along.
pub(super) fn lease_database(dhcp4: &mut Object<'_>, notes: &mut Notes) {
    let Some(mut object) = dhcp4.object("lease-database", notes) else { return };
    let path = object.path.clone();
    match object.text("type", notes) {
        Some("memfile") => {
            let file = object.filled("name", notes).unwrap_or("/var/lib/kea/kea-leases4.csv");
            let how = format!("stop Kea, then run `outwork leases import {file}`");
            notes.replaced(&path, format!("Outwork keeps leases in its own log; to bring them along, {how}"));
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
            Some((_, false, reason)) => notes.replaced(&hook.path, format!("{file}: {reason}")),
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
