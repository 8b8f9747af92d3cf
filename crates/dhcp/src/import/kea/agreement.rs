//! Where a file that Kea takes contradicts itself: Kea passes over it at run time, Outwork refuses it. What is written here
//! does what Kea does, and a note says so.

use super::File;
use super::scopes::Section;
use crate::import::json::Notes;
use crate::import::toml::duration;
use crate::options::Value;
use crate::policy::Times;
use outwork_config::parse_duration;
use std::collections::BTreeMap;
use std::time::Duration;

impl Section {
    fn seconds(&self, key: &str) -> Option<u32> {
        let (_, value) = self.pairs.iter().find(|(own, _)| *own == key)?;
        u32::try_from(parse_duration(&value.to_string())?.as_secs()).ok()
    }

    fn set(&mut self, key: &'static str, seconds: u32) {
        let value = duration(Duration::from_secs(seconds.into()));
        match self.pairs.iter_mut().find(|(own, _)| *own == key) {
            Some((_, own)) => *own = value,
            None => self.pairs.push((key, value)),
        }
    }

    fn times(&self) -> Times {
        Times {
            lease: self.seconds("lease_time"),
            min: self.seconds("min_lease_time"),
            max: self.seconds("max_lease_time"),
            renew: self.seconds("renew_time"),
            rebind: self.seconds("rebind_time"),
            offer: None,
        }
    }

    /// Makes the times agree with each other and with those of the wider scope; gives what holds in this one.
    pub(super) fn agree(&mut self, wider: Times, path: &str, notes: &mut Notes) -> Times {
        let times = self.times().within(wider);
        let breaches = self.times().breaches(wider);
        let Some(lease) = times.lease.filter(|_| !breaches.is_empty()) else { return times };
        if times.min.is_some_and(|min| min > lease) {
            notes.lost(path, "its shortest lease time is above the usual one: the usual one counts");
            self.set("min_lease_time", lease);
        }
        if times.max.is_some_and(|max| max < lease) {
            notes.lost(path, "its longest lease time is below the usual one: the usual one counts");
            self.set("max_lease_time", lease);
        }
        let timers = (times.renew.unwrap_or(lease / 2), times.rebind.unwrap_or((u64::from(lease) * 7 / 8) as u32));
        if (times.renew.is_some() || times.rebind.is_some()) && !(timers.0 < timers.1 && timers.1 < lease) {
            notes.changed(
                path,
                "its timers do not fit in its lease time: half of it and seven eighths, as clients do by themselves",
            );
            self.set("renew_time", lease / 2);
            self.set("rebind_time", (u64::from(lease) * 7 / 8) as u32);
        }
        self.times().within(wider)
    }
}

impl File {
    /// An interface and a relay agent lead to one network here; Kea looks for the first subnet that takes the client.
    pub(super) fn places(&mut self, notes: &mut Notes) {
        let mut claims: BTreeMap<String, (usize, Option<String>)> = BTreeMap::new();
        for (at, section) in self.networks.iter_mut().chain(&mut self.subnets).enumerate() {
            let find = |key| section.pairs.iter().find(|(own, _)| *own == key).map(|(_, value)| value.to_string());
            let network = if section.prefixed() { find("network") } else { find("name") };
            let mut free = |place: &Value| {
                let (first, of) = claims.entry(place.to_string()).or_insert_with(|| (at, network.clone()));
                let free = *first == at || (of.is_some() && *of == network);
                if !free {
                    notes.lost(
                        &section.path,
                        format!("`{place}` leads to another subnet already: join them in a shared network"),
                    );
                }
                free
            };
            section.pairs.retain_mut(|(key, value)| match (*key, value) {
                ("interface", name) => free(name),
                ("relay", Value::List(agents)) => {
                    agents.retain(|agent| free(agent));
                    !agents.is_empty()
                }
                _ => true,
            });
        }
    }

    /// A test that nothing requires is never made, in Kea as here.
    pub(super) fn untested(&mut self, notes: &mut Notes) {
        let required: Vec<String> = self.subnets.iter().flat_map(|subnet| subnet.required.iter().cloned()).collect();
        for class in &mut self.classes {
            let deferred = class.pairs.iter().any(|(key, _)| *key == "only_if_required");
            let test = class.pairs.iter().position(|(key, _)| *key == "test").filter(|_| deferred);
            if let Some(test) = test.filter(|_| class.name().is_none_or(|name| !required.contains(&name))) {
                let (_, test) = class.pairs.remove(test);
                class.comments.push(format!("test = {test}"));
                notes.lost(format!("{}.test", class.path), "no subnet or pool requires the class: it is never tested");
            }
        }
    }
}
