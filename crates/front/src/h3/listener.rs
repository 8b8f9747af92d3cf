//! Connections that begin: who may, who first has to show where it is, and what is known of it afterwards.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use outwork_net::thread::Vital;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime};
use rustls::pki_types::CertificateDer;

use super::connection;
use super::socket::{OwnIds, Place, Steered};
use crate::door::metrics::{Cut, Handshake};
use crate::door::pulse::{Beat, Pulse};
use crate::door::worker::Worker;
use crate::door::{Open, Seat};
use crate::message::Origin;
use crate::tls::{ClientCertificate, Quic, Session, Tls};

/// What of a client that begins a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reception {
    /// It is let in.
    Accept,
    /// It has to come again with a token that was sent to its address (RFC 9000 section 8.1.2).
    Retry,
}

/// Where connections of one address `counts`, nobody is to use up those of another.
fn reception(is_validated: bool, counts: bool, handshakes: u32, retry_above: u32) -> Reception {
    match is_validated || (!counts && handshakes < retry_above) {
        true => Reception::Accept,
        false => Reception::Retry,
    }
}

/// A QUIC socket on which connections begin.
pub(crate) struct Listening {
    endpoint: Endpoint,
    socket: Arc<Steered>,
    local: SocketAddr,
    tls: Arc<Tls>,
    worker: Rc<Worker>,
    open: Arc<Open>,
    handshakes: Rc<Cell<u32>>,
    connections: Rc<Connections>,
}

/// The connections of a socket, which end when nobody listens there any longer: while they last, so does the socket, and takes what others that
/// listen there later should have.
#[derive(Default)]
pub(crate) struct Connections(RefCell<Vec<Weak<Pulse>>>);

impl Connections {
    fn add(&self, beat: &Beat) {
        let mut pulses = self.0.borrow_mut();
        // Those that have ended go before there would be more room for them.
        if pulses.len() == pulses.capacity() {
            pulses.retain(|pulse| pulse.strong_count() > 0);
        }
        pulses.push(Rc::downgrade(&beat.pulse));
    }

    /// Ends each after the requests that it is at.
    pub(crate) fn stop(&self) {
        self.0.borrow().iter().filter_map(Weak::upgrade).for_each(|pulse| pulse.stop());
    }
}

impl Listening {
    pub(crate) fn new(place: Place, tls: &Arc<Tls>, worker: Rc<Worker>, open: Arc<Open>) -> io::Result<Self> {
        let quic = tls.quic().ok_or_else(|| io::Error::other("HTTP/3 is turned off"))?;
        let local = place.socket.local_addr()?;
        let (ids, thread) = (place.ids, place.mailbox.thread);
        let mut config = EndpointConfig::default();
        config.cid_generator(move || Box::new(OwnIds { ids, thread }));
        let socket = Steered::new(place, Arc::clone(&worker.metrics))?;
        let server = Some((*quic.config).clone());
        let (runtime, shared) = (Arc::new(TokioRuntime), Arc::clone(&socket));
        let endpoint = Endpoint::new_with_abstract_socket(config, server, shared, runtime)?;
        Ok(Self {
            endpoint,
            socket,
            local,
            tls: Arc::clone(tls),
            worker,
            open,
            handshakes: Rc::default(),
            connections: Rc::default(),
        })
    }

    /// What connections begin and end at.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// What has begun there.
    pub(crate) fn connections(&self) -> Rc<Connections> {
        Rc::clone(&self.connections)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> Arc<Steered> {
        Arc::clone(&self.socket)
    }

    pub(crate) async fn accept(self) {
        let _vital = Vital;
        while let Some(incoming) = self.endpoint.accept().await {
            self.begin(incoming);
        }
    }

    fn begin(&self, incoming: Incoming) {
        let metrics = &self.worker.metrics;
        let (peer, is_validated) = (incoming.remote_address(), incoming.remote_address_validated());
        // Turned off since the socket was bound.
        let Some(quic) = self.tls.quic() else { return incoming.refuse() };
        let counts = self.worker.serving().options.per_client > 0;
        if reception(is_validated, counts, self.handshakes.get(), quic.http3.retry_above) == Reception::Retry {
            metrics.quic_retries.inc();
            // One that has no right to another try is refused with that.
            return drop(incoming.retry());
        }
        let seat = Seat::take(&self.open, &self.worker);
        let seat = match seat.and_then(|seat| seat.of_client(&self.worker, self.local, peer)) {
            Ok(seat) => seat,
            Err(why) => {
                metrics.connections_cut.of(why).inc();
                return incoming.refuse();
            }
        };
        metrics.connections.inc();
        metrics.quic_connections.inc();
        let (worker, local) = (Rc::clone(&self.worker), self.local);
        let (handshake, beat) = (Underway::new(&self.handshakes), worker.pulses.begin());
        self.connections.add(&beat);
        tokio::task::spawn_local(async move {
            let ended = meet(incoming, &quic, &worker, local, handshake, beat).await;
            if let Err(error) = ended {
                let late = error.kind() == io::ErrorKind::TimedOut;
                worker.metrics.connections_cut.of(if late { Cut::Late } else { Cut::Broken }).inc();
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(seat);
        });
    }
}

/// Does the handshake and serves the connection.
async fn meet(
    incoming: Incoming,
    quic: &Quic,
    worker: &Rc<Worker>,
    local: SocketAddr,
    handshake: Underway,
    beat: Beat,
) -> io::Result<()> {
    let peer = incoming.remote_address();
    let failed = |error: &dyn std::fmt::Display| {
        worker.metrics.connections_cut.of(Cut::Tls).inc();
        tracing::debug!(%peer, %error, "QUIC handshake");
        Ok(())
    };
    let connecting = match incoming.accept_with(Arc::clone(&quic.config)) {
        Ok(connecting) => connecting,
        Err(error) => return failed(&error),
    };
    let connection = match tokio::time::timeout(worker.serving().options.header_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return failed(&error),
        Err(late) => return failed(&late),
    };
    drop(handshake);
    worker.metrics.tls_handshakes.of(Handshake::Quic).inc();
    let session = Some(Arc::new(session(&connection)));
    let origin = Rc::new(Origin { peer, local, to: None, tls: true, session });
    connection::serve(connection, worker, origin, beat, quic.http3.idle_timeout).await
}

/// What was agreed on. QUIC does not tell the cipher suite, nor whether an earlier session goes on.
fn session(connection: &quinn::Connection) -> Session {
    let agreed = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    Session {
        version: "TLSv1.3",
        cipher: "",
        server_name: agreed.and_then(|agreed| agreed.server_name),
        resumed: false,
        client: chain.and_then(|chain| ClientCertificate::read(chain.first()?)),
    }
}

/// A handshake that is under way.
struct Underway(Rc<Cell<u32>>);

impl Underway {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_load_who_has_not_shown_where_it_is_has_to_come_again() {
        assert_eq!(reception(false, false, 9, 10), Reception::Accept);
        assert_eq!(reception(false, false, 10, 10), Reception::Retry);
        assert_eq!(reception(true, true, 10_000, 10), Reception::Accept);
        assert_eq!(reception(false, false, 0, 0), Reception::Retry, "0 asks everyone");
        assert_eq!(
            reception(false, true, 0, 10),
            Reception::Retry,
            "it would use up the connections of whose address it is"
        );
    }
}
