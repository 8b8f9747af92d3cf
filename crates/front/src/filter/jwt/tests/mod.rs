//! Tokens as an issuer would sign them, held against what the configuration says.

mod algorithms;
mod fetching;
mod handing;
mod refusals;

use std::path::Path;
use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use serde_json::{Value as Json, json};

use super::*;
use crate::filter::tests::{Keys, keys};

/// A time at which tests take place.
const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret that is long enough for every hash: sixty-four bytes!!!";

/// One key of each kind, made once: RSA takes a while.
struct Signers {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    p521: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

fn signers() -> &'static Signers {
    static SIGNERS: OnceLock<Signers> = OnceLock::new();
    SIGNERS.get_or_init(|| Signers {
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        p521: EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap(),
        ed: Ed25519KeyPair::generate().unwrap(),
    })
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What an issuer that has all these keys signs a message with.
fn sign(algorithm: &str, message: &[u8]) -> Vec<u8> {
    let (signers, random) = (signers(), SystemRandom::new());
    let rsa = |encoding: &'static dyn RsaEncoding| {
        let mut signed = vec![0; signers.rsa.public_modulus_len()];
        signers.rsa.sign(encoding, &random, message, &mut signed).unwrap();
        signed
    };
    let secret = |algorithm| hmac::sign(&hmac::Key::new(algorithm, SECRET), message).as_ref().to_vec();
    let ec = |key: &EcdsaKeyPair| key.sign(&random, message).unwrap().as_ref().to_vec();
    match algorithm {
        "HS256" => secret(hmac::HMAC_SHA256),
        "HS384" => secret(hmac::HMAC_SHA384),
        "HS512" => secret(hmac::HMAC_SHA512),
        "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_SHA512),
        "ES256" => ec(&signers.p256),
        "ES384" => ec(&signers.p384),
        "ES512" => ec(&signers.p521),
        "EdDSA" | "Ed25519" => signers.ed.sign(message).as_ref().to_vec(),
        _ => Vec::new(),
    }
}

/// The bytes of a token without its signature.
fn unsigned(header: &Json, claims: &Json) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

fn token_with(header: &Json, claims: &Json) -> String {
    let message = unsigned(header, claims);
    let signature = sign(header["alg"].as_str().unwrap_or_default(), message.as_bytes());
    format!("{message}.{}", base64url(&signature))
}

fn token(algorithm: &str, claims: &Json) -> String {
    token_with(&json!({ "alg": algorithm, "typ": "JWT" }), claims)
}

/// Claims of a token that is good for another minute, and these.
fn claims(more: Json) -> Json {
    let mut claims = json!({ "iss": "https://login.test", "sub": "ann", "exp": NOW + 60 });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

fn rsa_pem() -> String {
    pem(signers().rsa.public_key().as_der().unwrap().as_ref())
}

/// The public keys as a set, with their ids.
fn jwks() -> Json {
    let signers = signers();
    // RSAPublicKey of RFC 8017 appendix A.1.1, for 2048 bits: the modulus stands behind two heads, the exponent is 65537.
    let rsa = signers.rsa.public_key().as_ref();
    let point = |key: &EcdsaKeyPair, curve: &str, length: usize| {
        let point = key.public_key().as_ref();
        json!({ "kty": "EC", "kid": curve, "crv": curve, "x": base64url(&point[1..=length]), "y": base64url(&point[length + 1..]) })
    };
    json!({ "keys": [
        { "kty": "RSA", "kid": "rsa", "use": "sig", "n": base64url(&rsa[9..265]), "e": "AQAB" },
        point(&signers.p256, "P-256", 32),
        point(&signers.p384, "P-384", 48),
        point(&signers.p521, "P-521", 66),
        { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": base64url(signers.ed.public_key().as_ref()) },
    ] })
}

/// Who asks for tokens as these settings say; `DIR` stands for the folder.
struct Gate {
    bearer: Bearer,
    metrics: Arc<FilterMetrics>,
    runtime: tokio::runtime::Runtime,
}

impl Gate {
    fn new(dir: &Path, text: &str) -> Self {
        let text = text.replace("DIR", dir.to_str().unwrap());
        let Keys { jwt, jwt_issuer, .. } = keys(&text);
        let metrics: Arc<FilterMetrics> = Arc::default();
        let issuers =
            jwt_issuer.into_iter().map(|(name, issuer)| Issuer::new(&name, issuer, &metrics).unwrap()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { bearer: Bearer::new(jwt.unwrap_or_default(), issuers, &metrics), metrics, runtime }
    }

    /// One that shares a secret, with these settings of its issuer and of what asks.
    fn secret(issuer: &str, jwt: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), [SECRET, b"\n"].concat()).unwrap();
        Self::new(dir.path(), &format!("[jwt]\n{jwt}\n[jwt_issuer.a]\nsecret_file = 'DIR/secret'\n{issuer}\n"))
    }

    /// What is made of a request at a time, without waiting for keys.
    fn at(&self, head: &mut Parts, unix: u64) -> Checked {
        let _runtime = self.runtime.enter();
        self.bearer.check_again(head, Moment { clock: 0, unix })
    }

    /// The user, or the status of the refusal with its challenge.
    fn told(&self, token: &str) -> Result<String, (u16, String)> {
        self.told_at(token, NOW)
    }

    fn told_at(&self, token: &str, unix: u64) -> Result<String, (u16, String)> {
        let told = |refusal: Box<Refusal>| {
            let challenge = refusal.response.headers.get(WWW_AUTHENTICATE);
            let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            (refusal.response.status.as_u16(), challenge)
        };
        self.at(&mut bearing(token), unix).map(|passed| passed.user.unwrap_or_default().into()).map_err(told)
    }

    /// What is wrong with a token, in the words of the challenge.
    fn refused(&self, token: &str) -> String {
        let (status, challenge) = self.told(token).unwrap_err();
        assert_eq!(status, 401, "{challenge}");
        let (_, description) =
            challenge.split_once("error=\"invalid_token\", error_description=\"").expect("what is wrong");
        description.trim_end_matches('"').to_owned()
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.metrics.tokens.of(outcome).get()
    }
}

fn head(target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().uri(target);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn bearing(token: &str) -> Parts {
    let mut head = head("/", &[]);
    head.headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    head
}

fn texts(head: &Parts, name: &str) -> Vec<String> {
    head.headers.get_all(name).iter().map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()).collect()
}
