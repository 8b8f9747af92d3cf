//! Bytes that mean harm, in front of connections that a proxy passes on: the fuzz corpus and its mutations. `fuzz/` holds the same target for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../../fuzz/src/proxy.rs"]
#[allow(unreachable_pub)]
mod proxy;

use proptest::prelude::*;
use proptest::sample::Index;

fn corpus() -> Vec<Vec<u8>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/proxy_protocol");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 15, "a corpus that is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn what_was_found_to_be_hard_is_read_as_it_should_be() {
    corpus().iter().for_each(|bytes| proxy::header(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn headers_with_other_bytes_in_them_are_read_in_one_way_or_refused(
        of in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), 0u8..4, any::<u8>()), 1..5),
    ) {
        let corpus = corpus();
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
        proxy::header(&bytes);
    }
}
