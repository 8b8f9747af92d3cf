//! What the fuzz targets do with the first octets of clients whose connections and datagrams are passed on unread, and what must hold whatever they are. Public API
//! only: the test `crates/wire/tests/hostile.rs` includes this file and replays the corpora through it.
#![allow(clippy::indexing_slicing)]

use outwork_wire::hello::{ClientHello, HelloError};
use outwork_wire::quic::{Header, LONGEST_ID};

/// Reads the name that a client of TLS asks for, whole and cut: what was clear stays so, and the name is one that a host may have.
pub fn hello(bytes: &[u8]) {
    let told = ClientHello::read(bytes);
    for cut in [1, 5, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = ClientHello::read(&bytes[..cut.min(bytes.len())]);
        // Who waits no longer does not know what would have come.
        let waits = matches!(part, Ok(None) | Err(HelloError::TooLong));
        assert!(waits || part == told, "what comes later changes nothing of what was clear");
    }
    if let Ok(Some(ClientHello { server_name: Some(name) })) = told {
        assert!((1..=253).contains(&name.len()) && !name.bytes().any(|octet| octet.is_ascii_uppercase()));
        assert!(name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/'));
    }
}

/// Reads the header of a datagram: ids are parts of it, and no longer than any that is looked at.
pub fn quic(bytes: &[u8]) {
    match Header::read(bytes) {
        Some(Header::Long { version, destination, source }) => {
            assert!(destination.len() <= LONGEST_ID && source.len() <= LONGEST_ID);
            let again = [
                &bytes[..1],
                &version.to_be_bytes(),
                &[destination.len() as u8],
                destination,
                &[source.len() as u8],
                source,
            ]
            .concat();
            assert!(bytes.starts_with(&again), "what is read is what stands there");
        }
        Some(Header::Short { rest }) => assert_eq!(rest, &bytes[1..]),
        None => {}
    }
}
