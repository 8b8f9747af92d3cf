//! Groups that lose some of their packets.

use std::collections::BTreeMap;
use std::sync::Arc;

use outwork_engine::{Rng, Time, sim};

use super::PREFIX;
use super::decoder::{Budget, Decoder};
use super::encoder::{Encoder, PATIENCE};
use super::field::{Square, add, coefficient, inverse, product, undo};
use crate::plane::frame::{Frame, Part, Shape};

const MTU: usize = 300;
const NOW: Time = Time::from_secs(1);

/// What goes, with what stands before it.
type Sent = (Frame, Vec<u8>);

/// Room for whatever a test has.
fn plenty() -> Arc<Budget> {
    Arc::new(Budget::new(1 << 24))
}

fn octets(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    rng.fill(&mut octets);
    octets
}

/// All packets of one group, each other than the others, with their frames; and what mends them.
fn group(rng: &mut Rng, encoder: &mut Encoder, count: u8) -> (Vec<Sent>, Vec<Sent>) {
    let mut data = vec![];
    for _ in 0..count {
        let length = 1 + rng.below(MTU as u64) as usize;
        let packet = octets(rng, length);
        let frame = encoder.push(NOW, &packet).unwrap();
        data.push((frame, packet));
    }
    let mut parity = vec![];
    // What it is filled up with in its tunnel changes nothing.
    encoder.close(|frame, octets| parity.push((frame, [octets, &[0; 11]].concat())));
    (data, parity)
}

fn shape(rng: &mut Rng) -> Shape {
    Shape::new(1 + rng.below(Shape::DATA.into()) as u8, 1 + rng.below(Shape::PARITY.into()) as u8)
}

fn shuffle<T>(rng: &mut Rng, all: &mut [T]) {
    for at in (1..all.len()).rev() {
        all.swap(at, rng.below(at as u64 + 1) as usize);
    }
}

/// What a decoder hands on of one thing that comes.
fn hear(decoder: &mut Decoder, now: Time, (frame, octets): &Sent) -> Vec<Vec<u8>> {
    let mut handed = vec![];
    if decoder.push(now, frame, octets, |packet| handed.push(packet.to_vec())) {
        handed.push(octets.clone());
    }
    handed
}

#[test]
fn the_arithmetic_is_that_of_a_field() {
    for a in 0..=u8::MAX {
        assert_eq!((product(a, 1), product(a, 0)), (a, 0));
        assert_eq!(product(a, inverse(a)), u8::from(a != 0));
    }
    assert_eq!(product(0x80, 2), 0x1d);
    sim::seeds(500, |rng| {
        let [a, b, c, _] = rng.next_u32().to_be_bytes();
        assert_eq!((product(a, b), product(a, b ^ c)), (product(b, a), product(a, b) ^ product(a, c)));
        assert_eq!(product(a, product(b, c)), product(product(a, b), c));
        assert_eq!(product(a, b), by_hand(a, b));
    });
}

/// A product as one multiplies polynomials, and then divides.
fn by_hand(a: u8, b: u8) -> u8 {
    let mut sum = (0..8).filter(|bit| b >> bit & 1 != 0).fold(0u16, |sum, bit| sum ^ u16::from(a) << bit);
    for bit in (8..16).rev() {
        if sum >> bit & 1 != 0 {
            sum ^= 0x11d << (bit - 8);
        }
    }
    sum as u8
}

#[test]
fn adding_many_at_once_is_adding_one_by_one() {
    sim::seeds(300, |rng| {
        let (one, other) = (rng.below(70) as usize, rng.below(70) as usize);
        let (mut to, from, factor) = (octets(rng, one), octets(rng, other), rng.below(256) as u8);
        let mut expected = to.clone();
        expected.iter_mut().zip(&from).for_each(|(to, from)| *to ^= by_hand(*from, factor));
        add(&mut to, &from, factor);
        assert_eq!(to, expected);
    });
}

#[test]
fn every_square_part_of_the_matrix_can_be_undone() {
    sim::seeds(500, |rng| {
        let (mut rows, mut places) = ((0..8).collect::<Vec<u8>>(), (0..32).collect::<Vec<u8>>());
        shuffle(rng, &mut rows);
        shuffle(rng, &mut places);
        let count = 1 + rng.below(8) as usize;
        let undone: Square<8> = undo(&rows[..count], &places[..count]).unwrap();
        for (row, factors) in undone.iter().enumerate().take(count) {
            for (column, place) in places.iter().enumerate().take(count) {
                let both = factors.iter().zip(&rows).take(count);
                let sum = both.fold(0, |sum, (factor, row)| sum ^ product(*factor, coefficient(*row, *place)));
                assert_eq!(sum, u8::from(row == column));
            }
        }
    });
    assert!((0..32).all(|place| coefficient(0, place) == 1), "the first row is the exclusive or");
    assert_eq!(undo::<2>(&[0, 1], &[5]), None);
    assert_eq!(undo::<2>(&[0, 1, 2], &[1, 2, 3]), None);
    assert_eq!(undo::<2>(&[1, 1], &[5, 6]), None, "the same twice says nothing");
}

#[test]
fn one_that_mends_is_the_exclusive_or_of_all() {
    let mut rng = Rng::new(1);
    let mut encoder = Encoder::new(7, Shape::new(4, 1), MTU);
    let (data, parity) = group(&mut rng, &mut encoder, 4);
    let mut sum = vec![0; MTU + PREFIX];
    for (_, packet) in &data {
        let with_length = [&(packet.len() as u16).to_be_bytes()[..], packet].concat();
        sum.iter_mut().zip(&with_length).for_each(|(to, from)| *to ^= from);
    }
    let (frame, mends) = &parity[0];
    assert_eq!((parity.len(), frame.part), (1, Part::Parity { row: 0, shape: Shape::new(4, 1) }));
    assert_eq!(mends[..mends.len() - 11], sum[..mends.len() - 11]);
}

#[test]
fn a_group_is_whole_when_as_much_of_it_comes_as_it_had_packets_whatever_that_is() {
    sim::seeds(300, |rng| {
        let shape = shape(rng);
        let mut encoder = Encoder::new(7, shape, MTU);
        let mut decoder = Decoder::new(shape, MTU, &plenty());
        for _ in 0..20 {
            // Not all of them are full.
            let count = 1 + rng.below(shape.data().into()) as u8;
            let (data, parity) = group(rng, &mut encoder, count);
            let mut all = [data.clone(), parity].concat();
            shuffle(rng, &mut all);
            let mut handed: Vec<_> = vec![];
            for (came, one) in all.iter().enumerate() {
                handed.extend(hear(&mut decoder, NOW, one));
                assert!(
                    came + 1 < usize::from(count) || handed.len() == usize::from(count),
                    "{shape:?} {count} {came}"
                );
            }
            let mut expected: Vec<_> = data.into_iter().map(|(_, packet)| packet).collect();
            expected.sort();
            handed.sort();
            assert_eq!(handed, expected, "each once");
        }
    });
}

#[test]
fn loss_is_mended_as_far_as_there_is_what_mends_and_nothing_comes_twice() {
    sim::seeds(60, |rng| {
        let shape = shape(rng);
        let (mut encoder, mut decoder) = (Encoder::new(7, shape, MTU), Decoder::new(shape, MTU, &plenty()));
        let loss = rng.unit() / 2.0;
        let (mut came, mut lost): (Vec<Vec<u8>>, usize) = Default::default();
        let (mut sent, mut mendable) = (BTreeMap::new(), 0);
        for _ in 0..100 {
            let (data, parity) = group(rng, &mut encoder, shape.data());
            for (_, packet) in &data {
                *sent.entry(packet.clone()).or_insert(0) += 1;
            }
            let mut missing = 0;
            let mut rows = 0;
            for one in &data {
                match rng.chance(loss) {
                    true => missing += 1,
                    false => came.extend(hear(&mut decoder, NOW, one)),
                }
            }
            for one in parity.iter().filter(|_| !rng.chance(loss)) {
                rows += 1;
                came.extend(hear(&mut decoder, NOW, one));
            }
            lost += missing;
            mendable += if missing <= rows { missing } else { 0 };
        }
        assert_eq!(decoder.mended(), mendable as u64);
        assert_eq!(came.len(), 100 * usize::from(shape.data()) - lost + mendable);
        for packet in came {
            let left = sent.get_mut(&packet).expect("what came was sent");
            assert!(*left > 0, "once");
            *left -= 1;
        }
    });
}

#[test]
fn what_was_mended_is_not_handed_on_again_when_it_comes_after_all() {
    let mut rng = Rng::new(1);
    let shape = Shape::new(3, 1);
    let (mut encoder, mut decoder) = (Encoder::new(7, shape, MTU), Decoder::new(shape, MTU, &plenty()));
    let (data, parity) = group(&mut rng, &mut encoder, 3);
    for place in [0, 2] {
        assert_eq!(hear(&mut decoder, NOW, &data[place]), [data[place].1.clone()]);
    }
    assert_eq!(hear(&mut decoder, NOW, &parity[0]), [data[1].1.clone()]);
    assert!(hear(&mut decoder, NOW, &data[1]).is_empty() && hear(&mut decoder, NOW, &parity[0]).is_empty());
}

#[test]
fn what_comes_too_late_is_not_mended_and_not_withheld() {
    let mut rng = Rng::new(1);
    let shape = Shape::new(2, 1);
    let (mut encoder, mut decoder) = (Encoder::new(7, shape, MTU), Decoder::new(shape, MTU, &plenty()));
    let (data, parity) = group(&mut rng, &mut encoder, 2);
    hear(&mut decoder, NOW, &data[0]);
    let later = NOW + std::time::Duration::from_secs(2);
    assert!(hear(&mut decoder, later, &parity[0]).is_empty());
    assert_eq!(hear(&mut decoder, later, &data[1]).len(), 1);
    // Groups that others have taken the place of.
    let (old, mends) = group(&mut rng, &mut encoder, 2);
    hear(&mut decoder, later, &old[0]);
    for _ in 0..64 {
        let (data, _) = group(&mut rng, &mut encoder, 2);
        hear(&mut decoder, later, &data[0]);
    }
    assert!(hear(&mut decoder, later, &mends[0]).is_empty());
    assert_eq!(hear(&mut decoder, later, &old[1]).len(), 1);
}

#[test]
fn a_group_that_does_not_fill_is_closed_after_a_while_as_it_is() {
    let mut rng = Rng::new(1);
    let shape = Shape::new(10, 2);
    let (mut encoder, mut decoder) = (Encoder::new(7, shape, MTU), Decoder::new(shape, MTU, &plenty()));
    assert_eq!(encoder.due(), None);
    encoder.close(|_, _| panic!("there is nothing to mend"));
    let packets = [octets(&mut rng, 20), octets(&mut rng, 300)];
    let later = NOW + PATIENCE / 2;
    encoder.push(NOW, &packets[0]).unwrap();
    let second = encoder.push(later, &packets[1]).unwrap();
    assert_eq!((encoder.due(), encoder.is_full()), (Some(NOW + PATIENCE), false));
    let mut parity = vec![];
    encoder.close(|frame, octets| parity.push((frame, octets.to_vec())));
    assert_eq!((parity.len(), encoder.due()), (2, None));
    hear(&mut decoder, NOW, &(second, packets[1].clone()));
    assert_eq!(hear(&mut decoder, NOW, &parity[1]), [packets[0].clone()]);
}

#[test]
fn what_has_no_place_in_a_group_is_left_to_go_by_itself() {
    let mut encoder = Encoder::new(7, Shape::new(1, 1), MTU);
    assert_eq!(encoder.push(NOW, &[0; MTU + 1]), None, "longer than there is room for");
    assert!(encoder.push(NOW, &[0; MTU]).is_some() && encoder.is_full());
    assert_eq!(encoder.push(NOW, &[0; 1]), None, "it is full");
}

#[test]
fn numbers_of_groups_wrap_around() {
    let mut decoder = Decoder::new(Shape::new(2, 1), MTU, &plenty());
    let shape = Shape::new(2, 1);
    let frame = |number, place| Frame { stream: 7, number, part: Part::Data { place, shape } };
    // The last one has the place of the first.
    for number in [u32::MAX - 1, u32::MAX, 0, 1, 5, 62] {
        assert!(decoder.push(NOW, &frame(number, 0), &[1; 9], |_| ()));
        assert!(!decoder.push(NOW, &frame(number, 0), &[1; 9], |_| ()), "{number} was there");
    }
}

#[test]
fn nothing_that_a_site_could_say_makes_it_fall() {
    sim::seeds(300, |rng| {
        let own = shape(rng);
        let mut decoder = Decoder::new(own, MTU, &plenty());
        for _ in 0..200 {
            let shape = shape(rng);
            let part = match rng.chance(0.5) {
                true => Part::Data { place: rng.below(shape.data().into()) as u8, shape },
                false => Part::Parity { row: rng.below(shape.parity().into()) as u8, shape },
            };
            let number = if rng.chance(0.9) { rng.below(4) as u32 } else { rng.next_u32() };
            let length = rng.below(2 * MTU as u64) as usize;
            let said = octets(rng, length);
            decoder.push(NOW, &Frame { stream: 7, number, part }, &said, |packet| assert!(packet.len() <= MTU));
        }
    });
}

#[test]
fn sums_take_room_for_as_many_groups_as_are_open_at_a_time_and_give_it_back() {
    let mut rng = Rng::new(1);
    let (shape, budget) = (Shape::new(4, 2), plenty());
    let each = (MTU + PREFIX) * 2;
    let (mut encoder, mut decoder) = (Encoder::new(7, shape, MTU), Decoder::new(shape, MTU, &budget));
    assert_eq!(decoder.octets(), 0, "nothing before something comes");
    // Whatever is lost, as long as what mends it comes: one group at a time is open.
    for lost in 0..100 {
        let (data, parity) = group(&mut rng, &mut encoder, 4);
        let came: Vec<_> = data.iter().skip(lost % 3).chain(&parity).collect();
        came.into_iter().for_each(|one| drop(hear(&mut decoder, NOW, one)));
        assert_eq!(decoder.octets(), each);
    }
    // Groups that nothing mends stay open for a while, and then others have their room.
    let mut open = |decoder: &mut Decoder, now| {
        let (data, _) = group(&mut rng, &mut encoder, 4);
        hear(decoder, now, &data[0]);
        decoder.octets()
    };
    assert_eq!([open(&mut decoder, NOW), open(&mut decoder, NOW), open(&mut decoder, NOW)], [each, 2 * each, 3 * each]);
    let later = NOW + std::time::Duration::from_secs(2);
    assert_eq!([open(&mut decoder, later), open(&mut decoder, later)], [3 * each; 2]);
    drop(decoder);
    assert_eq!(budget.left(), plenty().left());
}

#[test]
fn without_room_for_sums_packets_are_handed_on_and_nothing_is_mended() {
    let mut rng = Rng::new(1);
    let shape = Shape::new(3, 1);
    let budget = Arc::new(Budget::new(MTU + PREFIX));
    let mut encoder = Encoder::new(7, shape, MTU);
    let [mut first, mut second] = [(); 2].map(|()| Decoder::new(shape, MTU, &budget));
    let (data, parity) = group(&mut rng, &mut encoder, 3);
    assert_eq!(hear(&mut first, NOW, &data[0]).len(), 1);
    for decoder in [&mut second, &mut first] {
        let came: Vec<_> = [&data[1], &parity[0]].into_iter().flat_map(|one| hear(decoder, NOW, one)).collect();
        assert!(came.contains(&data[1].1));
    }
    assert_eq!((first.mended(), second.mended()), (1, 0), "the other has what there was");
    assert!(hear(&mut second, NOW, &data[1]).is_empty(), "what came twice is known all the same");
}
