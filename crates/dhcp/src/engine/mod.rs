//! Decides what a DHCP server does with each request. Bytes, time and policy in; answers, records and events out.
//!
//! - `decide`: the message types (RFC 2131 section 4.3).
//! - `address`: which address a client gets: reserved, its own, the one it asks for, a fresh one, the longest unused.
//! - `pools`: what is free in each pool, and how much.
//! - `expiry`: leases that end, offers that lapse, in bounded slices.
//! - `limit`: the packets that clients and circuits may send.
//! - `memory`: what its memory is used for.
//! - `answer`: the decision's form on the wire; needs no lease, so no lock.
//!
//! Absent on purpose: sockets, clocks, threads, the log. What must be on disk before an answer leaves is in
//! [`Engine::journal`]; the shell appends it and holds the answers back.
#![deny(clippy::disallowed_methods)]

mod address;
mod answer;
mod decide;
mod expiry;
mod limit;
mod memory;
mod pools;
mod query;

#[cfg(test)]
mod tests;

pub use answer::{Destination, encode};
pub use pools::Totals;
pub use query::{PoolUse, PoolWarning};

use crate::codec::Kind;
use crate::lease::{Change, Lease, Seconds, State, Table};
use crate::policy::{Clash, ClassSet, Policy, Refusal, Reservation, Reservations};
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use limit::Limiter;
use outwork_engine::Calendar;
use pools::Pools;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Why a request gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Silence {
    NoSubnet,
    NotAdmitted,
    DropClass,
    NoAddress,
    OtherServer,
    UnknownClient,
    NotOwner,
    NoClient,
    RateLimited,
    CircuitLimited,
    OffersFull,
    OfferShare,
    MinSecs,
    DeclineLimit,
    DeclineShare,
    BadAddress,
    QueryRefused,
    Done,
}

impl Silence {
    /// Every reason, for the counter's labels.
    pub const ALL: [Self; 18] = [
        Self::NoSubnet,
        Self::NotAdmitted,
        Self::DropClass,
        Self::NoAddress,
        Self::OtherServer,
        Self::UnknownClient,
        Self::NotOwner,
        Self::NoClient,
        Self::RateLimited,
        Self::CircuitLimited,
        Self::OffersFull,
        Self::OfferShare,
        Self::MinSecs,
        Self::DeclineLimit,
        Self::DeclineShare,
        Self::BadAddress,
        Self::QueryRefused,
        Self::Done,
    ];

    /// Label value.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSubnet => "no_subnet",
            Self::NotAdmitted => "not_admitted",
            Self::DropClass => "drop_class",
            Self::NoAddress => "no_address",
            Self::OtherServer => "other_server",
            Self::UnknownClient => "unknown_client",
            Self::NotOwner => "not_owner",
            Self::NoClient => "no_client",
            Self::RateLimited => "rate_limited",
            Self::CircuitLimited => "circuit_limited",
            Self::OffersFull => "offers_full",
            Self::OfferShare => "offer_share",
            Self::MinSecs => "min_secs",
            Self::DeclineLimit => "decline_limit",
            Self::DeclineShare => "decline_share",
            Self::BadAddress => "bad_address",
            Self::QueryRefused => "query_refused",
            Self::Done => "done",
        }
    }
}

impl From<Refusal> for Silence {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSubnet => Self::NoSubnet,
            Refusal::NotAdmitted => Self::NotAdmitted,
        }
    }
}

/// An answer, before it is bytes.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its message type.
    pub kind: Kind,
    /// `yiaddr`; unspecified in a NAK and in the answer to an INFORM.
    pub address: Ipv4Addr,
    /// Index of the subnet.
    pub subnet: usize,
    /// Index of the pool, if the address is of one.
    pub pool: Option<usize>,
    /// Lease time in seconds; `None` where RFC 2131 table 3 forbids it.
    pub lease_time: Option<u32>,
    /// Classes, final.
    pub classes: ClassSet,
    /// The client's reservation.
    pub reservation: Option<Arc<Reservation>>,
    /// What option 54 says.
    pub server_id: Ipv4Addr,
    /// Option 56 of a NAK: why.
    pub reason: Option<&'static str>,
    /// What a leasequery found.
    pub queried: Option<Box<Queried>>,
    /// True if it must wait until the journal up to here is on stable storage.
    pub durable: bool,
    /// True if rapid commit is confirmed (RFC 4039).
    pub rapid: bool,
}

/// What a leasequery found (RFC 4388 section 6.4).
#[derive(Debug, Clone)]
pub struct Queried {
    /// The lease asked about.
    pub lease: Lease,
    /// Seconds since its client was heard.
    pub age: u32,
    /// Other addresses of the same client.
    pub others: Vec<Ipv4Addr>,
}

/// What to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// Nothing is sent.
    Silent(Silence),
    /// This is sent.
    Answer(Box<Answer>),
    /// Keep the request, ask the link whether someone uses the address, tell [`Engine::probed`], and hand the request in again.
    Probe(Ipv4Addr),
}

/// What happened, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Lower-case name.
    pub kind: &'static str,
    /// The address, if any.
    pub address: Option<Ipv4Addr>,
    /// Hardware address.
    pub hardware: Vec<u8>,
    /// Client identifier.
    pub client_id: Option<Vec<u8>>,
    /// Host name.
    pub hostname: Option<String>,
    /// Subnet id.
    pub subnet: Option<u32>,
    /// What the client says describes it (RFC 8520).
    pub mud_url: Option<String>,
    /// Why, for a drop or a NAK.
    pub reason: Option<&'static str>,
}

/// Records made since the shell last took them. The shell appends them to the log before any `durable` answer leaves.
#[derive(Debug, Default)]
pub struct Journal {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Journal {
    /// Adds a record written by `write`.
    pub fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let record = self.bytes.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            record
        })
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets the first `count` of them.
    pub fn forget_first(&mut self, count: usize) {
        let count = count.min(self.ends.len());
        let Some(end) = count.checked_sub(1).and_then(|last| self.ends.get(last).copied()) else { return };
        self.bytes.drain(..end as usize);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|later| *later -= end);
    }

    /// Bytes of memory behind it.
    fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Forgets them, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// The leases and everything decided about them.
#[derive(Debug)]
pub struct Engine {
    policy: Arc<Policy>,
    reservations: Reservations,
    /// Reservations of the API that clash with the file's.
    aside: Vec<Arc<Reservation>>,
    leases: Table,
    pools: Pools,
    calendar: Calendar<(Ipv4Addr, Seconds)>,
    probes: outwork_engine::ExpiringMap<Ipv4Addr, ()>,
    /// Packets by client, packets by circuit, quarantines by either.
    limiter: Limiter,
    circuits: Limiter,
    declines: Limiter,
    hasher: FixedState,
    offers: usize,
    /// Leases that had ended where an offer stands now.
    displaced: HashMap<Ipv4Addr, Lease, FixedState>,
    /// Leases that have run out.
    expired: u64,
    /// Where the look for leases that ended long ago goes on.
    swept: Ipv4Addr,
    /// Calendar entries of addresses that have left the table since: one that comes back takes its own up again.
    orphans: HashMap<Ipv4Addr, Seconds, FixedState>,
    due: Vec<(Ipv4Addr, Seconds)>,
    events: Vec<Event>,
    watched: bool,
    /// Records not yet taken by the shell.
    pub journal: Journal,
}

/// The two clocks a decision needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970: what leases are kept in.
    pub unix: Seconds,
    /// Milliseconds since 1970: what rates are counted in.
    pub millis: u64,
}

impl Event {
    /// An event with nothing but its name.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            address: None,
            hardware: Vec::new(),
            client_id: None,
            hostname: None,
            subnet: None,
            mud_url: None,
            reason: None,
        }
    }

    /// An event of a lease.
    pub(crate) fn of(kind: &'static str, lease: &Lease) -> Self {
        Self {
            address: Some(lease.address),
            hardware: lease.hardware().to_vec(),
            client_id: lease.client_id().map(<[u8]>::to_vec),
            hostname: lease.host_name().map(std::borrow::Cow::into_owned),
            subnet: Some(lease.subnet),
            mud_url: lease.mud_url().map(str::to_owned),
            ..Self::new(kind)
        }
    }
}

impl Engine {
    /// An engine with no leases. `seed` makes its tables hard to fill for a peer that picks its identifiers.
    pub fn new(policy: Arc<Policy>, seed: u64) -> Self {
        let mut engine = Self {
            reservations: Reservations::default(),
            aside: Vec::new(),
            leases: Table::new(seed),
            pools: Pools::default(),
            calendar: Calendar::default(),
            probes: outwork_engine::ExpiringMap::new(65_536, seed),
            limiter: Limiter::new(1 << 16),
            circuits: Limiter::new(1 << 16),
            declines: Limiter::new(1 << 14),
            hasher: FixedState::with_seed(seed ^ 0x5bd1_e995),
            offers: 0,
            displaced: HashMap::default(),
            expired: 0,
            swept: Ipv4Addr::UNSPECIFIED,
            orphans: HashMap::default(),
            due: Vec::new(),
            events: Vec::new(),
            watched: false,
            journal: Journal::default(),
            policy: Arc::clone(&policy),
        };
        engine.adopt(policy, Vec::new());
        engine
    }

    /// Takes a change from disk. Call [`start`](Self::start) after the last.
    pub fn restore(&mut self, change: Change) {
        match change {
            Change::Lease(lease) => {
                self.leases.insert(lease);
            }
            Change::Forget(address) => {
                self.leases.remove(address);
            }
            Change::Reserve(..) | Change::Unreserve(_) => {}
        }
    }

    /// Counts what was restored and begins to watch over it.
    pub fn start(&mut self, now: Seconds) {
        let mut held = Vec::new();
        let mut ended = Vec::new();
        for lease in self.leases.range(Ipv4Addr::UNSPECIFIED) {
            match lease.state.holds() {
                true if lease.expires > now => held.push((lease.address, lease.expires)),
                true => ended.push((lease.address, lease.state)),
                false => {}
            }
        }
        for (address, state) in ended {
            if state == State::Declined {
                // It was never its decliner's to come back to.
                self.journal.record(|out| Change::write_forget(address, out));
                self.leases.remove(address);
            } else if let Some(slot) = self.leases.find(address) {
                self.leases.update(slot, |lease| lease.state = State::Expired);
            }
        }
        for (address, expires) in held {
            self.schedule(address, expires);
        }
        self.pools = Pools::count_all(&self.policy, &self.leases, &self.reservations);
    }

    /// Takes a new configuration, and the API's reservations as they are under it: classes and options have other places in
    /// it. Leases live on; what it no longer serves ends with its lease.
    ///
    /// Returns those that give way: the file wins over the API, and what clashes with it is set aside until it lets go.
    pub fn adopt(&mut self, policy: Arc<Policy>, made: Vec<Reservation>) -> Vec<(u64, Clash)> {
        let before = std::mem::take(&mut self.reservations);
        self.aside.clear();
        for reservation in &policy.reservations {
            // The compiler has put them all together before.
            let _ = self.reservations.insert(Arc::clone(reservation));
        }
        let mut clashes = Vec::new();
        for reservation in made.into_iter().map(Arc::new) {
            if let Err(clash) = self.reservations.insert(Arc::clone(&reservation)) {
                clashes.push((reservation.id, clash));
                self.aside.push(reservation);
            }
        }
        for address in before.addresses().filter(|address| self.reservations.at(*address).is_none()) {
            self.pools.unreserve(&self.policy, &self.leases, address);
        }
        for address in self.reservations.addresses().filter(|address| before.at(*address).is_none()) {
            self.pools.reserve(&self.policy, &self.leases, address);
        }
        let pools = std::mem::take(&mut self.pools);
        self.pools = Pools::new(&policy, Some(&self.policy), pools, &self.leases, &self.reservations);
        self.policy = policy;
        clashes
    }

    /// The configuration in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// All leases.
    pub fn leases(&self) -> &Table {
        &self.leases
    }

    /// All reservations.
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Addresses that somebody holds.
    pub fn totals(&self) -> Totals {
        self.pools.totals()
    }

    /// Leases that have run out since the engine was made.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// What the disk holds of every address in the table, from `from` on: its lease, what an offer stands in front of,
    /// or nothing.
    pub fn kept(&self, from: Ipv4Addr) -> impl Iterator<Item = (Ipv4Addr, Option<&Lease>)> {
        self.leases.range(from).map(|lease| match lease.state {
            State::Offered => (lease.address, self.displaced.get(&lease.address)),
            _ => (lease.address, Some(lease)),
        })
    }

    /// Whether events are gathered.
    pub fn watch(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// Takes the events gathered.
    pub fn take_events(&mut self, out: &mut Vec<Event>) {
        out.append(&mut self.events);
    }

    fn event(&mut self, event: impl FnOnce() -> Event) {
        if self.watched {
            self.events.push(event());
        }
    }
}
