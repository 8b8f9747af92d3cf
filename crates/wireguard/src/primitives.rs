//! What the handshake computes with: X25519 and ChaCha20-Poly1305 of aws-lc, BLAKE2s, and a random key that is given beforehand. They are handed to `snow`,
//! so that no second implementation of anything is built.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey as Agreement, UnparsedPublicKey, X25519, agree};
use blake2::{Blake2s256, Digest};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroizing;

use crate::message::TAG;

/// Answers what one handshake asks for.
pub(crate) struct Primitives {
    /// The ephemeral private key.
    pub(crate) ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Given(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<Curve>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::Blake2s).then(|| Box::<Blake2s>::default() as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::<ChaChaPoly>::default() as Box<dyn Cipher>)
    }
}

/// Randomness for one key; asking for a second one is an error, for it would be the same.
struct Given(Option<Zeroizing<[u8; 32]>>);

impl Random for Given {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let given = self.0.take().ok_or(Error::Rng)?;
        let dest: &mut [u8; 32] = dest.try_into().map_err(|_| Error::Rng)?;
        *dest = *given;
        Ok(())
    }
}

/// X25519. The private key lies in aws-lc, which wipes it.
#[derive(Default)]
struct Curve {
    private: Option<Agreement>,
    public: [u8; 32],
}

impl Curve {
    fn take(&mut self, secret: &[u8]) -> Option<()> {
        let private = Agreement::from_private_key(&X25519, secret).ok()?;
        self.public = private.compute_public_key().ok()?.as_ref().try_into().ok()?;
        self.private = Some(private);
        Some(())
    }
}

impl Dh for Curve {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        // Without a key, every agreement fails.
        let _ = self.take(privkey);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(secret.as_mut_slice())?;
        self.take(secret.as_slice()).ok_or(Error::Rng)
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        // Only key pairs that snow makes for others are read back, and it makes none.
        &[]
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // snow hands in its whole buffer, which is as long as the longest key of any curve.
        let theirs = pubkey.get(..32).ok_or(Error::Dh)?;
        let out = out.get_mut(..32).ok_or(Error::Dh)?;
        let private = self.private.as_ref().ok_or(Error::Dh)?;
        // A point of small order gives zero, which aws-lc refuses.
        agree(private, UnparsedPublicKey::new(&X25519, theirs), Error::Dh, |shared| {
            if shared.len() != out.len() {
                return Err(Error::Dh);
            }
            out.copy_from_slice(shared);
            Ok(())
        })
    }
}

/// BLAKE2s-256.
#[derive(Default)]
struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hash = std::mem::take(&mut self.0).finalize();
        out.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    }
}

/// ChaCha20-Poly1305 with the nonce of Noise: four zero octets and the counter, little endian.
#[derive(Default)]
struct ChaChaPoly(Option<LessSafeKey>);

/// The nonce of Noise and of transport messages (5.4.6).
pub(crate) fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A key for [`nonce`]s.
pub(crate) fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

impl ChaChaPoly {
    fn seal(&self, counter: u64, aad: &[u8], plain: &[u8], out: &mut [u8]) -> Option<()> {
        let (text, rest) = out.split_at_mut_checked(plain.len())?;
        text.copy_from_slice(plain);
        let tag = self.0.as_ref()?.seal_in_place_separate_tag(nonce(counter), Aad::from(aad), text).ok()?;
        rest.get_mut(..TAG)?.copy_from_slice(tag.as_ref());
        Some(())
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = cipher(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        if self.seal(nonce, authtext, plaintext, out).is_none() {
            // There is no way to say so; what nobody can open says nothing that was secret.
            out.fill(0);
        }
        plaintext.len() + TAG
    }

    fn decrypt(&self, counter: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let length = ciphertext.len().checked_sub(TAG).ok_or(Error::Decrypt)?;
        let (text, tag) = ciphertext.split_at_checked(length).ok_or(Error::Decrypt)?;
        let out = out.get_mut(..length).ok_or(Error::Decrypt)?;
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        key.open_separate_gather(nonce(counter), Aad::from(authtext), text, tag, out).map_err(|_| Error::Decrypt)?;
        Ok(length)
    }
}
