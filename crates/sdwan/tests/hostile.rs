//! Octets that mean harm, of a device, of a tunnel, and of other sites: the fuzz corpora and their mutations. `fuzz/` holds the same targets for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../../fuzz/src/sdwan.rs"]
#[allow(unreachable_pub)]
mod sdwan;

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
    for _ in 0..rng.below(5) {
        // Headers say more than what is behind them.
        let before = if rng.chance(0.6) { bytes.len().min(80) } else { bytes.len() };
        let at = rng.below(before as u64 + 1) as usize;
        let until = (at + rng.below(40) as usize).min(bytes.len());
        match rng.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u32() as u8),
            2 => drop(bytes.drain(at..until)),
            3 => drop(bytes.splice(at..at, bytes[at..until].to_vec())),
            4 => bytes.extend(pick(rng)),
            5 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ if at < bytes.len() => bytes[at] = rng.next_u32() as u8,
            _ => {}
        }
    }
    bytes
}

/// Replays a corpus, and so many mutations of it for each of 20 seeds.
fn replay(name: &str, mutations: usize, read: fn(&[u8])) {
    let corpus = corpus(name);
    corpus.iter().for_each(|bytes| read(bytes));
    sim::seeds(20, |rng| (0..mutations).for_each(|_| read(&mutate(rng, &corpus))));
}

#[test]
fn whatever_a_device_hands_over_is_refused_or_cut_without_loss() {
    replay("sdwan_device", 500, sdwan::device);
}

#[test]
fn whatever_comes_in_a_run_is_joined_to_what_can_be_cut_into_it_again() {
    replay("sdwan_run", 100, sdwan::run);
}

#[test]
fn whatever_another_site_says_is_one_thing_or_nothing() {
    replay("sdwan_inside", 2000, sdwan::inside);
}

#[test]
fn however_flows_begin_each_is_of_one_application_or_none() {
    replay("sdwan_names", 200, sdwan::names);
}

#[test]
fn whatever_is_lost_of_groups_what_is_mended_was_sent_and_comes_once() {
    replay("sdwan_groups", 100, sdwan::groups);
}

/// The record with a ClientHello that asks for a name, with so much of another extension before it.
fn hello(name: &str, padding: usize) -> Vec<u8> {
    let long = |octets: &[u8]| [&(octets.len() as u16).to_be_bytes()[..], octets].concat();
    let entry = [&[0][..], &long(name.as_bytes())].concat();
    let extensions = [&[0, 21][..], &long(&vec![0; padding]), &[0, 0], &long(&long(&entry))].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &long(&[0x13, 1]), &[1, 0], &long(&extensions)].concat();
    let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
    let message = [&[1, high, middle, low][..], &body].concat();
    [&[22, 3, 1][..], &long(&message)].concat()
}

#[test]
fn a_name_is_found_wherever_its_hello_is_cut_and_whatever_of_it_comes_again() {
    sim::seeds(200, |rng| {
        let application = rng.below(2) as usize;
        let octets = hello(&format!("a.{}", sdwan::NAMES[application]), rng.below(1500) as usize);
        let first = rng.next_u32();
        let mut known = sdwan::Known::new();
        assert_eq!(known.pass(5000, 0x02, first.wrapping_sub(1), b""), None);
        let (mut at, mut found) = (0, None);
        while at < octets.len() {
            assert_eq!(found, None, "before all of it has come");
            // Some of what has come already comes again, but the first segment is what it is.
            let from = at - rng.below(at as u64 + 1) as usize * usize::from(rng.chance(0.3));
            let until = (at + 1 + rng.below(1200) as usize).min(octets.len());
            found = known.pass(5000, 0x10, first.wrapping_add(from as u32), &octets[from..until]);
            at = until;
        }
        assert_eq!(found, Some(application));
        assert_eq!(known.pass(5000, 0x18, first.wrapping_add(at as u32), b"more"), Some(application));
    });
}
