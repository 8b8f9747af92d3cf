//! The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (5.4), behind a trait, by the library `snow`.
//!
//! The machine knows [`Noise`] alone; mac1, mac2 and cookies are outside of it (see [`crate::mac`]), and so is what a replay is.

use std::fmt;

use snow::{Builder, HandshakeState};
use zeroize::{Zeroize, Zeroizing};

use crate::entropy::secret;
use crate::message::{INITIATION_NOISE, RESPONSE_NOISE};
use crate::primitives::Primitives;
use crate::stamp::{self, Tai64N};
use crate::{Entropy, PresharedKey, PrivateKey, PublicKey};

/// The protocol (5.4).
const CONSTRUCTION: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// The prologue (5.4).
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
/// Where the preshared key is mixed in: psk2, in the response.
const PSK: u8 = 2;

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoiseError {
    /// It was not written for us, or not by whom it should.
    #[error("it does not open: not made for our key, by another key, or altered")]
    Forged,
    /// No key can be made.
    #[error("the operating system gave no randomness for a key")]
    NoEntropy,
    /// A key cannot be used.
    #[error("the public key of the peer gives no shared secret")]
    BadKey,
}

/// What both ends have when a handshake is done (5.4.5), from the point of view of one.
pub struct Keys {
    /// To seal with.
    pub seal: Zeroizing<[u8; 32]>,
    /// To open with.
    pub open: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// The handshake of WireGuard.
pub trait Noise: Send + Sync {
    /// Begins one with `remote`: what to send, and what waits for the answer.
    ///
    /// # Errors
    /// When no key can be made, or theirs cannot be used.
    fn begin(
        &self,
        local: &PrivateKey,
        remote: &PublicKey,
        psk: &PresharedKey,
        stamp: Tai64N,
        entropy: &mut dyn Entropy,
    ) -> Result<([u8; INITIATION_NOISE], Box<dyn Begun>), NoiseError>;

    /// Reads the initiation of somebody, whom only this tells.
    ///
    /// # Errors
    /// When it is not for us.
    fn hear(
        &self,
        local: &PrivateKey,
        initiation: &[u8; INITIATION_NOISE],
        entropy: &mut dyn Entropy,
    ) -> Result<Heard, NoiseError>;
}

/// A handshake that waits for its response.
pub trait Begun: Send + Sync {
    /// Reads the response. One that does not open leaves everything as it is: anybody can write one.
    ///
    /// # Errors
    /// When it was not written by whom the initiation was for.
    fn finish(&mut self, response: &[u8; RESPONSE_NOISE]) -> Result<Keys, NoiseError>;
}

/// A handshake that can be answered.
pub trait Answer: Send + Sync {
    /// The response, and the keys.
    ///
    /// # Errors
    /// When theirs cannot be used.
    fn answer(&mut self, psk: &PresharedKey) -> Result<([u8; RESPONSE_NOISE], Keys), NoiseError>;
}

/// An initiation that was read.
pub struct Heard {
    /// Which of our keys it was written to.
    pub local: PublicKey,
    /// Who wrote it; shown by having the key.
    pub remote: PublicKey,
    /// When, by their clock: what was replayed has not grown.
    pub stamp: Tai64N,
    /// What answers it.
    pub answer: Box<dyn Answer>,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard").field("remote", &self.remote).field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

/// [`Noise`] by the library `snow`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snow;

/// The same between those who have agreed on something more than their keys, and say it in the prologue: their handshakes are nobody else's, and nobody else's are
/// theirs, so that one that is sent on to where the other kind is heard opens nothing there. No WireGuard.
#[derive(Debug, Clone, Copy)]
pub struct Bound(&'static [u8]);

impl Bound {
    /// With this prologue, which is not WireGuard's: that is [`Snow`]'s.
    pub const fn to(prologue: &'static [u8]) -> Bound {
        Bound(prologue)
    }
}

/// A handshake of snow, at either end.
struct State(HandshakeState);

fn builder<'a>(
    local: &'a PrivateKey,
    prologue: &'a [u8],
    entropy: &mut dyn Entropy,
) -> Result<Builder<'a>, NoiseError> {
    let ephemeral = Zeroizing::new(secret(entropy).ok_or(NoiseError::NoEntropy)?);
    let params = CONSTRUCTION.parse().map_err(|_| NoiseError::BadKey)?;
    Builder::with_resolver(params, Box::new(Primitives { ephemeral }))
        .prologue(prologue)
        .and_then(|builder| builder.local_private_key(local.bytes()))
        .map_err(|_| NoiseError::BadKey)
}

impl Noise for Snow {
    fn begin(
        &self,
        local: &PrivateKey,
        remote: &PublicKey,
        psk: &PresharedKey,
        stamp: Tai64N,
        entropy: &mut dyn Entropy,
    ) -> Result<([u8; INITIATION_NOISE], Box<dyn Begun>), NoiseError> {
        Bound(IDENTIFIER).begin(local, remote, psk, stamp, entropy)
    }

    fn hear(
        &self,
        local: &PrivateKey,
        initiation: &[u8; INITIATION_NOISE],
        entropy: &mut dyn Entropy,
    ) -> Result<Heard, NoiseError> {
        Bound(IDENTIFIER).hear(local, initiation, entropy)
    }
}

impl Noise for Bound {
    fn begin(
        &self,
        local: &PrivateKey,
        remote: &PublicKey,
        psk: &PresharedKey,
        stamp: Tai64N,
        entropy: &mut dyn Entropy,
    ) -> Result<([u8; INITIATION_NOISE], Box<dyn Begun>), NoiseError> {
        let mut state = builder(local, self.0, entropy)?
            .remote_public_key(&remote.0)
            .and_then(|builder| builder.psk(PSK, psk.bytes()))
            .and_then(Builder::build_initiator)
            .map_err(|_| NoiseError::BadKey)?;
        let mut out = [0; INITIATION_NOISE];
        match state.write_message(&stamp.0, &mut out) {
            Ok(INITIATION_NOISE) => Ok((out, Box::new(State(state)))),
            _ => Err(NoiseError::BadKey),
        }
    }

    fn hear(
        &self,
        local: &PrivateKey,
        initiation: &[u8; INITIATION_NOISE],
        entropy: &mut dyn Entropy,
    ) -> Result<Heard, NoiseError> {
        let mut state = builder(local, self.0, entropy)?.build_responder().map_err(|_| NoiseError::BadKey)?;
        let mut stamp = [0; stamp::LENGTH];
        if state.read_message(initiation, &mut stamp) != Ok(stamp::LENGTH) {
            return Err(NoiseError::Forged);
        }
        let remote = state.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(NoiseError::Forged)?;
        let (local, remote) = (*local.public(), PublicKey(remote));
        Ok(Heard { local, remote, stamp: Tai64N(stamp), answer: Box::new(State(state)) })
    }
}

impl State {
    /// The keys: (from initiator to responder, the other way).
    fn split(&mut self) -> [Zeroizing<[u8; 32]>; 2] {
        let (mut one, mut other) = self.0.dangerously_get_raw_split();
        let keys = [Zeroizing::new(one), Zeroizing::new(other)];
        one.zeroize();
        other.zeroize();
        keys
    }
}

impl Begun for State {
    fn finish(&mut self, response: &[u8; RESPONSE_NOISE]) -> Result<Keys, NoiseError> {
        self.0.read_message(response, &mut []).map_err(|_| NoiseError::Forged)?;
        let [seal, open] = self.split();
        Ok(Keys { seal, open })
    }
}

impl Answer for State {
    fn answer(&mut self, psk: &PresharedKey) -> Result<([u8; RESPONSE_NOISE], Keys), NoiseError> {
        self.0.set_psk(usize::from(PSK), psk.bytes()).map_err(|_| NoiseError::BadKey)?;
        let mut out = [0; RESPONSE_NOISE];
        if self.0.write_message(&[], &mut out) != Ok(RESPONSE_NOISE) {
            return Err(NoiseError::BadKey);
        }
        let [open, seal] = self.split();
        Ok((out, Keys { seal, open }))
    }
}

#[cfg(test)]
mod tests {
    use outwork_engine::Rng;

    use super::*;

    fn pair() -> (PrivateKey, PrivateKey, Rng) {
        let mut rng = Rng::new(1);
        (PrivateKey::generate(&mut rng).unwrap(), PrivateKey::generate(&mut rng).unwrap(), rng)
    }

    const STAMP: Tai64N = Tai64N([7; stamp::LENGTH]);

    #[test]
    fn both_ends_come_to_the_same_keys_and_know_each_other() {
        let (alice, bob, mut rng) = pair();
        let psk = PresharedKey::new([9; 32]);
        let (initiation, mut begun) = Snow.begin(&alice, bob.public(), &psk, STAMP, &mut rng).unwrap();
        let mut heard = Snow.hear(&bob, &initiation, &mut rng).unwrap();
        assert_eq!((&heard.remote, heard.stamp), (alice.public(), STAMP));
        let (response, bobs) = heard.answer.answer(&psk).unwrap();
        let alices = begun.finish(&response).unwrap();
        assert_eq!((*alices.seal, *alices.open), (*bobs.open, *bobs.seal));
        assert_ne!(*alices.seal, *alices.open);
        assert_eq!(format!("{alices:?}"), "Keys(..)");
    }

    #[test]
    fn a_response_that_does_not_open_leaves_the_handshake_as_it_was() {
        let (alice, bob, mut rng) = pair();
        let psk = PresharedKey::default();
        let (initiation, mut begun) = Snow.begin(&alice, bob.public(), &psk, STAMP, &mut rng).unwrap();
        let (response, bobs) = Snow.hear(&bob, &initiation, &mut rng).unwrap().answer.answer(&psk).unwrap();
        for at in 0..RESPONSE_NOISE {
            let mut forged = response;
            forged[at] ^= 1;
            assert_eq!(begun.finish(&forged).err(), Some(NoiseError::Forged), "octet {at}");
        }
        assert_eq!(begun.finish(&[0; RESPONSE_NOISE]).err(), Some(NoiseError::Forged), "a point of small order");
        assert_eq!(*begun.finish(&response).unwrap().seal, *bobs.open);
    }

    #[test]
    fn an_initiation_that_was_altered_is_not_heard() {
        let (alice, bob, mut rng) = pair();
        let (initiation, _) = Snow.begin(&alice, bob.public(), &PresharedKey::default(), STAMP, &mut rng).unwrap();
        for at in 0..INITIATION_NOISE {
            let mut forged = initiation;
            forged[at] ^= 0x40;
            assert_eq!(Snow.hear(&bob, &forged, &mut rng).err(), Some(NoiseError::Forged), "octet {at}");
        }
        assert!(Snow.hear(&alice, &initiation, &mut rng).is_err(), "it is for bob");
    }

    #[test]
    fn another_preshared_key_gives_no_session() {
        let (alice, bob, mut rng) = pair();
        let ours = PresharedKey::new([1; 32]);
        let (initiation, mut begun) = Snow.begin(&alice, bob.public(), &ours, STAMP, &mut rng).unwrap();
        let mut heard = Snow.hear(&bob, &initiation, &mut rng).unwrap();
        let (response, _) = heard.answer.answer(&PresharedKey::new([2; 32])).unwrap();
        assert_eq!(begun.finish(&response).err(), Some(NoiseError::Forged));
    }

    #[test]
    fn what_is_bound_to_something_more_is_heard_by_who_is_bound_to_the_same_and_by_nobody_else() {
        let (alice, bob, mut rng) = pair();
        let psk = PresharedKey::default();
        let [one, other] = [Bound::to(b"one way"), Bound::to(b"another")];
        let kinds: [&dyn Noise; 3] = [&Snow, &one, &other];
        for (said, by) in kinds.iter().enumerate() {
            let (initiation, mut begun) = by.begin(&alice, bob.public(), &psk, STAMP, &mut rng).unwrap();
            for (heard, to) in kinds.iter().enumerate().filter(|(heard, _)| *heard != said) {
                assert_eq!(to.hear(&bob, &initiation, &mut rng).err(), Some(NoiseError::Forged), "{said} by {heard}");
            }
            let (response, keys) = by.hear(&bob, &initiation, &mut rng).unwrap().answer.answer(&psk).unwrap();
            assert_eq!(*begun.finish(&response).unwrap().seal, *keys.open);
        }
    }

    #[test]
    fn who_has_no_randomness_makes_no_key() {
        struct None;
        impl Entropy for None {
            fn fill(&mut self, _: &mut [u8]) -> bool {
                false
            }
        }
        let (alice, bob, _) = pair();
        let begun = Snow.begin(&alice, bob.public(), &PresharedKey::default(), STAMP, &mut None);
        assert_eq!(begun.err(), Some(NoiseError::NoEntropy));
    }
}
