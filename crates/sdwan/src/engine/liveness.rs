//! Whether a path is alive.
//!
//! Both ends say hello, and each tells the other how soon the next one comes and how soon it wants to hear. Silence beyond that makes a path suspect, and
//! a suspect one asks for an answer at once, and four times as often as it else says hello; more silence makes it down. Whoever hears nothing says so,
//! which is how the other end learns that only its own direction is dead (RFC 5880 works alike).
//!
//! Silence is not what a late reader has not read yet: it is judged up to when everything that came is known to have been handed in, and no further. Nor is it
//! what a late sender has not said yet: as long as no other path shows that the other end is at work, it has longer.

use std::time::Duration;

use outwork_engine::{Rng, Time};

use super::hello::{Claim, Hello};

/// How soon silence is death.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LivenessSettings {
    /// Between hellos where every millisecond counts.
    pub fast: Duration,
    /// Periods of silence that make a path down.
    pub misses: u32,
    /// Between looks at a path that nobody needs at the moment, and the most that tries to reach a dead one are apart.
    pub interval: Duration,
    /// Hellos of such a look.
    pub probes: u8,
    /// How long the answer to the first of them may take: later, it counts as lost, and the path is suspect.
    pub timeout: Duration,
    /// By how many times the measured jitter silence may be longer.
    pub jitter_factor: u32,
    /// How long a path that has come back must behave before it is up.
    pub trial: Duration,
}

impl Default for LivenessSettings {
    fn default() -> Self {
        LivenessSettings {
            fast: Duration::from_millis(30),
            misses: 3,
            interval: Duration::from_secs(10),
            probes: 5,
            timeout: Duration::from_secs(1),
            jitter_factor: 4,
            trial: Duration::from_secs(5),
        }
    }
}

/// What timers and queues of a host without load take; it is no silence.
const SLACK: Duration = Duration::from_millis(2);
/// Hellos that announce a slower pace before it begins.
const SLOWING: u8 = 8;
/// The least that a peer can ask for.
const LEAST: Duration = Duration::from_millis(5);
/// How long silence is not judged because nobody says that everything that came was handed in.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most that evidence is waited for on a path that loses.
const LONGEST: Duration = Duration::from_secs(1);

impl LivenessSettings {
    /// Silence of which the other end is told, as it can count what should have come.
    pub(super) fn quiet(&self) -> Duration {
        self.fast * 3 / 2
    }
}

/// What a path is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Never heard of.
    New,
    /// Carries nothing.
    Down,
    /// Has come back, and is watched before it is trusted.
    Trial,
    /// Carries.
    Up,
    /// Carries, but is late.
    Suspect,
}

impl State {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            State::New => "new",
            State::Down => "down",
            State::Trial => "trial",
            State::Up => "up",
            State::Suspect => "suspect",
        }
    }
}

/// Why a path went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing came.
    Silence,
    /// They hear nothing of us.
    Deaf,
    /// The uplink has no carrier.
    Carrier,
    /// The socket said so.
    Socket,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cause::Silence => "nothing came by it",
            Cause::Deaf => "the other end hears nothing of us",
            Cause::Carrier => "its uplink has no carrier",
            Cause::Socket => "the kernel has no way for what is sent by it",
        })
    }
}

/// A change of what a path is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: State,
    /// From now on.
    pub to: State,
    /// Why, if it went down.
    pub cause: Option<Cause>,
}

/// What measurements say that matters here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    /// Of arrivals.
    pub jitter: Duration,
    /// There and back.
    pub round_trip: Duration,
    /// Whether it loses so much that a few in a row prove nothing.
    pub loses: bool,
}

impl Measured {
    /// By how much silence may be longer than was promised.
    pub fn widen(&self, settings: &LivenessSettings) -> Duration {
        self.jitter * settings.jitter_factor + SLACK
    }
}

/// What silence comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Something that has come may not have been handed in yet: that has to be known first.
    Look,
    /// It is one.
    Turns(Change),
}

/// The life of one path.
#[derive(Debug, Clone)]
pub struct Liveness {
    state: State,
    /// Whether anybody needs to know within a blink.
    needed: bool,
    carrier: bool,
    has_been_up: bool,
    /// Silence waits for everything that came to be handed in, until then.
    waits: Option<Time>,
    heard: Time,
    /// When the other end was last told that nothing comes, since something came.
    told: Option<Time>,
    /// Since when a look waits for its answer.
    asked: Option<Time>,
    /// Whether the next hello asks, though nothing is suspect.
    inquires: bool,
    suspect_since: Time,
    /// When sending began to fail, and when it last did.
    stuck: Option<(Time, Time)>,
    /// From when on silence can no longer be that of an other end that is late, as another path shows that it is not.
    witnessed: Option<Time>,
    /// Why it went down last.
    cause: Option<Cause>,
    /// Since when both ends have heard each other without a gap.
    proven_since: Option<Time>,
    next_hello: Time,
    last_hello: Time,
    backoff: Duration,
    probes_left: u8,
    slowing: u8,
    /// As they announced.
    their_pace: Duration,
    their_want: Duration,
    sequence: u32,
    /// Which count that is.
    count: u32,
    up_since: Option<Time>,
    up: Duration,
    born: Time,
}

impl Liveness {
    /// A path that nothing is known of. The first hello is due at once, or nearly: not all paths' together.
    pub fn new(settings: &LivenessSettings, now: Time, rng: &mut Rng) -> Liveness {
        Liveness {
            state: State::New,
            needed: false,
            carrier: true,
            has_been_up: false,
            waits: None,
            heard: now,
            told: None,
            asked: None,
            inquires: false,
            suspect_since: now,
            stuck: None,
            witnessed: None,
            cause: None,
            proven_since: None,
            next_hello: now + settings.fast.mul_f64(rng.unit()),
            last_hello: Time::ZERO,
            backoff: settings.fast,
            probes_left: settings.probes,
            slowing: 0,
            their_pace: settings.interval,
            their_want: settings.interval,
            sequence: 0,
            // By the same chance as the first hello: what follows by chance stays as it was.
            count: rng.clone().next_u32(),
            up_since: None,
            up: Duration::ZERO,
            born: now,
        }
    }

    /// What the path is taken for.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it carries.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up | State::Suspect)
    }

    /// Whether a failure has to be seen within a blink.
    pub fn is_needed(&self) -> bool {
        self.needed
    }

    /// Whether packets that have nowhere else to go may be sent by it though it carries nothing as far as anybody knows: it has carried, and what stopped that
    /// may end by itself.
    pub fn is_tried(&self) -> bool {
        let stopped = matches!(self.state, State::Down) && self.cause != Some(Cause::Socket);
        self.carrier && self.has_been_up && (stopped || self.state == State::Trial)
    }

    /// When something authentic came last.
    pub fn last_heard(&self) -> Time {
        self.heard
    }

    /// Whether both ends hear each other, as far as each knows.
    pub fn is_proven(&self) -> bool {
        self.proven_since.is_some()
    }

    /// The part of its life that it was up.
    pub fn availability(&self, now: Time) -> f64 {
        let up = self.up + self.up_since.map_or(Duration::ZERO, |since| now.since(since));
        let life = now.since(self.born).as_secs_f64();
        if life > 0.0 { (up.as_secs_f64() / life).min(1.0) } else { 0.0 }
    }

    /// Says whether a failure has to be seen within a blink. The other end is told at once.
    pub fn need(&mut self, needed: bool, now: Time) {
        if needed == self.needed {
            return;
        }
        self.needed = needed;
        if needed {
            self.next_hello = self.next_hello.min(now);
            self.slowing = 0;
        } else {
            self.slowing = SLOWING;
        }
    }

    /// Something authentic came.
    pub fn heard(&mut self, now: Time) -> Option<Change> {
        self.heard = self.heard.max(now);
        (self.waits, self.asked, self.told) = (None, None, None);
        (self.state == State::Suspect).then(|| self.turn(State::Up, None, now))
    }

    /// A hello came, and no later one before it.
    pub fn hello(&mut self, now: Time, hello: &Hello, settings: &LivenessSettings) -> Option<Change> {
        let cleared = self.heard(now);
        let millis = |millis: u16| Duration::from_millis(u64::from(millis)).max(LEAST);
        let want = millis(hello.want);
        // Who suddenly wants to hear more is answered at once; and so is who asks.
        let hurried = want < self.their_want || hello.hurry;
        (self.their_pace, self.their_want) = (millis(hello.pace), want);
        if hurried {
            self.next_hello = self.next_hello.min(now.max(self.last_hello + settings.fast / 4));
        }
        let change = match (self.state, hello.claim) {
            _ if !self.carrier => None,
            (State::New | State::Down, claim) => {
                self.proven_since = (claim != Claim::Deaf).then_some(now);
                self.next_hello = self.next_hello.min(now.max(self.last_hello + settings.fast / 4));
                Some(self.turn(State::Trial, None, now))
            }
            (State::Trial, Claim::Deaf) => {
                self.proven_since = None;
                None
            }
            (State::Trial, _) => {
                self.proven_since.get_or_insert(now);
                None
            }
            (State::Up | State::Suspect, Claim::Deaf) => Some(self.fall(Cause::Deaf, now, settings)),
            _ => None,
        };
        let proven = self.proven_since.is_some_and(|since| !self.has_been_up || now.since(since) >= settings.trial);
        if self.state == State::Trial && proven {
            let up = self.turn(State::Up, None, now);
            return Some(Change { from: change.map_or(up.from, |change| change.from), ..up });
        }
        change.or(cleared)
    }

    /// The uplink lost its carrier, or has it again.
    pub fn carrier(&mut self, carrier: bool, now: Time, settings: &LivenessSettings) -> Option<Change> {
        let before = std::mem::replace(&mut self.carrier, carrier);
        if carrier && !before {
            (self.backoff, self.next_hello) = (settings.fast, now);
        }
        (!carrier && self.state != State::Down).then(|| self.fall(Cause::Carrier, now, settings))
    }

    /// Sending failed in a way that no waiting mends. Where the other end was heard a moment ago that may be of a route that is just being replaced: death is
    /// what goes on for as long as silence would have to.
    pub fn socket_error(&mut self, now: Time, settings: &LivenessSettings) -> Option<Change> {
        let patience = settings.fast * settings.misses;
        let goes_on = self.stuck.filter(|(_, last)| now.since(*last) <= patience);
        let since = goes_on.map_or(now, |(since, _)| since);
        self.stuck = Some((since, now));
        let is_doubtful = now.since(self.heard) < patience && now.since(since) < patience;
        match self.state {
            State::New | State::Down => None,
            State::Suspect if is_doubtful => None,
            State::Up if is_doubtful => {
                self.suspect_since = now;
                self.next_hello = self.next_hello.min(now);
                Some(self.turn(State::Suspect, None, now))
            }
            State::Up | State::Suspect | State::Trial => Some(self.fall(Cause::Socket, now, settings)),
        }
    }

    /// Another path to the same site shows at `now` that the other end is at work: if it could have been asked by then, which takes `asked`, silence at `at` can no
    /// longer be its lateness. Whether that was new.
    pub fn witness(&mut self, now: Time, asked: Duration, at: Time) -> bool {
        let counts = self.state == State::Suspect && now >= self.suspect_since + asked;
        let is_new = counts && self.witnessed.is_none();
        if is_new {
            self.witnessed = Some(at);
        }
        is_new
    }

    /// From when on the other end is to be told, again, that nothing comes; none where no hello is due either.
    fn tells_at(&self, settings: &LivenessSettings) -> Option<Time> {
        // Who says hello so often has use for the path, be it only that one.
        let is_watched = self.is_up() && self.carrier && self.their_pace <= settings.fast * 2;
        is_watched.then(|| self.told.map_or(self.heard + settings.quiet(), |told| told + settings.fast / 4))
    }

    /// Whether the other end is to be told now that nothing comes.
    pub fn tells(&mut self, now: Time, settings: &LivenessSettings) -> bool {
        let is_due = self.tells_at(settings).is_some_and(|at| at <= now);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }

    /// The other end has heard nothing of what it should have: it proves that nothing of ours arrives.
    pub fn unheard(&mut self, now: Time, settings: &LivenessSettings) -> Option<Change> {
        self.is_up().then(|| self.fall(Cause::Deaf, now, settings))
    }

    /// Asks whether the other end is there, where it has not been heard for a while.
    pub fn inquire(&mut self, now: Time, settings: &LivenessSettings) {
        if self.state == State::Up && now.since(self.last_hello) >= settings.fast * 2 {
            self.inquires = true;
            self.next_hello = self.next_hello.min(now);
        }
    }

    /// Says the next hello sooner: the other end is to know what it has lost.
    pub fn hasten(&mut self, now: Time, settings: &LivenessSettings) {
        if self.needed {
            self.next_hello = self.next_hello.min(now.max(self.last_hello + settings.fast / 4));
        }
    }

    /// Something that it may share its fate with has failed: it is asked at once, and silence counts from now on. What is watched closely needs no doubt.
    pub fn doubt(&mut self, now: Time, settings: &LivenessSettings) -> Option<Change> {
        let is_slow = self.their_pace > settings.fast * 2;
        (self.state == State::Up && is_slow).then(|| {
            self.suspect_since = now;
            self.next_hello = self.next_hello.min(now);
            self.turn(State::Suspect, None, now)
        })
    }

    /// Nobody is to go by it as long as something better works: it is not asked for anything until `until`, and what was known of it is forgotten.
    pub fn rest(&mut self, now: Time, until: Time, settings: &LivenessSettings) -> Option<Change> {
        (self.backoff, self.next_hello, self.proven_since) = (settings.fast, until, None);
        (self.state != State::New).then(|| self.turn(State::New, None, now))
    }

    /// It is asked from now on.
    pub fn wake(&mut self, now: Time) {
        self.next_hello = self.next_hello.min(now);
    }

    fn fall(&mut self, cause: Cause, now: Time, settings: &LivenessSettings) -> Change {
        (self.backoff, self.next_hello, self.proven_since) = (settings.fast, self.next_hello.min(now), None);
        self.cause = Some(cause);
        self.turn(State::Down, Some(cause), now)
    }

    fn turn(&mut self, to: State, cause: Option<Cause>, now: Time) -> Change {
        let from = std::mem::replace(&mut self.state, to);
        (self.waits, self.asked, self.witnessed) = (None, None, None);
        match (self.up_since, self.is_up()) {
            (None, true) => self.up_since = Some(now),
            (Some(since), false) => {
                self.up += now.since(since);
                self.up_since = None;
            }
            _ => {}
        }
        self.has_been_up |= self.is_up();
        Change { from, to, cause }
    }

    /// When silence says something; none while it would say nothing.
    fn silence_at(&self, measured: Measured, settings: &LivenessSettings) -> Option<Time> {
        let widen = measured.widen(settings);
        Some(match self.state {
            State::New | State::Down => return None,
            // Nobody depends on a trial: it bears what makes a path that carries suspect.
            State::Trial => self.heard + self.their_pace * settings.misses.max(1) + widen,
            State::Up => {
                let promised = self.heard + self.their_pace + widen;
                self.asked.map_or(promised, |asked| promised.min(asked + settings.timeout + widen))
            }
            State::Suspect => {
                let at = self.suspect_since + self.doubt_lasts(measured, settings);
                // If the other end is late as a whole, there is nothing better to go to.
                let latest = at + settings.fast * settings.misses;
                self.witnessed.map_or(latest, |witnessed| witnessed.clamp(at, latest))
            }
        })
    }

    /// From suspicion to death, if the other end is at work.
    fn doubt_lasts(&self, measured: Measured, settings: &LivenessSettings) -> Duration {
        let further = settings.misses.saturating_sub(1);
        if self.their_pace > settings.fast * 2 {
            // It has not been asked for fast hellos yet: they take a round trip to come.
            return settings.fast * 2 * further + measured.round_trip;
        }
        // It is asked four times as often as it says hello: two thirds of the time have more chances in them than all of it has hellos.
        let (least, most) = (self.their_pace * further * 2 / 3, self.their_pace * further);
        let answered = measured.round_trip + settings.fast * 3 / 4 + measured.widen(settings);
        answered.min(if measured.loses { most.max(LONGEST) } else { most }).max(least)
    }

    /// When to call [`Liveness::silence`] and [`Liveness::poll`].
    pub fn due(&self, measured: Measured, settings: &LivenessSettings) -> Time {
        let hello = if self.carrier { self.next_hello } else { Time::MAX };
        let silence = self.silence_at(measured, settings).map(|at| at.max(self.waits.unwrap_or(Time::ZERO)));
        [silence, self.tells_at(settings)].into_iter().flatten().fold(hello, Time::min)
    }

    /// What silence until `now` has come to, where everything that came until `looked` was handed in.
    pub fn silence(
        &mut self,
        now: Time,
        looked: Time,
        measured: Measured,
        settings: &LivenessSettings,
    ) -> Option<Silence> {
        let at = self.silence_at(measured, settings).filter(|at| *at <= now)?;
        if looked < at {
            match self.waits {
                None => {
                    self.waits = Some(now + PATIENCE);
                    return Some(Silence::Look);
                }
                Some(until) if now < until => return None,
                // Nobody looks: a path that is dead is to be found all the same.
                Some(_) => {}
            }
        }
        let change = match self.state {
            State::Up => {
                self.suspect_since = now;
                self.next_hello = self.next_hello.min(now);
                self.turn(State::Suspect, None, now)
            }
            State::Suspect | State::Trial => self.fall(Cause::Silence, now, settings),
            State::New | State::Down => return None,
        };
        Some(Silence::Turns(change))
    }

    /// Everything that came until some time was handed in: [`Liveness::silence`] may ask for that again.
    pub fn looked(&mut self) {
        self.waits = None;
    }

    /// The hello that is due at `now`, but for what [`super::quality::Quality::stamp`] fills in.
    pub fn poll(&mut self, now: Time, settings: &LivenessSettings, rng: &mut Rng) -> Option<Hello> {
        if now < self.next_hello || !self.carrier {
            return None;
        }
        self.last_hello = now;
        self.sequence = self.sequence.wrapping_add(1);
        let fast = self.needed || matches!(self.state, State::Trial | State::Suspect);
        let is_slow = !fast && self.slowing == 0 && self.their_want >= settings.interval;
        let looks = is_slow && self.state == State::Up && self.probes_left == settings.probes;
        if looks {
            self.asked.get_or_insert(now);
        }
        let hurry = self.state == State::Suspect || looks || std::mem::take(&mut self.inquires);
        let (wait, pace) = self.pace(fast, settings, rng);
        self.next_hello = now + wait;
        let millis = |duration: Duration| u16::try_from(duration.as_millis()).unwrap_or(u16::MAX);
        Some(Hello {
            sequence: self.sequence,
            count: self.count,
            stamp: 0,
            echo: None,
            claim: match self.state {
                State::New | State::Down => Claim::Deaf,
                State::Trial => Claim::Hears,
                State::Up | State::Suspect => Claim::Uses,
            },
            hurry,
            late: 0,
            sent: 0,
            expected: 0,
            got: 0,
            pace: millis(pace),
            want: millis(if fast { settings.fast } else { settings.interval }),
        })
    }

    /// How long until the next hello, and what is announced.
    fn pace(&mut self, fast: bool, settings: &LivenessSettings, rng: &mut Rng) -> (Duration, Duration) {
        // Not all paths of a hub in step.
        let late = |wait: Duration, rng: &mut Rng| wait.mul_f64(0.75 + 0.25 * rng.unit());
        match self.state {
            State::New | State::Down => {
                let wait = late(self.backoff, rng);
                self.backoff = (self.backoff * 2).min(settings.interval);
                (wait, settings.interval)
            }
            State::Suspect => ((settings.fast / 4).max(SLACK), settings.fast),
            _ if fast => (settings.fast, settings.fast),
            _ if self.their_want < settings.interval => {
                let wait = self.their_want.max(LEAST);
                (wait, wait)
            }
            // They learn of the slower pace while the faster one still stands.
            _ if self.slowing > 0 => {
                self.slowing -= 1;
                (settings.fast, settings.interval + settings.fast * 2)
            }
            _ if self.probes_left > 1 => {
                self.probes_left -= 1;
                (settings.fast, settings.interval + settings.fast * 2)
            }
            _ => {
                self.probes_left = settings.probes;
                (late(settings.interval, rng), settings.interval + settings.fast * 2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Measured = Measured { jitter: Duration::ZERO, round_trip: Duration::ZERO, loses: false };

    fn at(millis: u64) -> Time {
        Time::from_millis(1000 + millis)
    }

    fn hello(sequence: u32, hurry: bool) -> Hello {
        let (stamp, echo, sent, expected, got) = Default::default();
        Hello {
            sequence,
            count: 1,
            stamp,
            echo,
            claim: Claim::Uses,
            hurry,
            late: 0,
            sent,
            expected,
            got,
            pace: 30,
            want: 30,
        }
    }

    /// A path that is up, by a hello that came at 0.
    fn up() -> (Liveness, LivenessSettings) {
        let settings = LivenessSettings::default();
        let mut life = Liveness::new(&settings, Time::ZERO, &mut Rng::new(1));
        let change = life.hello(at(0), &hello(1, false), &settings).unwrap();
        assert_eq!((change.from, change.to), (State::New, State::Up), "the first time needs no trial");
        (life, settings)
    }

    fn turned(silence: Option<Silence>) -> Option<State> {
        silence.and_then(|silence| match silence {
            Silence::Turns(change) => Some(change.to),
            Silence::Look => None,
        })
    }

    /// Where everything that came was handed in.
    fn silence(life: &mut Liveness, millis: u64, settings: &LivenessSettings) -> Option<State> {
        turned(life.silence(at(millis), at(millis), NONE, settings))
    }

    #[test]
    fn one_miss_is_suspect_and_questions_without_answer_are_death_while_the_other_end_is_seen_at_work() {
        let (mut life, settings) = up();
        assert_eq!(silence(&mut life, 31, &settings), None);
        assert_eq!(silence(&mut life, 32, &settings), Some(State::Suspect));
        let mut alone = life.clone();
        let asked = Duration::from_millis(8);
        assert!(!life.witness(at(39), asked, at(39)), "it may have fallen silent before it was asked");
        assert!(life.witness(at(40), asked, at(40)) && !life.witness(at(70), asked, at(300)), "the first one counts");
        assert_eq!(silence(&mut life, 71, &settings), None);
        assert_eq!(silence(&mut life, 72, &settings), Some(State::Down));
        assert_eq!(silence(&mut alone, 161, &settings), None, "it may be late as a whole");
        assert_eq!(silence(&mut alone, 162, &settings), Some(State::Down));
    }

    #[test]
    fn answers_of_a_long_way_are_waited_for_but_no_longer_than_three_periods_unless_it_loses() {
        for (round_trip, loses, down) in [(10, false, 72), (25, false, 82), (80, false, 92), (80, true, 137)] {
            let (mut life, settings) = up();
            let far = Measured { round_trip: Duration::from_millis(round_trip), loses, ..NONE };
            silence(&mut life, 32, &settings);
            life.witness(at(32), Duration::ZERO, at(32));
            let mut say = |millis| turned(life.silence(at(millis), at(millis), far, &settings));
            let (before, then) = (say(down - 1), say(down));
            assert_eq!((before, then), (None, Some(State::Down)), "{round_trip} {loses}");
        }
    }

    #[test]
    fn jitter_makes_silence_longer_by_four_times_itself() {
        let (mut life, settings) = up();
        let jittery = Measured { jitter: Duration::from_millis(8), ..NONE };
        assert_eq!(life.silence(at(63), at(63), jittery, &settings), None);
        assert_eq!(turned(life.silence(at(64), at(64), jittery, &settings)), Some(State::Suspect));
    }

    #[test]
    fn who_is_suspect_asks_and_who_is_asked_answers_at_once() {
        let (mut life, settings) = up();
        let mut rng = Rng::new(1);
        life.poll(at(1), &settings, &mut rng).unwrap();
        assert_eq!(life.poll(at(8), &settings, &mut rng), None);
        life.hello(at(9), &hello(2, true), &settings);
        assert!(life.poll(at(9), &settings, &mut rng).is_some_and(|hello| !hello.hurry));
        silence(&mut life, 41, &settings);
        assert!(life.poll(at(41), &settings, &mut rng).is_some_and(|hello| hello.hurry));
    }

    #[test]
    fn silence_is_judged_up_to_what_was_handed_in_and_in_the_end_without_that() {
        let (mut life, settings) = up();
        silence(&mut life, 32, &settings);
        life.witness(at(32), Duration::ZERO, at(32));
        let mut late = |now, looked| life.silence(at(now), at(looked), NONE, &settings);
        assert_eq!(late(500, 32), Some(Silence::Look), "what came meanwhile may lie in a queue");
        assert_eq!(late(501, 71), None, "that is known already");
        let mut other = life.clone();
        assert_eq!(life.heard(at(70)).map(|change| change.to), Some(State::Up));
        assert_eq!(other.due(NONE, &settings), other.next_hello.min(at(1500)), "nothing is due meanwhile");
        let mut stuck = other.clone();
        other.looked();
        assert_eq!(turned(other.silence(at(502), at(500), NONE, &settings)), Some(State::Down));
        assert_eq!(turned(stuck.silence(at(1499), at(32), NONE, &settings)), None);
        assert_eq!(turned(stuck.silence(at(1500), at(32), NONE, &settings)), Some(State::Down));
    }

    #[test]
    fn a_look_at_a_quiet_path_asks_and_an_answer_that_does_not_come_in_time_makes_it_suspect() {
        let settings = LivenessSettings { timeout: Duration::from_millis(300), ..LivenessSettings::default() };
        let (mut life, mut rng) = (up().0, Rng::new(1));
        life.hello(at(9), &Hello { pace: 10_060, want: 10_000, ..hello(2, false) }, &settings);
        let look = std::iter::from_fn(|| {
            let now = life.next_hello;
            life.poll(now, &settings, &mut rng).map(|hello| (now, hello.hurry))
        });
        let (asked, _) = look.take(60).find(|(_, hurry)| *hurry).unwrap();
        assert!(life.heard(asked + Duration::from_millis(250)).is_none());
        assert!(life.asked.is_none(), "whatever is authentic is an answer");
        life.asked = Some(asked);
        let mut say = |millis| {
            let now = asked + Duration::from_millis(millis);
            turned(life.silence(now, now, NONE, &settings))
        };
        assert_eq!((say(301), say(302)), (None, Some(State::Suspect)));
    }

    #[test]
    fn a_slow_path_that_is_doubted_is_asked_at_once_and_a_fast_one_is_not() {
        let (mut life, settings) = up();
        assert_eq!(life.doubt(at(1), &settings), None);
        life.hello(at(9), &Hello { pace: 10_000, want: 10_000, ..hello(2, false) }, &settings);
        assert_eq!(silence(&mut life, 5000, &settings), None);
        assert_eq!(life.doubt(at(5000), &settings).map(|change| change.to), Some(State::Suspect));
        assert!(life.poll(at(5000), &settings, &mut Rng::new(1)).is_some_and(|hello| hello.hurry));
        let mut dead = life.clone();
        assert_eq!(life.heard(at(5020)).map(|change| change.to), Some(State::Up));
        dead.witness(at(5000), Duration::ZERO, at(5000));
        assert_eq!(silence(&mut dead, 5119, &settings), None);
        assert_eq!(silence(&mut dead, 5120, &settings), Some(State::Down));
    }

    #[test]
    fn a_call_that_fails_is_doubted_where_the_other_end_is_heard_and_believed_when_it_goes_on() {
        let (mut life, settings) = up();
        let fails = |life: &mut Liveness, millis| {
            life.socket_error(at(millis), &settings).map(|change| (change.to, change.cause))
        };
        let down = Some((State::Down, Some(Cause::Socket)));
        assert_eq!(fails(&mut life.clone(), 90), down, "nobody has been heard for as long as that");
        assert_eq!(fails(&mut life, 20), Some((State::Suspect, None)));
        let mut once = life.clone();
        for millis in [30, 60, 90, 109] {
            life.heard(at(millis));
            assert_ne!(fails(&mut life, millis), down, "{millis}");
        }
        life.heard(at(110));
        assert_eq!(fails(&mut life, 110), down);
        assert_eq!(once.heard(at(40)).map(|change| change.to), Some(State::Up));
        once.heard(at(500));
        assert_eq!(fails(&mut once, 500), Some((State::Suspect, None)), "another time is another matter");
    }

    #[test]
    fn whatever_is_authentic_is_a_sign_of_life() {
        let (mut life, settings) = up();
        for millis in (0..1000).step_by(30) {
            life.heard(at(millis));
            assert_eq!(silence(&mut life, millis + 29, &settings), None);
        }
    }

    #[test]
    fn who_begins_anew_counts_hellos_anew_and_by_another_name() {
        let settings = LivenessSettings::default();
        let mut rng = Rng::new(1);
        let mut first = || {
            let mut life = Liveness::new(&settings, Time::ZERO, &mut rng);
            let hello = life.poll(at(0), &settings, &mut Rng::new(1)).unwrap();
            (hello.sequence, hello.count)
        };
        let (before, after) = (first(), first());
        assert_eq!((before.0, after.0), (1, 1));
        assert_ne!(before.1, after.1);
    }
}
