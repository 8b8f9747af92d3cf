//! Version 1: a line such as `PROXY TCP4 192.0.2.1 198.51.100.1 4711 443`.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Ends, Extras, Header, ProxyError, Transport, begins, of_one_family};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
const END: &[u8] = b"\r\n";
/// Octets of the longest line, with its end.
const LINE: usize = 107;

const MALFORMED: ProxyError = ProxyError::Malformed("the line is not PROXY TCP4 SOURCE DESTINATION PORT PORT");

pub(super) fn read(bytes: &[u8]) -> Result<Option<(Header<'_>, usize)>, ProxyError> {
    if begins(bytes, SIGNATURE)?.is_none() {
        return Ok(None);
    }
    let head = bytes.get(..LINE).unwrap_or(bytes);
    let Some(length) = head.windows(END.len()).position(|octets| octets == END) else {
        return if bytes.len() < LINE { Ok(None) } else { Err(ProxyError::TooLong) };
    };
    let line = head.get(SIGNATURE.len()..length).and_then(|line| std::str::from_utf8(line).ok()).ok_or(MALFORMED)?;
    let header = Header { ends: ends(line)?, extras: Extras::default() };
    Ok(Some((header, length + END.len())))
}

fn ends(line: &str) -> Result<Ends<'static>, ProxyError> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    // What else it says means nothing to anybody.
    if family == "UNKNOWN" {
        return Ok(Ends::Unknown);
    }
    let mut next = || words.next().ok_or(MALFORMED);
    let (source, destination, from, to) = (next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(MALFORMED);
    }
    let is_v4 = match family {
        "TCP4" => true,
        "TCP6" => false,
        _ => return Err(MALFORMED),
    };
    let end = |address: &str, port: &str| {
        let address: IpAddr = plain(address)?;
        (address.is_ipv4() == is_v4).then_some(SocketAddr::new(address, port_of(port)?)).ok_or(MALFORMED)
    };
    let (source, destination) = (end(source, from)?, end(destination, to)?);
    Ok(Ends::Internet { transport: Transport::Stream, source, destination })
}

fn plain<T: FromStr>(text: &str) -> Result<T, ProxyError> {
    text.parse().map_err(|_| MALFORMED)
}

/// A port in the one form that it has: no sign, and no zero before others.
fn port_of(text: &str) -> Result<u16, ProxyError> {
    let is_plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { plain(text) } else { Err(MALFORMED) }
}

/// Writes the line for a connection. What has no place in it is unknown.
pub fn write(ends: &Ends<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    match *ends {
        Ends::Internet { transport: Transport::Stream, source, destination } => {
            let (source, destination) = of_one_family(source, destination);
            out.extend_from_slice(if source.is_ipv4() { b"TCP4" } else { b"TCP6" });
            let words: [&dyn Display; 4] = [&source.ip(), &destination.ip(), &source.port(), &destination.port()];
            for word in words {
                out.extend_from_slice(format!(" {word}").as_bytes());
            }
        }
        _ => out.extend_from_slice(b"UNKNOWN"),
    }
    out.extend_from_slice(END);
}
