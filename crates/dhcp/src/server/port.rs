//! A worker's sockets, what waits to leave by each of them, and which way an answer takes.

use super::service::Service;
use super::unserved::Unserved;
use crate::engine::Destination;
use crate::metrics::{Dropped, ReplyType};
use outwork_net::{Interface, PacketSocket, Refused, SendReport, UdpSocket, packet, udp};
use outwork_wire::MacAddr;
use outwork_wire::frame::{self, Link};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

/// What DHCP servers send from (RFC 2131 section 4.1).
pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) ingress: Ingress,
    /// Index of the interface.
    pub(super) interface: u32,
    /// Our address there.
    pub(super) server: Ipv4Addr,
}

/// The socket a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ingress {
    /// A UDP socket, by its place among the listen addresses.
    Udp(usize),
    /// The packet socket of the interface, and who sent the frame.
    Link(MacAddr),
}

/// How an answer leaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Udp { port: usize, path: udp::Path },
    Frame { interface: u32, to: MacAddr, source: Ipv4Addr, destination: SocketAddrV4 },
}

/// A message in an outbox.
struct Pending {
    kind: ReplyType,
    octets: usize,
    /// When its request came.
    received: Instant,
    to: SocketAddrV4,
}

pub(super) struct UdpPort {
    pub(super) socket: Arc<UdpSocket>,
    out: Out<udp::Outbox>,
}

pub(super) struct LinkPort {
    pub(super) socket: Arc<PacketSocket>,
    pub(super) interface: Arc<Interface>,
    out: Out<packet::Outbox>,
}

struct Out<O> {
    outbox: O,
    /// Of each message in the outbox, in its order.
    pending: VecDeque<Pending>,
}

/// All sockets of a worker.
pub(super) struct Ports {
    pub(super) udp: Vec<UdpPort>,
    pub(super) links: Vec<LinkPort>,
    capacity: usize,
    service: Arc<Service>,
}

impl Ports {
    /// `capacity` messages fit into the outbox of each socket.
    pub(super) fn new(udp: Vec<Arc<UdpSocket>>, capacity: usize, service: Arc<Service>) -> Self {
        let out = || Out { outbox: udp::Outbox::new(capacity), pending: VecDeque::new() };
        let udp = udp.into_iter().map(|socket| UdpPort { socket, out: out() }).collect();
        Self { udp, links: Vec::new(), capacity, service }
    }

    /// Serves an interface, in place of an older socket on one of that index.
    pub(super) fn add_link(&mut self, socket: Arc<PacketSocket>, interface: Arc<Interface>) {
        self.drop_link(interface.index);
        let out = Out { outbox: packet::Outbox::new(self.capacity), pending: VecDeque::new() };
        self.links.push(LinkPort { socket, interface, out });
    }

    pub(super) fn drop_link(&mut self, index: u32) {
        for link in self.links.extract_if(.., |link| link.interface.index == index) {
            self.service.metrics().dropped.of(Dropped::NoWay).add(link.out.pending.len() as u64);
        }
    }

    /// An interface's addresses may have changed.
    pub(super) fn refresh(&mut self, interfaces: &[Arc<Interface>]) {
        for link in &mut self.links {
            if let Ok(at) = interfaces.binary_search_by_key(&link.interface.index, |interface| interface.index)
                && let Some(interface) = interfaces.get(at)
            {
                link.interface = Arc::clone(interface);
            }
        }
    }

    fn link(&self, index: u32) -> Option<&LinkPort> {
        self.links.iter().find(|link| link.interface.index == index)
    }

    /// True if the address is of a network of the interface.
    fn is_on_link(&self, index: u32, address: Ipv4Addr) -> bool {
        self.link(index).into_iter().flat_map(|link| &link.interface.addresses).any(|own| {
            let host = u32::MAX.checked_shr(own.prefix_length.into()).unwrap_or(0);
            u32::from(own.address) | host == u32::from(address) | host
        })
    }

    /// The socket from which a datagram of our address `from` leaves: of the server port if there is one.
    fn udp_from(&self, from: Ipv4Addr) -> Option<usize> {
        let fits = |port: &UdpPort| {
            let local = port.socket.local();
            local.ip().is_unspecified() || *local.ip() == from
        };
        let standard = |port: &UdpPort| fits(port) && port.socket.local().port() == SERVER_PORT;
        self.udp.iter().position(standard).or_else(|| self.udp.iter().position(fits))
    }

    /// The way of an answer to `destination`. `client` is the hardware address, if it is an Ethernet one.
    pub(super) fn way(&self, route: Route, destination: Destination, client: Option<MacAddr>) -> Option<Way> {
        let Route { ingress, interface, server } = route;
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        let frame = |to: MacAddr, destination| Way::Frame { interface, to, source: server, destination };
        let datagram = |port, to, interface| Way::Udp { port, path: udp::Path { to, from: server, interface } };
        match (destination, ingress) {
            (Destination::Unicast(to), Ingress::Udp(port)) => Some(datagram(port, to, 0)),
            (Destination::Unicast(to), Ingress::Link(sender)) => match self.udp_from(server) {
                // A renewing client with an address of this link is on it, whatever the routes say; who came through a
                // router may be anywhere.
                Some(port) if self.is_on_link(interface, *to.ip()) => Some(datagram(port, to, interface)),
                Some(port) => Some(datagram(port, to, 0)),
                None => self.link(interface).map(|_| frame(sender, to)),
            },
            (Destination::Hardware(address), _) if self.link(interface).is_some() => Some(match client {
                Some(client) => frame(client, SocketAddrV4::new(address, CLIENT_PORT)),
                None => frame(MacAddr::BROADCAST, everybody),
            }),
            (Destination::Broadcast, _) if self.link(interface).is_some() => Some(frame(MacAddr::BROADCAST, everybody)),
            (_, Ingress::Udp(port)) => Some(datagram(port, everybody, interface)),
            (_, Ingress::Link(_)) => None,
        }
    }

    /// Puts an answer into the outbox of its socket, which is sent first if it is full.
    pub(super) fn push(&mut self, way: &Way, payload: &[u8], kind: ReplyType, received: Instant) {
        let metrics = self.service.metrics();
        let pushed = match way {
            Way::Udp { port, path } => {
                let Some(port) = self.udp.get_mut(*port) else { return metrics.dropped.of(Dropped::NoWay).inc() };
                if port.out.outbox.len() >= self.capacity {
                    port.flush(&self.service);
                }
                let write = |out: &mut Vec<u8>| {
                    out.extend_from_slice(payload);
                    Ok(())
                };
                port.out.outbox.push(*path, write).map(|()| (&mut port.out.pending, path.to))
            }
            Way::Frame { interface, to, source, destination } => {
                let Some(link) = self.links.iter_mut().find(|link| link.interface.index == *interface) else {
                    return metrics.dropped.of(Dropped::NoWay).inc();
                };
                if link.out.outbox.len() >= self.capacity {
                    link.flush(&self.service);
                }
                let own = link.interface.mac.unwrap_or(MacAddr::ZERO);
                let ethernet = Link { destination: *to, source: own, vlan: None };
                let source = SocketAddrV4::new(*source, SERVER_PORT);
                let write = |out: &mut Vec<u8>| frame::udp_frame(ethernet, source, *destination, payload, out);
                link.out.outbox.push(write).map(|()| (&mut link.out.pending, *destination))
            }
        };
        match pushed {
            Ok((pending, to)) => pending.push_back(Pending { kind, octets: payload.len(), received, to }),
            Err(Refused::Full) => metrics.dropped.of(Dropped::SendFull).inc(),
            Err(Refused::Message(_)) => metrics.dropped.of(Dropped::SendError).inc(),
        }
    }

    /// Sends everything that the kernel takes.
    pub(super) fn flush(&mut self) {
        self.udp.iter_mut().filter(|port| !port.out.outbox.is_empty()).for_each(|port| port.flush(&self.service));
        self.links.iter_mut().filter(|link| !link.out.outbox.is_empty()).for_each(|link| link.flush(&self.service));
    }

    /// Answers that the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        let udp = self.udp.iter().map(|port| port.out.pending.len());
        udp.chain(self.links.iter().map(|link| link.out.pending.len())).sum()
    }
}

impl UdpPort {
    fn flush(&mut self, service: &Service) {
        let report = self.socket.send(&mut self.out.outbox);
        account(&mut self.out.pending, &report, service);
    }

    /// True if the socket is full, so that its being writable is waited for.
    pub(super) fn blocked(&self) -> bool {
        !self.out.outbox.is_empty()
    }
}

impl LinkPort {
    fn flush(&mut self, service: &Service) {
        let report = self.socket.send(&mut self.out.outbox);
        account(&mut self.out.pending, &report, service);
    }

    /// True if the socket is full, so that its being writable is waited for.
    pub(super) fn blocked(&self) -> bool {
        !self.out.outbox.is_empty()
    }
}

/// Counts what a send dealt with, and tells of those whom nothing can be sent to.
fn account(pending: &mut VecDeque<Pending>, report: &SendReport, service: &Service) {
    let (now, metrics) = (Instant::now(), service.metrics());
    let dealt_with = (report.sent + report.refused.len()).min(pending.len());
    let mut refused = report.refused.iter().peekable();
    let mut octets = 0;
    for (place, message) in pending.drain(..dealt_with).enumerate() {
        if let Some((_, errno)) = refused.next_if(|(at, _)| *at == place) {
            metrics.dropped.of(Dropped::SendError).inc();
            service.note_unserved(&Unserved::unsendable(message.to, *errno));
            continue;
        }
        octets += message.octets as u64;
        metrics.replies.of(message.kind).inc();
        metrics.latency.record(now.saturating_duration_since(message.received));
    }
    metrics.sent.add(octets);
}
