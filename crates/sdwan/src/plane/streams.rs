//! Packets that come by two paths: numbered by who sends them, and handed on once by who gets them, in the order in which the first of each comes.
//!
//! Nothing waits for anything: a call needs its packets soon, and who reorders what comes by two ways would have to wait for the slower one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;
use outwork_engine::{Rng, Time};
use outwork_wireguard::window::Window;

use super::frame::{Frame, Part};
use super::tunnel::Owner;

/// Numbers that there have to be for a piece.
const SPARE: u32 = 1 << 16;

/// The numbers of a stream that one worker sends to one site.
#[derive(Debug, Clone)]
pub struct Numbers {
    stream: u32,
    next: u32,
}

impl Numbers {
    /// A stream that nobody has heard of.
    pub fn begin(rng: &mut Rng) -> Numbers {
        Numbers { stream: rng.next_u32(), next: 0 }
    }

    /// The frame of the first packet of a piece; those of the others have the numbers that follow. When there are no more, another stream begins.
    pub fn frame(&mut self, rng: &mut Rng) -> Frame {
        if self.next > u32::MAX - SPARE {
            *self = Numbers { stream: self.stream.wrapping_add(1 | rng.next_u32()), next: 0 };
        }
        Frame { stream: self.stream, number: self.next, part: Part::Twice }
    }

    /// So many numbers were used.
    pub fn used(&mut self, count: u32) {
        self.next = self.next.saturating_add(count);
    }
}

/// Whether a packet of this number is the first of its kind. Of what is too far behind it is not known, and then it is not.
pub fn is_first(window: &Mutex<Window>, number: u32) -> bool {
    lock(window).accept(u64::from(number)).is_ok()
}

/// What a thread that fell while it held it has left is as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who sends a stream sends often. One that nothing has come of for so long has ended: its sender began another, or is gone.
const QUIET: Duration = Duration::from_secs(10);
/// How often those that have ended are looked for.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Known<T> {
    stream: u32,
    state: Arc<Mutex<T>>,
    seen: Time,
}

/// How many streams may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Of one sender. Whoever begins more has the quietest forgotten.
    pub each: usize,
    /// Of all. Beyond, whoever has none gets none until others are quiet.
    pub all: usize,
}

#[derive(Debug)]
struct Inside<T> {
    of: HashMap<Owner, Vec<Known<T>>, FixedState>,
    count: usize,
    swept: Time,
}

impl<T> Inside<T> {
    /// Forgets what `stays` does not say it of.
    fn retain(&mut self, stays: impl Fn(Owner, &Known<T>) -> bool) {
        self.of.retain(|owner, known| {
            known.retain(|one| stays(*owner, one));
            !known.is_empty()
        });
        self.count = self.of.values().map(Vec::len).sum();
    }
}

/// What is known of streams that come, by who sends them. Packets of one stream come to several workers.
#[derive(Debug)]
pub struct Streams<T> {
    inside: Mutex<Inside<T>>,
    most: Most,
}

impl<T> Streams<T> {
    /// Of so many streams at most.
    pub fn new(most: Most) -> Streams<T> {
        let most = Most { each: most.each.max(1), all: most.all.max(1) };
        Streams { inside: Mutex::new(Inside { of: HashMap::default(), count: 0, swept: Time::ZERO }), most }
    }

    /// What is known of a stream; `make` where that is nothing, and none where there is no room for more. Workers keep it for the next packet, but not for long: a stream of
    /// which this is not asked is one that nothing comes of.
    pub fn get(&self, now: Time, owner: Owner, stream: u32, make: impl FnOnce() -> T) -> Option<Arc<Mutex<T>>> {
        let mut inside = lock(&self.inside);
        let inside = &mut *inside;
        if let Some(known) =
            inside.of.get_mut(&owner).and_then(|known| known.iter_mut().find(|one| one.stream == stream))
        {
            known.seen = now;
            return Some(Arc::clone(&known.state));
        }
        if now.since(inside.swept) >= SWEEP {
            inside.swept = now;
            inside.retain(|_, known| now.since(known.seen) < QUIET);
        }
        let (has, is_full) = (inside.of.get(&owner).map_or(0, Vec::len), inside.count >= self.most.all);
        if has == 0 && is_full {
            return None;
        }
        let state = Arc::new(Mutex::new(make()));
        let fresh = Known { stream, state: Arc::clone(&state), seen: now };
        let known = inside.of.entry(owner).or_default();
        match known.iter_mut().min_by_key(|known| known.seen).filter(|_| has >= self.most.each || is_full) {
            Some(quietest) => *quietest = fresh,
            None => {
                known.push(fresh);
                inside.count += 1;
            }
        }
        Some(state)
    }

    /// Forgets those of senders that are gone, and those that nothing has come of for long.
    pub fn keep(&self, now: Time, stays: impl Fn(Owner) -> bool) {
        lock(&self.inside).retain(|owner, known| stays(owner) && now.since(known.seen) < QUIET);
    }

    /// Streams that are known.
    pub fn len(&self) -> usize {
        lock(&self.inside).count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use outwork_engine::sim::{self, Event, Node, Quality, World};

    use super::*;

    const OWNER: Owner = Owner(1);
    const FEW: Most = Most { each: 4, all: 100 };

    fn take(numbers: &mut Numbers, count: u32, rng: &mut Rng) -> Frame {
        let frame = numbers.frame(rng);
        numbers.used(count);
        frame
    }

    #[test]
    fn whatever_comes_by_one_of_two_paths_is_handed_on_once() {
        sim::seeds(50, |rng| {
            let mut paths =
                [Quality::BAD, Quality { loss: 0.5, ..Quality::BAD }].map(|quality| World::new(rng, quality));
            let mut numbers = Numbers::begin(rng);
            let mut sent = vec![];
            for _ in 0..300 {
                let frame = take(&mut numbers, 1, rng);
                sent.push(frame.number);
                paths.iter_mut().for_each(|path| path.send(Node(1), Node(2), frame));
            }
            let streams = Streams::new(FEW);
            let (mut came, mut once) = (BTreeSet::new(), vec![]);
            let mut open = [true, true];
            while open != [false, false] {
                let turn = rng.below(2) as usize;
                match paths[turn].step(None) {
                    Event::Arrival(arrival) => {
                        let frame: Frame = arrival.message;
                        came.insert(frame.number);
                        let window = streams.get(Time::ZERO, OWNER, frame.stream, Window::default).unwrap();
                        once.extend(is_first(&window, frame.number).then_some(frame.number));
                    }
                    _ => open[turn] = false,
                }
            }
            assert_eq!(once.len(), came.len(), "no number twice");
            assert_eq!(once.into_iter().collect::<BTreeSet<_>>(), came, "and none is withheld");
            assert!(came.len() > sent.len() * 3 / 4);
        });
    }

    #[test]
    fn numbers_follow_each_other_and_another_stream_begins_where_they_end() {
        let mut rng = Rng::new(1);
        let mut numbers = Numbers::begin(&mut rng);
        let first = take(&mut numbers, 3, &mut rng);
        assert_eq!((first.number, take(&mut numbers, 2, &mut rng).number), (0, 3));
        assert_eq!(take(&mut numbers, 1, &mut rng).number, 5);
        numbers.next = u32::MAX - SPARE;
        let last = take(&mut numbers, SPARE, &mut rng);
        assert_eq!((last.stream, last.number), (first.stream, u32::MAX - SPARE), "there are enough for one piece more");
        let other = take(&mut numbers, 2, &mut rng);
        assert!(other.stream != first.stream && other.number == 0);
    }

    #[test]
    fn who_begins_anew_is_heard_at_once() {
        let mut rng = Rng::new(1);
        let streams: Streams<Window> = Streams::new(FEW);
        let get = |frame: &Frame| streams.get(Time::ZERO, OWNER, frame.stream, Window::default).unwrap();
        let hear = |frame: Frame| is_first(&get(&frame), frame.number);
        let mut before = Numbers::begin(&mut rng);
        assert!((0..20_000).all(|_| hear(take(&mut before, 1, &mut rng))));
        let mut after = Numbers::begin(&mut rng);
        let again = take(&mut after, 1, &mut rng);
        assert_eq!((again.number, hear(again), hear(again)), (0, true, false));
    }

    #[test]
    fn of_each_sender_so_many_streams_are_known_and_the_quietest_is_forgotten() {
        let streams: Streams<u32> = Streams::new(Most { each: 2, all: 100 });
        let get = |secs, owner, stream, value| {
            *lock(&streams.get(Time::from_secs(secs), Owner(owner), stream, || value).unwrap())
        };
        assert_eq!((get(1, 1, 10, 1), get(2, 1, 11, 2), get(3, 1, 10, 3)), (1, 2, 1));
        assert_eq!(get(4, 1, 12, 4), 4, "in the place of 11");
        assert_eq!((get(5, 1, 10, 5), get(6, 1, 11, 6)), (1, 6));
        assert_eq!(get(7, 2, 10, 7), 7, "another sender's are others");
        assert_eq!(streams.len(), 3);
        streams.keep(Time::from_secs(7), |owner| owner == Owner(2));
        assert!(streams.len() == 1 && !streams.is_empty());
    }

    #[test]
    fn what_nothing_comes_of_any_more_is_forgotten_by_the_next_that_begins_and_by_whoever_looks() {
        let streams: Streams<()> = Streams::new(FEW);
        let hear = |secs, owner, stream| streams.get(Time::from_secs(secs), Owner(owner), stream, || ()).is_some();
        assert!(hear(100, 1, 1) && hear(100, 1, 2) && hear(100, 2, 1));
        // One of them goes on, and another begins.
        assert!((100..=111).all(|secs| hear(secs, 1, 1)) && streams.len() == 3);
        assert!(hear(111, 3, 1));
        assert_eq!(streams.len(), 2, "the one that went on, and the one that began");
        streams.keep(Time::from_secs(130), |_| true);
        assert!(streams.is_empty());
    }

    #[test]
    fn where_all_have_as_many_as_there_may_be_each_has_its_own_forgotten_and_who_has_none_waits() {
        let streams: Streams<u32> = Streams::new(Most { each: 4, all: 3 });
        let hear = |secs, owner, stream| streams.get(Time::from_secs(secs), Owner(owner), stream, || 0).is_some();
        assert!(hear(100, 1, 1) && hear(101, 1, 2) && hear(102, 2, 1));
        assert!(!hear(103, 3, 1), "there is no room");
        assert!(hear(103, 1, 3) && streams.len() == 3, "in the place of one's own");
        assert!(hear(104, 1, 2) && hear(109, 2, 1) && !hear(109, 3, 1));
        assert!(hear(114, 3, 1), "the others were quiet");
    }
}
