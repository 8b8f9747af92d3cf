//! The file's sections to a [`Policy`], all faults at once.

use super::{
    Admission, Boot, Breach, Class, ClassSet, Detection, Identifier, IdentifierKind, MAX_CLASSES, Network, Policy,
    Pool, Reservation, Reservations, Rules, Scope, Subnet, Times, host_name,
};
use crate::config::{self, Conflicts, Dhcp, InterfaceRule};
use crate::expr;
use crate::options::{Definitions, OptionSet, OptionSpec, OptionTable};
use outwork_config::{At, Fault, Ipv4Net};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const ANY_SUBNET_HELP: &str = "leases name their subnet by its id, so each needs its own, for good";

/// Faults by path below `[dhcp]`.
type Found = Vec<(String, Fault)>;

/// The times that a section says.
macro_rules! times {
    ($section:ident) => {
        Times {
            lease: $section.lease_time.map(seconds),
            min: $section.min_lease_time.map(seconds),
            max: $section.max_lease_time.map(seconds),
            renew: $section.renew_time.map(seconds),
            rebind: $section.rebind_time.map(seconds),
            offer: None,
        }
    };
}

/// Reports what is wrong with `[dhcp]` beyond the form of its values.
pub fn check(dhcp: &Dhcp, at: &mut At<'_>) {
    let mut compiler = Compiler::new(dhcp, 0);
    compiler.policy();
    let left_out: Vec<_> = at.left_out().map(str::to_owned).collect();
    for (path, fault) in compiler.faults {
        if !left_out.iter().any(|key| may_come_of(&path, key)) {
            at.fault(&path, fault);
        }
    }
}

/// Whether the fault at a path may be there only because a key could not be read: what it names may be defined in that, or
/// what it is held against inherited from it.
fn may_come_of(path: &str, left_out: &str) -> bool {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let is_time = |path: &str| last(path).ends_with("_time");
    let names_class = ["allow_classes[", "require_classes[", "classes[", "test", "only_if_required"];
    let names_option = path.contains("options") || ["test", "flex_identifier", "flex"].contains(&&*last(path));
    let of_subnet = left_out.starts_with("subnet[");
    is_time(path) && is_time(left_out)
        || left_out.starts_with("class[") && names_class.iter().any(|name| last(path).starts_with(name))
        || left_out.starts_with("network[") && (last(path) == "network" || is_time(path))
        || left_out.starts_with("option_definition[") && names_option
        || left_out == "flex_identifier" && last(path) == "flex"
        || left_out.starts_with("interfaces") && path.starts_with("interfaces")
        || of_subnet && last(path) == "only_if_required"
        || of_subnet && path.starts_with("reservation[") && last(path) == "address"
}

/// What should be looked at, by path below `[dhcp]`: the configuration can be used, but hardly does what was meant.
pub fn warnings(dhcp: &Dhcp) -> Vec<(String, Fault)> {
    let mut warnings = Vec::new();
    if !dhcp.is_enabled() {
        return warnings;
    }
    if dhcp.subnet.is_empty() {
        let warning = Fault::new("there is no subnet, so no client gets an address")
            .help("add a [[dhcp.subnet]] with an id, a prefix and pools, or set dhcp.enabled = false");
        warnings.push(("subnet".to_owned(), warning));
    }
    let relays = dhcp.network.iter().flat_map(|network| &network.relay);
    let mut relays = relays.chain(dhcp.subnet.iter().flat_map(|subnet| &subnet.relay));
    if dhcp.interfaces.is_empty() && dhcp.listen.is_empty() {
        let warning = Fault::new("neither listen nor interfaces names anything, so no client is heard")
            .help("name the interfaces whose clients are served, such as interfaces = [\"eth0\"]");
        warnings.push(("interfaces".to_owned(), warning));
    } else if dhcp.interfaces.is_empty()
        && dhcp.listen.iter().all(|listen| listen.ip().is_loopback())
        && !relays.any(Ipv4Addr::is_loopback)
    {
        let warning = Fault::new("only this machine is listened to, so no client of a network is heard").help(
            "name the interfaces whose clients are served, such as interfaces = [\"eth0\"], or an address that relay \
             agents reach, such as listen = [\"0.0.0.0:67\"]",
        );
        warnings.push(("listen".to_owned(), warning));
    }
    warnings.extend(class_times(dhcp));
    warnings
}

/// Times of a class that contradict those of a subnet where its members may be: there they are bent to fit.
fn class_times(dhcp: &Dhcp) -> Vec<(String, Fault)> {
    let timed = |times: &Times| *times != Times::default();
    let classes: Vec<_> =
        dhcp.class.iter().map(|class| times!(class)).enumerate().filter(|(_, times)| timed(times)).collect();
    if classes.is_empty() {
        return Vec::new();
    }
    let Ok(policy) = Policy::compile(dhcp, 0) else { return Vec::new() };
    let mut found: BTreeMap<(usize, &'static str), (Breach, String, usize)> = BTreeMap::new();
    for subnet in &policy.subnets {
        let wider = policy.times_in(Some(subnet));
        for (index, times) in &classes {
            for breach in times.breaches(wider) {
                let entry = found.entry((*index, breach.key));
                entry.and_modify(|(_, _, more)| *more += 1).or_insert((breach, subnet.prefix(), 0));
            }
        }
    }
    let warning = |((index, key), (breach, prefix, more)): ((usize, &str), (Breach, String, usize))| {
        let others = if more == 0 { String::new() } else { format!(" and {more} more subnets") };
        let warning = Fault::new(format!("in {prefix}{others}: {}", breach.found))
            .expected(breach.expected)
            .help("set the other time in the class too, or keep its members out with allow_classes");
        (format!("class[{index}].{key}"), warning)
    };
    found.into_iter().map(warning).collect()
}

impl Policy {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// Every fault, with its path below `[dhcp]`. A configuration that was loaded has been checked and has none.
    pub fn compile(dhcp: &Dhcp, generation: u64) -> Result<Self, Vec<(String, Fault)>> {
        let mut compiler = Compiler::new(dhcp, generation);
        let policy = compiler.policy();
        if compiler.faults.is_empty() { Ok(policy) } else { Err(compiler.faults) }
    }
}

/// The options that the file's definitions add to the standard ones.
pub fn definitions(dhcp: &Dhcp) -> Result<Definitions, Vec<crate::options::OptionError>> {
    let specs: Vec<OptionSpec> = dhcp
        .option_definition
        .iter()
        .map(|own| OptionSpec {
            name: own.name.clone(),
            code: own.code,
            kind: own.r#type.clone(),
            space: own.space.clone(),
            encapsulate: own.encapsulate.clone(),
            array: own.array,
            record: own.record.clone(),
        })
        .collect();
    Definitions::new(&specs)
}

/// Classes that exist without being defined: Kea's, and a `VENDOR_CLASS_` class for each vendor that is named somewhere.
/// `DROP` and `SKIP_DDNS` may be defined in the file instead.
fn built_in(dhcp: &Dhcp) -> Vec<String> {
    let mut names: Vec<String> = ["ALL", "KNOWN", "UNKNOWN", "BOOTP"].map(str::to_owned).to_vec();
    let defined = |name: &str| dhcp.class.iter().any(|class| class.name == name);
    names.extend(["DROP", "SKIP_DDNS"].into_iter().filter(|name| !defined(name)).map(str::to_owned));
    let of_networks = dhcp.network.iter().flat_map(|network| &network.allow_classes);
    let of_subnets = dhcp.subnet.iter().flat_map(|subnet| {
        let pools = subnet.pools.iter().flat_map(|pool| pool.allow_classes.iter().chain(&pool.require_classes));
        let reservations = subnet.reservation.iter().flat_map(|reservation| &reservation.classes);
        subnet.allow_classes.iter().chain(&subnet.require_classes).chain(pools).chain(reservations)
    });
    let anywhere = dhcp.reservation.iter().flat_map(|reservation| &reservation.classes);
    for name in of_networks.chain(of_subnets).chain(anywhere) {
        let vendor = name.strip_prefix(Policy::VENDOR_CLASS).is_some_and(|vendor| !vendor.is_empty());
        if vendor && !defined(name) && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

struct Compiler<'c> {
    dhcp: &'c Dhcp,
    definitions: Definitions,
    names: Vec<String>,
    faults: Found,
    generation: u64,
}

impl<'c> Compiler<'c> {
    fn new(dhcp: &'c Dhcp, generation: u64) -> Self {
        let mut faults = Vec::new();
        let definitions = definitions(dhcp).unwrap_or_else(|errors| {
            for error in errors {
                let index = dhcp.option_definition.iter().position(|own| own.name == error.option()).unwrap_or(0);
                faults.push((format!("option_definition[{index}]"), Fault::new(error.to_string())));
            }
            Definitions::default()
        });
        let mut names = built_in(dhcp);
        let own = MAX_CLASSES.saturating_sub(names.len());
        for (index, class) in dhcp.class.iter().enumerate() {
            let fault = |what: &str| Fault::new(format!("class {:?} {what}", class.name));
            if names.contains(&class.name) {
                let fault = fault("is defined already")
                    .expected("a name that no other class has, built-in ones included")
                    .help("give each class a name of its own");
                faults.push((format!("class[{index}].name"), fault));
            }
            names.push(class.name.clone());
        }
        if names.len() > MAX_CLASSES {
            let fault = Fault::new(format!("{} classes", dhcp.class.len()))
                .expected(format!("at most {own} classes"))
                .help("merge classes whose members get the same");
            faults.push(("class".to_owned(), fault));
        }
        Self { dhcp, definitions, names, faults, generation }
    }

    fn fault(&mut self, path: impl Into<String>, fault: Fault) {
        self.faults.push((path.into(), fault));
    }

    fn policy(&mut self) -> Policy {
        let dhcp = self.dhcp;
        for (index, fault) in InterfaceRule::faults(&dhcp.interfaces) {
            self.fault(format!("interfaces[{index}]"), fault);
        }
        let times = Times {
            lease: Some(seconds(dhcp.lease_time)),
            min: dhcp.min_lease_time.map(seconds),
            max: dhcp.max_lease_time.map(seconds),
            renew: dhcp.renew_time.map(seconds),
            rebind: dhcp.rebind_time.map(seconds),
            offer: Some(seconds(dhcp.offer_time)),
        };
        let boot = boot(dhcp.next_server, &dhcp.server_hostname, &dhcp.boot_file);
        let scope = self.scope("", &dhcp.options, times, Times::default(), boot);
        let flex = dhcp.flex_identifier.as_deref().and_then(|text| {
            let parsed = expr::Identifier::parse(text, &self.definitions);
            self.parsed("flex_identifier", text, parsed)
        });
        let classes = self.classes(times);
        self.untested();
        let mut networks = self.networks(times);
        let mut subnets = self.subnets(&mut networks, times);
        self.places();
        self.overlaps();
        let reservations = self.reservations(times, &networks, &subnets);
        let order: Vec<usize> = {
            let mut order: Vec<usize> = (0..subnets.len()).collect();
            order.sort_by_key(|index| subnets.get(*index).map(|subnet| subnet.first));
            order
        };
        for network in &mut networks {
            for subnet in &mut network.subnets {
                *subnet = order.iter().position(|old| old == subnet).unwrap_or(0);
            }
        }
        subnets.sort_by_key(|subnet| subnet.first);
        let drop = classes.iter().position(|class| class.name == "DROP").unwrap_or(usize::MAX);
        let of_networks = networks.iter().filter_map(|network| Some((&network.relays, *network.subnets.first()?)));
        // A subnet's own relay agents come before those of its network.
        let of_subnets = subnets.iter().enumerate().map(|(index, subnet)| (&subnet.relays, index));
        let relays =
            of_networks.chain(of_subnets).flat_map(|(relays, index)| relays.iter().map(move |relay| (*relay, index)));
        Policy {
            relays: relays.collect(),
            rules: self.rules(),
            scope,
            drop,
            classes,
            networks,
            subnets,
            reservations,
            definitions: self.definitions.clone(),
            flex,
            generation: self.generation,
        }
    }

    fn rules(&self) -> Rules {
        let dhcp = self.dhcp;
        Rules {
            authoritative: dhcp.authoritative,
            match_client_id: dhcp.match_client_id,
            echo_client_id: dhcp.echo_client_id,
            store_relay: dhcp.store_relay,
            link_relay_info: dhcp.link_relay_info,
            rapid_commit: dhcp.rapid_commit,
            decline_time: seconds(dhcp.decline_time),
            detection: match dhcp.conflict_detection {
                Conflicts::Off => Detection::Off,
                Conflicts::Arp => Detection::Arp,
                Conflicts::Ping => Detection::Ping,
            },
            probe_cache: seconds(dhcp.probe_cache),
            probe_attempts: dhcp.probe_attempts,
            cache_threshold: dhcp.lease_cache as f32,
            max_offers: dhcp.max_offers as usize,
            client_rate: dhcp.client_rate,
            client_burst: dhcp.client_burst,
            offer_share: dhcp.offer_share,
            short_offer_time: seconds(dhcp.short_offer_time),
            circuit_rate: dhcp.circuit_rate,
            circuit_burst: dhcp.circuit_burst,
            decline_limit: dhcp.decline_limit,
            decline_share: dhcp.decline_share,
            keep_ended: seconds(dhcp.keep_ended),
            leasequery: dhcp.leasequery.iter().map(|net: &Ipv4Net| (net.first(), net.last())).collect(),
            warn_at: dhcp.warn_utilisation as f32,
            identifiers: dhcp.identifiers.clone(),
        }
    }

    fn parsed<T>(&mut self, path: &str, text: &str, parsed: Result<T, expr::ExprError>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                let fault = Fault::new(error.to_string()).within(error.offset, error.length(text));
                self.fault(path, fault);
                None
            }
        }
    }

    fn options(&mut self, path: &str, table: &OptionTable) -> OptionSet {
        match self.definitions.compile(table.iter().map(|(key, value)| (key.as_str(), value))) {
            Ok(set) => set,
            Err(errors) => {
                for error in errors {
                    let key = table.keys().find(|key| key.as_str() == error.option());
                    let path = key.map_or(path.to_owned(), |key| format!("{path}.{key:?}"));
                    self.fault(path, Fault::new(error.to_string()));
                }
                OptionSet::default()
            }
        }
    }

    /// A scope's times and boot fields are such as can be, on their own and with what they inherit.
    fn scope(&mut self, path: &str, options: &OptionTable, times: Times, wider: Times, boot: Boot) -> Scope {
        let key = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for breach in times.breaches(wider).into_iter().chain(boot.breaches()) {
            self.breach(key(breach.key), breach);
        }
        Scope { options: self.options(&key("options"), options), times, boot }
    }

    fn breach(&mut self, path: String, breach: Breach) {
        let fault = Fault::new(breach.found).expected(breach.expected);
        self.fault(path, breach.help.map_or(fault.clone(), |help| fault.help(help)));
    }

    fn class_set(&mut self, path: &str, names: &[String]) -> ClassSet {
        let mut set = ClassSet::default();
        for (index, name) in names.iter().enumerate() {
            match self.names.iter().position(|known| known == name) {
                Some(class) => set.insert(class),
                None => {
                    let fault = Fault::new(format!("there is no class {name:?}"))
                        .expected(some_of(name, self.names.iter().map(String::as_str)))
                        .help("define it with [[dhcp.class]]");
                    self.fault(format!("{path}[{index}]"), fault);
                }
            }
        }
        set
    }

    fn classes(&mut self, wider: Times) -> Vec<Class> {
        let mut classes: Vec<Class> = Vec::with_capacity(self.names.len());
        for (index, name) in self.names.iter().take(self.names.len() - self.dhcp.class.len()).enumerate() {
            let test = name.strip_prefix(Policy::VENDOR_CLASS).and_then(|vendor| {
                let hex: String = vendor.bytes().map(|octet| format!("{octet:02x}")).collect();
                expr::Test::parse(&format!("option[60].hex == 0x{hex}"), &self.definitions).ok()
            });
            let late = index <= Policy::UNKNOWN;
            classes.push(Class { name: name.clone(), test, only_if_required: false, late, scope: Scope::default() });
        }
        for (index, class) in self.dhcp.class.iter().enumerate() {
            let path = format!("class[{index}]");
            let test = class.test.as_deref().and_then(|text| {
                let parsed = expr::Test::parse(text, &self.definitions);
                self.parsed(&format!("{path}.test"), text, parsed)
            });
            let mut late = false;
            for asked in test.iter().flat_map(expr::Test::classes).map(AsRef::as_ref) {
                let earlier = classes.iter().find(|class| class.name == asked);
                late |= earlier.is_some_and(|class| class.late && asked != "ALL");
                if earlier.is_none() && !asked.starts_with(Policy::VENDOR_CLASS) {
                    let at = class.test.as_deref().and_then(|text| text.find(asked)).unwrap_or(0);
                    let fault = Fault::new(format!("asks for class {asked:?}, which is not defined before it"))
                        .within(at, asked.len())
                        .expected("a built-in class, or one that is defined further up")
                        .help("classes are tested in the file's order: define that one first");
                    self.fault(format!("{path}.test"), fault);
                }
            }
            let times = times!(class);
            let scope = {
                let boot = boot(class.next_server, &class.server_hostname, &class.boot_file);
                self.scope(&path, &class.options, times, wider, boot)
            };
            let only_if_required = class.only_if_required;
            classes.push(Class { name: class.name.clone(), test, only_if_required, late, scope });
        }
        classes
    }

    fn networks(&mut self, wider: Times) -> Vec<Network> {
        let mut networks: Vec<Network> = Vec::new();
        for (index, network) in self.dhcp.network.iter().enumerate() {
            let path = format!("network[{index}]");
            if networks.iter().any(|other| other.name.as_ref() == Some(&network.name)) {
                self.fault(
                    format!("{path}.name"),
                    Fault::new(format!("network {:?} is defined already", network.name))
                        .expected("a name that no other network has")
                        .help("subnets name their network, so each needs a name of its own"),
                );
            }
            let times = times!(network);
            networks.push(Network {
                name: Some(network.name.clone()),
                interface: network.interface.clone(),
                relays: network.relay.clone(),
                admission: Admission(self.class_set(&format!("{path}.allow_classes"), &network.allow_classes)),
                subnets: Vec::new(),
                scope: {
                    let boot = boot(network.next_server, &network.server_hostname, &network.boot_file);
                    self.scope(&path, &network.options, times, wider, boot)
                },
            });
        }
        networks
    }

    fn subnets(&mut self, networks: &mut Vec<Network>, global: Times) -> Vec<Subnet> {
        let mut subnets: Vec<Subnet> = Vec::new();
        for (index, subnet) in self.dhcp.subnet.iter().enumerate() {
            let path = format!("subnet[{index}]");
            if subnets.iter().any(|other| other.id == subnet.id) {
                let fault = Fault::new(format!("subnet {} is defined already", subnet.id))
                    .expected("an id that no other subnet has")
                    .help(ANY_SUBNET_HELP);
                self.fault(format!("{path}.id"), fault);
            }
            let network = match &subnet.network {
                None => {
                    networks.push(Network::default());
                    networks.len() - 1
                }
                Some(name) => {
                    networks.iter().position(|network| network.name.as_ref() == Some(name)).unwrap_or_else(|| {
                        let known = networks.iter().filter_map(|network| network.name.as_deref());
                        let fault = Fault::new(format!("there is no network {name:?}"))
                            .expected(some_of(name, known))
                            .help("define it with [[dhcp.network]], with this very name");
                        self.faults.push((format!("{path}.network"), fault));
                        networks.push(Network::default());
                        networks.len() - 1
                    })
                }
            };
            if let Some(network) = networks.get_mut(network) {
                network.subnets.push(index);
            }
            let times = Times { offer: subnet.offer_time.map(seconds), ..times!(subnet) };
            let of_network = networks.get(network).map(|network| network.scope.times).unwrap_or_default();
            let wider = of_network.within(global);
            let scope = {
                let boot = boot(subnet.next_server, &subnet.server_hostname, &subnet.boot_file);
                self.scope(&path, &subnet.options, times, wider, boot)
            };
            subnets.push(Subnet {
                id: subnet.id,
                name: subnet.name.clone(),
                first: subnet.prefix.first(),
                last: subnet.prefix.last(),
                length: subnet.prefix.length(),
                network,
                interface: subnet.interface.clone(),
                relays: subnet.relay.clone(),
                admission: Admission(self.class_set(&format!("{path}.allow_classes"), &subnet.allow_classes)),
                min_secs: subnet.min_secs,
                required: self.class_set(&format!("{path}.require_classes"), &subnet.require_classes),
                pools: self.pools(&path, subnet),
                excluded: self.excluded(&path, subnet),
                scope,
            });
        }
        subnets
    }

    fn inside(&mut self, path: String, subnet: &config::Subnet, range: config::Range) {
        if !subnet.prefix.contains(range.first) || !subnet.prefix.contains(range.last) {
            let fault = Fault::new(format!("{range} is not in {}", subnet.prefix))
                .expected("addresses of the subnet's prefix")
                .help(format!(
                    "correct one of them: the prefix goes from {} to {}",
                    subnet.prefix.first(),
                    subnet.prefix.last()
                ));
            self.fault(path, fault);
        }
    }

    fn pools(&mut self, path: &str, subnet: &config::Subnet) -> Vec<Pool> {
        let mut pools: Vec<Pool> = Vec::new();
        for (index, pool) in subnet.pools.iter().enumerate() {
            let path = format!("{path}.pools[{index}]");
            let range = pool.range;
            self.inside(format!("{path}.range"), subnet, range);
            if let Some(other) = pools.iter().find(|other| other.first <= range.last && range.first <= other.last) {
                let fault = Fault::new(format!("{range} overlaps the pool {}-{}", other.first, other.last))
                    .expected("pools that share no address")
                    .help("end one where the other begins, or make one pool of both");
                self.fault(format!("{path}.range"), fault);
            }
            pools.push(Pool {
                first: range.first,
                last: range.last,
                admission: Admission(self.class_set(&format!("{path}.allow_classes"), &pool.allow_classes)),
                required: self.class_set(&format!("{path}.require_classes"), &pool.require_classes),
                scope: Scope { options: self.options(&format!("{path}.options"), &pool.options), ..Scope::default() },
            });
        }
        pools
    }

    fn excluded(&mut self, path: &str, subnet: &config::Subnet) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        for (index, range) in subnet.exclude.iter().enumerate() {
            self.inside(format!("{path}.exclude[{index}]"), subnet, *range);
        }
        let mut ranges: Vec<_> = subnet.exclude.iter().map(|range| (range.first, range.last)).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let overlaps = next.0 <= range.1;
            if overlaps {
                range.1 = range.1.max(next.1);
            }
            overlaps
        });
        ranges
    }

    /// An interface and a relay agent lead to one network: a second that claims them would never be served.
    fn places(&mut self) {
        let dhcp = self.dhcp;
        let networks = dhcp.network.iter().enumerate().map(|(index, network)| {
            let label = format!("network {:?}", network.name);
            (format!("network[{index}]"), label, Some(&network.name), &network.interface, &network.relay)
        });
        let subnets = dhcp.subnet.iter().enumerate().map(|(index, subnet)| {
            let label = format!("subnet {} ({})", subnet.id, subnet.prefix);
            (format!("subnet[{index}]"), label, subnet.network.as_ref(), &subnet.interface, &subnet.relay)
        });
        let mut claims: BTreeMap<String, (usize, Option<&String>, String)> = BTreeMap::new();
        for (at, (path, label, network, interface, relays)) in networks.chain(subnets).enumerate() {
            let interface = interface.iter().map(|name| (format!("{path}.interface"), format!("interface {name}")));
            let relay = |(index, address)| (format!("{path}.relay[{index}]"), format!("relay agent {address}"));
            for (path, place) in interface.chain(relays.iter().enumerate().map(relay)) {
                match claims.get(&place) {
                    None => drop(claims.insert(place, (at, network, label.clone()))),
                    Some((first, of, _)) if *first == at || (of.is_some() && *of == network) => {}
                    Some((_, _, other)) => {
                        let fault = Fault::new(format!("{place} is that of {other} already: {label} is never served"))
                            .expected("an interface or relay agent that leads to one network")
                            .help("join them with [[dhcp.network]]");
                        self.faults.push((path, fault));
                    }
                }
            }
        }
    }

    /// A test that waits to be required is required somewhere.
    fn untested(&mut self) {
        let dhcp = self.dhcp;
        let of_pools = |subnet: &'c config::Subnet| subnet.pools.iter().flat_map(|pool| &pool.require_classes);
        let required: Vec<&String> =
            dhcp.subnet.iter().flat_map(|subnet| subnet.require_classes.iter().chain(of_pools(subnet))).collect();
        for (index, class) in dhcp.class.iter().enumerate() {
            if class.only_if_required && class.test.is_some() && !required.contains(&&class.name) {
                let fault =
                    Fault::new(format!("class {:?} is never tested: no subnet or pool requires it", class.name))
                        .expected("a class that some require_classes names")
                        .help(
                            "name it in require_classes of a subnet or pool, or take only_if_required or the test out",
                        );
                self.fault(format!("class[{index}].only_if_required"), fault);
            }
        }
    }

    fn overlaps(&mut self) {
        let dhcp = self.dhcp;
        let mut order: Vec<(usize, Ipv4Net)> = dhcp.subnet.iter().map(|subnet| subnet.prefix).enumerate().collect();
        order.sort_by_key(|(_, prefix)| prefix.first());
        // The prefix that reaches furthest so far: it may span several others.
        let mut widest: Option<(usize, Ipv4Net)> = None;
        for (index, prefix) in order {
            match widest {
                Some((at, other)) if other.overlaps(prefix) => {
                    let name = |index: usize| dhcp.subnet.get(index).map_or(0, |subnet| subnet.id);
                    let fault = Fault::new(format!("{prefix} overlaps {other}, the prefix of subnet {}", name(at)))
                        .expected("prefixes that share no address")
                        .help("correct one of them, or make one subnet of both, with several pools");
                    self.fault(format!("subnet[{index}].prefix"), fault);
                }
                _ => widest = Some((index, prefix)),
            }
        }
    }

    fn reservations(&mut self, global: Times, networks: &[Network], subnets: &[Subnet]) -> Vec<Arc<Reservation>> {
        let mut all = Reservations::default();
        let mut list = Vec::new();
        let dhcp = self.dhcp;
        let of_subnets = dhcp.subnet.iter().enumerate().flat_map(|(at, subnet)| {
            let path = move |index| format!("subnet[{at}].reservation[{index}]");
            subnet.reservation.iter().enumerate().map(move |(index, one)| (path(index), Some(subnet), one))
        });
        let anywhere = dhcp.reservation.iter().enumerate();
        let anywhere = anywhere.map(|(index, one)| (format!("reservation[{index}]"), None, one));
        for (path, subnet, reservation) in of_subnets.chain(anywhere) {
            let id = Reservation::FROM_FILE | list.len() as u64;
            let wider =
                subnet.and_then(|subnet| subnets.iter().find(|one| one.id == subnet.id)).map_or(global, |subnet| {
                    let network = networks.get(subnet.network).map(|network| network.scope.times).unwrap_or_default();
                    subnet.scope.times.within(network.within(global))
                });
            let Some(compiled) = self.reservation(&path, subnet, reservation, id, wider) else { continue };
            let compiled = Arc::new(compiled);
            match all.insert(Arc::clone(&compiled)) {
                Ok(()) => list.push(compiled),
                Err(clash) => {
                    let fault = Fault::new(clash.to_string())
                        .expected("one reservation a client in each subnet, and one an address")
                        .help("take one of the two out, or merge them");
                    self.fault(path, fault);
                }
            }
        }
        list
    }

    /// One reservation, of a subnet or outside of them.
    fn reservation(
        &mut self,
        path: &str,
        subnet: Option<&config::Subnet>,
        reservation: &config::Reservation,
        id: u64,
        wider: Times,
    ) -> Option<Reservation> {
        let identifier = self.identifier(path, reservation)?;
        if let Some(address) = reservation.address {
            self.reserved(path, subnet, address);
        }
        if let Some(Err(breach)) = reservation.hostname.as_deref().map(host_name) {
            self.breach(format!("{path}.hostname"), breach);
        }
        let times = times!(reservation);
        Some(Reservation {
            id,
            subnet: subnet.map(|subnet| subnet.id),
            identifier,
            address: reservation.address,
            hostname: reservation.hostname.clone(),
            classes: self.class_set(&format!("{path}.classes"), &reservation.classes),
            scope: {
                let boot = boot(reservation.next_server, &reservation.server_hostname, &reservation.boot_file);
                self.scope(path, &reservation.options, times, wider, boot)
            },
        })
    }

    /// A reserved address is one that a host of the subnet can have.
    fn reserved(&mut self, path: &str, subnet: Option<&config::Subnet>, address: Ipv4Addr) {
        let mut candidates = self.dhcp.subnet.iter().filter(|one| subnet.is_none_or(|own| own.id == one.id));
        let net = candidates.find(|one| one.prefix.contains(address)).map(|one| one.prefix);
        let fault = match (net, subnet) {
            (Some(net), _) if net.length() < 31 && (address == net.first() || address == net.last()) => {
                Fault::new(format!("{address} is the network or broadcast address of {net}"))
                    .expected("an address that a host can have")
            }
            (Some(_), _) => return,
            (None, Some(subnet)) => Fault::new(format!("{address} is not in {}", subnet.prefix))
                .expected("an address of the subnet's prefix"),
            (None, None) => {
                Fault::new(format!("{address} is in no subnet")).expected("an address of some subnet's prefix")
            }
        };
        self.fault(
            format!("{path}.address"),
            fault.help("correct the address, or put the reservation into its subnet"),
        );
    }

    fn identifier(&mut self, path: &str, reservation: &config::Reservation) -> Option<Identifier> {
        let said = [
            (IdentifierKind::Mac, &reservation.mac),
            (IdentifierKind::ClientId, &reservation.client_id),
            (IdentifierKind::CircuitId, &reservation.circuit_id),
            (IdentifierKind::RemoteId, &reservation.remote_id),
            (IdentifierKind::Flex, &reservation.flex),
        ];
        let mut said = said.into_iter().filter_map(|(kind, text)| Some((kind, text.as_deref()?)));
        let (Some((kind, text)), None) = (said.next(), said.next()) else {
            let fault = Fault::new("it must be said who the client is, once")
                .expected("exactly one of mac, client_id, circuit_id, remote_id, flex")
                .help("such as mac = \"02:00:5e:10:00:01\"; a client known by two of them has two reservations");
            self.fault(path, fault);
            return None;
        };
        if let Some(why) = kind.unknowable(self.dhcp.flex_identifier.is_some()) {
            self.fault(format!("{path}.{}", kind.name()), Fault::new(why));
            return None;
        }
        let identifier = Identifier::parse(kind, text);
        if identifier.is_none() {
            let fault = Fault::new(format!("{text:?}")).expected(match kind {
                IdentifierKind::Mac => "a hardware address such as \"02:00:5e:10:00:01\"",
                _ => "text such as \"port 7\", or hex such as \"01:02:00:5e:10:00:01\" or \"hex:0102\"",
            });
            self.fault(format!("{path}.{}", kind.name()), fault);
        }
        identifier
    }
}

/// What was expected of a name: the known ones that are most alike, a few.
fn some_of<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    const FEW: usize = 8;
    let mut known: Vec<_> = known.collect();
    let all = known.len();
    if all == 0 {
        return "one that is defined, and none is".to_owned();
    }
    // Those that begin alike first, then as they are defined.
    let alike = |known: &&str| name.bytes().zip(known.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    known.sort_by_key(|known| std::cmp::Reverse(alike(known)));
    known.truncate(FEW);
    let more = if all > FEW { format!(" or {} more", all - FEW) } else { String::new() };
    format!("one of {}{more}", known.join(", "))
}

fn boot(next_server: Option<Ipv4Addr>, server_hostname: &Option<String>, file: &Option<String>) -> Boot {
    Boot { next_server, server_hostname: server_hostname.clone(), file: file.clone() }
}
