//! Where it stands with the key of one uplink, and what is to be done next. Sans-IO: what the time is and who knows the new key come in.
//!
//! There is one key; then a next one, which handshakes are answered by as well and which others are told of; once all of them have shown that they know it, it is taken up: whom
//! nothing is known of is met by it; and when nobody can need the old one any more, or its time is over, that is dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use outwork_wireguard::keys::Zeroizing;
use outwork_wireguard::{Identity, PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};

use crate::millis::whole_millis;

/// How long the old key is held after everybody has shown that they know the new one: longer than sessions live that were made with it.
pub const AFTER: Duration = Duration::from_secs(300);
/// Who does not know the new key yet is named when so much of the time is over, in hundredths.
const WARNINGS: [u128; 3] = [50, 80, 95];

/// A key that takes over. Times are milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct Next {
    /// It.
    pub key: PrivateKey,
    /// When it was made.
    pub began: u64,
    /// When everybody had shown that they know it.
    pub taken_up: Option<u64>,
}

/// Where it stands.
#[derive(Debug, Clone)]
pub struct State {
    /// The key in force, or the one that is taken over from.
    pub key: PrivateKey,
    /// Since when that is there, in milliseconds since 1970.
    pub since: u64,
    /// The first that there ever was, where that is another one: nobody is answered by it any more, and hubs know the uplink by it.
    pub first: Option<PublicKey>,
    /// The key that takes over.
    pub next: Option<Next>,
    /// Warnings that were given.
    warned: usize,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// These do not know the new key yet, and will be cut off at that time, in milliseconds since 1970.
    Warn(Vec<String>, u64),
    /// All know the new key: it is taken up.
    TakeUp,
    /// The old key is dropped. These did not know the new one.
    Drop(Vec<String>),
    /// The key is as old as one may get: another one is made.
    Begin,
}

/// What is written to disk, beside the file of the key in force.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The public key that this is about.
    of: String,
    since_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<KeptNext>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptNext {
    private_key: String,
    began_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken_up_ms: Option<u64>,
}

/// Why what is on disk is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It cannot be read.
    #[error("it cannot be read: {0}; remove it, and the key in force goes on alone")]
    Text(String),
    /// It is about another key.
    #[error("it is about another key than the one beside it: remove it, and that goes on alone")]
    Other,
}

impl State {
    /// One key, which is there since then.
    pub fn new(key: PrivateKey, since: u64) -> State {
        State { key, since, first: None, next: None, warned: 0 }
    }

    /// As it was kept, beside the file of the key. What a crash has left half done is done: then it is another state than the one that was kept.
    ///
    /// # Errors
    /// When what was kept is none, or is about another key.
    pub fn read(key: PrivateKey, text: &str) -> Result<State, Unreadable> {
        let wrong = |why: &dyn std::fmt::Display| Unreadable::Text(why.to_string());
        let Kept { of, since_ms, first, next } = serde_json::from_str(text).map_err(|why| wrong(&why))?;
        let public = |text: &str| PublicKey::parse(text).map_err(|why| wrong(&why));
        let next = next.map(|KeptNext { private_key, began_ms, taken_up_ms }| {
            let key = PrivateKey::parse(&private_key).map_err(|why| wrong(&why))?;
            Ok::<_, Unreadable>(Next { key, began: began_ms, taken_up: taken_up_ms })
        });
        let (of, next) = (public(&of)?, next.transpose()?);
        let first = first.as_deref().map(public).transpose()?;
        if of == *key.public() {
            return Ok(State { key, since: since_ms, first, next, warned: 0 });
        }
        match next {
            // The new key is in the place of the old one: nothing else was left to do.
            Some(next) if next.key.public() == key.public() => {
                Ok(State { first: first.or(Some(of)), ..State::new(key, next.began) })
            }
            _ => Err(Unreadable::Other),
        }
    }

    /// To be kept, and to be seen by nobody.
    pub fn write(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let next = self.next.as_ref().map(|next| KeptNext {
            private_key: next.key.reveal().to_string(),
            began_ms: next.began,
            taken_up_ms: next.taken_up,
        });
        let first = self.first.map(|key| key.to_string());
        let kept = Kept { of: self.key.public().to_string(), since_ms: self.since, first, next };
        serde_json::to_vec(&kept).map(Zeroizing::new)
    }

    /// By which keys we are known.
    pub fn identity(&self) -> Identity {
        let identity = Identity::from(self.key.clone());
        match &self.next {
            Some(next) => identity.with_next(next.key.clone(), next.taken_up.is_some()),
            None => identity,
        }
    }

    /// The same with a key that takes over.
    #[must_use]
    pub fn begun(&self, key: PrivateKey, now: u64) -> State {
        State { next: Some(Next { key, began: now, taken_up: None }), warned: 0, ..self.clone() }
    }

    /// The same with the next key taken up.
    #[must_use]
    pub fn taken_up(&self, now: u64) -> State {
        let next = self.next.clone().map(|next| Next { taken_up: Some(now), ..next });
        State { next, ..self.clone() }
    }

    /// The same without the old key.
    #[must_use]
    pub fn dropped(&self) -> State {
        match &self.next {
            Some(next) => {
                let first = self.first.or(Some(*self.key.public()));
                State { first, ..State::new(next.key.clone(), next.began) }
            }
            None => self.clone(),
        }
    }

    /// The same without the next key.
    #[must_use]
    pub fn abandoned(&self) -> State {
        State { next: None, warned: 0, ..self.clone() }
    }

    /// When the old key is dropped at the latest, in milliseconds since 1970.
    pub fn until(&self, overlap: Duration) -> Option<u64> {
        self.next.as_ref().map(|next| next.began.saturating_add(whole_millis(overlap)))
    }

    /// When another key takes over though nobody has said so, in milliseconds since 1970. A tenth sooner at most, as the key says: each at its own time, and at the same after a restart.
    pub fn expires(&self, every: Duration) -> u64 {
        let [share, ..] = self.key.public().0;
        let sooner = every / 10 * u32::from(share) / 255;
        self.since.saturating_add(whole_millis(every.saturating_sub(sooner)))
    }

    /// What is to be done now. `who` are those whom tunnels of the uplink lead to, and whether they have shown that they know the next key.
    pub fn step(&mut self, now: u64, overlap: Duration, every: Option<Duration>, who: &BTreeMap<String, bool>) -> Step {
        let Some(until) = self.until(overlap) else {
            let is_old = every.is_some_and(|every| self.expires(every) <= now);
            return if is_old { Step::Begin } else { Step::Wait };
        };
        let Some(Next { began, taken_up, .. }) = self.next.as_ref() else { return Step::Wait };
        let ignorant = || who.iter().filter(|(_, knows)| !**knows).map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if taken_up.is_some_and(|at| now >= at.saturating_add(whole_millis(AFTER))) {
            return Step::Drop(vec![]);
        }
        if now >= until {
            // After a restart nobody has shown anything yet, and all may have known it before.
            return Step::Drop(if taken_up.is_some() { vec![] } else { ignorant() });
        }
        let ignorant = ignorant();
        match taken_up {
            Some(_) => Step::Wait,
            None if ignorant.is_empty() => Step::TakeUp,
            None => {
                let over = u128::from(now.saturating_sub(*began)) * 100 / overlap.as_millis().max(1);
                let due = WARNINGS.iter().filter(|share| **share <= over).count();
                if due <= self.warned {
                    return Step::Wait;
                }
                self.warned = due;
                Step::Warn(ignorant, until)
            }
        }
    }
}
