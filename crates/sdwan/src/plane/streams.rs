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

/// Who sends a stream sends often. So long one has to be quiet before another takes its place: whoever begins one for each packet is not given room for each.
const QUIET: Duration = Duration::from_secs(1);
/// One that nothing has come of for so long has ended, whether there is room or not: its sender began another, or is gone.
const OVER: Duration = Duration::from_secs(10);
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
    /// Of one sender.
    pub each: usize,
    /// Of all.
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

    /// Octets that they take, but for what their states refer to.
    pub fn memory(&self) -> usize {
        lock(&self.inside).count * (size_of::<Known<T>>() + size_of::<Mutex<T>>())
    }

    /// What is known of a stream; `make` where that is nothing. Workers keep it for the next packet, but not for long: a stream of which this is not asked is one that nothing
    /// comes of. None where it is new, there are as many as there may be, and none of these is quiet.
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
            let quiet = if inside.count >= self.most.all { QUIET } else { OVER };
            inside.retain(|_, known| now.since(known.seen) < quiet);
        }
        let is_full = inside.count >= self.most.all;
        if is_full || inside.of.get(&owner).is_some_and(|own| own.len() >= self.most.each) {
            let known = inside.of.get_mut(&owner)?;
            let quietest = known.iter_mut().min_by_key(|known| known.seen);
            let quietest = quietest.filter(|known| now.since(known.seen) >= QUIET)?;
            *quietest = Known { stream, state: Arc::new(Mutex::new(make())), seen: now };
            return Some(Arc::clone(&quietest.state));
        }
        let state = Arc::new(Mutex::new(make()));
        inside.of.entry(owner).or_default().push(Known { stream, state: Arc::clone(&state), seen: now });
        inside.count += 1;
        Some(state)
    }

    /// Forgets those of senders that are gone, and those that nothing has come of for long.
    pub fn keep(&self, now: Time, stays: impl Fn(Owner) -> bool) {
        lock(&self.inside).retain(|owner, known| stays(owner) && now.since(known.seen) < OVER);
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
    fn who_begins_a_stream_for_each_packet_is_given_no_room_for_them_and_takes_none_from_others() {
        let streams: Streams<u32> = Streams::new(Most { each: 2, all: 4 });
        let get = |millis, owner, stream| {
            let now = Time::from_secs(9) + Duration::from_millis(millis);
            streams.get(now, Owner(owner), stream, || 0).is_some()
        };
        let made = (0..500).filter(|number| get(*number, 1, *number as u32)).count();
        assert_eq!((made, streams.len()), (2, 2), "as long as none of them is quiet");
        assert!(get(600, 2, 7) && get(600, 2, 8), "another's are others");
        assert!(get(1000, 1, 500) && !get(1000, 1, 501), "in the place of the one that was quiet, the first");
        assert!(get(1001, 1, 501) && !get(1002, 1, 1), "and of the second");
        assert!(get(1003, 2, 7) && get(1003, 2, 8) && streams.len() == 4);
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
    fn where_all_have_as_many_as_there_may_be_who_has_none_waits_until_others_are_quiet() {
        let streams: Streams<u32> = Streams::new(Most { each: 4, all: 3 });
        let hear = |millis, owner, stream| {
            let now = Time::from_secs(100) + Duration::from_millis(millis);
            streams.get(now, Owner(owner), stream, || 0).is_some()
        };
        assert!(hear(0, 1, 1) && hear(100, 1, 2) && hear(200, 2, 1));
        assert!(!hear(500, 3, 1) && !hear(600, 1, 3), "there is no room");
        assert!(hear(900, 2, 1) && hear(900, 1, 2));
        assert!(hear(1100, 3, 1) && streams.len() == 3, "in the place of one that was quiet");
        assert!(!hear(1200, 1, 3) && hear(1300, 3, 1));
        assert!(hear(1950, 1, 3) && streams.len() == 3, "in the place of one's own");
        assert!(hear(2100, 4, 1) && streams.len() == 3, "once they are looked through again");
    }
}
