//! Keys that are made once and configured: private, public, preshared. What is secret is not shown, and is wiped when it goes.

use std::fmt;

use aws_lc_rs::agreement::{PrivateKey as Agreement, X25519};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

pub use zeroize::Zeroizing;

use crate::Entropy;

/// Octets of a key.
pub const LENGTH: usize = 32;

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 octets in base64.
    #[error("a key is 32 octets in base64: 43 characters and `=`, as `wg genkey` writes it")]
    NotAKey,
    /// All zero.
    #[error("a private or public key that is all zero is nobody's: make one with `wg genkey`")]
    Zero,
    /// No randomness to be had.
    #[error("the operating system gave no randomness, and a key must not be made without")]
    NoEntropy,
}

fn decode(text: &str) -> Result<Zeroizing<[u8; LENGTH]>, KeyError> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| KeyError::NotAKey)?);
    let key: &[u8; LENGTH] = bytes.as_slice().try_into().map_err(|_| KeyError::NotAKey)?;
    Ok(Zeroizing::new(*key))
}

/// The key that is us: who has it can be us.
#[derive(Clone)]
pub struct PrivateKey {
    secret: Zeroizing<[u8; LENGTH]>,
    public: PublicKey,
}

impl PrivateKey {
    /// From 32 octets, which are clamped (RFC 7748 section 5).
    ///
    /// # Errors
    /// When they are all zero.
    pub fn new(mut bytes: [u8; LENGTH]) -> Result<PrivateKey, KeyError> {
        if bytes == [0; LENGTH] {
            return Err(KeyError::Zero);
        }
        clamp(&mut bytes);
        let secret = Zeroizing::new(bytes);
        bytes.zeroize();
        let public = public_of(&secret).ok_or(KeyError::NotAKey)?;
        Ok(PrivateKey { secret, public: PublicKey(public) })
    }

    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate(entropy: &mut dyn Entropy) -> Result<PrivateKey, KeyError> {
        PrivateKey::new(crate::entropy::secret(entropy).ok_or(KeyError::NoEntropy)?)
    }

    /// From base64.
    ///
    /// # Errors
    /// When it is no key.
    pub fn parse(text: &str) -> Result<PrivateKey, KeyError> {
        PrivateKey::new(*decode(text)?)
    }

    /// What others know us by.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// In base64, for the file that keeps it and for nothing else.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.secret))
    }

    /// The octets, for what carries the tunnels and for nothing else.
    pub fn bytes(&self) -> &[u8; LENGTH] {
        &self.secret
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public)
    }
}

/// The keys that are us at one place: one, and beside it another while that takes over from it. Handshakes with either are answered.
#[derive(Debug, Clone)]
pub struct Identity {
    oldest: PrivateKey,
    next: Option<PrivateKey>,
    taken_up: bool,
}

impl Identity {
    /// The key that takes over from the one that there is. Once it is `taken_up`, who is not known to know either is met by it.
    #[must_use]
    pub fn with_next(self, next: PrivateKey, taken_up: bool) -> Identity {
        Identity { next: Some(next), taken_up, ..self }
    }

    /// The one that others know for longest.
    pub fn oldest(&self) -> &PrivateKey {
        &self.oldest
    }

    /// The one that was made last.
    pub fn newest(&self) -> &PrivateKey {
        self.next.as_ref().unwrap_or(&self.oldest)
    }

    /// The one that somebody is met by of whom it is not known which they know.
    pub fn current(&self) -> &PrivateKey {
        if self.taken_up { self.newest() } else { &self.oldest }
    }

    /// All of them, the oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &PrivateKey> {
        std::iter::once(&self.oldest).chain(&self.next)
    }

    /// The one of a public key.
    pub fn find(&self, public: &PublicKey) -> Option<&PrivateKey> {
        self.keys().find(|key| key.public() == public)
    }
}

impl From<PrivateKey> for Identity {
    fn from(key: PrivateKey) -> Self {
        Identity { oldest: key, next: None, taken_up: false }
    }
}

fn clamp(bytes: &mut [u8; LENGTH]) {
    bytes[0] &= 0b1111_1000;
    bytes[LENGTH - 1] &= 0b0111_1111;
    bytes[LENGTH - 1] |= 0b0100_0000;
}

/// The public key of a private one.
pub(crate) fn public_of(secret: &[u8; LENGTH]) -> Option<[u8; LENGTH]> {
    let public = Agreement::from_private_key(&X25519, secret).ok()?.compute_public_key().ok()?;
    public.as_ref().try_into().ok()
}

/// Who a peer is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; LENGTH]);

impl PublicKey {
    /// From base64.
    ///
    /// # Errors
    /// When it is no key.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let bytes = *decode(text)?;
        if bytes == [0; LENGTH] { Err(KeyError::Zero) } else { Ok(PublicKey(bytes)) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A secret that both ends were given beforehand, mixed into the handshake (5.2). All zero is none.
#[derive(Clone)]
pub struct PresharedKey(Zeroizing<[u8; LENGTH]>);

impl PresharedKey {
    /// From 32 octets.
    pub fn new(bytes: [u8; LENGTH]) -> PresharedKey {
        PresharedKey(Zeroizing::new(bytes))
    }

    /// From base64.
    ///
    /// # Errors
    /// When it is no key.
    pub fn parse(text: &str) -> Result<PresharedKey, KeyError> {
        decode(text).map(PresharedKey)
    }

    /// The octets, for what carries the tunnels and for nothing else.
    pub fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl Default for PresharedKey {
    fn default() -> Self {
        PresharedKey::new([0; LENGTH])
    }
}

impl PartialEq for PresharedKey {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        same(self.bytes(), other.bytes())
    }
}

impl Eq for PresharedKey {}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

/// Whether two secrets are the same, in a time that does not say where they differ.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use outwork_engine::Rng;

    use super::*;

    fn hex(text: &str) -> [u8; LENGTH] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn a_public_key_is_that_of_rfc_7748() {
        // Section 6.1: Alice and Bob.
        for (private, public) in [
            (
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            ),
            (
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            ),
        ] {
            assert_eq!(PrivateKey::new(hex(private)).unwrap().public().0, hex(public));
        }
    }

    #[test]
    fn a_key_survives_its_text() {
        let key = PrivateKey::generate(&mut Rng::new(1)).unwrap();
        let again = PrivateKey::parse(&key.reveal()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(PublicKey::parse(&key.public().to_string()).unwrap(), *key.public());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "abc", "AAAA", "!!!!"] {
            assert_eq!(PublicKey::parse(text), Err(KeyError::NotAKey), "{text}");
        }
        assert_eq!(PublicKey::parse(&STANDARD.encode([0; LENGTH])), Err(KeyError::Zero));
        assert_eq!(PublicKey::parse(&STANDARD.encode([1; 33])), Err(KeyError::NotAKey));
        assert!(PrivateKey::new([0; LENGTH]).is_err());
    }

    #[test]
    fn nothing_secret_is_shown() {
        let key = PrivateKey::generate(&mut Rng::new(2)).unwrap();
        let shown = format!("{key:?} {:?}", PresharedKey::new([7; LENGTH]));
        assert!(!shown.contains(key.reveal().as_str()));
        assert_eq!(shown, format!("PrivateKey(of {}) PresharedKey(..)", key.public()));
    }

    #[test]
    fn a_private_key_is_clamped() {
        let key = PrivateKey::new([0xff; LENGTH]).unwrap();
        assert_eq!((key.bytes()[0], key.bytes()[31]), (0xf8, 0x7f));
        assert_eq!(key.public(), PrivateKey::new(*key.bytes()).unwrap().public());
    }
}
