//! What has a scope: classes, shared networks, subnets, pools and reservations.
use super::options::{Book, Known, identifier, mac};
use super::settings::{SCOPE, leftovers};
use crate::expr::Test;
use crate::import::json::{Notes, Object};
use crate::import::toml::{Document, duration, inline, key, list, text};
use crate::options::{OptionTable, Value};
use crate::policy::Times;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Options that fit on a line of this length stay on it.
const WIDTH: usize = 100;

/// Keys and values of a table, in the order they are written.
pub(super) type Pairs = Vec<(&'static str, Value)>;

/// One table of the file.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) comments: Vec<String>,
    pub(super) pairs: Pairs,
    /// Those whose values are TOML already.
    pub(super) raw: Vec<(&'static str, String)>,
    /// Pools, each as TOML already: a key order of their own reads better.
    pub(super) pools: Vec<String>,
    pub(super) options: OptionTable,
    pub(super) reservations: Vec<Section>,
    /// Classes named here, and where.
    pub(super) classes: Vec<(String, String)>,
    /// Classes that it has tested.
    pub(super) required: Vec<String>,
    /// Where it stands in Kea's file.
    pub(super) path: String,
}

impl Section {
    pub(super) fn write(&self, document: &mut Document, header: &str, name: &str) {
        document.blank();
        self.comments.iter().for_each(|comment| document.comment(comment));
        document.table(header);
        self.pairs.iter().for_each(|(key, value)| document.pair(key, value));
        self.raw.iter().for_each(|(key, value)| document.raw_pair(key, value));
        if !self.pools.is_empty() {
            document.raw_pair("pools", &list(self.pools.iter().cloned()));
        }
        if !self.options.is_empty() {
            let line = inline(&Value::Table(self.options.clone()));
            if line.len() <= WIDTH {
                document.raw_pair("options", &line);
            } else {
                document.blank();
                document.table(&format!("[{name}.options]"));
                self.options.iter().for_each(|(key, value)| document.pair(key, value));
            }
        }
        for reservation in &self.reservations {
            let name = format!("{name}.reservation");
            reservation.write(document, &format!("[[{name}]]"), &name);
        }
    }
}

/// What one value of a class, a subnet or the whole server may be.
pub(super) fn common(object: &mut Object<'_>, notes: &mut Notes) -> Pairs {
    let mut pairs = lifetimes(object, notes);
    for (theirs, ours) in
        [("next-server", "next_server"), ("server-hostname", "server_hostname"), ("boot-file-name", "boot_file")]
    {
        if let Some(value) = object.filled(theirs, notes).filter(|value| *value != "0.0.0.0") {
            pairs.push((ours, value.into()));
        }
    }
    pairs
}

fn lifetimes(object: &mut Object<'_>, notes: &mut Notes) -> Pairs {
    let mut seconds = |key| object.number(key, notes);
    let (lease, min, max) = (seconds("valid-lifetime"), seconds("min-valid-lifetime"), seconds("max-valid-lifetime"));
    let (mut renew, mut rebind) = (seconds("renew-timer"), seconds("rebind-timer"));
    let calculated = object.flag("calculate-tee-times", notes) == Some(true);
    for (key, timer, usual) in [("t1-percent", &mut renew, 0.5), ("t2-percent", &mut rebind, 0.875)] {
        let Some(percent) =
            object.fraction(key, notes).filter(|percent| calculated && (percent - usual).abs() > 0.0001)
        else {
            continue;
        };
        match lease {
            Some(lease) if timer.is_none() => *timer = Some((lease as f64 * percent) as u64),
            Some(_) => {}
            None => notes
                .lost(object.path_of(key), "a share of an inherited lease time: set `renew_time` and `rebind_time`"),
        }
    }
    // Bounds alone say what the usual time is.
    let lease = lease.or(min).or(max);
    // Without bounds of its own, a lease time in Kea is the only one to be had.
    let (min, max) = (min.or(lease), max.or(lease));
    let keys = ["lease_time", "min_lease_time", "max_lease_time", "renew_time", "rebind_time"];
    let values = [lease, min, max, renew, rebind].map(|time| time.map(|time| duration(Duration::from_secs(time))));
    keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
}

fn texts(items: &[String]) -> Value {
    Value::List(items.iter().map(|item| item.as_str().into()).collect())
}

/// `client-class` and its kin: who may use a scope, and which classes it evaluates.
fn class_guards(object: &mut Object<'_>, section: &mut Section, notes: &mut Notes) -> (Vec<String>, Vec<String>) {
    let mut named = |keys: [&'static str; 2]| {
        keys.into_iter().flat_map(|key| object.texts(key, notes)).filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    let (allow, require) =
        (named(["client-class", "client-classes"]), named(["require-client-classes", "evaluate-additional-classes"]));
    let path = object.path.clone();
    section.required.extend(require.iter().cloned());
    section.classes.extend(allow.iter().chain(&require).map(|name| (name.clone(), path.clone())));
    (allow, require)
}

fn relays(object: &mut Object<'_>, notes: &mut Notes) -> Vec<String> {
    let Some(mut relay) = object.object("relay", notes) else { return Vec::new() };
    let mut addresses = relay.texts("ip-addresses", notes);
    addresses.extend(relay.filled("ip-address", notes).filter(|address| *address != "0.0.0.0").map(str::to_owned));
    leftovers(&relay, &[], notes);
    addresses
}

/// What is a setting of the whole server here, in a scope.
fn server_wide(object: &mut Object<'_>, server: &Server, notes: &mut Notes) {
    let reason = "it is a setting of the whole server, where the file has another value";
    let flags = [
        ("authoritative", server.authoritative),
        ("match-client-id", server.match_client_id),
        ("store-extended-info", server.store_relay.unwrap_or(true)),
    ];
    for (key, value) in flags {
        if object.flag(key, notes).is_some_and(|own| own != value) {
            notes.lost(object.path_of(key), reason);
        }
    }
    let own = object.fraction("cache-threshold", notes);
    if own.is_some_and(|own| own != server.lease_cache.unwrap_or_default()) {
        notes.lost(object.path_of("cache-threshold"), reason);
    }
}

/// What scopes need to know of the whole.
pub(super) struct Server {
    pub(super) book: Book,
    pub(super) authoritative: bool,
    pub(super) match_client_id: bool,
    /// `store-extended-info`, if the file says.
    pub(super) store_relay: Option<bool>,
    /// The part of a lease in which a renewal is not written, if the file says.
    pub(super) lease_cache: Option<f64>,
    /// There is an expression for flex identifiers.
    pub(super) flex: bool,
    /// The id that Kea gives the next subnet that has none.
    pub(super) next_id: u64,
    /// Ids given so far.
    pub(super) ids: BTreeSet<u64>,
    /// Ids that the file names anywhere.
    pub(super) taken: BTreeSet<u64>,
    /// The times that scopes inherit.
    pub(super) times: Times,
}

pub(super) fn class(mut object: Object<'_>, own: &[Known], server: &Server, notes: &mut Notes) -> Section {
    let mut section = Section { comments: object.comments(notes), path: object.path.clone(), ..Section::default() };
    section.pairs.push(("name", object.filled("name", notes).unwrap_or_default().into()));
    if let Some(test) = object.filled("test", notes) {
        match Test::parse(test, &server.book.definitions) {
            Ok(parsed) => {
                let path = object.path_of("test");
                section.classes.extend(parsed.classes().iter().map(|name| (name.to_string(), path.clone())));
                section.pairs.push(("test", test.into()));
            }
            Err(fault) => {
                notes.lost(object.path_of("test"), format!("{fault}; the class is kept, but no message falls into it"));
                section.comments.push(format!("test = {}", text(test)));
            }
        }
    }
    let deferred = ["only-if-required", "only-in-additional-list"];
    if deferred.into_iter().filter_map(|key| object.flag(key, notes)).any(|set| set) {
        section.pairs.push(("only_if_required", Value::Bool(true)));
    }
    if object.get("template-test").is_some() {
        notes.lost(object.path_of("template-test"), "a class for each value found: write one class for each value");
    }
    section.pairs.extend(common(&mut object, notes));
    section.agree(server.times, &object.path, notes);
    section.options = server.book.options(object.objects("option-data", notes), own, notes);
    object.get("option-def");
    leftovers(&object, &[SCOPE], notes);
    section
}

/// A shared network and, in it, what its subnets inherit because our networks do not hold it.
pub(super) fn network(object: &mut Object<'_>, server: &Server, notes: &mut Notes) -> (Section, Section) {
    let mut section = Section { comments: object.comments(notes), path: object.path.clone(), ..Section::default() };
    section.pairs.push(("name", object.filled("name", notes).unwrap_or_default().into()));
    placement(object, &mut section, notes);
    section.options = server.book.options(object.objects("option-data", notes), &[], notes);
    let mut inherited = Section::default();
    guards(object, &mut inherited, notes);
    inherited.pairs.extend(common(object, notes));
    server_wide(object, server, notes);
    object.get("subnet4");
    leftovers(object, &[SCOPE], notes);
    (section, inherited)
}

fn placement(object: &mut Object<'_>, section: &mut Section, notes: &mut Notes) {
    if let Some(interface) = object.filled("interface", notes) {
        section.pairs.push(("interface", interface.into()));
    }
    let relays = relays(object, notes);
    if !relays.is_empty() {
        section.pairs.push(("relay", texts(&relays)));
    }
}

fn guards(object: &mut Object<'_>, section: &mut Section, notes: &mut Notes) {
    let (allow, require) = class_guards(object, section, notes);
    for (key, classes) in [("allow_classes", allow), ("require_classes", require)] {
        if !classes.is_empty() {
            section.pairs.push((key, texts(&classes)));
        }
    }
}

pub(super) fn subnet(
    mut object: Object<'_>,
    network: Option<(&str, &Section)>,
    server: &mut Server,
    notes: &mut Notes,
) -> Section {
    let mut section = Section { comments: object.comments(notes), path: object.path.clone(), ..Section::default() };
    let id = subnet_id(&mut object, server, notes);
    section.pairs.push(("id", Value::Integer(i64::try_from(id).unwrap_or(i64::MAX))));
    section.pairs.push(("prefix", object.filled("subnet", notes).unwrap_or_default().into()));
    section.pairs.extend(network.map(|(name, _)| ("network", name.into())));
    placement(&mut object, &mut section, notes);
    guards(&mut object, &mut section, notes);
    section.pairs.extend(common(&mut object, notes));
    if let Some((_, inherited)) = network {
        inherit(&mut section, inherited, &object.path, notes);
    }
    let times = section.agree(server.times, &object.path, notes);
    server_wide(&mut object, server, notes);
    section.options = server.book.options(object.objects("option-data", notes), &[], notes);
    for item in object.objects("pools", notes) {
        section.pools.extend(pool(item, server, &mut section.classes, &mut section.required, notes));
    }
    for item in object.objects("reservations", notes) {
        section.reservations.extend(reservation(item, server, times, notes));
    }
    let reserved = section.reservations.iter_mut().flat_map(|reservation| std::mem::take(&mut reservation.classes));
    section.classes.extend(reserved.collect::<Vec<_>>());
    leftovers(&object, &[SCOPE], notes);
    section
}

/// The id that Kea gave, or one that is free where it gave two subnets the same.
fn subnet_id(object: &mut Object<'_>, server: &mut Server, notes: &mut Notes) -> u64 {
    let written = object.number("id", notes).filter(|id| *id != 0);
    let id = written.unwrap_or(server.next_id);
    if written.is_none() {
        server.next_id += 1;
    }
    if (1..=u64::from(u32::MAX)).contains(&id) && server.ids.insert(id) {
        if written.is_none() {
            notes.changed(object.path_of("id"), format!("Kea numbered this subnet by itself; {id} is what it chose"));
        }
        return id;
    }
    let mut free = server.next_id;
    while server.taken.contains(&free) || !server.ids.insert(free) {
        free += 1;
    }
    notes.changed(
        object.path_of("id"),
        format!(
            "{id} is no id that this subnet can have alone: it is {free} here, and its leases come by their address"
        ),
    );
    free
}

/// Gives a subnet what its shared network says and it does not.
fn inherit(subnet: &mut Section, network: &Section, path: &str, notes: &mut Notes) {
    subnet.classes.extend(network.classes.iter().cloned());
    subnet.required.extend(network.required.iter().cloned());
    for (key, value) in &network.pairs {
        let own = subnet.pairs.iter_mut().find(|(own, _)| own == key);
        match (own, *key) {
            (None, _) => subnet.pairs.push((key, value.clone())),
            (Some((_, Value::List(own))), "require_classes") => {
                if let Value::List(more) = value {
                    own.extend(more.iter().cloned());
                }
            }
            (Some((_, own)), "allow_classes") if own != value => {
                notes.lost(path, "the shared network asks for a class too, the file only for the subnet's");
            }
            _ => {}
        }
    }
}

/// `a - b` or a prefix, as `a-b`.
fn range(pool: &str) -> Option<String> {
    let (first, last) = match pool.split_once('/') {
        Some((network, width)) => {
            let network = u32::from(network.trim().parse::<Ipv4Addr>().ok()?);
            let width = width.trim().parse::<u32>().ok().filter(|width| *width <= 32)?;
            let hosts = u32::MAX.checked_shr(width).unwrap_or(0);
            (Ipv4Addr::from(network & !hosts), Ipv4Addr::from(network | hosts))
        }
        None => {
            let (first, last) = pool.split_once('-')?;
            (first.trim().parse().ok()?, last.trim().parse().ok()?)
        }
    };
    Some(format!("{first}-{last}"))
}

fn pool(
    mut object: Object<'_>,
    server: &Server,
    classes: &mut Vec<(String, String)>,
    required: &mut Vec<String>,
    notes: &mut Notes,
) -> Option<String> {
    let written = object.filled("pool", notes).unwrap_or_default();
    let mut section = Section::default();
    guards(&mut object, &mut section, notes);
    classes.append(&mut section.classes);
    required.append(&mut section.required);
    let options = server.book.options(object.objects("option-data", notes), &[], notes);
    object.comments(notes);
    leftovers(&object, &[SCOPE], notes);
    let Some(range) = range(written) else {
        notes.lost(object.path_of("pool"), format!("expected `first - last` or a prefix, found `{written}`"));
        return None;
    };
    let mut pairs = vec![format!("range = {}", text(&range))];
    pairs.extend(section.pairs.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))));
    if !options.is_empty() {
        pairs.push(format!("options = {}", inline(&Value::Table(options))));
    }
    Some(format!("{{ {} }}", pairs.join(", ")))
}

/// A reservation; `None` if nothing names its client.
fn reservation(mut object: Object<'_>, server: &Server, wider: Times, notes: &mut Notes) -> Option<Section> {
    let mut section = Section { comments: object.comments(notes), path: object.path.clone(), ..Section::default() };
    for (theirs, ours) in
        [("hw-address", "mac"), ("client-id", "client_id"), ("circuit-id", "circuit_id"), ("flex-id", "flex")]
    {
        let Some(written) = object.filled(theirs, notes) else { continue };
        let why = match if ours == "mac" { mac(written) } else { identifier(written) } {
            None => format!("expected hex digits or quoted text, found `{written}`"),
            Some(_) if ours == "flex" && !server.flex => {
                "the file has no expression for it (`identifier-expression` of the flex_id library)".to_owned()
            }
            Some(_) if !section.pairs.is_empty() => "a reservation has one identifier: the first counts".to_owned(),
            Some(value) => {
                section.pairs.push((ours, Value::Text(value)));
                continue;
            }
        };
        notes.lost(object.path_of(theirs), why);
    }
    if object.filled("duid", notes).is_some() {
        let instead = "clients are not found by DUID: reserve by client_id, or by flex with flex_identifier = \"substring(option[61].hex, 5, all)\"";
        notes.lost(object.path_of("duid"), instead);
    }
    for (theirs, ours) in [("ip-address", "address"), ("hostname", "hostname")] {
        if let Some(value) = object.filled(theirs, notes).filter(|value| *value != "0.0.0.0") {
            section.pairs.push((ours, value.into()));
        }
    }
    section.pairs.extend(common(&mut object, notes));
    section.agree(wider, &object.path, notes);
    let classes = object.texts("client-classes", notes);
    if !classes.is_empty() {
        section.pairs.push(("classes", texts(&classes)));
        let path = object.path.clone();
        section.classes.extend(classes.into_iter().map(|name| (name, path.clone())));
    }
    section.options = server.book.options(object.objects("option-data", notes), &[], notes);
    leftovers(&object, &[SCOPE], notes);
    let named = section.pairs.iter().any(|(key, _)| matches!(*key, "mac" | "client_id" | "circuit_id" | "flex"));
    if !named {
        notes.lost(&object.path, "nothing is left that says who its client is: the reservation is left out");
    }
    named.then_some(section)
}

/// Reservations outside of any subnet. Kea looks at them only where `reservations-global` says so.
pub(super) fn global_reservations(
    objects: Vec<Object<'_>>,
    in_force: bool,
    subnets: &[Section],
    server: &Server,
    notes: &mut Notes,
) -> Vec<Section> {
    let mut sections = Vec::new();
    for object in objects {
        let path = object.path.clone();
        let Some(mut section) = reservation(object, server, server.times, notes) else { continue };
        if !in_force {
            notes.lost(path, "Kea does not look at it without `reservations-global`: add it as `[[dhcp.reservation]]` if it should count");
            continue;
        }
        let address = section.pairs.iter().find(|(key, _)| *key == "address").map(|(_, value)| value.to_string());
        if let Some(address) = address
            && !address.parse().is_ok_and(|address| subnets.iter().any(|subnet| subnet.holds(address)))
        {
            notes.lost(format!("{path}.ip-address"), format!("no subnet has {address}"));
            section.pairs.retain(|(key, _)| *key != "address");
        }
        sections.push(section);
    }
    sections
}

/// Every subnet id that the file names.
pub(super) fn ids(value: &serde_json::Value) -> BTreeSet<u64> {
    let list = |value: &serde_json::Value, key: &str| value.get(key).and_then(|list| list.as_array()).cloned();
    let networks = list(value, "shared-networks").unwrap_or_default();
    let scopes = networks.iter().chain([value]);
    let subnets = scopes.flat_map(|scope| list(scope, "subnet4").unwrap_or_default());
    subnets.filter_map(|subnet| subnet.get("id")?.as_u64()).collect()
}

/// True if Kea looks at reservations outside of subnets for some client.
pub(super) fn global_in_force(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(map) => map.iter().any(|(key, value)| match key.as_str() {
            "reservations-global" => *value == serde_json::Value::Bool(true),
            "reservation-mode" => value.as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("global")),
            "shared-networks" | "subnet4" => global_in_force(value),
            _ => false,
        }),
        serde_json::Value::Array(items) => items.iter().any(global_in_force),
        _ => false,
    }
}

impl Section {
    /// True if this is a subnet.
    pub(super) fn prefixed(&self) -> bool {
        self.pairs.iter().any(|(key, _)| *key == "prefix")
    }

    /// True if this is a subnet with `address` in its prefix.
    fn holds(&self, address: Ipv4Addr) -> bool {
        let prefix = self.pairs.iter().find(|(key, _)| *key == "prefix").map(|(_, value)| value.to_string());
        let in_range = |prefix: String| {
            let range = range(&prefix)?;
            let (first, last) = range.split_once('-')?;
            Some((first.parse::<Ipv4Addr>().ok()?..=last.parse::<Ipv4Addr>().ok()?).contains(&address))
        };
        prefix.and_then(in_range).unwrap_or(false)
    }
}
