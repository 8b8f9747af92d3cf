//! Request ids: 128 random bits as 32 hexadecimal digits, the form of a trace id (W3C Trace Context section 3.2.2.3).

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;
use http::HeaderValue;

/// Bits of an id, in bytes.
const ID: usize = 16;
/// Ids of one call to the kernel.
const DRAWN: usize = 64;
/// The longest id that is taken over from a client.
const LONGEST: usize = 128;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; ID * DRAWN], left: 0 }) };
}

/// Random bytes that are not used yet.
struct Pool {
    bytes: [u8; ID * DRAWN],
    left: usize,
}

impl Pool {
    fn draw(&mut self) -> [u8; ID] {
        if self.left == 0 {
            self.fill();
        }
        self.left -= 1;
        let from = self.left * ID;
        self.bytes.get(from..from + ID).and_then(|id| id.try_into().ok()).unwrap_or_default()
    }

    fn fill(&mut self) {
        if getrandom::fill(&mut self.bytes).is_err() {
            // The kernel has none to give; the seeds that every process starts with have to do.
            for chunk in self.bytes.chunks_mut(8) {
                let random = RandomState::new().build_hasher().finish().to_le_bytes();
                chunk.iter_mut().zip(random).for_each(|(to, from)| *to = from);
            }
        }
        self.left = DRAWN;
    }
}

/// A new id.
pub(crate) fn fresh() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let id = POOL.with_borrow_mut(Pool::draw);
    let mut text = [0u8; 2 * ID];
    for (pair, byte) in text.chunks_mut(2).zip(id) {
        if let [high, low] = pair {
            *high = DIGITS[usize::from(byte >> 4)];
            *low = DIGITS[usize::from(byte & 15)];
        }
    }
    // Hexadecimal digits are a field value.
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text)).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Whether what a client calls its request may stand in answers and logs.
pub(crate) fn is_sound(id: &HeaderValue) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(fits)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_128_bits_in_hexadecimal_and_do_not_repeat() {
        let ids: HashSet<String> = (0..1000).map(|_| fresh().to_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }

    #[test]
    fn an_id_of_a_client_is_short_and_plain() {
        let sound = |id: &str| is_sound(&HeaderValue::from_str(id).unwrap());
        assert!(sound("6b1f-22_a.b:c") && sound(&"a".repeat(128)));
        assert!(!sound("") && !sound("a b") && !sound("a\"b") && !sound(&"a".repeat(129)));
    }
}
