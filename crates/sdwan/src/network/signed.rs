//! Who has said it: deltas under a signature (Ed25519, RFC 8032).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outwork_store::file::replace_private;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde::{Deserialize, Serialize};

use super::delta::Delta;

/// What stands before what is signed, so that no signature for something else is one for a delta.
const CONTEXT: &[u8] = b"outwork sdwan delta 1\0";
/// The same for what proves that a version was told.
const TOLD: &[u8] = b"outwork sdwan version 1\0";

/// Why what has come is not believed, or cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It is no signature of the controller's.
    #[error("the signature is not the controller's")]
    Forged,
    /// It is signed, and cannot be read.
    #[error("what is signed cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The key cannot be used.
    #[error("the key for signatures: {0}")]
    Key(#[from] rcgen::Error),
    /// The file of the key.
    #[error("the key for signatures, in {path}: {source}")]
    File {
        /// Where it is.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A delta as it travels: its text, and the signature of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The delta in JSON.
    pub delta: String,
    /// In base64.
    pub signature: String,
}

/// Who signs.
pub struct Signer(KeyPair);

impl Signer {
    /// The key in a file; where there is none, one is made.
    ///
    /// # Errors
    /// When the file cannot be read or written, or has no such key.
    pub fn open(path: &Path) -> Result<Signer, SignatureError> {
        let failed = |source| SignatureError::File { path: path.to_owned(), source };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Signer(KeyPair::from_pem(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let signer = Signer::generate()?;
                replace_private(path, signer.0.serialize_pem().as_bytes()).map_err(failed)?;
                Ok(signer)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A new key, in memory alone.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Signer, SignatureError> {
        Ok(Signer(KeyPair::generate_for(&PKCS_ED25519)?))
    }

    /// Who believes it needs this.
    pub fn verifier(&self) -> Verifier {
        Verifier(self.0.der_bytes().to_vec())
    }

    /// Signs a delta.
    ///
    /// # Errors
    /// When the key refuses.
    pub fn sign(&self, delta: &Delta) -> Result<Signed, SignatureError> {
        let delta = serde_json::to_string(delta)?;
        let signature = self.0.sign(&signed_part(&delta))?;
        Ok(Signed { delta, signature: STANDARD.encode(signature) })
    }

    /// What proves that this one has told a version of a network, by the mark that it has of that: the mark, and a signature in base64.
    ///
    /// # Errors
    /// When the key refuses.
    pub fn prove(&self, network: &str, version: u64, mark: i64) -> Result<String, SignatureError> {
        let signature = self.0.sign(&told_part(network, version, mark))?;
        Ok(format!("{mark}:{}", STANDARD.encode(signature)))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(hidden)")
    }
}

/// Whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier(Vec<u8>);

impl Verifier {
    /// The key in base64.
    pub fn parse(text: &str) -> Option<Verifier> {
        STANDARD.decode(text).ok().filter(|key| key.len() == 32).map(Verifier)
    }

    /// The delta, if the signature is this one's.
    ///
    /// # Errors
    /// When it is not, or there is no delta in what it is of.
    pub fn open(&self, signed: &Signed) -> Result<Delta, SignatureError> {
        let signature = STANDARD.decode(&signed.signature).map_err(|_| SignatureError::Forged)?;
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&signed_part(&signed.delta), &signature).map_err(|_| SignatureError::Forged)?;
        Ok(serde_json::from_str(&signed.delta)?)
    }

    /// The mark of a version of a network, where this proves that it has told that.
    pub fn has_told(&self, network: &str, version: u64, proof: &str) -> Option<i64> {
        let (mark, signature) = proof.split_once(':')?;
        let (mark, signature) = (mark.parse().ok()?, STANDARD.decode(signature).ok()?);
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&told_part(network, version, mark), &signature).is_ok().then_some(mark)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}

fn signed_part(delta: &str) -> Vec<u8> {
    [CONTEXT, delta.as_bytes()].concat()
}

fn told_part(network: &str, version: u64, mark: i64) -> Vec<u8> {
    [TOLD, &version.to_be_bytes(), &mark.to_be_bytes(), network.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta() -> Delta {
        Delta { network: "net".to_owned(), from: Some(1), to: 2, changes: vec![] }
    }

    #[test]
    fn what_the_controller_has_signed_is_believed() {
        let signer = Signer::generate().unwrap();
        let signed = signer.sign(&delta()).unwrap();
        assert_eq!(signer.verifier().open(&signed).unwrap(), delta());
        let told = Verifier::parse(&signer.verifier().to_string()).unwrap();
        assert_eq!(told.open(&signed).unwrap(), delta());
    }

    #[test]
    fn what_was_altered_or_signed_by_another_is_not() {
        let (signer, other) = (Signer::generate().unwrap(), Signer::generate().unwrap());
        let signed = signer.sign(&delta()).unwrap();
        let refused = |signed: &Signed| matches!(signer.verifier().open(signed), Err(SignatureError::Forged));
        assert!(matches!(other.verifier().open(&signed), Err(SignatureError::Forged)));
        assert!(refused(&Signed { delta: signed.delta.replace("\"to\":2", "\"to\":3"), ..signed.clone() }));
        assert!(refused(&Signed { signature: "no base64".to_owned(), ..signed.clone() }));
        assert!(refused(&Signed { signature: String::new(), ..signed.clone() }));
        assert!(Verifier::parse("c2hvcnQ=").is_none());
    }

    #[test]
    fn a_signature_of_the_bare_text_is_none_of_a_delta() {
        let signer = Signer::generate().unwrap();
        let delta = serde_json::to_string(&delta()).unwrap();
        let signature = STANDARD.encode(signer.0.sign(delta.as_bytes()).unwrap());
        assert!(matches!(signer.verifier().open(&Signed { delta, signature }), Err(SignatureError::Forged)));
    }

    #[test]
    fn a_proof_is_of_one_version_of_one_network_by_one_key() {
        let (signer, other) = (Signer::generate().unwrap(), Signer::generate().unwrap());
        let proof = signer.prove("net", 7, -40).unwrap();
        let told = |network: &str, version, proof: &str| signer.verifier().has_told(network, version, proof);
        assert_eq!(told("net", 7, &proof), Some(-40));
        assert_eq!((told("net", 8, &proof), told("other", 7, &proof)), (None, None));
        assert_eq!(other.verifier().has_told("net", 7, &proof), None);
        let of_delta = signer.sign(&delta()).unwrap().signature;
        for odd in [String::new(), proof.replace("-40:", "40:"), proof.replace("-40:", ""), format!("-40:{of_delta}")] {
            assert_eq!(told("net", 7, &odd), None, "{odd}");
        }
    }

    #[test]
    fn the_key_stays_the_same_from_start_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signer.key");
        let first = Signer::open(&path).unwrap().verifier();
        assert_eq!(Signer::open(&path).unwrap().verifier(), first);
        std::fs::write(&path, "no key").unwrap();
        assert!(Signer::open(&path).is_err());
    }
}
