//! Ethernet II headers, with or without an 802.1Q tag.

use crate::{Layer, WireError, be16, bytes};

/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ARP: u16 = 0x0806;
/// Ethertype of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// Ethertype of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// A 48-bit hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// `00:00:00:00:00:00`, the "unknown" of an ARP request.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Whether the group bit is set: multicast or broadcast.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl std::fmt::Display for MacAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A text that is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a hardware address: expected six octets such as `02:00:5e:10:00:01`, `02-00-5e-10-00-01` or `0200.5e10.0001`"
)]
pub struct NotAMacAddr(pub String);

impl std::str::FromStr for MacAddr {
    type Err = NotAMacAddr;

    fn from_str(text: &str) -> Result<Self, NotAMacAddr> {
        let groups = |separator: char, octets: usize| {
            let mut address = [0; 6];
            let mut parts = text.split(separator);
            for chunk in address.chunks_mut(octets) {
                let part = parts.next().filter(|part| part.len() == octets * 2)?;
                for (octet, pair) in chunk.iter_mut().zip(part.as_bytes().chunks(2)) {
                    let [high, low] = pair else { return None };
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    *octet = (digit(*high)? << 4 | digit(*low)?) as u8;
                }
            }
            parts.next().is_none().then_some(MacAddr(address))
        };
        groups(':', 1).or_else(|| groups('-', 1)).or_else(|| groups('.', 2)).ok_or_else(|| NotAMacAddr(text.to_owned()))
    }
}

/// An 802.1Q tag's control information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag(pub u16);

impl VlanTag {
    /// The VLAN, 0 to 4095. 0 is a priority tag: no VLAN.
    pub fn id(self) -> u16 {
        self.0 & 0x0fff
    }
}

/// A parsed Ethernet II frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Destination.
    pub destination: MacAddr,
    /// Source.
    pub source: MacAddr,
    /// The outermost 802.1Q tag, if there is one.
    pub vlan: Option<VlanTag>,
    /// What the payload is.
    pub ethertype: u16,
    /// All that follows the header, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame's header. One 802.1Q or 802.1ad tag is taken off; a second one stays in the payload.
    pub fn parse(frame: &'a [u8]) -> Result<Self, WireError> {
        let destination = MacAddr(bytes(frame, 0, Layer::Ethernet)?);
        let source = MacAddr(bytes(frame, 6, Layer::Ethernet)?);
        let mut ethertype = be16(frame, 12, Layer::Ethernet)?;
        let mut header = 14;
        let mut vlan = None;
        if ethertype == VLAN || ethertype == SERVICE_VLAN {
            vlan = Some(VlanTag(be16(frame, 14, Layer::Ethernet)?));
            ethertype = be16(frame, 16, Layer::Ethernet)?;
            header = 18;
        }
        let payload = frame.get(header..).ok_or(WireError::Truncated(Layer::Ethernet))?;
        Ok(Frame { destination, source, vlan, ethertype, payload })
    }
}

/// Appends an Ethernet II header, tagged when `vlan` is given.
pub fn write(destination: MacAddr, source: MacAddr, vlan: Option<VlanTag>, ethertype: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&destination.0);
    out.extend_from_slice(&source.0);
    if let Some(VlanTag(tag)) = vlan {
        out.extend_from_slice(&VLAN.to_be_bytes());
        out.extend_from_slice(&tag.to_be_bytes());
    }
    out.extend_from_slice(&ethertype.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hardware_addresses_are_read_in_the_three_usual_forms() {
        let address = MacAddr([0x02, 0x00, 0x5e, 0xab, 0xcd, 0xef]);
        for text in ["02:00:5e:ab:cd:ef", "02-00-5E-AB-CD-EF", "0200.5eab.cdef"] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_hardware_address_is_refused_by_its_text() {
        for text in [
            "",
            "02",
            "02:00:5e:ab:cd",
            "02:00:5e:ab:cd:ef:01",
            "02:00:5e:ab:cd:eg",
            "02:00:5e:ab:cd:é",
            "+2:00:5e:ab:cd:ef",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(NotAMacAddr(text.to_owned())));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_in_its_header_is_truncated() {
        let mut frame = Vec::new();
        write(MacAddr::BROADCAST, MacAddr([2, 0, 0, 0, 0, 1]), Some(VlanTag(0x6005)), IPV4, &mut frame);
        for length in 0..frame.len() {
            assert_eq!(Frame::parse(&frame[..length]), Err(WireError::Truncated(Layer::Ethernet)));
        }
        assert_eq!(Frame::parse(&frame).map(|frame| frame.payload.len()), Ok(0));
    }

    proptest! {
        #[test]
        fn a_text_of_any_address_reads_back(octets: [u8; 6]) {
            prop_assert_eq!(MacAddr(octets).to_string().parse(), Ok(MacAddr(octets)));
        }

        #[test]
        fn any_text_is_an_address_or_an_error(text in ".{0,24}") {
            let _ = text.parse::<MacAddr>();
        }

        #[test]
        fn a_header_reads_back_as_written(destination: [u8; 6], source: [u8; 6], tag in proptest::option::of(any::<u16>()), payload: [u8; 20]) {
            let (destination, source, vlan) = (MacAddr(destination), MacAddr(source), tag.map(VlanTag));
            let mut frame = Vec::new();
            write(destination, source, vlan, ARP, &mut frame);
            frame.extend_from_slice(&payload);
            prop_assert_eq!(Frame::parse(&frame), Ok(Frame { destination, source, vlan, ethertype: ARP, payload: &payload }));
        }
    }
}
