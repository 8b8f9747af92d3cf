//! Tokens: 256 random bits that are shown once. Only their SHA-256 is kept, so the table is of no use to its thief.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Role, StorageError, Timestamp};

/// How every token begins, so that secret scanners know one.
const PREFIX: &str = "outwork_";

/// A token in the clear. It exists to be shown once; `Debug` hides it.
pub struct Secret(String);

impl Secret {
    /// A new token.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        Ok(Self(format!("{PREFIX}{}", random_hex()?)))
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The token itself, to be shown to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// 256 random bits in hexadecimal.
pub(super) fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The SHA-256 of a token: enough for a secret of 256 random bits, which no dictionary holds.
#[derive(Clone, Copy)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of what a caller presented.
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented.as_bytes()).into())
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(hidden)")
    }
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its number.
    pub id: i64,
    /// What its owner calls it; who the audit log names.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The hash of the secret.
    pub hash: TokenHash,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last presented, to the minute.
    pub last_used: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// Where tokens are kept. Every call may block, and returns when what it promises is on disk.
pub trait TokenStore: Send + Sync {
    /// The token with this hash.
    ///
    /// # Errors
    /// When the storage fails; so for all of these.
    fn find(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, StorageError>;

    /// Notes that a token was presented.
    ///
    /// # Errors
    /// See [`find`](Self::find).
    fn touch(&self, id: i64, at: Timestamp) -> Result<(), StorageError>;

    /// Every token, oldest first.
    ///
    /// # Errors
    /// See [`find`](Self::find).
    fn list(&self) -> Result<Vec<TokenRecord>, StorageError>;

    /// Keeps a new token and returns its number.
    ///
    /// # Errors
    /// See [`find`](Self::find).
    fn insert(
        &self,
        name: &str,
        role: Role,
        hash: &TokenHash,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) -> Result<i64, StorageError>;

    /// Forgets a token; false when there was none.
    ///
    /// # Errors
    /// See [`find`](Self::find).
    fn remove(&self, id: i64) -> Result<bool, StorageError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed_and_no_two_are_alike() {
        let (a, b) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(a.hash(), b.hash());
        assert!(!format!("{a:?} {:?}", a.hash()).contains(&a.reveal()[PREFIX.len()..]));
        assert_eq!(a.reveal().len(), PREFIX.len() + 64);
        assert_eq!(TokenHash::of(a.reveal()), a.hash());
    }
}
