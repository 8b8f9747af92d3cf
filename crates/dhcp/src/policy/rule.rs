//! What a scope may say, whether in the file or through the API: times that agree, names and boot fields that fit.

use super::{Boot, Times};
use outwork_config::duration_text;
use std::time::Duration;

/// Octets of `sname` and `file` (RFC 2131 section 2), the closing zero left out.
const MAX_SNAME: usize = 63;
const MAX_FILE: usize = 127;
/// Octets of a host name: what a lease keeps of one.
const MAX_NAME: usize = 255;

/// A setting that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The setting, by its key in the file.
    pub key: &'static str,
    /// What is wrong.
    pub found: String,
    /// What would be right.
    pub expected: String,
    /// What to do.
    pub help: Option<&'static str>,
}

/// One of two times that must be in order: its key, its seconds, whether the scope itself says it, and what it is if it is
/// said nowhere.
struct Time {
    key: &'static str,
    seconds: u32,
    own: bool,
    origin: &'static str,
}

impl Time {
    fn of(key: &'static str, own: Option<u32>, inherited: Option<u32>, unset: (u32, &'static str)) -> Self {
        let (seconds, origin) = match (own, inherited) {
            (Some(own), _) => (own, ""),
            (None, Some(inherited)) => (inherited, " (inherited)"),
            (None, None) => unset,
        };
        Self { key, seconds, own: own.is_some(), origin }
    }

    fn text(&self) -> String {
        format!("{}{}", duration_text(Duration::from_secs(self.seconds.into())), self.origin)
    }
}

impl Times {
    /// These, and the wider scope's where these say nothing.
    pub fn within(self, wider: Self) -> Self {
        Self {
            lease: self.lease.or(wider.lease),
            min: self.min.or(wider.min),
            max: self.max.or(wider.max),
            renew: self.renew.or(wider.renew),
            rebind: self.rebind.or(wider.rebind),
            offer: self.offer.or(wider.offer),
        }
    }

    /// Where these contradict each other, or what they inherit from the wider scope: `min <= lease <= max` and
    /// `T1 < T2 < lease` (RFC 2131 section 4.4.5). What the wider scope says wrongly by itself is not told again.
    pub fn breaches(self, wider: Self) -> Vec<Breach> {
        let lease = || Time::of("lease_time", self.lease, wider.lease, (u32::MAX, ""));
        let usual = lease().seconds;
        let min = Time::of("min_lease_time", self.min, wider.min, (usual, ""));
        let max = Time::of("max_lease_time", self.max, wider.max, (usual, ""));
        let half = (usual / 2, " (half of lease_time)");
        let late = ((u64::from(usual) * 7 / 8) as u32, " (seven eighths of lease_time)");
        let renew = Time::of("renew_time", self.renew, wider.renew, half);
        let rebind = || Time::of("rebind_time", self.rebind, wider.rebind, late);
        let timed = [self, wider].iter().any(|times| times.renew.is_some() || times.rebind.is_some());
        let mut order = vec![(min, lease(), false), (lease(), max, false)];
        if timed {
            order.extend([(renew, rebind(), true), (rebind(), lease(), true)]);
        }
        order
            .into_iter()
            .filter_map(|(less, more, strictly)| breach(&less, &more, strictly, self.lease.is_some()))
            .collect()
    }
}

/// The fault if `less` comes after `more`. It is laid to the scope's own setting, and to none if the scope has no part in it.
fn breach(less: &Time, more: &Time, strictly: bool, own_lease: bool) -> Option<Breach> {
    let ordered = if strictly { less.seconds < more.seconds } else { less.seconds <= more.seconds };
    let derived = |time: &Time| time.origin.ends_with("of lease_time)");
    let own = less.own || more.own || own_lease;
    if ordered || !own {
        return None;
    }
    // Of two that the scope says itself, the bound is blamed and not the time it bounds.
    let (blamed, other, relation) = match more.own && (!less.own || less.key == "lease_time") {
        true => (more, less, if strictly { "more than" } else { "no less than" }),
        false => (less, more, if strictly { "less than" } else { "no more than" }),
    };
    // Neither is the scope's own: its lease time made one of them what it is.
    let key = if blamed.own { blamed.key } else { "lease_time" };
    let found = match blamed.own {
        true => format!("{}, and {} is {}", blamed.text(), other.key, other.text()),
        false => format!("with it {} is {}, and {} is {}", blamed.key, blamed.text(), other.key, other.text()),
    };
    let expected = match blamed.own {
        true => format!("{relation} {}", other.key),
        false => format!("one with which {} is {relation} {}", blamed.key, other.key),
    };
    let help = if other.origin == " (inherited)" || blamed.origin == " (inherited)" {
        Some("set the other one here too: a scope inherits what it does not say")
    } else if derived(other) || derived(blamed) {
        Some("set both renew_time and rebind_time")
    } else {
        None
    };
    Some(Breach { key, found, expected, help })
}

impl Boot {
    /// Boot fields that do not fit the header.
    pub fn breaches(&self) -> Vec<Breach> {
        let fields = [("server_hostname", &self.server_hostname, MAX_SNAME), ("boot_file", &self.file, MAX_FILE)];
        let breach = |(key, text, most): (&'static str, &Option<String>, usize)| {
            let octets = text.as_ref()?.len();
            let expected = format!("1 to {most} octets: what the header of a message has room for");
            (octets == 0 || octets > most).then(|| Breach {
                key,
                found: format!("has {octets} octets"),
                expected,
                help: None,
            })
        };
        fields.into_iter().filter_map(breach).collect()
    }
}

/// Refuses what is no host name for option 12.
///
/// # Errors
/// What is wrong with it.
pub fn host_name(name: &str) -> Result<(), Breach> {
    let found = if name.is_empty() {
        "the host name is empty; leave it out".to_owned()
    } else if name.len() > MAX_NAME {
        format!("the host name has {} octets; at most {MAX_NAME} fit", name.len())
    } else if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "the host name contains a space or a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(Breach { key: "hostname", found, expected: "one such as printer-2.example.com".to_owned(), help: None })
}
