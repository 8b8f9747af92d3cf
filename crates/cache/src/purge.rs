//! What is purged, and how it stays purged.
//!
//! A purge is remembered as a *ban*: a rule with a number. What is stored carries the number of the newest ban that it is known to
//! have passed, its [`Era`]. Wherever an entry comes back from (a slow fetch, the disk, Redis), the bans since its era are held against it,
//! so a tier need not look for what a purge means in order to never give it out again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::entry::{Entry, Key};
use crate::flights::AsIs;

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

/// Which purge was the last that instances told each other of: its number, and a mark that is random, for where numbers are counted again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) count: u64,
    pub(crate) mark: u64,
}

impl Epoch {
    const MARK_BITS: u32 = 24;
    /// Numbers stay below: what a stamp holds.
    const END: u64 = 1 << (64 - Self::MARK_BITS);

    /// What an entry bears of it: the number, and as much of the mark as fits.
    pub(crate) fn stamp(self) -> u64 {
        self.count << Self::MARK_BITS | self.mark & ((1 << Self::MARK_BITS) - 1)
    }

    /// The number in a stamp.
    pub(crate) fn count_of(stamp: u64) -> u64 {
        stamp >> Self::MARK_BITS
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.count, self.mark)
    }
}

/// No epoch.
#[derive(Debug)]
pub(crate) struct NoEpoch;

impl FromStr for Epoch {
    type Err = NoEpoch;

    fn from_str(text: &str) -> Result<Self, NoEpoch> {
        let (count, mark) = text.split_once('-').ok_or(NoEpoch)?;
        let count = count.parse().ok().filter(|count| *count < Self::END).ok_or(NoEpoch)?;
        Ok(Self { count, mark: u64::from_str_radix(mark, 16).map_err(|_| NoEpoch)? })
    }
}

/// A rule that keeps entries from coming back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ban {
    /// A purge.
    Purge(Purge),
    /// One key: it was removed, and the tier could not be told.
    Key(Key),
}

impl Ban {
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
pub(crate) const BANS: usize = 32_768;
/// Bans of prefixes among them: every one has to be looked at.
pub(crate) const PREFIXES: usize = 1024;

/// The bans in force, numbered. Pure.
///
/// Names, tags and keys are looked up by their hash, so that how many there are costs nothing. Two that share one ban each other's
/// entries: that costs a fetch, and gives out nothing that it should not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BanList {
    /// What has not passed this one is banned, whatever it is.
    floor: u64,
    newest: u64,
    bans: BTreeMap<u64, Ban>,
    /// The number by the hash of what is banned.
    exact: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    /// Oldest first.
    prefixes: VecDeque<(u64, Box<str>)>,
}

fn name_hash(name: &str) -> u64 {
    Key::of(&[b"name", name.as_bytes()]).low()
}

fn tag_hash(tag: &str) -> u64 {
    Key::of(&[b"tag", tag.as_bytes()]).low()
}

fn key_hash(key: &Key) -> u64 {
    Key::of(&[b"key", key.bytes()]).low()
}

impl BanList {
    /// The number of the newest.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Adds the ban of a number above the [newest](Self::newest); others are known already.
    pub(crate) fn add(&mut self, number: u64, ban: Ban) {
        if number <= self.newest {
            return;
        }
        self.newest = number;
        let hash = match &ban {
            Ban::Purge(Purge::All) => return self.raise(number),
            Ban::Purge(Purge::Prefix(prefix)) => {
                if let Some(at) = self.prefixes.iter().position(|(_, other)| other == prefix)
                    && let Some((before, _)) = self.prefixes.remove(at)
                {
                    self.bans.remove(&before);
                }
                self.prefixes.push_back((number, prefix.clone()));
                None
            }
            Ban::Purge(Purge::Name(name)) => Some(name_hash(name)),
            Ban::Purge(Purge::Tag(tag)) => Some(tag_hash(tag)),
            Ban::Key(key) => Some(key_hash(key)),
        };
        self.bans.insert(number, ban);
        if let Some(before) = hash.and_then(|hash| self.exact.insert(hash, number)) {
            self.bans.remove(&before);
        }
        if self.prefixes.len() > PREFIXES
            && let Some((oldest, _)) = self.prefixes.front()
        {
            self.raise(*oldest);
        }
        if self.bans.len() > BANS
            && let Some(oldest) = self.bans.keys().next()
        {
            self.raise(*oldest);
        }
    }

    /// Bans everything up to a number.
    pub(crate) fn raise(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        self.newest = self.newest.max(floor);
        self.bans = self.bans.split_off(&floor.saturating_add(1));
        self.exact.retain(|_, number| *number > floor);
        self.prefixes.retain(|(number, _)| *number > floor);
    }

    /// Whether what has passed every ban up to `era` is banned by a later one.
    pub(crate) fn bars(&self, era: u64, key: &Key, entry: &Entry) -> bool {
        if era >= self.newest {
            return false;
        }
        let since = |hash: u64| self.exact.get(&hash).is_some_and(|number| *number > era);
        era < self.floor
            || since(name_hash(&entry.name))
            || since(key_hash(key))
            || entry.tags.iter().any(|tag| since(tag_hash(tag)))
            || self
                .prefixes
                .iter()
                .rev()
                .take_while(|(number, _)| *number > era)
                .any(|(_, prefix)| entry.name.starts_with(&**prefix))
    }

    /// Everything up to this number is banned.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// The bans after a number, oldest first.
    pub(crate) fn since(&self, number: u64) -> impl Iterator<Item = (u64, &Ban)> {
        self.bans.range(number.saturating_add(1)..).map(|(number, ban)| (*number, ban))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bans.len()
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
        let number = list.newest().saturating_add(1);
        list.add(number, ban);
        self.newest.store(number, Ordering::Release);
        number
    }

    /// Whether something of this era is banned since.
    pub(crate) fn bars(&self, era: Era, key: &Key, entry: &Entry) -> bool {
        era < self.era() && self.list.read().bars(era.0, key, entry)
    }

    /// Reads the list.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&BanList) -> T) -> T {
        read(&self.list.read())
    }
}

#[cfg(test)]
#[path = "purge_tests.rs"]
mod tests;
