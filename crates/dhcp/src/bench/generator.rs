//! Decides what is sent when, and judges the replies. Time, replies and randomness in; messages, a deadline and a report out.
#![deny(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use outwork_engine::{Rng, Time};

use super::deadline::Deadlines;
use super::exchange::{Exchange, Exchanges, Purpose, Stage};
use super::message::{self, Kind, Reply, Request};
use super::population::{Binding, ClientId, Population};
use super::report::{Report, Tally};
use super::{MAX_OUTSTANDING, Rate, Scenario};

/// While clients get the addresses that a scenario begins with: how many at a time, and how often one tries.
const PREPARING: usize = 256;
const PREPARING_ATTEMPTS: u32 = 5;
/// RFC 2131 section 4.1: the first wait, and the last, of a client that repeats its request; each up to a second more or less.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(64));
/// RFC 2131 section 3.1, step 5: after so many REQUESTs a client begins anew.
const REQUEST_ATTEMPTS: u32 = 4;

/// What the generator plays.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) clients: u32,
    pub(super) rate: Rate,
    pub(super) window: u32,
    pub(super) duration: Duration,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
    /// `giaddr` of each relay agent; clients are shared out among them.
    pub(super) relays: Vec<Ipv4Addr>,
    /// Contents of option 82, one a circuit; clients are shared out among the circuits.
    pub(super) relay_information: Vec<Vec<u8>>,
}

/// Which relay agent sends a message, by its place in [`Plan::relays`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RelayId(pub(super) usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Clients get the addresses that the scenario begins with; nothing is measured.
    Preparing,
    /// Exchanges begin until `end`.
    Measuring { start: Time, end: Time },
    /// No exchange begins any more; those under way end.
    Draining { start: Time, end: Time },
}

/// The generator.
pub(super) struct Generator {
    plan: Plan,
    phase: Phase,
    rng: Rng,
    population: Population,
    exchanges: Exchanges,
    deadlines: Deadlines,
    /// Exchanges with a message to be sent now.
    ready: VecDeque<u32>,
    /// Exchanges that were due since the phase began.
    due: u64,
    tally: Tally,
    last_answer: Time,
}

impl Generator {
    pub(super) fn new(plan: Plan, now: Time) -> Generator {
        let population = Population::new(plan.clients.clamp(1, MAX_OUTSTANDING), plan.seed);
        let mut generator = Generator {
            phase: Phase::Preparing,
            rng: Rng::new(plan.seed),
            population,
            exchanges: Exchanges::default(),
            deadlines: Deadlines::default(),
            ready: VecDeque::new(),
            due: 0,
            tally: Tally::default(),
            last_answer: now,
            plan,
        };
        if matches!(generator.plan.scenario, Scenario::Dora | Scenario::Avalanche) {
            generator.measure(now);
        }
        generator
    }

    /// Whether the measured part has begun.
    pub(super) fn is_measuring(&self) -> bool {
        self.phase != Phase::Preparing
    }

    /// Whether all is done.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. }) && self.exchanges.len() == 0
    }

    /// What came out.
    pub(super) fn finish(mut self) -> Report {
        let elapsed = match self.phase {
            Phase::Preparing => Duration::ZERO,
            Phase::Measuring { start, end } | Phase::Draining { start, end } => end.since(start),
        };
        let report = &mut self.tally.report;
        self.plan.scenario.name().clone_into(&mut report.scenario);
        (report.clients, report.bound) = (self.population.len(), self.population.bound());
        (report.rate, report.window) = match (self.plan.scenario, self.plan.rate) {
            (Scenario::Avalanche, _) => (None, None),
            (_, Rate::PerSecond(rate)) => (Some(rate), None),
            (_, Rate::Max) => (None, Some(self.plan.window)),
        };
        self.tally.finish(elapsed)
    }

    fn measure(&mut self, now: Time) {
        self.tally = Tally::default();
        self.tally.report.prepared = self.population.bound();
        self.due = 0;
        self.phase = Phase::Measuring { start: now, end: now + self.plan.duration };
    }

    /// Nothing begins after `end`.
    fn drain(&mut self, end: Time) {
        if let Phase::Measuring { start, .. } = self.phase {
            self.phase = Phase::Draining { start, end };
        }
    }

    /// When [`Generator::handle_timeout`] or [`Generator::poll_transmit`] has something to do next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let lost = self.deadlines.next();
        let next = match self.phase {
            Phase::Measuring { start, end } => Some(self.next_due(start).map_or(end, |due| due.min(end))),
            _ => None,
        };
        lost.into_iter().chain(next).min()
    }

    /// When the next exchange is due, if there is one and the rate says so.
    fn next_due(&self, start: Time) -> Option<Time> {
        match self.plan.rate {
            Rate::PerSecond(rate) if self.plan.scenario != Scenario::Avalanche && !self.ran_out_of_clients() => {
                Some(start + Duration::from_secs_f64((self.due as f64 / rate).min(1e9)))
            }
            _ => None,
        }
    }

    /// Deals with messages that have had no answer, and with the end of the phase.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        while let Some((deadline, xid)) = self.deadlines.pop(now) {
            // An exchange that went on has a later deadline too.
            if self.exchanges.get_mut(xid).is_some_and(|exchange| exchange.deadline == deadline) {
                self.unanswered(xid, now);
            }
        }
        match self.phase {
            Phase::Preparing if self.due >= u64::from(self.population.len()) && self.exchanges.len() == 0 => {
                self.measure(now)
            }
            Phase::Measuring { end, .. } if now >= end => {
                self.drain(end);
                if self.plan.scenario == Scenario::Avalanche {
                    self.give_up();
                }
            }
            Phase::Measuring { start, .. } if self.ran_out_of_clients() && self.exchanges.len() == 0 => {
                self.drain(self.last_answer.max(start));
            }
            _ => {}
        }
    }

    /// Whether every client of a scenario that takes each client once has begun.
    fn ran_out_of_clients(&self) -> bool {
        matches!(self.plan.scenario, Scenario::Dora | Scenario::Avalanche)
            && self.due >= u64::from(self.population.len())
    }

    /// An avalanche that has not ended in its time: what is under way is lost.
    fn give_up(&mut self) {
        while let Some((_, xid)) = self.deadlines.pop(Time::MAX) {
            self.tally.report.lost += u64::from(self.exchanges.end(xid).is_some());
        }
        for xid in std::mem::take(&mut self.ready) {
            self.tally.report.lost += u64::from(self.exchanges.end(xid).is_some());
        }
    }

    fn unanswered(&mut self, xid: u32, now: Time) {
        let preparing = self.phase == Phase::Preparing;
        let Some(exchange) = self.exchanges.get_mut(xid) else { return };
        if preparing && exchange.attempts < PREPARING_ATTEMPTS {
            self.ready.push_back(xid);
        } else if !preparing && self.plan.scenario == Scenario::Avalanche {
            self.tally.report.retransmissions += 1;
            if exchange.stage != Stage::Offer && exchange.attempts >= REQUEST_ATTEMPTS {
                self.begin_anew(xid, now);
            } else {
                self.ready.push_back(xid);
            }
        } else {
            self.tally.report.lost += 1;
            self.end(xid);
        }
    }

    /// The client forgets the offer, and begins under a new transaction id.
    fn begin_anew(&mut self, xid: u32, now: Time) {
        if let Some(old) = self.exchanges.end(xid) {
            let anew = Exchange { stage: Stage::Offer, asked: now, attempts: 0, ..old };
            self.ready.extend(self.exchanges.begin(anew));
        }
    }

    fn end(&mut self, xid: u32) {
        if let Some(exchange) = self.exchanges.end(xid) {
            self.population.rest(exchange.client);
        }
    }

    /// Appends the next message that is to be sent now to `out`, and says by which relay agent. `None` when there is none now.
    pub(super) fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<RelayId> {
        while let Some(xid) = self.ready.pop_front() {
            if let Some(relay) = self.transmit(xid, now, out) {
                return Some(relay);
            }
        }
        while let Some(due) = self.is_due(now) {
            self.due += 1;
            match self.choose() {
                Some((client, Some(purpose))) => {
                    let stage = if purpose == Purpose::Acquire { Stage::Offer } else { Stage::Ack(None) };
                    let exchange =
                        Exchange { client, purpose, stage, begun: due, asked: due, deadline: Time::MAX, attempts: 0 };
                    self.tally.report.offered += 1;
                    // There are never more clients than places for exchanges.
                    let xid = self.exchanges.begin(exchange)?;
                    return self.transmit(xid, now, out);
                }
                Some((client, None)) => return Some(self.release(client, out)),
                // At full speed nothing is due before a client is free again.
                None if self.plan.rate == Rate::Max => {
                    self.due -= 1;
                    return None;
                }
                None => self.tally.report.unsent += 1,
            }
        }
        None
    }

    /// When the exchange was due that may begin now.
    fn is_due(&self, now: Time) -> Option<Time> {
        match self.phase {
            Phase::Preparing => {
                (self.due < u64::from(self.population.len()) && self.exchanges.len() < PREPARING).then_some(now)
            }
            Phase::Measuring { start, end } if now < end && !self.ran_out_of_clients() => match self.next_due(start) {
                Some(due) => (due <= now && due < end).then_some(due),
                None if self.plan.scenario == Scenario::Avalanche => Some(start),
                None => (self.exchanges.len() < self.plan.window.max(1) as usize).then_some(now),
            },
            _ => None,
        }
    }

    /// A client that is free and what it does next; no purpose means that it releases its address.
    fn choose(&mut self) -> Option<(ClientId, Option<Purpose>)> {
        if self.phase == Phase::Preparing || matches!(self.plan.scenario, Scenario::Dora | Scenario::Avalanche) {
            return Some((self.population.take_nth(self.due - 1)?, Some(Purpose::Acquire)));
        }
        if self.plan.scenario == Scenario::Renew {
            return Some((self.population.take(true)?, Some(Purpose::Renew)));
        }
        let purpose = match self.rng.below(100) {
            0..60 => Some(Purpose::Renew),
            60..80 => Some(Purpose::Acquire),
            80..90 => Some(Purpose::Reboot),
            90..95 => Some(Purpose::Inform),
            _ => None,
        };
        Some((self.population.take(purpose != Some(Purpose::Acquire))?, purpose))
    }

    /// Writes the message that the exchange is at, and sets its deadline. `None` when the exchange has ended.
    fn transmit(&mut self, xid: u32, now: Time, out: &mut Vec<u8>) -> Option<RelayId> {
        let avalanche = self.plan.scenario == Scenario::Avalanche;
        let exchange = self.exchanges.get_mut(xid)?;
        exchange.attempts += 1;
        let wait = if avalanche { backoff(exchange.attempts, &mut self.rng) } else { self.plan.timeout };
        exchange.deadline = now + wait;
        self.deadlines.push(exchange.deadline, xid);
        let exchange = *exchange;
        let secs = now.since(exchange.begun).as_secs().min(u16::MAX.into()) as u16;
        let held = self.population.binding(exchange.client).map(|binding| binding.address);
        let (relay, request) = self.request(exchange.client, xid);
        let request = Request { secs, ..request };
        let request = match (exchange.stage, exchange.purpose) {
            (Stage::Offer, _) => request,
            (Stage::Ack(Some((address, server))), _) => {
                Request { kind: Kind::Request, requested: Some(address), server: Some(server), ..request }
            }
            (Stage::Ack(None), Purpose::Reboot) => Request { kind: Kind::Request, requested: held, ..request },
            // The answer goes to `ciaddr` (RFC 2131 section 4.3.5), so the host that asks has the relay agent's address.
            (Stage::Ack(None), Purpose::Inform) => Request { kind: Kind::Inform, ciaddr: request.giaddr, ..request },
            (Stage::Ack(None), _) => {
                Request { kind: Kind::Request, ciaddr: held.unwrap_or(Ipv4Addr::UNSPECIFIED), ..request }
            }
        };
        request.write(out);
        Some(relay)
    }

    /// Writes a RELEASE: the client has no lease any more, and nothing is under way since there is no answer.
    fn release(&mut self, client: ClientId, out: &mut Vec<u8>) -> RelayId {
        // The number of releases makes a transaction id that no exchange is under: RELEASE has no answer to be told from others.
        let (relay, request) = self.request(client, self.tally.report.releases as u32);
        if let Some(binding) = self.population.binding(client) {
            Request {
                kind: Kind::Release,
                ciaddr: binding.address,
                server: Some(binding.server),
                relay_information: &[],
                ..request
            }
            .write(out);
        }
        self.population.unbind(client);
        self.population.rest(client);
        self.tally.report.releases += 1;
        relay
    }

    /// What the relay agent adds to the client's messages.
    fn relay_information(&self, client: ClientId) -> &[u8] {
        let circuits = &self.plan.relay_information;
        circuits.get(client.0 as usize % circuits.len().max(1)).map_or(&[], Vec::as_slice)
    }

    /// A DISCOVER of the client by its relay agent, from which the other messages are made.
    fn request(&self, client: ClientId, xid: u32) -> (RelayId, Request<'_>) {
        let relay = client.0 as usize % self.plan.relays.len().max(1);
        let request = Request {
            kind: Kind::Discover,
            xid,
            secs: 0,
            chaddr: self.population.chaddr(client),
            ciaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: self.plan.relays.get(relay).copied().unwrap_or(Ipv4Addr::UNSPECIFIED),
            requested: None,
            server: None,
            relay_information: self.relay_information(client),
        };
        (RelayId(relay), request)
    }

    /// Takes a message that came from the server.
    pub(super) fn handle_reply(&mut self, bytes: &[u8], now: Time) {
        let Some(reply) = message::parse(bytes) else {
            self.tally.report.malformed += 1;
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(reply.xid).map(|exchange| *exchange) else {
            self.tally.report.orphans += 1;
            return;
        };
        if reply.chaddr != self.population.chaddr(exchange.client)
            || reply.relay_information != self.relay_information(exchange.client)
        {
            self.tally.report.mismatched += 1;
            return;
        }
        match (exchange.stage, reply.kind) {
            (Stage::Offer, Kind::Offer) => self.offered(&reply, exchange, now),
            (Stage::Ack(_), Kind::Ack) => self.acknowledged(&reply, exchange, now),
            (Stage::Ack(_), Kind::Nak) => {
                self.tally.report.naks += 1;
                self.population.unbind(exchange.client);
                if self.plan.scenario == Scenario::Avalanche {
                    self.begin_anew(reply.xid, now);
                } else {
                    self.end(reply.xid);
                }
            }
            _ => self.tally.report.orphans += 1,
        }
    }

    fn offered(&mut self, reply: &Reply<'_>, exchange: Exchange, now: Time) {
        let (Some(server), Some(_), false) = (reply.server, reply.lease_time, reply.yiaddr.is_unspecified()) else {
            self.tally.report.malformed += 1;
            return;
        };
        self.tally.offer.record(now.since(exchange.asked));
        self.tally.answer.record(now.since(exchange.asked));
        self.count_in_time(now, false);
        if let Some(exchange) = self.exchanges.get_mut(reply.xid) {
            exchange.stage = Stage::Ack(Some((reply.yiaddr, server)));
            (exchange.asked, exchange.attempts, exchange.deadline) = (now, 0, Time::MAX);
            self.ready.push_back(reply.xid);
        }
    }

    fn acknowledged(&mut self, reply: &Reply<'_>, exchange: Exchange, now: Time) {
        let Some(server) = reply.server else {
            self.tally.report.malformed += 1;
            return;
        };
        if exchange.purpose != Purpose::Inform {
            let Some(lease_time) = reply.lease_time else {
                self.tally.report.malformed += 1;
                return;
            };
            let expected = match exchange.stage {
                Stage::Ack(Some((address, _))) => Some(address),
                _ => self.population.binding(exchange.client).map(|binding| binding.address),
            };
            if expected != Some(reply.yiaddr) {
                self.tally.report.mismatched += 1;
                return;
            }
            let expires = now + Duration::from_secs(lease_time.into());
            let alone = self.population.bind(exchange.client, Binding { address: reply.yiaddr, server }, expires, now);
            self.tally.report.duplicate_addresses += u64::from(!alone);
        }
        self.tally.ack.record(now.since(exchange.asked));
        self.tally.answer.record(now.since(exchange.asked));
        self.tally.exchange.record(now.since(exchange.begun));
        self.tally.report.answered += 1;
        self.count_in_time(now, true);
        self.last_answer = now;
        self.end(reply.xid);
        if let (Scenario::Avalanche, Phase::Measuring { start, .. }) = (self.plan.scenario, self.phase)
            && self.population.bound() == self.population.len()
        {
            self.tally.report.all_bound_after = Some(now.since(start).as_secs_f64());
        }
    }

    /// Rates are of what was answered while exchanges began; what is answered later counts as answered, and no more.
    fn count_in_time(&mut self, now: Time, whole: bool) {
        if matches!(self.phase, Phase::Measuring { end, .. } if now <= end) {
            self.tally.requests_in_time += 1;
            self.tally.exchanges_in_time += u64::from(whole);
        }
    }
}

/// How long a client waits after it has sent a message for the `attempt`th time.
fn backoff(attempt: u32, rng: &mut Rng) -> Duration {
    let doubled = BACKOFF.0.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(BACKOFF.1);
    doubled - Duration::from_secs(1) + Duration::from_secs(2).mul_f64(rng.unit())
}
