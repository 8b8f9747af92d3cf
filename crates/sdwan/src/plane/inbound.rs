//! From tunnels to the device: datagrams of a run are opened where they lie, and what is in them is put together for one write.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use outwork_engine::Time;
use outwork_net::carrier::{BATCH, FAILURES, Failure, RUN, Reason, Received, Socket};
use outwork_net::tun::{Queue, VnetHeader};
use outwork_wire::octets::read;
use outwork_wireguard::Index;
use outwork_wireguard::session::{OVERHEAD, OpenError, Opened, Opener};
use outwork_wireguard::window::Window;

use super::fec::decoder::Decoder;
use super::frame::{self, Frame, Part};
use super::inside::{self, Inside};
use super::join::{Joiner, MOST, Offload};
use super::outbound::{Outbound, Posts};
use super::packet::{self, Packet};
use super::relay::{self, Passage};
use super::shared::{Notice, Shared};
use super::streams::{is_first, lock};
use super::tunnel::{Once, Receiving, UplinkIndex, own};
use super::view::View;

/// Octets of the longest run, and a rest that keeps the beginnings of neighbours out of the same sets of a processor's cache.
const ROOM: usize = (1 << 16) + 192;
/// Runs of one socket before others have their turn.
const TURN: usize = 4;
/// The first octet of a datagram that is a packet (whitepaper section 5.4.6).
const TRANSPORT: u8 = 4;
/// Octets of packets of groups that there is room for at least, whatever the path takes here.
const LEAST: usize = 1500;
/// Octets of the longest message of a handshake.
const LONGEST: usize = 148;

/// What was found of the datagram before: the next one is most likely of the same.
#[derive(Debug)]
struct Known {
    index: Index,
    receiving: Arc<Receiving>,
    /// Whose packets it may send: the source of the one before.
    source: Option<IpAddr>,
    /// Of which of its streams the one before was, if that comes twice.
    stream: Option<(u32, Arc<Mutex<Window>>)>,
    /// The same, if it is of a group.
    group: Option<(u32, Arc<Mutex<Decoder>>)>,
}

impl Known {
    /// Whether a packet that comes twice has not come yet, as far as anybody knows.
    fn is_first(&mut self, shared: &Shared, now: Time, frame: &Frame) -> bool {
        let owner = self.receiving.tunnel.owner;
        if self.stream.as_ref().is_none_or(|(stream, _)| *stream != frame.stream) {
            let window = shared.twice.get(now, owner, frame.stream, Window::default);
            self.stream = window.map(|window| (frame.stream, window));
        }
        match &self.stream {
            Some((_, window)) => is_first(window, frame.number),
            // Twice is better than never.
            None => {
                shared.counters.crowded.fetch_add(1, Relaxed);
                true
            }
        }
    }

    /// Takes a packet of a group, or what mends one, and writes what that lets be mended. Says whether it is a packet that has not come yet.
    fn mend(
        &mut self,
        (shared, view): (&Shared, &View),
        now: Time,
        frame: &Frame,
        octets: &[u8],
        (queue, outbound): (&Queue, &mut Outbound),
    ) -> bool {
        let (Part::Data { shape, .. } | Part::Parity { shape, .. }) = frame.part else { return false };
        let tunnel = &self.receiving.tunnel;
        if self.group.as_ref().is_none_or(|(stream, _)| *stream != frame.stream) {
            let mtu = usize::from(tunnel.mtu()).max(LEAST);
            let make = || Decoder::new(shape, mtu, &shared.sums);
            let decoder = shared.groups.get(now, tunnel.owner, frame.stream, make);
            self.group = decoder.map(|decoder| (frame.stream, decoder));
        }
        let Some((_, decoder)) = &self.group else {
            shared.counters.crowded.fetch_add(1, Relaxed);
            // A packet goes on, unmended.
            return matches!(frame.part, Part::Data { .. });
        };
        lock(decoder).push(now, frame, octets, |packet| {
            let is_theirs = |read: Packet| read.length == packet.len() && view.owner(read.source) == Some(tunnel.owner);
            let header = VnetHeader::default().write();
            let written = Packet::read(packet).is_ok_and(is_theirs)
                && matches!(queue.send(&[IoSlice::new(&header), IoSlice::new(packet)]), Ok(true));
            match written {
                true => {
                    shared.counters.mended.fetch_add(1, Relaxed);
                    outbound.heard(shared, view, now, packet);
                }
                false => {
                    shared.counters.undelivered.fetch_add(1, Relaxed);
                }
            }
        })
    }
}

/// What came by one tunnel, to be counted at once.
#[derive(Debug, Default)]
struct Count {
    datagrams: u64,
    octets: u64,
    elsewhere: u64,
    replayed: u64,
    late: u64,
    forged: u64,
    expired: u64,
    foreign: u64,
}

impl Count {
    /// Counts one that was not opened.
    fn refuse(&mut self, error: OpenError) {
        *match error {
            OpenError::Replayed => &mut self.replayed,
            OpenError::Behind => &mut self.late,
            OpenError::Forged | OpenError::NotOurs => &mut self.forged,
            OpenError::Expired => &mut self.expired,
        } += 1;
    }
}

/// What is known of tunnels, and counted of them, until the next datagram is of another.
#[derive(Debug, Default)]
struct Level {
    known: Option<Known>,
    count: Count,
}

impl Level {
    /// Adds what was counted of the tunnel that came last.
    fn settle(&mut self, shared: &Shared) {
        let Some(known) = self.known.take() else { return };
        let Count { datagrams, octets, elsewhere, replayed, late, forged, expired, foreign } =
            std::mem::take(&mut self.count);
        let (tallies, counters) = (&known.receiving.tunnel.tallies, &shared.counters);
        for (counter, count) in [
            (&tallies.received, datagrams),
            (&tallies.received_octets, octets),
            (&tallies.refused, elsewhere + replayed + late + forged + expired),
            (&tallies.foreign, foreign),
            (&counters.elsewhere, elsewhere),
            (&counters.replayed, replayed),
            (&counters.late, late),
            (&counters.forged, forged),
            (&counters.expired, expired),
        ] {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        }
    }
}

/// What became of datagrams of a run that were opened with one before them.
struct Ahead {
    found: [Option<Result<Opened, OpenError>>; RUN],
    next: usize,
    count: usize,
}

impl Ahead {
    const NOTHING: Ahead = Ahead { found: [const { None }; RUN], next: 0, count: 0 };

    /// What became of the next datagram, which `rest` of its run begins with: they are opened together.
    fn open(&mut self, opener: &Opener, now: Time, rest: &mut [u8], segment: usize) -> Result<Opened, OpenError> {
        if self.next >= self.count {
            (self.next, self.count) = (0, opener.open_run(now, rest, segment, &mut self.found));
        }
        let found = self.found.get_mut(self.next).filter(|_| self.next < self.count).and_then(Option::take);
        self.next += 1;
        found.unwrap_or(Err(OpenError::NotOurs))
    }
}

/// What there is to do something with.
struct With<'a> {
    shared: &'a Shared,
    posts: &'a Posts,
    view: &'a View,
    now: Time,
    queue: &'a Queue,
    outbound: &'a mut Outbound,
}

/// A datagram: where it is from, to which address of ours it came, and of which traffic class, in which room it lies, and how many hubs have passed it on.
#[derive(Clone)]
struct Datagram {
    from: SocketAddr,
    to: IpAddr,
    tos: u8,
    place: usize,
    range: Range<usize>,
    /// Where its run ends, and octets of each datagram of that.
    run: (usize, usize),
    level: usize,
}

/// The way in of one worker.
pub struct Inbound {
    rooms: Vec<Box<[u8]>>,
    found: [Received; BATCH],
    joiner: Joiner,
    /// Of what comes straight, and of what is in that because a hub has passed it on.
    levels: [Level; 2],
    ahead: Ahead,
}

impl Inbound {
    /// For a device that takes `offload`.
    pub fn new(offload: Offload) -> Inbound {
        Inbound {
            rooms: (0..BATCH).map(|_| vec![0; ROOM].into()).collect(),
            found: [Received::NOTHING; BATCH],
            joiner: Joiner::new(offload),
            levels: Default::default(),
            ahead: Ahead::NOTHING,
        }
    }

    /// Takes what waits at a socket, for a while, and says whether that was all. `outbound` is the other direction of this worker, which has the answers.
    ///
    /// # Errors
    /// What the kernel says of the socket.
    pub fn receive(
        &mut self,
        shared: &Shared,
        (uplink, socket): (UplinkIndex, &Socket),
        posts: &Posts,
        (queue, outbound): (&Queue, &mut Outbound),
    ) -> outwork_net::Result<bool> {
        let mut is_empty = false;
        for _ in 0..TURN {
            let count = socket.receive_batch(&mut self.rooms, &mut self.found)?;
            let now = shared.clock.now();
            let view = shared.view.load();
            let mut with = With { shared, posts, view: &view, now, queue, outbound };
            for place in 0..count {
                self.run(&mut with, uplink, place);
            }
            self.write(shared, queue);
            outbound.passed(shared, posts);
            is_empty = count < BATCH;
            if is_empty {
                break;
            }
        }
        self.levels.iter_mut().for_each(|level| level.settle(shared));
        Ok(is_empty)
    }

    /// Drains what the kernel was told of datagrams that went out.
    ///
    /// # Errors
    /// What the kernel says of the socket.
    pub fn failures(&self, shared: &Shared, uplink: UplinkIndex, socket: &Socket) -> outwork_net::Result<()> {
        let heard = |failure: Failure<'_>| match failure.reason {
            // This host's own word needs no proof.
            Reason::TooLong if failure.told_by.is_none() => shared.narrow(uplink, failure.to.ip(), failure.mtu),
            _ => shared.quoted(uplink, &failure),
        };
        // For a while: a flood of them is not to keep out what comes.
        for _ in 0..TURN {
            if socket.failures(heard)? < FAILURES {
                break;
            }
        }
        Ok(())
    }

    /// Opens the datagrams of one run.
    fn run(&mut self, with: &mut With<'_>, uplink: UplinkIndex, place: usize) {
        let Some(Received { length, segment, from, to, tos, .. }) = self.found.get(place).copied() else { return };
        let mut start = 0;
        self.ahead.count = 0;
        while start < length {
            let end = length.min(start + segment);
            let Some(datagram) = self.rooms.get_mut(place).and_then(|room| room.get_mut(start..end)) else { return };
            if datagram.first() == Some(&TRANSPORT) {
                let datagram = Datagram { from, to, tos, place, range: start..end, run: (length, segment), level: 0 };
                if let Some(packet) = self.open(with, datagram) {
                    let octets = self.rooms.get(place).and_then(|room| room.get(packet.clone()));
                    with.outbound.heard(with.shared, with.view, with.now, octets.unwrap_or_default());
                    self.join(with.shared, place, packet, with.queue);
                }
            } else if datagram.len() <= LONGEST && matches!(datagram.first(), Some(1..=3)) {
                with.shared.tell_handshake(uplink, (from, to), datagram);
            } else {
                with.shared.counters.noise.fetch_add(1, Relaxed);
            }
            start = end;
        }
    }

    /// Opens a datagram, and says where the packet in it lies, if it may pass.
    fn open(&mut self, with: &mut With<'_>, sent: Datagram) -> Option<Range<usize>> {
        let (shared, view, now) = (with.shared, with.view, with.now);
        let Datagram { from, to, place, range, run, level, .. } = sent.clone();
        let Level { known, .. } = self.levels.get_mut(level)?;
        let datagram = self.rooms.get_mut(place)?.get_mut(range.clone())?;
        let index = read(datagram, 4).map(u32::from_le_bytes).map(Index).filter(|_| datagram.len() >= OVERHEAD);
        let Some(index) = index else {
            shared.counters.noise.fetch_add(1, Relaxed);
            return None;
        };
        if known.as_ref().is_none_or(|known| known.index != index) {
            // What nobody knows does not make it forget whom it knows: a flood of such stands between the others.
            let Some(receiving) = shared.sessions.find(index) else {
                shared.counters.strangers.fetch_add(1, Relaxed);
                return None;
            };
            let level = self.levels.get_mut(level)?;
            level.settle(shared);
            level.known = Some(Known { index, receiving, source: None, stream: None, group: None });
        }
        let Level { known, count } = self.levels.get_mut(level)?;
        let known = known.as_mut()?;
        let (opener, tunnel) = (&known.receiving.opener, &known.receiving.tunnel);
        // Before it is opened: who captures datagrams and has them come another way must not use their numbers up.
        if !tunnel.may_come_from(&from) {
            count.elsewhere += 1;
            return None;
        }
        let room = self.rooms.get_mut(place)?;
        // Those behind it are most likely of the same session. What is within another lies by itself.
        let opened = match level {
            0 => self.ahead.open(opener, now, room.get_mut(range.start..run.0)?, run.1),
            _ => opener.open(now, room.get_mut(range.clone())?),
        };
        let datagram = room.get_mut(range.clone())?;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                count.refuse(error);
                return None;
            }
        };
        // Where they are comes before the keys: what waits for those is sent there.
        let own = own(to);
        if !tunnel.is_at(&from, own) {
            shared.tell_once(tunnel, Once::Moved, Notice::Moved(tunnel.id, from, own));
        }
        if opened.confirms {
            shared.tell(Notice::Confirmed(tunnel.id, index));
        }
        if opened.rekey {
            shared.tell_once(tunnel, Once::Wanted, Notice::Wanted(tunnel.id));
        }
        let mut packet = range.start + opened.packet.start..range.start + opened.packet.end;
        let mut octets = datagram.get(opened.packet.clone())?;
        let frame = match inside::read(tunnel, opened.inner, octets) {
            Inside::Keepalive => return None,
            Inside::Packet => None,
            Inside::Frame(frame) if matches!(frame.part, Part::Parity { .. }) => {
                count.datagrams += 1;
                let device = (with.queue, &mut *with.outbound);
                known.mend((shared, view), now, &frame, octets.get(frame::LENGTH..)?, device);
                return None;
            }
            Inside::Frame(frame) => {
                let length =
                    octets.get(frame::LENGTH..).and_then(|inner| Packet::read(inner).ok()).map(|read| read.length);
                let Some(length) = length else {
                    shared.counters.unreadable.fetch_add(1, Relaxed);
                    return None;
                };
                packet.start += frame::LENGTH;
                packet.end = packet.start + length;
                octets = octets.get(frame::LENGTH..frame::LENGTH + length)?;
                Some(frame)
            }
            Inside::Passage => {
                let (passage, inner) = Passage::decode(octets)?;
                if !passage.ours {
                    count.datagrams += 1;
                    count.octets += (relay::LENGTH + inner.len()) as u64;
                }
                let start = packet.start + relay::LENGTH;
                let inner = start..start + inner.len();
                return self.passed_on(with, passage, Datagram { range: inner, ..sent });
            }
            Inside::Control => {
                shared.tell_word(tunnel, now, octets);
                return None;
            }
            Inside::NotOfASite => {
                shared.counters.not_of_a_site.fetch_add(1, Relaxed);
                return None;
            }
            Inside::Unreadable => {
                shared.counters.unreadable.fetch_add(1, Relaxed);
                return None;
            }
        };
        // What is between ourselves is counted by who sends it.
        count.datagrams += 1;
        count.octets += packet.len() as u64;
        let Some(source) = packet::source(octets) else {
            shared.counters.unreadable.fetch_add(1, Relaxed);
            return None;
        };
        if known.source != Some(source) {
            if view.owner(source) != Some(tunnel.owner) {
                count.foreign += 1;
                return None;
            }
            known.source = Some(source);
        }
        match frame {
            Some(frame) if frame.part == Part::Twice => {
                let first = known.is_first(shared, now, &frame);
                if !first {
                    shared.counters.repeated.fetch_add(1, Relaxed);
                }
                first.then_some(packet)
            }
            Some(frame) => {
                let device = (with.queue, &mut *with.outbound);
                known.mend((shared, view), now, &frame, octets, device).then_some(packet)
            }
            None => Some(packet),
        }
    }

    /// Takes a datagram that a hub has passed on, or, as the hub, passes it on. `sent` lies where it does in what was opened.
    fn passed_on(&mut self, with: &mut With<'_>, passage: Passage, sent: Datagram) -> Option<Range<usize>> {
        let octets = self.rooms.get(sent.place).and_then(|room| room.get(sent.range.clone()))?;
        let owner = self.levels.get(sent.level)?.known.as_ref()?.receiving.tunnel.owner;
        let relays = with.view.relays();
        let Some(uplink) = relays.own.get(&passage.to).copied() else {
            // Nor is passed on what is within what was passed on itself.
            let to = relays.next(&passage, owner).filter(|_| sent.level == 0);
            let on = Passage { passed: true, ..passage };
            let counters = &with.shared.counters;
            let goes = to.is_some_and(|to| {
                let (tunnel, tos) = (to.tunnel(), sent.tos & !3);
                with.outbound.pass_on((with.shared, with.posts), with.now, (&tunnel, tos), (&on, octets))
            });
            if goes {
                counters.passed.fetch_add(1, Relaxed);
                counters.passed_octets.fetch_add(octets.len() as u64, Relaxed);
            } else {
                counters.not_passed.fetch_add(1, Relaxed);
            }
            return None;
        };
        let from = relay::address(passage.from, owner);
        match octets.first() {
            // Nor is it opened what is within what was passed on itself.
            Some(&TRANSPORT) if sent.level + 1 >= self.levels.len() => {
                with.shared.counters.not_passed.fetch_add(1, Relaxed);
                None
            }
            Some(&TRANSPORT) => self.open(with, Datagram { from, to: relay::HERE, level: sent.level + 1, ..sent }),
            Some(1..=3) if octets.len() <= LONGEST => {
                with.shared.tell_handshake(uplink, (from, relay::HERE), octets);
                None
            }
            _ => {
                with.shared.counters.noise.fetch_add(1, Relaxed);
                None
            }
        }
    }

    /// Adds a packet to those that are written together.
    fn join(&mut self, shared: &Shared, place: usize, packet: Range<usize>, queue: &Queue) {
        for _ in 0..2 {
            let Some(octets) = self.rooms.get(place).and_then(|room| room.get(packet.clone())) else { return };
            if self.joiner.push(place, packet.clone(), octets) {
                return;
            }
            self.write(shared, queue);
        }
    }

    /// Gives the device what there is.
    fn write(&mut self, shared: &Shared, queue: &Queue) {
        for write in self.joiner.writes() {
            let first = write.first();
            let room = self.rooms.get_mut(first.buffer).and_then(|room| room.get_mut(first.range.clone()));
            let Some(header) = room.and_then(|room| write.amend(room)).map(|header| header.write()) else { continue };
            let mut parts = [IoSlice::new(&[]); MOST + 1];
            let mut used = 1;
            for (slot, part) in parts.iter_mut().skip(1).zip(write.parts()) {
                let room = self.rooms.get(part.buffer).and_then(|room| room.get(part.range.clone()));
                *slot = IoSlice::new(room.unwrap_or_default());
                used += 1;
            }
            parts[0] = IoSlice::new(&header);
            if !matches!(queue.send(parts.get(..used).unwrap_or_default()), Ok(true)) {
                shared.counters.undelivered.fetch_add(write.count() as u64, Relaxed);
            }
        }
        self.joiner.clear();
    }
}
