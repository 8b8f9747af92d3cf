//! What each message type is answered with (RFC 2131 section 4.3; RFC 4388 for leasequery).

use super::address::{self, Place};
use super::limit::Rate;
use super::{Answer, Decision, Engine, Event, Now, Silence};
use crate::codec::{Kind, Message, RelayInfo, code};
use crate::lease::{Change, Client, Detail, Details, INFINITE, Lease, State};
use crate::policy::{ClassSet, Detection, Facts, Refusal, Request, Reservation};
use outwork_engine::Time;
use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// How long an offer holds its address unless the configuration says otherwise, seconds.
const OFFER_TIME: u32 = 60;

/// A request with everything known about its client.
pub(super) struct Case<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) facts: &'a Facts,
    pub(super) client: Client<'a>,
    pub(super) classes: ClassSet,
    pub(super) reservation: Option<Arc<Reservation>>,
    pub(super) now: Now,
}

impl<'a> Case<'a> {
    fn message(&self) -> &'a Message<'a> {
        &self.request.message
    }

    /// True unless option 54 names another server. We are what a relay agent says we are (RFC 5107), and our address.
    fn is_for_us(&self) -> bool {
        let server = self.message().address_option(code::SERVER_ID);
        server.is_none_or(|server| server == self.facts.server_id || server == self.request.via.server)
    }

    /// True if the address is ours or the relay agent's: in use, though no client has it.
    fn is_of_the_path(&self, address: Ipv4Addr) -> bool {
        address == self.request.via.server || address == self.message().giaddr()
    }
}

impl Engine {
    /// Decides on one request. Records go to [`Engine::journal`].
    pub fn handle(&mut self, now: Now, request: &Request<'_>, facts: &Result<Facts, Refusal>) -> Decision {
        let decision = match self.admit(now, &request.message) {
            Ok(()) => self.decide(now, request, facts),
            Err(silence) => Decision::Silent(silence),
        };
        if self.watched {
            self.tell(&request.message, &decision);
        }
        decision
    }

    /// Decides once more on a request that waited for a probe. It counts once against its client's rate.
    pub fn handle_again(&mut self, now: Now, request: &Request<'_>, facts: &Result<Facts, Refusal>) -> Decision {
        let decision = self.decide(now, request, facts);
        if self.watched {
            self.tell(&request.message, &decision);
        }
        decision
    }

    /// Whether its sender may send one more packet. A client may make up its hardware address, but not the circuit that
    /// its relay agent sees it on.
    fn admit(&mut self, now: Now, message: &Message<'_>) -> Result<(), Silence> {
        let rules = &self.policy.rules;
        if message.kind() == Kind::LeaseQuery && rules.may_query(message.giaddr()) {
            return Ok(());
        }
        let by_client = Rate::per_second(rules.client_rate, rules.client_burst);
        let by_circuit = Rate::per_second(rules.circuit_rate, rules.circuit_burst);
        let client = self.hasher.hash_one((message.chaddr(), message.giaddr()));
        if !self.limiter.admit(client, now.millis, by_client) {
            return Err(Silence::RateLimited);
        }
        match self.circuit(message) {
            Some(circuit) if !self.circuits.admit(circuit, now.millis, by_circuit) => Err(Silence::CircuitLimited),
            _ => Ok(()),
        }
    }

    /// A number for the circuit that a relay agent names, if one does.
    fn circuit(&self, message: &Message<'_>) -> Option<u64> {
        let relay = self.policy.relay_info(message)?;
        let names = [RelayInfo::CIRCUIT_ID, RelayInfo::REMOTE_ID].map(|name| relay.get(name));
        names.iter().any(Option::is_some).then(|| self.hasher.hash_one((message.giaddr(), names)))
    }

    fn decide(&mut self, now: Now, request: &Request<'_>, facts: &Result<Facts, Refusal>) -> Decision {
        let message = &request.message;
        if message.kind() == Kind::LeaseQuery {
            return self.leasequery(now, request);
        }
        let policy = Arc::clone(&self.policy);
        let facts = match facts {
            Ok(facts) => facts,
            Err(refusal) => return Decision::Silent((*refusal).into()),
        };
        let Some(client) = address::client(&policy, message) else { return Decision::Silent(Silence::NoClient) };
        let reservation = self.reservation(facts, request, client);
        let classes = policy.classes_of(request, facts, reservation.as_deref());
        if classes.contains(policy.drop) {
            return Decision::Silent(Silence::DropClass);
        }
        let network = policy.subnets.get(facts.subnet).and_then(|subnet| policy.networks.get(subnet.network));
        // What a client has it may give back, whatever the network admits by now.
        let gives_back = matches!(message.kind(), Kind::Release | Kind::Decline);
        if !gives_back && network.is_some_and(|network| !network.admission.admits(&classes)) {
            return Decision::Silent(Silence::NotAdmitted);
        }
        let case = Case { request, facts, client, classes, reservation, now };
        match message.kind() {
            Kind::Discover => self.discover(case),
            Kind::Request => self.request(case),
            Kind::Decline => self.decline(&case),
            Kind::Release => self.release(&case),
            Kind::Inform => self.inform(case),
            _ => Decision::Silent(Silence::Done),
        }
    }

    fn discover(&mut self, mut case: Case<'_>) -> Decision {
        let message = case.message();
        let subnet = self.policy.subnets.get(case.facts.subnet);
        let own = self.lease_of(case.client, message, case.facts.subnet);
        if own.is_none() && subnet.is_some_and(|subnet| tried_for(message) < subnet.min_secs) {
            return Decision::Silent(Silence::MinSecs);
        }
        let stranger = own.is_none() && case.reservation.is_none();
        if own.is_none_or(|(_, lease)| !lease.state.holds()) && self.offers >= self.policy.rules.max_offers {
            return Decision::Silent(Silence::OffersFull);
        }
        let mut chosen = self.choose(&case, stranger);
        while let Ok(place) = &chosen
            && case.is_of_the_path(place.address)
        {
            // As if a probe had found it in use.
            let mut lease = self.lease(&case, *place, State::Declined, 0);
            (lease.hlen, lease.chaddr, lease.details) = (0, [0; 16], Details::default());
            self.quarantine(&mut lease, case.now);
            chosen = self.choose(&case, stranger);
        }
        let place = match chosen {
            Ok(place) => place,
            Err(silence) => return Decision::Silent(silence),
        };
        self.require(&mut case, place);
        // What is active there is the client's own: an offer must not take its place.
        let bound = self.leases.at(place.address).is_some_and(|lease| lease.state == State::Active);
        if !bound {
            self.withdraw(&case, place.address);
            let times = self.policy.subnets.get(place.subnet).map(|subnet| subnet.scope.times.offer);
            let mut hold = times.flatten().or(self.policy.scope.times.offer).unwrap_or(OFFER_TIME);
            let crowd = self.pools.crowd(&place, self.policy.rules.offer_share, case.now.unix);
            if stranger && crowd.is_some_and(|crowd| crowd.presses()) {
                // Clients that mean it ask within a second or two. The others' addresses are wanted.
                hold = hold.min(self.policy.rules.short_offer_time);
            }
            let lease = self.lease(&case, place, State::Offered, case.now.unix.saturating_add(hold));
            self.put(lease);
            if self.wants_probe(&case, place.address) {
                return Decision::Probe(place.address);
            }
        }
        let rapid = self.policy.rules.rapid_commit && message.option(code::RAPID_COMMIT).is_some();
        if rapid {
            return self.commit(case, place, true);
        }
        let asked = message.u32_option(code::LEASE_TIME);
        let time = self.policy.lease_time(&case.classes, place.subnet, case.reservation.as_deref(), asked);
        self.answer(case, Kind::Offer, place, Some(time), false)
    }

    fn wants_probe(&self, case: &Case<'_>, address: Ipv4Addr) -> bool {
        let relayed = !case.message().giaddr().is_unspecified();
        let asked = match self.policy.rules.detection {
            Detection::Off => false,
            Detection::Arp => !relayed && case.request.via.link,
            Detection::Ping => relayed || case.request.via.link,
        };
        asked && self.probes.get(&address, Time::from_millis(case.now.millis)).is_none()
    }

    /// Says what a probe found. In use: the address is quarantined. Free: it counts as free for a while.
    pub fn probed(&mut self, address: Ipv4Addr, in_use: bool, now: Now) {
        if !in_use {
            let at = Time::from_millis(now.millis);
            // Long enough that the request that waits for this very answer does not ask again.
            let kept = u64::from(self.policy.rules.probe_cache.max(1)) * 1000;
            let until = Time::from_millis(now.millis + kept);
            // A full cache only means that the address is asked for again.
            let _ = self.probes.insert(address, (), until, at);
            return;
        }
        let Some(mut lease) = self.leases.at(address).filter(|lease| lease.state != State::Active).cloned() else {
            return;
        };
        self.quarantine(&mut lease, now);
        self.event(|| Event::of("conflict", &lease));
    }

    fn quarantine(&mut self, lease: &mut Lease, now: Now) {
        lease.state = State::Declined;
        lease.starts = now.unix;
        lease.expires = now.unix.saturating_add(self.policy.rules.decline_time);
        self.probes.remove(&lease.address, Time::from_millis(now.millis));
        self.put(lease.clone());
        self.journal.record(|out| Change::write_lease(lease, out));
    }

    fn request(&mut self, case: Case<'_>) -> Decision {
        let message = case.message();
        let wanted = message.address_option(code::REQUESTED_ADDRESS);
        let ciaddr = Some(message.ciaddr()).filter(|address| !address.is_unspecified());
        match (message.address_option(code::SERVER_ID), wanted, ciaddr) {
            // Selecting (section 4.3.2).
            (Some(_), wanted, _) => {
                if !case.is_for_us() {
                    self.withdraw(&case, Ipv4Addr::UNSPECIFIED);
                    return Decision::Silent(Silence::OtherServer);
                }
                let Some(address) = wanted.or(ciaddr) else { return Decision::Silent(Silence::BadAddress) };
                self.grant(case, address, Stage::Selecting)
            }
            (None, _, Some(address)) => {
                let stage = if case.request.is_unicast() { Stage::Renewing } else { Stage::Rebinding };
                self.grant(case, address, stage)
            }
            (None, Some(address), None) => self.grant(case, address, Stage::Rebooting),
            (None, None, None) => Decision::Silent(Silence::BadAddress),
        }
    }

    /// What the client was offered besides `address` is free again: it chose another server, or gets another offer.
    fn withdraw(&mut self, case: &Case<'_>, address: Ipv4Addr) {
        while let Some(other) = self.other(case, address, &[State::Offered]) {
            self.withdraw_offer(other);
        }
    }

    /// An address besides `address` that the client has in one of `states` on its link.
    fn other(&self, case: &Case<'_>, address: Ipv4Addr, states: &[State]) -> Option<Ipv4Addr> {
        let here = |address| {
            let subnet = self.policy.subnet_of(address);
            subnet.is_some_and(|subnet| address::on_link(&self.policy, case.facts.subnet, subnet))
        };
        let mut leases = self.leases_of(case.client).map(|(_, lease)| lease);
        let other =
            leases.find(|lease| lease.address != address && states.contains(&lease.state) && here(lease.address));
        other.map(|lease| lease.address)
    }

    /// True if the client is not known to have anything from us: neither this address nor another that is active.
    fn is_stranger(&self, case: &Case<'_>, known: bool) -> bool {
        let own = || self.lease_of(case.client, case.message(), case.facts.subnet);
        !known && own().is_none_or(|(_, lease)| lease.state != State::Active)
    }

    fn grant(&mut self, mut case: Case<'_>, address: Ipv4Addr, stage: Stage) -> Decision {
        let message = case.message();
        let known = self.leases.at(address).is_some_and(|lease| self.owns(lease, case.client, message));
        let stranger = stage != Stage::Selecting && self.is_stranger(&case, known);
        // Section 4.3.2: who chose us, or has its lease from us, is told, whoever else serves the network.
        let ours = !stranger;
        // A boot ROM without a lease of ours may be another server's; telling it off would stop its boot.
        if stranger && message.option(code::VENDOR_CLASS).is_some_and(|class| class.starts_with(b"PXEClient")) {
            return Decision::Silent(Silence::UnknownClient);
        }
        let on_link = self
            .policy
            .subnet_of(address)
            .is_some_and(|subnet| address::on_link(&self.policy, case.facts.subnet, subnet));
        if !on_link {
            return self.refuse(case, "requested address is not of this network", ours);
        }
        let reserved = case.reservation.as_ref().and_then(|reservation| reservation.address);
        if let Some(own) = reserved
            && own != address
            && !self.taken(own, case.client, message, case.reservation.as_deref())
            && self.allowed(own, case.facts.subnet, &case.classes, case.reservation.as_deref()).is_some()
        {
            return self.refuse(case, "another address is reserved for this client", ours);
        }
        if case.is_of_the_path(address) || self.taken(address, case.client, message, case.reservation.as_deref()) {
            return self.refuse(case, "address is in use", ours);
        }
        let place = self.allowed(address, case.facts.subnet, &case.classes, case.reservation.as_deref());
        let free = place.is_some() || self.reservations.at(address).is_none();
        // Section 4.3.2: no record of the client, so silence. It may be another server's, whatever we think of the
        // address, unless we keep that for somebody else. Only who renews, by unicast, takes us for its server.
        if stranger && free && stage != Stage::Renewing {
            return Decision::Silent(Silence::UnknownClient);
        }
        let Some(place) = place else { return self.refuse(case, "address may not be given to this client", ours) };
        if !known && stage != Stage::Selecting {
            let reason = if stranger { "no such lease" } else { "the lease is for another address" };
            return self.refuse(case, reason, ours);
        }
        self.require(&mut case, place);
        self.commit(case, place, false)
    }

    /// A DHCPNAK, if the client is ours or we speak for the network; otherwise nothing.
    fn refuse(&mut self, case: Case<'_>, reason: &'static str, ours: bool) -> Decision {
        if !ours && !self.policy.rules.authoritative {
            return Decision::Silent(Silence::UnknownClient);
        }
        let place = Place { address: Ipv4Addr::UNSPECIFIED, subnet: case.facts.subnet, pool: None };
        match self.answer(case, Kind::Nak, place, None, false) {
            Decision::Answer(mut answer) => {
                answer.reason = Some(reason);
                Decision::Answer(answer)
            }
            other => other,
        }
    }

    /// Binds the address to the client and records it.
    fn commit(&mut self, case: Case<'_>, place: Place, rapid: bool) -> Decision {
        let message = case.message();
        let now = case.now.unix;
        let asked = message.u32_option(code::LEASE_TIME);
        let mut time = self.policy.lease_time(&case.classes, place.subnet, case.reservation.as_deref(), asked);
        let expires = if time == INFINITE { INFINITE } else { now.saturating_add(time) };
        let lease = self.lease(&case, place, State::Active, expires);
        if let Some(left) = self.young(&lease, now) {
            time = left;
        } else {
            self.journal.record(|out| Change::write_lease(&lease, out));
            self.put(lease);
            self.end_others(&case, place.address);
        }
        match self.answer(case, Kind::Ack, place, Some(time), true) {
            Decision::Answer(mut answer) => {
                answer.rapid = rapid;
                Decision::Answer(answer)
            }
            other => other,
        }
    }

    /// What is left of a lease that stands as it would be written, and is young enough to be confirmed without a write.
    fn young(&self, lease: &Lease, now: u32) -> Option<u32> {
        let threshold = self.policy.rules.cache_threshold;
        let old = self.leases.at(lease.address).filter(|_| threshold > 0.0)?;
        let hardware = |lease: &Lease| (lease.htype, lease.hlen, lease.chaddr);
        let same = old.state == State::Active
            && old.details == lease.details
            && hardware(old) == hardware(lease)
            && old.subnet == lease.subnet;
        let age = now.saturating_sub(old.starts) as f32;
        let young = age < threshold * old.expires.saturating_sub(old.starts) as f32;
        (same && young && old.expires > now && old.expires <= lease.expires).then(|| match old.expires {
            INFINITE => INFINITE,
            expires => expires - now,
        })
    }

    /// A client holds one address a link: what it held before goes back.
    fn end_others(&mut self, case: &Case<'_>, address: Ipv4Addr) {
        self.withdraw(case, address);
        while let Some(other) = self.other(case, address, &[State::Active]) {
            self.end(other, case.now.unix);
        }
    }

    /// Ends an active lease at its client's or the operator's word.
    pub(super) fn end(&mut self, address: Ipv4Addr, now: u32) {
        let Some(mut lease) = self.leases.at(address).cloned() else { return };
        lease.state = State::Released;
        lease.expires = now;
        self.journal.record(|out| Change::write_lease(&lease, out));
        self.put(lease);
        self.pools.freed(&self.policy, address);
    }

    fn decline(&mut self, case: &Case<'_>) -> Decision {
        let message = case.message();
        if !case.is_for_us() {
            return Decision::Silent(Silence::OtherServer);
        }
        let Some(address) = message.address_option(code::REQUESTED_ADDRESS) else {
            return Decision::Silent(Silence::BadAddress);
        };
        match self.leases.at(address).cloned() {
            Some(mut lease) if lease.state == State::Active && self.owns(&lease, case.client, message) => {
                if let Err(silence) = self.may_quarantine(case, address) {
                    // Only forgotten: its client gets another address, and somebody else this one, later.
                    self.journal.record(|out| Change::write_forget(address, out));
                    self.forget(address);
                    return Decision::Silent(silence);
                }
                self.quarantine(&mut lease, case.now);
                Decision::Silent(Silence::Done)
            }
            _ => Decision::Silent(Silence::NotOwner),
        }
    }

    /// Whether an address is quarantined at this client's word, so that no one can empty a pool by declining it.
    fn may_quarantine(&mut self, case: &Case<'_>, address: Ipv4Addr) -> Result<(), Silence> {
        let message = case.message();
        if self.pools.declined_at(&self.policy, address, self.policy.rules.decline_share) {
            return Err(Silence::DeclineShare);
        }
        let client = || self.hasher.hash_one((message.chaddr(), message.giaddr()));
        let who = self.circuit(message).unwrap_or_else(client);
        let rules = &self.policy.rules;
        let rate = Rate::within(Duration::from_secs(rules.decline_time.into()), rules.decline_limit);
        if self.declines.admit(who, case.now.millis, rate) { Ok(()) } else { Err(Silence::DeclineLimit) }
    }

    fn release(&mut self, case: &Case<'_>) -> Decision {
        let message = case.message();
        if !case.is_for_us() {
            return Decision::Silent(Silence::OtherServer);
        }
        let address = message.ciaddr();
        match self.leases.at(address) {
            Some(lease) if lease.state == State::Active && self.owns(lease, case.client, message) => {
                self.end(address, case.now.unix);
                Decision::Silent(Silence::Done)
            }
            _ => Decision::Silent(Silence::NotOwner),
        }
    }

    fn inform(&mut self, mut case: Case<'_>) -> Decision {
        let address = case.message().ciaddr();
        if address.is_unspecified() {
            return Decision::Silent(Silence::BadAddress);
        }
        let subnet = self.policy.subnet_of(address).unwrap_or(case.facts.subnet);
        let pool = self.policy.subnets.get(subnet).and_then(|subnet| subnet.pool_of(address));
        let place = Place { address: Ipv4Addr::UNSPECIFIED, subnet, pool };
        self.require(&mut case, place);
        self.answer(case, Kind::Ack, place, None, false)
    }

    /// Adds the classes that the place requires, before anything is taken from the client's classes.
    fn require(&self, case: &mut Case<'_>, place: Place) {
        if let Some(subnet) = self.policy.subnets.get(place.subnet) {
            let pool = place.pool.and_then(|pool| subnet.pools.get(pool));
            let required = pool.map_or(subnet.required, |pool| subnet.required.union(&pool.required));
            self.policy.classify_required(case.request, &required, &mut case.classes);
        }
    }

    fn answer(&self, case: Case<'_>, kind: Kind, place: Place, lease_time: Option<u32>, durable: bool) -> Decision {
        Decision::Answer(Box::new(Answer {
            kind,
            address: place.address,
            subnet: place.subnet,
            pool: place.pool,
            lease_time,
            classes: case.classes,
            reservation: case.reservation,
            server_id: case.facts.server_id,
            reason: None,
            queried: None,
            durable,
            rapid: false,
        }))
    }

    fn lease(&self, case: &Case<'_>, place: Place, state: State, expires: u32) -> Lease {
        let message = case.message();
        let mut chaddr = [0; 16];
        let hardware = message.chaddr();
        if let Some(to) = chaddr.get_mut(..hardware.len()) {
            to.copy_from_slice(hardware);
        }
        let rules = &self.policy.rules;
        let id = if rules.match_client_id { Detail::ClientId } else { Detail::ShownId };
        let giaddr = self.giaddr_of(case.request, case.client).octets();
        let name = case.reservation.as_ref().and_then(|r| r.hostname.as_deref()).map(str::as_bytes);
        let relay = self.relay_of(case.request, case.client).map(RelayInfo::bytes).filter(|_| rules.store_relay);
        let details = Details::pack([
            (id, message.option(code::CLIENT_ID).unwrap_or_default()),
            (Detail::HostName, name.or_else(|| host_name(message)).unwrap_or_default()),
            (Detail::VendorClass, message.option(code::VENDOR_CLASS).unwrap_or_default()),
            (Detail::Relay, relay.unwrap_or_default()),
            (Detail::Giaddr, if giaddr == [0; 4] { &[] } else { &giaddr }),
            (Detail::MudUrl, mud_url(message).unwrap_or_default()),
        ]);
        Lease {
            address: place.address,
            subnet: self.policy.subnets.get(place.subnet).map_or(0, |subnet| subnet.id),
            starts: case.now.unix,
            expires,
            state,
            htype: message.htype(),
            hlen: hardware.len() as u8,
            due: 0,
            chaddr,
            details,
        }
    }

    /// Puts a lease in the table and keeps every count and the calendar right.
    pub(super) fn put(&mut self, mut lease: Lease) {
        let (address, expires, to) = (lease.address, lease.expires, lease.state);
        let due = self.leases.at(address).map(|old| old.due);
        lease.due = due.or_else(|| self.orphans.remove(&address)).unwrap_or(0);
        let (_, old) = self.leases.insert(lease);
        let from = old.as_ref().map(|old| old.state);
        self.moved(address, from, Some(to));
        match old {
            // What ended here is on disk still, and stands again if the offer comes to nothing.
            Some(ended) if to == State::Offered && !ended.state.holds() => drop(self.displaced.insert(address, ended)),
            _ if to == State::Offered => {}
            _ => drop(self.displaced.remove(&address)),
        }
        if to.holds() {
            self.schedule(address, expires);
        }
    }

    /// An address changed hands: from a state (`None`: it was not in the table) to another.
    pub(super) fn moved(&mut self, address: Ipv4Addr, from: Option<State>, to: Option<State>) {
        self.offers += usize::from(to == Some(State::Offered));
        self.offers = self.offers.saturating_sub(usize::from(from == Some(State::Offered)));
        self.pools.moved(&self.policy, &self.reservations, address, from, to);
    }

    fn tell(&mut self, message: &Message<'_>, decision: &Decision) {
        let mut event = Event::new(message.kind().name());
        event.hardware = message.chaddr().to_vec();
        event.client_id = message.option(code::CLIENT_ID).map(<[u8]>::to_vec);
        event.hostname = host_name(message).map(|name| String::from_utf8_lossy(name).into_owned());
        event.mud_url = mud_url(message).map(|url| String::from_utf8_lossy(url).into_owned());
        match decision {
            Decision::Answer(answer) => {
                event.kind = answer.kind.name();
                event.address = Some(answer.address).filter(|address| !address.is_unspecified());
                event.subnet = self.policy.subnets.get(answer.subnet).map(|subnet| subnet.id);
                event.reason = answer.reason;
            }
            Decision::Silent(Silence::Done) => {
                let about = Some(message.ciaddr()).filter(|address| !address.is_unspecified());
                event.address = about.or_else(|| message.address_option(code::REQUESTED_ADDRESS));
            }
            Decision::Silent(silence) => event.reason = Some(silence.name()),
            Decision::Probe(address) => {
                event.kind = "probe";
                event.address = Some(*address);
            }
        }
        self.events.push(event);
    }
}

/// The host name a client gives itself: option 12, else the name of option 81 (RFC 4702) in its text form.
fn host_name<'m>(message: &'m Message<'_>) -> Option<&'m [u8]> {
    let plain = message.option(code::HOST_NAME).map(|name| {
        let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        name.get(..end).unwrap_or_default()
    });
    plain.filter(|name| !name.is_empty()).or_else(|| match message.option(code::CLIENT_FQDN)? {
        // Flag E (4) says wire form; its first label is the host's name.
        [flags, _, _, len, rest @ ..] if flags & 4 != 0 => rest.get(..usize::from(*len)),
        [_, _, _, name @ ..] => Some(name),
        _ => None,
    })
}

/// Where a client says that a description of what it does is (RFC 8520 section 5.3).
fn mud_url<'m>(message: &'m Message<'_>) -> Option<&'m [u8]> {
    message.option(code::MUD_URL).filter(|url| url.starts_with(b"https://") && url.iter().all(u8::is_ascii_graphic))
}

/// Seconds that a client says it has tried for. Some write them in the wrong order of octets.
fn tried_for(message: &Message<'_>) -> u16 {
    match message.secs() {
        swapped if swapped.is_multiple_of(256) => swapped.swap_bytes(),
        secs => secs,
    }
}

/// Where in its life a requesting client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Selecting,
    Rebooting,
    Renewing,
    Rebinding,
}
