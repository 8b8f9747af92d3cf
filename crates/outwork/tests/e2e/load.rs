//! A relay agent with as many clients behind it as wanted. It speaks DHCP by itself, so that it agrees with the server only
//! where the server is right, and it remembers every DHCPACK.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use outwork_net::testing::{Namespace, Patience};

use super::PATIENCE;

pub(crate) type Mac = [u8; 6];

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;

/// Clients that a relay has under way at once.
const WINDOW: usize = 256;
/// How long a client waits for an answer before another takes its place.
const TURN: Duration = Duration::from_millis(500);

/// A relay agent.
pub(crate) struct Relay {
    socket: UdpSocket,
    giaddr: Ipv4Addr,
    server: SocketAddrV4,
    next: u32,
    under_way: HashMap<Mac, Instant>,
    /// Every client that has a DHCPACK, and for which address.
    pub(crate) acknowledged: BTreeMap<Mac, Ipv4Addr>,
}

/// What of a server's message matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: u8,
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

impl Relay {
    /// A relay at `giaddr`, an address of the namespace.
    pub(crate) fn new(namespace: &Namespace, giaddr: [u8; 4], server: ([u8; 4], u16)) -> Relay {
        let giaddr = giaddr.into();
        let server = SocketAddrV4::new(server.0.into(), server.1);
        let socket = namespace.run(|| UdpSocket::bind(SocketAddrV4::new(giaddr, 67)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        Relay { socket, giaddr, server, next: 0, under_way: HashMap::new(), acknowledged: BTreeMap::new() }
    }

    /// A client that has not been heard of.
    pub(crate) fn new_client(&mut self) -> Mac {
        self.next += 1;
        let [a, b, c, d] = self.next.to_be_bytes();
        [2, 0x5e, a, b, c, d]
    }

    /// Passes a client's message on; a REQUEST names the offer that it takes.
    pub(crate) fn send(&self, mac: Mac, kind: u8, offer: Option<(Ipv4Addr, Ipv4Addr)>) {
        let mut message = vec![0; 240];
        message[..4].copy_from_slice(&[1, 1, 6, 1]); // BOOTREQUEST, Ethernet, 6 octets, one hop
        message[4..8].copy_from_slice(&mac[2..]);
        message[24..28].copy_from_slice(&self.giaddr.octets());
        message[28..34].copy_from_slice(&mac);
        message[236..].copy_from_slice(&[99, 130, 83, 99]);
        message.extend([53, 1, kind]);
        if let Some((address, server)) = offer {
            message.extend([50, 4]);
            message.extend(address.octets());
            message.extend([54, 4]);
            message.extend(server.octets());
        }
        message.push(255);
        message.resize(300, 0);
        match self.socket.send_to(&message, self.server) {
            Ok(_) => {}
            // The answer to an earlier datagram: nobody listened while the server was away.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// The next answer; `None` when there is none for a few milliseconds.
    pub(crate) fn receive(&self) -> Option<Answer> {
        let mut buffer = [0; 1500];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(parse(&buffer[..length])),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::ConnectionRefused].contains(&error.kind()) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The answer to one message; `None` when a second passes without any.
    pub(crate) fn ask(&self, mac: Mac, kind: u8, offer: Option<(Ipv4Addr, Ipv4Addr)>) -> Option<Answer> {
        self.send(mac, kind, offer);
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            if let Some(answer) = self.receive().filter(|answer| answer.mac == mac) {
                return Some(answer);
            }
        }
        None
    }

    /// Takes a new client from DISCOVER to ACK, asking again until it is answered.
    pub(crate) fn lease(&mut self) -> (Mac, Ipv4Addr) {
        let mac = self.new_client();
        let mut patience = Patience::new(PATIENCE);
        while !patience.is_over() {
            let Some(offer) = self.ask(mac, DISCOVER, None).filter(|answer| answer.kind == OFFER) else { continue };
            let ack = self.ask(mac, REQUEST, Some((offer.address, offer.server)));
            if ack.is_some_and(|ack| ack.kind == ACK) {
                self.take(mac, offer.address);
                return (mac, offer.address);
            }
        }
        panic!("no lease for a new client")
    }

    /// New clients one after the other, many at once, for as long as `go_on` says with the number of leases made.
    pub(crate) fn load(&mut self, mut go_on: impl FnMut(usize) -> bool) {
        self.under_way.clear();
        while go_on(self.acknowledged.len()) {
            while self.under_way.len() < WINDOW {
                let mac = self.new_client();
                self.under_way.insert(mac, Instant::now());
                self.send(mac, DISCOVER, None);
            }
            if !self.hear() {
                self.under_way.retain(|_, since| since.elapsed() < TURN);
            }
        }
    }

    /// Takes in an answer; false when there is none.
    pub(crate) fn hear(&mut self) -> bool {
        let Some(Answer { kind, mac, address, server }) = self.receive() else { return false };
        match kind {
            OFFER => self.send(mac, REQUEST, Some((address, server))),
            ACK => {
                self.under_way.remove(&mac);
                self.take(mac, address);
            }
            other => panic!("a new client was answered with message type {other}"),
        }
        true
    }

    fn take(&mut self, mac: Mac, address: Ipv4Addr) {
        let before = self.acknowledged.insert(mac, address);
        assert!(before.is_none_or(|before| before == address), "a client was acknowledged {before:?} and {address}");
    }
}

fn parse(message: &[u8]) -> Answer {
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&message[at..at + 4]).unwrap());
    let mut answer =
        Answer { kind: 0, mac: message[28..34].try_into().unwrap(), address: address(16), server: [0; 4].into() };
    assert_eq!(message[0], 2, "a BOOTREPLY");
    let mut at = 240;
    while message[at] != 255 {
        match message[at] {
            0 => {
                at += 1;
                continue;
            }
            53 => answer.kind = message[at + 2],
            54 => answer.server = address(at + 2),
            _ => {}
        }
        at += 2 + usize::from(message[at + 1]);
    }
    answer
}

/// A hardware address as it is written.
pub(crate) fn written(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
