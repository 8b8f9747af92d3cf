//! How a path fares: round trip, jitter, loss in both directions, and what a call over it would sound like.
//!
//! Loss is counted, not probed for: each hello says how many datagrams its sender has sent, and what it makes of ours. Where there is traffic, all of it
//! takes part; where there is none, hellos do.

use std::time::Duration;

use outwork_engine::Time;

use super::hello::{Echo, Hello};

/// Slices that a window of losses has.
const SLICES: usize = 16;
/// A slice takes at least so long and so many datagrams, or [`SLICE_MOST`].
const SLICE: Duration = Duration::from_millis(500);
const SLICE_DATAGRAMS: u32 = 16;
const SLICE_MOST: Duration = Duration::from_secs(30);
/// Fewer losses than that in the whole window prove nothing.
const PROOF: u32 = 3;
/// Slices of what was lost just now. One takes at least so long and so many datagrams, or [`MOMENT_MOST`]: a quarter of a second where there is traffic.
const MOMENTS: usize = 8;
const MOMENT: Duration = Duration::from_millis(30);
const MOMENT_DATAGRAMS: u32 = 12;
const MOMENT_MOST: Duration = Duration::from_millis(250);
/// By how many deviations more has to be lost than chance may lose.
const DEVIATIONS: f64 = 3.0;
/// From which part on a path counts as one that loses.
const LOSSY: f64 = 0.002;

/// Losses of one direction: about eight seconds where there is traffic, at most eight minutes where there is none.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    slices: [Slice; SLICES],
    current: u8,
    begun: Time,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    expected: u32,
    /// Below zero where what a hello overtook came after it.
    lost: i32,
}

impl Losses {
    fn add(&mut self, now: Time, expected: u32, got: u32) {
        let current = usize::from(self.current) % SLICES;
        let (age, full) = (now.since(self.begun), self.slices[current].expected >= SLICE_DATAGRAMS);
        let index = if age >= SLICE && full || age >= SLICE_MOST {
            self.begun = now;
            let next = (current + 1) % SLICES;
            self.slices[next] = Slice::default();
            self.current = next as u8;
            next
        } else {
            current
        };
        self.slices[index].expected = self.slices[index].expected.saturating_add(expected);
        self.slices[index].lost = self.slices[index].lost.saturating_add(expected.wrapping_sub(got) as i32);
    }

    /// One that was counted as come, and is of no use any more.
    fn late(&mut self) {
        let current = usize::from(self.current) % SLICES;
        self.slices[current].lost = self.slices[current].lost.saturating_add(1);
    }

    fn sum(&self) -> (u64, u64) {
        let expected = self.slices.iter().map(|one| u64::from(one.expected)).sum();
        let lost: i64 = self.slices.iter().map(|one| i64::from(one.lost)).sum();
        (expected, lost.max(0).unsigned_abs())
    }

    /// The part that was lost, from 0 to 1.
    pub fn part(&self) -> f64 {
        let (expected, lost) = self.sum();
        if expected == 0 { 0.0 } else { (lost as f64 / expected as f64).min(1.0) }
    }

    /// The same, where there were enough losses to say so.
    pub fn proven(&self) -> f64 {
        if self.sum().1 >= u64::from(PROOF) { self.part() } else { 0.0 }
    }
}

/// Losses of one direction just now: about a quarter of a second where there is traffic, at most two seconds.
#[derive(Debug, Clone, Default)]
struct Recent {
    slices: [Slice; MOMENTS],
    current: u8,
    begun: Time,
}

impl Recent {
    fn add(&mut self, now: Time, expected: u32, got: u32) {
        let current = usize::from(self.current) % MOMENTS;
        let (age, full) = (now.since(self.begun), self.slices[current].expected >= MOMENT_DATAGRAMS);
        let index = if age >= MOMENT && full || age >= MOMENT_MOST {
            // Something that lost for a moment and no longer does is over.
            if full && self.slices[current].lost == 0 || age >= MOMENT_MOST * MOMENTS as u32 {
                self.slices = Default::default();
            }
            self.begun = now;
            let next = (current + 1) % MOMENTS;
            self.slices[next] = Slice::default();
            self.current = next as u8;
            next
        } else {
            current
        };
        self.slices[index].expected = self.slices[index].expected.saturating_add(expected);
        self.slices[index].lost = self.slices[index].lost.saturating_add(expected.wrapping_sub(got) as i32);
    }

    /// The part that is lost at least, whatever chance does. One slice proves nothing, however much it lost: a blink, in which all is lost, is over before anybody
    /// has gone elsewhere, and it is one loss rather than many.
    fn part(&self) -> f64 {
        let Some(worst) = self.slices.iter().max_by_key(|one| one.lost) else { return 0.0 };
        let all = |of: fn(&Slice) -> i64| self.slices.iter().map(of).sum::<i64>() - of(worst);
        let (expected, lost) = (all(|one| i64::from(one.expected)), all(|one| i64::from(one.lost)));
        // What came before its hello was counted may just have left the oldest slice, and what it makes up for not yet the next.
        let oldest = i64::from(self.slices[(usize::from(self.current) + 1) % MOMENTS].lost);
        let lost = lost.min(lost - oldest) as f64;
        if expected <= 0 || lost <= 0.0 { 0.0 } else { ((lost - DEVIATIONS * lost.sqrt()) / expected as f64).max(0.0) }
    }
}

/// What is measured of a path.
#[derive(Debug, Clone, Default)]
pub struct Quality {
    round_trip: Option<Duration>,
    /// Nanoseconds, RFC 3550 section 6.4.1.
    jitter: f64,
    /// Both, smoothed much more, in nanoseconds, and samples so far: what paths are compared by must not follow chance.
    steady: (Steady, Steady),
    transit: Option<i64>,
    /// Their last stamp, and when it came.
    heard: Option<(u64, Time)>,
    /// Their last sequence, and of which count it is,
    sequence: Option<(u32, u32)>,
    /// and the count before that: whatever of it comes yet was overtaken.
    before: Option<u32>,
    /// Counters of ours, which wrap.
    sent: u32,
    received: u32,
    /// What we make of theirs.
    expected: u32,
    got: u32,
    /// Their `sent`, and our `received`, as of their last hello.
    last: Option<(u32, u32)>,
    /// What they made of ours, as of their last hello.
    told: Option<(u32, u32)>,
    /// From them to us.
    inward: Losses,
    /// From us to them.
    outward: Losses,
    /// Both, just now.
    recent: (Recent, Recent),
    /// The last hello told of more losses, in one direction, than are borne everywhere.
    loses: bool,
    /// The round trip that the last hello showed.
    sample: Option<Duration>,
    /// Of what was sent between the last two hellos that told of it, most was lost.
    swallowed: bool,
}

/// A mean that remembers some 64 samples.
#[derive(Debug, Clone, Copy, Default)]
struct Steady {
    mean: f64,
    samples: u8,
}

impl Steady {
    fn add(&mut self, sample: f64) {
        self.samples = (self.samples + 1).min(64);
        self.mean += (sample - self.mean) / f64::from(self.samples);
    }
}

/// Figures of a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Half of the round trip.
    pub latency: Duration,
    /// Of what comes.
    pub jitter: Duration,
    /// Of the worse direction, from 0 to 1.
    pub loss: f64,
}

impl Figures {
    /// What a call would sound like: 1 is bad, 4.4 is as good as it gets with G.711 (ITU-T G.107, simplified as by Cole and Rosenbluth, 2001).
    pub fn mos(&self) -> f64 {
        // What plays it waits for what jitter delays.
        let delay = (self.latency + self.jitter * 2).as_secs_f64() * 1e3 + 10.0;
        let by_delay = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
        let by_loss = 30.0 * (15.0 * self.loss).ln_1p();
        let r = 94.2 - by_delay - by_loss;
        match r {
            ..0.0 => 1.0,
            100.0.. => 4.5,
            r => 1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r),
        }
    }
}

impl Quality {
    /// Datagrams that the tunnel has carried since the last time: those sent, and those that came and were authentic.
    pub fn traffic(&mut self, sent: u32, received: u32) {
        self.sent = self.sent.wrapping_add(sent);
        self.received = self.received.wrapping_add(received);
    }

    /// Datagrams that were sent, which wrap.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// What the next hello says of the path. The hello itself counts.
    pub fn stamp(&mut self, now: Time, hello: &mut Hello) {
        self.sent = self.sent.wrapping_add(1);
        let held = |came: Time| u32::try_from(now.since(came).as_micros()).unwrap_or(u32::MAX);
        hello.stamp = now.as_nanos();
        hello.echo = self.heard.map(|(stamp, came)| Echo { stamp, held: held(came) });
        (hello.sent, hello.expected, hello.got) = (self.sent, self.expected, self.got);
    }

    /// Takes in a hello. False when a later one came first: then it only counts as a datagram.
    pub fn hello(&mut self, now: Time, hello: &Hello) -> bool {
        self.received = self.received.wrapping_add(1);
        match self.sequence {
            Some((count, last)) if count == hello.count && hello.sequence.wrapping_sub(last) as i32 <= 0 => {
                return false;
            }
            Some((count, _)) if count == hello.count => {}
            Some(_) if self.before == Some(hello.count) => return false,
            // They have begun anew: what they count begins anew as well.
            Some((count, _)) => {
                (self.last, self.told, self.transit) = (None, None, None);
                self.before = Some(count);
            }
            None => {}
        }
        self.sequence = Some((hello.count, hello.sequence));
        (self.loses, self.sample) = (false, None);
        self.heard = Some((hello.stamp, now));
        self.round_trip(now, hello);
        self.jitter(now, hello);
        self.losses(now, hello);
        true
    }

    fn round_trip(&mut self, now: Time, hello: &Hello) {
        let Some(echo) = hello.echo else { return };
        let whole = Duration::from_nanos(now.as_nanos().saturating_sub(echo.stamp));
        let held = Duration::from_micros(u64::from(echo.held));
        // A stamp that we never gave, or a time that is none.
        if whole > Duration::from_secs(3600) || held > whole + Duration::from_micros(1) {
            return;
        }
        let sample = whole.saturating_sub(held);
        self.sample = Some(sample);
        self.steady.0.add(sample.as_nanos() as f64);
        // RFC 6298 section 2: an eighth of what is new.
        self.round_trip = Some(self.round_trip.map_or(sample, |smooth| smooth * 7 / 8 + sample / 8));
    }

    fn jitter(&mut self, now: Time, hello: &Hello) {
        // The clocks' difference falls out of the difference of two.
        let transit = now.as_nanos().wrapping_sub(hello.stamp) as i64;
        if let Some(last) = self.transit.replace(transit) {
            let differs = transit.wrapping_sub(last).unsigned_abs() as f64;
            // A clock that was set, or a machine that slept, is no jitter of the path.
            if differs < 1e10 {
                self.jitter += (differs - self.jitter) / 16.0;
                self.steady.1.add(differs);
            }
        }
    }

    fn losses(&mut self, now: Time, hello: &Hello) {
        if let Some((sent, received)) = self.last {
            let expected = hello.sent.wrapping_sub(sent);
            let got = self.received.wrapping_sub(received);
            self.expected = self.expected.wrapping_add(expected);
            self.got = self.got.wrapping_add(got);
            self.inward.add(now, expected, got);
            self.recent.0.add(now, expected, got);
            self.loses |= is_much(expected, got);
        }
        self.last = Some((hello.sent, self.received));
        if let Some((expected, got)) = self.told.replace((hello.expected, hello.got)) {
            let expected = hello.expected.wrapping_sub(expected);
            let got = hello.got.wrapping_sub(got);
            let lost = expected.saturating_sub(got);
            self.swallowed = lost >= PROOF && lost >= expected / 2;
            self.outward.add(now, expected, got);
            self.recent.1.add(now, expected, got);
            self.loses |= is_much(expected, got);
        }
    }

    /// The round trip that the last hello showed, if it did.
    pub fn sample(&self) -> Option<Duration> {
        self.sample
    }

    /// The answer to a hello came so late that it counts as lost.
    pub fn too_late(&mut self) {
        self.outward.late();
    }

    /// Whether the last hello told of much that was lost: the other end is to hear of it.
    pub fn loses_now(&self) -> bool {
        self.loses
    }

    /// The part that is lost just now at least, whatever chance does, of the worse direction.
    pub fn recent_loss(&self) -> f64 {
        self.recent.0.part().max(self.recent.1.part())
    }

    /// Whether it loses so much that a few in a row prove nothing.
    pub fn is_lossy(&self) -> bool {
        self.inward.proven().max(self.outward.proven()) >= LOSSY
    }

    /// Forgets losses and jitter: what was lost while nothing came says nothing of the path that has come back.
    pub fn begin_again(&mut self) {
        (self.last, self.told, self.transit) = (None, None, None);
        (self.inward, self.outward) = Default::default();
        self.recent = Default::default();
    }

    /// The smoothed round trip; zero while there is none.
    pub fn rtt(&self) -> Duration {
        self.round_trip.unwrap_or_default()
    }

    /// The jitter of what comes.
    pub fn jitter_of_arrival(&self) -> Duration {
        Duration::from_nanos(self.jitter as u64)
    }

    /// Loss inward and outward, from 0 to 1.
    pub fn loss(&self) -> (f64, f64) {
        (self.inward.part(), self.outward.part())
    }

    /// Whether most of what was sent of late was lost, while the hello that says so got through.
    pub fn is_swallowed(&self) -> bool {
        self.swallowed
    }

    /// Figures to compare paths by.
    pub fn steady(&self) -> Figures {
        let nanos = |steady: Steady| Duration::from_nanos(steady.mean as u64);
        Figures { latency: nanos(self.steady.0) / 2, jitter: nanos(self.steady.1), loss: self.figures().loss }
    }

    /// Figures to judge by.
    pub fn figures(&self) -> Figures {
        let loss = self.inward.proven().max(self.outward.proven());
        Figures { latency: self.rtt() / 2, jitter: self.jitter_of_arrival(), loss }
    }
}

/// Whether more of a few was lost than is borne everywhere.
fn is_much(expected: u32, got: u32) -> bool {
    let lost = expected.saturating_sub(got);
    lost >= PROOF && lost >= expected / 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::hello::Claim;

    const BLANK: Hello = Hello {
        sequence: 0,
        count: 1,
        stamp: 0,
        echo: None,
        claim: Claim::Uses,
        hurry: false,
        late: 0,
        sent: 0,
        expected: 0,
        got: 0,
        pace: 30,
        want: 30,
    };

    #[test]
    fn jitter_is_that_of_rfc_3550_and_knows_no_clocks() {
        let mut quality = Quality::default();
        let mut expected = 0.0;
        let transits = [20u64, 25, 21, 40, 20];
        for (index, transit) in transits.iter().enumerate() {
            // Their clock wraps on the way.
            let stamp = (u64::MAX - 1_000_000).wrapping_add(index as u64 * 30_000_000);
            let now = Time::from_nanos((index as u64 * 30 + transit) * 1_000_000);
            quality.hello(now, &Hello { sequence: index as u32, stamp, ..BLANK });
            if index > 0 {
                let differs = transits[index].abs_diff(transits[index - 1]) as f64 * 1e6;
                expected += (differs - expected) / 16.0;
            }
        }
        assert!((quality.jitter - expected).abs() < 1.0, "{} {expected}", quality.jitter);
    }

    #[test]
    fn a_round_trip_is_without_the_time_that_the_other_held_it() {
        let (mut ours, mut theirs) = (Quality::default(), Quality::default());
        let mut there = BLANK;
        ours.stamp(Time::from_millis(1000), &mut there);
        theirs.hello(Time::from_millis(77), &there);
        let mut back = Hello { sequence: 1, ..BLANK };
        theirs.stamp(Time::from_millis(577), &mut back);
        ours.hello(Time::from_millis(1540), &back);
        assert_eq!(ours.rtt(), Duration::from_millis(40));
    }

    #[test]
    fn loss_is_counted_in_both_directions_and_a_few_prove_nothing() {
        let (mut ours, mut theirs) = (Quality::default(), Quality::default());
        let mut lost = 0;
        for sequence in 0..200u32 {
            let now = Time::from_millis(u64::from(sequence) * 30);
            // Between hellos nine datagrams, of which the path loses one in every second round, inward only.
            theirs.traffic(9, 9);
            ours.traffic(9, if sequence % 2 == 0 { 8 } else { 9 });
            lost += usize::from(sequence % 2 == 0);
            let mut hello = Hello { sequence, ..BLANK };
            theirs.stamp(now, &mut hello);
            ours.hello(now, &hello);
            if lost == 3 {
                assert!(ours.figures().loss < 0.2);
            }
            let mut hello = Hello { sequence, ..BLANK };
            ours.stamp(now, &mut hello);
            theirs.hello(now, &hello);
        }
        let (inward, outward) = ours.loss();
        assert!((0.045..0.055).contains(&inward), "{inward}");
        assert_eq!(outward, 0.0);
        assert!((theirs.loss().1 - inward).abs() < 0.01, "they are told: {:?}", theirs.loss());
    }

    #[test]
    fn a_hello_that_was_overtaken_changes_nothing_and_a_peer_that_began_again_is_heard() {
        let mut quality = Quality::default();
        assert!(quality.hello(Time::from_millis(1), &Hello { sequence: 1000, sent: 500, ..BLANK }));
        assert!(!quality.hello(Time::from_millis(2), &Hello { sequence: 999, sent: 499, ..BLANK }));
        assert!(quality.hello(Time::from_millis(3), &Hello { sequence: 0, count: 2, sent: 1, ..BLANK }));
        assert!(!quality.hello(Time::from_millis(4), &Hello { sequence: 1001, sent: 501, ..BLANK }), "of before");
        assert!(quality.hello(Time::from_millis(33), &Hello { sequence: 1, count: 2, sent: 2, ..BLANK }));
        assert_eq!(quality.loss().0, 0.0);
    }

    #[test]
    fn a_peer_that_begins_again_after_a_few_hellos_is_heard_from_its_first_one() {
        // It may have said fewer before than it has by the time that the first one is heard.
        for (before, after) in [(5, 0), (63, 1), (5, 5), (5, 9)] {
            let mut quality = Quality::default();
            let hello = |sequence, count, sent| Hello { sequence, count, sent, ..BLANK };
            assert!(quality.hello(Time::from_millis(30), &hello(before, 1, 900)));
            assert!(quality.hello(Time::from_millis(60), &hello(after, 2, 1)), "{before} {after}");
            assert!(quality.hello(Time::from_millis(90), &hello(after + 1, 2, 2)), "{before} {after}");
            assert_eq!(quality.loss(), (0.0, 0.0), "what they count begins anew: {before} {after}");
        }
    }

    #[test]
    fn what_is_lost_just_now_is_known_after_a_few_datagrams_and_what_is_over_is_forgotten() {
        let add = |recent: &mut Recent, at: u64, lost: u32| recent.add(Time::from_millis(1000 + at), 30, 30 - lost);
        let mut recent = Recent::default();
        (0..10).for_each(|round| add(&mut recent, round * 30, 0));
        add(&mut recent, 300, 9);
        assert!(recent.part() < 0.01, "nine may be chance: {}", recent.part());
        (11..14).for_each(|round| add(&mut recent, round * 30, 9));
        assert!((0.05..0.2).contains(&recent.part()), "{}", recent.part());
        add(&mut recent, 420, 0);
        add(&mut recent, 450, 0);
        assert_eq!(recent.part(), 0.0, "a slice without a loss: it is over");
        // Who reads late has counted what came after the hello, and misses it in the next one.
        let mut late = Recent::default();
        for round in 0..40u64 {
            let (got, at) = (
                if round == 10 {
                    90
                } else if round == 11 {
                    0
                } else {
                    30
                },
                round * 35,
            );
            late.add(Time::from_millis(1000 + at), 30, got);
            assert_eq!(late.part(), 0.0, "{round}");
        }
    }

    #[test]
    fn a_blink_in_which_all_is_lost_is_no_proof_and_a_second_one_of_the_same_moment_is() {
        let mut recent = Recent::default();
        let mut add = |at: u64, lost: u32| {
            recent.add(Time::from_millis(1000 + at), 30, 30 - lost);
            recent.part()
        };
        assert_eq!((add(0, 0), add(40, 30), add(80, 0)), (0.0, 0.0, 0.0));
        assert_eq!((add(120, 0), add(160, 30)), (0.0, 0.0), "the first one is over");
        assert!(add(200, 30) > 0.1);
    }

    #[test]
    fn an_answer_that_comes_too_late_counts_as_lost() {
        let mut quality = Quality::default();
        for sequence in 0..20u32 {
            let now = Time::from_millis(u64::from(sequence + 1) * 1000);
            let mut own = BLANK;
            quality.stamp(now, &mut own);
            let echo = Some(Echo { stamp: own.stamp, held: 0 });
            let (sent, sum) = (sequence + 1, sequence);
            let hello = Hello { sequence, sent, echo, expected: sum, got: sum, ..BLANK };
            quality.hello(now + Duration::from_millis(400), &hello);
            assert_eq!(quality.sample(), Some(Duration::from_millis(400)));
            if sequence % 4 == 0 {
                quality.too_late();
            }
        }
        assert!((0.2..0.3).contains(&quality.loss().1), "{:?}", quality.loss());
    }

    #[test]
    fn a_call_sounds_as_the_e_model_says() {
        let mos = |latency, jitter, loss| {
            let millis = Duration::from_millis;
            Figures { latency: millis(latency), jitter: millis(jitter), loss }.mos()
        };
        assert!((4.3..4.5).contains(&mos(10, 0, 0.0)));
        // R is 94.2 - 7.3 - 4.2.
        assert!((mos(150, 20, 0.01) - 4.12).abs() < 0.01, "{}", mos(150, 20, 0.01));
        assert!(mos(400, 50, 0.1) < 2.2);
        assert_eq!(mos(5000, 0, 1.0), 1.0);
        assert!(mos(10, 0, 0.01) > mos(10, 0, 0.02));
    }

    #[test]
    fn a_hello_that_gets_through_tells_of_what_was_swallowed() {
        let mut quality = Quality::default();
        let mut hear = |sequence: u32, expected, got| {
            let hello = Hello { sequence, expected, got, ..BLANK };
            quality.hello(Time::from_millis(u64::from(sequence) * 30), &hello);
            quality.is_swallowed()
        };
        assert!(!hear(1, 10, 10));
        assert!(!hear(2, 12, 10), "two are chance");
        assert!(hear(3, 22, 12));
        assert!(!hear(4, 122, 108), "few of many are loss as it is everywhere");
    }
}
