//! The front door: threads that accept connections and serve requests, each with a listening socket of its own.
//!
//! - `worker`: what the connections of one thread share.
//! - `pulse`: deadlines of connections; `pace`: those of requests that share one.
//! - `places`: where it listens: the sockets of every thread, kept for a reload and for the process that comes after this one.
//! - `thread`: one thread: what it listens on, what it is told, and its end.
//! - [`acceptor`]: a socket that is accepted on. `listener`: listening sockets, and what is accepted on them; `episode`: what fails again and again is told of once.
//! - `passed`: connections that proxies pass on, with whose they are in front.
//! - `buffers`: what the kernel keeps for sockets. `metrics`: what all of it counts.

pub mod acceptor;
mod buffers;
pub(crate) mod episode;
pub(crate) mod listener;
pub(crate) mod metrics;
pub(crate) mod pace;
pub mod passed;
pub(crate) mod places;
pub(crate) mod pulse;
mod thread;
pub(crate) mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outwork_config::Affinity;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::filter::Entry;
use crate::filter::clients::{self, Clients};
use crate::h1::head::HeadLimits;
use crate::message::Handler;
pub use buffers::Buffers;
pub use episode::Episode;
pub use listener::{listen_with, vacant};
use metrics::Cut;
pub use metrics::DoorMetrics;
use places::{Change, Places, Sockets};
pub use places::{Handed, HandedQuic, Place};
use thread::Order;

/// As many threads as connection ids of QUIC can tell apart.
const MOST_THREADS: usize = 1024;

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
    /// Whether a request is given up whose client ends its side of the connection meanwhile.
    pub abort_on_close: bool,
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
    /// A UDP port cannot be listened on.
    #[error("cannot listen on {address} (UDP) for HTTP/3: {source}")]
    Quic {
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

/// Threads that serve connections, and what they are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    /// How many.
    pub count: usize,
    /// Which processors they stay on.
    pub affinity: Affinity,
    /// Bytes of the stack of each.
    pub stack: usize,
    /// Threads that each may have at its side for what waits for disks.
    pub io: usize,
}

impl Threads {
    /// So many, and the rest as it usually is.
    pub fn of(count: usize) -> Self {
        Self { count, affinity: Affinity::Anywhere, stack: 2 << 20, io: 16 }
    }
}

/// How connections end when there is nobody to serve them any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Who is between two requests is cut off at once.
    Brief,
    /// Another process accepts from here on: who is between two requests gets an answer to the next one, with the word that it was the last.
    Long,
}

/// Threads that serve connections.
pub struct Door {
    threads: Vec<(UnboundedSender<Order>, std::thread::JoinHandle<()>)>,
    places: Mutex<Places>,
}

/// Sockets that are bound and not yet served.
pub struct Bound {
    threads: Threads,
    places: Places,
    opened: Vec<Vec<Sockets>>,
}

impl Bound {
    /// Binds a socket for every place and thread, or takes it from what the process before this one had.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn bind(places: &[Place], threads: Threads, handed: Vec<Handed>) -> Result<Self, DoorError> {
        let threads = Threads { count: threads.count.clamp(1, MOST_THREADS), ..threads };
        let mut handed = handed;
        let change = Places::new(threads.count).change(places, &mut handed)?;
        // What is left of those is listened at no longer.
        Ok(Self { threads, places: change.after, opened: change.open })
    }

    /// The addresses, with the ports that were found.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places.addresses()
    }

    /// Begins to serve.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn serve(self, serving: Serving, metrics: &Arc<DoorMetrics>) -> Result<Door, DoorError> {
        let (serving, open) = (Arc::new(serving), Arc::new(Open::default()));
        // Sockets of another process have what it was told.
        self.places.listen_again();
        // Where that cannot be asked, nobody is pinned.
        let processors = outwork_net::thread::all_processors().unwrap_or_default();
        let mut threads = Vec::with_capacity(self.opened.len());
        for (index, sockets) in self.opened.into_iter().enumerate() {
            let name = format!("front-{index}");
            let (sender, orders) = unbounded_channel();
            let shared = (Arc::clone(&serving), Arc::clone(metrics), Arc::clone(&open));
            let processor = self.threads.affinity.of_thread(index, &processors);
            let io = self.threads.io;
            let builder = std::thread::Builder::new().name(name.clone()).stack_size(self.threads.stack);
            let run = move || thread::run(sockets, orders, shared, processor, io);
            let thread = outwork_net::thread::spawn_vital(builder, run);
            threads.push((sender, thread.map_err(|source| DoorError::Thread { name, source })?));
        }
        Ok(Door { threads, places: Mutex::new(self.places) })
    }
}

/// Places that a door is to listen at from now on, with what is bound for them. Dropped, nothing has changed.
pub struct Prepared(Change);

impl Prepared {
    /// The addresses, with the ports that were found.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.after.addresses()
    }
}

impl Door {
    /// The addresses that are listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places.lock().addresses()
    }

    /// Binds what is new of these places. Where it listens already, it goes on with the sockets that it has.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn prepare(&self, places: &[Place]) -> Result<Prepared, DoorError> {
        self.places.lock().change(places, &mut Vec::new()).map(Prepared)
    }

    /// Serves something else from the next request on, at these places. Connections stay, those of places that are gone, too.
    pub fn replace(&self, serving: Serving, prepared: Prepared) {
        let Change { after, mut open, close } = prepared.0;
        let serving = Arc::new(serving);
        after.listen_again();
        for (orders, _) in &self.threads {
            let open = if open.is_empty() { Vec::new() } else { open.remove(0) };
            // A thread that is gone serves nothing.
            let _ = orders.send(Order::Serve { serving: Arc::clone(&serving), open, close: close.clone() });
        }
        *self.places.lock() = after;
    }

    /// Copies of all sockets, for a process that is to take them over, and the way back for what it finds of ours.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn hand_over(&self) -> io::Result<Vec<Handed>> {
        let (handed, ways) = self.places.lock().hand_over()?;
        for ((orders, _), ways) in self.threads.iter().zip(ways) {
            let _ = orders.send(Order::Successor(ways));
        }
        Ok(handed)
    }

    /// Accepts no more, lets requests under way end within `patience`, and closes every connection.
    pub fn stop(self, farewell: Farewell, patience: Duration) {
        for (orders, _) in &self.threads {
            let _ = orders.send(Order::Stop(farewell, patience));
        }
        drop(self.places);
        for (_, thread) in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the front door has panicked");
            }
        }
    }
}

/// Connections open, of all threads.
#[derive(Default)]
pub(crate) struct Open {
    all: AtomicUsize,
    clients: Arc<Clients>,
    /// Connections that cannot be accepted, on any thread.
    unaccepted: Episode,
}

/// A place among the open connections of all threads.
pub(crate) struct Seat {
    open: Arc<Open>,
    metrics: Arc<DoorMetrics>,
    of_client: Option<clients::Place>,
}

impl Seat {
    /// A place for a connection, or why there is none.
    pub(crate) fn take(open: &Arc<Open>, worker: &worker::Worker) -> Result<Self, Cut> {
        if open.all.fetch_add(1, Ordering::Relaxed) >= worker.serving().options.connections {
            open.all.fetch_sub(1, Ordering::Relaxed);
            return Err(Cut::Full);
        }
        worker.metrics.connections_open.inc();
        Ok(Self { open: Arc::clone(open), metrics: Arc::clone(&worker.metrics), of_client: None })
    }

    /// The same, now that it is known to be one of `peer` to `local`.
    pub(crate) fn of_client(
        mut self,
        worker: &worker::Worker,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Self, Cut> {
        let serving = worker.serving();
        let limit = serving.options.per_client;
        let trusted = || serving.entry.proxies.as_ref().is_some_and(|proxies| proxies.trust(peer.ip()));
        if limit > 0 && !trusted() {
            self.of_client = Some(self.open.clients.enter(local, peer.ip(), limit).ok_or(Cut::Client)?);
        }
        Ok(self)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.of_client.take());
        self.open.all.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connections_open.dec();
    }
}

#[cfg(test)]
pub(crate) mod tests;
