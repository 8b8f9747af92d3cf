//! What all workers and control have in common.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use outwork_engine::Time;
use outwork_net::poll::Waker;
use outwork_wireguard::Index;
use outwork_wireguard::index::Table;
use outwork_wireguard::window::Window;

use super::account::Accounts;
use super::fec::decoder::{Budget, Decoder};
use super::gauge::Gauge;
use super::marking::Marking;
use super::streams::{Most, Streams};
use super::tunnel::{Receiving, TunnelId, UplinkIndex};
use super::view::View;
use crate::engine::flow::Flows;

/// What workers tell control that may wait at once. Beyond, they drop it and count that: handshakes are tried again, and so is all else.
pub const NOTICES: usize = 4096;
/// So many of them may be messages of handshakes, which anybody can send: a flood of those leaves room for what tunnels that are up say.
pub const HANDSHAKES: usize = 512;
/// Why messages of handshakes come to nothing: the words for [`Counters::handshakes`].
pub const REASONS: [&str; 10] =
    ["malformed", "mac1", "cookie", "rate", "forged", "stranger", "replayed", "too-fast", "not-awaited", "no-room"];
/// Streams of packets that come twice, a kilobyte each, of each site: one of each of its workers. 16 MiB of all sites together.
const STREAMS: Most = Most { each: 64, all: 16 << 10 };
/// The same of streams of groups, which take some kilobytes each,
const GROUPS: Most = Most { each: 32, all: 8 << 10 };
/// and of all sites together so many octets more for what is summed up of groups that are open.
const SUMS: usize = 64 << 20;
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
    /// A tunnel's datagrams come from elsewhere.
    Moved(TunnelId, SocketAddr),
    /// What is between ourselves came by a tunnel.
    Control(TunnelId, Time, Box<[u8]>),
    /// Nothing leaves by a tunnel.
    Stuck(TunnelId, outwork_net::carrier::Reason),
    /// Somebody on the way says that a datagram did not get there.
    Failure {
        /// By which uplink it left.
        uplink: UplinkIndex,
        /// Whom it was for. The port may not be known.
        to: SocketAddr,
        /// What is said.
        reason: outwork_net::carrier::Reason,
        /// Octets of the longest IP packet that passes, where that is said.
        mtu: usize,
        /// The session of theirs that it was of, which who makes such messages up does not know.
        session: Option<Index>,
    },
}

/// Nanoseconds since this process began, and a bit.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    begun: Instant,
    /// Shown in its place, in nanoseconds.
    #[cfg(test)]
    set: Option<&'static AtomicU64>,
}

impl Clock {
    /// It begins now.
    pub fn begin() -> Clock {
        Clock {
            begun: Instant::now(),
            #[cfg(test)]
            set: None,
        }
    }

    /// One that whoever has `nanos` sets.
    #[cfg(test)]
    pub(crate) fn set_by(nanos: &'static AtomicU64) -> Clock {
        Clock { set: Some(nanos), ..Clock::begin() }
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
    /// Packets in datagrams that were authentic, and are none.
    pub unreadable: AtomicU64,
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
    /// Flows to sites, which stay on their paths.
    pub flows: Flows,
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
    notices: SyncSender<Notice>,
    /// Messages of handshakes among what control has yet to hear.
    waiting: AtomicUsize,
    control: Arc<Waker>,
    workers: Box<[Waker]>,
    /// Counts sessions that have begun: packets may wait for one.
    keys: AtomicU64,
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
            flows: Flows::new(FLOWS * workers.len().max(1)),
            accounts: ArcSwap::default(),
            seed,
            twice: Streams::new(STREAMS),
            groups: Streams::new(GROUPS),
            sums: Arc::new(Budget::new(SUMS)),
            marking: ArcSwap::default(),
            notices,
            waiting: AtomicUsize::new(0),
            control,
            workers,
            keys: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// Tells control something, unless it has too much to hear already. Whether it was told: what is said once only has to be said again if not.
    pub fn tell(&self, notice: Notice) -> bool {
        let is_handshake = matches!(notice, Notice::Handshake { .. });
        let has_room = !is_handshake || self.waiting.fetch_add(1, Relaxed) < HANDSHAKES;
        let told = if has_room { self.notices.try_send(notice) } else { Err(TrySendError::Full(notice)) };
        match told {
            Ok(()) => {
                self.control.wake();
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.unheard.fetch_add(1, Relaxed);
                if is_handshake {
                    self.heard_handshake();
                }
                false
            }
        }
    }

    /// Control has heard a message of a handshake: there is room for another.
    pub fn heard_handshake(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// What wakes a worker.
    pub fn waker(&self, worker: usize) -> Option<&Waker> {
        self.workers.get(worker)
    }

    /// A session has begun: packets that wait may go.
    pub fn has_keys(&self) {
        self.keys.fetch_add(1, Release);
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
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn handshake() -> Notice {
        let from = SocketAddr::from(([192, 0, 2, 1], 51820));
        Notice::Handshake { uplink: UplinkIndex(0), from, to: from.ip(), datagram: [1; 148].into() }
    }

    #[test]
    fn a_flood_of_handshakes_leaves_room_for_what_tunnels_say() {
        let (notices, heard) = sync_channel(NOTICES);
        let control = Arc::new(Waker::new().unwrap());
        let shared = Shared::new(View::empty(), Arc::new(Table::new(1)), notices, control, Box::new([]), 1);
        let told = (0..2 * NOTICES).filter(|_| shared.tell(handshake())).count();
        assert_eq!(told, HANDSHAKES);
        assert!(shared.tell(Notice::Wanted(TunnelId(7))));
        assert_eq!(shared.counters.unheard.load(Relaxed), (2 * NOTICES - HANDSHAKES) as u64);
        let told: Vec<Notice> = heard.try_iter().collect();
        assert!(told.len() == HANDSHAKES + 1 && matches!(told.last(), Some(Notice::Wanted(TunnelId(7)))));
        // What was heard makes room.
        shared.heard_handshake();
        assert_eq!([(); 2].map(|()| shared.tell(handshake())), [true, false]);
        assert_eq!(heard.try_iter().count(), 1);
    }
}
