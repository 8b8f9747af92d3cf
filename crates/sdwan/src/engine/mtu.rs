//! How long packets may be that go by a path (RFC 8899: DPLPMTUD).
//!
//! Probes are as long as what they ask about, and nobody on the way cuts them; whoever gets one says so. Behind each goes a short one: a probe is lost only
//! where the short one got through, for a path that loses everything is not a narrow one. What others on the way say is a hint where to look, and nothing more.
//!
//! Octets are those of packets inside the tunnel. Probes stand beside hellos, and count neither as signs of life nor as loss.

use std::time::Duration;

use outwork_engine::Time;

use super::liveness::Measured;

/// Octets of a probe without what fills it up.
pub const LENGTH: usize = 12;
/// Octets of the one that goes behind.
const SHORT: u16 = 16;
/// The search ends where what passes and what does not are so near to each other.
const STEP: u16 = 8;
/// Looks that somebody else's word is the reason for are so far apart.
const DOUBT: Duration = Duration::from_millis(100);
/// What machines take to answer.
const SLACK: Duration = Duration::from_millis(50);
/// By how much the long one may be overtaken by the short one.
const OVERTAKEN: Duration = Duration::from_millis(5);
/// The first pause where nothing gets through; it doubles so many times.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSES: u8 = 7;

const KIND: u8 = 2;
const ANSWER: u8 = 1;

/// A probe, or the answer to one. The first octet is 0, as that of a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Counts tries.
    pub number: u32,
    /// Octets of the packet that it stands for.
    pub size: u16,
    /// It has come, says who got it.
    pub answer: bool,
}

impl Probe {
    /// As octets, without what fills it up to [`Probe::length`].
    pub fn encode(&self) -> [u8; LENGTH] {
        let ([n0, n1, n2, n3], [s0, s1]) = (self.number.to_be_bytes(), self.size.to_be_bytes());
        [0, KIND, u8::from(self.answer), 0, n0, n1, n2, n3, s0, s1, 0, 0]
    }

    /// From octets; none when they are no probe, or one that was cut.
    pub fn decode(octets: &[u8]) -> Option<Probe> {
        let [0, KIND, flags, _, n0, n1, n2, n3, s0, s1, _, _] = *octets.first_chunk::<LENGTH>()? else { return None };
        let (number, size) = (u32::from_be_bytes([n0, n1, n2, n3]), u16::from_be_bytes([s0, s1]));
        let probe = Probe { number, size, answer: flags & ANSWER != 0 };
        (octets.len() >= probe.length()).then_some(probe)
    }

    /// So long it is on its way.
    pub fn length(&self) -> usize {
        if self.answer { LENGTH } else { usize::from(self.size).max(LENGTH) }
    }

    /// What is said of one that has come.
    pub fn answered(&self) -> Probe {
        Probe { answer: true, ..*self }
    }
}

/// Between which lengths a path is looked at, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MtuSettings {
    /// The longest packet that there is.
    pub most: u16,
    /// What every path is trusted with until it shows otherwise: IPv6 needs it inside (BASE_PLPMTU).
    pub base: u16,
    /// What remains where not even that passes (MIN_PLPMTU).
    pub least: u16,
    /// Between looks whether the longest packets still pass, on paths that are needed (CONFIRMATION_TIMER).
    pub confirm: Duration,
    /// After so long a path that takes less than the longest is tried with it again (PMTU_RAISE_TIMER).
    pub raise: Duration,
    /// A length that is lost so often in a row is too much (MAX_PROBES).
    pub tries: u8,
}

impl Default for MtuSettings {
    fn default() -> Self {
        MtuSettings {
            most: 1420,
            base: 1280,
            least: 576,
            confirm: Duration::from_millis(500),
            raise: Duration::from_secs(600),
            tries: 3,
        }
    }
}

impl MtuSettings {
    fn base(&self) -> u16 {
        self.base.min(self.most)
    }

    fn least(&self) -> u16 {
        self.least.min(self.base())
    }
}

/// Packets may be longer from now on, or must be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MtuChange {
    /// Before.
    pub from: u16,
    /// From now on.
    pub to: u16,
}

impl std::fmt::Display for MtuChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.to > self.from {
            true => "longer packets get through",
            false => "longer packets are lost while short ones get through",
        })
    }
}

/// A length that is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trial {
    size: u16,
    /// The numbers of the first try and of the last.
    first: u32,
    last: u32,
    /// Whether the last one is under way.
    under_way: bool,
    /// Whether the short one behind it has got through.
    passes: bool,
    /// Tries that were lost,
    lost: u8,
    /// and those in a row of which nothing was heard.
    silent: u8,
    /// When the one under way is given up, or the next one leaves.
    at: Time,
}

/// What is known of one path.
#[derive(Debug, Clone)]
pub struct PathMtu {
    mtu: u16,
    /// The longest that passes,
    low: u16,
    /// and the shortest that is known not to.
    high: u16,
    /// What somebody on the way has said.
    hint: Option<u16>,
    trial: Option<Trial>,
    number: u32,
    alive: bool,
    doubted: bool,
    /// When the length in use was last seen to pass.
    confirmed: Time,
    /// When the search last found something out.
    searched: Time,
}

impl PathMtu {
    /// A path that nothing is known of.
    pub fn new(settings: &MtuSettings, now: Time) -> PathMtu {
        PathMtu {
            mtu: settings.base(),
            low: settings.least(),
            high: settings.most.saturating_add(1),
            hint: None,
            trial: None,
            number: 0,
            alive: false,
            doubted: false,
            confirmed: now,
            searched: now,
        }
    }

    /// Octets of the longest packet that may go.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Other settings are in force: all but what passes is asked anew.
    pub fn configure(&mut self, settings: &MtuSettings, now: Time) -> Option<MtuChange> {
        self.low = self.low.clamp(settings.least(), settings.most);
        self.high = settings.most.saturating_add(1);
        (self.trial, self.hint, self.searched) = (None, None, now);
        self.settle(settings)
    }

    /// The path carries, or does not any more. One that has come back may lead another way.
    pub fn alive(&mut self, alive: bool) {
        if alive != self.alive {
            (self.alive, self.trial, self.doubted) = (alive, None, alive);
        }
    }

    /// Somebody on the way says how much passes. Whether that is so is looked at soon.
    pub fn hint(&mut self, size: u16, settings: &MtuSettings) {
        if (settings.least()..self.high).contains(&size) {
            self.hint = Some(size);
            self.doubted |= size < self.mtu;
        }
    }

    /// Data is lost while hellos get through: whether that is for their length is looked at soon.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// The length that the search asks about next; none when it is over.
    fn next(&self, settings: &MtuSettings) -> Option<u16> {
        if self.high > settings.most {
            return (self.low < settings.most).then_some(settings.most);
        }
        let open = |size: &u16| self.low < *size && *size < self.high;
        let named = self.hint.filter(open).or(Some(settings.base()).filter(open));
        let wide = self.high.saturating_sub(self.low);
        named.or_else(|| (wide > STEP).then_some(self.low + wide / 2))
    }

    /// What follows for packets from what is known.
    fn settle(&mut self, settings: &MtuSettings) -> Option<MtuChange> {
        let base = settings.base();
        let to = if base < self.high { self.low.max(base) } else { self.low };
        let from = std::mem::replace(&mut self.mtu, to);
        (from != to).then_some(MtuChange { from, to })
    }

    /// When to call [`PathMtu::timeout`] and [`PathMtu::poll`]; `busy` where the path carries traffic, or may have to at once.
    pub fn due(&self, busy: bool, settings: &MtuSettings) -> Time {
        if !self.alive {
            return Time::MAX;
        }
        if let Some(trial) = &self.trial {
            return trial.at;
        }
        if self.next(settings).is_some() {
            return self.searched;
        }
        let raise = if self.low < settings.most { self.searched + settings.raise } else { Time::MAX };
        let confirm = match (self.low > settings.least(), self.doubted, busy) {
            (true, true, _) => self.confirmed + DOUBT,
            (true, false, true) => self.confirmed + settings.confirm,
            // Of what is left nothing can be taken away.
            _ => Time::MAX,
        };
        raise.min(confirm)
    }

    /// What silence until `now` has come to.
    pub fn timeout(&mut self, now: Time, settings: &MtuSettings) -> Option<MtuChange> {
        let trial = self.trial.as_mut().filter(|trial| trial.under_way && trial.at <= now)?;
        trial.under_way = false;
        if trial.passes {
            (trial.lost, trial.silent, trial.at) = (trial.lost + 1, 0, now);
        } else {
            trial.at = now + PAUSE * 2u32.pow(u32::from(trial.silent.min(PAUSES)));
            trial.silent = trial.silent.saturating_add(1);
        }
        if trial.lost < settings.tries {
            return None;
        }
        self.high = trial.size;
        if self.high <= self.low {
            // What has passed does so no longer (RFC 8899 section 4.3: black hole).
            self.low = settings.least();
            self.high = self.high.max(self.low);
        }
        (self.trial, self.doubted, self.confirmed, self.searched) = (None, false, now, now);
        self.settle(settings)
    }

    /// What is to be sent now, in this order.
    pub fn poll(&mut self, now: Time, busy: bool, measured: Measured, settings: &MtuSettings) -> Option<[Probe; 2]> {
        if self.due(busy, settings) > now || self.trial.is_some_and(|trial| trial.under_way) {
            return None;
        }
        let number = self.number.wrapping_add(1);
        let mut trial = match self.trial {
            Some(trial) => trial,
            None => {
                let size = self.begin(now, settings);
                let (under_way, passes, lost, silent) = (true, false, 0, 0);
                Trial { size, first: number, last: number, under_way, passes, lost, silent, at: now }
            }
        };
        let wait = measured.round_trip * 2 + measured.jitter * 4 + SLACK;
        (trial.last, trial.under_way, trial.passes, trial.at) = (number, true, false, now + wait);
        (self.number, self.trial) = (number, Some(trial));
        Some([trial.size, SHORT].map(|size| Probe { number, size, answer: false }))
    }

    /// The length that is tried now: what the search asks for, the longest again after a long time, or the one in use.
    fn begin(&mut self, now: Time, settings: &MtuSettings) -> u16 {
        if let Some(size) = self.next(settings) {
            return size;
        }
        if self.low < settings.most && now.since(self.searched) >= settings.raise {
            self.high = settings.most.saturating_add(1);
            return settings.most;
        }
        self.low
    }

    /// The other end says that one has come.
    pub fn answer(
        &mut self,
        now: Time,
        probe: &Probe,
        measured: Measured,
        settings: &MtuSettings,
    ) -> Option<MtuChange> {
        let trial = self.trial.as_mut()?;
        let Probe { number, size, answer: true } = *probe else { return None };
        if number.wrapping_sub(trial.first) > trial.last.wrapping_sub(trial.first) {
            return None;
        }
        if size == trial.size {
            if size > self.low {
                (self.low, self.searched) = (size, now);
            }
            (self.trial, self.doubted, self.confirmed) = (None, false, now);
            return self.settle(settings);
        }
        if size == SHORT && number == trial.last && trial.under_way && !trial.passes {
            trial.passes = true;
            trial.at = trial.at.min(now + measured.jitter * 4 + OVERTAKEN);
        }
        None
    }
}

#[cfg(test)]
#[path = "mtu_tests.rs"]
mod tests;
