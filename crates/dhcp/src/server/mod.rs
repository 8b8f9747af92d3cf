//! Performs what the engine decides: threads, sockets, the log. No async code: a packet never waits for a scheduler.
//!
//! - `service`: the engine and its log under one lock, shared with the API.
//! - `worker`: a thread that receives, decides in batches, and sends.
//! - `port`: a socket of a worker and what waits to leave by it; which way an answer takes.
//! - `parked`: answers that wait for the disk.
//! - `housekeeper`: interfaces that come and go, leases that end, figures.
//! - `unserved`: where clients get no answer for want of a subnet, an address or a route.
//! - `stranded`: leases whose subnet is no longer there.
//! - `prober`: asks the link whether an address is in use before it is offered.
//!
//! Absent on purpose: deciding anything about a lease, and the form of an answer.

mod housekeeper;
mod parked;
mod port;
mod prober;
mod service;
mod stranded;
mod unserved;
mod worker;

#[cfg(test)]
mod tests;

pub use service::{Events, InterfaceStatus, Publish, Service, Status, StoreError};
pub use stranded::Stranded;
pub use unserved::Unserved;

use crate::config::{Dhcp, InterfaceRule, WhenFull};
use housekeeper::Housekeeper;
use outwork_config::Affinity;
use outwork_net::{UdpSocket, Waker, poll, thread, udp};
use parking_lot::Mutex;
use prober::Prober;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use worker::{Command, Worker};

/// How the service runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// UDP addresses for relay agents, and for clients that have an address.
    pub listen: Vec<SocketAddrV4>,
    /// Interfaces whose clients are served directly. One that is not there yet is picked up when it appears.
    pub interfaces: Vec<InterfaceRule>,
    /// Worker threads; 0 is one for every two processors, within [`MOST_WORKERS`].
    pub workers: usize,
    /// Which processors workers stay on.
    pub affinity: Affinity,
    /// Octets of each socket's receive buffer; 0 is the kernel's default.
    pub receive_buffer: usize,
    /// Datagrams come and go in runs where they can.
    pub offload: bool,
    /// Answers of one worker that may wait for the disk; at least `batch`.
    pub queue_size: usize,
    /// What happens when that many wait.
    pub when_full: WhenFull,
    /// Requests received and decided together; at least 1.
    pub batch: usize,
    /// Deadlines of leases handled in one hold of the engine; at least 1.
    pub expiry_slice: usize,
    /// How long an address that is probed has to answer.
    pub probe_timeout: Duration,
}

impl From<&Dhcp> for Options {
    fn from(dhcp: &Dhcp) -> Self {
        Self {
            listen: dhcp.listen.clone(),
            interfaces: dhcp.interfaces.clone(),
            workers: dhcp.workers.into(),
            affinity: dhcp.affinity.clone(),
            receive_buffer: dhcp.receive_buffer.as_usize(),
            offload: dhcp.offload,
            queue_size: dhcp.queue_size as usize,
            when_full: dhcp.when_full,
            batch: dhcp.batch.into(),
            expiry_slice: dhcp.expiry_slice as usize,
            probe_timeout: dhcp.probe_timeout,
        }
    }
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refused a socket.
    #[error(transparent)]
    Net(#[from] outwork_net::Error),
    /// A worker can't wait for so many sockets.
    #[error("{sockets} listen addresses and interfaces are too many: at most {most}")]
    TooMany {
        /// Addresses and interfaces of the configuration.
        sockets: usize,
        /// The most there may be.
        most: usize,
    },
    /// A thread could not be started.
    #[error("cannot start the {name} thread: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How others reach a worker.
#[derive(Debug)]
pub(crate) struct Mailbox {
    commands: Mutex<Vec<Command>>,
    waker: Waker,
    /// True while answers of this worker wait for the disk.
    waits: AtomicBool,
}

impl Mailbox {
    fn new() -> outwork_net::Result<Self> {
        Ok(Self { commands: Mutex::default(), waker: Waker::new()?, waits: AtomicBool::new(false) })
    }

    fn send(&self, command: Command) {
        self.commands.lock().push(command);
        self.waker.wake();
    }

    /// On the commit thread: more is durable now. Pairs with [`wait_for_disk`](Self::wait_for_disk): either this sees that
    /// the worker waits, or the worker, which looks at the log after saying so, sees what is durable.
    fn committed(&self) {
        fence(Ordering::SeqCst);
        if self.waits.load(Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    fn wait_for_disk(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// The threads of the service. Dropping it stops them at once.
pub struct Server {
    mailboxes: Vec<Arc<Mailbox>>,
    housekeeper: Arc<housekeeper::Bell>,
    prober: Arc<Prober>,
    listening: Vec<SocketAddrV4>,
    threads: Vec<JoinHandle<()>>,
}

/// The most workers that are started unasked: more only wait for each other.
const MOST_WORKERS: usize = 8;

/// For a thread that clients wait for.
fn take_short_turns() {
    if let Err(error) = thread::take_short_turns() {
        tracing::debug!(%error, "a thread takes turns of the usual length");
    }
}

/// The most sockets of a worker, its waker aside.
const MAX_SOCKETS: usize = poll::MAX_ENTRIES - 1;

impl Server {
    /// Binds every address and starts the threads, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`StartError`] if an address can't be bound or a thread can't be started; nothing is left running.
    pub fn start(service: &Arc<Service>, options: &Options) -> Result<Self, StartError> {
        let named = options.interfaces.iter().filter(|rule| rule.named().is_some());
        let sockets = options.listen.len() + named.count();
        if sockets > MAX_SOCKETS {
            return Err(StartError::TooMany { sockets, most: MAX_SOCKETS });
        }
        let processors = thread::all_processors()?;
        let count = match options.workers {
            0 => (options.affinity.count(processors.len()) / 2).clamp(1, MOST_WORKERS),
            workers => workers,
        };
        service.metrics().parked_limit.set((count * options.queue_size.max(options.batch)) as i64);
        let mut groups = Vec::new();
        for address in &options.listen {
            let socket = udp::Options {
                address: *address,
                device: None,
                receive_buffer: options.receive_buffer,
                // Where packet sockets hear the broadcasts.
                unicasts_only: !options.interfaces.is_empty(),
                offload: options.offload,
            };
            groups.push(UdpSocket::bind_group(&socket, count)?.into_iter().map(Arc::new).collect::<Vec<_>>());
        }
        let mut mailboxes = Vec::with_capacity(count);
        for _ in 0..count {
            mailboxes.push(Arc::new(Mailbox::new()?));
        }
        let listening: Vec<_> = groups.iter().filter_map(|group| group.first()).map(|socket| socket.local()).collect();
        let prober = Arc::new(Prober::new(mailboxes.clone(), options.probe_timeout, Arc::clone(service.metrics()))?);
        let mut keeper = Housekeeper::new(
            Arc::clone(service),
            options,
            &listening,
            groups.concat(),
            mailboxes.clone(),
            Arc::clone(&prober),
        )?;
        let mut server = Self {
            mailboxes: mailboxes.clone(),
            housekeeper: keeper.bell(),
            prober: Arc::clone(&prober),
            listening: listening.clone(),
            threads: Vec::new(),
        };
        // Interfaces first, so that workers know their addresses from the first packet on.
        keeper.sync_interfaces();
        // Before any answer waits for a commit.
        let waiting = mailboxes.clone();
        service.log().on_commit(Box::new(move |_| waiting.iter().for_each(|mailbox| mailbox.committed())));
        for (index, mailbox) in mailboxes.iter().enumerate() {
            let udp = groups.iter().filter_map(|group| group.get(index)).cloned().collect();
            let (service, prober) = (Arc::clone(service), Arc::clone(&prober));
            let worker = Worker::new(index, service, Arc::clone(mailbox), udp, prober, options);
            let processor = options.affinity.of_thread(index, &processors);
            server.spawn(format!("dhcp-worker-{index}"), move || {
                if let Some(Err(error)) = processor.map(thread::pin) {
                    tracing::warn!(%error, "a DHCP worker runs on any processor");
                }
                take_short_turns();
                worker.run();
            })?;
        }
        let asker = (Arc::clone(service), prober);
        server.spawn("dhcp-prober".to_owned(), move || asker.1.run(&asker.0))?;
        server.spawn("dhcp-keeper".to_owned(), move || keeper.run())?;
        service.board.lock().listening = listening;
        Ok(server)
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let thread = thread::spawn_vital(Builder::new().name(name.clone()), body)
            .map_err(|source| StartError::Thread { name, source })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Where UDP is listened, in the order of [`Options::listen`], with the ports that the kernel chose.
    pub fn listening(&self) -> &[SocketAddrV4] {
        &self.listening
    }

    /// Stops reading, sends the answers that still wait for the disk as far as it confirms them in time, and ends every thread.
    pub fn stop(mut self, within: Duration) {
        self.end(within);
    }

    fn end(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Command::Stop(deadline)));
        self.prober.stop();
        self.housekeeper.stop();
        for thread in self.threads.drain(..) {
            // A panic has ended the process.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
