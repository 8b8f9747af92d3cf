//! What is known of a member, as long as it lives: in atomics, for every worker reads and writes it without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use outwork_engine::Time;

use crate::breaker::{Gauge, Resource};
use crate::latency::PeakEwma;
use crate::ledger::Ledger;
use crate::outlier::Record;

/// A member's number, which no other member of its pool has ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// What active checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Health {
    /// Nothing yet.
    Unknown = 0,
    /// It answers.
    Healthy = 1,
    /// It does not.
    Unhealthy = 2,
}

/// What a member may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Anything.
    Usable,
    /// Nothing: checks fail, or none was made yet and the pool wants one. In a panic, anything.
    Unhealthy,
    /// Nothing until its ejection ends. In a panic, anything.
    Ejected,
    /// What it has already, until its deadline.
    Draining,
    /// Nothing: its time to drain is over.
    Drained,
}

/// A member.
///
/// The fields that a pick reads come first and share a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Member {
    requests: Gauge,
    /// Nanoseconds; 0 when it does not drain.
    drain_until: AtomicU64,
    /// Nanoseconds; 0 when it never was.
    ejected_until: AtomicU64,
    /// Nanoseconds; 0 when it was there from the beginning.
    up_at: AtomicU64,
    pub(crate) latency: PeakEwma,
    health: AtomicU8,
    connections: Gauge,
    pending: Gauge,
    retries: Gauge,
    hedges: Gauge,
    pub(crate) record: Record,
    pub(crate) ledger: Arc<Ledger>,
    id: MemberId,
    key: Box<str>,
}

impl Member {
    /// `up` is when it came into a pool that was there already.
    pub(crate) fn new(key: &str, ledger: &Arc<Ledger>, up: Option<Time>) -> Member {
        Member {
            requests: Gauge::default(),
            drain_until: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            up_at: AtomicU64::new(up.map_or(0, Time::as_nanos)),
            latency: PeakEwma::default(),
            health: AtomicU8::new(Health::Unknown as u8),
            connections: Gauge::default(),
            pending: Gauge::default(),
            retries: Gauge::default(),
            hedges: Gauge::default(),
            record: Record::default(),
            ledger: Arc::clone(ledger),
            id: MemberId(ledger.next_member()),
            key: key.into(),
        }
    }

    /// What it is known by in the settings.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its number.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// How much of `resource` this member has under way, and what was refused.
    pub fn gauge(&self, resource: Resource) -> &Gauge {
        match resource {
            Resource::Requests => &self.requests,
            Resource::Connections => &self.connections,
            Resource::Pending => &self.pending,
            Resource::Retries => &self.retries,
            Resource::Hedges => &self.hedges,
        }
    }

    /// Its latency.
    pub fn latency(&self) -> &PeakEwma {
        &self.latency
    }

    /// What active checks say.
    pub fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            1 => Health::Healthy,
            2 => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }

    /// Says what active checks found. Who was unhealthy starts slowly, and so does who is new in a pool that was there.
    pub fn set_health(&self, health: Health, now: Time) {
        let before = self.health();
        if before == health {
            return;
        }
        let newcomer = before == Health::Unknown && self.up_at.load(Relaxed) != 0;
        if health == Health::Healthy && (before == Health::Unhealthy || newcomer) {
            self.up_at.store(now.as_nanos().max(1), Relaxed);
        }
        self.health.store(health as u8, Relaxed);
        self.ledger.changed();
    }

    /// Gives it no new flows from now on, and those that it has until `deadline` ([`Time::MAX`] is no deadline).
    pub fn drain(&self, deadline: Time) {
        self.drain_until.store(deadline.as_nanos().max(1), Relaxed);
        self.ledger.changed();
    }

    /// Takes [`Member::drain`] back.
    pub fn undrain(&self) {
        self.drain_until.store(0, Relaxed);
        self.ledger.changed();
    }

    /// Until when it drains, if it does.
    pub fn draining(&self) -> Option<Time> {
        Some(self.drain_until.load(Relaxed)).filter(|until| *until != 0).map(Time::from_nanos)
    }

    /// Until when it was ejected; in the past when that is over.
    pub fn ejected_until(&self) -> Time {
        Time::from_nanos(self.ejected_until.load(Relaxed))
    }

    /// Ends an ejection, or begins one by hand.
    pub fn eject_until(&self, until: Time) {
        self.ejected_until.store(until.as_nanos(), Relaxed);
        self.ledger.changed();
    }

    /// When it came up: was added, answered again, or was let in again after an ejection. [`Time::ZERO`] when it was always there.
    pub fn up_since(&self, now: Time) -> Time {
        let ejected = Some(self.ejected_until()).filter(|until| *until <= now).unwrap_or_default();
        Time::from_nanos(self.up_at.load(Relaxed)).max(ejected)
    }

    /// What it may be used for.
    pub fn standing(&self, now: Time, trust_unknown: bool) -> Standing {
        match self.drain_until.load(Relaxed) {
            0 => {}
            until if now.as_nanos() < until => return Standing::Draining,
            _ => return Standing::Drained,
        }
        self.fitness(now, trust_unknown)
    }

    /// The same whether it drains or not: [`Standing::Usable`], [`Standing::Unhealthy`] or [`Standing::Ejected`].
    pub(crate) fn fitness(&self, now: Time, trust_unknown: bool) -> Standing {
        match self.health() {
            Health::Unhealthy => Standing::Unhealthy,
            Health::Unknown if !trust_unknown => Standing::Unhealthy,
            _ if now < self.ejected_until() => Standing::Ejected,
            _ => Standing::Usable,
        }
    }
}
