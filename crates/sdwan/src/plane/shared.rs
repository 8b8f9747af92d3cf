//! What all workers and control have in common.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use outwork_engine::Time;
use outwork_net::carrier::Failure;
use outwork_net::poll::Waker;
use outwork_wireguard::Index;
use outwork_wireguard::index::Table;
use outwork_wireguard::window::Window;

use super::account::Accounts;
use super::fec::decoder::{Budget, Decoder};
use super::gauge::Gauge;
use super::lines::Lines;
use super::marking::Marking;
use super::quoted::{self, Quoted};
use super::streams::{Most, Streams, lock};
use super::tunnel::{Once, Receiving, Tunnel, TunnelId, UplinkIndex};
use super::view::View;
use crate::engine::flow::Flows;
use crate::metrics::PathMetrics;

/// What workers tell control that may wait at once. Beyond, they drop it and count that: handshakes are tried again, and so is all else.
pub const NOTICES: usize = 4096;
/// So many of them may be messages of handshakes, which anybody can send: a flood of those leaves room for what tunnels that are up say.
pub const HANDSHAKES: usize = 512;
/// And so many what ICMP says, which anybody can send as well.
pub const HINTS: usize = 64;
/// And so many destinations to which datagrams are too long for this host. No flood of ICMP takes room from those.
pub const NARROW: usize = 64;
/// Why messages of handshakes come to nothing: the words for [`Counters::handshakes`].
pub const REASONS: [&str; 10] =
    ["malformed", "mac1", "cookie", "rate", "forged", "stranger", "replayed", "too-fast", "not-awaited", "no-room"];
/// Streams of packets that come twice, a kilobyte each, of each site: one of each of its workers. 16 MiB of all sites together.
const STREAMS: Most = Most { each: 64, all: 16 << 10 };
/// The same of streams of groups, which take some kilobytes each,
const GROUPS: Most = Most { each: 32, all: 8 << 10 };
/// and of all sites together so many octets more for what is summed up of groups that are open.
pub const SUMS: usize = 64 << 20;
/// Flows to sites that are known, for each worker.
const FLOWS: usize = 1 << 16;
/// What clocks show at their beginning, so that nothing was at time zero.
const BEGINNING: Duration = Duration::from_secs(1);

/// What workers tell control.
#[derive(Debug)]
pub enum Notice {
    /// A datagram came that is no packet: a message of a handshake.
    Handshake {
        /// By which uplink.
        uplink: UplinkIndex,
        /// From where.
        from: SocketAddr,
        /// Where it was sent to.
        to: IpAddr,
        /// It.
        datagram: Box<[u8]>,
    },
    /// A tunnel has packets and no session, or its keys should be made anew.
    Wanted(TunnelId),
    /// The first datagram of a session came.
    Confirmed(TunnelId, Index),
    /// A tunnel's datagrams come from there, and to that address of ours, and that is new.
    Moved(TunnelId, SocketAddr, Option<IpAddr>),
    /// What is between ourselves came by a tunnel.
    Control(TunnelId, Time, Box<[u8]>),
    /// Nothing leaves by a tunnel.
    Stuck(TunnelId, outwork_net::carrier::Reason),
    /// Somebody on the way says that packets of a tunnel may be so long, with all that is around them: 0 where that is not said.
    Hint(TunnelId, usize),
    /// This host itself says that a datagram is too long for the interface that it would leave by.
    Narrow {
        /// By which uplink.
        uplink: UplinkIndex,
        /// Whom it was for.
        to: IpAddr,
        /// Octets of the longest IP packet that the interface takes.
        mtu: usize,
    },
}

/// Nanoseconds since this process began, and a bit.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    begun: Instant,
    /// Shown in its place, in nanoseconds.
    #[cfg(test)]
    set: Option<&'static AtomicU64>,
    /// Shown in place of the wall clock, in seconds.
    #[cfg(test)]
    wall: Option<&'static AtomicU64>,
}

impl Clock {
    /// It begins now.
    pub fn begin() -> Clock {
        Clock {
            begun: Instant::now(),
            #[cfg(test)]
            set: None,
            #[cfg(test)]
            wall: None,
        }
    }

    /// One that whoever has `nanos` sets.
    #[cfg(test)]
    pub(crate) fn set_by(nanos: &'static AtomicU64) -> Clock {
        Clock { set: Some(nanos), ..Clock::begin() }
    }

    /// The same with a wall clock that whoever has `seconds` sets.
    #[cfg(test)]
    pub(crate) fn with_wall(self, seconds: &'static AtomicU64) -> Clock {
        Clock { wall: Some(seconds), ..self }
    }

    /// What the wall clock shows, since 1970. Somebody may set it at any time. Before 1970 stamps could not grow.
    pub fn unix(&self) -> Duration {
        #[cfg(test)]
        if let Some(seconds) = self.wall {
            return Duration::from_secs(seconds.load(Relaxed));
        }
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// What it shows.
    pub fn now(&self) -> Time {
        #[cfg(test)]
        if let Some(nanos) = self.set {
            return Time::from_nanos(nanos.load(Relaxed));
        }
        Time::ZERO + BEGINNING + self.begun.elapsed()
    }
}

/// What workers count together. Each adds once a batch.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets from the device that nobody is behind.
    pub unrouted: AtomicU64,
    /// Packets from the device that cannot be read.
    pub malformed: AtomicU64,
    /// Packets that are too long for their tunnel.
    pub too_long: AtomicU64,
    /// Of these, those whose sender was not told: nobody is told of such, too many were told in that second, or the device took nothing.
    pub untold: AtomicU64,
    /// Packets of IPv6 that are no longer than every way takes, where the only path takes less.
    pub narrow: AtomicU64,
    /// Packets that waited for a session too long, or were too many.
    pub given_up: AtomicU64,
    /// Datagrams of nobody's session.
    pub strangers: AtomicU64,
    /// What came that is no datagram of WireGuard.
    pub noise: AtomicU64,
    /// What sites say to each other, of peers that are none.
    pub not_of_a_site: AtomicU64,
    /// Packets in datagrams that were authentic, and are none.
    pub unreadable: AtomicU64,
    /// Hellos of another version than ours: from a site of another release, to which no path comes up.
    pub other_version: AtomicU64,
    /// Packets that the device had no room for.
    pub undelivered: AtomicU64,
    /// What control was not told, being too busy.
    pub unheard: AtomicU64,
    /// Datagrams that the kernel did not take.
    pub unsent: AtomicU64,
    /// Packets that went by two paths.
    pub doubled: AtomicU64,
    /// Packets that had come by the other path already.
    pub repeated: AtomicU64,
    /// Packets of streams that there was no room for: those that come twice are handed on twice, and others are not mended.
    pub crowded: AtomicU64,
    /// Packets that were lost, and mended by others of their group.
    pub mended: AtomicU64,
    /// Datagrams of others that were passed on.
    pub passed: AtomicU64,
    /// Octets of these.
    pub passed_octets: AtomicU64,
    /// Datagrams of others that were not: for somebody who is not reached, of somebody else than who sent them, or passed on before.
    pub not_passed: AtomicU64,
    /// Datagrams of sessions that came from where those of their tunnel do not,
    pub elsewhere: AtomicU64,
    /// that came before,
    pub replayed: AtomicU64,
    /// that came so late that nobody knows whether they did,
    pub late: AtomicU64,
    /// that were not sealed with the session's key, or altered,
    pub forged: AtomicU64,
    /// whose session is at its end.
    pub expired: AtomicU64,
    /// Messages of handshakes that came to nothing, by [`REASONS`].
    pub handshakes: [AtomicU64; REASONS.len()],
    /// What ICMP says of datagrams of ours, by what becomes of it: [`quoted::WORDS`].
    pub icmp: [AtomicU64; quoted::WORDS.len()],
    /// Flows whose name was not waited for to its end: policies know them by their ports.
    pub unnamed: AtomicU64,
}

/// All of it.
pub struct Shared {
    /// What workers know.
    pub view: ArcSwap<View>,
    /// Sessions by their index.
    pub sessions: Arc<Table<Receiving>>,
    /// The time.
    pub clock: Clock,
    /// What was measured of paths to sites, in the order of their numbers.
    pub gauges: ArcSwap<Vec<Arc<Gauge>>>,
    /// What is counted.
    pub counters: Counters,
    /// What is measured of paths.
    pub measures: Arc<PathMetrics>,
    /// Flows to sites, which stay on their paths.
    pub flows: Flows,
    /// Octets of what decides about paths, about.
    pub engine: AtomicU64,
    /// What was sent under which policy.
    pub accounts: ArcSwap<Accounts>,
    /// Of hashes that others are not to guess.
    pub seed: u64,
    /// What has come of packets that come twice.
    pub twice: Streams<Window>,
    /// What has come of packets of groups.
    pub groups: Streams<Decoder>,
    /// Octets that these may take yet.
    pub sums: Arc<Budget>,
    /// What shaping knows datagrams by.
    pub marking: ArcSwap<Marking>,
    /// Whose datagrams are that ICMP quotes.
    pub quoted: Quoted,
    /// The sockets of uplinks.
    pub lines: Lines,
    notices: SyncSender<Notice>,
    /// Messages of handshakes among what control has yet to hear, what ICMP says, and what this host says is too long.
    handshakes: AtomicUsize,
    hints: AtomicUsize,
    narrowed: AtomicUsize,
    /// Where, by which uplinks, datagrams went of which control has yet to hear that they are too long for this host.
    narrow: Mutex<BTreeSet<(UplinkIndex, IpAddr)>>,
    control: Arc<Waker>,
    workers: Box<[Waker]>,
    /// Counts how often control has asked whether anything lies in sockets,
    knocks: AtomicU64,
    /// and of each worker, the last of these that it has answered.
    looked: Box<[AtomicU64]>,
    /// Counts sessions that have begun: packets may wait for one.
    keys: AtomicU64,
    /// Counts how often interfaces, addresses or default routes of this host have become others.
    moves: AtomicU64,
    stopping: AtomicBool,
}

impl Shared {
    /// Of so many workers.
    pub fn new(
        view: View,
        sessions: Arc<Table<Receiving>>,
        notices: SyncSender<Notice>,
        control: Arc<Waker>,
        workers: Box<[Waker]>,
        seed: u64,
    ) -> Shared {
        Shared {
            view: ArcSwap::from_pointee(view),
            sessions,
            clock: Clock::begin(),
            gauges: ArcSwap::default(),
            counters: Counters::default(),
            measures: Arc::default(),
            engine: AtomicU64::new(0),
            flows: Flows::new(FLOWS * workers.len().max(1)),
            accounts: ArcSwap::default(),
            seed,
            twice: Streams::new(STREAMS),
            groups: Streams::new(GROUPS),
            sums: Arc::new(Budget::new(SUMS)),
            marking: ArcSwap::default(),
            quoted: Quoted::default(),
            lines: Lines::default(),
            notices,
            handshakes: AtomicUsize::new(0),
            hints: AtomicUsize::new(0),
            narrowed: AtomicUsize::new(0),
            narrow: Mutex::default(),
            control,
            knocks: AtomicU64::new(0),
            looked: workers.iter().map(|_| AtomicU64::new(0)).collect(),
            workers,
            keys: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// The share of what control may have yet to hear that a notice is of: how much of it is taken, and how much there is.
    fn share(&self, notice: &Notice) -> Option<(&AtomicUsize, usize)> {
        match notice {
            Notice::Handshake { .. } => Some((&self.handshakes, HANDSHAKES)),
            Notice::Hint(..) => Some((&self.hints, HINTS)),
            Notice::Narrow { .. } => Some((&self.narrowed, NARROW)),
            _ => None,
        }
    }

    /// Tells control something, unless it has too much to hear already. Whether it is going to hear it: what is said once only has to be said again if not.
    pub fn tell(&self, notice: Notice) -> bool {
        let share = self.share(&notice);
        let has_room = share.is_none_or(|(taken, most)| taken.fetch_add(1, Relaxed) < most);
        let told = if has_room { self.notices.try_send(notice) } else { Err(TrySendError::Full(notice)) };
        match told {
            Ok(()) => {
                self.control.wake();
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.unheard.fetch_add(1, Relaxed);
                if let Some((taken, _)) = share {
                    taken.fetch_sub(1, Relaxed);
                }
                false
            }
        }
    }

    /// The same of a message of a handshake. One that there is no room for is not copied: anybody can send such, as many as there are.
    pub fn tell_handshake(&self, uplink: UplinkIndex, (from, to): (SocketAddr, IpAddr), datagram: &[u8]) {
        if self.handshakes.load(Relaxed) < HANDSHAKES {
            self.tell(Notice::Handshake { uplink, from, to, datagram: datagram.into() });
        } else {
            self.counters.unheard.fetch_add(1, Relaxed);
        }
    }

    /// The same of what is said of a tunnel once until it is heard. What there was no room for is said again.
    pub fn tell_once(&self, tunnel: &Tunnel, once: Once, notice: Notice) {
        if tunnel.first(once) && !self.tell(notice) {
            tunnel.done(once);
        }
    }

    /// The same of what sites say to each other: by one tunnel no more than its share.
    pub fn tell_word(&self, tunnel: &Tunnel, now: Time, octets: &[u8]) {
        if !tunnel.may_speak() {
            self.counters.unheard.fetch_add(1, Relaxed);
        } else if !self.tell(Notice::Control(tunnel.id, now, octets.into())) {
            tunnel.spoke();
        }
    }

    /// What ICMP says of a datagram that left by an uplink.
    pub fn quoted(&self, uplink: UplinkIndex, failure: &Failure<'_>) {
        let (judged, tunnel) = self.quoted.judge(uplink, failure);
        if let Some(counter) = self.counters.icmp.get(judged.place()) {
            counter.fetch_add(1, Relaxed);
        }
        if let Some(tunnel) = tunnel
            && !self.tell(Notice::Hint(tunnel.id, failure.mtu))
        {
            tunnel.done(Once::Hint);
        }
    }

    /// What this host itself says of a datagram that was to leave by an uplink: it is too long for the interface, which takes `mtu` octets. It says so of every one that is, and
    /// control looks at all paths for each: it hears of a destination once at a time.
    pub fn narrow(&self, uplink: UplinkIndex, to: IpAddr, mtu: usize) {
        if lock(&self.narrow).insert((uplink, to)) && !self.tell(Notice::Narrow { uplink, to, mtu }) {
            lock(&self.narrow).remove(&(uplink, to));
        }
    }

    /// Control has heard a notice: there is room for another of its kind.
    pub fn heard(&self, notice: &Notice) {
        if let Notice::Narrow { uplink, to, .. } = notice {
            lock(&self.narrow).remove(&(*uplink, *to));
        }
        if let Some((taken, _)) = self.share(notice) {
            taken.fetch_sub(1, Relaxed);
        }
    }

    /// What wakes a worker.
    pub fn waker(&self, worker: usize) -> Option<&Waker> {
        self.workers.get(worker)
    }

    /// Has all workers look into their sockets. The number of that question.
    pub fn knock(&self) -> u64 {
        let number = self.knocks.fetch_add(1, AcqRel) + 1;
        self.workers.iter().for_each(Waker::wake);
        number
    }

    /// The number of the last question: who is to answer it looks after it has asked for that.
    pub fn knocked(&self) -> u64 {
        self.knocks.load(Acquire)
    }

    /// A worker has told of everything that lay in its sockets when the question of that number was asked.
    pub fn looked(&self, worker: usize, number: u64) {
        if let Some(looked) = self.looked.get(worker)
            && looked.load(Relaxed) != number
        {
            looked.store(number, Release);
            self.control.wake();
        }
    }

    /// Whether all workers have answered a question.
    pub fn have_looked(&self, number: u64) -> bool {
        self.looked.iter().all(|looked| looked.load(Acquire) >= number)
    }

    /// Interfaces, addresses or default routes of this host have become others.
    pub fn has_moved(&self) {
        self.moves.fetch_add(1, Release);
    }

    /// How often that was.
    pub fn moves(&self) -> u64 {
        self.moves.load(Acquire)
    }

    /// A session has begun: packets that wait may go.
    pub fn has_keys(&self) {
        self.keys.fetch_add(1, Release);
        self.workers.iter().for_each(Waker::wake);
    }

    /// There are other sockets: workers look at [`Shared::lines`].
    pub fn has_lines(&self) {
        self.workers.iter().for_each(Waker::wake);
    }

    /// Sessions that have begun.
    pub fn keys(&self) -> u64 {
        self.keys.load(Acquire)
    }

    /// Has all threads end.
    pub fn stop(&self) {
        self.stopping.store(true, Release);
        self.workers.iter().for_each(Waker::wake);
        self.control.wake();
    }

    /// Whether they are to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use outwork_net::carrier::Reason;

    use super::*;
    use crate::plane::tunnel::{Owner, WORDS};

    fn shared() -> (Shared, Receiver<Notice>) {
        let (notices, heard) = sync_channel(NOTICES);
        let control = Arc::new(Waker::new().unwrap());
        (Shared::new(View::empty(), Arc::new(Table::new(1)), notices, control, Box::new([]), 1), heard)
    }

    /// One to 192.0.2.9:51820.
    fn tunnel(id: u32) -> Arc<Tunnel> {
        let tunnel = Arc::new(Tunnel::new(TunnelId(id), "site", UplinkIndex(0), Owner(1), 1420));
        tunnel.set_endpoint(Some("192.0.2.9:51820".parse().unwrap()));
        tunnel
    }

    #[test]
    fn a_question_is_answered_when_every_worker_has_looked_after_it() {
        let (notices, _heard) = sync_channel(NOTICES);
        let control = Arc::new(Waker::new().unwrap());
        let workers = Box::new([Waker::new().unwrap(), Waker::new().unwrap()]);
        let shared = Shared::new(View::empty(), Arc::new(Table::new(1)), notices, control, workers, 1);
        let before = shared.knocked();
        let number = shared.knock();
        shared.looked(0, before);
        shared.looked(1, before);
        assert!(!shared.have_looked(number), "they had looked before");
        shared.looked(0, shared.knocked());
        assert!(!shared.have_looked(number));
        shared.looked(1, shared.knocked());
        assert!(shared.have_looked(number));
    }

    fn handshake() -> Notice {
        let from = SocketAddr::from(([192, 0, 2, 1], 51820));
        Notice::Handshake { uplink: UplinkIndex(0), from, to: from.ip(), datagram: [1; 148].into() }
    }

    #[test]
    fn a_flood_of_handshakes_leaves_room_for_what_tunnels_say() {
        let (shared, heard) = shared();
        let from = SocketAddr::from(([192, 0, 2, 1], 51820));
        (0..2 * NOTICES).for_each(|_| shared.tell_handshake(UplinkIndex(0), (from, from.ip()), &[1; 148]));
        assert!(!shared.tell(handshake()) && shared.tell(Notice::Wanted(TunnelId(7))));
        assert_eq!(shared.counters.unheard.load(Relaxed), (2 * NOTICES - HANDSHAKES + 1) as u64);
        let told: Vec<Notice> = heard.try_iter().collect();
        assert!(told.len() == HANDSHAKES + 1 && matches!(told.last(), Some(Notice::Wanted(TunnelId(7)))));
        // What was heard makes room.
        shared.heard(&handshake());
        assert_eq!([shared.tell(handshake()), shared.tell(handshake())], [true, false]);
        assert_eq!(heard.try_iter().count(), 1);
    }

    #[test]
    fn a_flood_of_icmp_leaves_room_for_what_tunnels_say_and_each_has_one_word_in_it() {
        let (shared, heard) = shared();
        let quoted = |session: u32| [&[4, 0, 0, 0][..], &session.to_le_bytes()].concat();
        let tunnels: Vec<_> = (0..2 * HINTS as u32).map(tunnel).collect();
        tunnels.iter().zip(1..).for_each(|(tunnel, session)| shared.quoted.set(tunnel, Index(session)));
        for round in 0..100 {
            for session in 0..4 * HINTS as u32 {
                let to = "192.0.2.9:51820".parse().unwrap();
                let quote = quoted(session);
                let failure = Failure { to, told_by: None, reason: Reason::TooLong, mtu: 1300 + round, quote: &quote };
                shared.quoted(UplinkIndex(0), &failure);
            }
        }
        assert!(shared.tell(Notice::Wanted(TunnelId(7))));
        let told: Vec<Notice> = heard.try_iter().collect();
        assert_eq!(told.len(), HINTS + 1);
        assert!(told.iter().take(HINTS).all(|notice| matches!(notice, Notice::Hint(_, 1300))));
        let count = |word: &str| {
            let place = quoted::WORDS.iter().position(|one| *one == word).unwrap();
            shared.counters.icmp[place].load(Relaxed) as usize
        };
        let (all, own) = (100 * 4 * HINTS, 100 * 2 * HINTS);
        assert_eq!((count("stranger"), count("heard") + count("pending")), (all - own, own));
        assert_eq!(count("pending"), 99 * HINTS, "who had no room may say it again");
    }

    #[test]
    fn a_thousand_datagrams_that_are_too_long_for_this_host_are_told_of_once_until_that_was_heard() {
        let (shared, heard) = shared();
        let (uplink, [one, two]) = (UplinkIndex(0), ["192.0.2.9", "192.0.2.10"].map(|to| to.parse().unwrap()));
        let say = |uplink, to| (0..1000).for_each(|_| shared.narrow(uplink, to, 1400));
        say(uplink, one);
        let told: Vec<Notice> = heard.try_iter().collect();
        assert!(matches!(told[..], [Notice::Narrow { mtu: 1400, .. }]), "{told:?}");
        say(uplink, one);
        assert_eq!(heard.try_iter().count(), 0, "control has it before it");
        say(uplink, two);
        say(UplinkIndex(1), one);
        assert_eq!(heard.try_iter().count(), 2, "elsewhere it is another one");
        shared.heard(&told[0]);
        say(uplink, one);
        assert_eq!(heard.try_iter().count(), 1, "it was heard, and is so still");
        assert_eq!(shared.counters.unheard.load(Relaxed), 0);
        // Of however many destinations, there is room for what tunnels say; and what had none is said again.
        let many = || (0..1000_u32).map(|host| IpAddr::from((0x0a00_0000 + host).to_be_bytes()));
        many().for_each(|to| shared.narrow(uplink, to, 1400));
        let told: Vec<Notice> = heard.try_iter().collect();
        assert_eq!(told.len(), NARROW - 3);
        told.iter().for_each(|notice| shared.heard(notice));
        shared.narrow(uplink, many().next_back().unwrap(), 1400);
        assert_eq!(heard.try_iter().count(), 1);
        assert_eq!(shared.counters.unheard.load(Relaxed), 1000 - told.len() as u64);
    }

    #[test]
    fn what_had_no_room_is_said_again_and_one_tunnel_does_not_take_all_of_it() {
        let (shared, heard) = shared();
        let (tunnel, other) = (tunnel(1), tunnel(2));
        (0..2 * u32::from(WORDS)).for_each(|_| shared.tell_word(&tunnel, Time::ZERO, &[0, 1]));
        assert_eq!(heard.try_iter().count(), usize::from(WORDS));
        shared.tell_word(&other, Time::ZERO, &[0, 1]);
        tunnel.spoke();
        (0..2).for_each(|_| shared.tell_word(&tunnel, Time::ZERO, &[0, 1]));
        assert_eq!(heard.try_iter().count(), 2, "another's is heard, and another one once one was heard");
        let wants = || shared.tell_once(&tunnel, Once::Wanted, Notice::Wanted(tunnel.id));
        assert!((0..NOTICES).all(|_| shared.tell(Notice::Confirmed(other.id, Index(1)))));
        wants();
        assert_eq!(heard.try_iter().filter(|notice| matches!(notice, Notice::Wanted(_))).count(), 0);
        (0..3).for_each(|_| wants());
        assert_eq!(heard.try_iter().count(), 1, "once, as soon as there is room");
        tunnel.done(Once::Wanted);
        wants();
        assert_eq!(heard.try_iter().count(), 1);
    }
}
