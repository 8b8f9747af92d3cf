//! A load for what passes connections and datagrams on: `outwork bench proxy`, and the benchmarks of the admin API.
//!
//! - this file: what is asked for, and a load under way. `lane`: one connection, or one socket of UDP. `sequence`: loads one after the other.
//! - `report`: what came of it. [`api`]: its routes. `kept`: what was run before.
//!
//! It works against anything that answers with what it is sent; `throughput` and `connections` are content with who takes it.

pub mod api;
mod kept;
mod lane;
mod report;
mod sequence;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use outwork_config::choice;
use outwork_telemetry::Histogram;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Protocol;
pub use report::Report;

choice! {
    /// What is measured.
    pub enum Kind {
        /// How much goes through: as much is sent as is taken.
        Throughput = "throughput",
        /// How long an answer takes, with one packet under way on each connection.
        Latency = "latency",
        /// How many connections, or of UDP flows, can begin in a second.
        Connections = "connections",
        /// All of it: connections are opened, exchange packets, send some at once, and are closed.
        Mixed = "mixed",
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is measured.
    pub kind: Kind,
    /// Who is loaded.
    pub target: SocketAddr,
    /// By what.
    pub protocol: Protocol,
    /// Octets that are sent at a time.
    pub packet_size: usize,
    /// Connections, or sockets of UDP, at once.
    pub connections: usize,
    /// Threads.
    pub workers: usize,
    /// For how long.
    pub duration: Duration,
    /// After how long an answer, or a connection, counts as lost.
    pub timeout: Duration,
}

/// Octets that all connections may have under way.
const ROOM: usize = 128 << 20;

impl Options {
    /// What cannot be, with the name of the option, where anything is.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let most = match self.protocol {
            Protocol::Tcp => 1 << 20,
            Protocol::Udp => 65_507,
        };
        let counts = [
            ("packet_size", self.packet_size, most),
            ("connections", self.connections, 10_000),
            ("workers", self.workers, 64),
        ];
        let beyond = counts.into_iter().find(|(_, count, most)| !(1..=*most).contains(count));
        let beyond = beyond.map(|(name, count, most)| (name, format!("{count}: expected 1 to {most}")));
        // Each connection has room of its own for what it sends and what comes back.
        let room = (self.packet_size.saturating_mul(self.connections) > ROOM).then(|| {
            (
                "packet_size",
                format!("with {} connections, expected {} at most", self.connections, ROOM / self.connections.max(1)),
            )
        });
        let hour = Duration::from_secs(3600);
        let lasting = (!(Duration::from_millis(100)..=hour).contains(&self.duration))
            .then(|| ("duration", "expected 100ms to 1h".to_owned()));
        beyond.or(room).or(lasting)
    }
}

/// What was counted so far.
#[derive(Debug, Default)]
struct Tally {
    connections: AtomicU64,
    exchanges: AtomicU64,
    packets: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
    /// How long answers took, and with `connections` how long those took to open.
    times: Histogram,
    /// What went wrong first.
    first: Mutex<Option<String>>,
}

/// What is under way, for who looks at it.
#[derive(Debug)]
struct Under {
    options: Options,
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    began: Instant,
}

/// A load under way. It ends with this.
#[derive(Debug)]
pub struct Load {
    under: Arc<Under>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Under {
    fn report(&self) -> Report {
        Report::of(&self.options, &self.tally, self.began.elapsed())
    }

    fn cancel(&self) {
        // Who is gone has heard.
        let _ = self.stop.send(true);
    }
}

impl Load {
    /// Begins.
    ///
    /// # Errors
    /// When there are no threads for it.
    pub fn start(options: Options) -> std::io::Result<Load> {
        let (stop, stopped) = watch::channel(false);
        let under = Under { options, tally: Arc::default(), stop, began: Instant::now() };
        let mut load = Load { under: Arc::new(under), threads: Vec::new() };
        let Under { options, tally, .. } = &*load.under;
        let workers = options.workers.min(options.connections).max(1);
        for worker in 0..workers {
            // Those that are left over are the first threads'.
            let own = options.connections / workers + usize::from(worker < options.connections % workers);
            let (options, tally, mut stopped) = (options.clone(), Arc::clone(tally), stopped.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || {
                let lanes = tokio::task::LocalSet::new();
                for _ in 0..own {
                    let (options, tally) = (options.clone(), Arc::clone(&tally));
                    lanes.spawn_local(async move { lane::run(&options, &tally).await });
                }
                let deadline = options.duration;
                runtime.block_on(async {
                    tokio::select! {
                        () = lanes => {}
                        () = tokio::time::sleep(deadline) => {}
                        // Dropped or told, both mean the end.
                        _ = stopped.changed() => {}
                    }
                });
            };
            load.threads.push(std::thread::Builder::new().name("bench-proxy".to_owned()).spawn(work)?);
        }
        Ok(load)
    }

    /// What has come of it so far.
    pub fn report(&self) -> Report {
        self.under.report()
    }

    fn under(&self) -> Arc<Under> {
        Arc::clone(&self.under)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(std::thread::JoinHandle::is_finished)
    }

    /// Ends it before its time.
    pub fn cancel(&self) {
        self.under.cancel();
    }

    /// Waits until it is over.
    pub fn wait(&mut self) {
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.cancel();
        self.wait();
    }
}

/// Loads until the end.
///
/// # Errors
/// When there are no threads for it.
pub fn run(options: Options) -> std::io::Result<Report> {
    let mut load = Load::start(options)?;
    load.wait();
    Ok(load.report())
}

#[cfg(test)]
mod tests;
