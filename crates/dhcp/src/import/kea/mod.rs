//! A Kea `Dhcp4` configuration to an Outwork file.
//!
//! Everything in it either comes along, or has a note: what is lost, and what Outwork does in another way. That holds
//! for settings this importer has never heard of too: it knows what it read.
//!
//! - `options`: option definitions and data.
//! - `scopes`: classes, shared networks, subnets, pools, reservations.
//! - `agreement`: where the file contradicts itself.
//! - `refusal`: what Outwork would refuse of what was written.
//! - `settings`: what has no counterpart, and why.

mod agreement;
mod options;
mod refusal;
#[cfg(test)]
mod refusal_tests;
mod scopes;
mod settings;

use super::json::{self, Notes, Object};
use super::toml::{Document, duration};
use crate::config::InterfaceRule;
use crate::expr::Identifier;
use crate::options::{OptionSpec, Value};
use crate::policy::Times;
use options::{Book, Known};
use scopes::{Section, Server};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Why a file could not be converted at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeaError {
    /// It is not JSON, even with comments and trailing commas.
    #[error("line {line}, column {column}: {reason}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser found.
        reason: String,
    },
    /// A comment does not end.
    #[error("line {line}: the comment that begins here does not end: add `*/`")]
    Comment {
        /// Line, from 1.
        line: usize,
    },
    /// It includes another file.
    #[error("line {line}: `<?include \"{file}\"?>` is not followed: put the text of that file in its place")]
    Include {
        /// Line, from 1.
        line: usize,
        /// The file named.
        file: String,
    },
    /// It is no DHCPv4 configuration.
    #[error("there is no `Dhcp4` object at the top: this is not a configuration of kea-dhcp4{0}")]
    NotDhcp4(&'static str),
}

/// What became of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// What it did is not done any more.
    Lost,
    /// Outwork does it in another way, or by itself.
    Changed,
}

impl NoteKind {
    /// Its word in the file, on a terminal and in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
        }
    }
}

/// A setting that is not in the file as it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// Where it stands: `Dhcp4.subnet4[0].pools[1].pool`.
    pub path: String,
    /// What became of it.
    pub kind: NoteKind,
    /// Why, and what to do.
    pub reason: String,
}

/// A converted configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The Outwork file; the notes stand at its top too.
    pub toml: String,
    /// What is not in it as it was.
    pub notes: Vec<Note>,
}

/// The lease time of a file that says none, seconds.
const DEFAULT_LEASE: u32 = 43_200;
/// Classes that Outwork has without a definition, as Kea has.
const KNOWN_CLASSES: [&str; 4] = ["ALL", "KNOWN", "UNKNOWN", "DROP"];
const VENDOR_CLASS: &str = crate::policy::Policy::VENDOR_CLASS;
/// Classes that parts of Kea put clients in, by how their names begin.
const HOOK_CLASSES: [(&str, &str); 3] = [
    ("HA_", "its high availability library puts clients in it"),
    ("AFTER_", "its lease command library puts clients in it"),
    ("EXTERNAL_", "a library outside of Kea puts clients in it"),
];

/// Converts the text of a Kea configuration.
pub fn convert(text: &str) -> Result<Conversion, KeaError> {
    let root = json::parse(text)?;
    let mut notes = Notes::default();
    let Some(dhcp4) = root.get("Dhcp4") else {
        return Err(KeaError::NotDhcp4(if root.get("Dhcp6").is_some() { ", DHCPv6 is not served" } else { "" }));
    };
    for key in root.as_object().into_iter().flat_map(|object| object.keys()).filter(|key| *key != "Dhcp4") {
        notes.lost(key, "only `Dhcp4` is converted");
    }
    let (global, taken) = (scopes::global_in_force(dhcp4), scopes::ids(dhcp4));
    let Some(dhcp4) = Object::new("Dhcp4", dhcp4, &mut notes) else { return Err(KeaError::NotDhcp4("")) };
    let mut file = File::read(dhcp4, global, taken, &mut notes);
    file.leave_out_refused(&mut notes);
    Ok(Conversion { toml: file.write(&notes.0), notes: notes.0 })
}

/// The file's tables, in the order they are written.
struct File {
    server: Section,
    definitions: Vec<OptionSpec>,
    classes: Vec<Section>,
    networks: Vec<Section>,
    /// Those of shared networks first.
    subnets: Vec<Section>,
    /// Those outside of subnets.
    reservations: Vec<Section>,
}

impl File {
    /// `global`: reservations outside of subnets count.
    /// `taken`: every subnet id that the file names.
    fn read(mut dhcp4: Object<'_>, global: bool, taken: BTreeSet<u64>, notes: &mut Notes) -> Self {
        let mut book = Book::default();
        book.define(dhcp4.objects("option-def", notes), false, notes);
        let own: Vec<Vec<Known>> = dhcp4
            .objects("client-classes", notes)
            .into_iter()
            .map(|mut class| book.define(class.objects("option-def", notes), true, notes))
            .collect();
        let mut server = Server {
            authoritative: dhcp4.flag("authoritative", notes) == Some(true),
            match_client_id: dhcp4.flag("match-client-id", notes) != Some(false),
            store_relay: dhcp4.flag("store-extended-info", notes),
            lease_cache: None,
            flex: false,
            next_id: 1,
            ids: BTreeSet::new(),
            taken,
            times: Times::default(),
            book,
        };
        let options = dhcp4.objects("option-data", notes);
        let (tagged, plain): (Vec<_>, Vec<_>) = options.into_iter().partition(|option| option.has("client-classes"));
        let mut section = server_section(&mut dhcp4, plain, &mut server, notes);
        let usual = Times { lease: Some(DEFAULT_LEASE), ..Times::default() };
        server.times = section.agree(usual, "Dhcp4", notes);
        let mut file = Self {
            server: section,
            definitions: server.book.specs.clone(),
            classes: Vec::new(),
            networks: Vec::new(),
            subnets: Vec::new(),
            reservations: Vec::new(),
        };
        let classes = dhcp4.objects("client-classes", notes).into_iter().zip(&own);
        file.classes = classes.map(|(class, own)| scopes::class(class, own, &server, notes)).collect();
        file.tagged(tagged, &server.book, notes);
        file.scopes(&mut dhcp4, server, global, notes);
        file.undefined_classes(notes);
        file.untested(notes);
        file.places(notes);
        settings::lease_database(&mut dhcp4, notes);
        settings::ddns(&mut dhcp4, notes);
        settings::compatibility(&mut dhcp4, notes);
        settings::leftovers(&dhcp4, &[settings::GLOBAL, settings::SCOPE], notes);
        file
    }

    fn scopes(&mut self, dhcp4: &mut Object<'_>, mut server: Server, global: bool, notes: &mut Notes) {
        // Kea reads shared networks first, which matters to the ids it gives.
        for mut object in dhcp4.objects("shared-networks", notes) {
            let (section, inherited) = scopes::network(&mut object, &server, notes);
            let name = section.pairs.iter().find(|(key, _)| *key == "name").map(|(_, name)| name.to_string());
            let name = name.unwrap_or_default();
            for subnet in object.objects("subnet4", notes) {
                self.subnets.push(scopes::subnet(subnet, Some((name.as_str(), &inherited)), &mut server, notes));
            }
            self.networks.push(section);
        }
        for subnet in dhcp4.objects("subnet4", notes) {
            self.subnets.push(scopes::subnet(subnet, None, &mut server, notes));
        }
        let reservations = dhcp4.objects("reservations", notes);
        self.reservations = scopes::global_reservations(reservations, global, &self.subnets, &server, notes);
    }

    /// Options for the members of some classes (`client-classes` of an option): such a class gives it, which comes before the
    /// whole server's options here as there. Only where that says the same; else nobody gets it.
    fn tagged(&mut self, options: Vec<Object<'_>>, book: &Book, notes: &mut Notes) {
        let mut given = BTreeSet::new();
        for mut object in options {
            let path = object.path.clone();
            let classes = object.texts("client-classes", notes);
            let of_space = object.peek("space").is_some_and(|space| *space != "dhcp4");
            let mut options = book.options(vec![object], &[], notes);
            let Some((name, value)) = options.pop_first() else { continue };
            let at = |class: &String| self.classes.iter().position(|section| section.name().as_ref() == Some(class));
            let places: Option<Vec<usize>> = classes.iter().map(at).collect();
            let before =
                |place: &usize| self.classes.get(*place).is_some_and(|class| class.options.contains_key(&name));
            let others = || (0..self.classes.len()).any(|place| before(&place));
            let known = given.contains(&name);
            let reason = match &places {
                None => Some("the class is not defined in the file"),
                Some(_) if of_space => Some("a sub-option cannot be for some clients alone"),
                Some(_) if self.server.options.contains_key(&name) => {
                    Some("the server has the option for every client, too: give it in the class")
                }
                Some(_) if !known && others() => Some("a class has the option already"),
                Some(places) if places.iter().any(before) => Some("the class has the option already: the first counts"),
                Some(_) => None,
            };
            let words = classes.join("`, `");
            match (reason, places) {
                (None, Some(places)) => {
                    for place in places {
                        if let Some(class) = self.classes.get_mut(place) {
                            class.options.insert(name.clone(), value.clone());
                        }
                    }
                    notes.changed(path, format!("class `{words}` gives option `{name}` to its members"));
                    given.insert(name);
                }
                (reason, _) => notes.lost(
                    path,
                    format!(
                        "option `{name}` is for members of `{words}` alone, and left out: {}",
                        reason.unwrap_or("there is no such class")
                    ),
                ),
            }
        }
    }

    /// Classes that Kea has without a definition. Those that Outwork has too are known to it; of the others nobody is a
    /// member, which keeps what they guard as closed as it was.
    fn undefined_classes(&mut self, notes: &mut Notes) {
        let defined: BTreeSet<String> = self.classes.iter().filter_map(Section::name).collect();
        let sections = self.classes.iter().chain(&self.subnets).chain(&self.reservations);
        let used: Vec<(String, String)> = sections.flat_map(|section| section.classes.clone()).collect();
        let mut added = BTreeSet::new();
        for (name, path) in used {
            match name.as_str() {
                name if defined.contains(name) || KNOWN_CLASSES.contains(&name) => continue,
                "BOOTP" => {
                    notes.lost(path, "clients without a message type are not answered: nobody is in class `BOOTP`")
                }
                "SKIP_DDNS" => {
                    notes.changed(path, "DNS updates are sent for nobody: class `SKIP_DDNS` changes nothing")
                }
                name if name.len() > VENDOR_CLASS.len() && name.starts_with(VENDOR_CLASS) => continue,
                name => {
                    let hook = HOOK_CLASSES.iter().find(|(prefix, _)| name.starts_with(prefix));
                    let why = hook.map_or("it is not defined in the file", |(_, why)| why);
                    notes.lost(path, format!("nobody is in class `{name}`: {why}"));
                    if added.insert(name.to_owned()) {
                        let comments = vec![format!("Nobody is in this class: {why}.")];
                        let section = Section { comments, pairs: vec![("name", name.into())], ..Section::default() };
                        self.classes.insert(added.len() - 1, section);
                    }
                }
            }
        }
    }

    fn write(&self, notes: &[Note]) -> String {
        let mut document = Document::default();
        document.comment("Converted from a configuration of kea-dhcp4 by `outwork import kea`.");
        for (kind, title) in [(NoteKind::Lost, "Not carried over:"), (NoteKind::Changed, "Done in another way:")] {
            let mut notes = notes.iter().filter(|note| note.kind == kind).peekable();
            if notes.peek().is_some() {
                document.comment("\n");
                document.comment(title);
            }
            notes.for_each(|note| document.comment(&format!("  {}: {}", note.path, note.reason)));
        }
        self.server.write(&mut document, "[dhcp]", "dhcp");
        for spec in &self.definitions {
            definition(spec).write(&mut document, "[[dhcp.option_definition]]", "dhcp.option_definition");
        }
        self.classes.iter().for_each(|class| class.write(&mut document, "[[dhcp.class]]", "dhcp.class"));
        self.networks.iter().for_each(|network| network.write(&mut document, "[[dhcp.network]]", "dhcp.network"));
        self.subnets.iter().for_each(|subnet| subnet.write(&mut document, "[[dhcp.subnet]]", "dhcp.subnet"));
        let reservations = self.reservations.iter();
        reservations.for_each(|one| one.write(&mut document, "[[dhcp.reservation]]", "dhcp.reservation"));
        document.0
    }
}

impl Section {
    fn name(&self) -> Option<String> {
        self.pairs.iter().find(|(key, _)| *key == "name").map(|(_, value)| value.to_string())
    }
}

fn definition(spec: &OptionSpec) -> Section {
    let mut pairs: scopes::Pairs = vec![
        ("name", spec.name.as_str().into()),
        ("code", Value::Integer(spec.code.into())),
        ("type", spec.kind.as_str().into()),
    ];
    pairs.extend(spec.space.as_deref().map(|space| ("space", space.into())));
    if spec.array {
        pairs.push(("array", Value::Bool(true)));
    }
    if !spec.record.is_empty() {
        pairs.push(("record", Value::List(spec.record.iter().map(|field| field.as_str().into()).collect())));
    }
    pairs.extend(spec.encapsulate.as_deref().map(|space| ("encapsulate", space.into())));
    Section { pairs, ..Section::default() }
}

/// `[dhcp]` itself.
fn server_section(dhcp4: &mut Object<'_>, options: Vec<Object<'_>>, server: &mut Server, notes: &mut Notes) -> Section {
    let mut section = Section { comments: dhcp4.comments(notes), ..Section::default() };
    interfaces(dhcp4, &mut section, notes);
    section.pairs.push(("authoritative", Value::Bool(server.authoritative)));
    let mut common = scopes::common(dhcp4, notes);
    if !common.iter().any(|(key, _)| *key == "lease_time") {
        // Kea's own default, so that clients see no change.
        common.insert(0, ("lease_time", duration(Duration::from_secs(7200))));
    }
    section.pairs.extend(common);
    section.pairs.push(("match_client_id", Value::Bool(server.match_client_id)));
    if let Some(echo) = dhcp4.flag("echo-client-id", notes) {
        section.pairs.push(("echo_client_id", Value::Bool(echo)));
    }
    let flex = settings::hooks(dhcp4, notes).filter(|flex| {
        let parsed = Identifier::parse(flex, &server.book.definitions);
        if let Err(fault) = &parsed {
            notes.lost("Dhcp4.hooks-libraries", format!("flex identifier `{flex}`: {fault}"));
        }
        parsed.is_ok()
    });
    server.flex = flex.is_some();
    identifiers(dhcp4, server.flex, &mut section, notes);
    section.pairs.extend(flex.map(|flex| ("flex_identifier", Value::Text(flex))));
    section.pairs.extend(server.store_relay.map(|store| ("store_relay", Value::Bool(store))));
    server.lease_cache = settings::lease_cache(dhcp4, notes);
    section.raw.extend(server.lease_cache.map(|part| ("lease_cache", format!("{part:?}"))));
    if let Some(seconds) = dhcp4.number("decline-probation-period", notes) {
        section.pairs.push(("decline_time", duration(Duration::from_secs(seconds))));
    }
    section.options = server.book.options(options, &[], notes);
    section
}

fn identifiers(dhcp4: &mut Object<'_>, flex: bool, section: &mut Section, notes: &mut Notes) {
    let path = dhcp4.path_of("host-reservation-identifiers");
    let mut identifiers: Vec<Value> = Vec::new();
    for name in dhcp4.texts("host-reservation-identifiers", notes) {
        match name.as_str() {
            "hw-address" => identifiers.push("mac".into()),
            "client-id" => identifiers.push("client_id".into()),
            "circuit-id" => identifiers.push("circuit_id".into()),
            "flex-id" if flex => identifiers.push("flex".into()),
            "flex-id" => notes.changed(&path, "`flex-id` means nothing without an expression: left out"),
            "duid" => notes.changed(&path, "clients are not found by DUID: left out"),
            other => notes.lost(&path, format!("`{other}` is no identifier")),
        }
    }
    if !identifiers.is_empty() {
        section.pairs.push(("identifiers", Value::List(identifiers)));
    }
}

/// `interfaces-config`: packet sockets for clients on the wire, UDP for relayed ones.
fn interfaces(dhcp4: &mut Object<'_>, section: &mut Section, notes: &mut Notes) {
    let Some(mut object) = dhcp4.object("interfaces-config", notes) else { return };
    let udp = object.text("dhcp-socket-type", notes) == Some("udp");
    let (mut raw, mut listen) = (BTreeSet::new(), BTreeSet::new());
    for (index, entry) in object.texts("interfaces", notes).iter().enumerate() {
        let path = format!("{}.interfaces[{index}]", object.path);
        let (interface, address) = match entry.split_once('/') {
            Some((interface, address)) => (interface.trim(), Some(address.trim())),
            None => (entry.trim(), None),
        };
        if let Err(fault) = interface.parse::<InterfaceRule>() {
            notes.lost(path, format!("`{interface}` is no interface: {fault}"));
            continue;
        }
        let no_address = address.filter(|address| address.parse::<Ipv4Addr>().is_err());
        if let Some(address) = no_address {
            notes.lost(path, format!("`{address}` is no IPv4 address: the interface is served without it"));
            if !udp {
                raw.insert(interface.to_owned());
            }
            continue;
        }
        if !udp {
            raw.insert(interface.to_owned());
        }
        listen.insert(format!("{}:67", address.unwrap_or("0.0.0.0")));
        match address {
            Some(address) if udp => {
                notes.changed(path, format!("UDP listens on {address}, on whichever interface has it"))
            }
            Some(address) => {
                notes.changed(path, format!("`{interface}` is served whole, its addresses besides {address} too"));
            }
            None if udp => notes.changed(path, "UDP listens on every address: name the one to listen on"),
            _ => {}
        }
    }
    if listen.contains("0.0.0.0:67") {
        listen = BTreeSet::from(["0.0.0.0:67".to_owned()]);
    }
    for (key, values) in [("interfaces", raw), ("listen", listen)] {
        if !values.is_empty() {
            section.pairs.push((key, Value::List(values.into_iter().map(Value::Text).collect())));
        }
    }
    if let Some(interface) = object.text("outbound-interface", notes).filter(|which| *which != "same-as-inbound") {
        notes.lost(object.path_of("outbound-interface"), format!("answers leave as they came, not by `{interface}`"));
    }
    if object.flag("re-detect", notes) == Some(false) {
        notes.changed(object.path_of("re-detect"), "an interface that appears later is picked up");
    }
    for key in ["service-sockets-max-retries", "service-sockets-retry-wait-time", "service-sockets-require-all"] {
        if object.get(key).is_some() {
            notes.changed(object.path_of(key), "an interface that appears later is picked up");
        }
    }
    object.comments(notes);
    settings::leftovers(&object, &[], notes);
}
