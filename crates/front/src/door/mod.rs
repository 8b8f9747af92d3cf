//! The front door: threads that accept connections and serve requests, each with a listening socket of its own.
//!
//! - `worker`: what the connections of one thread share.
//! - `pulse`: deadlines of connections; `pace`: those of requests that share one.
//! - `listener`: listening sockets, and what is accepted on them.
//! - `metrics`: what all of it counts.

pub(crate) mod listener;
pub(crate) mod metrics;
pub(crate) mod pace;
pub(crate) mod pulse;
pub(crate) mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::filter::Entry;
use crate::filter::clients::{self, Clients};
use crate::h1::head::HeadLimits;
use crate::message::Handler;
use crate::tls::Tls;
use listener::{Listening, listen};
use metrics::Cut;
pub use metrics::DoorMetrics;
use worker::Worker;

/// How fine deadlines are.
const BEAT: Duration = Duration::from_millis(200);

/// What connections may do, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Connections open at once, of all threads.
    pub connections: usize,
    /// From the first byte of a head to its end; for the first head, from the connection on.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long a handler may take, and a client may be silent in the middle of a body; what it sends earns it more, up to this from then.
    pub request_timeout: Duration,
    /// How long a client may take nothing of its answer; what it takes earns it more, up to this from then.
    pub send_timeout: Duration,
    /// Bytes a second that a body has to come or go with at least, once the time above is used up.
    pub min_rate: u64,
    /// Bytes of the content of a request.
    pub max_body: u64,
    /// Bytes of a request's target.
    pub max_target: usize,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Requests that one connection serves.
    pub requests_per_connection: u32,
    /// Connections that one client may have open on a listener; 0 for no limit. Trusted proxies have none.
    pub per_client: u32,
}

impl Options {
    pub(crate) fn head_limits(&self) -> HeadLimits {
        HeadLimits { target: self.max_target, head: self.max_head }
    }
}

/// What is served, and how: replaced whole by a reload.
pub struct Serving {
    /// Limits of connections.
    pub options: Options,
    /// Who answers.
    pub handler: Box<dyn Handler>,
    /// What is done with every request, before and after.
    pub entry: Entry,
}

/// An address to listen on.
#[derive(Clone)]
pub struct Place {
    /// The address. With port 0, one that is free.
    pub address: SocketAddr,
    /// A certificate, for HTTPS.
    pub tls: Option<Arc<Tls>>,
    /// Connections that may wait to be accepted, for each thread.
    pub backlog: i32,
}

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What workers are told.
enum Order {
    Serve(Arc<Serving>),
    Stop(Duration),
}

/// Threads that serve connections.
pub struct Door {
    threads: Vec<(UnboundedSender<Order>, std::thread::JoinHandle<()>)>,
    addresses: Vec<SocketAddr>,
}

/// Sockets that are bound and not yet served.
pub struct Bound {
    sockets: Vec<Vec<(TcpListener, Place)>>,
    addresses: Vec<SocketAddr>,
}

impl Bound {
    /// Binds a socket for every address and thread.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn bind(places: &[Place], threads: usize) -> Result<Self, DoorError> {
        let mut sockets: Vec<Vec<_>> = (0..threads.max(1)).map(|_| Vec::with_capacity(places.len())).collect();
        let mut addresses = Vec::with_capacity(places.len());
        for place in places {
            let mut address = place.address;
            for of_thread in &mut sockets {
                let failed = |source| DoorError::Listen { address, source };
                let socket = listen(address, place.backlog).map_err(failed)?;
                // With port 0, the first finds one for all.
                address = socket.local_addr().map_err(failed)?;
                of_thread.push((socket, place.clone()));
            }
            addresses.push(address);
        }
        Ok(Self { sockets, addresses })
    }

    /// The addresses, with the ports that were found.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to serve.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn serve(self, serving: Serving, metrics: &Arc<DoorMetrics>) -> Result<Door, DoorError> {
        let (serving, open) = (Arc::new(serving), Arc::new(Open::default()));
        let mut threads = Vec::with_capacity(self.sockets.len());
        for (index, sockets) in self.sockets.into_iter().enumerate() {
            let name = format!("front-{index}");
            let (sender, orders) = unbounded_channel();
            let shared = (Arc::clone(&serving), Arc::clone(metrics), Arc::clone(&open));
            let thread = std::thread::Builder::new().name(name.clone()).spawn(move || run(sockets, orders, shared));
            threads.push((sender, thread.map_err(|source| DoorError::Thread { name, source })?));
        }
        Ok(Door { threads, addresses: self.addresses })
    }
}

impl Door {
    /// The addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves something else from the next request on. Connections stay.
    pub fn replace(&self, serving: Serving) {
        let serving = Arc::new(serving);
        for (orders, _) in &self.threads {
            // A thread that is gone serves nothing.
            let _ = orders.send(Order::Serve(Arc::clone(&serving)));
        }
    }

    /// Accepts no more, lets requests under way end within `patience`, and closes every connection.
    pub fn stop(self, patience: Duration) {
        for (orders, _) in &self.threads {
            let _ = orders.send(Order::Stop(patience));
        }
        for (_, thread) in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the front door has panicked");
            }
        }
    }
}

type Shared = (Arc<Serving>, Arc<DoorMetrics>, Arc<Open>);

fn run(sockets: Vec<(TcpListener, Place)>, orders: UnboundedReceiver<Order>, shared: Shared) {
    // Answers are short; a thread with short turns comes to its next one sooner. Where that is refused, nothing is lost.
    let _ = outwork_net::thread::take_short_turns();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a thread of the front door has no runtime"),
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(sockets, orders, shared));
}

async fn serve(sockets: Vec<(TcpListener, Place)>, mut orders: UnboundedReceiver<Order>, shared: Shared) {
    let (serving, metrics, open) = shared;
    let worker = Worker::new(serving, metrics);
    let mut accepting = Vec::with_capacity(sockets.len());
    for (socket, place) in sockets {
        match Listening::new(socket, place, Rc::clone(&worker), Arc::clone(&open)) {
            Ok(listening) => accepting.push(tokio::task::spawn_local(listening.accept())),
            Err(error) => tracing::error!(%error, "a listening socket cannot be used"),
        }
    }
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let patience = loop {
        tokio::select! {
            _ = beat.tick() => worker.beat(),
            order = orders.recv() => match order {
                Some(Order::Serve(serving)) => worker.replace(serving),
                Some(Order::Stop(patience)) => break patience,
                None => break Duration::ZERO,
            },
        }
    };
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    worker.pulses.stop();
    let drained = tokio::time::timeout(patience, async {
        while worker.pulses.len() > 0 {
            beat.tick().await;
            worker.beat();
        }
    });
    if drained.await.is_err() {
        tracing::warn!(connections = worker.pulses.len(), "closing connections that did not end in time");
        worker.pulses.kill();
        // Each notices when it is woken; what is left after that goes with the thread.
        tokio::task::yield_now().await;
    }
}

/// Connections open, of all threads.
#[derive(Default)]
pub(crate) struct Open {
    all: AtomicUsize,
    clients: Arc<Clients>,
}

/// A place among the open connections of all threads.
pub(crate) struct Seat {
    open: Arc<Open>,
    _of_client: Option<clients::Place>,
}

impl Seat {
    /// A place for a connection of `peer` to `local`, or why there is none.
    pub(crate) fn take(open: &Arc<Open>, serving: &Serving, local: SocketAddr, peer: SocketAddr) -> Result<Self, Cut> {
        let limit = serving.options.per_client;
        let trusted = || serving.entry.proxies.as_ref().is_some_and(|proxies| proxies.trust(peer.ip()));
        let of_client = match limit > 0 && !trusted() {
            true => Some(open.clients.enter(local, peer.ip(), limit).ok_or(Cut::Client)?),
            false => None,
        };
        if open.all.fetch_add(1, Ordering::Relaxed) >= serving.options.connections {
            open.all.fetch_sub(1, Ordering::Relaxed);
            return Err(Cut::Full);
        }
        Ok(Self { open: Arc::clone(open), _of_client: of_client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
