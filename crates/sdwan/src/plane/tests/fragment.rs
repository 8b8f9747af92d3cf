//! Packets cut into parts, put together the plain way.

use super::*;
use crate::plane::fragment::fragment;
use crate::plane::packet::{Malformed, Packet};
use crate::plane::split::{Layout, SplitError};
use outwork_engine::sim;

fn layout(mtu: usize) -> Layout {
    Layout { head: 16, front: 0, tail: 16, pad_to: 16, mtu }
}

/// The parts, each by itself.
fn cut(header: &VnetHeader, octets: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, SplitError> {
    let mut out = vec![0xee; 1 << 20];
    let pieces = fragment(header, octets, &layout(mtu), &mut out)?;
    Ok(pieces.map(|range| out[range].to_vec()).collect())
}

fn flags(part: &[u8]) -> u16 {
    u16::from_be_bytes([part[6], part[7]])
}

fn options(part: &[u8]) -> &[u8] {
    &part[20..usize::from(part[0] & 0x0f) * 4]
}

/// What a receiver makes of parts in any order.
fn together(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = vec![];
    let mut length = None;
    for part in parts {
        let header = usize::from(part[0] & 0x0f) * 4;
        let at = usize::from(flags(part) & 0x1fff) * 8;
        let data = &part[header..];
        assert_eq!(book(&[&part[..header]]), 0, "the checksum of the header");
        assert_eq!(usize::from(u16::from_be_bytes([part[2], part[3]])), part.len());
        payload.resize(payload.len().max(at + data.len()), 0xee);
        payload[at..at + data.len()].copy_from_slice(data);
        if flags(part) & 0x2000 == 0 {
            assert_eq!(length.replace(at + data.len()), None, "one last part");
        } else {
            assert_eq!(data.len() % 8, 0);
        }
    }
    assert_eq!(length, Some(payload.len()));
    payload
}

fn some(rng: &mut Rng) -> Plain {
    let mut plain = Plain::new(false, UDP);
    plain.fragment = 0;
    plain.identification = rng.next_u32() as u16;
    plain.class = rng.next_u32() as u8;
    if rng.chance(0.3) {
        // One that all parts have, and one that the first has.
        plain.extension = vec![0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
    }
    let length = 1 + rng.below(9000) as usize;
    plain.payload = octets(rng, length);
    plain
}

#[test]
fn parts_that_are_put_together_are_the_packet() {
    sim::seeds(300, |rng| {
        let plain = some(rng);
        let whole = plain.build();
        let header = plain.transport();
        let mtu = 68 + rng.below(1500) as usize;
        let (left, handed) = plain.whole(1);
        let left = VnetHeader { kind: VnetHeader::NONE, segment: 0, ..left };
        let mut parts = cut(&VnetHeader::default(), &whole, mtu).unwrap();
        assert_eq!(cut(&left, &handed, mtu).unwrap(), parts, "a checksum that was left to us is made");
        for part in &parts {
            assert!(part.len() <= mtu);
            assert_eq!((&part[4..6], &part[8..10], &part[12..20]), (&whole[4..6], &whole[8..10], &whole[12..20]));
            assert!(Packet::read(part).is_ok_and(|read| read.divisible && read.part == (parts.len() > 1)));
        }
        let turn = rng.below(parts.len() as u64) as usize;
        parts.rotate_left(turn);
        assert_eq!(together(&parts), whole[header..]);
    });
}

#[test]
fn parts_are_cut_again_where_the_way_is_narrower_still() {
    sim::seeds(100, |rng| {
        let plain = some(rng);
        let whole = plain.build();
        let first = cut(&VnetHeader::default(), &whole, 1000).unwrap();
        let again = first.iter().flat_map(|part| cut(&VnetHeader::default(), part, 300).unwrap());
        assert_eq!(together(&again.collect::<Vec<_>>()), whole[plain.transport()..]);
    });
}

#[test]
fn parts_are_of_one_length_and_leave_as_one_run() {
    let mut plain = Plain::new(false, UDP);
    (plain.fragment, plain.payload) = (0, vec![7; 3992]);
    plain.extension = vec![7, 3, 4, 0x94, 4, 0, 0, 0];
    let mut out = vec![0; 8192];
    let pieces = fragment(&VnetHeader::default(), &plain.build(), &layout(1420), &mut out).unwrap();
    // 28 octets of header, and 1392 that eight goes into; padded no further than the path takes.
    assert_eq!((pieces.len(), pieces.longest(), pieces.stride()), (3, 1420, 1420 + 32));
    let parts: Vec<_> = pieces.map(|range| out[range].to_vec()).collect();
    assert_eq!(options(&parts[0]), [7, 3, 4, 0x94, 4, 0, 0, 0]);
    assert_eq!(options(&parts[1]), [1, 1, 1, 0x94, 4, 0, 0, 0], "only what all parts have");
    assert_eq!(parts.iter().map(|part| flags(part)).collect::<Vec<_>>(), [0x2000, 0x2000 | 174, 348]);
    assert_eq!(parts[2].len(), 28 + 4000 - 2 * 1392);
}

#[test]
fn what_fits_is_one_part_and_as_it_was() {
    let mut plain = Plain::new(false, UDP);
    (plain.fragment, plain.payload) = (0, vec![7; 100]);
    assert_eq!(cut(&VnetHeader::default(), &plain.build(), 1420).unwrap(), [plain.build()]);
}

#[test]
fn what_may_not_be_cut_is_refused_with_the_reason() {
    let mut plain = Plain::new(false, UDP);
    plain.payload = vec![7; 3000];
    let refused = |header: VnetHeader, octets: &[u8], mtu| cut(&header, octets, mtu).unwrap_err();
    let none = VnetHeader::default();
    assert_eq!(refused(none, &plain.build(), 1420), SplitError::Indivisible);
    assert_eq!(refused(none, &Plain { v6: true, ..plain.clone() }.build(), 1420), SplitError::Indivisible);
    plain.fragment = 0;
    let octets = plain.build();
    assert_eq!(refused(none, &octets, 27), SplitError::Narrow { mtu: 27, headers: 20 });
    let (run, whole) = plain.whole(1000);
    assert_eq!(refused(run, &whole, 1420), SplitError::Kind(VnetHeader::UDP));
    for (start, offset) in [(20, 1400), (1500, 6), (u16::MAX, u16::MAX)] {
        let wrong = VnetHeader { kind: VnetHeader::NONE, checksum_start: start, checksum_offset: offset, ..run };
        let expected = SplitError::Checksum { start: start.into(), offset: offset.into(), has: octets.len() };
        assert_eq!(refused(wrong, &octets, 1420), expected);
    }
    let mut far = octets.clone();
    far[6..8].copy_from_slice(&0x1fffu16.to_be_bytes());
    assert!(matches!(refused(none, &far, 1420), SplitError::Malformed(Malformed::Length { .. })));
    let error = fragment(&none, &octets, &layout(1420), &mut [0; 2000]).unwrap_err();
    assert!(matches!(error, SplitError::NoRoom { has: 2000, .. }), "{error}");
}

#[test]
fn octets_that_mean_harm_are_refused_or_cut() {
    sim::seeds(2000, |rng| {
        let plain = some(rng);
        let (header, mut octets) = plain.whole(1);
        let mut header = VnetHeader { kind: VnetHeader::NONE, ..header }.write();
        for _ in 0..1 + rng.below(3) {
            match rng.below(3) {
                0 => header[rng.below(10) as usize] = rng.next_u32() as u8,
                1 => octets.truncate(rng.below(octets.len() as u64 + 1) as usize),
                _ if octets.is_empty() => {}
                _ => {
                    let at = rng.below(octets.len().min(40) as u64) as usize;
                    octets[at] = rng.next_u32() as u8;
                }
            }
        }
        let header = VnetHeader::read(&header).unwrap();
        let mtu = rng.below(1500) as usize;
        let Ok(parts) = cut(&header, &octets, mtu) else { return };
        assert!(parts.iter().all(|part| part.len() <= mtu));
    });
}
