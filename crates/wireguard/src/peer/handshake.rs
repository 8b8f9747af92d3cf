//! Beginning a handshake, trying again, answering one (5.4, 6.2 and 6.4).

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use outwork_engine::Time;

use super::{Context, INITIATION_INTERVAL, JITTER, Output, Peer, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, Refusal};
use crate::mac::Signer;
use crate::message::{Initiation, Response};
use crate::noise::{Begun, Heard, NoiseError};
use crate::{Index, PublicKey};

/// Tries at a handshake.
pub(super) struct Attempt {
    /// When the first was made.
    since: Time,
    /// When the next is.
    pub(super) retry: Time,
    /// How many were made before.
    tries: usize,
    /// Whether keys that are new are tried before those that are known to work.
    trial: bool,
    /// What waits for the response; `None` when nothing could be sent.
    waiting: Option<Waiting>,
}

/// What waits for a response: by which index of ours, and between which keys, ours and theirs.
struct Waiting {
    index: Index,
    keys: (PublicKey, PublicKey),
    begun: Box<dyn Begun>,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.waiting.as_ref().map(|waiting| waiting.index);
        f.debug_struct("Attempt")
            .field("since", &self.since)
            .field("retry", &self.retry)
            .field("index", &index)
            .finish()
    }
}

impl Peer {
    /// Begins a handshake, unless there is one. When the last one began less than [`REKEY_TIMEOUT`] ago, it begins then.
    pub(super) fn want(&mut self, now: Time, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if self.attempt.is_some() {
            self.wanted = false;
            return Ok(());
        }
        if self.endpoint.is_none() {
            return Err(Refusal::NoEndpoint);
        }
        self.wanted = self.begun.is_some_and(|begun| now.since(begun) < REKEY_TIMEOUT);
        if self.wanted {
            return Ok(());
        }
        let trial = self.tries_new_keys();
        self.initiate(now, (now, 0, trial), cx)
    }

    /// The initiation was not answered: another one, or none.
    pub(super) fn retry(&mut self, now: Time, cx: &mut Context<'_>) {
        let Some(Attempt { since, tries, trial, .. }) = self.attempt else { return };
        self.abandon(cx);
        if now.since(since) >= REKEY_ATTEMPT_TIME {
            self.outputs.push_back(Output::GaveUp);
        } else {
            // What hinders it now may be gone at the next try.
            let _ = self.initiate(now, (since, tries + 1, trial), cx);
        }
    }

    /// Sends an initiation. Whatever comes of it, the next is made when it is time.
    fn initiate(
        &mut self,
        now: Time,
        (since, tries, trial): (Time, usize, bool),
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let jitter = Duration::from_nanos(self.rng.below(JITTER.as_nanos() as u64));
        let sent = self.send_initiation(now, (tries, trial), cx);
        let (waiting, result) = match sent {
            Ok(waiting) => (Some(waiting), Ok(())),
            Err(refusal) => (None, Err(refusal)),
        };
        self.begun = Some(now);
        self.attempt = Some(Attempt { since, retry: now + REKEY_TIMEOUT + jitter, tries, trial, waiting });
        result
    }

    fn send_initiation(
        &mut self,
        now: Time,
        (tries, trial): (usize, bool),
        cx: &mut Context<'_>,
    ) -> Result<Waiting, Refusal> {
        let to = self.endpoint.ok_or(Refusal::NoEndpoint)?;
        let index = cx.indices.reserve(cx.entropy).ok_or(Refusal::NoIndex)?;
        let stamp = cx.clock.stamp(now);
        let (own, remote) = self.keys(cx.local, tries, trial);
        let begun = cx.noise.begin(own, &remote, &self.settings.psk, stamp, cx.entropy);
        let (noise, begun) = begun.inspect_err(|_| cx.indices.release(index))?;
        let mut message = Initiation::write(index, &noise);
        self.sign(now, &remote, &mut message);
        self.outputs.push_back(Output::Expect(index));
        self.outputs.push_back(Output::Send(to, message.to_vec()));
        Ok(Waiting { index, keys: (*own.public(), remote), begun })
    }

    /// Signs a message to who has `remote`.
    fn sign(&mut self, now: Time, remote: &PublicKey, message: &mut [u8]) {
        self.signer = Signer::new(remote);
        let mac1 = self.signer.sign(message, self.jar.cookie(now));
        self.jar.sent(mac1);
    }

    /// Gives up what was begun.
    pub(super) fn abandon(&mut self, cx: &Context<'_>) {
        if let Some(waiting) = self.attempt.take().and_then(|attempt| attempt.waiting) {
            self.forget(waiting.index, cx);
        }
    }

    /// Takes the response to what was begun.
    pub(super) fn finish(
        &mut self,
        now: Time,
        from: SocketAddr,
        response: &Response<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let waiting = self.attempt.as_mut().and_then(|attempt| attempt.waiting.as_mut());
        let waiting = waiting.filter(|waiting| waiting.index == response.receiver).ok_or(Refusal::NotAwaited)?;
        let (index, between, keys) = (waiting.index, waiting.keys, waiting.begun.finish(response.noise)?);
        self.works(between);
        // The index goes on as the session's.
        self.attempt = None;
        self.wanted = false;
        let Some(session) = self.session(&keys, (index, response.sender), now, true) else {
            self.forget(index, cx);
            return Err(NoiseError::BadKey.into());
        };
        self.moved(from);
        self.activity.heard(now, false);
        self.install(session, cx);
        // They may use the session only when something came by it.
        self.keepalive(now);
        Ok(())
    }

    /// Answers an initiation of theirs.
    pub(super) fn answer(
        &mut self,
        now: Time,
        from: SocketAddr,
        sender: Index,
        mut heard: Heard,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        if !self.is(&heard.remote) {
            return Err(Refusal::WrongPeer);
        }
        if let Some((stamp, at)) = self.heard {
            if heard.stamp <= stamp {
                return Err(Refusal::Replayed);
            }
            if now.since(at) < INITIATION_INTERVAL {
                return Err(Refusal::TooFast);
            }
        }
        let index = cx.indices.reserve(cx.entropy).ok_or(Refusal::NoIndex)?;
        let answered = heard.answer.answer(&self.settings.psk).and_then(|(noise, keys)| {
            let session = self.session(&keys, (index, sender), now, false).ok_or(NoiseError::BadKey)?;
            Ok((noise, session))
        });
        let (noise, session) = answered.inspect_err(|_| cx.indices.release(index))?;
        self.heard = Some((heard.stamp, now));
        let mut message = Response::write(index, sender, &noise);
        self.sign(now, &heard.remote, &mut message);
        // Nobody else could have written that, and not before: they know this key of ours. But whoever sends it need not be who wrote it, nor need it be of now: it is
        // answered where it comes from, and where they are is shown by what comes in the session.
        self.works((heard.local, heard.remote));
        // Who has begun anew begins with what all know, and may never begin with the other one.
        if self.trial.is_none() && self.next.is_some_and(|next| next != heard.remote) {
            self.try_soon(now);
        }
        self.activity.heard(now, false);
        self.offer(session, cx);
        self.outputs.push_back(Output::Send(from, message.to_vec()));
        Ok(())
    }
}
