//! What the other end's silence proves.
//!
//! Timers alone have to wait until whatever could be late can no longer be. But who says for how long nothing has come gives the other end something to count: of
//! what that one knows to have sent meanwhile, long enough ago to have arrived, nothing has. Enough of it in a row is no chance and no lateness. So each end tells
//! the other of silence, by the path itself and by others that are well, and who finds proof leaves the path at once. Timers are for paths that carry too little to prove anything.

use std::time::Duration;

use outwork_engine::Time;

use super::liveness::State;
use super::message::Silence;
use super::site::PathId;
use super::{Engine, Output};

/// Datagrams in a row that are no chance: a third of them lost leaves one in six thousand, and a hello has to be among them as well.
const PROOF: u32 = 8;
/// The same of a path that loses.
const PROOF_OF_LOSSY: u32 = 16;
/// Moments that are remembered: an eighth of a second at least, but for hellos.
const MOMENTS: usize = 22;
/// Between two of them, unless a hello is sent: in [`TICK`]s, six milliseconds.
const APART: u32 = 23;
/// Nanoseconds of a tick, as a power of two: a quarter of a millisecond.
const TICK: u32 = 18;
/// Other paths by which silence is told of.
const OTHERS: usize = 2;

/// What was sent by a path until some moments, of late.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    moments: [Moment; MOMENTS],
    /// The latest of them.
    latest: u8,
}

#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    /// The end of the tick of it, in ticks, which wrap after a fortnight: what is so long ago is overwritten by the first moments after it. 0 is none.
    at: u32,
    /// Datagrams, which wrap.
    sent: u32,
    /// Hellos among them, likewise.
    hellos: u32,
}

fn ticks(time: Time) -> u32 {
    (time.as_nanos() >> TICK) as u32
}

impl History {
    /// So much was sent until now; `hello` is the number of the hello that has just been, or 0.
    pub(super) fn note(&mut self, now: Time, sent: u32, hello: u32) {
        let latest = usize::from(self.latest) % MOMENTS;
        let (Moment { at, hellos, .. }, now) = (self.moments[latest], ticks(now).wrapping_add(1));
        if hello == 0 && now.wrapping_sub(at) < APART {
            return;
        }
        let next = (latest + 1) % MOMENTS;
        self.moments[next] = Moment { at: now, sent, hellos: if hello == 0 { hellos } else { hello } };
        self.latest = next as u8;
    }

    /// Datagrams that were certainly sent between the two times, and hellos among them. What was sent is known some time later: nothing is counted too early.
    fn between(&self, from: Time, to: Time) -> (u32, u32) {
        // Whole ticks alone: those in which the two times lie count on neither side.
        let known = ticks(from).wrapping_add(2)..=ticks(to);
        // In the order in which they were noted, as several may be of one tick.
        let (newer, older) = self.moments.split_at(usize::from(self.latest) % MOMENTS + 1);
        let mut within = older.iter().chain(newer).filter(|moment| moment.at > 0 && known.contains(&moment.at));
        let Some(first) = within.next() else { return (0, 0) };
        let last = within.next_back().unwrap_or(first);
        (last.sent.wrapping_sub(first.sent), last.hellos.wrapping_sub(first.hellos))
    }
}

impl Engine {
    /// A path is silent for so long that the other end is to hear of it: once everything that has come is handed in.
    pub(super) fn tell_silence(&mut self, now: Time, id: PathId) {
        let settings = self.settings.liveness;
        if self.path_mut(id).is_some_and(|path| path.liveness.tells(now, &settings)) {
            self.quiet.push(id);
            self.look();
        }
    }

    /// Everything that had come until some time was handed in: those that are silent all the same are told of.
    pub(super) fn tell_silences(&mut self, now: Time, until: Time) {
        let settings = self.settings.liveness;
        let late = self.lateness(now);
        for of in std::mem::take(&mut self.quiet) {
            let Some(path) = self.path_mut(of).filter(|path| path.liveness.is_up()) else { continue };
            let (site, key) = (path.site, path.spec.key);
            let silence = Silence { lasts: until.since(path.liveness.last_heard()), late };
            if silence.lasts < settings.quiet() {
                continue;
            }
            let paths = self.remotes.get(site as usize).map_or(&[][..], |remote| &remote.paths);
            let well = |id: &&PathId| self.known(**id).is_some_and(|(_, state)| **id != of && state == State::Up);
            // One that shares an uplink may share its fate, and one by a hub takes longer.
            let risk =
                |id: &PathId| self.known(*id).map(|(spec, _)| (spec.key.fails_with(&key), spec.key.via.is_some()));
            let mut others: Vec<PathId> = paths.iter().filter(well).copied().collect();
            others.sort_by_key(risk);
            let by = std::iter::once(of).chain(others.into_iter().take(OTHERS));
            self.outputs.extend(by.map(|by| Output::Silent { by, of, silence }));
        }
    }

    /// The other end says for how long nothing has come by a path.
    pub(super) fn silent(&mut self, now: Time, by: PathId, of: PathId, silence: Silence) {
        let settings = self.settings.liveness;
        let late = self.lateness(now).max(silence.late);
        let Some(path) = self.path_mut(by) else { return };
        let (site, back) = (path.site, path.quality.rtt() / 2);
        let heard = path.liveness.heard(now);
        self.changed(now, by, heard);
        let Some(path) = self.path_mut(of).filter(|path| path.site == site && path.liveness.is_up()) else { return };
        let measured = path.measured();
        // What was said left them as long ago as it takes from there, and what we had sent by then takes as long as it takes to there: of one path both together
        // are its round trip, and of two either may be slower in one direction than in the other.
        let under_way = if by == of { measured.round_trip } else { back + measured.round_trip };
        let ago = |time: Duration| Time::from_nanos(now.as_nanos().saturating_sub(time.as_nanos() as u64));
        let to = ago(under_way + measured.widen(&settings) + late);
        let (sent, hellos) = path.sent.between(ago(silence.lasts + back), to);
        let enough = if measured.loses { PROOF_OF_LOSSY } else { PROOF };
        if sent < enough || silence.lasts < settings.quiet() {
            return;
        }
        // Hellos pass by what waits for its turn in a queue of this host: without one among them it may be that.
        if hellos == 0 {
            path.liveness.hasten(now, &settings);
            return self.wait_for(of);
        }
        let change = path.liveness.unheard(now, &settings);
        self.changed(now, of, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_between_two_times_is_counted_and_never_too_much_of_it() {
        let at = |millis| Time::from_millis(1000 + millis);
        let mut history = History::default();
        assert_eq!(history.between(at(0), at(100)), (0, 0));
        let sent = |millis: u64| u32::MAX.wrapping_add(10 * millis as u32);
        for millis in 0..200 {
            history.note(at(millis), sent(millis), if millis % 30 == 0 { 1 + (millis / 30) as u32 } else { 0 });
        }
        // Two of one tick, wherever they come to lie: neither is before the other by more than there was.
        let mut close = History::default();
        close.note(at(0), 6, 1);
        for round in 1..=2 * MOMENTS as u64 {
            let (now, sent) = (50 * round, 10 * round as u32);
            close.note(at(now), sent, 0);
            close.note(at(now), sent + 1, 1 + round as u32);
            assert_eq!(close.between(at(now - 5), at(now + 5)), (1, 1), "{round}");
        }
        for (from, to) in [(170, 190), (171, 189), (150, 199), (190, 190), (195, 170), (0, 10)] {
            let (datagrams, hellos) = history.between(at(from), at(to));
            let most = to.saturating_sub(from);
            assert!(u64::from(datagrams) <= 10 * most && u64::from(hellos) <= 1 + most / 30, "{from} {to}");
            if most >= 20 && from >= 150 {
                assert!(u64::from(datagrams) >= 10 * (most - 14), "{from} {to}: {datagrams}");
            }
        }
    }
}
