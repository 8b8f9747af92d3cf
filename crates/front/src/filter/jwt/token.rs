//! Tokens in their compact form (RFC 7515 section 3.1): three parts, of which the last one signs the others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::key;
use crate::filter::config::JwtAlgorithm as Algorithm;

/// The longest token.
pub(super) const LONGEST: usize = 16 << 10;

/// Claims by name.
pub(super) type Claims = Map<String, Json>;

/// A token that is well formed. Nothing that it says has been verified.
pub(super) struct Token<'t> {
    /// `None` where it is signed in a way that is not known here: `none`, say.
    pub(super) algorithm: Option<Algorithm>,
    /// What it calls its key.
    pub(super) key: Option<Box<str>>,
    /// What it says that it is.
    pub(super) kind: Option<Box<str>>,
    pub(super) claims: Claims,
    /// What is signed.
    pub(super) message: &'t [u8],
    pub(super) signature: Vec<u8>,
}

/// It is no token, or one that asks for what is not understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What the first part says, as far as it matters.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<Box<str>>,
    typ: Option<Box<str>>,
    /// Extensions without which it is not to be taken (RFC 7515 section 4.1.11). None are known here.
    crit: Option<Json>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    pub(super) fn read(text: &'t str) -> Result<Self, Malformed> {
        if text.len() > LONGEST {
            return Err(Malformed);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Malformed)?;
        if header.crit.is_some() {
            return Err(Malformed);
        }
        Ok(Self {
            algorithm: key::algorithm(&header.alg),
            key: header.kid,
            kind: header.typ,
            claims: serde_json::from_slice(&decode(claims)?).map_err(|_| Malformed)?,
            message: message.as_bytes(),
            signature: decode(signature)?,
        })
    }
}
