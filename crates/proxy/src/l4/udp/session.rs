//! A session on the thread that it belongs to.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outwork_balance::Outcome;
use tokio::io::{Interest, Ready};
use tokio::time::{Instant, sleep_until};

use super::super::crowd::Present;
use super::super::limits::Seat;
use super::super::metrics::End;
use super::super::post::options;
use super::super::rule::Rule;
use super::ids::Ids;
use super::{COMING, Ends4, FOLLOWED, Face, Session, Wire, bind, stride};
use crate::pick::Taken;
use crate::pool::{Pool, Snapshot};

/// A session on the thread that it belongs to.
pub(super) struct Open {
    pub(super) face: Rc<Face>,
    pub(super) whose: Ends4,
    pub(super) session: Arc<Session>,
    /// The socket that its client is answered by.
    pub(super) way: Rc<Wire>,
    pub(super) follows: Follows,
    pub(super) present: Present,
    pub(super) _seat: Seat,
    pub(super) taken: Taken,
    pub(super) pool: Arc<Pool>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) has_answered: bool,
}

/// Whether a session has a socket that is connected to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// What comes from its client comes to the socket of all.
    NotYet,
    /// It hears its client itself.
    Yes,
    /// There could be none: it passes on what its backend says, and nothing else.
    Never,
}

impl Open {
    pub(super) async fn run(mut self) {
        let end = self.answer().await;
        self.present.ended(end);
    }

    /// Passes on what the backend sends, until nothing moves for too long.
    async fn answer(&mut self) -> End {
        let idle = self.session.rule.settings.idle();
        let still = sleep_until(Instant::now() + idle);
        tokio::pin!(still);
        let face = Rc::clone(&self.face);
        loop {
            // Told of before what happens next is waited for.
            let left = face.left.notified();
            if self.follows == Follows::NotYet && face.wire.borrow().is_none() {
                self.follow();
            }
            tokio::select! {
                () = left, if self.follows == Follows::NotYet => {}
                ready = self.way.socket.ready(COMING), if self.follows == Follows::Yes => {
                    let Ok(ready) = ready else { return End::Client };
                    self.hear(told(ready));
                    tokio::task::yield_now().await;
                }
                () = self.session.unreachable.notified() => {
                    self.failed();
                    return End::Backend;
                }
                ready = self.session.backend.socket.ready(COMING) => {
                    let told = ready.map(told);
                    if !told.is_ok_and(|told| self.take(told)) {
                        return End::Backend;
                    }
                    tokio::task::yield_now().await;
                }
                () = &mut still => {
                    let silent = self.face.worker.shared.millis().saturating_sub(self.session.used.load(Relaxed));
                    match idle.checked_sub(Duration::from_millis(silent)).filter(|left| !left.is_zero()) {
                        Some(left) => still.as_mut().reset(Instant::now() + left),
                        None => return End::Idle,
                    }
                }
            }
        }
    }

    /// Takes what waits; not where the backend's machine says that nobody listens there.
    fn take(&mut self, told: Interest) -> bool {
        let face = &self.face;
        let mut room = face.worker.datagrams.0.borrow_mut().take().unwrap_or_default();
        let received = self.session.backend.receive(&mut room, told);
        let goes_on = match received {
            Ok(count) => {
                let client = self.session.client;
                self.session.used.store(face.worker.shared.millis(), Relaxed);
                for (meta, run) in room.runs(count) {
                    let stride = stride(meta, run);
                    if self.session.rule.settings.quic {
                        for datagram in run.chunks(stride).filter(|one| Ids::<Arc<Session>>::is_news(one)) {
                            face.moved.lock().learn(self.session.number, &self.session, datagram);
                        }
                    }
                    self.session.rule.live.cells.sent.add(run.len() as u64);
                    if self.way.send(client.0, client.1, run, stride).is_err() {
                        self.session.rule.live.cells.dropped.inc();
                    }
                }
                if !self.has_answered {
                    self.has_answered = true;
                    self.pool.observe(&self.snapshot, self.taken.lease(), Outcome::Answered);
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(_) => false,
        };
        face.worker.datagrams.0.replace(Some(room));
        if !goes_on {
            self.failed();
        }
        goes_on
    }

    /// Takes what its client says.
    fn hear(&self, told: Interest) {
        let worker = &self.face.worker;
        let mut room = worker.datagrams.0.borrow_mut().take().unwrap_or_default();
        // That a client has gone is seen when nothing moves any longer.
        if let Ok(count) = self.way.receive(&mut room, told) {
            for (meta, run) in room.runs(count) {
                match meta.addr == self.session.client.0 {
                    true => {
                        let (stride, shared, cells) =
                            (stride(meta, run), &worker.shared, &self.session.rule.live.cells);
                        let taken = shared.guard.take(meta.addr.ip(), run, stride, shared.began.elapsed(), cells);
                        if let Some(taken) = taken {
                            self.session.pass(worker, taken, stride);
                        }
                    }
                    // It came between the two steps by which the socket became this client's.
                    false => self.session.rule.live.cells.dropped.inc(),
                }
            }
        }
        worker.datagrams.0.replace(Some(room));
    }

    /// Nobody listens here any longer: what the client says comes to a socket of this session's own.
    fn follow(&mut self) {
        let face = &self.face;
        let (client, asked) = self.session.client;
        let own = match face.followed.get() < FOLLOWED {
            true => connected(at(face.local, client, asked), client, &self.session.rule),
            false => Err(io::ErrorKind::QuotaExceeded.into()),
        };
        self.follows = match own {
            Ok(own) => {
                face.followed.set(face.followed.get() + 1);
                self.way = Rc::new(own);
                Follows::Yes
            }
            Err(error) => {
                tracing::debug!(%error, %client, "a session of UDP does not hear its client any longer");
                Follows::Never
            }
        };
    }

    /// Nobody listens where the backend is.
    fn failed(&mut self) {
        self.pool.observe(&self.snapshot, self.taken.lease(), Outcome::ConnectFailed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut sessions = self.face.sessions.borrow_mut();
        // Another one may have taken its place.
        if sessions.get(&self.whose).is_some_and(|session| session.number == self.session.number) {
            sessions.remove(&self.whose);
        }
        drop(sessions);
        if self.session.rule.settings.quic {
            self.face.moved.lock().forget(self.session.number);
        }
    }
}

/// What a socket is ready for. Of the two, the runtime takes one back at a time.
fn told(ready: Ready) -> Interest {
    if ready.is_error() { Interest::ERROR } else { Interest::READABLE }
}

/// The address that a client has asked: this one of ours, where it is listened at all of them.
fn at(local: SocketAddr, client: SocketAddr, asked: Option<IpAddr>) -> SocketAddr {
    match (asked, client) {
        (Some(IpAddr::V6(asked)), SocketAddr::V6(client)) => {
            SocketAddrV6::new(asked, local.port(), 0, client.scope_id()).into()
        }
        (Some(asked), _) if local.ip().is_unspecified() => SocketAddr::new(asked, local.port()),
        _ => local,
    }
}

/// A socket of ours that hears this client alone.
fn connected(local: SocketAddr, client: SocketAddr, rule: &Rule) -> io::Result<Wire> {
    let socket = bind(local, |socket| options(&rule.settings, local, socket))?;
    rustix::net::connect(&socket, &client)?;
    Wire::new(socket)
}
