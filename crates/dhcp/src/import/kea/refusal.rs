//! What Outwork would refuse of the file that was written. It is left out, with a note, so that every file written here is one
//! that runs. Where a part without its refused setting would serve more clients than before, the part goes.

use super::File;
use super::scopes::Section;
use crate::config::Dhcp;
use crate::import::json::Notes;
use crate::options::Value;
use outwork_config::{Fault, Sources, load, section};
use std::collections::BTreeSet;

section! {
    /// A file, as far as it is of this service.
    struct Root {
        /// The service.
        dhcp: Dhcp,
    }
}

/// The names that settings have in Kea, where they differ.
const NAMES: [(&str, &str); 15] = [
    ("prefix", "subnet"),
    ("mac", "hw-address"),
    ("address", "ip-address"),
    ("boot_file", "boot-file-name"),
    ("options", "option-data"),
    ("option_definition", "option-def"),
    ("class", "client-classes"),
    ("network", "shared-networks"),
    ("reservation", "reservations"),
    ("flex", "flex-id"),
    ("lease_time", "valid-lifetime"),
    ("min_lease_time", "min-valid-lifetime"),
    ("max_lease_time", "max-valid-lifetime"),
    ("renew_time", "renew-timer"),
    ("rebind_time", "rebind-timer"),
];
/// Settings without which a part would be another, or open to others.
const VITAL: [&str; 13] = [
    "id",
    "prefix",
    "name",
    "code",
    "type",
    "allow_classes",
    "require_classes",
    "mac",
    "client_id",
    "circuit_id",
    "remote_id",
    "flex",
    "classes",
];

fn kea_name(ours: &str) -> String {
    let known = NAMES.iter().find(|(own, _)| *own == ours);
    known.map_or_else(|| ours.replace('_', "-"), |(_, theirs)| (*theirs).to_owned())
}

/// A step of a key: a name, and an index if it is a list.
fn step(key: &str) -> (&str, Option<usize>, &str) {
    // A quoted name, as those of options are, is the last that matters.
    let (first, rest) = match key.find('.').filter(|_| !key.starts_with('"')) {
        Some(end) => (key.get(..end).unwrap_or_default(), key.get(end + 1..).unwrap_or_default()),
        None => (key, ""),
    };
    match first.strip_suffix(']').and_then(|first| first.split_once('[')) {
        Some((name, index)) => (name, index.parse().ok(), rest),
        None => (first, None, rest),
    }
}

/// What goes of the lists of a file.
#[derive(Default)]
struct Gone {
    definitions: BTreeSet<usize>,
    classes: BTreeSet<usize>,
    networks: BTreeSet<usize>,
    subnets: BTreeSet<usize>,
    reservations: BTreeSet<usize>,
    pools: BTreeSet<(usize, usize)>,
    reserved: BTreeSet<(usize, usize)>,
}

fn without<T>(list: &mut Vec<T>, gone: &BTreeSet<usize>) {
    for index in gone.iter().rev().filter(|index| **index < list.len()).collect::<Vec<_>>() {
        list.remove(*index);
    }
}

/// What is to be done about a fault of a section.
enum Remedy {
    /// It was in a setting, which is out.
    Done,
    /// The section goes.
    Goes,
}

impl File {
    /// Takes out what Outwork would refuse, until there is nothing of the kind.
    pub(super) fn leave_out_refused(&mut self, notes: &mut Notes) {
        loop {
            let sources = Sources { file: Some(("import".into(), self.write(&[]))), ..Sources::default() };
            let Err(faults) = load::<Root>(sources) else { return };
            let mut gone = Gone::default();
            let mut left_out = false;
            let told = notes.0.len();
            // From the end, so that places in a list stay what they are until they are dealt with.
            for fault in faults.iter().rev() {
                left_out |= self.leave_out(fault, &mut gone, notes);
            }
            if let Some(told) = notes.0.get_mut(told..) {
                told.reverse();
            }
            for (subnet, pool) in gone.pools.iter().rev() {
                if let Some(subnet) = self.subnets.get_mut(*subnet)
                    && *pool < subnet.pools.len()
                {
                    subnet.pools.remove(*pool);
                }
            }
            for (subnet, reservation) in gone.reserved.iter().rev() {
                if let Some(subnet) = self.subnets.get_mut(*subnet)
                    && *reservation < subnet.reservations.len()
                {
                    subnet.reservations.remove(*reservation);
                }
            }
            without(&mut self.definitions, &gone.definitions);
            without(&mut self.classes, &gone.classes);
            without(&mut self.networks, &gone.networks);
            without(&mut self.subnets, &gone.subnets);
            without(&mut self.reservations, &gone.reservations);
            if !left_out {
                notes.lost("Dhcp4", "`outwork check` tells what is still to be mended by hand");
                return;
            }
        }
    }

    /// Leaves out what a fault is about; false if there is nothing of the kind.
    fn leave_out(&mut self, fault: &Fault, gone: &mut Gone, notes: &mut Notes) -> bool {
        let json = fault.to_json();
        let expected = json["expected"].as_str().map_or_else(String::new, |expected| format!("; expected {expected}"));
        // Lists of every name there is are for a terminal.
        let expected = if expected.len() > 200 { String::new() } else { expected };
        let why = format!("{}{expected}", fault.found());
        let (_, _, key) = step(fault.key());
        let (list, index, rest) = step(key);
        match (list, index) {
            ("option_definition", Some(index)) => {
                let name = self.definitions.get(index).map(|spec| spec.name.clone()).unwrap_or_default();
                let new = gone.definitions.insert(index);
                if new {
                    notes.lost("Dhcp4.option-def", format!("option definition `{name}` is left out: {why}"));
                }
                new
            }
            ("class", Some(index)) => of_list(&mut self.classes, index, rest, &why, &mut gone.classes, notes),
            ("network", Some(index)) => of_list(&mut self.networks, index, rest, &why, &mut gone.networks, notes),
            ("reservation", Some(index)) => {
                of_list(&mut self.reservations, index, rest, &why, &mut gone.reservations, notes)
            }
            ("subnet", Some(index)) => self.leave_out_of_subnet(index, rest, &why, gone, notes),
            // More than there may be of something.
            ("class", None) => {
                let Some(last) = self.classes.pop() else { return false };
                notes.lost(last.path, format!("the class is left out: {why}"));
                true
            }
            _ => matches!(self.server.leave_out(key, "Dhcp4", &why, notes), Some(Remedy::Done)),
        }
    }

    fn leave_out_of_subnet(&mut self, at: usize, key: &str, why: &str, gone: &mut Gone, notes: &mut Notes) -> bool {
        let Some(subnet) = self.subnets.get_mut(at) else { return false };
        match step(key) {
            ("pools", Some(index), _) => {
                let new = index < subnet.pools.len() && gone.pools.insert((at, index));
                if new {
                    let pool = subnet.pools.get(index).cloned().unwrap_or_default();
                    notes.lost(format!("{}.pools", subnet.path), format!("pool {pool} is left out: {why}"));
                }
                new
            }
            ("reservation", Some(index), rest) => {
                let mut of_subnet = BTreeSet::new();
                let done = of_list(&mut subnet.reservations, index, rest, why, &mut of_subnet, notes);
                let goes = of_subnet.into_iter().any(|index| gone.reserved.insert((at, index)));
                done || goes
            }
            _ => of_list(&mut self.subnets, at, key, why, &mut gone.subnets, notes),
        }
    }
}

/// Leaves out what a fault in one section of a list is about: a setting of it, or all of it.
fn of_list(
    list: &mut [Section],
    index: usize,
    key: &str,
    why: &str,
    gone: &mut BTreeSet<usize>,
    notes: &mut Notes,
) -> bool {
    let Some(section) = list.get_mut(index) else { return false };
    if gone.contains(&index) {
        return true;
    }
    let name = section.name().map_or_else(String::new, |name| format!(" `{name}`"));
    let path = if section.path.is_empty() { format!("Dhcp4{name}") } else { section.path.clone() };
    match section.leave_out(key, &path, why, notes) {
        Some(Remedy::Done) => {}
        Some(Remedy::Goes) | None => {
            let setting = step(key).0;
            let setting = if setting.is_empty() { path } else { format!("{path}.{}", kea_name(setting)) };
            notes.lost(setting, format!("all of it is left out: {why}"));
            gone.insert(index);
        }
    }
    true
}

impl Section {
    /// Leaves a setting out; `None` if it does not have it.
    fn leave_out(&mut self, key: &str, path: &str, why: &str, notes: &mut Notes) -> Option<Remedy> {
        let (name, index, rest) = step(key);
        if VITAL.contains(&name) || name.is_empty() {
            return Some(Remedy::Goes);
        }
        let at = format!("{path}.{}", kea_name(name));
        if name == "options" && !self.options.is_empty() {
            let option = rest.trim_matches('"');
            let option = option.split(['.', '"']).next().unwrap_or_default();
            if self.options.remove(option).is_none() {
                self.options.clear();
            }
            notes.lost(at, format!("option `{option}` is left out: {why}"));
            return Some(Remedy::Done);
        }
        if let Some(place) = self.raw.iter().position(|(own, _)| *own == name) {
            self.raw.remove(place);
            notes.lost(at, format!("left out: {why}"));
            return Some(Remedy::Done);
        }
        let place = self.pairs.iter().position(|(own, _)| *own == name)?;
        match (self.pairs.get_mut(place), index) {
            (Some((_, Value::List(items))), Some(index)) if index < items.len() && items.len() > 1 => {
                let item = items.remove(index);
                notes.lost(at, format!("`{item}` is left out: {why}"));
            }
            _ => {
                self.pairs.remove(place);
                notes.lost(at, format!("left out: {why}"));
            }
        }
        Some(Remedy::Done)
    }
}
