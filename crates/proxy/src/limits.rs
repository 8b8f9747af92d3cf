//! How much there may be of all pools together: requests, how fast they may begin, and connections to backends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use outwork_balance::Held;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::config::GlobalLimits;
use crate::metrics::Absent;

/// How long who wants a connection waits for other threads to let go of theirs. It takes them microseconds, unless they are busy.
const MOMENT: Duration = Duration::from_millis(250);
/// How long nobody is asked again where nobody had anything to let go of.
const VAIN: Duration = Duration::from_millis(250);

/// How fast something may happen: a generic cell rate, of all threads together.
#[derive(Debug, Default)]
pub(crate) struct Rate(AtomicU64);

impl Rate {
    /// Whether it may happen once more, where `burst` may at once, and so many in each second after that; 0 is no limit. `now` is since whenever.
    pub(crate) fn admits(&self, now: Duration, per_second: u32, burst: u32) -> bool {
        let Some(pause) = 1_000_000_000_u64.checked_div(per_second.into()) else { return true };
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let ahead = pause.saturating_mul(u64::from(burst.max(1)) - 1);
        let next = |due: u64| {
            let due = due.max(now);
            (due - now <= ahead).then(|| due.saturating_add(pause))
        };
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// What was admitted does not happen after all: another may in its place.
    pub(crate) fn give_back(&self, per_second: u32) {
        let Some(pause) = 1_000_000_000_u64.checked_div(per_second.into()) else { return };
        let _ = self.0.fetch_update(Relaxed, Relaxed, |due| Some(due.saturating_sub(pause)));
    }
}

/// What is under way of all pools and threads.
#[derive(Debug, Default)]
pub(crate) struct Everywhere {
    limits: ArcSwap<GlobalLimits>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    rate: Rate,
    pub(crate) eviction: Eviction,
}

/// Connections that wait for their next request, and keep others from being opened: one that is needed is worth more.
#[derive(Debug, Default)]
pub(crate) struct Eviction {
    /// Tells every thread that one is needed.
    wanted: watch::Sender<()>,
    /// How many are needed that nobody has let go of one for.
    owed: AtomicUsize,
    /// Tells who needs one that one has gone.
    freed: Notify,
    /// When nobody let go of any, in nanoseconds since whenever; 0 where that was never so.
    vain: AtomicU64,
}

impl Eviction {
    /// Hears of it whenever one is needed.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.wanted.subscribe()
    }

    /// Whether somebody still needs one: then it is this that lets go of it, and nobody else.
    pub(crate) fn claim(&self) -> bool {
        self.owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1)).is_ok()
    }

    /// What is found by `take` once there is room. Who has connections that wait is asked to let go of one, and given a moment for that. `now` is since whenever.
    pub(crate) async fn make_room<T>(&self, now: Duration, take: impl Fn() -> Option<T>) -> Option<T> {
        let nanos = |since: Duration| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let vain = self.vain.load(Relaxed);
        if vain > 0 && nanos(now).saturating_sub(vain) < nanos(VAIN) {
            return None;
        }
        let room = timeout(MOMENT, async {
            loop {
                // Whatever goes from here on is heard of.
                let freed = self.freed.notified();
                if let Some(taken) = take() {
                    return taken;
                }
                self.owed.fetch_add(1, Relaxed);
                self.wanted.send_replace(());
                freed.await;
            }
        });
        let room = room.await.ok();
        if room.is_none() {
            // It asks for none any more.
            self.claim();
            self.vain.store(nanos(now + MOMENT).max(1), Relaxed);
        }
        room
    }
}

/// A place among what is under way. It is given back with this.
#[derive(Debug)]
pub(crate) struct Seat {
    everywhere: Arc<Everywhere>,
    of: fn(&Everywhere) -> &AtomicUsize,
}

impl Everywhere {
    /// From now on there may be so much.
    pub(crate) fn set(&self, limits: GlobalLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// A place for a request that begins now, which is since whenever; none is taken where there is no limit, for that every thread would write to one place.
    pub(crate) fn request(self: &Arc<Self>, now: Duration) -> Result<Option<Seat>, Absent> {
        let limits = self.limits.load();
        let seat = self.seat(|all| &all.requests, limits.max_requests).map_err(|()| Absent::Everywhere)?;
        let rate = limits.request_rate;
        match self.rate.admits(now, rate, limits.request_burst.unwrap_or(rate)) {
            true => Ok(seat),
            false => Err(Absent::RateEverywhere),
        }
    }

    /// One for a connection to a backend.
    pub(crate) fn connection(self: &Arc<Self>) -> Result<Option<Seat>, Absent> {
        let most = self.limits.load().max_backend_connections;
        self.seat(|all| &all.connections, most).map_err(|()| Absent::ConnectionsEverywhere)
    }

    fn seat(self: &Arc<Self>, of: fn(&Self) -> &AtomicUsize, most: Option<u32>) -> Result<Option<Seat>, ()> {
        let Some(most) = most else { return Ok(None) };
        let before = of(self).fetch_add(1, Relaxed);
        // Who is turned away gives back what it has taken.
        let seat = Seat { everywhere: Arc::clone(self), of };
        if before < most as usize { Ok(Some(seat)) } else { Err(()) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        (self.of)(&self.everywhere).fetch_sub(1, Relaxed);
    }
}

/// Room for a connection to a backend, as long as this is there: among all of them, and among those of its pool.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) _everywhere: Option<Seat>,
    pub(crate) _of_pool: Held,
    /// The last to go: who hears of it finds room.
    pub(crate) _left: Left,
}

/// Tells who needs a connection that there is room for one, once this goes.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) everywhere: Arc<Everywhere>,
    pub(crate) of_pool: Arc<Eviction>,
}

impl Drop for Left {
    fn drop(&mut self) {
        self.everywhere.eviction.freed.notify_waiters();
        self.of_pool.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_may_begin_at_once_and_so_many_in_each_second_after_that() {
        let rate = Rate::default();
        let admitted =
            |at: u64, tries: usize| (0..tries).filter(|_| rate.admits(Duration::from_millis(at), 10, 3)).count();
        assert_eq!(admitted(1_000, 10), 3);
        assert_eq!((admitted(1_050, 10), admitted(1_100, 10), admitted(1_350, 10)), (0, 1, 2));
        assert_eq!(admitted(60_000, 10), 3, "what was not used is not saved up");
    }

    #[test]
    fn what_is_beyond_a_limit_is_refused_by_which_and_gives_back_what_it_took() {
        let all = Arc::new(Everywhere::default());
        all.set(GlobalLimits { max_requests: Some(1), max_backend_connections: Some(1), ..GlobalLimits::default() });
        let one = all.request(Duration::ZERO).unwrap();
        assert_eq!(all.request(Duration::ZERO).unwrap_err(), Absent::Everywhere);
        let two = all.connection().unwrap();
        assert_eq!(all.connection().unwrap_err(), Absent::ConnectionsEverywhere);
        drop((one, two));
        assert!(all.request(Duration::ZERO).is_ok() && all.connection().is_ok());
        all.set(GlobalLimits { request_rate: 1, ..GlobalLimits::default() });
        let _one = all.request(Duration::from_secs(5)).unwrap();
        assert_eq!(all.request(Duration::from_secs(5)).unwrap_err(), Absent::RateEverywhere);
        assert!(all.request(Duration::from_secs(6)).is_ok());
    }

    #[test]
    fn what_does_not_happen_after_all_leaves_its_place_to_another() {
        let rate = Rate::default();
        let now = Duration::from_secs(9);
        assert!(rate.admits(now, 1, 1) && !rate.admits(now, 1, 1));
        rate.give_back(1);
        assert!(rate.admits(now, 1, 1) && !rate.admits(now, 1, 1));
    }

    #[test]
    fn who_needs_a_connection_gets_one_that_another_thread_lets_go_of_and_is_refused_where_none_does() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let room = |all: &Arc<Everywhere>| all.connection().ok().flatten();
        let all = Arc::new(Everywhere::default());
        all.set(GlobalLimits { max_backend_connections: Some(1), ..GlobalLimits::default() });
        let held = Left { everywhere: Arc::clone(&all), of_pool: Arc::default() };
        let (seat, mut wanted) = (room(&all).unwrap(), all.eviction.listen());
        let asked = Arc::clone(&all);
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(wanted.changed()).unwrap();
            assert!(asked.eviction.claim() && !asked.eviction.claim(), "one is enough");
            drop(seat);
            drop(held);
        });
        let now = Duration::from_secs(9);
        let taken = runtime.block_on(all.eviction.make_room(now, || room(&all)));
        other.join().unwrap();
        // Where the other thread had no turn in time, nobody has taken its place.
        let taken = taken.or_else(|| room(&all));
        assert!(taken.is_some() && room(&all).is_none());
        let asked = all.eviction.listen();
        let later = now + MOMENT + VAIN;
        assert!(runtime.block_on(all.eviction.make_room(later, || room(&all))).is_none());
        assert!(asked.has_changed().unwrap());
        let asked = all.eviction.listen();
        assert!(runtime.block_on(all.eviction.make_room(later + MOMENT, || room(&all))).is_none());
        assert!(!asked.has_changed().unwrap(), "it was in vain just now");
        assert!(!all.eviction.claim(), "nobody waits for one any more");
    }

    #[test]
    fn without_a_rate_all_may_begin() {
        let rate = Rate::default();
        assert!((0..1000).all(|_| rate.admits(Duration::ZERO, 0, 0)));
    }
}
