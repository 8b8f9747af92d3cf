//! The sockets of all uplinks: of each address that an uplink listens at one for each worker. They are others when an uplink is bound anew.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use outwork_net::carrier::Socket;

use super::outbound::Posts;
use super::tunnel::UplinkIndex;

/// The sockets of one address: one for each worker.
pub type Group = Vec<Arc<Socket>>;

/// One uplink's.
#[derive(Debug, Clone)]
struct Line {
    name: Arc<str>,
    groups: Vec<Group>,
}

impl Line {
    fn sockets(&self) -> impl Iterator<Item = &Arc<Socket>> {
        self.groups.iter().flatten()
    }
}

/// What sockets have counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs of datagrams that the kernel dropped, there being no room for them at the socket.
    pub dropped: u64,
    /// Runs that were longer than the room for them.
    pub truncated: u64,
    /// Runs that were refused as such, and left as single datagrams from then on.
    pub runs_refused: u64,
}

impl Counts {
    fn of(socket: &Socket) -> Counts {
        let counters = socket.counters();
        Counts {
            // Of a socket that is open the kernel tells this.
            dropped: socket.drops().map_or(0, u64::from),
            truncated: counters.truncated,
            runs_refused: counters.runs_refused,
        }
    }

    fn and(self, other: Counts) -> Counts {
        Counts {
            dropped: self.dropped + other.dropped,
            truncated: self.truncated + other.truncated,
            runs_refused: self.runs_refused + other.runs_refused,
        }
    }
}

/// The figures of the sockets of one uplink.
#[derive(Debug, Clone)]
pub struct Figures {
    /// What it is called.
    pub name: Arc<str>,
    /// Sockets: none as long as its interface or its addresses are not there.
    pub sockets: usize,
    /// What they have counted, and those before them.
    pub counts: Counts,
    /// Octets that may wait to be received at each of them, as the kernel has granted: the least. 0 without sockets.
    pub buffer: usize,
}

/// All of them. Whoever binds writes, workers read.
#[derive(Debug, Default)]
pub struct Lines {
    lines: ArcSwap<BTreeMap<UplinkIndex, Line>>,
    /// Counts changes.
    round: AtomicU64,
    /// What sockets had counted that are closed by now.
    closed: Mutex<BTreeMap<UplinkIndex, Counts>>,
}

impl Lines {
    /// An uplink has these sockets from now on. Workers know when they look at [`Lines::round`].
    pub fn put(&self, uplink: UplinkIndex, name: &Arc<str>, groups: Vec<Group>) {
        let line = Line { name: Arc::clone(name), groups };
        let before = self.lines.load();
        if let Some(before) = before.get(&uplink) {
            let goes_on = |one: &&Arc<Socket>| line.sockets().any(|socket| Arc::ptr_eq(socket, one));
            let counted = before.sockets().filter(|one| !goes_on(one)).map(|socket| Counts::of(socket));
            let mut closed = self.closed();
            let sum = closed.entry(uplink).or_default();
            *sum = counted.fold(*sum, Counts::and);
        }
        let mut lines = BTreeMap::clone(&before);
        lines.insert(uplink, line);
        self.lines.store(Arc::new(lines));
        self.round.fetch_add(1, Release);
    }

    /// There are none any longer, and nothing is told of those that were: another process may be waiting for their ports.
    pub fn close(&self) {
        self.lines.store(Arc::default());
        self.round.fetch_add(1, Release);
    }

    /// Another number when there are other sockets.
    pub fn round(&self) -> u64 {
        self.round.load(Acquire)
    }

    /// The sockets of a worker.
    pub fn posts(&self, worker: usize) -> Posts {
        let of = |(uplink, line): (&UplinkIndex, &Line)| {
            let sockets = line.groups.iter().filter_map(|group| group.get(worker));
            sockets.map(|socket| (*uplink, Arc::clone(socket))).collect::<Vec<_>>()
        };
        Posts(self.lines.load().iter().flat_map(of).collect())
    }

    /// The figures of all uplinks, in their order.
    pub fn figures(&self) -> Vec<Figures> {
        let closed = self.closed();
        let of = |(uplink, line): (&UplinkIndex, &Line)| Figures {
            name: Arc::clone(&line.name),
            sockets: line.sockets().count(),
            counts: line
                .sockets()
                .map(|socket| Counts::of(socket))
                .fold(closed.get(uplink).copied().unwrap_or_default(), Counts::and),
            buffer: line.sockets().map(|socket| socket.buffers().receive).min().unwrap_or_default(),
        };
        self.lines.load().iter().map(of).collect()
    }

    fn closed(&self) -> MutexGuard<'_, BTreeMap<UplinkIndex, Counts>> {
        // Sums are as good as ever, whoever fell while it held them.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use outwork_net::carrier::{Options, Way};

    use super::*;

    fn group(count: usize) -> Group {
        let options = Options { receive_buffer: 1 << 16, ..Options::new("127.0.0.1:0".parse().unwrap()) };
        Socket::bind_group(&options, count).unwrap().into_iter().map(Arc::new).collect()
    }

    #[test]
    fn workers_have_the_sockets_that_an_uplink_has_now_and_what_those_before_had_counted_stays() {
        let (lines, name) = (Lines::default(), Arc::from("fibre"));
        lines.put(UplinkIndex(1), &name, vec![]);
        assert_eq!((lines.posts(0).0.len(), lines.figures()[0].sockets, lines.figures()[0].buffer), (0, 0, 0));
        let before = group(2);
        lines.put(UplinkIndex(1), &name, vec![before.clone()]);
        let round = lines.round();
        let posts = lines.posts(1);
        assert!(posts.0.len() == 1 && Arc::ptr_eq(&posts.0[0].1, &before[1]));
        // Too long for the room, and then too many for the socket.
        let sender = Socket::bind(&Options::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let way = Way { to: before[0].local(), from: None, tos: 0, mark: 0 };
        let octets = vec![7; 60_000];
        sender.send(&way, &octets[..2000], 2000);
        let took: usize = before.iter().filter(|one| one.receive(&mut [0; 100]).unwrap().is_some()).count();
        assert_eq!(took, 1);
        while lines.figures()[0].counts.dropped == 0 {
            sender.send(&way, &octets, 60_000);
        }
        let counted = lines.figures()[0].counts;
        assert_eq!((counted.truncated, counted.runs_refused, lines.figures()[0].buffer), (1, 0, 1 << 16));

        let (kept, fresh) = (group(2), group(2));
        lines.put(UplinkIndex(1), &name, vec![kept.clone(), fresh.clone()]);
        assert!(lines.round() != round && lines.figures()[0].counts == counted);
        lines.put(UplinkIndex(1), &name, vec![kept]);
        assert_eq!((lines.posts(0).0.len(), lines.figures()[0].counts), (1, counted));
    }
}
