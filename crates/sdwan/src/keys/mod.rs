//! The static keys of our uplinks: where they are kept, and how one takes over from another.
//!
//! - [`rotation`]: where that stands with one uplink, and what is to be done next.
//!
//! Here is what touches the disk. A key is made once and kept in a file of its own; what is known of the key that takes over from it lies beside that, so that a restart in the middle
//! goes on where it was. It is on disk before anybody is told of it.

pub mod rotation;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_store::file::{create_private_dir, replace_private};
use outwork_wireguard::entropy::System;
use outwork_wireguard::keys::{KeyError, Zeroizing};
use outwork_wireguard::{Identity, PrivateKey, PublicKey};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::{CarrierKind, KeySettings, Sdwan, Uplink};
use crate::millis::whole_millis;
use crate::service::Service;
use rotation::{State, Step};

/// How often it is looked whether there is something to be done.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no key, or none takes over from it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A key that cannot be used.
    #[error("the private key of the uplink {uplink}: {why}")]
    Key {
        /// Whose.
        uplink: String,
        /// What is wrong.
        why: KeyError,
    },
    /// A file with a key.
    #[error("the private key of the uplink {uplink}, in {path}: {why}")]
    File {
        /// Whose.
        uplink: String,
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        why: io::Error,
    },
    /// There is no such uplink.
    #[error("no uplink is called {uplink:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        uplink: String,
        /// What there are.
        known: String,
    },
    /// Its key is not kept here.
    #[error(
        "the key of the uplink {uplink} is written down in the configuration, where another has to be written by whoever wrote it; without private_key and private_key_file it is made and kept here, and another can take over from it"
    )]
    Configured {
        /// Which.
        uplink: String,
    },
    /// The kernel has one key for an interface.
    #[error(
        "the uplink {uplink} may be the kernel's, whose WireGuard has one key at a time: with carrier = \"process\" another can take over from it"
    )]
    Kernel {
        /// Which.
        uplink: String,
    },
    /// One takes over already.
    #[error("a key takes over from that of the uplink {uplink} already, since {since_ms} ms of Unix time")]
    UnderWay {
        /// Which.
        uplink: String,
        /// Since when.
        since_ms: u64,
    },
    /// None takes over.
    #[error("no key takes over from that of the uplink {uplink}")]
    NotUnderWay {
        /// Which.
        uplink: String,
    },
    /// There is no uplink whose key is kept here.
    #[error(
        "no uplink has a key that another could take over from: their keys are written down in the configuration, or they may be the kernel's"
    )]
    None,
    /// Control does not answer.
    #[error("the thread that controls the tunnels does not answer")]
    Silent,
}

/// By which keys others are to know an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What it is called.
    pub uplink: String,
    /// Its public key.
    pub key: PublicKey,
    /// The one that takes over from that.
    pub next: Option<PublicKey>,
    /// The first that it ever had, where that is another: hubs know it by that.
    pub first: Option<PublicKey>,
}

/// How it stands with the key of an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTold {
    /// By which keys others are to know it.
    pub published: Published,
    /// Where that stands, while one takes over from another.
    pub rotation: Option<RotationTold>,
    /// Since when the key in force is there, in milliseconds since 1970.
    pub since_ms: u64,
}

/// How it stands with a key that takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationTold {
    /// `announced` until all know it, then `taken-up`.
    pub state: &'static str,
    /// When it was made, in milliseconds since 1970.
    pub began_ms: u64,
    /// When the old one is dropped at the latest.
    pub until_ms: u64,
    /// Who has not shown yet that they know it.
    pub waits_for: Vec<String>,
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// It is made and kept here.
    Own,
    /// The configuration says it.
    Configured,
    /// As [`Source::Own`], but the kernel may carry the uplink.
    Kernel,
}

/// The key of one uplink.
#[derive(Debug)]
struct Own {
    uplink: String,
    source: Source,
    state: State,
    waits_for: Vec<String>,
}

/// The keys of all uplinks.
#[derive(Debug)]
pub struct Keys {
    dir: PathBuf,
    own: Mutex<Vec<Own>>,
    settings: Mutex<KeySettings>,
    changed: watch::Sender<u64>,
}

/// Milliseconds since 1970.
fn unix(time: SystemTime) -> u64 {
    whole_millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn key_file(dir: &Path, uplink: &str) -> PathBuf {
    dir.join(format!("{uplink}.key"))
}

fn rotation_file(dir: &Path, uplink: &str) -> PathBuf {
    dir.join(format!("{uplink}.rotation"))
}

/// The key of an uplink, and how it stands with that. One that nobody gives is made once, and kept.
fn own(uplink: &Uplink, dir: &Path) -> Result<Own, KeysError> {
    let wrong = |why| KeysError::Key { uplink: uplink.name.clone(), why };
    let source = match (&uplink.private_key, &uplink.private_key_file) {
        (None, None) if uplink.carrier != CarrierKind::Process => Source::Kernel,
        (None, None) => Source::Own,
        _ => Source::Configured,
    };
    let own = |state| Own { uplink: uplink.name.clone(), source, state, waits_for: vec![] };
    if let Some(key) = &uplink.private_key {
        return Ok(own(State::new(PrivateKey::parse(key.expose()).map_err(wrong)?, 0)));
    }
    let path = uplink.private_key_file.clone().unwrap_or_else(|| key_file(dir, &uplink.name));
    let failed = |path: &Path, why| KeysError::File { uplink: uplink.name.clone(), path: path.to_owned(), why };
    let key = match std::fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => PrivateKey::parse(&text).map_err(wrong)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && source != Source::Configured => {
            let key = PrivateKey::generate(&mut System::default()).map_err(wrong)?;
            dir.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|why| failed(&path, why))?;
            match create_private_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&path, error)),
                _ => {}
            }
            keep_key(&path, &key).map_err(|why| failed(&path, why))?;
            key
        }
        Err(error) => return Err(failed(&path, error)),
    };
    let made = std::fs::metadata(&path).and_then(|file| file.modified()).map_or(0, unix);
    if source != Source::Own {
        return Ok(own(State::new(key, made)));
    }
    let path = rotation_file(dir, &uplink.name);
    let text = match std::fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(own(State::new(key, made))),
        Err(error) => return Err(failed(&path, error)),
    };
    let state = State::read(key, &text);
    state.map(own).map_err(|why| failed(&path, io::Error::new(io::ErrorKind::InvalidData, why)))
}

fn keep_key(path: &Path, key: &PrivateKey) -> io::Result<()> {
    let mut text = key.reveal();
    text.push('\n');
    replace_private(path, text.as_bytes())
}

impl Keys {
    /// Those of all uplinks. Keys that nobody gives are made and kept in `dir`.
    ///
    /// # Errors
    /// When a key cannot be read or made.
    pub fn load(settings: &Sdwan, dir: &Path) -> Result<Keys, KeysError> {
        let all = settings.uplink.iter().map(|uplink| own(uplink, dir)).collect::<Result<_, _>>()?;
        let settings = Mutex::new(settings.keys.clone());
        Ok(Keys { dir: dir.to_owned(), own: Mutex::new(all), settings, changed: watch::Sender::new(0) })
    }

    /// By which keys we are known, uplink by uplink.
    pub fn identities(&self) -> Vec<Identity> {
        self.own.lock().iter().map(|own| own.state.identity()).collect()
    }

    /// The keys by which hubs know our uplinks: the first that they ever had.
    pub fn first(&self) -> Vec<PublicKey> {
        self.own.lock().iter().map(|own| own.state.first.unwrap_or(*own.state.key.public())).collect()
    }

    /// By which keys others are to know our uplinks.
    pub fn published(&self) -> Vec<Published> {
        self.own.lock().iter().map(Own::published).collect()
    }

    /// How it stands with them.
    pub fn told(&self) -> Vec<KeyTold> {
        let overlap = self.settings.lock().overlap;
        self.own.lock().iter().map(|own| own.told(overlap)).collect()
    }

    /// Says when [`Keys::published`] is something else.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The settings are these from now on.
    pub fn heed(&self, settings: &KeySettings) {
        *self.settings.lock() = settings.clone();
    }

    /// Makes a key that takes over from that of an uplink; of all whose keys are kept here, where none is named. `be` has us known by it once it is on disk.
    ///
    /// # Errors
    /// When there is no such uplink, its key is not kept here, one takes over already, or it cannot be kept.
    pub fn begin(&self, uplink: Option<&str>, now: SystemTime, be: impl Be) -> Result<Vec<KeyTold>, KeysError> {
        let overlap = self.settings.lock().overlap;
        let mut all = self.own.lock();
        let places = places(&all, uplink, |own| own.state.next.is_none())?;
        let mut told = vec![];
        for (place, own) in all.iter_mut().enumerate().filter(|(place, _)| places.contains(place)) {
            own.begin(&self.dir, unix(now))?;
            be.be(place, &own.state)?;
            told.push(own.told(overlap));
        }
        drop(all);
        self.changed.send_modify(|count| *count += 1);
        Ok(told)
    }

    /// Gives the key up that takes over from that of an uplink; where none is named, all of them. Who has it goes back to the one before.
    ///
    /// # Errors
    /// When there is no such uplink, none takes over there, or that cannot be kept.
    pub fn abandon(&self, uplink: Option<&str>, be: impl Be) -> Result<Vec<KeyTold>, KeysError> {
        let overlap = self.settings.lock().overlap;
        let mut all = self.own.lock();
        let places = places(&all, uplink, |own| own.state.next.is_some())?;
        let mut told = vec![];
        for (place, own) in all.iter_mut().enumerate().filter(|(place, _)| places.contains(place)) {
            own.keep(&self.dir, own.state.abandoned())?;
            own.waits_for.clear();
            be.be(place, &own.state)?;
            tracing::info!(uplink = own.uplink, "the key that was to take over is given up");
            told.push(own.told(overlap));
        }
        drop(all);
        self.changed.send_modify(|count| *count += 1);
        Ok(told)
    }

    /// Does what is due. `be` says who knows a key, and has us known by others.
    ///
    /// # Errors
    /// When something cannot be kept; it is tried again the next time.
    pub fn tend(&self, now: SystemTime, be: impl Be) -> Result<(), KeysError> {
        let KeySettings { overlap, rotate_every } = self.settings.lock().clone();
        let (now, mut changed) = (unix(now), false);
        let mut all = self.own.lock();
        for (place, own) in all.iter_mut().enumerate().filter(|(_, own)| own.source == Source::Own) {
            let who = match &own.state.next {
                Some(next) => be.knows(place, next.key.public())?,
                None => BTreeMap::new(),
            };
            own.waits_for = who.iter().filter(|(_, knows)| !**knows).map(|(name, _)| name.clone()).collect();
            let uplink = own.uplink.clone();
            match own.state.step(now, overlap, rotate_every, &who) {
                Step::Wait => continue,
                Step::Warn(who, until) => {
                    let hours = until.saturating_sub(now) as f64 / 3.6e6;
                    tracing::warn!(
                        uplink,
                        ?who,
                        hours,
                        "the old key is dropped in some hours, and these do not know the new one: they will be cut off"
                    );
                    continue;
                }
                Step::Begin => own.begin(&self.dir, now)?,
                Step::TakeUp => {
                    own.keep(&self.dir, own.state.taken_up(now))?;
                    tracing::info!(uplink, "the new key is taken up: all know it");
                }
                Step::Drop(cut) => {
                    own.replace(&self.dir)?;
                    let key = own.state.key.public();
                    match cut.is_empty() {
                        true => tracing::info!(uplink, %key, "the old key is dropped"),
                        false => {
                            tracing::warn!(uplink, %key, who = ?cut, "the old key is dropped, and these are cut off until they know the new one")
                        }
                    }
                }
            }
            be.be(place, &own.state)?;
            changed = true;
        }
        drop(all);
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}

/// Who has us known by keys, and says who knows them: control.
pub trait Be {
    /// At the uplink of this place we are known by these keys from now on.
    ///
    /// # Errors
    /// When it does not answer.
    fn be(&self, place: usize, state: &State) -> Result<(), KeysError>;

    /// Who there is at the uplink of this place, and whether they have shown that they know a key of ours.
    ///
    /// # Errors
    /// When it does not answer.
    fn knows(&self, place: usize, key: &PublicKey) -> Result<BTreeMap<String, bool>, KeysError>;
}

/// The places of the uplink that is named, or of all that it can be done with.
fn places(all: &[Own], uplink: Option<&str>, fits: impl Fn(&Own) -> bool) -> Result<Vec<usize>, KeysError> {
    let Some(name) = uplink else {
        let fit = all.iter().enumerate().filter(|(_, own)| own.source == Source::Own && fits(own));
        let places: Vec<_> = fit.map(|(place, _)| place).collect();
        // Of several that are under way, the first is named.
        let first = all.iter().find(|own| own.source == Source::Own);
        return match (places.is_empty(), first) {
            (false, _) => Ok(places),
            (true, Some(own)) => Err(own.unfit()),
            (true, None) => Err(KeysError::None),
        };
    };
    let uplink = name.to_owned();
    let Some((place, own)) = all.iter().enumerate().find(|(_, own)| own.uplink == name) else {
        let known = all.iter().map(|own| own.uplink.as_str()).collect::<Vec<_>>().join(", ");
        return Err(KeysError::Unknown { uplink, known });
    };
    match own.source {
        Source::Configured => Err(KeysError::Configured { uplink }),
        Source::Kernel => Err(KeysError::Kernel { uplink }),
        Source::Own if fits(own) => Ok(vec![place]),
        Source::Own => Err(own.unfit()),
    }
}

impl Own {
    fn published(&self) -> Published {
        let next = self.state.next.as_ref().map(|next| *next.key.public());
        Published { uplink: self.uplink.clone(), key: *self.state.key.public(), next, first: self.state.first }
    }

    fn told(&self, overlap: Duration) -> KeyTold {
        let rotation = self.state.next.as_ref().map(|next| RotationTold {
            state: if next.taken_up.is_some() { "taken-up" } else { "announced" },
            began_ms: next.began,
            until_ms: self.state.until(overlap).unwrap_or_default(),
            waits_for: self.waits_for.clone(),
        });
        KeyTold { published: self.published(), rotation, since_ms: self.state.since }
    }

    /// What stands in the way of what was asked for.
    fn unfit(&self) -> KeysError {
        let uplink = self.uplink.clone();
        match &self.state.next {
            Some(next) => KeysError::UnderWay { uplink, since_ms: next.began },
            None => KeysError::NotUnderWay { uplink },
        }
    }

    fn begin(&mut self, dir: &Path, now: u64) -> Result<(), KeysError> {
        let wrong = |why| KeysError::Key { uplink: self.uplink.clone(), why };
        let key = PrivateKey::generate(&mut System::default()).map_err(wrong)?;
        let public = *key.public();
        self.keep(dir, self.state.begun(key, now))?;
        tracing::info!(uplink = self.uplink, key = %public, "a new key takes over: others are to know it as next_public_key");
        Ok(())
    }

    /// Has this state on disk, and then in force.
    fn keep(&mut self, dir: &Path, state: State) -> Result<(), KeysError> {
        let path = rotation_file(dir, &self.uplink);
        let written = state.write().map_err(io::Error::other).and_then(|text| replace_private(&path, &text));
        written.map_err(|why| KeysError::File { uplink: self.uplink.clone(), path, why })?;
        self.state = state;
        Ok(())
    }

    /// Puts the new key in the place of the old one: first in its file, which says alone what is left to do should that be the end.
    fn replace(&mut self, dir: &Path) -> Result<(), KeysError> {
        let state = self.state.dropped();
        let path = key_file(dir, &self.uplink);
        keep_key(&path, &state.key).map_err(|why| KeysError::File { uplink: self.uplink.clone(), path, why })?;
        self.keep(dir, state)
    }
}

/// By which keys others are to know our uplinks. Keys that nobody gives are made and kept, as a start does.
///
/// # Errors
/// When a key cannot be read or made.
pub fn published(settings: &Sdwan, dir: &Path) -> Result<Vec<Published>, KeysError> {
    Keys::load(settings, dir).map(|keys| keys.published())
}

/// Does what is due with the keys of a service, for as long as it is awaited.
pub async fn tend(service: Arc<Service>) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let tended = Arc::clone(&service);
        let done = tokio::task::spawn_blocking(move || tended.tend_keys(SystemTime::now())).await;
        let why = match done {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // Once, and not each time that it is tried again.
        if !why.is_empty() && why != told {
            tracing::warn!(error = why, "what is due with the keys of uplinks is not done");
        }
        told = why;
    }
}
