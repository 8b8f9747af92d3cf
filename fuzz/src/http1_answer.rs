//! What the fuzz target does with bytes from a backend whose connection many clients share, and what must hold whatever they are. Public API only: the test
//! `crates/proxy/tests/hostile.rs` includes this file and replays the corpus through it.

use outwork_proxy::{Told, dissect};

/// Requests that wait for what the bytes say.
const ASKED: usize = 3;

/// What a client is told does not depend on how the network has cut the bytes up, and is not another's.
pub fn answers(bytes: &[u8]) {
    let whole = dissect(bytes, ASKED, bytes.len());
    assert_eq!(whole.len(), ASKED, "everybody is told something");
    let wrong = whole.iter().position(Told::is_err).unwrap_or(ASKED);
    assert!(whole.iter().skip(wrong).all(Told::is_err), "nobody is answered behind who was not: {whole:?}");
    for most in [1, 2, 7, 31] {
        assert_eq!(dissect(bytes, ASKED, most), whole, "{most} at a time: {:?}", String::from_utf8_lossy(bytes));
    }
}
