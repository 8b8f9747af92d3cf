//! Which static keys of both ends a handshake is made with. Usually each has one; while another one takes over from it, two.
//!
//! Who is to know a new key of ours may not know it yet, and nobody tells who does: there is no answer to a handshake that is of nobody known. So it is tried, beside a session that
//! serves meanwhile: when keys of sessions are made anew anyway, the newest of both ends come first, and what is known to work comes after that has failed. Without a session it is
//! the other way round. A handshake that was done shows what the other end knows.

use outwork_engine::Time;

use super::{Peer, TRIAL};
use crate::{Identity, PrivateKey, PublicKey};

/// What handshakes have shown.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The keys of the last one, ours and theirs.
    last: Option<(PublicKey, PublicKey)>,
    /// Those of ours that they know, the latest last: as many as we have at a time.
    own: [Option<PublicKey>; 2],
}

impl Peer {
    /// They are known by these keys from now on: `next` takes over from `remote`. Sessions live on.
    pub fn set_remotes(&mut self, now: Time, remote: PublicKey, next: Option<PublicKey>) {
        let newest = next.unwrap_or(remote);
        let is_new = !self.is(&newest);
        self.settings.remote = remote;
        self.next = next;
        if is_new && self.known.last.is_some() {
            self.try_soon(now);
        }
    }

    /// Keys of either end are new: they are tried soon, if there is a session that serves meanwhile.
    pub fn try_soon(&mut self, now: Time) {
        let pause = std::time::Duration::from_nanos(self.rng.below(TRIAL.as_nanos() as u64));
        self.trial = Some(now + pause);
    }

    /// Whether it is who has this key.
    pub fn is(&self, key: &PublicKey) -> bool {
        self.settings.remote == *key || self.next.as_ref() == Some(key)
    }

    /// Whether they have shown that they know this key of ours.
    pub fn knows(&self, own: &PublicKey) -> bool {
        self.known.own.iter().flatten().any(|known| known == own)
    }

    /// A handshake between these keys, ours and theirs, was done.
    pub(super) fn works(&mut self, keys: (PublicKey, PublicKey)) {
        self.known.last = Some(keys);
        if self.knows(&keys.0) {
            return;
        }
        let [_, latest] = self.known.own;
        self.known.own = [latest, Some(keys.0)];
    }

    /// Whether a handshake that begins now is to try keys that are new first: there is a session, which is to be made anew for its age, or because there are such.
    pub(super) fn tries_new_keys(&mut self) -> bool {
        let eager = std::mem::take(&mut self.eager);
        self.sessions.current.as_ref().is_some_and(|session| eager || session.wants_rekey())
    }

    /// The keys of one try at a handshake, of ours and of theirs.
    pub(super) fn keys<'a>(&self, local: &'a Identity, tries: usize, trial: bool) -> (&'a PrivateKey, PublicKey) {
        let newest = (local.newest(), self.next.unwrap_or(self.settings.remote));
        let last = self.known.last.as_ref();
        let own = last.and_then(|(own, _)| local.find(own)).unwrap_or(local.current());
        // Who tells of a key has it.
        let theirs = last.map(|(_, theirs)| *theirs).filter(|theirs| self.is(theirs)).unwrap_or(newest.1);
        let works = (own, theirs);
        let first = if trial { newest } else { works };
        // The last are for who has gone back to an older one.
        let all = [
            first,
            newest,
            (own, newest.1),
            (newest.0, theirs),
            works,
            (local.oldest(), newest.1),
            (newest.0, self.settings.remote),
            (local.oldest(), self.settings.remote),
        ];
        let mut distinct: Vec<(&PrivateKey, PublicKey)> = Vec::with_capacity(all.len());
        for (own, theirs) in all {
            if !distinct.iter().any(|known| known.0.public() == own.public() && known.1 == theirs) {
                distinct.push((own, theirs));
            }
        }
        distinct.get(tries % distinct.len().max(1)).copied().unwrap_or(works)
    }
}
