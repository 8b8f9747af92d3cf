//! The way out of what mends groups: the packets go by one tunnel, and what mends them by another, as one run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::FixedState;
use outwork_engine::{Rng, Time};
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::session::PADDING;

use super::fec::PREFIX;
use super::fec::encoder::Encoder;
use super::frame::{self, Frame, Shape};
use super::outbound::{Posts, send_in_parts, share};
use super::passing::Passing;
use super::shared::{Notice, Shared};
use super::tunnel::{Once, Owner, Tunnel};

/// Octets that packets of groups are shorter by than what goes by their tunnels.
pub const LESS: usize = frame::LENGTH + PREFIX;

/// Streams of groups that a worker sends. Beyond, all of them begin anew.
const STREAMS: usize = 4096;

/// The groups that a worker sends to one site.
struct Mending {
    encoder: Encoder,
    second: Arc<Tunnel>,
    /// The type of service and the mark of what mends.
    label: (u8, u32),
    /// Octets of the longest packet that there is room for.
    mtu: usize,
    room: Box<[u8]>,
}

impl Mending {
    /// A stream that nobody has heard of, of packets of at most `mtu` octets; what mends them goes by `second`.
    fn new(stream: u32, shape: Shape, mtu: usize, second: &Arc<Tunnel>) -> Mending {
        let each = HEADER + LESS + mtu + PADDING + TAG;
        Mending {
            encoder: Encoder::new(stream, shape, mtu),
            second: Arc::clone(second),
            label: (0, 0),
            mtu,
            room: vec![0; each * usize::from(shape.parity())].into(),
        }
    }

    /// By which tunnel what mends goes from now on, and with which type of service and mark.
    fn go_by(&mut self, second: &Arc<Tunnel>, label: (u8, u32)) {
        self.label = label;
        if !Arc::ptr_eq(&self.second, second) {
            self.second = Arc::clone(second);
        }
    }

    /// Sends what mends the group, and begins the next one. Without a session it goes unmended.
    fn close(&mut self, shared: &Shared, posts: &Posts, now: Time, passing: &mut Passing) {
        let Mending { encoder, second, label, room, .. } = self;
        let (tos, mark) = *label;
        let (sealer, way) = (second.sealer(), second.way(tos, mark));
        let (Some(sealer), Some(way)) = (sealer.as_ref(), way) else { return encoder.close(|_, _| ()) };
        let mtu = usize::from(second.mtu());
        let (mut end, mut stride, mut octets) = (0, 0, 0);
        encoder.close(|frame, sum| {
            let text = end + HEADER..end + HEADER + frame::LENGTH + sum.len();
            let Some((front, rest)) =
                room.get_mut(text.clone()).and_then(|text| text.split_at_mut_checked(frame::LENGTH))
            else {
                return;
            };
            front.copy_from_slice(&frame.encode());
            rest.copy_from_slice(sum);
            let Ok(sealed) = sealer.seal(now, room, text, mtu) else { return };
            if sealed.rekey {
                shared.tell_once(second, Once::Wanted, Notice::Wanted(second.id));
            }
            (end, stride, octets) = (sealed.datagram.end, sealed.datagram.len(), octets + sum.len() as u64);
        });
        let run = room.get(..end).unwrap_or_default();
        if run.is_empty() {
            return;
        }
        let count = end.div_ceil(stride.max(1)) as u64;
        if let Some(relay) = &second.relay {
            let carrier = relay.carrier();
            let goes = |datagram: &&[u8]| {
                let passage = relay.passage(datagram.len(), false);
                carrier.as_ref().zip(passage).is_some_and(|(carrier, passage)| {
                    passing.push(shared, posts, now, (carrier, *label), (&passage, datagram))
                })
            };
            let sent = run.chunks(stride.max(1)).filter(goes).count() as u64;
            second.tallies.sent.fetch_add(sent, Relaxed);
            second.tallies.sent_octets.fetch_add(share(octets, count - sent, count), Relaxed);
            shared.counters.unsent.fetch_add(count.saturating_sub(sent), Relaxed);
            return;
        }
        let most = shared.marking.load().run(second.uplink);
        let socket = posts.of(second.uplink, way.to.is_ipv4());
        let sent = socket.map(|socket| send_in_parts(socket, &way, (run, stride), most));
        if let Some(reason) = sent.as_ref().and_then(|sent| sent.stopped) {
            // Whether the path carries is said by others.
            second.gives_up_source(&way, reason);
        }
        let sent = sent.map_or(0, |sent| sent.octets);
        let sent = sent.div_ceil(stride.max(1)) as u64;
        second.tallies.sent.fetch_add(sent, Relaxed);
        second.tallies.sent_octets.fetch_add(share(octets, count.saturating_sub(sent), count), Relaxed);
        shared.counters.unsent.fetch_add(count.saturating_sub(sent), Relaxed);
    }
}

/// A stream, and its neighbours among those whose groups are open.
struct Stream {
    mending: Mending,
    is_open: bool,
    before: Option<usize>,
    behind: Option<usize>,
}

/// The groups that a worker sends, to all sites.
///
/// Those that are open stand in a list, in the order in which they were begun: all may stay open for the same time, so that the first is the one that is due first, and nobody
/// has to look at the others.
#[derive(Default)]
pub struct Groups {
    places: HashMap<(Owner, Shape), usize, FixedState>,
    streams: Vec<Stream>,
    first: Option<usize>,
    last: Option<usize>,
}

impl Groups {
    /// The number of the stream of groups of a shape to a site, for packets of `mtu` octets; what mends them goes by `second` with a type of service and a mark. It holds until the
    /// next call.
    pub fn of(
        &mut self,
        key: (Owner, Shape),
        mtu: usize,
        (second, label): (&Arc<Tunnel>, (u8, u32)),
        rng: &mut Rng,
    ) -> usize {
        if self.streams.len() >= STREAMS && !self.places.contains_key(&key) {
            *self = Groups::default();
        }
        let fresh = |rng: &mut Rng| Mending::new(rng.next_u32(), key.1, mtu, second);
        let place = *self.places.entry(key).or_insert_with(|| {
            let mending = fresh(rng);
            self.streams.push(Stream { mending, is_open: false, before: None, behind: None });
            self.streams.len() - 1
        });
        // Longer packets than there is room for are of another stream.
        if self.streams.get(place).is_some_and(|stream| stream.mending.mtu < mtu) {
            self.shut(place);
            if let Some(stream) = self.streams.get_mut(place) {
                stream.mending = fresh(rng);
            }
        }
        if let Some(stream) = self.streams.get_mut(place) {
            stream.mending.go_by(second, label);
        }
        place
    }

    /// What stands before a packet, which is in the group of a stream from now on.
    pub fn push(&mut self, place: usize, now: Time, packet: &[u8]) -> Option<Frame> {
        let last = self.last;
        let stream = self.streams.get_mut(place)?;
        let frame = stream.mending.encoder.push(now, packet)?;
        if !std::mem::replace(&mut stream.is_open, true) {
            (stream.before, stream.behind) = (last, None);
            self.last = Some(place);
            match last.and_then(|last| self.streams.get_mut(last)) {
                Some(last) => last.behind = Some(place),
                None => self.first = Some(place),
            }
        }
        Some(frame)
    }

    /// Takes a stream out of the list.
    fn shut(&mut self, place: usize) {
        let Some(stream) = self.streams.get_mut(place).filter(|stream| stream.is_open) else { return };
        stream.is_open = false;
        let (before, behind) = (stream.before.take(), stream.behind.take());
        match before.and_then(|before| self.streams.get_mut(before)) {
            Some(before) => before.behind = behind,
            None => self.first = behind,
        }
        match behind.and_then(|behind| self.streams.get_mut(behind)) {
            Some(behind) => behind.before = before,
            None => self.last = before,
        }
    }

    /// Closes the group of a stream if it is full: it is to be called before another packet.
    pub fn close_full(&mut self, place: usize, shared: &Shared, posts: &Posts, now: Time, passing: &mut Passing) {
        let Some(stream) = self.streams.get_mut(place).filter(|stream| stream.mending.encoder.is_full()) else {
            return;
        };
        stream.mending.close(shared, posts, now, passing);
        self.shut(place);
    }

    /// When the next group is to be closed at the latest.
    pub fn due(&self) -> Option<Time> {
        self.streams.get(self.first?)?.mending.encoder.due()
    }

    /// Closes those that are due.
    pub fn close(&mut self, shared: &Shared, posts: &Posts, now: Time, passing: &mut Passing) {
        while let Some(first) = self.first.filter(|_| self.due().is_some_and(|due| due <= now)) {
            if let Some(stream) = self.streams.get_mut(first) {
                stream.mending.close(shared, posts, now, passing);
            }
            self.shut(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use outwork_engine::sim;
    use outwork_net::poll::Waker;
    use outwork_wireguard::index::Table;

    use super::*;
    use crate::plane::fec::encoder::PATIENCE;
    use crate::plane::tunnel::{TunnelId, UplinkIndex};
    use crate::plane::view::View;

    #[test]
    fn the_group_that_was_begun_first_is_due_first_whichever_are_filled_meanwhile() {
        let (notices, _heard) = sync_channel(1);
        let control = Arc::new(Waker::new().unwrap());
        let shared = Shared::new(View::empty(), Arc::new(Table::new(1)), notices, control, Box::new([]), 1);
        let tunnel = Arc::new(Tunnel::new(TunnelId(1), "site", UplinkIndex(0), Owner(1), 1420));
        sim::seeds(50, |rng| {
            let (mut groups, mut passing, posts) = (Groups::default(), Passing::default(), Posts::default());
            // Of each stream when its group was begun.
            let mut model = [None::<Time>; 6];
            let mut counts = [0; 6];
            let mut now = Time::from_secs(10);
            for _ in 0..500 {
                now += Duration::from_micros(rng.below(4000));
                groups.close(&shared, &posts, now, &mut passing);
                for (begun, count) in model.iter_mut().zip(&mut counts) {
                    if begun.is_some_and(|begun| begun + PATIENCE <= now) {
                        (*begun, *count) = (None, 0);
                    }
                }
                assert_eq!(groups.due(), model.iter().flatten().min().map(|begun| *begun + PATIENCE));
                let site = rng.below(6) as usize;
                let key = (Owner(site as u32), Shape::new(3, 1));
                let place = groups.of(key, 1000, (&tunnel, (0, 0)), rng);
                groups.push(place, now, &[7; 100]).unwrap();
                groups.close_full(place, &shared, &posts, now, &mut passing);
                model[site].get_or_insert(now);
                counts[site] += 1;
                if counts[site] == 3 {
                    (model[site], counts[site]) = (None, 0);
                }
            }
        });
    }
}
