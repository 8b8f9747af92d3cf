//! The way out of what mends groups: the packets go by one tunnel, and what mends them by another, as one run.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use outwork_engine::Time;
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::session::PADDING;

use super::fec::PREFIX;
use super::fec::encoder::Encoder;
use super::frame::{self, Frame, Shape};
use super::outbound::Posts;
use super::passing::Passing;
use super::shared::{Notice, Shared};
use super::tunnel::{Once, Tunnel};

/// Octets that packets of groups are shorter by than what goes by their tunnels.
pub const LESS: usize = frame::LENGTH + PREFIX;

/// The groups that a worker sends to one site.
pub struct Mending {
    encoder: Encoder,
    second: Arc<Tunnel>,
    /// The type of service and the mark of what mends.
    label: (u8, u32),
    mtu: usize,
    room: Box<[u8]>,
}

impl Mending {
    /// A stream that nobody has heard of, of packets of at most `mtu` octets; what mends them goes by `second`.
    pub fn new(stream: u32, shape: Shape, mtu: usize, second: &Arc<Tunnel>) -> Mending {
        let each = HEADER + LESS + mtu + PADDING + TAG;
        Mending {
            encoder: Encoder::new(stream, shape, mtu),
            second: Arc::clone(second),
            label: (0, 0),
            mtu,
            room: vec![0; each * usize::from(shape.parity())].into(),
        }
    }

    /// Octets of the longest packet that there is room for.
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// By which tunnel what mends goes from now on, and with which type of service and mark.
    pub fn go_by(&mut self, second: &Arc<Tunnel>, label: (u8, u32)) {
        self.label = label;
        if !Arc::ptr_eq(&self.second, second) {
            self.second = Arc::clone(second);
        }
    }

    /// What stands before a packet, which is in the group from now on.
    pub fn push(&mut self, now: Time, packet: &[u8]) -> Option<Frame> {
        self.encoder.push(now, packet)
    }

    /// Whether the group is to be closed before another packet.
    pub fn is_full(&self) -> bool {
        self.encoder.is_full()
    }

    /// When the group is to be closed at the latest.
    pub fn due(&self) -> Option<Time> {
        self.encoder.due()
    }

    /// Sends what mends the group, and begins the next one. Without a session it goes unmended.
    pub fn close(&mut self, shared: &Shared, posts: &Posts, now: Time, passing: &mut Passing) {
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
            second.tallies.sent_octets.fetch_add(octets, Relaxed);
            shared.counters.unsent.fetch_add(count.saturating_sub(sent), Relaxed);
            return;
        }
        let sent = posts.of(second.uplink, way.to.is_ipv4()).map(|socket| socket.send(&way, run, stride));
        if let Some(reason) = sent.and_then(|sent| sent.stopped) {
            // Whether the path carries is said by others.
            second.gives_up_source(&way, reason);
        }
        let sent = sent.map_or(0, |sent| sent.octets);
        let sent = sent.div_ceil(stride.max(1)) as u64;
        second.tallies.sent.fetch_add(sent, Relaxed);
        second.tallies.sent_octets.fetch_add(octets, Relaxed);
        shared.counters.unsent.fetch_add(count.saturating_sub(sent), Relaxed);
    }
}
