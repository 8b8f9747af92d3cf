//! Where secrets come from.
//!
//! [`outwork_engine::Rng`] is for jitter and simulations; a key from it could be computed by who saw a few of its numbers. So secrets have a source of
//! their own: the operating system's in production, and a seeded one only in this crate's tests.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// A source that nobody can predict.
pub trait Entropy {
    /// Fills `buffer`; false when there is none to be had, and then nothing secret may be made.
    #[must_use]
    fn fill(&mut self, buffer: &mut [u8]) -> bool;
}

/// What the operating system and aws-lc have: for shells.
#[derive(Debug, Default)]
pub struct System(SystemRandom);

impl Entropy for System {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        self.0.fill(buffer).is_ok()
    }
}

/// Predictable, so only for tests.
#[cfg(test)]
impl Entropy for outwork_engine::Rng {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        outwork_engine::Rng::fill(self, buffer);
        true
    }
}

/// So many secret octets.
pub(crate) fn secret<const N: usize>(entropy: &mut dyn Entropy) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes).then_some(bytes)
}
