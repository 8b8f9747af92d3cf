//! Which address a client gets.

use super::decide::Case;
use super::{Engine, Silence};
use crate::codec::{Message, RelayInfo, code};
use crate::lease::{Client, Detail, Lease, Slot, State};
use crate::policy::{ClassSet, Facts, IdentifierKind, Policy, Request, Reservation};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// An address and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Ipv4Addr,
    pub(super) subnet: usize,
    pub(super) pool: Option<usize>,
}

/// Who a client is, given whether option 61 counts.
pub(super) fn client<'m>(policy: &Policy, message: &'m Message<'_>) -> Option<Client<'m>> {
    if let Some(id) = message.option(code::CLIENT_ID).filter(|_| policy.rules.match_client_id) {
        return Some(Client::Id(id));
    }
    let hardware = message.chaddr();
    (!hardware.is_empty()).then(|| Client::Hardware(message.htype(), hardware))
}

/// Subnets of the client's network, the selected one first.
pub(super) fn subnets(policy: &Policy, selected: usize) -> impl Iterator<Item = usize> + '_ {
    let network = policy.subnets.get(selected).and_then(|subnet| policy.networks.get(subnet.network));
    let others = network.map(|network| network.subnets.as_slice()).unwrap_or_default();
    std::iter::once(selected).chain(others.iter().copied().filter(move |subnet| *subnet != selected))
}

/// True if the address's subnet is on the client's link.
pub(super) fn on_link(policy: &Policy, selected: usize, subnet: usize) -> bool {
    let network = |index: usize| policy.subnets.get(index).map(|subnet| subnet.network);
    network(selected) == network(subnet)
}

impl Engine {
    /// The client's reservation, by the kinds of identifiers in force: on its link, else outside of subnets.
    pub(super) fn reservation(
        &self,
        facts: &Facts,
        request: &Request<'_>,
        client: Client<'_>,
    ) -> Option<Arc<Reservation>> {
        if self.reservations.is_empty() {
            return None;
        }
        let message = &request.message;
        let relay = self.relay_of(request, client);
        let mut anywhere = None;
        for kind in &self.policy.rules.identifiers {
            let bytes = match kind {
                IdentifierKind::Mac => Some(message.chaddr()),
                IdentifierKind::ClientId => message.option(code::CLIENT_ID),
                IdentifierKind::CircuitId => relay.and_then(|r| r.get(RelayInfo::CIRCUIT_ID)),
                IdentifierKind::RemoteId => relay.and_then(|r| r.get(RelayInfo::REMOTE_ID)),
                IdentifierKind::Flex => facts.flex.as_deref(),
            };
            let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { continue };
            let ids = subnets(&self.policy, facts.subnet).filter_map(|index| self.policy.subnets.get(index));
            let mut found = ids.filter_map(|subnet| self.reservations.of(Some(subnet.id), *kind, bytes));
            if let Some(found) = found.next() {
                return Some(Arc::clone(found));
            }
            anywhere = anywhere.or_else(|| self.reservations.of(None, *kind, bytes));
        }
        anywhere.cloned()
    }

    /// What a client that speaks to us past its relay agent, to renew, has told us through it.
    fn told_before<'e>(&'e self, request: &Request<'_>, client: Client<'_>) -> Option<&'e Lease> {
        let lease = self.leases.at(request.message.ciaddr()).filter(|_| request.is_unicast())?;
        self.owns(lease, client, &request.message).then_some(lease)
    }

    /// What a relay agent says of the client, or said when it last had a say.
    pub(super) fn relay_of<'e>(&'e self, request: &'e Request<'_>, client: Client<'_>) -> Option<RelayInfo<'e>> {
        let before = || self.told_before(request, client)?.details.get(Detail::Relay).map(RelayInfo::new);
        self.policy.relay_info(&request.message).or_else(before)
    }

    /// The relay agent's address, now or when it last had a say; unspecified for a client of our own links.
    pub(super) fn giaddr_of(&self, request: &Request<'_>, client: Client<'_>) -> Ipv4Addr {
        let before = || self.told_before(request, client)?.details.get(Detail::Giaddr)?.try_into().ok();
        let own = Some(request.message.giaddr()).filter(|giaddr| !giaddr.is_unspecified());
        own.or_else(|| before().map(|octets: [u8; 4]| Ipv4Addr::from(octets))).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The client's lease on its link. A client that has an identifier now and had none before (a boot ROM, then its
    /// system) keeps the lease of its hardware address.
    pub(super) fn lease_of(
        &self,
        client: Client<'_>,
        message: &Message<'_>,
        selected: usize,
    ) -> Option<(Slot, &Lease)> {
        let here = |lease: &Lease| {
            lease.state != State::Declined
                && self.policy.subnet_of(lease.address).is_some_and(|subnet| on_link(&self.policy, selected, subnet))
        };
        // The lease that is held, if any, before one that is offered, before one that ended; the latest of those.
        let rank = |(_, lease): &(Slot, &Lease)| match lease.state {
            State::Active => (2, lease.starts),
            State::Offered => (1, lease.starts),
            _ => (0, lease.starts),
        };
        let own = self.leases_of(client).filter(|(_, lease)| here(lease)).max_by_key(rank).map(|(slot, _)| slot);
        let anonymous = || {
            let hardware = Client::Hardware(message.htype(), message.chaddr());
            let leases = self.leases.of_client(hardware).filter(|(_, lease)| here(lease));
            leases.max_by_key(rank).map(|(slot, _)| slot)
        };
        let by_id = matches!(client, Client::Id(_)) && !message.chaddr().is_empty();
        let slot = own.or_else(|| by_id.then(anonymous).flatten())?;
        self.leases.get(slot).map(|lease| (slot, lease))
    }

    /// Leases of a client. Where hardware addresses alone identify, whatever identifier came with them before.
    pub(super) fn leases_of<'e>(&'e self, client: Client<'e>) -> impl Iterator<Item = (Slot, &'e Lease)> {
        let by_hardware = match client {
            Client::Hardware(htype, address) if !self.policy.rules.match_client_id => Some((htype, address)),
            _ => None,
        };
        let by_client = by_hardware.is_none().then(|| self.leases.of_client(client));
        let by_hardware = by_hardware.map(|(htype, address)| self.leases.of_hardware(htype, address));
        by_client.into_iter().flatten().chain(by_hardware.into_iter().flatten())
    }

    /// True if the lease is this client's.
    pub(super) fn owns(&self, lease: &Lease, client: Client<'_>, message: &Message<'_>) -> bool {
        let hardware = message.chaddr();
        let by_hardware = !self.policy.rules.match_client_id || lease.client_id().is_none();
        lease.client() == client
            || (by_hardware && !hardware.is_empty() && lease.htype == message.htype() && lease.hardware() == hardware)
    }

    /// Where an address lies, if a client of these classes may have it: reserved for it, or of a pool that admits it and
    /// not reserved for another.
    pub(super) fn allowed(
        &self,
        address: Ipv4Addr,
        selected: usize,
        classes: &ClassSet,
        reservation: Option<&Reservation>,
    ) -> Option<Place> {
        let subnet = self.policy.subnet_of(address)?;
        if !on_link(&self.policy, selected, subnet) {
            return None;
        }
        let scope = self.policy.subnets.get(subnet)?;
        let pool = scope.pool_of(address);
        if reservation.is_some_and(|own| own.address == Some(address)) {
            return Some(Place { address, subnet, pool });
        }
        if self.reservations.at(address).is_some() || !scope.admission.admits(classes) {
            return None;
        }
        let pool = pool?;
        scope.pools.get(pool)?.admission.admits(classes).then_some(Place { address, subnet, pool: Some(pool) })
    }

    /// True if somebody else holds the address.
    ///
    /// Whoever has the hardware address that an address is reserved for is its client, whatever identifier comes with it: a
    /// boot ROM after the system it boots, a second system of the same machine, one that was installed anew.
    pub(super) fn taken(
        &self,
        address: Ipv4Addr,
        client: Client<'_>,
        message: &Message<'_>,
        reservation: Option<&Reservation>,
    ) -> bool {
        let reserved = |lease: &Lease| {
            reservation.is_some_and(|own| own.address == Some(address) && own.identifier.kind == IdentifierKind::Mac)
                && (lease.htype, lease.hardware()) == (message.htype(), message.chaddr())
        };
        self.leases.at(address).is_some_and(|lease| {
            let own = || self.owns(lease, client, message) || reserved(lease);
            lease.state.holds() && (lease.state == State::Declined || !own())
        })
    }

    /// The address to offer: reserved, the client's own, the one it asks for, a free one.
    ///
    /// A `stranger`, who has nothing here to come back to, only gets what a flooded pool can spare: see `offer_share`.
    pub(super) fn choose(&mut self, case: &Case<'_>, stranger: bool) -> Result<Place, Silence> {
        let Case { facts, client, ref classes, now, .. } = *case;
        let message = &case.request.message;
        let reservation = case.reservation.as_deref();
        let policy = Arc::clone(&self.policy);
        let share = policy.rules.offer_share;
        // What of a pool is withheld from a stranger: nothing, nothing that is there, something.
        let withheld = |engine: &Self, place: &Place| {
            let crowd = engine.pools.crowd(place, share, now.unix).filter(|crowd| stranger && crowd.is_flood());
            crowd.map(|crowd| crowd.has_spare())
        };
        let mut spared = false;
        let wanted = [
            reservation.and_then(|reservation| reservation.address),
            self.lease_of(client, message, facts.subnet).map(|(_, lease)| lease.address),
            message.address_option(code::REQUESTED_ADDRESS),
        ];
        for address in wanted.into_iter().flatten() {
            if !self.taken(address, client, message, reservation)
                && let Some(place) = self.allowed(address, facts.subnet, classes, reservation)
            {
                match withheld(self, &place) {
                    None => return Ok(place),
                    Some(something) => spared |= something,
                }
            }
        }
        let mut admitted = subnets(&policy, facts.subnet)
            .filter_map(|index| policy.subnets.get(index).map(|subnet| (index, subnet)))
            .filter(|(_, subnet)| subnet.admission.admits(classes));
        let place = admitted.find_map(|(index, subnet)| {
            let mut pools = subnet.pools.iter().enumerate().filter(|(_, pool)| pool.admission.admits(classes));
            pools.find_map(|(pool, _)| {
                let mut place = Place { address: Ipv4Addr::UNSPECIFIED, subnet: index, pool: Some(pool) };
                if let Some(something) = withheld(self, &place) {
                    spared |= something;
                    return None;
                }
                place.address = self.pools.take(&policy, index, pool, &self.leases, &self.reservations)?;
                Some(place)
            })
        });
        place.ok_or(if spared { Silence::OfferShare } else { Silence::NoAddress })
    }
}
