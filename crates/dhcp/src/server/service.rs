//! The engine and its log under one lock: what the workers, the housekeeper and the API share.

mod memory;

use super::unserved::{Places, Unserved};
use crate::engine::{Engine, Event, Now, Totals};
use crate::lease::Change;
use crate::metrics::{DhcpMetrics, Dropped};
use crate::policy::{Clash, Policy, Reservation};
use outwork_store::log::{
    AppendError, Cursor, Failure, Health, Log, LogOptions, Lsn, OpenError, Recovery, Slice, Source, WaitError,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a change from outside waits for the disk.
const EDIT_DEADLINE: Duration = Duration::from_secs(5);
/// Leases or reservations that one slice of a snapshot walks over.
const SLICE: usize = 256;
/// In a snapshot's cursor: the walk has come to the reservations; the other bits are the next id.
const RESERVATIONS: u64 = 1 << 63;

/// Why a change was not made, or is not safe yet.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk fails. Nothing was changed.
    #[error("nothing was changed: {0}")]
    Failed(Box<Failure>),
    /// The log takes no more. Nothing was changed, unless the change itself was what did not fit; then it is in force, and
    /// written once there is room.
    #[error("the change is not on disk: {0}")]
    Refused(#[from] AppendError),
    /// The change is in force, but whether it reaches the disk is not known yet.
    #[error("the change is in force but not on disk yet: {0}")]
    Unconfirmed(Box<WaitError>),
}

impl StoreError {
    /// The reason under which requests are counted that this error stops.
    pub(super) fn dropped(&self) -> Dropped {
        match self {
            Self::Refused(AppendError::Full { .. }) => Dropped::StoreFull,
            Self::Failed(_) | Self::Refused(_) => Dropped::StoreFailed,
            Self::Unconfirmed(_) => Dropped::StoreSlow,
        }
    }
}

/// Who hears what happens.
pub struct Events {
    /// Whether anyone listens; asked once a batch.
    pub live: Box<dyn Fn() -> bool + Send + Sync>,
    /// Takes the events of a batch, in order. It must be quick.
    pub publish: Publish,
}

/// Takes events.
pub type Publish = Box<dyn Fn(&[Event]) + Send + Sync>;

/// What an interface named in the configuration is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// True if clients on it are heard.
    pub open: bool,
    /// Why not.
    pub problem: Option<String>,
}

/// How the service does.
#[derive(Debug, Clone)]
pub struct Status {
    /// Addresses that somebody holds.
    pub totals: Totals,
    /// Leases known, ended ones included.
    pub known: usize,
    /// Whether the log is written.
    pub store: Health,
    /// Why the log does not take changes that were made, although it is written.
    pub refused: Option<String>,
    /// Listening UDP sockets.
    pub listening: Vec<SocketAddrV4>,
    /// Interfaces named in the configuration.
    pub interfaces: Vec<InterfaceStatus>,
    /// The configuration in force.
    pub generation: u64,
}

/// What the threads tell about themselves.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) listening: Vec<SocketAddrV4>,
    pub(super) interfaces: Vec<InterfaceStatus>,
}

/// All under the lock. Records are appended before it is let go, so that the log has them in the order of decision.
struct Shared {
    engine: Engine,
    /// The last record appended: what a durable answer waits for.
    last: Lsn,
    /// Reservations made through the API, as they stand on disk.
    reservations: BTreeMap<u64, Box<[u8]>>,
    /// Why the log did not take what was journalled last, while it has not.
    refused: Option<String>,
}

/// The running service, shared with the API.
pub struct Service {
    shared: Mutex<Shared>,
    log: Log,
    metrics: Arc<DhcpMetrics>,
    events: Option<Events>,
    pub(super) board: Mutex<Board>,
    unserved: Places,
}

/// What time it is.
pub(super) fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        unix: u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
        millis: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}

impl Service {
    /// Opens the log, brings back what it holds and begins to watch over it. No sockets yet: see [`super::Server`].
    ///
    /// Reservations made through the API are not in force until [`adopt`](Self::adopt) has read them.
    ///
    /// # Errors
    /// [`OpenError`] if the log can't be opened or holds what this version can't read.
    pub fn open(
        options: LogOptions,
        policy: Arc<Policy>,
        metrics: Arc<DhcpMetrics>,
        events: Option<Events>,
    ) -> Result<(Arc<Self>, Recovery), OpenError> {
        let seed = std::hash::RandomState::new().hash_one(0);
        let started = now();
        let mut engine = Engine::new(policy, seed);
        let mut reservations = BTreeMap::new();
        let mut replay = |record: &[u8]| {
            match Change::read(record)? {
                Change::Reserve(id, json) => drop(reservations.insert(id, json.into_boxed_slice())),
                Change::Unreserve(id) => drop(reservations.remove(&id)),
                change => engine.restore(change),
            }
            Ok(())
        };
        // The log's own threads take turns as the one that starts them does.
        let open = || {
            super::take_short_turns();
            Log::open(options, &mut replay)
        };
        let opened = std::thread::scope(|scope| scope.spawn(open).join());
        let (log, recovery) = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        engine.start(started.unix);
        let shared = Shared { engine, last: log.last(), reservations, refused: None };
        let service = Arc::new(Self {
            shared: Mutex::new(shared),
            log,
            metrics,
            events,
            board: Mutex::default(),
            unserved: Places::default(),
        });
        let source: Arc<dyn Source> = Arc::clone(&service) as _;
        service.log.set_source(Arc::downgrade(&source));
        Ok((service, recovery))
    }

    /// Changes something, and returns once that is on stable storage. Nothing is changed while the log can't be written.
    ///
    /// # Errors
    /// [`StoreError`] says whether the change was made.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Engine, Now) -> T) -> Result<T, StoreError> {
        let (result, lsn) = self.decide(change)?;
        let waited = self.log.wait(lsn?, Instant::now() + EDIT_DEADLINE);
        waited.map_err(|error| StoreError::Unconfirmed(Box::new(error)))?;
        Ok(result)
    }

    /// Looks at something. Workers wait meanwhile: look at slices.
    pub fn read<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.shared.lock().engine)
    }

    /// Takes a new configuration, with the reservations of the API as `read` finds them under it, in one step: no client is
    /// served by the one without the other. The next batch of every worker goes by it. Returns how many of those
    /// reservations are in force, and those that give way to the file's.
    pub fn adopt(
        &self,
        policy: Arc<Policy>,
        read: impl Fn(&Policy, u64, &[u8]) -> Option<Reservation>,
    ) -> (usize, Vec<(u64, Clash)>) {
        // Read before the lock is taken, for the workers' sake; under it only what has changed meanwhile.
        let stored = self.reservations();
        let mut ahead: BTreeMap<_, _> =
            stored.into_iter().map(|(id, json)| (id, (read(&policy, id, &json), json))).collect();
        let mut shared = self.shared.lock();
        let Shared { engine, reservations, .. } = &mut *shared;
        let mut of_journal = BTreeMap::new();
        let waiting = engine.journal.records().filter(|record| Change::is_reservation(record));
        for record in waiting {
            match Change::read(record) {
                Ok(Change::Reserve(id, json)) => drop(of_journal.insert(id, Some(json))),
                Ok(Change::Unreserve(id)) => drop(of_journal.insert(id, None)),
                _ => {}
            }
        }
        let written =
            reservations.iter().filter(|(id, _)| !of_journal.contains_key(id)).map(|(id, json)| (id, &**json));
        let unwritten = of_journal.iter().filter_map(|(id, json)| Some((id, json.as_deref()?)));
        let made: Vec<_> = written
            .chain(unwritten)
            .filter_map(|(id, json)| match ahead.remove(id) {
                Some((reservation, same)) if same == json => reservation,
                _ => read(&policy, *id, json),
            })
            .collect();
        let count = made.len();
        let old = Arc::clone(engine.policy());
        let clashes = engine.adopt(Arc::clone(&policy), made);
        drop(shared);
        self.unserved.clear();
        // At the start nobody knows what the leases were made under.
        if Arc::ptr_eq(&old, &policy) || !old.has_subnets_of(&policy) {
            self.warn_of_stranded();
        }
        // If this was the last use of the old one, it goes away outside of the lock.
        drop(old);
        (count - clashes.len(), clashes)
    }

    /// Reservations made through the API, by id, as they stand on disk.
    pub(super) fn reservations(&self) -> Vec<(u64, Vec<u8>)> {
        self.shared.lock().reservations.iter().map(|(id, json)| (*id, json.to_vec())).collect()
    }

    /// True if the log has a reservation of that id, in force or not.
    pub fn has_reservation(&self, id: u64) -> bool {
        self.shared.lock().reservations.contains_key(&id)
    }

    /// How the service does.
    pub fn status(&self) -> Status {
        let shared = self.shared.lock();
        let engine = &shared.engine;
        let (totals, known, generation) = (engine.totals(), engine.leases().len(), engine.policy().generation);
        let refused = shared.refused.clone();
        drop(shared);
        let board = self.board.lock();
        Status {
            totals,
            known,
            store: self.log.health(),
            refused,
            listening: board.listening.clone(),
            interfaces: board.interfaces.clone(),
            generation,
        }
    }

    /// Places whose clients got no answer in the last minutes.
    pub fn unserved(&self) -> Vec<Unserved> {
        self.unserved.recent(Instant::now())
    }

    /// Takes note of a request that gets no answer, and tells of its place once a minute.
    pub(super) fn note_unserved(&self, place: &Unserved) {
        if let Some(requests) = self.unserved.note(place, Instant::now()) {
            tracing::warn!(%place, requests, advice = place.advice(), "clients get no answer");
        }
    }

    /// The log, for its figures and for a compaction on demand.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The service's metrics.
    pub fn metrics(&self) -> &Arc<DhcpMetrics> {
        &self.metrics
    }

    /// Runs `run` on the engine and appends what it journals, if the log takes anything at all; else does nothing.
    ///
    /// The inner result is the record that answers wait for. If that is an error, what was decided is in force but not in
    /// the log: nothing durable may be said of it. It is appended before anything else is decided.
    pub(super) fn decide<T>(
        &self,
        run: impl FnOnce(&mut Engine, Now) -> T,
    ) -> Result<(T, Result<Lsn, AppendError>), StoreError> {
        let mut shared = self.shared.lock();
        let started = Instant::now();
        if let Health::Failed(failure) = self.log.health() {
            return Err(StoreError::Failed(Box::new(failure)));
        }
        self.append(&mut shared)?;
        let watched = self.events.as_ref().is_some_and(|events| (events.live)());
        shared.engine.watch(watched);
        let result = run(&mut shared.engine, now());
        let lsn = self.append(&mut shared);
        let mut happened = Vec::new();
        shared.engine.take_events(&mut happened);
        self.metrics.decision_time.record(started.elapsed());
        drop(shared);
        if let Some(events) = self.events.as_ref().filter(|_| !happened.is_empty()) {
            (events.publish)(&happened);
        }
        Ok((result, lsn))
    }

    /// Appends the journal. What the log refuses stays in it.
    fn append(&self, shared: &mut Shared) -> Result<Lsn, AppendError> {
        let result = self.append_journal(shared);
        if result.is_ok() != shared.refused.is_none() {
            shared.refused = result.as_ref().err().map(ToString::to_string);
        }
        result
    }

    fn append_journal(&self, shared: &mut Shared) -> Result<Lsn, AppendError> {
        let Shared { engine, last, reservations, .. } = shared;
        if engine.journal.is_empty() {
            return Ok(*last);
        }
        match self.log.append_all(engine.journal.records()) {
            Ok(lsn) => {
                engine.journal.records().for_each(|record| note(reservations, record));
                engine.journal.clear();
                *last = lsn;
            }
            // The records of many decisions need not stay together.
            Err(AppendError::TooLarge { .. }) if engine.journal.len() > 1 => {
                let mut done = 0;
                let mut refused = None;
                for record in engine.journal.records() {
                    match self.log.append(record) {
                        Ok(lsn) => *last = lsn,
                        Err(error) => {
                            refused = Some(error);
                            break;
                        }
                    }
                    note(reservations, record);
                    done += 1;
                }
                engine.journal.forget_first(done);
                if let Some(error) = refused {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(*last)
    }
}

/// Keeps what the log says of the API's reservations.
fn note(reservations: &mut BTreeMap<u64, Box<[u8]>>, record: &[u8]) {
    if !Change::is_reservation(record) {
        return;
    }
    match Change::read(record) {
        Ok(Change::Reserve(id, json)) => drop(reservations.insert(id, json.into_boxed_slice())),
        Ok(Change::Unreserve(id)) => drop(reservations.remove(&id)),
        _ => {}
    }
}

/// Offers are not kept on disk: after a restart their clients ask again.
impl Source for Service {
    fn slice(&self, cursor: Cursor, out: &mut Slice<'_>) -> Option<Cursor> {
        let shared = self.shared.lock();
        let mut record = Vec::with_capacity(256);
        if cursor.0 & RESERVATIONS == 0 {
            let from = Ipv4Addr::from(u32::try_from(cursor.0).unwrap_or(u32::MAX));
            for (walked, (address, lease)) in shared.engine.kept(from).enumerate() {
                if walked == SLICE {
                    return Some(Cursor(u32::from(address).into()));
                }
                if let Some(lease) = lease {
                    record.clear();
                    Change::write_lease(lease, &mut record);
                    out.push(&record);
                }
            }
            return (!shared.reservations.is_empty()).then_some(Cursor(RESERVATIONS));
        }
        for (walked, (id, json)) in shared.reservations.range(cursor.0 & !RESERVATIONS..).enumerate() {
            if walked == SLICE {
                return Some(Cursor(RESERVATIONS | *id));
            }
            record.clear();
            Change::write_reserve(*id, json, &mut record);
            out.push(&record);
        }
        None
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("log", &self.log).finish_non_exhaustive()
    }
}
