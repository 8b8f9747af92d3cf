//! What is purged, and how it stays purged.
//!
//! A purge is remembered as a *ban*: a rule with a number. What is stored carries the number of the newest ban that it is known to
//! have passed, its [`Era`]. Wherever an entry comes back from (a slow fetch, the disk, Redis), the bans since its era are held against it,
//! so a tier need not look for what a purge means in order to never give it out again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::entry::{Entry, Key};

/// What to throw out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Purge {
    /// What has this name.
    Name(Box<str>),
    /// What has a name that begins so.
    Prefix(Box<str>),
    /// What has this tag.
    Tag(Box<str>),
    /// Everything.
    All,
}

impl Purge {
    /// Whether it means this entry.
    pub fn matches(&self, entry: &Entry) -> bool {
        match self {
            Self::Name(name) => entry.name == *name,
            Self::Prefix(prefix) => entry.name.starts_with(&**prefix),
            Self::Tag(tag) => entry.tags.contains(tag),
            Self::All => true,
        }
    }
}

/// How many purges came before: taken when a fetch begins, so that what was fetched is not stored once a purge meant it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Era(pub(crate) u64);

/// A rule that keeps entries from coming back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ban {
    /// A purge.
    Purge(Purge),
    /// One key: it was removed, and the tier could not be told.
    Key(Key),
}

impl Ban {
    pub(crate) fn matches(&self, key: &Key, entry: &Entry) -> bool {
        match self {
            Self::Purge(purge) => purge.matches(entry),
            Self::Key(banned) => banned == key,
        }
    }

    /// As it is written down: a letter and what follows from it.
    pub(crate) fn encode(&self) -> String {
        match self {
            Self::Purge(Purge::Name(name)) => format!("n{name}"),
            Self::Purge(Purge::Prefix(prefix)) => format!("p{prefix}"),
            Self::Purge(Purge::Tag(tag)) => format!("t{tag}"),
            Self::Purge(Purge::All) => "a".to_owned(),
            Self::Key(key) => format!("k{key}"),
        }
    }

    /// Reads [`encode`](Self::encode); `None` for what it never writes.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut rest = text.chars();
        let kind = rest.next()?;
        let rest = rest.as_str();
        Some(match kind {
            'n' => Self::Purge(Purge::Name(rest.into())),
            'p' => Self::Purge(Purge::Prefix(rest.into())),
            't' => Self::Purge(Purge::Tag(rest.into())),
            'a' if rest.is_empty() => Self::Purge(Purge::All),
            'k' if rest.len() == 32 => Self::Key(Key::from_bytes(u128::from_str_radix(rest, 16).ok()?.to_be_bytes())),
            _ => return None,
        })
    }
}

/// Bans that are kept. Beyond them the oldest becomes a ban of everything as old.
pub(crate) const BANS: usize = 1024;

/// The bans in force, numbered, oldest first. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BanList {
    /// What has not passed this one is banned, whatever it is.
    floor: u64,
    bans: VecDeque<(u64, Ban)>,
}

impl BanList {
    /// Where everything up to a number is banned.
    pub(crate) fn with_floor(floor: u64) -> Self {
        Self { floor, bans: VecDeque::new() }
    }

    /// The number of the newest.
    pub(crate) fn newest(&self) -> u64 {
        self.bans.back().map_or(self.floor, |(number, _)| *number)
    }

    /// Adds the ban of a number above the [newest](Self::newest); others are known already.
    pub(crate) fn add(&mut self, number: u64, ban: Ban) {
        if number <= self.newest() {
            return;
        }
        if ban == Ban::Purge(Purge::All) {
            *self = Self::with_floor(number);
            return;
        }
        self.bans.push_back((number, ban));
        if self.bans.len() > BANS {
            self.floor = self.bans.pop_front().map_or(self.floor, |(number, _)| number);
        }
    }

    /// Bans everything up to a number.
    pub(crate) fn raise(&mut self, floor: u64) {
        self.forget(floor);
        self.floor = self.floor.max(floor);
    }

    /// Forgets bans up to a number: whoever calls knows that nothing is left which has not passed them.
    pub(crate) fn forget(&mut self, number: u64) {
        while self.bans.front().is_some_and(|(oldest, _)| *oldest <= number) {
            self.bans.pop_front();
        }
    }

    /// Whether what has passed every ban up to `era` is banned by a later one.
    pub(crate) fn bars(&self, era: u64, key: &Key, entry: &Entry) -> bool {
        era < self.floor
            || self.bans.iter().rev().take_while(|(number, _)| *number > era).any(|(_, ban)| ban.matches(key, entry))
    }

    /// Everything up to this number is banned.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// The bans, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Ban)> {
        self.bans.iter().map(|(number, ban)| (*number, ban))
    }
}

/// The bans of this instance, for every thread.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    /// The newest number, to be asked without the lock.
    newest: AtomicU64,
    list: RwLock<BanList>,
}

impl Bans {
    pub(crate) fn new(list: BanList) -> Self {
        Self { newest: AtomicU64::new(list.newest()), list: RwLock::new(list) }
    }

    /// What is stored from now on has passed every ban so far.
    pub(crate) fn era(&self) -> Era {
        Era(self.newest.load(Ordering::Acquire))
    }

    /// Adds a ban and gives its number. From the return on, nothing that it means is stored or given out.
    pub(crate) fn add(&self, ban: Ban) -> u64 {
        let mut list = self.list.write();
        let number = list.newest() + 1;
        list.add(number, ban);
        self.newest.store(number, Ordering::Release);
        number
    }

    /// Whether something of this era is banned since.
    pub(crate) fn bars(&self, era: Era, key: &Key, entry: &Entry) -> bool {
        era < self.era() && self.list.read().bars(era.0, key, entry)
    }

    /// Forgets bans that nothing is left to be held against.
    pub(crate) fn forget(&self, era: Era) {
        let mut list = self.list.write();
        // The newest stays: numbers go on from it.
        let keep = list.newest().saturating_sub(1);
        list.forget(era.0.min(keep));
    }

    pub(crate) fn list(&self) -> BanList {
        self.list.read().clone()
    }
}

#[cfg(test)]
#[path = "purge_tests.rs"]
mod tests;
