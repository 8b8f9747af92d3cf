//! How instances tell each other of purges through Redis. Pure.
//!
//! Every purge has a number, the *epoch*: Redis counts it, keeps the latest purges in a sorted set under it, and publishes it, all in one
//! script. An entry in Redis bears the epoch that its writer knew of. Who reads an entry asks for the epoch with it, in one command; so it
//! knows whether it has heard of every purge, and gives out nothing that one of them means, whatever became of the messages.

use std::fmt;

use crate::entry::Key;
use crate::purge::{Ban, BanList, Purge};

/// What instances tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A purge, in every tier of every instance.
    Purge(Purge),
    /// A key was removed from Redis, and Redis could not be told at the time.
    Key(Key),
    /// Redis has lost purges: nothing that is in it counts.
    Reset,
}

impl Told {
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Purge(purge) => Ban::Purge(purge.clone()).encode(),
            Self::Key(key) => Ban::Key(*key).encode(),
            Self::Reset => "r".to_owned(),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        match Ban::decode(text) {
            Some(Ban::Purge(purge)) => Some(Self::Purge(purge)),
            Some(Ban::Key(key)) => Some(Self::Key(key)),
            None => (text == "r").then_some(Self::Reset),
        }
    }
}

/// Who tells: a random number of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) u64);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Redis counts in doubles, as its scripts do.
pub(super) const LAST: u64 = 1 << 53;

/// What is published and kept: `epoch origin text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) epoch: u64,
    pub(crate) origin: Origin,
    pub(crate) told: Told,
}

impl Message {
    /// `None` for what no instance writes.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (epoch, rest) = text.split_once(' ')?;
        let (origin, told) = rest.split_once(' ')?;
        Some(Self {
            epoch: epoch.parse().ok().filter(|epoch| *epoch <= LAST)?,
            origin: Origin(u64::from_str_radix(origin, 16).ok()?),
            told: Told::decode(told)?,
        })
    }
}

/// Counts, keeps and publishes. Keys: epoch, purges. Arguments: channel, origin, text, how many to keep.
pub(super) const TELL: &str = "local n = redis.call('INCR', KEYS[1]) \
    local m = string.format('%.0f', n) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] \
    redis.call('ZADD', KEYS[2], n, m) \
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -(tonumber(ARGV[4]) + 1)) \
    redis.call('PUBLISH', ARGV[1], m) \
    return n";

/// Where Redis has counted less than is known already, lets it count on from there, and resets. Keys and arguments as above, and the epoch
/// that is known.
pub(super) const RESET: &str = "local n = tonumber(ARGV[5]) \
    if tonumber(redis.call('GET', KEYS[1]) or '0') >= n then return n end \
    n = n + 1 \
    redis.call('SET', KEYS[1], string.format('%.0f', n)) \
    local m = string.format('%.0f', n) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] \
    redis.call('ZADD', KEYS[2], n, m) \
    redis.call('PUBLISH', ARGV[1], m) \
    return n";

/// What is known of what was told.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What entries in Redis are held against; its newest number is the epoch that is known. `None` before anything is known.
    list: Option<BanList>,
    /// What was told up to that epoch holds in the other tiers already, from before a restart.
    applied: Option<u64>,
}

/// What follows from what was heard, for the tiers of this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heed {
    /// Nothing: it is known, or concerns Redis alone.
    Nothing,
    /// Purge this.
    Purge(Purge),
    /// Something was not heard: ask Redis for what was told since.
    Ask,
}

/// What follows from asking Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaughtUp {
    /// Purge these.
    Purge(Vec<(u64, Purge)>),
    /// What was told is not all there any more: purge everything.
    Missed,
    /// Redis knows less than it told before: it is to be reset, and asked again.
    Lost(u64),
}

impl Heard {
    /// `applied`: what was told up to that epoch holds already.
    pub(crate) fn new(applied: Option<u64>) -> Self {
        Self { list: None, applied }
    }

    /// The epoch that is known.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.list.as_ref().map(BanList::newest)
    }

    pub(crate) fn list(&self) -> Option<&BanList> {
        self.list.as_ref()
    }

    /// Takes a message that was published.
    pub(crate) fn message(&mut self, message: Message, own: Origin) -> (Heed, Option<Noted>) {
        match self.epoch() {
            Some(epoch) if message.epoch <= epoch => (Heed::Nothing, None),
            Some(epoch) if message.epoch == epoch + 1 => {
                let heed = match &message.told {
                    Told::Purge(purge) if message.origin != own => Heed::Purge(purge.clone()),
                    _ => Heed::Nothing,
                };
                (heed, Some(Noted(message.epoch, message.told)))
            }
            _ => (Heed::Ask, None),
        }
    }

    /// Takes in what was heeded: from here on, entries that have passed it count.
    pub(crate) fn note(&mut self, Noted(epoch, told): Noted) {
        let list = self.list.get_or_insert_default();
        if epoch == list.newest() + 1 {
            match told {
                Told::Purge(purge) => list.add(epoch, Ban::Purge(purge)),
                Told::Key(key) => list.add(epoch, Ban::Key(key)),
                Told::Reset => list.raise(epoch),
            }
        }
    }

    /// Takes what Redis has: the epoch that it counts, and what was told after the known epoch, or ever if none is known. Oldest first.
    pub(crate) fn catch_up(&self, epoch: u64, messages: Vec<Message>, own: Origin) -> (CaughtUp, BanList) {
        let known = self.epoch().or(self.applied).unwrap_or(0);
        let mut list = self.list.clone().unwrap_or_default();
        if epoch < known {
            return (CaughtUp::Lost(known), list);
        }
        let mut missed = false;
        let mut purges = vec![];
        for Message { epoch, origin, told } in messages {
            if epoch <= list.newest() {
                continue;
            }
            if epoch > list.newest() + 1 {
                missed |= self.epoch().or(self.applied).is_some() && epoch > known + 1;
                list.raise(epoch - 1);
            }
            match told {
                Told::Purge(purge) => {
                    if origin != own && epoch > known && (self.epoch().is_some() || self.applied.is_some()) {
                        purges.push((epoch, purge.clone()));
                    }
                    list.add(epoch, Ban::Purge(purge));
                }
                Told::Key(key) => list.add(epoch, Ban::Key(key)),
                Told::Reset => list.raise(epoch),
            }
        }
        if list.newest() < epoch {
            missed |= self.epoch().or(self.applied).is_some() && epoch > known;
            list.raise(epoch);
        }
        (if missed { CaughtUp::Missed } else { CaughtUp::Purge(purges) }, list)
    }

    /// Takes in what asking has given, once it was heeded.
    pub(crate) fn replace(&mut self, list: BanList) {
        if self.list.as_ref().is_none_or(|known| known.newest() <= list.newest()) {
            self.list = Some(list);
        }
    }
}

/// What [`Heard::note`] is to take in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted(pub(crate) u64, pub(crate) Told);

#[cfg(test)]
#[path = "telling_tests.rs"]
mod tests;
