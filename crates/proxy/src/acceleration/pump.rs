//! The thread that forwards in user space: bursts of all ports by turns, and sleep while none has frames.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use outwork_fastpath::Fastpath;
use outwork_fastpath::port::ways::Ways;
use outwork_fastpath::port::{Port, Pump, Pumped};
use outwork_fastpath::tables::Tables;
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// It looks so often at the least, though nobody says that there is anything.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it leaves ports alone of which one has failed.
const FAULT: Duration = Duration::from_millis(10);

/// A port, whatever it is of.
pub(super) type AnyPort = Box<dyn Port + Send>;

/// What the thread does before anything else.
pub(super) type First = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// How long it looks on after the last frame, and how long it sleeps from look to look where no port says that it has frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) spin: Duration,
    pub(super) sleep: Duration,
}

/// What the thread and its owner have in common.
struct Common {
    tables: Arc<Mutex<Tables>>,
    pump: Mutex<Pump<AnyPort>>,
    /// Grows with each port that comes or goes.
    generation: AtomicU64,
    ends: AtomicBool,
    /// What the thread is woken by.
    bell: OwnedFd,
    /// [`Idle`], in nanoseconds.
    spin: AtomicU64,
    sleep: AtomicU64,
}

/// Forwards between ports until it goes.
pub(super) struct Forwarder {
    common: Arc<Common>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Forwarder {
    /// Forwards by these tables and ways, in the network namespace that this is called in. What `first` does is done by its thread before anything else.
    ///
    /// # Errors
    /// When there is no thread for it, or `first` fails.
    pub(super) fn start(
        tables: &Arc<Mutex<Tables>>,
        ways: Ways,
        idle: Idle,
        first: First,
    ) -> Result<Forwarder, String> {
        let no_thread = |error: io::Error| format!("there is no thread for it: {error}");
        let bell =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| no_thread(error.into()))?;
        let common = Arc::new(Common {
            tables: Arc::clone(tables),
            pump: Mutex::new(Pump::new(Vec::new())),
            generation: AtomicU64::new(1),
            ends: AtomicBool::new(false),
            bell,
            spin: AtomicU64::new(0),
            sleep: AtomicU64::new(0),
        });
        let (own, (told, outcome)) = (Arc::clone(&common), channel());
        let run = move || {
            let done = first();
            let goes_on = done.is_ok();
            // Who has gone does not wait.
            let _ = told.send(done);
            if goes_on {
                own.run(&ways);
            }
        };
        let thread = std::thread::Builder::new().name("proxy-ports".to_owned()).spawn(run).map_err(no_thread)?;
        let forwarder = Forwarder { common, thread: Some(thread) };
        outcome.recv().unwrap_or_else(|_| Err("its thread has ended".to_owned()))?;
        forwarder.set(idle);
        Ok(forwarder)
    }

    pub(super) fn set(&self, idle: Idle) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.common.spin.store(nanos(idle.spin), Ordering::Relaxed);
        self.common.sleep.store(nanos(idle.sleep), Ordering::Relaxed);
        self.common.ring();
    }

    /// Whether its thread is no more, which is so where it has panicked.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
    }

    pub(super) fn add(&self, port: AnyPort) {
        self.common.pump.lock().add(port);
        self.common.changed();
    }

    /// Says which interfaces are about to have ports.
    pub(super) fn expect(&self, interfaces: Vec<u32>) {
        self.common.pump.lock().expect(interfaces);
    }

    /// Closes the ports of an interface.
    pub(super) fn remove(&self, interface: u32) {
        self.common.pump.lock().remove(interface);
        self.common.changed();
    }

    /// What the ports of each interface have done.
    pub(super) fn pumped(&self) -> Vec<(u32, Pumped)> {
        self.common.pump.lock().lanes().map(|(port, pumped)| (port.interface(), pumped)).collect()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.common.ends.store(true, Ordering::Relaxed);
        self.common.ring();
        if let Some(thread) = self.thread.take() {
            // What it panicked of was told by then.
            let _ = thread.join();
        }
    }
}

impl Common {
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // That it has been rung already is as good.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn run(&self, ways: &Ways) {
        // Copies, for ports may go while they are waited for.
        let (mut known, mut sockets, mut all_tell): (u64, Vec<OwnedFd>, bool) = (0, Vec::new(), true);
        let mut last = Instant::now();
        while !self.ends.load(Ordering::Relaxed) {
            let generation = self.generation.load(Ordering::Acquire);
            if generation != known {
                known = generation;
                let pump = self.pump.lock();
                let own = pump.ports().filter_map(|port| port.readiness());
                sockets = own.filter_map(|socket| socket.try_clone_to_owned().ok()).collect();
                all_tell = sockets.len() == pump.ports().count();
            }
            let turned = {
                let mut pump = self.pump.lock();
                let mut tables = self.tables.lock();
                pump.turn(&mut tables, ways, Fastpath::kernel_time())
            };
            match turned {
                Ok(0) if last.elapsed() < Duration::from_nanos(self.spin.load(Ordering::Relaxed)) => {
                    std::hint::spin_loop();
                }
                Ok(0) if all_tell => self.wait(&sockets, PATIENCE),
                Ok(0) => match self.sleep.load(Ordering::Relaxed) {
                    0 => std::hint::spin_loop(),
                    sleep => self.wait(&[], Duration::from_nanos(sleep)),
                },
                Ok(_) => last = Instant::now(),
                Err(error) => {
                    tracing::debug!(%error, "a port of user space has failed");
                    self.wait(&[], FAULT);
                }
            }
        }
    }

    /// Sleeps until a socket has frames, the bell is rung, or so long has passed.
    fn wait(&self, sockets: &[OwnedFd], patience: Duration) {
        let mut waited: Vec<PollFd<'_>> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        waited.push(PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN));
        let patience = Timespec::try_from(patience).ok();
        if poll(&mut waited, patience.as_ref()).is_ok() {
            let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
            let is_broken = waited.iter().any(|one| one.revents().intersects(broken));
            let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
            if is_broken {
                // Its interface is gone; whoever looks after those takes it away. Until then it would say that it is ready.
                std::thread::sleep(FAULT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_fastpath::Settings;
    use outwork_fastpath::port::Packet;
    use outwork_fastpath::settings::Sizes;

    use super::*;

    /// A port that is worth nothing.
    struct Broken;

    impl Port for Broken {
        fn interface(&self) -> u32 {
            1
        }

        fn rx_burst(&mut self, _: &mut Vec<Packet>) -> io::Result<usize> {
            panic!("as it is to be")
        }

        fn tx_burst(&mut self, _: &mut Vec<Packet>) -> io::Result<usize> {
            Ok(0)
        }

        fn chunk(&mut self, _: u32) -> Option<&mut [u8]> {
            None
        }

        fn take(&mut self) -> Option<u32> {
            None
        }

        fn release(&mut self, _: u32) {}
    }

    #[test]
    fn a_thread_that_has_panicked_is_found_to_have_ended() {
        let sizes = Sizes { flows: 64, services: 1, backends: 1, places: 2, sources: 64, prefixes: 1 };
        let tables = Arc::new(Mutex::new(Tables::new(&Settings { sizes, ..Settings::default() }.sizes)));
        let idle = Idle { spin: Duration::ZERO, sleep: Duration::from_millis(1) };
        let ways = Ways::open().unwrap();
        let forwarder = Forwarder::start(&tables, ways, idle, Box::new(|| Ok(()))).unwrap();
        assert!(!forwarder.has_ended());
        forwarder.add(Box::new(Broken));
        let began = Instant::now();
        while !forwarder.has_ended() {
            assert!(began.elapsed() < Duration::from_secs(30), "its end was not noticed");
            std::thread::yield_now();
        }
        assert!(forwarder.pumped().is_empty() || forwarder.pumped().len() == 1, "who asks is not held up");
    }
}
