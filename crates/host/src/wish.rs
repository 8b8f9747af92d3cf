//! A wish: one thing of the machine, and what it is to be.

use std::collections::BTreeSet;
use std::fmt;

use crate::knob::Knob;

/// What a thing is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Numbers, each of which may be larger.
    AtLeast(Vec<u64>),
    /// A number that may be smaller.
    AtMost(u64),
    /// Two numbers, of which the first may be smaller and the second larger.
    Span(u64, u64),
    /// Ports of a list, which may have others.
    Ports(BTreeSet<u16>),
    /// Anything but the one, in whose place the other is.
    Instead(String, String),
    /// This.
    Exactly(String),
}

/// The numbers of a value; `None` where it has anything else.
fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split(' ').map(|word| word.parse().ok()).collect()
}

/// The ports of a list such as `8080,9000-9010`.
fn ports(text: &str) -> BTreeSet<u16> {
    let run = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.split(',').filter_map(run).flatten().collect()
}

/// Ports as the kernel lists them: neighbours as a run.
fn listed(ports: &BTreeSet<u16>) -> String {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*port) => *last = *port,
            _ => runs.push((*port, *port)),
        }
    }
    let text = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

impl Wanted {
    /// The value to write where this one is. Where it is as wanted, it is the same.
    pub fn value(&self, now: &str) -> String {
        let text = |numbers: Vec<u64>| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        match self {
            Wanted::Exactly(value) => value.clone(),
            Wanted::Instead(of, value) if now == of || now.is_empty() => value.clone(),
            Wanted::Instead(..) => now.to_owned(),
            Wanted::AtLeast(least) => text(match numbers(now).filter(|now| now.len() == least.len()) {
                Some(now) => now.into_iter().zip(least).map(|(now, least)| now.max(*least)).collect(),
                None => least.clone(),
            }),
            Wanted::AtMost(most) => text(match numbers(now).as_deref() {
                Some([now]) => vec![*now.min(most)],
                _ => vec![*most],
            }),
            Wanted::Span(low, high) => text(match numbers(now).as_deref() {
                Some([first, last]) => vec![*first.min(low), *last.max(high)],
                _ => vec![*low, *high],
            }),
            Wanted::Ports(wanted) => listed(&wanted.union(&ports(now)).copied().collect()),
        }
    }

    /// Whether a value is as wanted.
    pub fn is_met(&self, now: &str) -> bool {
        self.value(now) == now
    }

    /// What meets both; `None` where nothing does, or they are of different kinds.
    fn and(&self, other: &Wanted) -> Option<Wanted> {
        match (self, other) {
            (Wanted::AtLeast(one), Wanted::AtLeast(other)) if one.len() == other.len() => {
                Some(Wanted::AtLeast(one.iter().zip(other).map(|(one, other)| *one.max(other)).collect()))
            }
            (Wanted::AtMost(one), Wanted::AtMost(other)) => Some(Wanted::AtMost(*one.min(other))),
            (Wanted::Span(low, high), Wanted::Span(lower, higher)) => {
                Some(Wanted::Span(*low.min(lower), *high.max(higher)))
            }
            (Wanted::Ports(one), Wanted::Ports(other)) => Some(Wanted::Ports(one.union(other).copied().collect())),
            (one, other) => (one == other).then(|| one.clone()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::AtLeast(_) => write!(f, "at least {}", self.value("")),
            Wanted::AtMost(most) => write!(f, "at most {most}"),
            Wanted::Span(low, high) => write!(f, "{low} {high}, or wider"),
            Wanted::Ports(wanted) => write!(f, "{}, beside what is there", listed(wanted)),
            Wanted::Instead(of, value) => write!(f, "{value} in the place of {of}"),
            Wanted::Exactly(value) => f.write_str(value),
        }
    }
}

/// What is wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The thing.
    pub knob: Knob,
    /// What it is to be.
    pub wanted: Wanted,
    /// What it is good for.
    pub why: String,
    /// Services that it is for; none where the configuration names it in `[host]`.
    pub services: Vec<&'static str>,
    /// What settings need to do what they say.
    pub needs: Vec<Need>,
}

/// What a setting needs to do what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The setting, such as `proxy.listener[0].backlog`.
    pub setting: String,
    /// What the thing has to be for it.
    pub wanted: Wanted,
}

/// Wishes, one for each thing, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    list: Vec<Wish>,
}

impl Wishes {
    /// Adds one. Where there is one of the same thing already, both are met, or the one that was there first.
    pub fn add(&mut self, wish: Wish) {
        let Some(known) = self.list.iter_mut().find(|known| known.knob == wish.knob) else {
            return self.list.push(wish);
        };
        let Some(both) = known.wanted.and(&wish.wanted) else { return };
        known.wanted = both;
        known.needs.extend(wish.needs);
        if !known.why.contains(&wish.why) {
            known.why = format!("{}; {}", known.why, wish.why);
        }
        let new: Vec<_> = wish.services.into_iter().filter(|service| !known.services.contains(service)).collect();
        known.services.extend(new);
    }

    /// Puts one in the place of what is there of the same thing. What settings need they need all the same.
    pub fn replace(&mut self, mut wish: Wish) {
        match self.list.iter_mut().find(|known| known.knob == wish.knob) {
            Some(known) => {
                wish.needs.append(&mut known.needs);
                *known = wish;
            }
            None => self.list.push(wish),
        }
    }

    /// Takes one out.
    pub fn leave(&mut self, knob: &Knob) {
        self.list.retain(|known| known.knob != *knob);
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Wish> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_larger_than_wanted_stays_and_each_number_for_itself() {
        let least = Wanted::AtLeast(vec![4096, 131_072, 16_777_216]);
        assert!(least.is_met("4096 131072 33554432") && !least.is_met("4096 87380 33554432"));
        assert_eq!(least.value("8192 87380 33554432"), "8192 131072 33554432");
        assert_eq!(least.value("what is this"), "4096 131072 16777216");
        assert_eq!(least.to_string(), "at least 4096 131072 16777216");
        assert!(Wanted::AtMost(30).is_met("15") && !Wanted::AtMost(30).is_met("60"));
        let span = Wanted::Span(10_000, 65_535);
        assert!(span.is_met("1024 65535") && !span.is_met("32768 60999"));
        assert_eq!((span.value("1024 60999"), span.value("32768 60999")), ("1024 65535".into(), "10000 65535".into()));
        let not_strict = Wanted::Instead("1".into(), "2".into());
        assert!(not_strict.is_met("0") && not_strict.is_met("2") && !not_strict.is_met("1"));
        assert_eq!((not_strict.value("1"), not_strict.to_string()), ("2".into(), "2 in the place of 1".into()));
        assert!(!Wanted::Exactly("bbr".into()).is_met("cubic") && Wanted::Exactly("bbr".into()).is_met("bbr"));
    }

    #[test]
    fn ports_come_to_those_that_are_listed_as_the_kernel_lists_them() {
        let wanted = Wanted::Ports([8080, 8081, 9000].into());
        for (now, value) in [
            ("", "8080-8081,9000"),
            ("8082,30000-30002", "8080-8082,9000,30000-30002"),
            ("8080-9000", "8080-9000"),
            ("65535", "8080-8081,9000,65535"),
        ] {
            assert_eq!(wanted.value(now), value, "{now}");
            assert!(wanted.is_met(value), "{value}");
        }
        assert!(!wanted.is_met("") && !wanted.is_met("8080-8081"));
        assert_eq!(wanted.to_string(), "8080-8081,9000, beside what is there");
        let both = wanted.and(&Wanted::Ports([7, 9001].into()));
        assert_eq!(both, Some(Wanted::Ports([7, 8080, 8081, 9000, 9001].into())));
    }

    #[test]
    fn two_services_that_want_the_same_thing_get_what_suits_both() {
        let knob = Knob::HugePages {};
        let wish = |least, why: &str, service| Wish {
            knob: knob.clone(),
            wanted: Wanted::AtLeast(vec![least]),
            why: why.to_owned(),
            services: vec![service],
            needs: vec![Need { setting: format!("{service}.size"), wanted: Wanted::AtLeast(vec![least]) }],
        };
        let mut wishes = Wishes::default();
        wishes.add(wish(5, "one", "web"));
        wishes.add(wish(7, "two", "proxy"));
        wishes.add(wish(6, "two", "proxy"));
        let [both] = wishes.iter().as_slice() else { panic!("{wishes:?}") };
        assert_eq!((&both.wanted, both.why.as_str()), (&Wanted::AtLeast(vec![7]), "one; two"));
        assert_eq!((both.services.as_slice(), both.needs.len()), (["web", "proxy"].as_slice(), 3));
        wishes.leave(&knob);
        assert_eq!(wishes.iter().count(), 0);
    }
}
