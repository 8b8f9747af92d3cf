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

#[derive(Debug)]
struct Known<T> {
    stream: u32,
    state: Arc<Mutex<T>>,
    seen: Time,
}

/// So long a stream has to be quiet before another one takes its place: whoever begins one for each packet is not given room for each.
const QUIET: Duration = Duration::from_secs(1);
/// Those that have been quiet for so long are forgotten when their sender begins another.
const OVER: Duration = Duration::from_secs(60);

/// What is known of streams that come, by who sends them. Packets of one stream come to several workers.
#[derive(Debug)]
pub struct Streams<T> {
    of: Mutex<HashMap<Owner, Vec<Known<T>>, FixedState>>,
    /// So many of each sender are known. Whoever begins more has the quietest forgotten.
    most: usize,
    /// So many of all senders.
    all: usize,
}

impl<T> Known<T> {
    /// Whether another one may take its place: no worker has it, and nobody has asked for it lately.
    fn is_quiet(&self, now: Time, time: Duration) -> bool {
        Arc::strong_count(&self.state) == 1 && now.since(self.seen) >= time
    }
}

impl<T> Streams<T> {
    /// Of so many streams of each sender, and of all of them.
    pub fn new(most: usize, all: usize) -> Streams<T> {
        Streams { of: Mutex::default(), most: most.max(1), all: all.max(1) }
    }

    /// What is known of a stream; `make` where that is nothing. Workers keep it for the next packet. None where it is new, there are as many as there may be, and none of
    /// these is quiet.
    pub fn get(&self, now: Time, owner: Owner, stream: u32, make: impl FnOnce() -> T) -> Option<Arc<Mutex<T>>> {
        let mut of = lock(&self.of);
        if let Some(known) = of.get_mut(&owner).and_then(|known| known.iter_mut().find(|known| known.stream == stream))
        {
            known.seen = now;
            return Some(Arc::clone(&known.state));
        }
        let known = of.entry(owner).or_default();
        known.retain(|known| !known.is_quiet(now, OVER));
        let is_full = known.len() >= self.most;
        if is_full || of.values().map(Vec::len).sum::<usize>() >= self.all {
            let among = of.iter().filter(|(one, _)| !is_full || **one == owner);
            let among = among.flat_map(|(one, known)| known.iter().map(|known| (*one, known)));
            let quietest = among.filter(|(_, known)| known.is_quiet(now, QUIET)).min_by_key(|(_, known)| known.seen);
            let (whose, gone) = quietest.map(|(one, known)| (one, known.stream))?;
            of.entry(whose).or_default().retain(|known| known.stream != gone);
        }
        let state = Arc::new(Mutex::new(make()));
        of.entry(owner).or_default().push(Known { stream, state: Arc::clone(&state), seen: now });
        Some(state)
    }

    /// Forgets those of senders that are gone.
    pub fn keep(&self, stays: impl Fn(Owner) -> bool) {
        lock(&self.of).retain(|owner, _| stays(*owner));
    }

    /// Streams that are known.
    pub fn len(&self) -> usize {
        lock(&self.of).values().map(Vec::len).sum()
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
            let streams = Streams::new(4, 4);
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
        let streams: Streams<Window> = Streams::new(4, 4);
        let get = |stream| streams.get(Time::ZERO, OWNER, stream, Window::default).unwrap();
        let hear = |frame: Frame| is_first(&get(frame.stream), frame.number);
        let mut before = Numbers::begin(&mut rng);
        assert!((0..20_000).all(|_| hear(take(&mut before, 1, &mut rng))));
        let mut after = Numbers::begin(&mut rng);
        let again = take(&mut after, 1, &mut rng);
        assert_eq!((again.number, hear(again), hear(again)), (0, true, false));
    }

    #[test]
    fn of_each_sender_so_many_streams_are_known_and_the_quietest_is_forgotten() {
        let streams: Streams<u32> = Streams::new(2, 9);
        let get = |secs, owner, stream, value| {
            *lock(&streams.get(Time::from_secs(secs), Owner(owner), stream, || value).unwrap())
        };
        assert_eq!((get(1, 1, 10, 1), get(2, 1, 11, 2), get(3, 1, 10, 3)), (1, 2, 1));
        assert_eq!(get(4, 1, 12, 4), 4, "in the place of 11");
        assert_eq!((get(5, 1, 10, 5), get(6, 1, 11, 6)), (1, 6));
        assert_eq!(get(7, 2, 10, 7), 7, "another sender's are others");
        assert_eq!(streams.len(), 3);
        streams.keep(|owner| owner == Owner(2));
        assert!(streams.len() == 1 && !streams.is_empty());
    }

    #[test]
    fn who_begins_a_stream_for_each_packet_is_given_no_room_for_them_and_takes_none_from_others() {
        let streams: Streams<u32> = Streams::new(2, 3);
        let get = |millis, owner, stream| {
            let now = Time::from_secs(9) + Duration::from_millis(millis);
            streams.get(now, Owner(owner), stream, || 0)
        };
        let made = (0..500).filter(|number| get(*number, 1, *number as u32).is_some()).count();
        assert_eq!((made, streams.len()), (2, 2), "as long as none of them is quiet");
        assert!(get(600, 2, 7).is_some() && get(700, 2, 8).is_none(), "so many of all");
        assert!(get(1100, 2, 8).is_some(), "in the place of the quietest of all");
        assert!(get(1200, 2, 7).is_some() && get(1200, 1, 1).is_some(), "which was the other's first");
        let held = get(1300, 1, 1);
        assert!(get(9000, 1, 2).is_some(), "in the place of one that nobody has");
        assert!(get(9001, 1, 3).is_none() && held.is_some());
        drop(held);
        assert!(get(90_000, 1, 4).is_some());
        assert_eq!(streams.len(), 2, "those that were over long ago are forgotten: only the other's was not asked for");
    }
}
