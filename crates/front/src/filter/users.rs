//! Hashes of passwords, and files of them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use sha2::{Digest, Sha256};

use super::auth::AuthError;

/// The largest file of users.
const FILE: u64 = 16 << 20;
/// The greatest cost of bcrypt that is computed: some seconds.
const BCRYPT_COST: u32 = 15;
/// The most that Argon2 may use: KiB of memory, and passes over it.
const ARGON2_MEMORY: u32 = 256 << 10;
const ARGON2_PASSES: u32 = 16;
/// The cost of a new bcrypt hash.
const NEW_BCRYPT_COST: u32 = 12;

/// A hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// Argon2 as a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$…`.
    Argon2(Box<str>),
    /// bcrypt: `$2y$12$…`.
    Bcrypt(Box<str>),
}

/// Why a text is no hash that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It is of another kind.
    #[error("this is no hash of Argon2 or bcrypt")]
    Kind,
    /// It is of a kind that is found out in no time.
    #[error("{0} can be tried out in no time, and is not taken")]
    Weak(&'static str),
    /// It is malformed.
    #[error("the hash is malformed: {0}")]
    Malformed(String),
    /// It costs too much.
    #[error("the hash costs more than a sign-in may")]
    Costly,
}

impl Hash {
    /// A new hash, of Argon2id with the parameters that OWASP recommends.
    ///
    /// # Errors
    /// When the password cannot be hashed.
    pub fn argon2(password: &[u8], salt: [u8; 16]) -> Result<Self, HashError> {
        let hash: PasswordHash = Argon2::default()
            .hash_password_with_salt(password, &salt)
            .map_err(|error| HashError::Malformed(error.to_string()))?;
        Ok(Self::Argon2(hash.to_string().into()))
    }

    /// A new hash, of bcrypt, for files that others read, too.
    ///
    /// # Errors
    /// When the password cannot be hashed, or has more than the 72 bytes that bcrypt looks at.
    pub fn bcrypt(password: &[u8], salt: [u8; 16]) -> Result<Self, HashError> {
        let hash = bcrypt::non_truncating_hash_with_salt(password, NEW_BCRYPT_COST, salt);
        let hash = hash.map_err(|error| HashError::Malformed(error.to_string()))?;
        Ok(Self::Bcrypt(hash.format_for_version(bcrypt::Version::TwoY).into()))
    }

    fn text(&self) -> &str {
        let (Self::Argon2(text) | Self::Bcrypt(text)) = self;
        text
    }

    /// Whether it is the hash of this password. It takes its time.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(text) => {
                PasswordHash::new(text).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
        }
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        if text.starts_with("$argon2") {
            let malformed = |error: &dyn fmt::Display| HashError::Malformed(error.to_string());
            let hash = PasswordHash::new(text).map_err(|error| malformed(&error))?;
            let params = Params::try_from(&hash).map_err(|error| malformed(&error))?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err(HashError::Malformed("it has no salt or no hash".to_owned()));
            }
            if params.m_cost() > ARGON2_MEMORY || params.t_cost() > ARGON2_PASSES {
                return Err(HashError::Costly);
            }
            return Ok(Self::Argon2(text.into()));
        }
        if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|kind| text.starts_with(kind)) {
            let parts = text.parse::<bcrypt::HashParts>();
            let parts = parts.map_err(|error| HashError::Malformed(error.to_string()))?;
            return match parts.get_cost() > BCRYPT_COST {
                true => Err(HashError::Costly),
                false => Ok(Self::Bcrypt(text.into())),
            };
        }
        let weak = [
            ("$apr1$", "MD5 (apr1)"),
            ("$1$", "MD5"),
            ("{SHA}", "SHA-1"),
            ("{SHA256}", "SHA-256 without salt"),
            ("{PLAIN}", "the password itself"),
        ];
        let weak = weak.into_iter().find(|(begin, _)| text.starts_with(begin));
        Err(weak.map_or(HashError::Kind, |(_, name)| HashError::Weak(name)))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(********)")
    }
}

/// Names and the hashes of their passwords.
#[derive(Debug, Clone, Default)]
pub(crate) struct Users {
    named: HashMap<String, Hash>,
    /// All hashes in an order of their own. Names that nobody has are tried on one of them.
    hashes: Box<[Hash]>,
    /// What nobody knows who does not know the hashes.
    key: [u8; 32],
}

/// Why a file of users cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// A line has no colon.
    #[error("line {0} is no NAME:HASH")]
    Line(usize),
    /// A line has a hash that cannot be used.
    #[error("line {line}: {error}; `htpasswd -B` and `outwork hash-password` make hashes that can be used")]
    Hash {
        /// The line, from 1.
        line: usize,
        /// What is wrong with its hash.
        error: HashError,
    },
}

impl Users {
    /// These.
    pub(crate) fn new(named: HashMap<String, Hash>) -> Self {
        let mut hashes: Box<[Hash]> = named.values().cloned().collect();
        hashes.sort_by(|one, other| one.text().cmp(other.text()));
        let key = hashes.iter().fold(Sha256::new(), |key, hash| key.chain_update(hash.text())).finalize().into();
        Self { named, hashes, key }
    }

    /// Reads a file of users: `NAME:HASH` on each line, `#` begins a comment.
    pub(crate) fn parse(text: &str) -> Result<HashMap<String, Hash>, UsersError> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) =
                line.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(UsersError::Line(number))?;
            let hash = hash.parse().map_err(|error| UsersError::Hash { line: number, error })?;
            users.insert(name.to_owned(), hash);
        }
        Ok(users)
    }

    /// Reads such a file.
    pub(crate) fn read(file: &Path) -> Result<HashMap<String, Hash>, AuthError> {
        let path = || file.display().to_string();
        let failed = |source| AuthError::File { path: path(), source };
        if std::fs::metadata(file).map_err(failed)?.len() > FILE {
            return Err(failed(io::Error::other("it is larger than 16 MiB")));
        }
        let text = std::fs::read_to_string(file).map_err(failed)?;
        Self::parse(&text).map_err(|error| AuthError::Users { path: path(), error })
    }

    /// Whether this is the password of this name. It takes as long for a name that nobody has.
    pub(crate) fn verify(&self, name: &str, password: &[u8]) -> bool {
        match self.named.get(name) {
            Some(hash) => hash.verify(password),
            // What comes of it is not looked at.
            None => {
                std::hint::black_box(self.stand_in(name).map(|other| other.verify(password)));
                false
            }
        }
    }

    /// The hash that a name which nobody has is tried on: always the same one, as of a name that somebody has, so that time does not tell
    /// them apart where hashes differ in what they cost.
    fn stand_in(&self, name: &str) -> Option<&Hash> {
        let digest = Sha256::new().chain_update(self.key).chain_update(name).finalize();
        let number = digest.iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet));
        let place = number.checked_rem(self.hashes.len() as u64)?;
        self.hashes.get(place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_hash_and_no_other() {
        for hash in [Hash::argon2(b"open sesame", [7; 16]).unwrap(), Hash::bcrypt(b"open sesame", [7; 16]).unwrap()] {
            let read: Hash = hash.to_string().parse().unwrap();
            assert!(read.verify(b"open sesame") && !read.verify(b"open sesam") && !read.verify(b""), "{hash}");
        }
        let short = Hash::argon2(b"x", [1; 16]).unwrap().to_string();
        assert!(short.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{short}");
        assert!(Hash::bcrypt(&[b'x'; 73], [7; 16]).is_err());
    }

    #[test]
    fn hashes_that_are_weak_or_too_costly_are_not_taken() {
        assert_eq!("$apr1$x$y".parse::<Hash>(), Err(HashError::Weak("MD5 (apr1)")));
        assert_eq!("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".parse::<Hash>(), Err(HashError::Weak("SHA-1")));
        assert_eq!("secret".parse::<Hash>(), Err(HashError::Kind));
        let costly = "$2y$31$C6UzMDM.H6dfI/f/IKcEeO7ZBrHJnHSvGhJDdGMCTmPHZ0WhJ1fJm";
        assert_eq!(costly.parse::<Hash>(), Err(HashError::Costly));
        assert!(matches!("$2y$12$short".parse::<Hash>(), Err(HashError::Malformed(_))));
        assert!(matches!(
            "$argon2id$v=19$m=1048576,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA".parse::<Hash>(),
            Err(HashError::Malformed(_))
        ));
    }

    #[test]
    fn a_file_of_users_names_the_line_that_is_wrong() {
        let hash = Hash::bcrypt(b"x", [3; 16]).unwrap();
        let users = Users::new(Users::parse(&format!("# people\n\nann:{hash}\n")).unwrap());
        assert!(users.verify("ann", b"x") && !users.verify("ann", b"y") && !users.verify("bob", b"x"));
        assert!(matches!(Users::parse("ann"), Err(UsersError::Line(1))));
        let wrong = Users::parse("# x\nbob:$apr1$a$b").unwrap_err().to_string();
        assert!(wrong.starts_with("line 2: MD5 (apr1)"), "{wrong}");
    }

    #[test]
    fn a_name_that_nobody_has_always_costs_the_same_and_names_differ_in_it_as_those_of_users_do() {
        let hash = |number: u8| match number % 2 {
            0 => Hash::Argon2(format!("$argon2id${number}").into()),
            _ => Hash::Bcrypt(format!("$2y$12${number}").into()),
        };
        let users = || Users::new((0..20).map(|number| (number.to_string(), hash(number))).collect());
        let (users, again) = (users(), users());
        let names: Vec<String> = (0..200).map(|number| format!("nobody {number}")).collect();
        let argon2 = names.iter().filter(|name| matches!(users.stand_in(name), Some(Hash::Argon2(_)))).count();
        assert!((50..150).contains(&argon2), "{argon2} of 200");
        assert!(names.iter().all(|name| users.stand_in(name) == again.stand_in(name)), "after a reload, too");
        assert_eq!(Users::default().stand_in("nobody"), None);
    }
}
