//! What the connections of one thread share: its buffers, its clock, its handler.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use http::HeaderValue;

use super::Serving;
use super::metrics::DoorMetrics;
use super::pulse::{Pulses, Tick};
use crate::h1::known::Known;

/// Bytes that one read takes at most.
const SCRATCH: usize = 64 << 10;

/// A thread that serves connections.
pub(crate) struct Worker {
    serving: RefCell<Arc<Serving>>,
    pub(crate) metrics: Arc<DoorMetrics>,
    pub(crate) pulses: Rc<Pulses>,
    /// Where input lands first. What stays of it moves to its connection, so that idle connections hold no buffer.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Where heads are written. Taken out for as long as one is being sent.
    pub(crate) out: RefCell<Vec<u8>>,
    /// Where what many streams send in one turn is gathered. Taken out for as long as it holds something.
    pub(crate) gathered: RefCell<BytesMut>,
    /// What is answered by heart.
    pub(crate) known: RefCell<Known>,
    /// Whether anything may be.
    pub(crate) repeats: Cell<bool>,
    sizes: Run,
    started: Instant,
    now: Cell<Tick>,
    date: Cell<[u8; DATE]>,
    /// The same, as the value of a field.
    date_value: RefCell<HeaderValue>,
}

/// Contents of the same size, one after another. They are counted together: most threads send the same few over and over, and would contend for one
/// cell of a histogram with each.
#[derive(Default)]
struct Run {
    size: Cell<u64>,
    times: Cell<u64>,
}

/// Bytes of an IMF-fixdate (RFC 9110 section 5.6.7).
pub(crate) const DATE: usize = 29;

impl Worker {
    pub(crate) fn new(serving: Arc<Serving>, metrics: Arc<DoorMetrics>) -> Rc<Self> {
        let worker = Self {
            gathered: RefCell::default(),
            known: RefCell::new(Known::new(&metrics)),
            repeats: Cell::new(serving.entry.has_no_eye_for_requests()),
            sizes: Run::default(),
            serving: RefCell::new(serving),
            metrics,
            pulses: Rc::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            out: RefCell::new(Vec::with_capacity(4096)),
            started: Instant::now(),
            now: Cell::new(Tick::at(Duration::ZERO)),
            date: Cell::new([b' '; DATE]),
            date_value: RefCell::new(HeaderValue::from_static("")),
        };
        worker.beat();
        Rc::new(worker)
    }

    /// What is served now.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.serving.borrow())
    }

    /// Whether it is this that is served now.
    pub(crate) fn serves(&self, serving: &Arc<Serving>) -> bool {
        Arc::ptr_eq(&self.serving.borrow(), serving)
    }

    /// Serves something else from now on.
    pub(crate) fn replace(&self, serving: Arc<Serving>) {
        self.repeats.set(serving.entry.has_no_eye_for_requests());
        self.serving.replace(serving);
        self.known.borrow_mut().clear();
    }

    /// So much content of an answer was sent. It is counted when one of another size is, or with the next beat.
    pub(crate) fn content_sent(&self, bytes: u64) {
        let Run { size, times } = &self.sizes;
        if size.get() != bytes {
            self.count_sizes();
            size.set(bytes);
        }
        times.set(times.get() + 1);
    }

    fn count_sizes(&self) {
        let times = self.sizes.times.take();
        if times > 0 {
            self.metrics.response_body_size.record_many(self.sizes.size.get(), times);
        }
    }

    /// Moves the clock on, and ends connections that are late. Deadlines and `Date` are as fine as the pause between two calls.
    pub(crate) fn beat(&self) {
        self.now.set(Tick::at(self.started.elapsed()));
        let text = httpdate::fmt_http_date(SystemTime::now());
        if let Ok(date) = <[u8; DATE]>::try_from(text.as_bytes()) {
            self.date.set(date);
            HeaderValue::from_bytes(&date).into_iter().for_each(|value| drop(self.date_value.replace(value)));
        }
        self.pulses.expire(self.now());
        self.count_sizes();
    }

    /// Takes back what a head was written into. Another connection may have had to make one of its own meanwhile: the larger stays.
    pub(crate) fn give_back(&self, head: Vec<u8>) {
        let mut out = self.out.borrow_mut();
        if out.capacity() < head.capacity() {
            *out = head;
        }
    }

    pub(crate) fn now(&self) -> Tick {
        self.now.get()
    }

    /// The value of `Date`.
    pub(crate) fn date(&self) -> [u8; DATE] {
        self.date.get()
    }

    /// The same, as the value of a field.
    pub(crate) fn date_value(&self) -> HeaderValue {
        self.date_value.borrow().clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.count_sizes();
    }
}
