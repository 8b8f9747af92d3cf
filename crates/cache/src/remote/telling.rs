//! How instances tell each other of purges through Redis. Pure.
//!
//! Every purge has a number, which Redis counts, and a mark, which is random: together its *epoch*. Redis keeps the epoch of the last
//! purge under one key, the latest purges in a sorted set, and publishes each, all in one script. An entry in Redis bears the epoch that its
//! writer knew of. Who reads an entry asks for the epoch with it, in one command; so it knows whether it has heard of every purge, and gives
//! out nothing that one of them means, whatever became of the messages.
//!
//! Redis may forget: when it restarts from an older snapshot, without one, or as a replica that lagged behind. It counts again from there, and
//! the marks tell the purges of one history from those of another. Whoever notices takes in what it had not heard, and resets: nothing that is
//! in Redis counts from then on.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use crate::entry::{Entry, Key};
use crate::purge::{BANS, Ban, BanList, Epoch, Purge};

/// What instances tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A purge, in every tier of every instance.
    Purge(Purge),
    /// A key was removed from Redis, and Redis could not be told at the time.
    Key(Key),
    /// More keys than could be told: nothing that is in Redis counts.
    Forget,
    /// Redis has lost purges: nothing that is in it counts.
    Reset {
        /// What who tells this knew last.
        known: Epoch,
        /// What Redis had instead.
        seen: Epoch,
    },
}

impl Told {
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Purge(purge) => Ban::Purge(purge.clone()).encode(),
            Self::Key(key) => Ban::Key(*key).encode(),
            Self::Forget => "f".to_owned(),
            Self::Reset { known, seen } => format!("r{known} {seen}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        match Ban::decode(text) {
            Some(Ban::Purge(purge)) => Some(Self::Purge(purge)),
            Some(Ban::Key(key)) => Some(Self::Key(key)),
            None if text == "f" => Some(Self::Forget),
            None => {
                let (known, seen) = text.strip_prefix('r')?.split_once(' ')?;
                Some(Self::Reset { known: known.parse().ok()?, seen: seen.parse().ok()? })
            }
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

/// What is published and kept: `epoch before origin text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) epoch: Epoch,
    /// The mark of the one before.
    pub(crate) before: u64,
    pub(crate) origin: Origin,
    pub(crate) told: Told,
}

impl Message {
    /// `None` for what no instance writes.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (epoch, rest) = text.split_once(' ')?;
        let (before, rest) = rest.split_once(' ')?;
        let (origin, told) = rest.split_once(' ')?;
        Some(Self {
            epoch: Epoch::from_str(epoch).ok().filter(|epoch| epoch.count > 0)?,
            before: u64::from_str_radix(before, 16).ok()?,
            origin: Origin(u64::from_str_radix(origin, 16).ok()?),
            told: Told::decode(told)?,
        })
    }

    fn follows(&self, epoch: Epoch) -> bool {
        self.epoch.count == epoch.count + 1 && self.before == epoch.mark
    }
}

/// Counts, keeps and publishes, and gives the epoch. What is kept of later numbers is of another history. Keys: epoch, purges. Arguments: channel, mark, origin, text, how many to keep.
pub(super) const TELL: &str = "local s = redis.call('GET', KEYS[1]) or '' \
    local n = tonumber(string.match(s, '^%d+') or '0') + 1 \
    local e = string.format('%.0f', n) .. '-' .. ARGV[2] \
    local m = e .. ' ' .. (string.match(s, '%x+$') or '0') .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] \
    redis.call('SET', KEYS[1], e) \
    redis.call('ZREMRANGEBYSCORE', KEYS[2], n, '+inf') \
    redis.call('ZADD', KEYS[2], n, m) \
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -(tonumber(ARGV[5]) + 1)) \
    redis.call('PUBLISH', ARGV[1], m) \
    return e";

/// As above, if the epoch is still the one given; it counts on from that or from the number that follows, whichever is more.
pub(super) const RESET: &str = "local s = redis.call('GET', KEYS[1]) or '' \
    if s ~= ARGV[6] then return false end \
    local n = math.max(tonumber(string.match(s, '^%d+') or '0'), tonumber(ARGV[7])) + 1 \
    local e = string.format('%.0f', n) .. '-' .. ARGV[2] \
    local m = e .. ' ' .. (string.match(s, '%x+$') or '0') .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] \
    redis.call('SET', KEYS[1], e) \
    redis.call('ZREMRANGEBYSCORE', KEYS[2], n, '+inf') \
    redis.call('ZADD', KEYS[2], n, m) \
    redis.call('PUBLISH', ARGV[1], m) \
    return e";

/// Purges in a row that are known, and what they ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// The one before the first.
    base: Epoch,
    marks: VecDeque<u64>,
    list: BanList,
}

impl History {
    /// Where nothing is known but the epoch.
    pub(crate) fn at(base: Epoch) -> Self {
        let mut list = BanList::default();
        list.raise(base.count);
        Self { base, marks: VecDeque::new(), list }
    }

    /// The epoch of the last.
    pub(crate) fn epoch(&self) -> Epoch {
        let count = self.base.count + self.marks.len() as u64;
        Epoch { count, mark: self.marks.back().copied().unwrap_or(self.base.mark) }
    }

    /// The mark of a number.
    fn mark(&self, count: u64) -> Option<u64> {
        match count.checked_sub(self.base.count)? {
            0 => Some(self.base.mark),
            after => self.marks.get(usize::try_from(after - 1).ok()?).copied(),
        }
    }

    fn knows(&self, epoch: Epoch) -> bool {
        self.mark(epoch.count) == Some(epoch.mark)
    }

    /// Whether an entry was written at an epoch of this history, and nothing since bans it.
    pub(crate) fn admits(&self, stamp: u64, key: &Key, entry: &Entry) -> bool {
        let count = Epoch::count_of(stamp);
        let known = self.mark(count).is_some_and(|mark| Epoch { count, mark }.stamp() == stamp);
        known && !self.list.bars(count, key, entry)
    }

    /// Adds the one that follows. Another changes nothing.
    fn add(&mut self, message: Message) {
        if !message.follows(self.epoch()) {
            return;
        }
        let Message { epoch, told, .. } = message;
        self.marks.push_back(epoch.mark);
        match told {
            Told::Purge(purge) => self.list.add(epoch.count, Ban::Purge(purge)),
            Told::Key(key) => self.list.add(epoch.count, Ban::Key(key)),
            Told::Forget | Told::Reset { .. } => self.list.raise(epoch.count),
        }
        if self.marks.len() > BANS
            && let Some(mark) = self.marks.pop_front()
        {
            self.base = Epoch { count: self.base.count + 1, mark };
        }
    }
}

/// What is known of what was told.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// `None` before anything is known.
    history: Option<History>,
    /// What was told up to that epoch holds in the other tiers already, from before a restart.
    applied: Option<Epoch>,
    /// Histories that Redis has lost.
    past: VecDeque<History>,
}

/// Lost histories that are remembered.
const PAST: usize = 4;

/// What follows from a message, for the tiers of this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heed {
    /// Nothing: it is known.
    Known,
    /// Purge this, if anything, and then [note](Heard::note) the message.
    Purge(Option<Purge>),
    /// It does not follow what is known: ask Redis for what was told.
    Ask,
}

/// What follows from asking Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaughtUp {
    /// Nothing: all of it is known.
    Known,
    /// Ask for everything that is kept.
    AskForAll,
    /// Nothing was known: whatever is here may be older than what was told. Purge everything, and then take in the history.
    First(History),
    /// Purge these, and then take in the history.
    Purge(Vec<Purge>, History),
    /// Redis has lost some that were known. Purge these, or everything where it does not have all that it was told since; and reset.
    Lost(Option<Vec<Purge>>),
}

impl Heard {
    /// `applied`: what was told up to that epoch holds already.
    pub(crate) fn new(applied: Option<Epoch>) -> Self {
        Self { history: None, applied, past: VecDeque::new() }
    }

    /// The epoch that is known.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.history.as_ref().map(History::epoch)
    }

    pub(crate) fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// The last that is known, if only from before a restart.
    pub(crate) fn known(&self) -> Epoch {
        self.epoch().or(self.applied).unwrap_or_default()
    }

    /// What follows from a message that was published.
    pub(crate) fn message(&self, message: &Message, own: Origin) -> Heed {
        match &self.history {
            Some(history) if history.knows(message.epoch) => Heed::Known,
            Some(history) if message.follows(history.epoch()) => Heed::Purge(self.purge(message, own)),
            _ => Heed::Ask,
        }
    }

    /// Takes in a message that was heeded: from here on, entries that have passed it count.
    pub(crate) fn note(&mut self, message: Message) {
        if let Some(history) = &mut self.history {
            history.add(message);
        }
    }

    /// Takes in what asking has given, once it was heeded.
    pub(crate) fn replace(&mut self, history: History) {
        let before = self.history.replace(history).or(self.applied.map(History::at));
        self.past.extend(before.filter(|before| !self.is_known(before.epoch())));
        if self.past.len() > PAST {
            self.past.pop_front();
        }
    }

    fn is_known(&self, epoch: Epoch) -> bool {
        match &self.history {
            Some(history) => history.knows(epoch),
            None => self.applied == Some(epoch),
        }
    }

    /// What a message asks this instance to purge. Who resets may have known what Redis has lost, and this instance has not heard of.
    fn purge(&self, message: &Message, own: Origin) -> Option<Purge> {
        match &message.told {
            _ if message.origin == own => None,
            Told::Purge(purge) => Some(purge.clone()),
            Told::Reset { known, .. } if !self.is_known(*known) && !self.past.iter().any(|past| past.knows(*known)) => {
                Some(Purge::All)
            }
            Told::Key(_) | Told::Forget | Told::Reset { .. } => None,
        }
    }

    /// What follows from what Redis has: its epoch and what is kept, oldest first; all of it, or from the number on that is known.
    pub(crate) fn catch_up(&self, epoch: Epoch, kept: &[Message], all: bool, own: Origin) -> CaughtUp {
        if self.epoch() == Some(epoch) {
            return CaughtUp::Known;
        }
        let known = self.epoch().or(self.applied);
        // Before anything was told there is no message.
        let nothing_yet = known.is_some_and(|known| known == Epoch::default());
        let last_known = kept.iter().rposition(|message| self.is_known(message.epoch));
        let (start, new) = match (last_known, known) {
            (Some(at), _) => (kept.get(at).map_or_else(Epoch::default, |message| message.epoch), kept.get(at + 1..)),
            (None, _) if !all => return CaughtUp::AskForAll,
            (None, None) => return CaughtUp::First(chain(epoch, kept)),
            (None, Some(_)) => (Epoch::default(), Some(kept)),
        };
        let new = new.unwrap_or_default();
        let purges = || new.iter().filter_map(|message| self.purge(message, own)).collect::<Vec<_>>();
        if known == Some(start) && (last_known.is_some() || nothing_yet) {
            return match (&self.history, follows(start, new, epoch)) {
                (None, _) if !all => CaughtUp::AskForAll,
                (_, false) => CaughtUp::Lost(None),
                (None, true) => CaughtUp::Purge(purges(), chain(epoch, kept)),
                (Some(history), true) => {
                    let mut history = history.clone();
                    new.iter().cloned().for_each(|message| history.add(message));
                    CaughtUp::Purge(purges(), history)
                }
            };
        }
        // Redis is not where it was. Another may have noticed, and what it knew may be what is known here.
        let reset = new.iter().rposition(|message| matches!(message.told, Told::Reset { .. }));
        let Some((before, [reset, after @ ..])) = reset.and_then(|at| new.split_at_checked(at)) else {
            return CaughtUp::Lost(follows(start, new, epoch).then(purges));
        };
        let complete = match reset.told {
            Told::Reset { seen, .. } => follows(start, before, seen),
            _ => false,
        };
        match reset.told {
            Told::Reset { known: theirs, .. } if complete && follows(reset.epoch, after, epoch) => {
                if known == Some(theirs) {
                    return CaughtUp::Purge(purges(), chain(epoch, kept));
                }
                // It knew less: others may have missed what is known here.
                CaughtUp::Lost(self.is_known(theirs).then(purges))
            }
            _ => CaughtUp::Lost(None),
        }
    }
}

/// Whether messages follow one another from an epoch to another.
fn follows(start: Epoch, messages: &[Message], end: Epoch) -> bool {
    let mut last = start;
    messages.iter().all(|message| message.follows(std::mem::replace(&mut last, message.epoch))) && last == end
}

/// The history of the messages that lead to an epoch without a gap.
fn chain(epoch: Epoch, kept: &[Message]) -> History {
    let mut base = epoch;
    let leads = |message: &&Message| {
        let leads = message.epoch == base;
        base = if leads { Epoch { count: base.count - 1, mark: message.before } } else { base };
        leads
    };
    // Before a reset, numbers are of another history, and nothing counts that is as old.
    let length = kept.iter().rev().take_while(leads).count();
    let mut history = History::at(base);
    kept.iter().skip(kept.len() - length).cloned().for_each(|message| history.add(message));
    history
}

#[cfg(test)]
#[path = "telling_tests.rs"]
mod tests;
