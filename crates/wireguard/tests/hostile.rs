//! Datagrams that mean harm: the fuzz corpora and their mutations. `fuzz/` holds the same targets for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../../fuzz/src/wireguard.rs"]
#[allow(unreachable_pub)]
mod wireguard;

use outwork_engine::{Rng, sim};

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "a corpus that is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One of the corpus with a few bytes changed, cut off, doubled, put in, or another one behind it.
fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| corpus[rng.below(corpus.len() as u64) as usize].clone();
    let mut bytes = pick(rng);
    for _ in 0..rng.below(6) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let until = (at + rng.below(16) as usize).min(bytes.len());
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u32() as u8),
            2 => drop(bytes.drain(at..until)),
            3 => drop(bytes.splice(at..at, bytes[at..until].to_vec())),
            4 => bytes.extend(pick(rng)),
            _ if at < bytes.len() => bytes[at] = rng.next_u32() as u8,
            _ => {}
        }
    }
    bytes
}

#[test]
fn a_datagram_is_read_as_what_it_says_or_refused() {
    let corpus = corpus("wireguard_message");
    corpus.iter().for_each(|bytes| wireguard::message(bytes));
    sim::seeds(20, |rng| (0..2000).for_each(|_| wireguard::message(&mutate(rng, &corpus))));
}

#[test]
fn whoever_is_between_two_that_speak_changes_nothing_of_what_they_say_and_cannot_part_them_for_good() {
    let corpus = corpus("wireguard_day");
    corpus.iter().for_each(|bytes| wireguard::day(bytes));
    sim::seeds(400, |rng| wireguard::day(&mutate(rng, &corpus)));
}

#[test]
fn a_flood_of_forged_handshakes_is_answered_by_cookies_alone_and_leaves_nothing_behind() {
    sim::seeds(3, |rng| {
        let mut day = wireguard::Day::new();
        for _ in 0..3000 {
            let (kind, length) = [(1, 148), (2, 92)][rng.below(2) as usize];
            let mut datagram = vec![0; length];
            rng.fill(&mut datagram);
            datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
            match rng.chance(0.5) {
                true => day.forged(0, &mut datagram),
                false => day.strange(0, &datagram),
            }
        }
        // About 1,500 were written with the right key, and the gate is meant for 500 a second.
        assert!((800..1200).contains(&day.under_way()), "{} cookies", day.under_way());
        day.goes_on();
    });
}
