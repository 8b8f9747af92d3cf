//! Bytes that mean harm: the fuzz corpus, its mutations, and a flood. `fuzz/` holds the same targets for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

mod counting;
#[path = "../../../fuzz/src/dhcp.rs"]
#[allow(unreachable_pub)]
mod dhcp;
mod packets;

use dhcp::Fate;
use outwork_engine::{Rng, sim};
use packets::{corpus, hostile, mutate};
use std::collections::BTreeMap;

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

#[test]
fn a_hundred_thousand_hostile_packets_are_each_counted_and_leave_nothing_behind() {
    const PACKETS: u64 = 100_000;
    let corpus = corpus("dhcp_codec");
    let mut server = dhcp::Server::new();
    let mut rng = Rng::new(1);
    let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
    let mut held = Vec::new();
    for sent in 0..PACKETS {
        let bytes = hostile(&mut rng, &corpus);
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
