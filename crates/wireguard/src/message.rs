//! The four messages (5.4): read by reference, written into slices. Everything is little endian.
//!
//! A type is one octet with three zero octets after it, that are kept for later use.

use crate::Index;

/// Octets of a handshake initiation (5.4.2).
pub const INITIATION: usize = 148;
/// Octets of a handshake response (5.4.3).
pub const RESPONSE: usize = 92;
/// Octets of a cookie reply (5.4.7).
pub const COOKIE_REPLY: usize = 64;
/// Octets before what is sealed in a transport message (5.4.6).
pub const HEADER: usize = 16;
/// Octets of an authentication tag.
pub const TAG: usize = 16;
/// Octets of mac1, and of mac2.
pub const MAC: usize = 16;
/// Octets of what Noise says in an initiation: a key, a sealed key, a sealed stamp.
pub const INITIATION_NOISE: usize = 32 + (32 + TAG) + (12 + TAG);
/// Octets of what Noise says in a response: a key, and nothing sealed.
pub const RESPONSE_NOISE: usize = 32 + TAG;
/// Octets of the nonce of a cookie reply.
pub const COOKIE_NONCE: usize = 24;
/// Octets of a sealed cookie.
pub const SEALED_COOKIE: usize = 16 + TAG;

const TYPE_INITIATION: u32 = 1;
const TYPE_RESPONSE: u32 = 2;
const TYPE_COOKIE_REPLY: u32 = 3;
const TYPE_TRANSPORT: u32 = 4;

/// A datagram, as far as it can be told without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Who begins a handshake.
    Initiation(Initiation<'a>),
    /// Who answers it.
    Response(Response<'a>),
    /// Who is too busy to answer it.
    CookieReply(CookieReply<'a>),
    /// A packet.
    Transport(Transport),
}

/// A handshake initiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initiation<'a> {
    /// By what its sender calls the session.
    pub sender: Index,
    /// What Noise says.
    pub noise: &'a [u8; INITIATION_NOISE],
    /// All of it.
    pub whole: &'a [u8; INITIATION],
}

/// A handshake response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// By what its sender calls the session.
    pub sender: Index,
    /// By what its receiver does.
    pub receiver: Index,
    /// What Noise says.
    pub noise: &'a [u8; RESPONSE_NOISE],
    /// All of it.
    pub whole: &'a [u8; RESPONSE],
}

/// A cookie reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieReply<'a> {
    /// The sender index of the message that it answers.
    pub receiver: Index,
    /// Random.
    pub nonce: &'a [u8; COOKIE_NONCE],
    /// The cookie, sealed.
    pub sealed: &'a [u8; SEALED_COOKIE],
}

/// What is before the sealed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// By what its receiver calls the session.
    pub receiver: Index,
    /// The nonce.
    pub counter: u64,
}

/// Why a datagram is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than any message.
    #[error("shorter than any message")]
    Short,
    /// The first four octets are no type.
    #[error("of no known type")]
    Type,
    /// Not as long as its type is.
    #[error("not as long as its type")]
    Length,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// When it is no message.
    pub fn read(datagram: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let message = match word(datagram, 0).ok_or(Malformed::Short)? {
            TYPE_INITIATION => Initiation::read(datagram).map(Message::Initiation),
            TYPE_RESPONSE => Response::read(datagram).map(Message::Response),
            TYPE_COOKIE_REPLY => CookieReply::read(datagram).map(Message::CookieReply),
            TYPE_TRANSPORT => Transport::read(datagram).map(Message::Transport),
            _ => return Err(Malformed::Type),
        };
        message.ok_or(Malformed::Length)
    }
}

impl<'a> Initiation<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let whole: &[u8; INITIATION] = datagram.try_into().ok()?;
        Some(Initiation { sender: Index(word(whole, 4)?), noise: part(whole, 8)?, whole })
    }

    /// Writes one whose macs are zero.
    pub fn write(sender: Index, noise: &[u8; INITIATION_NOISE]) -> [u8; INITIATION] {
        let mut out = [0; INITIATION];
        put(&mut out, &[&TYPE_INITIATION.to_le_bytes(), &sender.0.to_le_bytes(), noise]);
        out
    }
}

impl<'a> Response<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let whole: &[u8; RESPONSE] = datagram.try_into().ok()?;
        let (sender, receiver) = (Index(word(whole, 4)?), Index(word(whole, 8)?));
        Some(Response { sender, receiver, noise: part(whole, 12)?, whole })
    }

    /// Writes one whose macs are zero.
    pub fn write(sender: Index, receiver: Index, noise: &[u8; RESPONSE_NOISE]) -> [u8; RESPONSE] {
        let mut out = [0; RESPONSE];
        let indices = [sender.0.to_le_bytes(), receiver.0.to_le_bytes()];
        put(&mut out, &[&TYPE_RESPONSE.to_le_bytes(), indices.as_flattened(), noise]);
        out
    }
}

impl<'a> CookieReply<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let whole: &[u8; COOKIE_REPLY] = datagram.try_into().ok()?;
        Some(CookieReply { receiver: Index(word(whole, 4)?), nonce: part(whole, 8)?, sealed: part(whole, 32)? })
    }

    /// Writes this.
    pub fn write(&self) -> [u8; COOKIE_REPLY] {
        let mut out = [0; COOKIE_REPLY];
        put(&mut out, &[&TYPE_COOKIE_REPLY.to_le_bytes(), &self.receiver.0.to_le_bytes(), self.nonce, self.sealed]);
        out
    }
}

impl Transport {
    fn read(datagram: &[u8]) -> Option<Self> {
        if datagram.len() < HEADER + TAG {
            return None;
        }
        let counter = part(datagram, 8).map(|bytes| u64::from_le_bytes(*bytes))?;
        Some(Transport { receiver: Index(word(datagram, 4)?), counter })
    }

    /// Writes this.
    pub fn write(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        put(&mut out, &[&TYPE_TRANSPORT.to_le_bytes(), &self.receiver.0.to_le_bytes(), &self.counter.to_le_bytes()]);
        out
    }
}

fn put(out: &mut [u8], parts: &[&[u8]]) {
    out.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use outwork_engine::sim::seeds;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let noise = std::array::from_fn(|at| at as u8);
        let initiation = Initiation::write(Index(0x0403_0201), &noise);
        assert_eq!(initiation[..8], [1, 0, 0, 0, 1, 2, 3, 4]);
        let Ok(Message::Initiation(read)) = Message::read(&initiation) else { panic!() };
        assert_eq!((read.sender, read.noise), (Index(0x0403_0201), &noise));

        let noise = std::array::from_fn(|at| at as u8);
        let response = Response::write(Index(1), Index(2), &noise);
        assert_eq!(response[..12], [2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        let Ok(Message::Response(read)) = Message::read(&response) else { panic!() };
        assert_eq!((read.sender, read.receiver, read.noise), (Index(1), Index(2), &noise));

        let reply = CookieReply { receiver: Index(7), nonce: &[8; COOKIE_NONCE], sealed: &[9; SEALED_COOKIE] };
        let written = reply.write();
        assert_eq!((written[..8].to_vec(), written[31], written[32]), (vec![3, 0, 0, 0, 7, 0, 0, 0], 8, 9));
        assert_eq!(Message::read(&written), Ok(Message::CookieReply(reply)));

        let transport = Transport { receiver: Index(5), counter: 0x0102_0304_0506_0708 };
        let mut datagram = transport.write().to_vec();
        assert_eq!(datagram, [4, 0, 0, 0, 5, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(Message::read(&datagram), Err(Malformed::Length), "no room for a tag");
        datagram.resize(HEADER + TAG, 0);
        assert_eq!(Message::read(&datagram), Ok(Message::Transport(transport)));
    }

    #[test]
    fn a_message_of_another_length_or_with_reserved_octets_set_is_none() {
        for (kind, length) in [(1, INITIATION), (2, RESPONSE), (3, COOKIE_REPLY)] {
            for (length, read) in [(length - 1, false), (length, true), (length + 1, false)] {
                let mut datagram = vec![0; length];
                datagram[0] = kind;
                assert_eq!(Message::read(&datagram).is_ok(), read, "{kind} {length}");
                datagram[2] = 1;
                assert_eq!(Message::read(&datagram), Err(Malformed::Type));
            }
        }
        assert_eq!(Message::read(&[4, 0, 0]), Err(Malformed::Short));
        assert_eq!(Message::read(&[5, 0, 0, 0]), Err(Malformed::Type));
    }

    #[test]
    fn no_datagram_is_too_strange_to_be_looked_at() {
        seeds(2000, |rng| {
            let mut datagram = vec![0; rng.below(200) as usize];
            rng.fill(&mut datagram);
            datagram.iter_mut().take(4).enumerate().for_each(|(at, byte)| *byte = if at == 0 { *byte % 6 } else { 0 });
            let _ = Message::read(&datagram);
        });
    }
}
