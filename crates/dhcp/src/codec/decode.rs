//! A view of one received message. Options are indexed in place; only an option that was split (RFC 3396) is copied.

use super::{COOKIE, HEADER, Kind, RelayInfo, code};
use std::net::Ipv4Addr;

/// Different options one message may carry; more is hostile (the registry has fewer in common use).
const MAX_OPTIONS: usize = 96;

/// The longest client identifier: what a lease keeps whole.
const MAX_CLIENT_ID: usize = 255;

/// Why a datagram is not a DHCP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[allow(missing_docs)]
pub enum Malformed {
    #[error("shorter than a BOOTP header with magic cookie")]
    TooShort,
    #[error("op is not BOOTREQUEST")]
    NotRequest,
    #[error("hardware address length above 16")]
    HardwareLength,
    #[error("magic cookie missing")]
    Cookie,
    #[error("an option runs past the end of its field")]
    TruncatedOption,
    #[error("more options than a message may carry")]
    TooManyOptions,
    #[error("message type missing or malformed")]
    MessageType,
    #[error("message type is not one a server receives")]
    UnexpectedType,
    #[error("relay agent information sub-option runs past the end")]
    TruncatedRelay,
    #[error("an option has a length its type does not allow")]
    OptionLength,
}

impl Malformed {
    /// Every reason, for the counter's labels.
    pub const ALL: [Self; 10] = [
        Self::TooShort,
        Self::NotRequest,
        Self::HardwareLength,
        Self::Cookie,
        Self::TruncatedOption,
        Self::TooManyOptions,
        Self::MessageType,
        Self::UnexpectedType,
        Self::TruncatedRelay,
        Self::OptionLength,
    ];

    /// Label value for the drop counter.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::NotRequest => "not_request",
            Self::HardwareLength => "hardware_length",
            Self::Cookie => "cookie",
            Self::TruncatedOption => "truncated_option",
            Self::TooManyOptions => "too_many_options",
            Self::MessageType => "message_type",
            Self::UnexpectedType => "unexpected_type",
            Self::TruncatedRelay => "truncated_relay",
            Self::OptionLength => "option_length",
        }
    }
}

/// Where an option's bytes lie: in the datagram, or in `joined` if they came in pieces.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    code: u8,
    split: bool,
    start: u16,
    len: u16,
}

/// A decoded request. Borrows the datagram.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    bytes: &'a [u8],
    places: [Place; MAX_OPTIONS],
    count: usize,
    joined: Vec<u8>,
    kind: Kind,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|s| s.try_into().ok()).unwrap_or([0; N])
}

impl<'a> Message<'a> {
    /// Decodes a datagram's UDP payload as a client's or relay agent's request.
    ///
    /// # Errors
    /// [`Malformed`] says which rule it breaks; the caller counts it and stays silent.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = bytes.get(..HEADER).ok_or(Malformed::TooShort)?;
        if header[0] != 1 {
            return Err(Malformed::NotRequest);
        }
        if header[2] > 16 {
            return Err(Malformed::HardwareLength);
        }
        if header[236..240] != COOKIE {
            return Err(Malformed::Cookie);
        }
        if bytes.len() > usize::from(u16::MAX) {
            return Err(Malformed::TruncatedOption);
        }
        let mut message =
            Self { bytes, places: [Place::default(); MAX_OPTIONS], count: 0, joined: Vec::new(), kind: Kind::Discover };
        message.index()?;
        message.check()?;
        Ok(message)
    }

    /// Walks the options field, then `file` and `sname` as option 52 says, in the order RFC 3396 section 5 joins them.
    fn index(&mut self) -> Result<(), Malformed> {
        let end = self.bytes.len();
        let mut splits = self.field(HEADER, end)?;
        let overload = match self.option(code::OVERLOAD) {
            None => 0,
            Some([value @ 1..=3]) => *value,
            Some(_) => return Err(Malformed::OptionLength),
        };
        if overload & 1 != 0 {
            splits |= self.field(108, 236)?;
        }
        if overload & 2 != 0 {
            splits |= self.field(44, 108)?;
        }
        if splits { self.join(overload) } else { Ok(()) }
    }

    /// Calls `each(code, start, len)` for the options of one field; stops at END. A missing END is tolerated.
    fn walk(
        bytes: &[u8],
        mut at: usize,
        end: usize,
        mut each: impl FnMut(u8, usize, usize) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        while at < end {
            match bytes.get(at).copied().unwrap_or(code::END) {
                code::PAD => at += 1,
                code::END => return Ok(()),
                option => {
                    let len = usize::from(*bytes.get(at + 1).ok_or(Malformed::TruncatedOption)?);
                    if at + 2 + len > end {
                        return Err(Malformed::TruncatedOption);
                    }
                    each(option, at + 2, len)?;
                    at += 2 + len;
                }
            }
        }
        Ok(())
    }

    /// Indexes one field; true if some option came again.
    fn field(&mut self, start: usize, end: usize) -> Result<bool, Malformed> {
        let (places, count) = (&mut self.places, &mut self.count);
        let mut splits = false;
        Self::walk(self.bytes, start, end, |option, at, len| {
            if let Some(place) = places[..*count].iter_mut().find(|p| p.code == option) {
                place.split = true;
                splits = true;
                return Ok(());
            }
            let place = places.get_mut(*count).ok_or(Malformed::TooManyOptions)?;
            *place = Place { code: option, split: false, start: at as u16, len: len as u16 };
            *count += 1;
            Ok(())
        })?;
        Ok(splits)
    }

    /// Copies the pieces of every split option together, adjacent or not.
    fn join(&mut self, overload: u8) -> Result<(), Malformed> {
        let mut fields = vec![(HEADER, self.bytes.len())];
        if overload & 1 != 0 {
            fields.push((108, 236));
        }
        if overload & 2 != 0 {
            fields.push((44, 108));
        }
        for place in &mut self.places[..self.count] {
            if !place.split {
                continue;
            }
            let start = self.joined.len();
            for (from, to) in &fields {
                Self::walk(self.bytes, *from, *to, |option, at, len| {
                    if option == place.code {
                        self.joined.extend_from_slice(self.bytes.get(at..at + len).unwrap_or_default());
                    }
                    Ok(())
                })?;
            }
            place.start = start as u16;
            place.len = (self.joined.len() - start) as u16;
        }
        Ok(())
    }

    /// The rules that hold for every request, so that the engine need not ask again.
    fn check(&mut self) -> Result<(), Malformed> {
        let kind = match self.option(code::MESSAGE_TYPE) {
            Some([value]) => Kind::from_wire(*value).ok_or(Malformed::MessageType)?,
            _ => return Err(Malformed::MessageType),
        };
        self.kind = match kind {
            Kind::Discover | Kind::Request | Kind::Decline | Kind::Release | Kind::Inform | Kind::LeaseQuery => kind,
            _ => return Err(Malformed::UnexpectedType),
        };
        for four in [code::REQUESTED_ADDRESS, code::LEASE_TIME, code::SERVER_ID, code::SUBNET_SELECTION] {
            if self.option(four).is_some_and(|v| v.len() != 4) {
                return Err(Malformed::OptionLength);
            }
        }
        if self.option(code::MAX_MESSAGE_SIZE).is_some_and(|v| v.len() != 2) {
            return Err(Malformed::OptionLength);
        }
        // RFC 2132 section 9.14 wants two bytes at least; zero bytes identify nobody. The longest identifier in use is
        // far shorter than the longest that is kept: cutting one would make two clients the same.
        if self.option(code::CLIENT_ID).is_some_and(|id| id.is_empty() || id.len() > MAX_CLIENT_ID) {
            return Err(Malformed::OptionLength);
        }
        if let Some(relay) = self.option(code::RELAY_AGENT).map(RelayInfo::new) {
            if !relay.well_formed() {
                return Err(Malformed::TruncatedRelay);
            }
            // Served without them, the client would get an address of another link, or talk to the wrong server.
            let bad = |sub| relay.get(sub).is_some_and(|value| value.len() != 4);
            if bad(RelayInfo::LINK_SELECTION) || bad(RelayInfo::SERVER_ID_OVERRIDE) {
                return Err(Malformed::OptionLength);
            }
        }
        Ok(())
    }

    /// Bytes of an option, joined if it was split; `None` if absent.
    pub fn option(&self, option: u8) -> Option<&[u8]> {
        let place = self.places[..self.count].iter().find(|p| p.code == option)?;
        let from: &[u8] = if place.split && !self.joined.is_empty() { &self.joined } else { self.bytes };
        from.get(usize::from(place.start)..usize::from(place.start) + usize::from(place.len))
    }

    /// An option of four bytes as an address.
    pub fn address_option(&self, option: u8) -> Option<Ipv4Addr> {
        self.option(option).filter(|v| v.len() == 4).map(|v| Ipv4Addr::from(array::<4>(v, 0)))
    }

    /// An option of four bytes as a number.
    pub fn u32_option(&self, option: u8) -> Option<u32> {
        self.address_option(option).map(u32::from)
    }

    /// Codes of the options present, in the order they came.
    pub fn codes(&self) -> impl Iterator<Item = u8> + '_ {
        self.places[..self.count].iter().map(|p| p.code)
    }

    /// The message type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The UDP payload this message was decoded from.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Hardware type (ARP section of the IANA registry).
    pub fn htype(&self) -> u8 {
        self.bytes[1]
    }

    /// Transaction id.
    pub fn xid(&self) -> [u8; 4] {
        array(self.bytes, 4)
    }

    /// Relay agents passed.
    pub fn hops(&self) -> u8 {
        self.bytes[3]
    }

    /// Seconds since the client began.
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes(array(self.bytes, 8))
    }

    /// The two bytes of flags; the top bit asks for a broadcast answer.
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes(array(self.bytes, 10))
    }

    /// True if the client can't receive unicast yet (RFC 2131 section 4.1).
    pub fn broadcast(&self) -> bool {
        self.flags() & 0x8000 != 0
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(self.bytes, at))
    }

    /// The client's address, if it is bound, renewing or rebinding.
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// "Your" address; zero in a proper request.
    pub fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// Next server; zero in a proper request.
    pub fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    /// The relay agent's address; zero if the client is on our link.
    pub fn giaddr(&self) -> Ipv4Addr {
        self.address(24)
    }

    /// The client's hardware address, `hlen` bytes.
    pub fn chaddr(&self) -> &'a [u8] {
        self.bytes.get(28..28 + usize::from(self.bytes[2])).unwrap_or_default()
    }

    /// What a relay agent says of the client: option 82, if it came with a relay agent's address. Without one it is the
    /// client's own word (RFC 3046 section 2.1), good for nothing but being echoed.
    pub fn relay(&self) -> Option<RelayInfo<'_>> {
        self.option(code::RELAY_AGENT).filter(|_| !self.giaddr().is_unspecified()).map(RelayInfo::new)
    }
}
