//! Bytes that mean harm: the fuzz corpus, its mutations, and a flood. `fuzz/` holds the same targets for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

mod counting;
#[path = "../../../fuzz/src/dhcp.rs"]
#[allow(unreachable_pub)]
mod dhcp;

use dhcp::Fate;
use outwork_engine::{Rng, sim};
use std::collections::BTreeMap;
use std::path::Path;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "a corpus that is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Flips, overwrites, cuts, doubles and splices, as fuzzers do.
fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| corpus[rng.below(corpus.len() as u64) as usize].clone();
    let mut bytes = pick(rng);
    for _ in 0..rng.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.below(bytes.len() as u64) as usize;
        let end = (at + rng.below(24) as usize).min(bytes.len());
        match rng.below(8) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next_u32() as u8,
            2 => bytes[at] = [0, 1, 4, 16, 17, 255][rng.below(6) as usize],
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => rng.fill(&mut bytes[at..end]),
            _ => {
                let other = pick(rng);
                let from = at.min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn no_datagram_breaks_the_codec() {
    let corpus = corpus("dhcp_codec");
    corpus.iter().for_each(|bytes| dhcp::codec(bytes));
    sim::seeds(30, |rng| {
        for _ in 0..2000 {
            dhcp::codec(&mutate(rng, &corpus));
        }
    });
}

#[test]
fn no_day_breaks_the_engine() {
    let corpus = corpus("dhcp_engine");
    corpus.iter().for_each(|bytes| dhcp::engine(bytes));
    sim::seeds(1500, |rng| dhcp::engine(&mutate(rng, &corpus)));
}

/// A client's request, well formed but for what `mutate` does to it later.
fn made_up(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[28..34].copy_from_slice(&rng.next_u64().to_be_bytes()[..6]);
    bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend([53, 1, [1, 1, 1, 3, 3, 4, 7, 8, 10, 2][rng.below(10) as usize]]);
    if rng.chance(0.5) {
        bytes.extend([50, 4, 192, 0, 2, rng.next_u32() as u8]);
    }
    if rng.chance(0.3) {
        bytes.extend([54, 4, 192, 0, 2, 1]);
    }
    if rng.chance(0.2) {
        bytes[12..16].copy_from_slice(&[192, 0, 2, rng.next_u32() as u8]);
    }
    if rng.chance(0.1) {
        bytes[24..28].copy_from_slice(&[10, 0, 0, 9]);
    }
    bytes.push(255);
    bytes
}

#[test]
fn a_hundred_thousand_hostile_packets_are_each_counted_and_leave_nothing_behind() {
    const PACKETS: u64 = 100_000;
    let corpus = corpus("dhcp_codec");
    let mut server = dhcp::Server::new();
    let mut rng = Rng::new(1);
    let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
    let mut held = Vec::new();
    for sent in 0..PACKETS {
        let bytes = match rng.below(4) {
            0 => {
                let mut noise = vec![0; rng.below(700) as usize];
                rng.fill(&mut noise);
                noise
            }
            1 => made_up(&mut rng),
            _ => mutate(&mut rng, &corpus),
        };
        let link = rng.chance(0.7);
        *fates.entry(server.receive(&bytes, link)).or_default() += 1;
        // What is on disk is the disk's to hold.
        server.disk = Vec::new();
        if sent.is_multiple_of(1000) {
            server.pass(61);
            held.push(counting::held());
        }
    }
    assert_eq!(fates.values().sum::<u64>(), PACKETS);
    for malformed in outwork_dhcp::codec::Malformed::ALL {
        assert!(fates.contains_key(&Fate::Malformed(malformed.name())), "{malformed:?} was never met: {fates:?}");
    }
    for silence in
        ["offer_share", "other_server", "not_owner", "no_client", "bad_address", "unknown_client", "no_subnet"]
    {
        assert!(fates.contains_key(&Fate::Silent(silence)), "{silence} was never met: {fates:?}");
    }
    for kind in ["offer", "ack", "nak"] {
        assert!(fates.contains_key(&Fate::Answered(kind)), "no {kind}: {fates:?}");
    }
    assert!(server.engine.leases().len() <= 140, "no more than there are addresses");
    let (early, late) = (held[held.len() / 4], held[held.len() - 1]);
    assert!(late - early < 256 * 1024, "held {early} bytes early and {late} late");
}
