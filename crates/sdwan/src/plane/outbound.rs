//! From the device into tunnels: a piece from the device is routed once, cut into packets where they leave from, sealed there, and sent as a run.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::carrier::{self, Reason, Socket, Way};
use outwork_net::tun::{Queue, VnetHeader};
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::session::PADDING;

use super::icmp;
use super::names::Names;
use super::packet::{Packet, clamp, mark};
use super::shared::{Notice, Shared};
use super::split::{self, Layout, SplitError};
use super::tunnel::{Tunnel, UplinkIndex};
use super::view::View;
use crate::engine::flow::FlowTable;
use crate::engine::table::Table;

/// Octets that packets are laid out in. A run is begun anew where there is no room for the longest piece behind it.
const ROOM: usize = 512 << 10;
/// Packets that wait for a session, and their octets, at most.
const WAITING: usize = 256;
const WAITING_OCTETS: usize = 1 << 20;
/// So long they wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// Flows to sites that each worker knows.
const FLOWS: usize = 1 << 16;
/// Errors about packets that are too long, a second.
const ERRORS: u32 = 100;

/// What a device gave: what stands in front, the octets behind it, and what is read of them.
fn read(piece: &[u8]) -> Option<(VnetHeader, &[u8], Packet)> {
    let octets = piece.get(VnetHeader::LENGTH..)?;
    Some((VnetHeader::read(piece)?, octets, Packet::read(octets).ok()?))
}

/// The sockets of a worker: of each uplink one for each family, or several.
#[derive(Debug, Default)]
pub struct Posts(pub Vec<(UplinkIndex, Arc<Socket>)>);

impl Posts {
    /// The one by which an uplink reaches an address.
    pub fn of(&self, uplink: UplinkIndex, is_ipv4: bool) -> Option<&Socket> {
        let fits = |(own, socket): &&(UplinkIndex, Arc<Socket>)| *own == uplink && socket.local().is_ipv4() == is_ipv4;
        self.0.iter().find(fits).map(|(_, socket)| socket.as_ref())
    }
}

/// Datagrams of one length that go one way. They lie one behind the other.
struct Run {
    tunnel: Arc<Tunnel>,
    way: Way,
    range: Range<usize>,
    stride: usize,
    count: u64,
    octets: u64,
    /// The last one is shorter: nothing goes behind it.
    closed: bool,
}

/// Where a packet goes: by which tunnel, and with which traffic class (DSCP), if it is given one.
type Route<'a> = (&'a Arc<Tunnel>, Option<u8>);

/// A piece that waits for a session.
struct Waiting {
    tunnel: Arc<Tunnel>,
    dscp: Option<u8>,
    since: Time,
    piece: Box<[u8]>,
}

/// The way out of one worker.
pub struct Outbound {
    room: Box<[u8]>,
    run: Option<Run>,
    /// Where the next run begins.
    next: usize,
    /// Flows to sites, which stay on their paths.
    flows: FlowTable,
    /// Which names they ask for.
    names: Names,
    /// Of their hashes.
    seed: u64,
    waiting: VecDeque<Waiting>,
    waiting_octets: usize,
    /// Sessions that had begun when those that wait were last looked at.
    keys: u64,
    /// Errors that were sent in this second.
    errors: (Time, u32),
}

impl Outbound {
    /// One whose flows are told apart by hashes that follow from `seed`.
    pub fn new(seed: u64) -> Outbound {
        Outbound {
            room: vec![0; ROOM].into(),
            run: None,
            next: 0,
            flows: FlowTable::new(FLOWS),
            names: Names::default(),
            seed,
            waiting: VecDeque::new(),
            waiting_octets: 0,
            keys: 0,
            errors: (Time::ZERO, 0),
        }
    }

    /// Takes a piece from the device.
    pub fn piece(&mut self, shared: &Shared, posts: &Posts, queue: &Queue, now: Time, piece: &[u8]) {
        let counters = &shared.counters;
        let Some((header, octets, packet)) = read(piece) else {
            counters.malformed.fetch_add(1, Relaxed);
            return;
        };
        let view = shared.view.load();
        let Some((tunnel, dscp)) = self.route(shared, &view, now, (octets, &packet)) else {
            counters.unrouted.fetch_add(1, Relaxed);
            return;
        };
        let mtu = usize::from(tunnel.mtu());
        if header.kind == VnetHeader::NONE && packet.length > mtu {
            counters.too_long.fetch_add(1, Relaxed);
            return self.complain(shared, queue, now, (octets, &packet), mtu);
        }
        if !self.send(shared, posts, now, (tunnel, dscp), (&header, octets, &packet)) {
            self.wait(shared, now, (tunnel, dscp), piece);
        }
    }

    /// Where a packet goes; none where nobody is behind it, or no path carries.
    fn route<'a>(
        &mut self,
        shared: &Shared,
        view: &'a View,
        now: Time,
        (octets, packet): (&[u8], &Packet),
    ) -> Option<Route<'a>> {
        let owner = view.owner(packet.destination)?;
        if let Some(peer) = view.peer(owner) {
            return Some((peer, None));
        }
        let (table, mut flow) = (view.table()?, packet.flow(None));
        let hash = flow.hash(self.seed);
        flow.application = self.names.application(&mut self.flows, table.matcher(), (now, hash), (octets, packet));
        let given_up = self.names.given_up();
        if given_up > 0 {
            shared.counters.unnamed.fetch_add(given_up, Relaxed);
        }
        let found = table.look_up(&flow)?;
        let (pick, _) = self.flows.route(now, hash, &found)?;
        Some((view.path(pick.path)?, found.mark))
    }

    /// A packet came that is for this site: what it shows of its application is that of its answers as well.
    pub fn heard(&mut self, view: &View, now: Time, octets: &[u8]) {
        let Some(matcher) = view.table().map(Table::matcher).filter(|matcher| matcher.has_names()) else { return };
        let Ok(packet) = Packet::read(octets) else { return };
        let hash = packet.flow(None).reversed().hash(self.seed);
        self.names.application(&mut self.flows, matcher, (now, hash), (octets, &packet));
    }

    /// Lays a piece out and seals it. False without a session.
    fn send(
        &mut self,
        shared: &Shared,
        posts: &Posts,
        now: Time,
        (tunnel, dscp): Route<'_>,
        (header, octets, packet): (&VnetHeader, &[u8], &Packet),
    ) -> bool {
        let (sealer, Some(to)) = (tunnel.sealer(), tunnel.endpoint()) else { return false };
        let Some(sealer) = sealer.as_ref() else { return false };
        let mtu = usize::from(tunnel.mtu());
        // DSCP goes on outside, and congestion is not told across (RFC 6040 section 4.1: compatibility mode).
        let way = Way { to, from: None, tos: dscp.map_or(packet.class & !3, |dscp| dscp << 2) };
        if self.run.as_ref().is_some_and(|run| run.closed || run.way != way || !Arc::ptr_eq(&run.tunnel, tunnel)) {
            self.flush(shared, posts);
        }
        let layout = Layout { head: HEADER, tail: TAG, pad_to: PADDING, mtu };
        let mut pieces = split::split(header, octets, &layout, self.room.get_mut(self.next..).unwrap_or_default());
        if let Err(SplitError::NoRoom { .. }) = pieces {
            self.flush(shared, posts);
            self.next = 0;
            pieces = split::split(header, octets, &layout, &mut self.room);
        }
        let Ok(pieces) = pieces else {
            shared.counters.malformed.fetch_add(1, Relaxed);
            return true;
        };
        // The last datagram of a run may be shorter than the others, and none may be longer.
        let ends = |run: &Run| pieces.stride() < run.stride && pieces.len() == 1;
        if self.run.as_ref().is_some_and(|run| pieces.stride() != run.stride && !ends(run)) {
            self.depart(shared, posts);
        }
        let (base, stride) = (self.next, pieces.stride());
        let alone = pieces.len() == 1;
        let (mut end, mut count, mut length) = (base, 0, 0);
        for range in pieces {
            let range = base + range.start..base + range.end;
            let octets = self.room.get_mut(range.clone()).unwrap_or_default();
            if alone {
                clamp(octets, packet, mtu);
            }
            if let Some(dscp) = dscp {
                mark(octets, dscp);
            }
            length += range.len() as u64;
            let Ok(sealed) = sealer.seal(now, &mut self.room, range, mtu) else {
                // It has ended since it was looked up.
                return false;
            };
            if sealed.rekey {
                shared.tell(Notice::Wanted(tunnel.id));
            }
            (end, count) = (sealed.datagram.end, count + 1);
        }
        let last = (end - base) - (count as usize - 1) * stride;
        let run = self.run.get_or_insert_with(|| Run {
            tunnel: Arc::clone(tunnel),
            way,
            range: base..base,
            stride,
            count: 0,
            octets: 0,
            closed: false,
        });
        run.range.end = end;
        run.count += count;
        run.octets += length;
        run.closed = last < run.stride || run.range.len() + run.stride > carrier::RUN_OCTETS;
        self.next = end;
        true
    }

    /// Sends the run, if there is one, and begins the next one at the beginning of the room.
    pub fn flush(&mut self, shared: &Shared, posts: &Posts) {
        self.depart(shared, posts);
        self.next = 0;
    }

    /// Sends the run. What lies behind it stays where it is.
    fn depart(&mut self, shared: &Shared, posts: &Posts) {
        let Some(run) = self.run.take() else { return };
        let octets = self.room.get(run.range.clone()).unwrap_or_default();
        let tallies = &run.tunnel.tallies;
        let Some(socket) = posts.of(run.tunnel.uplink, run.way.to.is_ipv4()) else {
            shared.counters.unsent.fetch_add(run.count, Relaxed);
            return shared.tell(Notice::Stuck(run.tunnel.id, Reason::NoSource));
        };
        let sent = socket.send(&run.way, octets, run.stride);
        let left = octets.len().saturating_sub(sent.octets).div_ceil(run.stride.max(1)) as u64;
        tallies.sent.fetch_add(run.count.saturating_sub(left), Relaxed);
        tallies.sent_octets.fetch_add(run.octets, Relaxed);
        if let Some(reason) = sent.stopped {
            shared.counters.unsent.fetch_add(left, Relaxed);
            // A full buffer is the way of things; what is too long is told by the error queue.
            if !matches!(reason, Reason::Blocked | Reason::NoBuffers | Reason::TooLong) {
                shared.tell(Notice::Stuck(run.tunnel.id, reason));
            }
        }
    }

    /// Keeps a piece until there is a session.
    fn wait(&mut self, shared: &Shared, now: Time, (tunnel, dscp): Route<'_>, piece: &[u8]) {
        if tunnel.want() {
            shared.tell(Notice::Wanted(tunnel.id));
        }
        while self.waiting.len() >= WAITING || self.waiting_octets + piece.len() > WAITING_OCTETS {
            let Some(oldest) = self.waiting.pop_front() else { return };
            self.give_up(shared, &oldest);
        }
        self.waiting_octets += piece.len();
        self.waiting.push_back(Waiting { tunnel: Arc::clone(tunnel), dscp, since: now, piece: piece.into() });
    }

    fn give_up(&mut self, shared: &Shared, waiting: &Waiting) {
        self.waiting_octets -= waiting.piece.len();
        waiting.tunnel.tallies.unsent.fetch_add(1, Relaxed);
        shared.counters.given_up.fetch_add(1, Relaxed);
    }

    /// Sends what waited for a session that is there by now, and gives up what has waited too long.
    pub fn look_again(&mut self, shared: &Shared, posts: &Posts, now: Time) {
        let keys = shared.keys();
        let old = self.waiting.front().is_some_and(|oldest| now.since(oldest.since) >= PATIENCE);
        if self.waiting.is_empty() || keys == self.keys && !old {
            return;
        }
        self.keys = keys;
        for waiting in std::mem::take(&mut self.waiting) {
            let goes = read(&waiting.piece).is_some_and(|(header, octets, packet)| {
                self.send(shared, posts, now, (&waiting.tunnel, waiting.dscp), (&header, octets, &packet))
            });
            if goes {
                self.waiting_octets -= waiting.piece.len();
            } else if now.since(waiting.since) >= PATIENCE {
                self.give_up(shared, &waiting);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        self.flush(shared, posts);
    }

    /// Whether anything waits for a session.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells who sent a packet that it is too long.
    fn complain(&mut self, shared: &Shared, queue: &Queue, now: Time, (octets, packet): (&[u8], &Packet), mtu: usize) {
        if now.since(self.errors.0) >= Duration::from_secs(1) {
            self.errors = (now, 0);
        }
        let own = shared.own.load();
        let from = own.iter().find(|own| own.is_ipv4() == packet.source.is_ipv4());
        // Nobody is told by nobody: an address of ours is needed, and any will do that is not theirs.
        let Some(from) = from.copied().filter(|_| self.errors.1 < ERRORS) else { return };
        self.errors.1 += 1;
        let mut message = [0; VnetHeader::LENGTH + 1280];
        let written =
            message.get_mut(VnetHeader::LENGTH..).and_then(|out| icmp::too_big(octets, packet, mtu, from, out));
        if let Some(message) = written.and_then(|length| message.get(..VnetHeader::LENGTH + length)) {
            // Whoever asks again is told again.
            let _ = queue.send(&[std::io::IoSlice::new(message)]);
        }
    }
}
