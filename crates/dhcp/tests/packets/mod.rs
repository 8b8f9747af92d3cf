//! Packets that mean harm: the fuzz corpus, its mutations, requests made up, and noise.

use outwork_engine::Rng;
use std::path::Path;

/// What a target's corpus holds.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "a corpus that is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Flips, overwrites, cuts, doubles and splices, as fuzzers do.
pub(crate) fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
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

/// Any of them.
pub(crate) fn hostile(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    match rng.below(4) {
        0 => {
            let mut noise = vec![0; rng.below(700) as usize];
            rng.fill(&mut noise);
            noise
        }
        1 => made_up(rng),
        _ => mutate(rng, corpus),
    }
}
