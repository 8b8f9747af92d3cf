//! Version 2: sixteen octets, addresses, and whatever else is told, each with its type and length.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, Extras, Header, LONGEST, ProxyError, Transport, begins, of_one_family};
use crate::checksum::crc32c;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Octets before the addresses.
const HEAD: usize = 16;
/// Octets of the path of a Unix socket.
const PATH: usize = 108;
/// Octets of a unique id.
const ID: usize = 128;

/// The second half of this octet is the command, the first the version.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Types of what follows the addresses.
mod kind {
    pub(super) const ALPN: u8 = 0x01;
    pub(super) const AUTHORITY: u8 = 0x02;
    pub(super) const CRC32C: u8 = 0x03;
    pub(super) const UNIQUE_ID: u8 = 0x05;
    pub(super) const SSL: u8 = 0x20;
}

/// In the first octet of what is told of TLS: the client has come by it.
const CLIENT_SSL: u8 = 0x01;

const SHORT: ProxyError = ProxyError::Malformed("it is shorter than its addresses");

pub(super) fn read(bytes: &[u8]) -> Result<Option<(Header<'_>, usize)>, ProxyError> {
    if begins(bytes.get(..SIGNATURE.len()).unwrap_or(bytes), &SIGNATURE)?.is_none() {
        return Ok(None);
    }
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..).and_then(|rest| rest.first_chunk::<4>())
    else {
        return Ok(None);
    };
    if !matches!(command, LOCAL | PROXY) {
        return Err(ProxyError::Malformed("it has another version or command"));
    }
    let length = HEAD + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(ProxyError::TooLong);
    }
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let body = whole.get(HEAD..).unwrap_or_default();
    // What a proxy that speaks for itself says beside that has no meaning.
    let (ends, rest) = match command {
        LOCAL => (Ends::Own, None),
        _ => ends(family, body)?,
    };
    let extras = rest.map(|rest| extras(whole, rest)).transpose()?.unwrap_or_default();
    Ok(Some((Header { ends, extras }, length)))
}

/// The addresses of a family, and what follows them.
fn ends(family: u8, body: &[u8]) -> Result<(Ends<'_>, Option<&[u8]>), ProxyError> {
    let transport = match family & 0x0f {
        1 => Transport::Stream,
        2 => Transport::Datagram,
        _ if family == 0 => return Ok((Ends::Unknown, None)),
        _ => return Err(ProxyError::Malformed("it has another transport")),
    };
    let internet = |source, destination| Ends::Internet { transport, source, destination };
    Ok(match family >> 4 {
        1 => {
            let (addresses, rest) = body.split_first_chunk::<12>().ok_or(SHORT)?;
            let [s0, s1, s2, s3, d0, d1, d2, d3, sp0, sp1, dp0, dp1] = *addresses;
            let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
            let (from, to) = (u16::from_be_bytes([sp0, sp1]), u16::from_be_bytes([dp0, dp1]));
            (internet((source, from).into(), (destination, to).into()), Some(rest))
        }
        2 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(SHORT)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (&[sp0, sp1, dp0, dp1], rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let (from, to) = (u16::from_be_bytes([sp0, sp1]), u16::from_be_bytes([dp0, dp1]));
            let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
            (internet((source, from).into(), (destination, to).into()), Some(rest))
        }
        3 => {
            let (source, rest) = body.split_at_checked(PATH).ok_or(SHORT)?;
            let (destination, rest) = rest.split_at_checked(PATH).ok_or(SHORT)?;
            (Ends::Unix { transport, source: path(source), destination: path(destination) }, Some(rest))
        }
        _ => return Err(ProxyError::Malformed("it has another family of addresses")),
    })
}

/// A path without what follows it. A socket without a name has none, and an abstract one begins with a zero.
fn path(octets: &[u8]) -> &[u8] {
    if octets.iter().all(|octet| *octet == 0) {
        return &[];
    }
    let end = octets.iter().position(|octet| *octet == 0).filter(|end| *end > 0);
    end.and_then(|end| octets.get(..end)).unwrap_or(octets)
}

/// Reads what follows the addresses of a whole header.
fn extras<'a>(whole: &[u8], mut rest: &'a [u8]) -> Result<Extras<'a>, ProxyError> {
    const CUT: ProxyError = ProxyError::Malformed("what follows its addresses is cut short");
    let mut extras = Extras::default();
    while !rest.is_empty() {
        let (&[kind, high, low], after) = rest.split_first_chunk::<3>().ok_or(CUT)?;
        let (value, after) = after.split_at_checked(u16::from_be_bytes([high, low]).into()).ok_or(CUT)?;
        match kind {
            kind::ALPN => extras.alpn = Some(value),
            kind::AUTHORITY => extras.authority = Some(value),
            kind::UNIQUE_ID if value.len() > ID => return Err(ProxyError::Malformed("its unique id is too long")),
            kind::UNIQUE_ID => extras.unique_id = Some(value),
            kind::SSL => extras.tls = Some(value.first().ok_or(CUT)? & CLIENT_SSL != 0),
            kind::CRC32C if extras.checksum => return Err(ProxyError::Malformed("it has two checksums")),
            kind::CRC32C => {
                let stated = <[u8; 4]>::try_from(value).map_err(|_| CUT)?;
                // It is made of the whole header, with zeros in its own place.
                let before = whole.len() - after.len() - stated.len();
                let before = whole.get(..before).unwrap_or_default();
                if crc32c(&[before, &[0; 4], after]) != u32::from_be_bytes(stated) {
                    return Err(ProxyError::Checksum);
                }
                extras.checksum = true;
            }
            // Padding, and what has no meaning to us: what else is known of TLS, name spaces, what is private to some.
            _ => {}
        }
        rest = after;
    }
    Ok(extras)
}

/// Writes the header for a connection or a datagram.
///
/// # Errors
/// When something is longer than it may be. Nothing is written then.
pub fn write(ends: &Ends<'_>, extras: &Extras<'_>, out: &mut Vec<u8>) -> Result<(), ProxyError> {
    let start = out.len();
    let written = write_unfinished(ends, extras, out, start);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_unfinished(ends: &Ends<'_>, extras: &Extras<'_>, out: &mut Vec<u8>, start: usize) -> Result<(), ProxyError> {
    out.extend_from_slice(&SIGNATURE);
    out.push(if *ends == Ends::Own { LOCAL } else { PROXY });
    // The family and the length are known further down.
    out.extend_from_slice(&[0; 3]);
    let family = match *ends {
        // Nobody would look for more behind these.
        Ends::Own | Ends::Unknown => return Ok(()),
        Ends::Internet { transport, source, destination } => internet(transport, source, destination, out),
        Ends::Unix { transport, source, destination } => {
            for path in [source, destination] {
                let padding = PATH.checked_sub(path.len()).ok_or(ProxyError::TooLong)?;
                out.extend_from_slice(path);
                out.resize(out.len() + padding, 0);
            }
            0x30 | number(transport)
        }
    };
    if extras.unique_id.is_some_and(|id| id.len() > ID) {
        return Err(ProxyError::TooLong);
    }
    let texts = [(kind::ALPN, extras.alpn), (kind::AUTHORITY, extras.authority), (kind::UNIQUE_ID, extras.unique_id)];
    for (kind, value) in texts {
        if let Some(value) = value {
            push(kind, value, out)?;
        }
    }
    if let Some(tls) = extras.tls {
        // Nothing was verified of the client: the number is none of success.
        push(kind::SSL, &[u8::from(tls), 0, 0, 0, 1], out)?;
    }
    if extras.checksum {
        push(kind::CRC32C, &[0; 4], out)?;
    }
    let length = out.len() - start;
    if length > LONGEST {
        return Err(ProxyError::TooLong);
    }
    let [high, low] = u16::try_from(length - HEAD).map_err(|_| ProxyError::TooLong)?.to_be_bytes();
    let about = out.get_mut(start + SIGNATURE.len() + 1..).and_then(|rest| rest.first_chunk_mut::<3>());
    about.into_iter().for_each(|about| *about = [family, high, low]);
    if extras.checksum {
        let sum = crc32c(&[out.get(start..).unwrap_or_default()]).to_be_bytes();
        out.last_chunk_mut::<4>().into_iter().for_each(|place| *place = sum);
    }
    Ok(())
}

/// Writes addresses, and says of which family.
fn internet(transport: Transport, source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) -> u8 {
    let family = match of_one_family(source, destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            0x10
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            0x20
        }
        // They were made to be of one.
        _ => return 0,
    };
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    family | number(transport)
}

fn number(transport: Transport) -> u8 {
    match transport {
        Transport::Stream => 1,
        Transport::Datagram => 2,
    }
}

fn push(kind: u8, value: &[u8], out: &mut Vec<u8>) -> Result<(), ProxyError> {
    let [high, low] = u16::try_from(value.len()).map_err(|_| ProxyError::TooLong)?.to_be_bytes();
    out.extend_from_slice(&[kind, high, low]);
    out.extend_from_slice(value);
    Ok(())
}
