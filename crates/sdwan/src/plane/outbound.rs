//! From the device into tunnels: a piece from the device is routed once, cut into packets where they leave from, sealed there, and sent as a run.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use foldhash::fast::FixedState;
use outwork_engine::{Rng, Time};
use outwork_net::carrier::{self, Reason, Sent, Socket, Way};
use outwork_net::tun::{Queue, VnetHeader};
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::session::PADDING;

use super::account::Tally;
use super::fragment;
use super::frame::{self, Frame, Shape};
use super::icmp;
use super::mending::{Groups, LESS};
use super::names::Names;
use super::packet::{Packet, clamp, mark};
use super::passing::Passing;
use super::relay::Passage;
use super::shared::{Notice, Shared};
use super::split::{self, Layout, SplitError};
use super::streams::Numbers;
use super::tunnel::{Once, Owner, Tunnel, UplinkIndex};
use super::view::View;
use crate::engine::policy::PolicyId;
use crate::engine::table::{Found, Mode, Table};

/// Octets that packets are laid out in. A run is begun anew where there is no room for the longest piece behind it.
const ROOM: usize = 512 << 10;
/// Octets of runs that leave by one call. A piece from the device is a little more than the kernel takes at a time: its rest goes with those behind it.
const RUN: usize = 4 * carrier::RUN_OCTETS;
/// Packets that wait for a session, and their octets, at most.
const WAITING: usize = 256;
const WAITING_OCTETS: usize = 1 << 20;
/// So long they wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of so many packets the time is taken that it takes to find the path of one.
const SAMPLED: u32 = 64;
/// Sites that have streams of their own. Beyond, all of them begin anew.
const SITES: usize = 4096;
/// Octets that every way of IPv6 takes (RFC 8200 section 5): who sends it need not be able to send less.
const LEAST_V6: u16 = 1280;
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

/// What packets are given on their way.
#[derive(Clone, Copy, Default)]
struct Label {
    /// A traffic class (DSCP); none, they keep theirs.
    dscp: Option<u8>,
    /// The mark of their datagrams on this host, by which shaping knows their class; 0 for none.
    mark: u32,
}

/// How a piece goes: by which tunnel, in packets of what length, what they are given, and what stands before the first of them.
#[derive(Clone, Copy)]
struct Going<'a> {
    tunnel: &'a Arc<Tunnel>,
    mtu: usize,
    label: Label,
    marks: Marks,
}

/// What stands before packets.
#[derive(Clone, Copy)]
enum Marks {
    None,
    /// Numbers from this one on.
    Twice(Frame),
    /// What they are in groups of this number.
    Group(usize),
}

impl Going<'_> {
    /// With nothing before it.
    fn plain(tunnel: &Arc<Tunnel>, label: Label) -> Going<'_> {
        Going { tunnel, mtu: usize::from(tunnel.mtu()), label, marks: Marks::None }
    }

    /// The type of service outside. DSCP goes on there, and congestion is not told across (RFC 6040 section 4.1: compatibility mode).
    fn tos(&self, packet: &Packet) -> u8 {
        self.label.dscp.map_or(packet.class & !3, |dscp| dscp << 2)
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

/// Of the octets of `count` datagrams those of all but `left`, which were not sent: they are of one length, but for the last.
pub(super) fn share(octets: u64, left: u64, count: u64) -> u64 {
    octets - octets.checked_div(count).map_or(0, |each| each.saturating_mul(left)).min(octets)
}

/// Sends a run in parts of so many octets at most: the kernel shapes each as one, and what is urgent waits behind it.
pub(super) fn send_in_parts(socket: &Socket, way: &Way, (octets, stride): (&[u8], usize), most: usize) -> Sent {
    let stride = stride.max(1);
    let most = (most / stride).max(1).saturating_mul(stride);
    let mut sent = Sent { octets: 0, stopped: None };
    for part in octets.chunks(most) {
        let done = socket.send(way, part, stride);
        sent = Sent { octets: sent.octets + done.octets, stopped: done.stopped };
        if sent.stopped.is_some() {
            break;
        }
    }
    sent
}

/// Where a packet goes.
struct Route<'a> {
    tunnel: &'a Arc<Tunnel>,
    /// By which other one the same goes again, or what mends it, as `mode` says.
    second: Option<&'a Arc<Tunnel>>,
    mode: Mode,
    /// What it is given.
    label: Label,
    /// What it has in common with whatever it is not to overtake: its flow, or to a peer all of them.
    order: Order,
    /// Under which policy it is counted, or under none; not at all where it goes to a peer.
    policy: Option<Option<PolicyId>>,
}

/// Whose order is kept: of a flow to a site by its hash; what goes to a peer goes by one tunnel, and is one.
type Order = (Owner, u64);

/// A piece that waits for a session. By which tunnel it goes, as what, is said anew when it goes: the one that it waits for may not carry by then.
struct Waiting {
    tunnel: Arc<Tunnel>,
    order: Order,
    since: Time,
    piece: Box<[u8]>,
}

/// IPv6 goes by a path that takes what every way of it has to, where one carries: no sender need do with less, and nobody cuts it on its way. Where none does it goes by the
/// narrow one, which connections of TCP get through, being told how long their segments may be, and short datagrams.
fn wide<'a>(
    view: &'a View,
    found: &Found<'_>,
    tunnel: &'a Arc<Tunnel>,
    second: Option<&'a Arc<Tunnel>>,
) -> (&'a Arc<Tunnel>, Option<&'a Arc<Tunnel>>) {
    let is_wide = |tunnel: &&Arc<Tunnel>| tunnel.mtu() >= LEAST_V6;
    if is_wide(&tunnel) {
        return (tunnel, second.filter(is_wide));
    }
    let wide = found.usable().filter_map(|path| view.path(path)).find(is_wide);
    wide.map_or((tunnel, second), |wide| (wide, None))
}

/// The way out of one worker.
pub struct Outbound {
    room: Box<[u8]>,
    run: Option<Run>,
    /// Where the next run begins.
    next: usize,
    /// Where runs of datagrams are taken apart that have to be cut themselves. Nothing until there is one.
    apart: Box<[u8]>,
    /// Packets whose path was looked for.
    routed: u32,
    /// Which names flows ask for.
    names: Names,
    /// Of their hashes.
    seed: u64,
    /// Of what goes twice.
    numbers: HashMap<Owner, Numbers, FixedState>,
    /// Of what goes in groups.
    groups: Groups,
    rng: Rng,
    waiting: VecDeque<Waiting>,
    waiting_octets: usize,
    /// Sessions that had begun when those that wait were last looked at.
    keys: u64,
    /// Errors that were sent in this second.
    errors: (Time, u32),
    /// What goes to hubs, and on from this one.
    passing: Passing,
    tally: Tally,
}

impl Outbound {
    /// That of a worker, whose flows are told apart by hashes that follow from `seed`.
    pub fn new(seed: u64, worker: usize) -> Outbound {
        Outbound {
            room: vec![0; ROOM].into(),
            run: None,
            next: 0,
            apart: Box::default(),
            routed: 0,
            names: Names::default(),
            seed,
            numbers: HashMap::default(),
            groups: Groups::default(),
            // Streams of workers are not to be taken for each other.
            rng: Rng::new(seed.wrapping_add(worker as u64 + 1)),
            waiting: VecDeque::new(),
            waiting_octets: 0,
            keys: 0,
            errors: (Time::ZERO, 0),
            passing: Passing::default(),
            tally: Tally::default(),
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
        let Some(route) = self.route(shared, &view, now, (octets, &packet)) else {
            counters.unrouted.fetch_add(1, Relaxed);
            return;
        };
        // Nothing overtakes what waits of its own flow.
        if self.holds(route.order) {
            self.again(shared, posts, queue, now, Some(route.order));
        }
        if self.holds(route.order) || !self.goes((shared, posts), queue, now, &route, (&header, octets, &packet)) {
            self.wait(shared, now, (route.tunnel, route.order), piece);
        }
    }

    /// Sends a piece where its route leads, and counts it. False without a session there.
    fn goes(
        &mut self,
        (shared, posts): (&Shared, &Posts),
        queue: &Queue,
        now: Time,
        route: &Route<'_>,
        whole: (&VnetHeader, &[u8], &Packet),
    ) -> bool {
        let Route { tunnel, second, mode, label, policy, .. } = *route;
        let (header, octets, packet) = whole;
        let mut going = Going::plain(tunnel, label);
        if let Some(second) = second {
            let less = if let Mode::Fec { .. } = mode { LESS } else { frame::LENGTH };
            going.mtu = going.mtu.min(usize::from(second.mtu())).saturating_sub(less);
        }
        let mtu = going.mtu;
        if !packet.divisible && !split::fits(header, packet, mtu) {
            if packet.source.is_ipv6() && header.kind == VnetHeader::NONE && packet.length <= usize::from(LEAST_V6) {
                // Whoever sends it is told nothing by being told what it need not obey.
                shared.counters.narrow.fetch_add(1, Relaxed);
                return true;
            }
            shared.counters.too_long.fetch_add(1, Relaxed);
            self.complain(shared, queue, now, (octets, packet), mtu);
            return true;
        }
        let sent = match second {
            None => self.send(shared, posts, now, going, whole),
            Some(second) => match mode {
                Mode::Fec { data, parity } => {
                    let group = self.group(going, second, Shape::new(data, parity), going.tos(packet));
                    self.send(shared, posts, now, Going { marks: Marks::Group(group), ..going }, whole)
                }
                _ => self.send_twice(shared, posts, now, (going, second), whole),
            },
        };
        if let (Some(count), Some(policy)) = (sent, policy) {
            self.tally.add(&shared.accounts.load(), policy, count.into(), octets.len() as u64);
        }
        sent.is_some()
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
        if let Some(tunnel) = view.peer(owner) {
            let (label, order) = (Label::default(), (owner, 0));
            return Some(Route { tunnel, second: None, mode: Mode::First, label, order, policy: None });
        }
        let (table, mut flow) = (view.table()?, packet.flow(None));
        let hash = flow.hash(self.seed);
        flow.application = self.names.application(&shared.flows, table.matcher(), (now, hash), (octets, packet));
        let given_up = self.names.given_up();
        if given_up > 0 {
            shared.counters.unnamed.fetch_add(given_up, Relaxed);
        }
        self.routed = self.routed.wrapping_add(1);
        // Clocks cost as much as what is measured: one of many is.
        let begun = self.routed.is_multiple_of(SAMPLED).then(|| shared.clock.now());
        let found = table.look_up(&flow)?;
        let (pick, _) = shared.flows.of(hash)?.route(now, hash, &found)?;
        if let Some(begun) = begun {
            shared.measures.path_selection.record(shared.clock.now().since(begun));
        }
        let second = pick.second.and_then(|second| view.path(second));
        // What no policy speaks of is known to shaping by its traffic class.
        let lane = found.policy.and_then(|_| table.matcher().lanes().get(usize::from(found.lane.0)));
        let mark = lane.map_or(0, |lane| shared.marking.load().class(lane.class));
        let label = Label { dscp: found.mark, mark };
        let tunnel = view.path(pick.path)?;
        let (tunnel, second) = match packet.source.is_ipv6() {
            true => wide(view, &found, tunnel, second),
            false => (tunnel, second),
        };
        let (mode, order) = (pick.mode, (owner, hash));
        Some(Route { tunnel, second, mode, label, order, policy: Some(found.policy) })
    }

    /// A packet came that is for this site: what it shows of its application is that of its answers as well.
    pub fn heard(&mut self, shared: &Shared, view: &View, now: Time, octets: &[u8]) {
        let Some(matcher) = view.table().map(Table::matcher).filter(|matcher| matcher.has_names()) else { return };
        let Ok(packet) = Packet::read(octets) else { return };
        let hash = packet.flow(None).reversed().hash(self.seed);
        self.names.application(&shared.flows, matcher, (now, hash), (octets, &packet));
    }

    /// Sees to it that there is what mends groups of packets to a site.
    fn group(&mut self, going: Going<'_>, second: &Arc<Tunnel>, shape: Shape, tos: u8) -> usize {
        let (owner, label) = (going.tunnel.owner, (tos, going.label.mark));
        self.groups.of((owner, shape), going.mtu, (second, label), &mut self.rng)
    }

    /// When [`Outbound::close`] is to be called.
    pub fn due(&self) -> Option<Time> {
        self.groups.due()
    }

    /// Closes groups that have waited for more packets long enough.
    pub fn close(&mut self, shared: &Shared, posts: &Posts, now: Time) {
        if self.groups.due().is_some_and(|due| due <= now) {
            self.groups.close(shared, posts, now, &mut self.passing);
            self.passing.flush(shared, posts);
        }
    }

    /// Passes a datagram on by a tunnel. Whether it fits there.
    pub fn pass_on(
        &mut self,
        (shared, posts): (&Shared, &Posts),
        now: Time,
        (to, tos): (&Arc<Tunnel>, u8),
        whole: (&Passage, &[u8]),
    ) -> bool {
        // Which class it is of only its ends know.
        self.passing.push(shared, posts, now, (to, (tos, 0)), whole)
    }

    /// Sends what is passed on.
    pub fn passed(&mut self, shared: &Shared, posts: &Posts) {
        self.passing.flush(shared, posts);
    }

    /// Sends a piece by two tunnels, with numbers by which the other end knows what it has. None without a session in both.
    fn send_twice(
        &mut self,
        shared: &Shared,
        posts: &Posts,
        now: Time,
        (mut going, second): (Going<'_>, &Arc<Tunnel>),
        whole: (&VnetHeader, &[u8], &Packet),
    ) -> Option<u32> {
        let owner = going.tunnel.owner;
        if self.numbers.len() >= SITES && !self.numbers.contains_key(&owner) {
            self.numbers.clear();
        }
        let numbers = self.numbers.entry(owner).or_insert_with(|| Numbers::begin(&mut self.rng));
        going.marks = Marks::Twice(numbers.frame(&mut self.rng));
        let first = self.send(shared, posts, now, going, whole);
        let again = self.send(shared, posts, now, Going { tunnel: second, ..going }, whole);
        let sent = first.max(again);
        let both = first.zip(again).map_or(0, |(first, again)| first.min(again));
        shared.counters.doubled.fetch_add(both.into(), Relaxed);
        if let (Some(numbers), Some(count)) = (self.numbers.get_mut(&owner), sent) {
            numbers.used(count);
        }
        sent
    }

    /// Lays a piece out and seals it. Says into how many packets; none without a session.
    fn send(
        &mut self,
        shared: &Shared,
        posts: &Posts,
        now: Time,
        going: Going<'_>,
        (header, octets, packet): (&VnetHeader, &[u8], &Packet),
    ) -> Option<u32> {
        let Going { tunnel, mtu, label: Label { dscp, mark: fwmark }, marks } = going;
        let (sealer, way) = (tunnel.sealer(), tunnel.way(going.tos(packet), fwmark)?);
        let sealer = sealer.as_ref()?;
        let front = if let Marks::None = marks { 0 } else { frame::LENGTH };
        let parts = packet.divisible && !split::fits(header, packet, mtu);
        if parts && header.kind != VnetHeader::NONE {
            return self.send_apart(shared, posts, now, going, (header, octets));
        }
        let lay = if parts { fragment::fragment } else { split::split };
        if self.run.as_ref().is_some_and(|run| run.closed || run.way != way || !Arc::ptr_eq(&run.tunnel, tunnel)) {
            self.flush(shared, posts);
        }
        let layout = Layout { head: HEADER + front, front, tail: TAG, pad_to: PADDING, mtu };
        let mut pieces = lay(header, octets, &layout, self.room.get_mut(self.next..).unwrap_or_default());
        if let Err(SplitError::NoRoom { .. }) = pieces {
            self.flush(shared, posts);
            self.next = 0;
            pieces = lay(header, octets, &layout, &mut self.room);
        }
        let Ok(pieces) = pieces else {
            shared.counters.malformed.fetch_add(1, Relaxed);
            return Some(0);
        };
        // The last datagram of a run may be shorter than the others, and none may be longer.
        let ends = |run: &Run| pieces.stride() < run.stride && pieces.len() == 1;
        if self.run.as_ref().is_some_and(|run| pieces.stride() != run.stride && !ends(run)) {
            self.depart(shared, posts);
        }
        let (base, stride) = (self.next, pieces.stride());
        let alone = pieces.len() == 1;
        let (mut end, mut count, mut length) = (base, 0, 0);
        // Without a session it has ended since it was looked up.
        let mut sealing = sealer.run(now, pieces.len()).ok()?;
        for (range, place) in pieces.zip(0..) {
            let range = base + range.start..base + range.end;
            let octets = self.room.get_mut(range.clone()).unwrap_or_default();
            if alone {
                clamp(octets, packet, mtu);
            }
            if let Some(dscp) = dscp {
                mark(octets, dscp);
            }
            length += range.len() as u64;
            let start = range.start - front;
            let frame = match marks {
                Marks::Twice(frame) => Some(frame.behind(place)),
                Marks::Group(group) => {
                    self.room.get(range.clone()).and_then(|octets| self.groups.push(group, now, octets))
                }
                Marks::None => None,
            };
            match (frame, self.room.get_mut(start..range.start)) {
                (Some(frame), Some(room)) => room.copy_from_slice(&frame.encode()),
                (None, _) if front == 0 => {}
                _ => {
                    // There is no place in a group for what is longer than any packet should be.
                    shared.counters.malformed.fetch_add(1, Relaxed);
                    return Some(0);
                }
            }
            if let Marks::Group(group) = marks {
                self.groups.close_full(group, shared, posts, now, &mut self.passing);
            }
            let sealed = sealing.seal(&mut self.room, start..range.end, mtu + front).ok()?;
            if sealed.rekey {
                shared.tell_once(tunnel, Once::Wanted, Notice::Wanted(tunnel.id));
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
        run.closed = last < run.stride || run.range.len() + run.stride > RUN;
        self.next = end;
        Some(count as u32)
    }

    /// Takes a run of datagrams apart that are themselves too long, and sends them in parts. Says in how many; none without a session.
    fn send_apart(
        &mut self,
        shared: &Shared,
        posts: &Posts,
        now: Time,
        going: Going<'_>,
        (header, octets): (&VnetHeader, &[u8]),
    ) -> Option<u32> {
        let mut apart = std::mem::take(&mut self.apart);
        if apart.is_empty() {
            apart = vec![0; ROOM].into();
        }
        let layout = Layout { head: 0, front: 0, tail: 0, pad_to: 1, mtu: usize::MAX };
        let (mut goes, mut count) = (true, 0);
        match split::split(header, octets, &layout, &mut apart) {
            Ok(pieces) => {
                for octets in pieces.filter_map(|range| apart.get(range)) {
                    let Ok(packet) = Packet::read(octets) else { continue };
                    let marks = match going.marks {
                        Marks::Twice(frame) => Marks::Twice(frame.behind(count)),
                        marks => marks,
                    };
                    let one = (&VnetHeader::default(), octets, &packet);
                    match self.send(shared, posts, now, Going { marks, ..going }, one) {
                        Some(parts) => count += parts,
                        None => goes = false,
                    }
                }
            }
            Err(_) => {
                shared.counters.malformed.fetch_add(1, Relaxed);
            }
        }
        self.apart = apart;
        goes.then_some(count)
    }

    /// Sends the run, if there is one, and begins the next one at the beginning of the room.
    pub fn flush(&mut self, shared: &Shared, posts: &Posts) {
        self.depart(shared, posts);
        self.passing.flush(shared, posts);
        self.tally.settle(&shared.accounts.load());
        self.next = 0;
    }

    /// Sends the run. What lies behind it stays where it is.
    fn depart(&mut self, shared: &Shared, posts: &Posts) {
        let Some(run) = self.run.take() else { return };
        let octets = self.room.get(run.range.clone()).unwrap_or_default();
        let tallies = &run.tunnel.tallies;
        if let Some(relay) = &run.tunnel.relay {
            let (carrier, now) = (relay.carrier(), shared.clock.now());
            let mut left = run.count;
            for datagram in octets.chunks(run.stride.max(1)) {
                let passage = relay.passage(datagram.len(), false);
                let goes = carrier.as_ref().zip(passage).is_some_and(|(carrier, passage)| {
                    self.passing.push(shared, posts, now, (carrier, (run.way.tos, run.way.mark)), (&passage, datagram))
                });
                left -= u64::from(goes);
            }
            tallies.sent.fetch_add(run.count - left, Relaxed);
            tallies.sent_octets.fetch_add(share(run.octets, left, run.count), Relaxed);
            shared.counters.unsent.fetch_add(left, Relaxed);
            return;
        }
        let Some(socket) = posts.of(run.tunnel.uplink, run.way.to.is_ipv4()) else {
            shared.counters.unsent.fetch_add(run.count, Relaxed);
            return shared.tell_once(&run.tunnel, Once::Stuck, Notice::Stuck(run.tunnel.id, Reason::NoSource));
        };
        let sent = send_in_parts(socket, &run.way, (octets, run.stride), shared.marking.load().run(run.tunnel.uplink));
        let left = octets.len().saturating_sub(sent.octets).div_ceil(run.stride.max(1)) as u64;
        tallies.sent.fetch_add(run.count.saturating_sub(left), Relaxed);
        tallies.sent_octets.fetch_add(share(run.octets, left, run.count), Relaxed);
        if let Some(reason) = sent.stopped {
            shared.counters.unsent.fetch_add(left, Relaxed);
            // A full buffer is the way of things; what is too long is told by the error queue.
            let is_usual = matches!(reason, Reason::Blocked | Reason::NoBuffers | Reason::TooLong);
            if !is_usual && !run.tunnel.gives_up_source(&run.way, reason) {
                shared.tell_once(&run.tunnel, Once::Stuck, Notice::Stuck(run.tunnel.id, reason));
            }
        }
    }

    /// Keeps a piece until there is a session.
    fn wait(&mut self, shared: &Shared, now: Time, (tunnel, order): (&Arc<Tunnel>, Order), piece: &[u8]) {
        shared.tell_once(tunnel, Once::Wanted, Notice::Wanted(tunnel.id));
        while self.waiting.len() >= WAITING || self.waiting_octets + piece.len() > WAITING_OCTETS {
            let Some(oldest) = self.waiting.pop_front() else { return };
            self.give_up(shared, &oldest);
        }
        self.waiting_octets += piece.len();
        self.waiting.push_back(Waiting { tunnel: Arc::clone(tunnel), order, since: now, piece: piece.into() });
    }

    fn give_up(&mut self, shared: &Shared, waiting: &Waiting) {
        self.waiting_octets -= waiting.piece.len();
        waiting.tunnel.tallies.unsent.fetch_add(1, Relaxed);
        shared.counters.given_up.fetch_add(1, Relaxed);
    }

    /// Whether something waits that a piece must not overtake.
    fn holds(&self, order: Order) -> bool {
        !self.waiting.is_empty() && self.waiting.iter().any(|waiting| waiting.order == order)
    }

    /// Sends what waited for a session that is there by now, and gives up what has waited too long.
    pub fn look_again(&mut self, shared: &Shared, posts: &Posts, queue: &Queue, now: Time) {
        let keys = shared.keys();
        let old = self.waiting.front().is_some_and(|oldest| now.since(oldest.since) >= PATIENCE);
        if self.waiting.is_empty() || keys == self.keys && !old {
            return;
        }
        self.keys = keys;
        self.again(shared, posts, queue, now, None);
        self.flush(shared, posts);
    }

    /// Has what waits go, or what waits of one flow: in its order, and where it would go if it came now.
    fn again(&mut self, shared: &Shared, posts: &Posts, queue: &Queue, now: Time, only: Option<Order>) {
        let view = shared.view.load();
        // What goes on waiting is put behind, so that in the end all stands as it stood.
        let mut kept = 0;
        for _ in 0..self.waiting.len() {
            let Some(mut one) = self.waiting.pop_front() else { break };
            let is_behind = |other: &Waiting| other.order == one.order;
            let stays =
                only.is_some_and(|order| order != one.order) || self.waiting.iter().rev().take(kept).any(is_behind);
            let (mut gone, mut dead) = (false, false);
            if !stays && let Some((header, octets, packet)) = read(&one.piece) {
                match self.route(shared, &view, now, (octets, &packet)) {
                    Some(route) => {
                        gone = self.goes((shared, posts), queue, now, &route, (&header, octets, &packet));
                        if !gone && !Arc::ptr_eq(&one.tunnel, route.tunnel) {
                            shared.tell_once(route.tunnel, Once::Wanted, Notice::Wanted(route.tunnel.id));
                            one.tunnel = Arc::clone(route.tunnel);
                        }
                    }
                    // Nobody is behind it any more, or no path carries.
                    None => dead = true,
                }
            }
            if gone {
                self.waiting_octets -= one.piece.len();
            } else if dead || now.since(one.since) >= PATIENCE {
                self.give_up(shared, &one);
            } else {
                self.waiting.push_back(one);
                kept += 1;
            }
        }
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
        let told = self.errors.1 < ERRORS && {
            let mut message = [0; VnetHeader::LENGTH + 1280];
            let written = message.get_mut(VnetHeader::LENGTH..).and_then(|out| icmp::too_big(octets, packet, mtu, out));
            let message = written.and_then(|length| message.get(..VnetHeader::LENGTH + length));
            message.is_some_and(|message| matches!(queue.send(&[std::io::IoSlice::new(message)]), Ok(true)))
        };
        // Whoever asks again is told again.
        match told {
            true => self.errors.1 += 1,
            false => drop(shared.counters.untold.fetch_add(1, Relaxed)),
        }
    }
}
