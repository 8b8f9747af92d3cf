//! Tokens that were verified a moment ago: who sends one again pays for a hash in place of a signature.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::token::Claims;

/// Tokens that are remembered.
const MOST: usize = 16_384;
/// Bytes that they have had together. What is kept of a token takes some times its length.
const MOST_BYTES: usize = 16 << 20;

/// A token in a form that does not give it away.
pub(super) type Digest = [u8; 32];

/// What was verified.
#[derive(Debug)]
pub(super) struct Known {
    /// What nobody has who looks at our memory later, and nobody else makes digests with.
    key: [u8; 32],
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    entries: HashMap<Digest, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    claims: Arc<Claims>,
    /// Which keys have verified it.
    generation: u64,
    until: u64,
    bytes: usize,
}

impl Known {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, held: Mutex::default() })
    }

    pub(super) fn digest(&self, token: &str) -> Digest {
        Sha256::new().chain_update(self.key).chain_update(token).finalize().into()
    }

    /// What a token claims that was verified with these keys, and is still good at `now`.
    pub(super) fn recall(&self, digest: &Digest, generation: u64, now: u64) -> Option<Arc<Claims>> {
        let held = self.held.lock();
        let entry = held.entries.get(digest)?;
        (entry.generation == generation && now < entry.until).then(|| Arc::clone(&entry.claims))
    }

    /// Remembers a token of so many bytes.
    pub(super) fn remember(
        &self,
        digest: Digest,
        bytes: usize,
        claims: &Arc<Claims>,
        (generation, now, until): (u64, u64, u64),
    ) {
        let mut held = self.held.lock();
        let is_full = |held: &Held| held.entries.len() >= MOST || held.bytes + bytes > MOST_BYTES;
        if is_full(&held) {
            held.entries.retain(|_, entry| entry.generation == generation && now < entry.until);
            held.bytes = held.entries.values().map(|entry| entry.bytes).sum();
        }
        // Where all are in use, they are verified again: dear, but no more than that.
        if is_full(&held) {
            *held = Held::default();
        }
        let before = held.entries.insert(digest, Entry { claims: Arc::clone(claims), generation, until, bytes });
        held.bytes = held.bytes + bytes - before.map_or(0, |entry| entry.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_its_time_is_over_or_the_keys_are_others() {
        let known = Known::new().unwrap();
        let (digest, claims) = (known.digest("a.b.c"), Arc::new(Claims::new()));
        known.remember(digest, 5, &claims, (1, 100, 110));
        assert!(known.recall(&digest, 1, 109).is_some() && known.recall(&digest, 1, 110).is_none());
        assert!(known.recall(&digest, 2, 100).is_none() && known.recall(&known.digest("a.b.d"), 1, 100).is_none());
        assert_ne!(Known::new().unwrap().digest("a.b.c"), digest, "digests mean nothing elsewhere");
    }

    #[test]
    fn there_is_a_bound_to_what_is_known_in_tokens_and_in_bytes() {
        let (known, claims) = (Known::new().unwrap(), Arc::new(Claims::new()));
        let digest = |number: usize| known.digest(&number.to_string());
        for number in 0..2 * MOST {
            known.remember(digest(number), 1, &claims, (1, 0, if number % 2 == 0 { 1 } else { 9 }));
        }
        let held = known.held.lock();
        assert!(held.entries.len() <= MOST && held.bytes == held.entries.len());
        drop(held);
        known.remember(digest(3 * MOST), 1, &claims, (1, 5, 9));
        assert!(known.recall(&digest(3 * MOST), 1, 5).is_some(), "what comes last is known");
        known.remember(digest(0), MOST_BYTES, &claims, (1, 5, 9));
        let held = known.held.lock();
        assert_eq!((held.entries.len(), held.bytes), (1, MOST_BYTES));
    }
}
