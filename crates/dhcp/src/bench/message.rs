//! DHCP messages as a relay agent and a client see them (RFC 2131 section 2, RFC 2132, RFC 3046). Independent of the server's codec on purpose.
#![deny(clippy::disallowed_methods)]

use std::net::Ipv4Addr;

/// DHCP message types (RFC 2132 section 9.6) that the generator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
}

/// The magic cookie that options follow.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where options begin.
const OPTIONS: usize = 240;
/// The shortest message that BOOTP relay agents must let pass (RFC 1542 section 2.1).
const MINIMUM: usize = 300;

mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const REQUESTED_ADDRESS: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const CLIENT_ID: u8 = 61;
    pub(super) const RELAY_INFORMATION: u8 = 82;
    pub(super) const END: u8 = 255;
}

/// A message to the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) kind: Kind,
    pub(super) xid: u32,
    pub(super) secs: u16,
    pub(super) chaddr: [u8; 6],
    pub(super) ciaddr: Ipv4Addr,
    pub(super) giaddr: Ipv4Addr,
    /// Option 50.
    pub(super) requested: Option<Ipv4Addr>,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
    /// The content of option 82; empty for none.
    pub(super) relay_information: &'a [u8],
}

impl Request<'_> {
    /// Appends the message.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        // BOOTREQUEST over Ethernet. A relay agent counts itself as a hop.
        let hops = u8::from(!self.giaddr.is_unspecified());
        out.extend_from_slice(&[1, 1, 6, hops]);
        out.extend_from_slice(&self.xid.to_be_bytes());
        out.extend_from_slice(&self.secs.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.ciaddr.octets());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.giaddr.octets());
        out.extend_from_slice(&self.chaddr);
        out.resize(start + OPTIONS - COOKIE.len(), 0);
        out.extend_from_slice(&COOKIE);
        out.extend_from_slice(&[option::MESSAGE_TYPE, 1, self.kind as u8]);
        out.extend_from_slice(&[option::CLIENT_ID, 7, 1]);
        out.extend_from_slice(&self.chaddr);
        for (code, address) in [(option::REQUESTED_ADDRESS, self.requested), (option::SERVER, self.server)] {
            if let Some(address) = address {
                out.extend_from_slice(&[code, 4]);
                out.extend_from_slice(&address.octets());
            }
        }
        if self.kind != Kind::Release {
            // Subnet mask, routers, name servers, domain name, broadcast address, NTP servers.
            out.extend_from_slice(&[option::PARAMETERS, 6, 1, 3, 6, 15, 28, 42]);
        }
        if let Ok(length @ 1..) = u8::try_from(self.relay_information.len()) {
            out.extend_from_slice(&[option::RELAY_INFORMATION, length]);
            out.extend_from_slice(self.relay_information);
        }
        out.push(option::END);
        out.resize(out.len().max(start + MINIMUM), option::PAD);
    }
}

/// The content of option 82: a circuit id when `circuit` is given, and the relay source port (RFC 8357) when it is not 67.
pub(super) fn relay_information(circuit: Option<u16>, port: u16) -> Vec<u8> {
    const CIRCUIT_ID: u8 = 1;
    const RELAY_SOURCE_PORT: u8 = 19;
    let mut information = Vec::new();
    if let Some(circuit) = circuit {
        information.extend_from_slice(&[CIRCUIT_ID, 2]);
        information.extend_from_slice(&circuit.to_be_bytes());
    }
    if port != 67 {
        information.extend_from_slice(&[RELAY_SOURCE_PORT, 0]);
    }
    information
}

/// A message from the server, as far as the generator judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    pub(super) kind: Kind,
    pub(super) xid: u32,
    pub(super) chaddr: [u8; 6],
    pub(super) yiaddr: Ipv4Addr,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
    /// Option 51, in seconds.
    pub(super) lease_time: Option<u32>,
    /// The content of option 82; empty when there is none.
    pub(super) relay_information: &'a [u8],
}

/// Reads a message from a server. `None` when it is no well-formed OFFER, ACK or NAK.
pub(super) fn parse(message: &[u8]) -> Option<Reply<'_>> {
    let (head, mut rest) = message.split_first_chunk::<OPTIONS>()?;
    if head[..3] != [2, 1, 6] || head[OPTIONS - 4..] != COOKIE {
        return None;
    }
    let (mut kind, mut server, mut lease_time, mut relay_information) = (None, None, None, &[][..]);
    loop {
        match *rest {
            [option::END, ..] => break,
            [option::PAD, ref after @ ..] => rest = after,
            [code, length, ref after @ ..] => {
                let (value, after) = after.split_at_checked(length.into())?;
                match code {
                    option::MESSAGE_TYPE => kind = Some(value),
                    option::SERVER => server = Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
                    option::LEASE_TIME => lease_time = Some(u32::from_be_bytes(value.try_into().ok()?)),
                    option::RELAY_INFORMATION => relay_information = value,
                    _ => {}
                }
                rest = after;
            }
            // Without an end option the message was cut, or never had one.
            _ => return None,
        }
    }
    let kind = match kind? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let at = |from: usize| [head[from], head[from + 1], head[from + 2], head[from + 3]];
    let [c0, c1, c2, c3] = at(28);
    Some(Reply {
        kind,
        xid: u32::from_be_bytes(at(4)),
        chaddr: [c0, c1, c2, c3, head[32], head[33]],
        yiaddr: at(16).into(),
        server,
        lease_time,
        relay_information,
    })
}
