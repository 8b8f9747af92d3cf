//! Live events by topic. Publishing where nobody listens costs one atomic load.
//!
//! Each topic has its own sequence, its own short memory for those who reconnect, and its own rate: a flood on one topic
//! takes nothing from the others. A listener that fell behind is told how many events it missed.

mod stream;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{broadcast, watch};

pub use stream::{MAX_STREAMS, router};

use crate::api::Timestamp;
use crate::metrics::FrontMetrics;

/// Events a topic remembers for those who reconnect, and a slow listener may be behind.
const REMEMBERED: usize = 512;
/// Events a second on one topic; those over it are counted as missed.
const RATE: u32 = 1000;
/// A topic stays live for this long after its last listener, so that one who reconnects misses nothing.
const LINGER: Duration = Duration::from_secs(30);

/// An event as it is sent.
#[derive(Debug, Clone)]
struct Event {
    sequence: u64,
    json: Arc<str>,
}

/// What every event carries besides its own fields.
#[derive(Serialize)]
struct Envelope<T> {
    time: Timestamp,
    kind: &'static str,
    #[serde(flatten)]
    data: T,
}

/// Every topic of the process.
pub struct Hub {
    topics: Vec<Topic>,
    /// Tells this run's sequences from those of the run before.
    epoch: u64,
    closed: watch::Sender<bool>,
    streams: AtomicUsize,
    metrics: Arc<FrontMetrics>,
}

struct Topic {
    name: &'static str,
    listeners: AtomicUsize,
    tail: Mutex<Tail>,
    sender: broadcast::Sender<Event>,
}

struct Tail {
    /// The sequence of the newest event.
    last: u64,
    remembered: VecDeque<Event>,
    second: Instant,
    in_second: u32,
}

impl Hub {
    /// A hub with these topics; each service has one of its name.
    pub fn new(topics: &[&'static str], metrics: Arc<FrontMetrics>) -> Arc<Self> {
        let topic = |name: &&'static str| Topic {
            name,
            listeners: AtomicUsize::new(0),
            tail: Mutex::new(Tail { last: 0, remembered: VecDeque::new(), second: Instant::now(), in_second: 0 }),
            sender: broadcast::Sender::new(REMEMBERED),
        };
        let topics = topics.iter().map(topic).collect();
        let epoch = Timestamp::now().unix();
        Arc::new(Self { topics, epoch, closed: watch::Sender::new(false), streams: AtomicUsize::new(0), metrics })
    }

    /// Whether anyone listens to a topic: one atomic load after finding the topic among a handful.
    pub fn is_live(&self, topic: &str) -> bool {
        self.topic(topic).is_some_and(|topic| topic.listeners.load(Relaxed) > 0)
    }

    /// Publishes an event. `data` is called only when someone listens, and has to serialise as a map; the event becomes
    /// `{"time": ..., "kind": kind, ...data}`. From any thread; never blocks on a listener.
    pub fn publish<T: Serialize>(&self, topic: &str, kind: &'static str, data: impl FnOnce() -> T) {
        let Some(topic) = self.topic(topic).filter(|topic| topic.listeners.load(Relaxed) > 0) else { return };
        if !topic.tail.lock().admit(Instant::now()) {
            self.metrics.events_dropped.inc();
            return;
        }
        match serde_json::to_string(&Envelope { time: Timestamp::now(), kind, data: data() }) {
            Ok(json) => topic.append(json.into()),
            Err(error) => tracing::error!(topic = topic.name, kind, %error, "an event cannot be written as JSON"),
        }
    }

    /// Bytes of the events that are remembered, the allocator's rounding aside.
    pub fn memory(&self) -> usize {
        let topic = |topic: &Topic| {
            let remembered = &topic.tail.lock().remembered;
            let json: usize = remembered.iter().map(|event| event.json.len()).sum();
            // The channel has room of its own for as many.
            json + (remembered.capacity() + REMEMBERED) * size_of::<Event>()
        };
        self.topics.iter().map(topic).sum()
    }

    /// Ends every stream: what a stop does first, since streams never end by themselves.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }
}

impl Topic {
    fn append(&self, json: Arc<str>) {
        let mut tail = self.tail.lock();
        tail.last += 1;
        let event = Event { sequence: tail.last, json };
        if tail.remembered.len() >= REMEMBERED {
            tail.remembered.pop_front();
        }
        tail.remembered.push_back(event.clone());
        // Sent under the lock, so that listeners see sequences in order. No listener is no error.
        let _ = self.sender.send(event);
    }

    /// What came after `position`, and everything from now on. A position of another run, or none, starts now.
    fn follow(&self, position: Option<u64>) -> (u64, Vec<Event>, broadcast::Receiver<Event>) {
        let tail = self.tail.lock();
        let position = position.filter(|position| *position <= tail.last).unwrap_or(tail.last);
        let missed = tail.remembered.iter().filter(|event| event.sequence > position).cloned().collect();
        (position, missed, self.sender.subscribe())
    }
}

impl Tail {
    /// Whether there is room in this second. An event without room takes a sequence, so that listeners see the gap.
    fn admit(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.in_second) = (now, 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        let room = self.in_second <= RATE;
        if !room {
            self.last += 1;
        }
        room
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
