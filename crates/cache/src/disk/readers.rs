//! The threads that wait for the disk, so that nobody who serves has to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait.
const WAITING: usize = 1024;

#[derive(Default)]
struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    filled: Condvar,
}

pub(super) struct Readers {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(count: u16) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let mut threads = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name("cache-read".to_owned());
            threads.push(thread.spawn(move || work(&queue))?);
        }
        Ok(Self { queue, threads: Mutex::new(threads) })
    }

    /// Has a thread do this, unless too much waits already.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut jobs = self.queue.jobs.lock();
        let room = jobs.0.len() < WAITING && !jobs.1;
        if room {
            jobs.0.push_back(Box::new(job));
            self.queue.filled.notify_one();
        }
        room
    }

    /// Lets what waits be done, and the threads end.
    pub(super) fn close(&self) {
        self.queue.jobs.lock().1 = true;
        self.queue.filled.notify_all();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads the cache's disk has panicked");
            }
        }
    }
}

fn work(queue: &Queue) {
    loop {
        let job = {
            let mut jobs = queue.jobs.lock();
            loop {
                match jobs.0.pop_front() {
                    Some(job) => break job,
                    None if jobs.1 => return,
                    None => queue.filled.wait(&mut jobs),
                }
            }
        };
        job();
    }
}
