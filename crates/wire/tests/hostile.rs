//! Bytes that mean harm, at the beginning of connections and datagrams that are passed on: the fuzz corpora and their mutations. `fuzz/` holds the same targets for
//! libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../../fuzz/src/first.rs"]
#[allow(unreachable_pub)]
mod first;
#[path = "../../../fuzz/src/proxy.rs"]
#[allow(unreachable_pub)]
mod proxy;

use proptest::prelude::*;
use proptest::sample::Index;

/// A corpus, and what its bytes are read as.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] =
    [("proxy_protocol", proxy::header), ("client_hello", first::hello), ("quic_header", first::quic)];

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 15, "a corpus that is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn what_was_found_to_be_hard_is_read_as_it_should_be() {
    for (name, read) in TARGETS {
        corpus(name).iter().for_each(|bytes| read(bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]
    #[test]
    fn beginnings_with_other_bytes_in_them_are_read_in_one_way_or_refused(
        target in 0..TARGETS.len(),
        of in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), 0u8..4, any::<u8>()), 1..5),
    ) {
        let (name, read) = TARGETS[target];
        let corpus = corpus(name);
        let mut bytes = of.get(&corpus).clone();
        for (at, how, octet) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, octet),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = octet,
                _ => bytes.push(octet),
            }
        }
        read(&bytes);
    }
}
