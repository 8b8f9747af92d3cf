//! WireGuard of the kernel, by generic netlink (`linux/wireguard.h`, `linux/genetlink.h`): interfaces, whom they are joined to, and how that is.
//!
//! Where the kernel has none, that is an error of its own at [`Control::open`], before anything is changed.

use std::net::SocketAddr;
use std::time::Duration;

use super::address::{family, from_octets, octets};
use super::message::{Request, attributes, long_number};
use super::{Asked, Connection, Prefix, Refusal, Result, change, question};
use crate::sys::address::{Address, parse};

/// The protocol of families that have no number of their own, and the family that knows the others' (`linux/netlink.h`, `linux/genetlink.h`).
const GENERIC: i32 = 16;
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Octets of a `genlmsghdr`.
const STRUCTURE: usize = 4;
/// The family, its version and what it does (`enum wg_cmd`).
const NAME: &str = "wireguard";
const VERSION: u8 = 1;
const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;
/// Of an interface (`enum wgdevice_attribute`).
const LINK: u16 = 1;
const PRIVATE_KEY: u16 = 3;
const LISTEN_PORT: u16 = 6;
const MARK: u16 = 7;
const PEERS: u16 = 8;
/// Of a peer (`enum wgpeer_attribute`), and its flags (`enum wgpeer_flag`).
const PEER_KEY: u16 = 1;
const PEER_PRESHARED_KEY: u16 = 2;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_HANDSHAKE: u16 = 6;
const PEER_RECEIVED: u16 = 7;
const PEER_SENT: u16 = 8;
const PEER_NETWORKS: u16 = 9;
const REMOVE: u32 = 1;
const REPLACE_NETWORKS: u32 = 2;
/// Of a network (`enum wgallowedip_attribute`).
const NETWORK_FAMILY: u16 = 1;
const NETWORK_ADDRESS: u16 = 2;
const NETWORK_LENGTH: u16 = 3;
/// The entries of a list have no names.
const ENTRY: u16 = 0;
/// Networks in one message: with all that is around them they fit into an attribute, which has 64 KiB.
const NETWORKS: usize = 512;

/// A key.
pub type Key = [u8; 32];

/// An interface as it is to be.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// Who it is.
    pub private_key: Key,
    /// Where it listens.
    pub listen_port: u16,
    /// The mark of its datagrams; 0 for none.
    pub mark: u32,
    /// Whom it is joined to.
    pub peers: Vec<Peer>,
}

/// Whom an interface is joined to.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who that is.
    pub public_key: Key,
    /// What both were given beforehand; zeroes for nothing.
    pub preshared_key: Key,
    /// Where it is; `None` where it has to come, and one that has come stays where it is.
    pub endpoint: Option<SocketAddr>,
    /// Seconds after which it hears of us at the latest; 0 for never.
    pub keepalive: u16,
    /// What is behind it.
    pub networks: Vec<Prefix>,
}

/// A peer as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// Who that is.
    pub public_key: Key,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// When its keys were made, since 1970; `None` before the first.
    pub handshake: Option<Duration>,
    /// Octets that have come.
    pub received: u64,
    /// Octets that were sent.
    pub sent: u64,
    /// What is behind it.
    pub networks: Vec<Prefix>,
}

/// A line to the kernel's WireGuard.
#[derive(Debug)]
pub struct Control {
    line: Connection,
    family: u16,
}

impl Control {
    /// Opens a line, in the network namespace of this thread.
    ///
    /// # Errors
    /// One that [is missing](super::Error::is_missing) where the kernel has no WireGuard, nor a module to load.
    pub fn open() -> Result<Control> {
        let action = || "find WireGuard in the kernel (module wireguard)".to_owned();
        let mut line = Connection::begin_with(GENERIC).map_err(Refusal::from).asked(action)?;
        let request = change(CONTROLLER, 0, &structure(GET_FAMILY, VERSION)).text(FAMILY_NAME, NAME);
        let family = line.get(request, read_family).asked(action)?;
        // A controller that answers without a number knows no such family.
        let absent = || Refusal::from(std::io::Error::from_raw_os_error(libc::ENOENT));
        Ok(Control { family: family.ok_or_else(absent).asked(action)?, line })
    }

    /// Makes the interface of this index what is wanted. Peers that stay keep their sessions.
    pub fn set(&mut self, link: u32, device: &Device) -> Result<()> {
        let known = self.peers(link)?;
        let action = || format!("set WireGuard interface {link}");
        self.line.ask(device_request(self.family, link, device)).asked(action)?;
        let is_wanted = |known: &&PeerReport| device.peers.iter().any(|peer| peer.public_key == known.public_key);
        for gone in known.iter().filter(|known| !is_wanted(known)) {
            self.line.ask(removal(self.family, link, &gone.public_key)).asked(action)?;
        }
        for peer in &device.peers {
            for request in peer_requests(self.family, link, peer) {
                self.line.ask(request).asked(action)?;
            }
        }
        Ok(())
    }

    /// Whom the interface of this index is joined to.
    pub fn peers(&mut self, link: u32) -> Result<Vec<PeerReport>> {
        let request = question(self.family, &structure(GET_DEVICE, VERSION)).number(LINK, Some(link));
        let told = self.line.list(&request, |body| Some(read_peers(body)));
        let told = told.asked(|| format!("ask whom WireGuard interface {link} is joined to"))?;
        let mut peers: Vec<PeerReport> = Vec::new();
        for peer in told.into_iter().flatten() {
            match peers.last_mut().filter(|last| last.public_key == peer.public_key) {
                // One that did not fit into a message goes on in the next.
                Some(last) => last.networks.extend(peer.networks),
                None => peers.push(peer),
            }
        }
        Ok(peers)
    }
}

/// A `genlmsghdr`.
fn structure(command: u8, version: u8) -> [u8; STRUCTURE] {
    [command, version, 0, 0]
}

/// The number of a family.
fn read_family(body: &[u8]) -> Option<u16> {
    let id = attributes(body.get(STRUCTURE..)?).find(|(kind, _)| *kind == FAMILY_ID)?.1;
    Some(u16::from_ne_bytes(*id.first_chunk()?))
}

/// A change of an interface.
fn about(family: u16, link: u32) -> Request {
    change(family, 0, &structure(SET_DEVICE, VERSION)).number(LINK, Some(link))
}

fn device_request(family: u16, link: u32, device: &Device) -> Request {
    about(family, link)
        .attribute(PRIVATE_KEY, &device.private_key)
        .attribute(LISTEN_PORT, &device.listen_port.to_ne_bytes())
        .number(MARK, Some(device.mark))
}

/// A change of one peer.
fn about_peer(family: u16, link: u32, key: &Key, flags: u32, fill: impl FnOnce(Request) -> Request) -> Request {
    about(family, link).nested(PEERS, |peers| {
        peers.nested(ENTRY, |peer| fill(peer.attribute(PEER_KEY, key).number(PEER_FLAGS, Some(flags))))
    })
}

fn removal(family: u16, link: u32, key: &Key) -> Request {
    about_peer(family, link, key, REMOVE, |peer| peer)
}

/// A peer as it is wanted, in as many messages as its networks take.
fn peer_requests(family: u16, link: u32, peer: &Peer) -> Vec<Request> {
    let key = &peer.public_key;
    let (first, rest) = peer.networks.split_at(peer.networks.len().min(NETWORKS));
    let whole = about_peer(family, link, key, REPLACE_NETWORKS, |request| {
        let request = request
            .attribute(PEER_PRESHARED_KEY, &peer.preshared_key)
            .attribute(PEER_KEEPALIVE, &peer.keepalive.to_ne_bytes());
        let request = match peer.endpoint {
            Some(endpoint) => request.attribute(PEER_ENDPOINT, Address::from(endpoint).octets()),
            None => request,
        };
        networks(request, first)
    });
    let more = |part: &[Prefix]| about_peer(family, link, key, 0, |request| networks(request, part));
    std::iter::once(whole).chain(rest.chunks(NETWORKS).map(more)).collect()
}

fn networks(request: Request, all: &[Prefix]) -> Request {
    request.nested(PEER_NETWORKS, |list| {
        all.iter().fold(list, |list, network| {
            list.nested(ENTRY, |one| {
                one.attribute(NETWORK_FAMILY, &(family(network.address) as u16).to_ne_bytes())
                    .attribute(NETWORK_ADDRESS, &octets(network.address))
                    .attribute(NETWORK_LENGTH, &[network.length])
            })
        })
    })
}

/// The peers in an answer.
fn read_peers(body: &[u8]) -> Vec<PeerReport> {
    let all = attributes(body.get(STRUCTURE..).unwrap_or_default()).filter(|(kind, _)| *kind == PEERS);
    all.flat_map(|(_, list)| attributes(list)).filter_map(|(_, peer)| read_peer(peer)).collect()
}

fn read_peer(told: &[u8]) -> Option<PeerReport> {
    let mut key = None;
    let mut peer =
        PeerReport { public_key: [0; 32], endpoint: None, handshake: None, received: 0, sent: 0, networks: Vec::new() };
    for (kind, value) in attributes(told) {
        match kind {
            PEER_KEY => key = value.first_chunk::<32>().copied(),
            PEER_ENDPOINT => peer.endpoint = parse(value),
            PEER_HANDSHAKE => peer.handshake = read_time(value),
            PEER_RECEIVED => peer.received = long_number(value, 0)?,
            PEER_SENT => peer.sent = long_number(value, 0)?,
            PEER_NETWORKS => {
                peer.networks = attributes(value).filter_map(|(_, network)| read_network(network)).collect()
            }
            _ => {}
        }
    }
    peer.public_key = key?;
    Some(peer)
}

/// A `__kernel_timespec`; zero is never.
fn read_time(value: &[u8]) -> Option<Duration> {
    let (seconds, nanoseconds) = (long_number(value, 0)?, long_number(value, 8)?.min(999_999_999));
    Some(Duration::new(seconds, nanoseconds as u32)).filter(|time| !time.is_zero())
}

fn read_network(told: &[u8]) -> Option<Prefix> {
    let value = |wanted: u16| attributes(told).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let address = from_octets(value(NETWORK_ADDRESS)?)?;
    Some(Prefix { address, length: *value(NETWORK_LENGTH)?.first()? })
}

#[cfg(test)]
mod tests;
