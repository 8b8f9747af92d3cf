//! The way out of what a hub passes on, at who sends it and at the hub: datagrams that are sealed already are put behind what says whom they are for, and leave as runs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use outwork_engine::Time;
use outwork_net::carrier::{self, Reason, Way};
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::session::PADDING;

use super::outbound::{Posts, send_in_parts, share};
use super::relay::{LENGTH, Passage};
use super::shared::{Notice, Shared};
use super::tunnel::{Once, Tunnel};

/// Octets that runs are laid out in.
const ROOM: usize = 1 << 17;

struct Run {
    tunnel: Arc<Tunnel>,
    way: Way,
    end: usize,
    stride: usize,
    count: u64,
    /// Of these, those that are packets.
    packets: u64,
    octets: u64,
    /// The last one is shorter: nothing goes behind it.
    closed: bool,
}

/// Datagrams on their way to a hub, or on from one.
#[derive(Default)]
pub struct Passing {
    /// Nothing until there is one.
    room: Box<[u8]>,
    run: Option<Run>,
}

impl Passing {
    /// Puts a datagram into the run of a tunnel, with a type of service and a mark. False where it does not fit, or there is no session.
    pub fn push(
        &mut self,
        shared: &Shared,
        posts: &Posts,
        now: Time,
        (tunnel, (tos, mark)): (&Arc<Tunnel>, (u8, u32)),
        (passage, datagram): (&Passage, &[u8]),
    ) -> bool {
        let (sealer, Some(way)) = (tunnel.sealer(), tunnel.way(tos, mark)) else { return false };
        let (length, mtu) = (LENGTH + datagram.len(), usize::from(tunnel.mtu()));
        let Some(sealer) = sealer.as_ref().filter(|_| length <= mtu) else { return false };
        if self.room.is_empty() {
            self.room = vec![0; ROOM].into();
        }
        let stride = HEADER + length.next_multiple_of(PADDING).min(mtu) + TAG;
        let is_other = |run: &Run| {
            run.closed
                || run.way != way
                || !Arc::ptr_eq(&run.tunnel, tunnel)
                || stride > run.stride
                || run.end + stride > carrier::RUN_OCTETS
        };
        if self.run.as_ref().is_some_and(is_other) {
            self.flush(shared, posts);
        }
        let base = self.run.as_ref().map_or(0, |run| run.end);
        let text = base + HEADER..base + HEADER + length;
        let Some((front, rest)) = self.room.get_mut(text.clone()).and_then(|text| text.split_at_mut_checked(LENGTH))
        else {
            return false;
        };
        front.copy_from_slice(&passage.encode());
        rest.copy_from_slice(datagram);
        let Ok(sealed) = sealer.seal(now, &mut self.room, text, mtu) else { return false };
        if sealed.rekey {
            shared.tell_once(tunnel, Once::Wanted, Notice::Wanted(tunnel.id));
        }
        let tunnel = || Arc::clone(tunnel);
        let run = self.run.get_or_insert_with(|| Run {
            tunnel: tunnel(),
            way,
            end: 0,
            stride,
            count: 0,
            packets: 0,
            octets: 0,
            closed: false,
        });
        run.end = sealed.datagram.end;
        run.count += 1;
        run.closed = stride < run.stride;
        if !passage.ours {
            run.packets += 1;
            run.octets += length as u64;
        }
        true
    }

    /// Sends what there is.
    pub fn flush(&mut self, shared: &Shared, posts: &Posts) {
        let Some(run) = self.run.take() else { return };
        let octets = self.room.get(..run.end).unwrap_or_default();
        let socket = posts.of(run.tunnel.uplink, run.way.to.is_ipv4());
        let most = shared.marking.load().run(run.tunnel.uplink);
        let sent = socket.map(|socket| send_in_parts(socket, &run.way, (octets, run.stride), most));
        let (sent, stopped) = match sent {
            Some(sent) => (sent.octets.div_ceil(run.stride) as u64, sent.stopped),
            None => (0, Some(Reason::NoSource)),
        };
        let left = run.count.saturating_sub(sent);
        let tallies = &run.tunnel.tallies;
        tallies.sent.fetch_add(run.packets.saturating_sub(left), Relaxed);
        tallies.sent_octets.fetch_add(share(run.octets, left.min(run.packets), run.packets), Relaxed);
        shared.counters.unsent.fetch_add(left, Relaxed);
        // A full buffer is the way of things; what is too long is told by the error queue.
        if let Some(reason) = stopped
            && !matches!(reason, Reason::Blocked | Reason::NoBuffers | Reason::TooLong)
            && !run.tunnel.gives_up_source(&run.way, reason)
        {
            shared.tell_once(&run.tunnel, Once::Stuck, Notice::Stuck(run.tunnel.id, reason));
        }
    }
}
