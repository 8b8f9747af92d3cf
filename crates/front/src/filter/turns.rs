//! Passwords that are hashed or wait for that: so many in all, so many of each client, and each of them once.
//!
//! A client that sends the same name and password with many requests at once, as browsers do, has one turn for all of them. A turn goes on
//! when whoever asked first has gone: what was begun takes its time in any case, and who gives up early must not get another for it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Turns at a time.
pub(super) const ALL: usize = 64;
/// Turns of one client at a time.
pub(super) const EACH: usize = 8;

/// A client, and a digest of what it has sent.
pub(super) type Attempt = (u128, [u8; 32]);

/// Everyone who has a turn.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Attempt, Told>>);

/// Whether the password was right, as soon as that is known.
pub(super) type Told = watch::Receiver<Option<bool>>;

/// What becomes of an attempt.
pub(super) enum Entered {
    /// It has a turn, and this is who hears of it.
    First(Turn, Told),
    /// The client has the same under way.
    Joined(Told),
    /// There are too many.
    Busy,
}

/// One turn; dropped, it is over.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    attempt: Attempt,
    outcome: watch::Sender<Option<bool>>,
}

impl Turns {
    /// Another attempt.
    pub(super) fn enter(self: &Arc<Self>, attempt: Attempt) -> Entered {
        let mut turns = self.0.lock();
        if let Some(told) = turns.get(&attempt) {
            return Entered::Joined(told.clone());
        }
        let of_client = turns.keys().filter(|(client, _)| *client == attempt.0).count();
        if turns.len() >= ALL || of_client >= EACH {
            return Entered::Busy;
        }
        let (outcome, told) = watch::channel(None);
        turns.insert(attempt, told.clone());
        drop(turns);
        Entered::First(Turn { turns: Arc::clone(self), attempt, outcome }, told)
    }
}

impl Turn {
    /// Tells everyone who waits for it.
    pub(super) fn end(self, right: bool) {
        // Who has gone needs not be told.
        let _ = self.outcome.send(Some(right));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().remove(&self.attempt);
    }
}

/// What comes of a turn; `None` where it was never taken.
pub(super) async fn outcome(mut told: Told) -> Option<bool> {
    told.wait_for(Option::is_some).await.map_or(None, |outcome| *outcome)
}
