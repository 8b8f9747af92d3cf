//! One connection: from a client to a backend.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use outwork_balance::Ask;
use outwork_front::door::acceptor::Acceptor;
use outwork_front::door::passed;
use outwork_front::tls::{self, Accepted};
use outwork_wire::hello::{ClientHello, HelloError};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::crowd::Present;
use super::limits::Seat;
use super::metrics::{End, Refused};
use super::post::{Key, of_backend};
use super::relay::{self, Patience};
use super::rule::Rule;
use super::thread::Worker;
use crate::announce::Announced;
use crate::config::ProxyVersion;
use crate::limits::Rate;
use crate::pick::{Asking, Taken};
use crate::pool::Pool;
use crate::reach::{Reach, Reached, Unreached};
use crate::upstream::Counted;
use crate::upstream::local::Local;
use crate::upstream::wire::Wire;

/// How long a client may take for what comes before its connection is passed on: whose it is, and whom it asks for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are looked at for more of a ClientHello. Most have less.
const STEP: usize = 2048;

/// A socket that is accepted on.
pub(super) struct Accepting {
    acceptor: Acceptor,
    key: Key,
    rule: Arc<ArcSwap<Rule>>,
    gate: Arc<Rate>,
    worker: Rc<Worker>,
}

impl Accepting {
    pub(super) fn new(
        acceptor: Acceptor,
        key: Key,
        rule: Arc<ArcSwap<Rule>>,
        gate: Arc<Rate>,
        worker: &Rc<Worker>,
    ) -> Rc<Self> {
        Rc::new(Self { acceptor, key, rule, gate, worker: Rc::clone(worker) })
    }

    /// Takes what has come already.
    pub(super) fn take_what_waits(&self) {
        self.acceptor.take_what_waits(|stream, peer| self.begin(stream, peer));
    }

    pub(super) async fn run(self: Rc<Self>) {
        let failed = || self.rule.load().live.cells.refused(Refused::Accept);
        let unaccepted = &self.worker.shared.unaccepted;
        self.acceptor.run(unaccepted, failed, |stream, peer| self.begin(stream, peer)).await;
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr) {
        let rule = self.rule.load_full();
        let is_passed_on = rule.proxies.contains(peer.ip());
        let admitted = self.admit(&rule, peer.ip(), is_passed_on);
        // With TPROXY, a connection is to an address of its own.
        let local = match rule.settings.transparent || self.acceptor.local().ip().is_unspecified() {
            true => stream.local_addr().unwrap_or(self.acceptor.local()),
            false => self.acceptor.local(),
        };
        let seat = admitted.and_then(|()| Seat::take(&self.worker.shared, &rule));
        // Whose a connection is that a proxy passes on, nobody knows yet.
        let seat = match is_passed_on {
            true => seat,
            false => seat.and_then(|seat| seat.of_client(self.acceptor.local(), peer.ip())),
        };
        let seat = match seat {
            Ok(seat) => seat,
            Err(why) => {
                // Who is turned away is to know at once, and is to leave nothing behind.
                let _ = stream.set_zero_linger();
                return rule.live.cells.refused(why);
            }
        };
        rule.live.cells.opened.inc();
        let present = self.worker.crowd.enter(self.key, &rule, peer.ip());
        let key = present.key();
        let post = self.acceptor.local();
        let visit = Visit {
            worker: Rc::clone(&self.worker),
            rule,
            peer,
            local,
            to: local,
            post,
            seat: Some(seat),
            present,
            tls: None,
        };
        let task = tokio::task::spawn_local(visit.run(stream, is_passed_on));
        self.worker.crowd.runs(key, task.abort_handle());
    }

    /// Whether it may begin, as far as `proxy.acceleration` says.
    fn admit(&self, rule: &Rule, peer: IpAddr, is_passed_on: bool) -> Result<(), Refused> {
        let (guard, now) = (&self.worker.shared.guard, self.worker.shared.began.elapsed());
        match is_passed_on {
            // Whose it is, nobody knows yet.
            true if guard.is_denied(peer) => return Err(Refused::Denied),
            true => {}
            false => guard.admits(peer, now)?,
        }
        match guard.opening().filter(|_| rule.settings.connection_rate == 0) {
            Some(rate) if !self.gate.admits(now, rate.per_second, rate.burst) => Err(Refused::Opening),
            _ => Ok(()),
        }
    }
}

/// A connection of a client.
struct Visit {
    worker: Rc<Worker>,
    rule: Arc<Rule>,
    /// Whose it is.
    peer: SocketAddr,
    /// Where it has come to.
    local: SocketAddr,
    /// The same, as a proxy in front of us says.
    to: SocketAddr,
    /// What is listened at.
    post: SocketAddr,
    seat: Option<Seat>,
    present: Present,
    /// The name that was asked for, of one whose TLS ends here.
    tls: Option<Option<String>>,
}

/// What a client has in front of its backend: the connection, and what was read from it already.
struct Opened {
    wire: Wire,
    read: Vec<u8>,
    pool: Arc<Pool>,
}

impl Visit {
    async fn run(mut self, stream: TcpStream, is_passed_on: bool) {
        match self.serve(stream, is_passed_on).await {
            Ok(Some(end)) => self.present.ended(end),
            Ok(None) => {}
            Err(why) => self.rule.live.cells.refused(why),
        }
    }

    /// How it ended, or why it came to nothing; nothing where it was only a look whether somebody listens.
    async fn serve(&mut self, mut stream: TcpStream, is_passed_on: bool) -> Result<Option<End>, Refused> {
        if is_passed_on && !self.whose(&mut stream).await? {
            return Ok(None);
        }
        let Some(Opened { wire, read, pool }) = self.open(stream).await? else { return Ok(None) };
        let (backend, taken, counted) = match self.connect(&pool).await {
            Ok(connected) => connected,
            Err(why) => {
                relay::reset(&wire);
                return Err(why);
            }
        };
        let _under_way = (taken, counted);
        if let Some(tcp) = backend.tcp() {
            of_backend(&self.rule.settings, tcp);
        }
        let patience = Patience { idle: self.rule.settings.idle(), half_closed: self.rule.settings.half_closed() };
        Ok(Some(relay::run(wire, backend, read, patience, &self.worker.desk, &self.rule.live).await))
    }

    /// Takes in whose it is, as a proxy says in front of it; not where that has nothing to say.
    async fn whose(&mut self, stream: &mut TcpStream) -> Result<bool, Refused> {
        let said = match timeout(PATIENCE, passed::read(stream)).await {
            Ok(Ok(said)) => said,
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::debug!(peer = %self.peer, %error, "PROXY protocol");
                }
                return Err(Refused::Proxy);
            }
        };
        let Some(said) = said else { return Ok(false) };
        if let Some(peer) = said.peer {
            self.peer = peer;
            self.present.is_of(peer.ip());
        }
        self.to = said.local.unwrap_or(self.to);
        if let Err(why) = self.admit(said.peer.is_some()) {
            // As who is turned away before that, it is to know at once.
            let _ = stream.set_zero_linger();
            return Err(why);
        }
        Ok(true)
    }

    /// Whether it may go on, now that it is known whose it is; where nobody has said so, it is the proxy's own.
    fn admit(&mut self, is_told: bool) -> Result<(), Refused> {
        let (shared, client) = (&self.worker.shared, self.peer.ip());
        if is_told {
            shared.guard.admits(client, shared.began.elapsed())?;
        }
        self.seat = match self.seat.take() {
            Some(seat) => Some(seat.of_client(self.post, client)?),
            None => None,
        };
        Ok(())
    }

    /// Finds out which pool it is for; nothing where it was only a look at a certificate.
    async fn open(&mut self, stream: TcpStream) -> Result<Option<Opened>, Refused> {
        if let Some(tls) = &self.rule.tls {
            let accepted = timeout(PATIENCE, tls::accept(tls, stream, self.local.ip())).await;
            let stream = match accepted {
                Ok(Ok(Accepted::Stream(stream))) => stream,
                Ok(Ok(Accepted::Challenged)) => return Ok(None),
                failed => {
                    if let Ok(Err(error)) = failed {
                        tracing::debug!(peer = %self.peer, %error, "TLS handshake");
                    }
                    return Err(Refused::Tls);
                }
            };
            let name = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
            let pool = self.rule.pools.of(name.as_deref()).cloned();
            self.tls = Some(name);
            let pool = pool.ok_or(Refused::Name)?;
            return Ok(Some(Opened { wire: Wire::Accepted(stream), read: Vec::new(), pool }));
        }
        if !self.rule.pools.go_by_name() {
            let pool = self.rule.pools.of(None).cloned().ok_or(Refused::Name)?;
            return Ok(Some(Opened { wire: Wire::Tcp(stream), read: Vec::new(), pool }));
        }
        self.open_by_name(stream).await.map(Some)
    }

    /// Reads the name that a client asks for on its way past.
    async fn open_by_name(&self, mut stream: TcpStream) -> Result<Opened, Refused> {
        let (hello, read) = match timeout(PATIENCE, hello(&mut stream)).await {
            Ok(Ok(found)) => found,
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::debug!(peer = %self.peer, %error, "ClientHello");
                }
                return Err(Refused::Tls);
            }
        };
        match self.rule.pools.of(hello.server_name.as_deref()).cloned() {
            Some(pool) => Ok(Opened { wire: Wire::Tcp(stream), read, pool }),
            None => {
                // Who does not listen is gone already.
                let _ = tls::refuse_name(stream).await;
                Err(Refused::Name)
            }
        }
    }

    /// Opens a connection to a backend.
    async fn connect(&self, pool: &Arc<Pool>) -> Result<(Wire, Taken, Counted), Refused> {
        let (snapshot, local) = (pool.snapshot(), Local::of(pool));
        let reach = Reach {
            asking: Asking { pool, snapshot: &snapshot, local: &local },
            ask: Ask { client: Some(self.peer.ip()), ..Ask::default() },
            source: self.rule.settings.transparent.then_some(self.peer.ip()),
            first: &self
                .announced(snapshot.settings.send_proxy)
                .map(|announced| announced.header())
                .unwrap_or_default(),
            buffers: self.rule.settings.buffers(),
            tries: &|id| self.present.has(pool, id),
        };
        match reach.connect().await {
            Ok(Reached { wire, taken, counted, took, .. }) => {
                self.rule.live.cells.connect_time.record(took);
                Ok((wire, taken, counted))
            }
            Err(Unreached::Nobody(reason)) => {
                pool.metrics().refused.of(reason).inc();
                Err(Refused::Backend)
            }
            Err(Unreached::Failed(error, endpoint)) => {
                tracing::debug!(pool = pool.name, backend = endpoint.key, %error, "a connection was not passed on");
                Err(Refused::Backend)
            }
        }
    }

    /// What a backend is told before anything else; what is said within TLS is nothing of that.
    fn announced(&self, of_pool: Option<ProxyVersion>) -> Option<Announced> {
        let version = self.rule.settings.send_proxy.or(of_pool)?;
        Some(Announced { version, source: self.peer, destination: self.to, tls: self.tls.clone() })
    }
}

/// Reads a ClientHello, and gives back what was read.
async fn hello(stream: &mut TcpStream) -> io::Result<(ClientHello, Vec<u8>)> {
    let mut read = Vec::with_capacity(STEP);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let invalid = |error: HelloError| io::Error::new(io::ErrorKind::InvalidData, error);
        if let Some(hello) = ClientHello::read(&read).map_err(invalid)? {
            return Ok((hello, read));
        }
    }
}
