//! Peers that are no sites, on ways that take less than packets are long: nothing probes those, so what ICMP says of them is believed, for a while. (Paths to sites
//! are probed, and ICMP only has that done sooner.)
//!
//! Datagrams of tunnels are never fragmented on their way: without this, whatever is longer than the way takes would vanish.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use outwork_engine::Time;
use outwork_wireguard::session::OVERHEAD;

use crate::plane::tunnel::{Tunnel, TunnelId};

/// So long it is believed (RFC 1191 section 6.3). Then longer packets are tried, and told of again where the way is as it was.
const AGE: Duration = Duration::from_secs(600);
/// Octets of an IPv6 packet that every way takes (RFC 8200 section 5); and what is believed where it is not said what a way takes.
const EVERY: usize = 1280;
/// Octets of a packet inside that are always sent: nobody makes them fewer by a message that is made up (RFC 791: every host takes them).
const LEAST: usize = 576;

/// What is believed of tunnels to peers.
#[derive(Debug, Default)]
pub struct Narrow {
    /// Octets of the longest packet, and until when.
    known: BTreeMap<TunnelId, (u16, Time)>,
}

impl Narrow {
    /// It is said that the way of a tunnel takes packets of `path` octets, with all that is around them; 0 where that is not said.
    pub fn hint(&mut self, now: Time, tunnel: &Tunnel, path: usize) {
        let Some(endpoint) = tunnel.endpoint() else { return };
        // Of IP and UDP; and what every way of that version takes leaves more than the least.
        let (outside, least) = match endpoint {
            SocketAddr::V4(_) => (20 + 8, LEAST),
            SocketAddr::V6(_) => (40 + 8, EVERY - 40 - 8 - OVERHEAD),
        };
        let path = if path == 0 { EVERY } else { path };
        let size = path.saturating_sub(outside + OVERHEAD).max(least);
        // What is told of datagrams that left before is no news.
        let Some(size) = u16::try_from(size).ok().filter(|size| *size < tunnel.mtu()) else { return };
        tracing::info!(peer = %tunnel.name, from = tunnel.mtu(), to = size, "the way to a peer takes no packets as long as before");
        tunnel.set_mtu(size);
        self.known.insert(tunnel.id, (size, now + AGE));
    }

    /// Octets of the longest packet of a tunnel that else takes `mtu`.
    pub fn mtu(&self, id: TunnelId, mtu: u16) -> u16 {
        self.known.get(&id).map_or(mtu, |(size, _)| mtu.min(*size))
    }

    /// A tunnel has ended.
    pub fn forget(&mut self, id: TunnelId) {
        self.known.remove(&id);
    }

    /// When [`Narrow::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.known.values().map(|(_, until)| *until).min()
    }

    /// Has those tried with packets of `mtu` octets whose time has come; `find` knows tunnels by their number.
    pub fn handle_timeout<'a>(&mut self, now: Time, mtu: u16, find: impl Fn(TunnelId) -> Option<&'a Tunnel>) {
        self.known.retain(|id, (_, until)| {
            let is_over = *until <= now;
            if let Some(tunnel) = find(*id).filter(|_| is_over) {
                tunnel.set_mtu(mtu);
            }
            !is_over
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::tunnel::{Owner, UplinkIndex};

    const NOW: Time = Time::from_secs(10);

    fn tunnel(endpoint: &str) -> Tunnel {
        let tunnel = Tunnel::new(TunnelId(1), "phone", UplinkIndex(0), Owner(1), 1420);
        tunnel.set_endpoint(Some(endpoint.parse().unwrap()));
        tunnel
    }

    /// What a tunnel takes when this is said, one after the other.
    fn takes(endpoint: &str, said: &[usize]) -> Vec<u16> {
        let (tunnel, mut narrow) = (tunnel(endpoint), Narrow::default());
        let mtu = |path: &usize| {
            narrow.hint(NOW, &tunnel, *path);
            assert_eq!(narrow.mtu(tunnel.id, 1420), tunnel.mtu());
            tunnel.mtu()
        };
        said.iter().map(mtu).collect()
    }

    #[test]
    fn what_a_way_takes_is_believed_and_never_less_than_everybody_takes() {
        assert_eq!(takes("192.0.2.1:7", &[1500, 1480, 1400, 1492, 100]), [1420, 1420, 1340, 1340, 576]);
        assert_eq!(takes("[2001:db8::1]:7", &[1500, 1480, 1280, 100]), [1420, 1400, 1200, 1200]);
        assert_eq!(takes("192.0.2.1:7", &[0]), [1220], "who does not say what it takes");
    }

    #[test]
    fn longer_packets_are_tried_again_after_ten_minutes() {
        let (tunnel, mut narrow) = (tunnel("192.0.2.1:7"), Narrow::default());
        narrow.hint(NOW, &tunnel, 1400);
        let until = NOW + Duration::from_secs(600);
        assert_eq!(narrow.poll_timeout(), Some(until));
        let mut at = |now| {
            narrow.handle_timeout(now, 1400, |id| Some(&tunnel).filter(|tunnel| tunnel.id == id));
            (tunnel.mtu(), narrow.poll_timeout().is_some())
        };
        assert_eq!(at(NOW + Duration::from_secs(599)), (1340, true));
        assert_eq!(at(until), (1400, false));
        narrow.hint(until, &tunnel, 1400);
        narrow.forget(tunnel.id);
        assert_eq!((tunnel.mtu(), narrow.poll_timeout(), narrow.mtu(tunnel.id, 1420)), (1340, None, 1420));
    }
}
