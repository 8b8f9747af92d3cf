//! Packets of IPv4 that may be cut on their way, and are too long for it, cut into parts (RFC 791 section 3.2). They lie as those of [`super::split`] do, so that they leave as one run.

use outwork_net::tun::VnetHeader;
use outwork_wire::checksum::{Sum, checksum};
use outwork_wire::octets::{word, write};

use super::packet::{FRAGMENT, IP_CHECK, Malformed, Packet, TOTAL, V4};
use super::split::{Layout, Pieces, SplitError, made};

/// In the word at [`FRAGMENT`]: more parts follow; where the part belongs, in units of eight octets; and what is nobody's.
const MORE: u16 = 0x2000;
const PLACE: u16 = 0x1fff;
const RESERVED: u16 = 0x8000;
const UNIT: usize = 8;

/// Options (RFC 791 section 3.1): the end of them, none, and the bit of those that all parts have.
const END: u8 = 0;
const NONE: u8 = 1;
const COPIED: u8 = 0x80;

/// Writes the parts of a packet to `out`, and says where they are. A checksum that was left to be made is made.
///
/// # Errors
/// When it may not be cut, is a run of packets, the header speaks of something else than what follows it, or `out` is too small.
pub fn fragment(header: &VnetHeader, octets: &[u8], layout: &Layout, out: &mut [u8]) -> Result<Pieces, SplitError> {
    let packet = Packet::read(octets)?;
    let octets = octets.get(..packet.length).ok_or(Malformed::Cut)?;
    if header.kind != VnetHeader::NONE {
        return Err(SplitError::Kind(header.kind));
    }
    if !packet.divisible {
        return Err(SplitError::Indivisible);
    }
    let (own, payload) = octets.split_at_checked(packet.header).ok_or(Malformed::Cut)?;
    let each = layout.mtu.saturating_sub(own.len()) / UNIT * UNIT;
    if each == 0 {
        return Err(SplitError::Narrow { mtu: layout.mtu, headers: own.len() });
    }
    let count = payload.len().div_ceil(each).max(1);
    let flags = word(octets, FRAGMENT).ok_or(Malformed::Cut)?;
    let ends = usize::from(flags & PLACE) + (count - 1) * each / UNIT;
    if ends > usize::from(PLACE) {
        return Err(Malformed::Length { said: ends * UNIT, has: usize::from(PLACE) * UNIT }.into());
    }
    let check = check(header, octets, own.len() + each.min(payload.len()))?;
    let pieces = Pieces::new(layout, count, own.len() + each, own.len() + payload.len() - (count - 1) * each);
    let room = SplitError::NoRoom { needs: pieces.needs(layout), has: out.len() };
    let out = out.get_mut(..pieces.needs(layout)).ok_or(room)?;
    for (place, range) in pieces.clone().enumerate() {
        let last = place + 1 == count;
        let at = place * each;
        let part = payload.get(at..payload.len().min(at + each)).ok_or(Malformed::Cut)?;
        let piece = out.get_mut(range).ok_or(room)?;
        let belongs = (flags & PLACE) + (at / UNIT) as u16;
        let word = flags & RESERVED | belongs | if last { flags & MORE } else { MORE };
        one(piece, own, part, word, place > 0).ok_or(Malformed::Cut)?;
        if let Some((at, check)) = check.filter(|_| place == 0) {
            write(piece, at, &check.to_be_bytes()).ok_or(room)?;
        }
    }
    Ok(pieces)
}

/// The checksum that was left to us, and where it goes: into the first part, which ends at `end`.
fn check(header: &VnetHeader, octets: &[u8], end: usize) -> Result<Option<(usize, u16)>, SplitError> {
    if !header.needs_checksum() {
        return Ok(None);
    }
    let (start, offset) = (usize::from(header.checksum_start), usize::from(header.checksum_offset));
    let (at, wrong) = (start + offset, SplitError::Checksum { start, offset, has: octets.len() });
    let summed = octets.get(start..).filter(|_| at + 2 <= end).ok_or(wrong)?;
    word(summed, offset).ok_or(wrong)?;
    Ok(Some((at, made(Sum::default().bytes(summed)))))
}

/// Writes one part: a header, and what is behind it.
fn one(piece: &mut [u8], own: &[u8], part: &[u8], word: u16, later: bool) -> Option<()> {
    let total = u16::try_from(piece.len()).ok()?;
    write(piece, 0, own)?;
    write(piece, own.len(), part)?;
    write(piece, TOTAL, &total.to_be_bytes())?;
    write(piece, FRAGMENT, &word.to_be_bytes())?;
    write(piece, IP_CHECK, &[0, 0])?;
    let header = piece.get_mut(..own.len())?;
    if later {
        thin(header.get_mut(V4..)?);
    }
    let check = checksum(header);
    write(header, IP_CHECK, &check.to_be_bytes())
}

/// Leaves only those options that all parts have. Others become none, so that all parts are of one length.
fn thin(options: &mut [u8]) {
    let mut at = 0;
    while let Some([kind, rest @ ..]) = options.get(at..) {
        let length = match (*kind, rest.first()) {
            (END, _) => return,
            (NONE, _) => 1,
            (_, Some(length)) if *length >= 2 => usize::from(*length),
            _ => return,
        };
        let stays = *kind & COPIED != 0;
        let Some(option) = options.get_mut(at..at + length) else { return };
        if !stays {
            option.fill(NONE);
        }
        at += length;
    }
}
