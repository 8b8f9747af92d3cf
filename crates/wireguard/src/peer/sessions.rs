//! The keys in force, and those that they took over from.
//!
//! Who begins has a new session with the response, and uses it at once. Who answers uses its new session only when a datagram of it has come: until
//! then, nobody knows that the response arrived. What was in force before is opened for as long as its keys live.

use std::sync::Arc;

use outwork_engine::Time;

use super::{Context, Output, Peer};
use crate::Index;
use crate::noise::Keys;
use crate::session::{Opener, Sealer};

/// Keys of one handshake.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) sealer: Arc<Sealer>,
    pub(super) opener: Arc<Opener>,
}

impl Session {
    pub(super) fn index(&self) -> Index {
        self.opener.local()
    }

    pub(super) fn wants_rekey(&self) -> bool {
        self.sealer.wants_rekey() || self.opener.wants_rekey()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// What is sealed with.
    pub(super) current: Option<Session>,
    /// Answered, and not yet confirmed.
    pub(super) next: Option<Session>,
    /// Retired, the latest first. Three, for when both ends begin at once, and did so the time before: our new session takes over, and theirs that we answered,
    /// ours that was in force and theirs that they still seal with are all to be opened.
    previous: [Option<Session>; 3],
}

impl Sessions {
    /// When the first of them ends.
    pub(super) fn first_end(&self) -> Option<Time> {
        let all = [&self.current, &self.next].into_iter().chain(&self.previous);
        all.flatten().map(|session| session.opener.ends()).min()
    }

    pub(super) fn take_all(&mut self) -> Vec<Session> {
        let all = [self.current.take(), self.next.take()].into_iter();
        all.chain(self.previous.iter_mut().map(Option::take)).flatten().collect()
    }

    /// Retires one; gives the one that there is no room for any more.
    fn retire(&mut self, session: Session) -> Option<Session> {
        self.previous.rotate_right(1);
        self.previous.first_mut().and_then(|latest| latest.replace(session))
    }

    /// Takes out what has ended; true when `current` has.
    fn ended(&mut self, now: Time) -> (Vec<Session>, bool) {
        let over = |slot: &mut Option<Session>| slot.take_if(|session| session.opener.ends() <= now);
        let current = over(&mut self.current);
        let lost = current.is_some();
        let rest = std::iter::once(&mut self.next).chain(&mut self.previous).filter_map(over);
        (current.into_iter().chain(rest).collect(), lost)
    }
}

impl Peer {
    /// Halves of a session out of the keys of a handshake.
    pub(super) fn session(
        &self,
        keys: &Keys,
        (local, remote): (Index, Index),
        now: Time,
        initiator: bool,
    ) -> Option<Session> {
        let sealer = Sealer::new(&keys.seal, remote, now, initiator, self.activity.clone())?;
        let opener = Opener::new(&keys.open, local, now, initiator, self.activity.clone())?;
        Some(Session { sealer: Arc::new(sealer), opener: Arc::new(opener) })
    }

    /// Our handshake was answered: its session is in force.
    pub(super) fn install(&mut self, session: Session, cx: &Context<'_>) {
        self.outputs.push_back(Output::Receive(session.opener.clone()));
        self.outputs.push_back(Output::Seal(session.sealer.clone()));
        for old in [self.sessions.current.replace(session), self.sessions.next.take()].into_iter().flatten() {
            self.retire(old, cx);
        }
    }

    /// We have answered: the session waits for its first datagram.
    pub(super) fn offer(&mut self, session: Session, cx: &Context<'_>) {
        self.outputs.push_back(Output::Receive(session.opener.clone()));
        // They have begun anew, so nobody waits for the answer before.
        if let Some(old) = self.sessions.next.replace(session) {
            self.forget(old.index(), cx);
        }
    }

    /// The first datagram of a session came. When it is the one that waits for it, it is in force.
    pub(super) fn confirm(&mut self, _now: Time, index: Index, cx: &Context<'_>) {
        let Some(session) = self.sessions.next.take_if(|next| next.index() == index) else { return };
        self.outputs.push_back(Output::Seal(session.sealer.clone()));
        if let Some(old) = self.sessions.current.replace(session) {
            self.retire(old, cx);
        }
        // What we had begun ourselves is not needed any more.
        self.abandon(cx);
    }

    fn retire(&mut self, session: Session, cx: &Context<'_>) {
        if let Some(oldest) = self.sessions.retire(session) {
            self.forget(oldest.index(), cx);
        }
    }

    /// Forgets what is too old to be used.
    pub(super) fn expire(&mut self, now: Time, cx: &Context<'_>) {
        let (ended, lost) = self.sessions.ended(now);
        for session in ended {
            self.forget(session.index(), cx);
        }
        if lost {
            self.outputs.push_back(Output::Lost);
        }
    }
}
