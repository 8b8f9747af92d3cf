//! One peer on one path: which keys are in force, when new ones are made, where the peer is, when to say that we are there (section 6).
//!
//! - `handshake`: beginning, retrying, answering.
//! - `keys`: which static keys of both ends a handshake is made with, while one takes over from another.
//! - `sessions`: the keys in force and those that they took over from.
//!
//! Who drives it: [`Peer::handle_input`] for what the gate lets through and workers report, [`Peer::handle_timeout`] when
//! [`Peer::poll_timeout`] says so, then [`Peer::poll_output`] until there is none. Workers seal and open without it.
//!
//! Different from the whitepaper: keys are forgotten as soon as they are good for nothing (180 s) and not after three times that; three retired
//! sessions are kept for datagrams still under way, not one, because both ends may begin at the same time, and again the next time.

mod handshake;
mod keys;
mod sessions;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::{Rng, Time};

use crate::index::Indices;
use crate::mac::{Jar, Signer};
use crate::message::{CookieReply, Response};
use crate::noise::{Heard, Noise, NoiseError};
use crate::session::{Activity, OVERHEAD, Opener, Sealer};
use crate::stamp::{Clock, Tai64N};
use crate::{Entropy, Identity, Index, PresharedKey, PublicKey};
use handshake::Attempt;
use keys::Known;
use sessions::{Session, Sessions};

/// The initiator makes new keys after this (6.1).
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Keys as old as this are not used (6.1).
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// A handshake is tried for so long (6.1).
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// An initiation that is not answered is made anew after this (6.1), and no two are closer.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Who received data and has nothing to send says so after this (6.1).
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Initiations of one peer that are answered are at least so far apart: 50 a second.
pub const INITIATION_INTERVAL: Duration = Duration::from_millis(20);
/// Retries are late by up to this, so that two who began together do not stay together (6.1).
const JITTER: Duration = Duration::from_millis(333);
/// How often a peer with a session looks at what workers did. They tell what is urgent.
const LOOK: Duration = Duration::from_secs(1);
/// Who hears of another key of a peer's tries it within this: not all at once who hear of it at once.
const TRIAL: Duration = Duration::from_secs(10);

/// What the machine needs of its surroundings for a step.
pub struct Context<'a> {
    /// Who we are.
    pub local: &'a Identity,
    /// The handshake.
    pub noise: &'a dyn Noise,
    /// Stamps of initiations: one clock for all paths to a peer.
    pub clock: &'a mut Clock,
    /// Secrets.
    pub entropy: &'a mut dyn Entropy,
    /// Numbers of sessions.
    pub indices: &'a dyn Indices,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The gate let an initiation through, and it is of this peer.
    Initiation {
        /// Where it came from.
        from: SocketAddr,
        /// By what they call the session.
        sender: Index,
        /// What they said.
        heard: Heard,
    },
    /// The gate let a response through, and its index is of this peer.
    Response {
        /// Where it came from.
        from: SocketAddr,
        /// It.
        response: Response<'a>,
    },
    /// A cookie reply whose index is of this peer.
    CookieReply(CookieReply<'a>),
    /// There is something to send and no session, or a worker was told to have new keys made.
    Wanted,
    /// A worker opened the first datagram of a session.
    Confirmed(Index),
    /// A worker opened a datagram that came from somewhere else than [`Peer::endpoint`]: the peer has moved there (2.1).
    Moved(SocketAddr),
}

/// Why an input changed nothing. For a counter each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It is of another peer.
    #[error("written with the key of another peer")]
    WrongPeer,
    /// The timestamp has not grown (5.1).
    #[error("an initiation that is not newer than the last: replayed, or their clock went back")]
    Replayed,
    /// Sooner after the last than [`INITIATION_INTERVAL`].
    #[error("more initiations than a peer may send")]
    TooFast,
    /// Nothing waits for it.
    #[error("nothing waits for it")]
    NotAwaited,
    /// It does not open.
    #[error("{0}")]
    Noise(#[from] NoiseError),
    /// All indices are in use.
    #[error("no index is free for another session")]
    NoIndex,
    /// Nobody knows where the peer is.
    #[error("nobody knows where the peer is: it has no endpoint, and has not come to us")]
    NoEndpoint,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// This is sent there.
    Send(SocketAddr, Vec<u8>),
    /// Responses and cookie replies for this index are ours. It is free again with [`Output::Forget`].
    Expect(Index),
    /// Datagrams for its index are opened by this.
    Receive(Arc<Opener>),
    /// From here on, packets are sealed by this.
    Seal(Arc<Sealer>),
    /// The index is nobody's any more. (It has been released; who looks up finds nothing.)
    Forget(Index),
    /// There is nothing to seal with any more.
    Lost,
    /// The peer is there now.
    Endpoint(SocketAddr),
    /// Nobody answered for [`REKEY_ATTEMPT_TIME`]: what waits for a session waits in vain. Tried again when wanted.
    GaveUp,
}

/// Why the machine wants to be called at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// An initiation was not answered.
    Retry,
    /// A handshake is wanted, and the last was a moment ago.
    Begin,
    /// Data was sent, and nothing came back.
    Silence,
    /// Data came, and nothing was sent back.
    Keepalive,
    /// The configured keepalive.
    Persistent,
    /// A session ends.
    Expiry,
    /// To look at what workers did.
    Look,
    /// To try a key of theirs that is new.
    Trial,
}

/// A peer, as configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who it is.
    pub remote: PublicKey,
    /// What both were given beforehand.
    pub psk: PresharedKey,
    /// Where it is, if that is known.
    pub endpoint: Option<SocketAddr>,
    /// Something is sent at least so often, for a NAT between; and a session is kept up.
    pub keepalive: Option<Duration>,
}

/// The state machine.
#[derive(Debug)]
pub struct Peer {
    settings: Settings,
    /// Theirs that takes over from the one in the settings.
    next: Option<PublicKey>,
    /// Which keys are known to work.
    known: Known,
    /// Keys that are new are tried then.
    trial: Option<Time>,
    /// The next handshake is to try them.
    eager: bool,
    /// What our last message was signed with, which a cookie answers.
    signer: Signer,
    jar: Jar,
    rng: Rng,
    endpoint: Option<SocketAddr>,
    sessions: Sessions,
    attempt: Option<Attempt>,
    /// A handshake is to begin as soon as the last initiation is [`REKEY_TIMEOUT`] old.
    wanted: bool,
    begun: Option<Time>,
    /// The greatest stamp of theirs, and when it came.
    heard: Option<(Tai64N, Time)>,
    /// When the persistent keepalive last had its turn.
    kept: Option<Time>,
    looked: Time,
    activity: Arc<Activity>,
    outputs: VecDeque<Output>,
}

impl Peer {
    /// A peer that nothing is known of yet. `rng` is for jitter.
    pub fn new(settings: Settings, rng: Rng, now: Time) -> Peer {
        Peer {
            next: None,
            known: Known::default(),
            trial: None,
            eager: false,
            signer: Signer::new(&settings.remote),
            jar: Jar::default(),
            rng,
            endpoint: settings.endpoint,
            sessions: Sessions::default(),
            attempt: None,
            wanted: false,
            begun: None,
            heard: None,
            kept: None,
            looked: now,
            activity: Arc::default(),
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// Where the peer is.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint
    }

    /// When packets came and went.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Takes another preshared key for the handshakes from here on. Sessions live on.
    pub fn set_psk(&mut self, psk: PresharedKey) {
        self.settings.psk = psk;
    }

    /// Takes another persistent keepalive.
    pub fn set_keepalive(&mut self, keepalive: Option<Duration>) {
        self.settings.keepalive = keepalive;
    }

    /// What the peer does with an input.
    ///
    /// # Errors
    /// When it changes nothing.
    pub fn handle_input(&mut self, now: Time, input: Input<'_>, cx: &mut Context<'_>) -> Result<(), Refusal> {
        match input {
            Input::Initiation { from, sender, heard } => self.answer(now, from, sender, heard, cx),
            Input::Response { from, response } => self.finish(now, from, &response, cx),
            Input::CookieReply(reply) => {
                // Kept for the next message: an attacker who sees ours could make us hurry otherwise (6.6).
                let taken = self.jar.take(now, &self.signer, &reply);
                if taken { Ok(()) } else { Err(Refusal::NotAwaited) }
            }
            Input::Wanted => self.want(now, cx),
            Input::Confirmed(index) => {
                self.confirm(now, index, cx);
                Ok(())
            }
            Input::Moved(to) => {
                self.moved(to);
                Ok(())
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time, cx: &mut Context<'_>) {
        self.looked = now;
        self.expire(now, cx);
        if let Some(index) = self.sessions.next.as_ref().filter(|next| next.opener.confirmed()).map(Session::index) {
            self.confirm(now, index, cx);
        }
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.attempt.as_ref().map(|attempt| attempt.retry)) {
            self.retry(now, cx);
        }
        if due(self.trial) {
            self.trial = None;
            // Only beside a session that serves meanwhile.
            self.eager = self.sessions.current.is_some();
            self.wanted |= self.eager;
        }
        if due(self.silence()) {
            // What is sent meanwhile is waited for anew, should the handshake come to nothing.
            self.activity.stop_waiting();
            self.wanted = true;
        }
        self.wanted |= self.attempt.is_none() && self.sessions.current.as_ref().is_some_and(Session::wants_rekey);
        if due(self.persistent(now)) {
            self.kept = Some(now);
            self.wanted |= !self.keepalive(now);
        }
        if due(self.owed()) {
            self.keepalive(now);
        }
        if self.wanted {
            // What is refused stays wanted only as long as it can be had some time.
            self.wanted = self.want(now, cx).is_ok() && self.wanted;
        }
    }

    /// When [`Peer::handle_timeout`] is to be called next, and why. Asked again after each input and each timeout.
    pub fn poll_timeout(&self) -> Option<(Time, Due)> {
        let begin = (self.wanted && self.attempt.is_none() && self.endpoint.is_some())
            .then(|| self.begun.map_or(Time::ZERO, |begun| begun + REKEY_TIMEOUT));
        let look = (self.sessions.current.is_some() || self.sessions.next.is_some()).then(|| self.looked + LOOK);
        [
            (self.attempt.as_ref().map(|attempt| attempt.retry), Due::Retry),
            (begin, Due::Begin),
            (self.silence(), Due::Silence),
            (self.owed(), Due::Keepalive),
            (self.persistent(self.looked), Due::Persistent),
            (self.sessions.first_end(), Due::Expiry),
            (look, Due::Look),
            (self.trial, Due::Trial),
        ]
        .into_iter()
        .filter_map(|(at, due)| at.map(|at| (at, due)))
        .min()
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Forgets all keys and gives all indices back: the peer is no longer configured.
    pub fn close(&mut self, cx: &mut Context<'_>) {
        self.abandon(cx);
        for session in self.sessions.take_all() {
            self.forget(session.index(), cx);
        }
        self.outputs.push_back(Output::Lost);
    }

    /// When it has been silent for too long: 15 s after data that nothing came back for (6.2). A handshake under way asks already.
    fn silence(&self) -> Option<Time> {
        let waiting = self.activity.waiting().filter(|_| self.attempt.is_none())?;
        Some(waiting + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT)
    }

    /// When they are owed a sign that their data arrives (6.5).
    fn owed(&self) -> Option<Time> {
        self.sessions.current.as_ref().and_then(|_| self.activity.owing()).map(|owing| owing + KEEPALIVE_TIMEOUT)
    }

    fn persistent(&self, now: Time) -> Option<Time> {
        let interval = self.settings.keepalive.filter(|_| self.endpoint.is_some())?;
        let last = self.kept.max(self.activity.passed());
        Some(last.map_or(now, |last| last + interval))
    }

    /// Sends nothing, sealed. False without a session.
    fn keepalive(&mut self, now: Time) -> bool {
        let (Some(to), Some(session)) = (self.endpoint, &self.sessions.current) else { return false };
        let mut datagram = vec![0; OVERHEAD];
        let empty = OVERHEAD / 2..OVERHEAD / 2;
        let sealed = session.sealer.seal(now, &mut datagram, empty, 0).is_ok();
        if sealed {
            self.outputs.push_back(Output::Send(to, datagram));
        }
        sealed
    }

    /// They have shown the keys from there.
    fn moved(&mut self, to: SocketAddr) {
        if self.endpoint != Some(to) {
            self.endpoint = Some(to);
            self.outputs.push_back(Output::Endpoint(to));
        }
    }

    fn forget(&mut self, index: Index, cx: &Context<'_>) {
        cx.indices.release(index);
        self.outputs.push_back(Output::Forget(index));
    }
}
