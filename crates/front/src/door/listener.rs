//! Listening sockets, and what is accepted on them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::acceptor::Acceptor;
use super::metrics::{Cut, Handshake};
use super::places::Place;
use super::pulse::Beat;
use super::worker::Worker;
use super::{Open, Seat, passed};
use crate::h1::connection::{self, Ended, Transport};
use crate::h2;
use crate::message::{Origin, Rewound};
use crate::tls::{self, Accepted, Session, Tls};

/// A socket that listens beside others on the same address, between which the kernel shares connections out, with options that connections inherit, or that
/// a socket has to have before it is bound.
///
/// # Errors
/// What is in the way of listening there.
pub fn listen_with(
    address: SocketAddr,
    backlog: i32,
    options: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let socket = reusing(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    options(socket.as_fd())?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket.into())
}

/// Finds out that nobody listens at an address. Of the same user's sockets that share a port the kernel lets any number in, from whatever process,
/// and gives each a part of the connections: that is for the threads of one door, and nobody wants it of a server that was forgotten.
///
/// # Errors
/// `AddrInUse` where somebody does, and whatever else is in the way of listening there.
pub fn vacant(address: SocketAddr) -> io::Result<()> {
    if address.port() != 0 {
        let socket = reusing(address)?;
        rustix::net::bind(&socket, &address)?;
    }
    Ok(())
}

fn reusing(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// A socket that is accepted on.
pub(crate) struct Listening {
    acceptor: Acceptor,
    local: SocketAddr,
    place: Place,
    worker: Rc<Worker>,
    open: Arc<Open>,
}

impl Listening {
    pub(crate) fn new(socket: TcpListener, place: Place, worker: Rc<Worker>, open: Arc<Open>) -> io::Result<Self> {
        let acceptor = Acceptor::new(socket)?;
        Ok(Self { local: acceptor.local(), acceptor, place, worker, open })
    }

    /// Takes what has come already.
    pub(crate) fn accept_what_waits(&self) {
        self.acceptor.take_what_waits(|stream, peer| self.begin(stream, peer));
    }

    pub(crate) async fn accept(self: Rc<Self>) {
        let failed = || self.worker.metrics.connections_cut.of(Cut::Accept).inc();
        self.acceptor.run(&self.open.unaccepted, failed, |stream, peer| self.begin(stream, peer)).await;
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.worker.metrics;
        let is_passed_on = self.place.proxies.contains(peer.ip());
        let seat = Seat::take(&self.open, &self.worker);
        // Whose a connection is that a proxy passes on, nobody knows yet.
        let seat = match is_passed_on {
            true => seat,
            false => seat.and_then(|seat| seat.of_client(&self.worker, self.local, peer)),
        };
        let seat = match seat {
            Ok(seat) => seat,
            Err(why) => return metrics.connections_cut.of(why).inc(),
        };
        // Answers are written whole; waiting to fill a segment only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        metrics.connections.inc();
        // At every address, only the connection knows which one of them it has come to.
        let to = self.local.ip().is_unspecified().then(|| stream.local_addr().ok()).flatten();
        let origin = Origin { peer, local: self.local, to, tls: self.place.tls.is_some(), session: None };
        let (worker, tls) = (Rc::clone(&self.worker), self.place.tls.clone());
        let beat = worker.pulses.begin();
        tokio::task::spawn_local(async move {
            let (mut stream, mut origin, mut seat) = (stream, origin, seat);
            if is_passed_on {
                match Box::pin(whose(&mut stream, &worker, origin, seat)).await {
                    Ok(Some(said)) => (origin, seat) = said,
                    Ok(None) => return,
                    Err(why) => return worker.metrics.connections_cut.of(why).inc(),
                }
            }
            let (peer, origin) = (origin.peer, Rc::new(origin));
            let ended = match tls {
                None => http(stream, &worker, origin, beat, None).await,
                Some(tls) => Box::pin(encrypted(stream, &tls, &worker, origin, beat)).await,
            };
            if let Err(error) = ended {
                let late = error.kind() == io::ErrorKind::TimedOut;
                worker.metrics.connections_cut.of(if late { Cut::Late } else { Cut::Broken }).inc();
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(seat);
        });
    }
}

/// Whose a connection is that a proxy passes on, as that says in front of it; `None` where it has nothing to say.
async fn whose(
    stream: &mut TcpStream,
    worker: &Rc<Worker>,
    mut origin: Origin,
    seat: Seat,
) -> Result<Option<(Origin, Seat)>, Cut> {
    let patience = worker.serving().options.header_timeout;
    let said = match tokio::time::timeout(patience, passed::read(stream)).await {
        Ok(Ok(said)) => said,
        failed => {
            if let Ok(Err(error)) = failed {
                tracing::debug!(peer = %origin.peer, %error, "PROXY protocol");
            }
            return Err(Cut::Proxy);
        }
    };
    let Some(said) = said else { return Ok(None) };
    origin.peer = said.peer.unwrap_or(origin.peer);
    origin.to = said.local.or(origin.to);
    origin.tls |= said.tls;
    let seat = seat.of_client(worker, origin.local, origin.peer)?;
    Ok(Some((origin, seat)))
}

async fn http<S: Transport>(
    stream: S,
    worker: &Rc<Worker>,
    origin: Rc<Origin>,
    beat: Beat,
    alt_svc: Option<HeaderValue>,
) -> io::Result<()> {
    match connection::serve(stream, Rc::clone(worker), Rc::clone(&origin), beat, true, alt_svc.as_ref()).await? {
        Ended::Closed => Ok(()),
        Ended::Http2(stream, read, beat) => {
            Box::pin(h2::serve(Rewound::new(stream, read), worker, origin, beat, alt_svc)).await
        }
    }
}

async fn encrypted(
    stream: TcpStream,
    tls: &Tls,
    worker: &Rc<Worker>,
    origin: Rc<Origin>,
    beat: Beat,
) -> io::Result<()> {
    let patience = worker.serving().options.header_timeout;
    let stream = match tokio::time::timeout(patience, tls::accept(tls, stream, origin.local.ip())).await {
        Ok(Ok(Accepted::Stream(stream))) => *stream,
        Ok(Ok(Accepted::Challenged)) => return Ok(()),
        failed => {
            worker.metrics.connections_cut.of(Cut::Tls).inc();
            if let Ok(Err(error)) = failed {
                tracing::debug!(peer = %origin.peer, %error, "TLS handshake");
            }
            return Ok(());
        }
    };
    let connection = stream.get_ref().1;
    let session = Session::of(connection);
    worker.metrics.tls_handshakes.of(Handshake::of(&session)).inc();
    let origin = Rc::new(Origin { session: Some(Arc::new(session)), ..(*origin).clone() });
    let alt_svc = tls.alt_svc(origin.local.port());
    if connection.alpn_protocol() == Some(b"h2") {
        return Box::pin(h2::serve(stream, worker, origin, beat, alt_svc)).await;
    }
    http(stream, worker, origin, beat, alt_svc).await
}

impl Transport for TlsStream<TcpStream> {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}
