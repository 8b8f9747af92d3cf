//! What the fuzz target does with bytes that may begin with a PROXY header, and what must hold whatever they are. Public API only: the test
//! `crates/wire/tests/hostile.rs` includes this file and replays the corpus through it.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use outwork_wire::proxy::{Ends, Extras, Header, LONGEST, Transport, write_v1, write_v2};

/// Reads a header, whole and cut, and writes what is in it again: it says the same.
pub fn header(bytes: &[u8]) {
    let told = Header::read(bytes);
    for cut in [1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = Header::read(&bytes[..cut.min(bytes.len())]);
        assert!(part == Ok(None) || part == told, "what comes later changes nothing of what was clear");
    }
    let Ok(Some((header, length))) = told else { return };
    assert!((8..=LONGEST).contains(&length) && length <= bytes.len());
    if let Ends::Internet { source, destination, .. } = header.ends {
        assert_eq!(source.is_ipv4(), destination.is_ipv4());
    }
    let mut again = Vec::new();
    write_v2(&header.ends, &header.extras, &mut again).expect("what was read can be written");
    let nameless = matches!(header.ends, Ends::Own | Ends::Unknown);
    let extras = if nameless { Extras::default() } else { header.extras };
    assert_eq!(Header::read(&again), Ok(Some((Header { extras, ..header }, again.len()))));
    let mut line = Vec::new();
    write_v1(&header.ends, &mut line);
    let ends = match header.ends {
        ends @ Ends::Internet { transport: Transport::Stream, .. } => ends,
        _ => Ends::Unknown,
    };
    assert_eq!(Header::read(&line), Ok(Some((Header { ends, extras: Extras::default() }, line.len()))));
}
