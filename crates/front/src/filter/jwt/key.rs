//! Keys, each with the algorithms that it is good for and no other: what a token says of its algorithm chooses among keys, and never what is
//! done with one. So no public key is ever taken for a secret (RFC 8725 section 3.1).

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use serde::Deserialize;

use crate::filter::config::JwtAlgorithm as Algorithm;
use crate::tls::x509;

/// Keys that a file or a set may have.
pub(super) const MOST: usize = 128;

/// Bytes of a modulus or a point that are looked at: RSA with 8192 bits, and a zero before them.
const COMPONENT: usize = 1025;

const RSA: [(Algorithm, &dyn VerificationAlgorithm); 6] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
];
const P256: [(Algorithm, &dyn VerificationAlgorithm); 1] = [(Algorithm::Es256, &ECDSA_P256_SHA256_FIXED)];
const P384: [(Algorithm, &dyn VerificationAlgorithm); 1] = [(Algorithm::Es384, &ECDSA_P384_SHA384_FIXED)];
const P521: [(Algorithm, &dyn VerificationAlgorithm); 1] = [(Algorithm::Es512, &ECDSA_P521_SHA512_FIXED)];
const ED: [(Algorithm, &dyn VerificationAlgorithm); 1] = [(Algorithm::EdDsa, &ED25519)];
const HMAC: [(Algorithm, hmac::Algorithm); 3] = [
    (Algorithm::Hs256, hmac::HMAC_SHA256),
    (Algorithm::Hs384, hmac::HMAC_SHA384),
    (Algorithm::Hs512, hmac::HMAC_SHA512),
];

/// The bits of an RSA key that is taken (RFC 7518 section 3.3).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key.
pub(super) struct Key {
    /// What tokens call it (`kid`).
    pub(super) id: Option<Box<str>>,
    good_for: Vec<(Algorithm, Verifier)>,
}

enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

/// Why something is no key that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no PEM.
    #[error("it is no PEM: {0}")]
    Pem(String),
    /// There is none.
    #[error("it has no PUBLIC KEY and no CERTIFICATE")]
    None,
    /// It has a key that is nobody else's business.
    #[error("it has a private key, which verifies nothing: name a file with the public one")]
    Private,
    /// The secret is empty.
    #[error("it is empty")]
    Empty,
    /// It is of a kind that tokens are not signed with.
    #[error("its key is none of RSA from 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519")]
    Kind,
    /// There are too many.
    #[error("it has more than {MOST} keys")]
    Many,
    /// It is no set of keys.
    #[error("it is no JSON Web Key Set (RFC 7517): {0}")]
    Set(String),
    /// None of the keys of a set can be used.
    #[error("it has no key that could verify a token{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Unusable(Option<String>),
}

/// A key of a set (RFC 7517 section 4, RFC 7518 section 6). What else it says is nothing to us.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<Box<str>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// A set of keys (RFC 7517 section 5).
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

/// Whether a set may have secrets in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    Taken,
    /// What everybody can fetch is none.
    Refused,
}

impl Key {
    /// A secret, of a file that has nothing else.
    pub(super) fn secret(content: &[u8]) -> Result<Self, KeyError> {
        let secret = secret(content);
        match secret.is_empty() {
            true => Err(KeyError::Empty),
            false => Ok(Self::of_secret(None, secret)),
        }
    }

    fn of_secret(id: Option<Box<str>>, secret: &[u8]) -> Self {
        let good_for =
            HMAC.map(|(algorithm, hash)| (algorithm, Verifier::Secret(Box::new(hmac::Key::new(hash, secret)))));
        Self { id, good_for: good_for.into() }
    }

    /// The public keys and those of the certificates of a PEM file.
    pub(super) fn of_pem(content: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(content) {
            let (kind, der) = section.map_err(|error: pem::Error| KeyError::Pem(error.to_string()))?;
            match kind {
                SectionKind::PublicKey => keys.push(Self::of_der(&der)?),
                SectionKind::Certificate => {
                    keys.push(Self::of_der(x509::public_key(&der).ok_or(KeyError::Kind)?)?);
                }
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    return Err(KeyError::Private);
                }
                _ => {}
            }
        }
        match keys.len() {
            0 => Err(KeyError::None),
            1..=MOST => Ok(keys),
            _ => Err(KeyError::Many),
        }
    }

    /// A public key as X.509 has it (`SubjectPublicKeyInfo`).
    fn of_der(der: &[u8]) -> Result<Self, KeyError> {
        let kinds: [&[(Algorithm, &'static dyn VerificationAlgorithm)]; 5] = [&RSA, &P256, &P384, &P521, &ED];
        let key = |kind: &&[_]| Self::public(None, kind, der);
        kinds.iter().find_map(key).ok_or(KeyError::Kind)
    }

    /// A public key for all algorithms of its kind.
    fn public(
        id: Option<Box<str>>,
        kind: &[(Algorithm, &'static dyn VerificationAlgorithm)],
        bytes: &[u8],
    ) -> Option<Self> {
        let parse = |(algorithm, with): &(Algorithm, &'static dyn VerificationAlgorithm)| {
            Some((*algorithm, Verifier::Public(ParsedPublicKey::new(*with, bytes).ok()?)))
        };
        Some(Self { id, good_for: kind.iter().map(parse).collect::<Option<_>>()? })
    }

    /// The keys of a set that a token could be signed with. Others are passed over: sets may have keys for anything (RFC 7517 section 5).
    pub(super) fn of_set(content: &[u8], secrets: Secrets) -> Result<Vec<Self>, KeyError> {
        let set: Jwks = serde_json::from_slice(content).map_err(|error| KeyError::Set(error.to_string()))?;
        if set.keys.len() > MOST {
            return Err(KeyError::Many);
        }
        let (mut keys, mut passed_over) = (Vec::new(), None);
        for (index, jwk) in set.keys.into_iter().enumerate() {
            let key = serde_json::from_value(jwk).map_err(|error| error.to_string());
            match key.and_then(|jwk| Self::of_jwk(jwk, secrets).map_err(str::to_owned)) {
                Ok(key) => keys.push(key),
                Err(why) => _ = passed_over.get_or_insert(format!("key {index}: {why}")),
            }
        }
        match keys.is_empty() {
            true => Err(KeyError::Unusable(passed_over)),
            false => Ok(keys),
        }
    }

    fn of_jwk(jwk: Jwk, secrets: Secrets) -> Result<Self, &'static str> {
        let verifies = |operations: &Vec<String>| operations.iter().any(|operation| operation == "verify");
        if jwk.usage.is_some_and(|usage| usage != "sig") || !jwk.key_ops.as_ref().is_none_or(verifies) {
            return Err("it is not for signatures");
        }
        let id = jwk.kid;
        let mut key = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(jwk.n)?, number(jwk.e)?);
                if !RSA_BITS.contains(&(n.len() * 8)) {
                    return Err("its modulus has less than 2048 bits, or more than 8192");
                }
                let der = PublicKeyComponents { n, e }.as_der();
                der.ok().and_then(|der| Self::public(id, &RSA, der.as_ref()))
            }
            ("EC", Some("P-256")) => Self::public(id, &P256, &point(jwk.x, jwk.y, 32)?),
            ("EC", Some("P-384")) => Self::public(id, &P384, &point(jwk.x, jwk.y, 48)?),
            ("EC", Some("P-521")) => Self::public(id, &P521, &point(jwk.x, jwk.y, 66)?),
            ("OKP", Some("Ed25519")) => Self::public(id, &ED, &component(jwk.x)?),
            ("oct", _) if secrets == Secrets::Refused => return Err("it is a secret, which everybody can fetch"),
            ("oct", _) => Some(component(jwk.k)?).filter(|secret| !secret.is_empty()).map(|k| Self::of_secret(id, &k)),
            _ => return Err("it is of another kind"),
        }
        .ok_or("it is malformed")?;
        if let Some(only) = jwk.alg {
            let only = algorithm(&only).ok_or("its algorithm is another one")?;
            key.good_for.retain(|(algorithm, _)| *algorithm == only);
        }
        match key.good_for.is_empty() {
            true => Err("its algorithm is one of another kind of keys"),
            false => Ok(key),
        }
    }

    /// Whether it can verify what is signed with this algorithm.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.good_for.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether it has signed this with this algorithm.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.good_for.iter().find(|(own, _)| *own == algorithm).map(|(_, verifier)| verifier);
        match verifier {
            Some(Verifier::Public(key)) => key.verify_sig(message, signature).is_ok(),
            // In a time that tells nothing of where they differ.
            Some(Verifier::Secret(key)) => hmac::verify(key, message, signature).is_ok(),
            None => false,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.good_for.iter().map(|(algorithm, _)| algorithm.word()).collect();
        f.debug_struct("Key").field("id", &self.id).field("good_for", &algorithms).finish_non_exhaustive()
    }
}

/// The secret in a file that has nothing else.
pub(super) fn secret(content: &[u8]) -> &[u8] {
    content.strip_suffix(b"\n").map_or(content, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The algorithm of this name. Ed25519 has two (RFC 9864).
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDsa) } else { name.parse().ok() }
}

/// How many bytes a secret has to have so that it is no weaker than the hash (RFC 7518 section 3.2).
pub(super) fn hash_length(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::Hs256 => Some(32),
        Algorithm::Hs384 => Some(48),
        Algorithm::Hs512 => Some(64),
        _ => None,
    }
}

fn component(text: Option<String>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("a part of it is missing")?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part of it is no base64url")?;
    if bytes.len() > COMPONENT {
        return Err("a part of it is too long");
    }
    Ok(bytes)
}

/// A number without the zeros before it, which some write.
fn number(text: Option<String>) -> Result<Vec<u8>, &'static str> {
    let bytes = component(text)?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

/// A point, uncompressed (SEC 1 section 2.3.3), of coordinates that are as long as the field's elements.
fn point(x: Option<String>, y: Option<String>, length: usize) -> Result<Vec<u8>, &'static str> {
    let (x, y) = (component(x)?, component(y)?);
    if x.len() != length || y.len() != length {
        return Err("a coordinate of its point has a wrong length");
    }
    Ok([&[4], &*x, &*y].concat())
}
