//! What a site shows the first time: a token that works once, and says whom it is to be shown to.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What each begins with, so that scanners for leaked secrets know it.
const PREFIX: &str = "outwork_enrol_";
/// Octets of the part that names it.
const KEY: usize = 12;
/// Octets of the part that nobody knows.
const SECRET: usize = 32;
/// Octets of a fingerprint.
const FINGERPRINT: usize = 32;

/// A token. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is found by.
    pub key: [u8; KEY],
    /// What proves that it is known.
    pub secret: [u8; SECRET],
    /// SHA-256 of the authority that the controller's certificate has to be of.
    pub authority: [u8; FINGERPRINT],
}

/// A text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no token for enrolment: expected {PREFIX} and what follows, as `outwork sdwan token` says it")]
pub struct TokenError;

impl Token {
    /// A new one for who is to come to the controller with this authority.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn random(authority: [u8; FINGERPRINT]) -> Result<Token, aws_lc_rs::error::Unspecified> {
        let mut token = Token { key: [0; KEY], secret: [0; SECRET], authority };
        rand::fill(&mut token.key)?;
        rand::fill(&mut token.secret)?;
        Ok(token)
    }

    /// What is kept of a secret.
    pub fn hash(secret: &[u8]) -> Vec<u8> {
        digest(&SHA256, secret).as_ref().to_vec()
    }

    /// Whether a secret is the one of which `hash` is kept. How long that takes says nothing of either.
    pub fn is_of(secret: &[u8], hash: &[u8]) -> bool {
        verify_slices_are_equal(&Token::hash(secret), hash).is_ok()
    }

    /// All of it, to be shown once.
    pub fn reveal(&self) -> String {
        let octets = [&self.key[..], &self.secret, &self.authority].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(octets))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let octets = text.trim().strip_prefix(PREFIX).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
        let octets = octets.ok_or(TokenError)?;
        let (key, rest) = octets.split_first_chunk().ok_or(TokenError)?;
        let (secret, rest) = rest.split_first_chunk().ok_or(TokenError)?;
        let authority = rest.try_into().map_err(|_| TokenError)?;
        Ok(Token { key: *key, secret: *secret, authority })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_shown_and_debugging_hides_it() {
        let token = Token::random([7; 32]).unwrap();
        let shown = token.reveal();
        assert_eq!(format!(" {shown}\n").parse::<Token>(), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert_ne!(Token::random([7; 32]).unwrap(), token);
    }

    #[test]
    fn what_is_cut_off_or_longer_or_of_another_kind_is_no_token() {
        let shown = Token::random([7; 32]).unwrap().reveal();
        let cut = &shown[..shown.len() - 2];
        for wrong in [cut, format!("{shown}AA").as_str(), "outwork_enrol_", "outwork_0123", ""] {
            assert_eq!(wrong.parse::<Token>(), Err(TokenError), "{wrong}");
        }
    }

    #[test]
    fn only_its_own_secret_fits_a_hash() {
        let token = Token::random([7; 32]).unwrap();
        let hash = Token::hash(&token.secret);
        assert!(Token::is_of(&token.secret, &hash));
        assert!(!Token::is_of(&[0; 32], &hash) && !Token::is_of(&token.secret, &hash[1..]));
    }
}
