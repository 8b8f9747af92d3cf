//! Who issues tokens: its keys, and what is known of its tokens.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use outwork_config::expansion::join_key;

use super::Moment;
use super::claims::{self, Unfit};
use super::fetch::{self, Fetching};
use super::key::{self, Key, KeyError, Secrets};
use super::known::{Digest, Known};
use super::token::{Claims, Token};
use crate::filter::config::{JwtAlgorithm as Algorithm, JwtIssuer as Settings};
use crate::filter::metrics::FilterMetrics;
use crate::filter::watched::Watched;
use crate::message::Local;

/// The largest file of keys.
const FILE: u64 = 1 << 20;
/// Keys that one token is tried on. More fit it only where they have no ids.
const TRIED: usize = 8;

/// Who issues tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) settings: Settings,
    name: String,
    keys: Arc<Keys>,
    files: Watched,
    fetching: Option<Fetching>,
    known: Known,
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct Keys {
    of_files: ArcSwap<Vec<Key>>,
    fetched: ArcSwapOption<Vec<Key>>,
    /// Counts their changes.
    generation: AtomicU64,
}

/// Why nobody's tokens could be verified. Each names its setting, below `front`.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// A file cannot be read.
    #[error("{key}: cannot read {path}: {source}")]
    File {
        /// The setting.
        key: String,
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file has no keys that could be used.
    #[error("{key}: {path}: {error}")]
    Key {
        /// The setting.
        key: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The kernel has no randomness.
    #[error("{0}: {1}")]
    Random(String, getrandom::Error),
    /// Nobody can fetch its keys.
    #[error("{0}: cannot start the thread that fetches keys: {1}")]
    Thread(String, io::Error),
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is signed in a way that is not allowed, or not the one of its key.
    Algorithm,
    /// There is no key that it could be of.
    UnknownKey,
    /// There are no keys yet.
    NoKeys,
    /// Nobody who has the key has signed it.
    Signature,
    /// It is a token of another type.
    Kind,
    /// Its claims do not fit.
    Unfit(Unfit),
}

impl Keys {
    pub(super) fn fetched(&self, keys: Vec<Key>) {
        self.fetched.store(Some(Arc::new(keys)));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn read(&self, keys: Vec<Key>) {
        self.of_files.store(Arc::new(keys));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// The files that an issuer has keys in, each with its setting.
fn files(settings: &Settings) -> Vec<(String, PathBuf)> {
    let named = |key: &str, file: &Option<PathBuf>| file.clone().map(|file| (key.to_owned(), file));
    let keys = settings.public_keys.iter().enumerate();
    let keys = keys.map(|(index, file)| (format!("public_keys[{index}]"), file.clone()));
    let sets = named("jwks_file", &settings.jwks_file);
    keys.chain(sets).chain(named("secret_file", &settings.secret_file)).collect()
}

/// The keys in one of these files.
fn keys_in(setting: &str, file: &Path) -> Result<io::Result<Vec<Key>>, KeyError> {
    let read = || {
        if std::fs::metadata(file)?.len() > FILE {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        std::fs::read(file)
    };
    let content = match read() {
        Ok(content) => content,
        Err(error) => return Ok(Err(error)),
    };
    let keys = match setting {
        "jwks_file" => Key::of_set(&content, Secrets::Taken)?,
        "secret_file" => vec![Key::secret(&content)?],
        _ => Key::of_pem(&content)?,
    };
    Ok(Ok(keys))
}

/// All keys that an issuer of this name has in files, and what is wrong with files.
fn keys_of_files(name: &str, settings: &Settings) -> (Vec<Key>, Vec<JwtError>) {
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for (setting, file) in files(settings) {
        let key = || format!("{}.{setting}", join_key("jwt_issuer", name));
        let path = || file.display().to_string();
        match keys_in(&setting, &file) {
            Ok(Ok(some)) => keys.extend(some),
            Ok(Err(source)) => errors.push(JwtError::File { key: key(), path: path(), source }),
            Err(error) => errors.push(JwtError::Key { key: key(), path: path(), error }),
        }
    }
    (keys, errors)
}

fn authorities(
    name: &str,
    settings: &Settings,
) -> Result<Option<Vec<rustls::pki_types::CertificateDer<'static>>>, JwtError> {
    let Some(file) = &settings.ca else { return Ok(None) };
    let failed = |source| {
        let key = format!("{}.ca", join_key("jwt_issuer", name));
        JwtError::File { key, path: file.display().to_string(), source }
    };
    fetch::authorities(file).map(Some).map_err(failed)
}

/// What would keep an issuer of this name from being set up. Nothing is started.
pub(crate) fn missing(name: &str, settings: &Settings) -> Vec<JwtError> {
    let (_, errors) = keys_of_files(name, settings);
    errors.into_iter().chain(authorities(name, settings).err()).collect()
}

/// A secret that is shorter than what is made with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortSecret {
    /// Its bytes.
    pub bytes: usize,
    /// The bytes that it should have.
    pub wanted: usize,
    /// What for.
    pub algorithm: Algorithm,
}

/// The secret of an issuer in its file, where that can be read, if it is shorter than it should be (RFC 7518 section 3.2).
pub fn short_secret(settings: &Settings) -> Option<ShortSecret> {
    let content = std::fs::read(settings.secret_file.as_ref()?).ok()?;
    let bytes = key::secret(&content).len();
    // Where nothing is said, the shortest hash will do.
    let listed = settings.algorithms.iter().copied().chain(settings.algorithms.is_empty().then_some(Algorithm::Hs256));
    let lengths = listed.filter_map(|algorithm| Some((key::hash_length(algorithm)?, algorithm)));
    let (wanted, algorithm) = lengths.max_by_key(|(length, _)| *length)?;
    (bytes > 0 && bytes < wanted).then_some(ShortSecret { bytes, wanted, algorithm })
}

impl Issuer {
    pub(crate) fn new(name: &str, settings: Settings, metrics: &Arc<FilterMetrics>) -> Result<Arc<Self>, JwtError> {
        let key = || join_key("jwt_issuer", name);
        let authorities = authorities(name, &settings)?;
        let known = Known::new().map_err(|error| JwtError::Random(key(), error))?;
        let keys = Arc::new(Keys::default());
        let url = settings.jwks_url.as_ref();
        let start = |url: &String| Fetching::start(name, url, &settings, authorities, &keys, metrics);
        let files = Watched::new(files(&settings).into_iter().map(|(_, file)| file).collect());
        let issuer = Self {
            fetching: url.map(start).transpose().map_err(|error| JwtError::Thread(key(), error))?,
            name: name.to_owned(),
            keys: Arc::clone(&keys),
            files,
            known,
            settings,
        };
        issuer.read_files()?;
        Ok(Arc::new(issuer))
    }

    /// Has its files read again where they have changed.
    pub(super) fn look(self: &Arc<Self>, now: Moment) {
        if !self.files.are_due(now.clock) {
            return;
        }
        let issuer = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = issuer.read_files() {
                tracing::warn!("front.{error}; the keys before stay");
            }
        });
    }

    /// Reads its files, if one of them has changed: all of them, or they stay what they were.
    fn read_files(&self) -> Result<(), JwtError> {
        if !self.files.have_changed() {
            return Ok(());
        }
        let (keys, errors) = keys_of_files(&self.name, &self.settings);
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => {
                self.keys.read(keys);
                Ok(())
            }
        }
    }

    /// Whether tokens with these claims are its own.
    pub(super) fn has_issued(&self, claims: &Claims) -> bool {
        let own = self.settings.issuer.as_deref();
        own.is_none_or(|own| claims.get("iss").is_some_and(|issuer| issuer == own))
    }

    /// What a token claims that was verified a moment ago.
    pub(super) fn recall(&self, token: &str, now: Moment) -> (Digest, Option<Arc<Claims>>) {
        let digest = self.known.digest(token);
        (digest, self.known.recall(&digest, self.keys.generation.load(Ordering::Acquire), now.unix))
    }

    /// What a token claims, once it is verified.
    pub(super) fn verify(
        &self,
        token: Token<'_>,
        length: usize,
        digest: Digest,
        now: Moment,
    ) -> Result<Arc<Claims>, Failure> {
        // Keys that change meanwhile are later ones than these.
        let generation = self.keys.generation.load(Ordering::Acquire);
        self.check_signature(&token)?;
        self.check_kind(&token)?;
        let until = claims::judge(&token.claims, &self.settings, now.unix).map_err(Failure::Unfit)?;
        let claims = Arc::new(token.claims);
        let remembered = until.min(now.unix.saturating_add(self.settings.remember.as_secs()));
        if now.unix < remembered {
            self.known.remember(digest, length, &claims, (generation, now.unix, remembered));
        }
        Ok(claims)
    }

    fn check_signature(&self, token: &Token<'_>) -> Result<(), Failure> {
        let allowed = &self.settings.algorithms;
        let allowed = token.algorithm.filter(|algorithm| allowed.is_empty() || allowed.contains(algorithm));
        let algorithm = allowed.ok_or(Failure::Algorithm)?;
        let (of_files, fetched) = (self.keys.of_files.load(), self.keys.fetched.load());
        if self.fetching.is_some() && fetched.is_none() && of_files.is_empty() {
            return Err(Failure::NoKeys);
        }
        let all = || of_files.iter().chain(fetched.iter().flat_map(|keys| keys.iter()));
        let is_named = all().any(|key| key.id.is_some() && key.id == token.key);
        let fits = |key: &&Key| key.id.is_none() || token.key.is_none() || key.id == token.key;
        let candidates = all().filter(fits).filter(|key| key.is_for(algorithm)).take(TRIED);
        let mut tried = 0;
        for key in candidates {
            tried += 1;
            if key.verifies(algorithm, token.message, &token.signature) {
                return Ok(());
            }
        }
        Err(match (is_named, tried) {
            (true, 0) => Failure::Algorithm,
            (true, _) => Failure::Signature,
            // Its keys may be others by now.
            (false, _) if self.fetching.is_some() => Failure::UnknownKey,
            (false, 0) if all().any(|key| key.is_for(algorithm)) => Failure::UnknownKey,
            (false, 0) => Failure::Algorithm,
            (false, _) => Failure::Signature,
        })
    }

    /// RFC 7515 section 4.1.9: what has no slash is a type of applications.
    fn check_kind(&self, token: &Token<'_>) -> Result<(), Failure> {
        let short = |kind: &str| {
            let prefix = kind.get(..12).is_some_and(|prefix| prefix.eq_ignore_ascii_case("application/"));
            if prefix { kind.get(12..).unwrap_or_default().to_ascii_lowercase() } else { kind.to_ascii_lowercase() }
        };
        let wanted = &self.settings.types;
        let kind = token.kind.as_deref().map(short);
        match wanted.is_empty() || kind.is_some_and(|kind| wanted.iter().any(|one| short(one) == kind)) {
            true => Ok(()),
            false => Err(Failure::Kind),
        }
    }

    /// Has its keys fetched again, for a token of which none is known: the end of that, or `None` where they are what they are for now.
    pub(super) fn fetch_again(&self, now: Moment) -> Option<Local<()>> {
        self.fetching.as_ref()?.ask(now.clock)
    }
}
