//! Wholes cut, against the plain way.

use super::*;
use crate::plane::packet::Packet;
use crate::plane::split::{Layout, Pieces, SplitError, fits, split};
use outwork_engine::sim;

const LAYOUT: Layout = Layout { head: 16, tail: 16, pad_to: 16, mtu: 1420 };

fn cut(header: &VnetHeader, octets: &[u8], layout: &Layout) -> Result<(Pieces, Vec<u8>), SplitError> {
    let mut out = vec![0xee; 512 * 1024];
    split(header, octets, layout, &mut out).map(|pieces| (pieces, out))
}

fn some(rng: &mut Rng) -> Plain {
    let mut plain = Plain::new(rng.chance(0.5), if rng.chance(0.6) { TCP } else { UDP });
    plain.pair = rng.below(5) as u8;
    plain.class = rng.next_u32() as u8;
    plain.sequence = if rng.chance(0.2) { u32::MAX - rng.below(9000) as u32 } else { rng.next_u32() };
    plain.identification = if rng.chance(0.2) { u16::MAX } else { rng.next_u32() as u16 };
    plain.flags = [ACK, ACK | PUSH, ACK | FIN, ACK | CWR, ACK | PUSH | CWR | FIN][rng.below(5) as usize];
    plain.options = [vec![], vec![1; 12], octets(rng, 40)][rng.below(3) as usize].clone();
    if rng.chance(0.2) {
        let ends_in = [plain.protocol, 0, 1, 4, 0, 0, 0, 0];
        plain.extension = if plain.v6 { ends_in.to_vec() } else { vec![1, 1, 1, 0] };
    }
    plain.fragment = if rng.chance(0.5) { 0x4000 } else { 0 };
    let length = [0, 1, 3000, 9000, 65_000 - plain.headers()][rng.below(5) as usize];
    plain.payload = octets(rng, length);
    plain
}

#[test]
fn a_whole_is_cut_into_the_packets_that_it_is_made_of() {
    sim::seeds(300, |rng| {
        let plain = some(rng);
        let segment = [1, 536, 1001, 1300][rng.below(4) as usize].max(plain.payload.len() / 200);
        let (mut header, whole) = plain.whole(segment);
        let layout = Layout { mtu: 9000, ..LAYOUT };
        let (pieces, out) = cut(&header, &whole, &layout).unwrap();
        let expected = plain.pieces(segment);
        assert_eq!(pieces.len(), expected.len());
        for (range, expected) in pieces.clone().zip(&expected) {
            assert_eq!(out[range], expected[..], "{plain:?}");
        }
        // Without the sum of the pseudo header it is made from the addresses.
        header.flags = 0;
        let (again, same) = cut(&header, &whole, &layout).unwrap();
        assert_eq!((again, same == out), (pieces, true));
    });
}

#[test]
fn what_packets_are_sealed_into_stands_without_gaps() {
    let mut plain = Plain::new(false, TCP);
    plain.payload = vec![7; 3333];
    let (header, whole) = plain.whole(1001);
    let (pieces, out) = cut(&header, &whole, &LAYOUT).unwrap();
    // 1041 octets are padded to 1056, and 32 go around them.
    assert_eq!((pieces.stride(), pieces.longest()), (1056 + 32, 1041));
    assert_eq!(pieces.collect::<Vec<_>>(), [16..1057, 1104..2145, 2192..3233, 3280..3280 + 370]);
    assert!(out[..16].iter().chain(&out[1057..1104]).all(|octet| *octet == 0xee), "what is around is left alone");
    // A packet that fills its path is not padded beyond it.
    assert_eq!((LAYOUT.padded(1410), LAYOUT.padded(1420), LAYOUT.padded(1500)), (1420, 1420, 1500));
}

#[test]
fn segments_of_tcp_are_cut_to_fit_a_path_that_takes_less() {
    let mut plain = Plain::new(true, TCP);
    plain.payload = (0..6000).map(|at| at as u8).collect();
    let (header, whole) = plain.whole(1400);
    let (pieces, out) = cut(&header, &whole, &LAYOUT).unwrap();
    assert_eq!(pieces.longest(), 1420);
    let expected = plain.pieces(1360);
    assert!(pieces.len() == 5 && pieces.zip(expected).all(|(range, expected)| out[range] == expected[..]));
    let mut plain = Plain::new(true, UDP);
    plain.payload = vec![1; 6000];
    let (header, whole) = plain.whole(1400);
    assert_eq!(cut(&header, &whole, &LAYOUT).unwrap().0.longest(), 1448, "a datagram is as long as it is");
    let packet = Packet::read(&whole).unwrap();
    assert!(fits(&header, &packet, 1448) && !fits(&header, &packet, 1447));
    assert!(fits(&VnetHeader { kind: VnetHeader::TCP6, ..header }, &packet, 1000));
    assert!(!fits(&VnetHeader::default(), &packet, 1448) && fits(&VnetHeader::default(), &packet, 6048));
}

#[test]
fn one_packet_is_copied_and_its_checksum_made_if_it_was_left_to_us() {
    for protocol in [TCP, UDP] {
        let mut plain = Plain::new(false, protocol);
        plain.payload = vec![5; 99];
        let (header, octets) = plain.whole(1);
        let (pieces, out) =
            cut(&VnetHeader { kind: VnetHeader::NONE, segment: 0, ..header }, &octets, &LAYOUT).unwrap();
        assert_eq!(pieces.clone().map(|range| out[range].to_vec()).collect::<Vec<_>>(), [plain.build()]);
        assert_eq!((pieces.longest(), pieces.stride()), (octets.len(), LAYOUT.stride(octets.len())));
        let (pieces, out) = cut(&VnetHeader::default(), &octets, &LAYOUT).unwrap();
        assert_eq!(pieces.map(|range| out[range].to_vec()).collect::<Vec<_>>(), [octets], "as it is");
    }
}

#[test]
fn a_header_that_does_not_fit_its_packet_is_refused_with_the_reason() {
    let mut plain = Plain::new(false, TCP);
    plain.payload = vec![5; 3000];
    let (header, octets) = plain.whole(1000);
    let refused = |header: VnetHeader, octets: &[u8]| cut(&header, octets, &LAYOUT).unwrap_err();
    let has = octets.len();
    assert_eq!(refused(VnetHeader { header_length: 4000, ..header }, &octets), SplitError::Headers { said: 4000, has });
    assert_eq!(refused(VnetHeader { segment: 0, ..header }, &octets), SplitError::Segment);
    assert_eq!(refused(VnetHeader { kind: 3, ..header }, &octets), SplitError::Kind(3));
    for kind in [VnetHeader::TCP6, VnetHeader::UDP, VnetHeader::UDP | VnetHeader::ECN] {
        assert_eq!(refused(VnetHeader { kind, ..header }, &octets), SplitError::Protocol { kind, protocol: TCP });
    }
    for (start, offset) in [(21, 16), (20, 6), (u16::MAX, u16::MAX)] {
        let wrong = VnetHeader { checksum_start: start, checksum_offset: offset, ..header };
        let expected = SplitError::Checksum { start: start.into(), offset: offset.into(), has };
        assert_eq!(refused(wrong, &octets), expected);
    }
    for (start, offset) in [(3040, 0), (3000, 39), (0, u16::MAX), (u16::MAX, 0)] {
        let wrong = VnetHeader { kind: VnetHeader::NONE, checksum_start: start, checksum_offset: offset, ..header };
        let expected = SplitError::Checksum { start: start.into(), offset: offset.into(), has };
        assert_eq!(refused(wrong, &octets), expected);
    }
    assert!(matches!(refused(header, &octets[..has - 1]), SplitError::Malformed(_)));
    let mut short = octets.clone();
    short[32] = 0x40;
    assert!(matches!(refused(header, &short), SplitError::Malformed(_)), "a header of TCP of 16 octets");
    let mut small = [0; 3000];
    let needs = 3 * LAYOUT.stride(1040);
    let error = split(&header, &octets, &LAYOUT, &mut small).unwrap_err();
    assert_eq!(error, SplitError::NoRoom { needs, has: 3000 });
    assert!(error.to_string().contains("3000"), "{error}");
}

#[test]
fn octets_that_mean_harm_are_refused_or_cut_into_packets_with_all_of_the_payload() {
    sim::seeds(3000, |rng| {
        let plain = some(rng);
        let (header, mut octets) = plain.whole(1300);
        let mut header = header.write();
        for _ in 0..1 + rng.below(3) {
            match rng.below(3) {
                0 => header[rng.below(10) as usize] = rng.next_u32() as u8,
                1 => octets.truncate(rng.below(octets.len() as u64 + 1) as usize),
                _ if octets.is_empty() => {}
                _ => {
                    let at = rng.below(octets.len().min(80) as u64) as usize;
                    octets[at] = rng.next_u32() as u8;
                }
            }
        }
        let header = VnetHeader::read(&header).unwrap();
        let layout = Layout { mtu: rng.below(3000) as usize, ..LAYOUT };
        let mut out = vec![0; 100_000];
        let Ok(pieces) = split(&header, &octets, &layout, &mut out) else { return };
        let whole = Packet::read(&octets).unwrap();
        let mut got = vec![];
        for range in pieces {
            let piece = &out[range];
            let packet = Packet::read(piece).unwrap();
            assert_eq!(
                (packet.length, packet.header, packet.flow(None)),
                (piece.len(), whole.header, whole.flow(None))
            );
            let headers = match header.kind & !VnetHeader::ECN {
                VnetHeader::NONE => 0,
                VnetHeader::UDP => packet.header + 8,
                _ => packet.header + usize::from(piece[packet.header + 12] >> 4) * 4,
            };
            got.extend_from_slice(&piece[headers..]);
        }
        if header.kind & !VnetHeader::ECN != VnetHeader::NONE {
            assert_eq!(got, octets[whole.length - got.len()..whole.length]);
            return;
        }
        // One packet is as it was, but for its checksum.
        let (start, offset) = (usize::from(header.checksum_start), usize::from(header.checksum_offset));
        if header.flags & VnetHeader::NEEDS_CHECKSUM != 0 {
            got[start + offset..start + offset + 2].copy_from_slice(&octets[start + offset..start + offset + 2]);
        }
        assert_eq!(got, octets[..whole.length]);
    });
}
