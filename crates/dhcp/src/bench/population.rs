//! The clients, and who holds which address.
#![deny(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::net::Ipv4Addr;

use foldhash::fast::FixedState;
use outwork_engine::Time;

/// A client, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientId(pub(super) u32);

#[derive(Debug, Clone, Copy)]
struct Client {
    address: Ipv4Addr,
    server: Ipv4Addr,
    bound: bool,
    busy: bool,
}

/// A client's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) address: Ipv4Addr,
    pub(super) server: Ipv4Addr,
}

/// All clients. At most one exchange of each is under way.
#[derive(Debug)]
pub(super) struct Population {
    clients: Vec<Client>,
    /// Who holds an address until when, by all that the clients know.
    holders: HashMap<Ipv4Addr, (ClientId, Time), FixedState>,
    /// Makes hardware addresses differ between runs.
    mark: u8,
    next: u32,
    bound: u32,
}

/// How many clients are looked at for one that can do what is asked for.
const LOOKED_AT: u32 = 4096;

impl Population {
    pub(super) fn new(count: u32, seed: u64) -> Population {
        let (address, server) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        Population {
            clients: vec![Client { address, server, bound: false, busy: false }; count as usize],
            // Room for all from the start: a table that grows stops everything for as long as it takes.
            holders: HashMap::with_capacity_and_hasher(count as usize, FixedState::with_seed(seed)),
            mark: seed as u8,
            next: 0,
            bound: 0,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.clients.len() as u32
    }

    /// Clients that have an address.
    pub(super) fn bound(&self) -> u32 {
        self.bound
    }

    /// A locally administered hardware address.
    pub(super) fn chaddr(&self, client: ClientId) -> [u8; 6] {
        let [a, b, c, d] = client.0.to_be_bytes();
        [0x02, self.mark, a, b, c, d]
    }

    /// The client's lease, if it has one.
    pub(super) fn binding(&self, client: ClientId) -> Option<Binding> {
        let client = self.clients.get(client.0 as usize).filter(|client| client.bound)?;
        Some(Binding { address: client.address, server: client.server })
    }

    /// Takes the next client that is idle and, when `bound` is asked for, has an address. It is busy from here on.
    pub(super) fn take(&mut self, bound: bool) -> Option<ClientId> {
        for _ in 0..LOOKED_AT.min(self.len()) {
            let id = ClientId(self.next % self.len());
            self.next = (id.0 + 1) % self.len();
            if let Some(client) = self.clients.get_mut(id.0 as usize)
                && !client.busy
                && (client.bound || !bound)
            {
                client.busy = true;
                return Some(id);
            }
        }
        None
    }

    /// Takes the `number`th client, in order; `None` past the last.
    pub(super) fn take_nth(&mut self, number: u64) -> Option<ClientId> {
        let client = self.clients.get_mut(usize::try_from(number).ok()?)?;
        client.busy = true;
        Some(ClientId(number as u32))
    }

    /// The client has nothing under way any more.
    pub(super) fn rest(&mut self, client: ClientId) {
        if let Some(client) = self.clients.get_mut(client.0 as usize) {
            client.busy = false;
        }
    }

    /// The client has a lease until `expires`. `false` when another client's lease of that address is still valid: the one thing that must never be.
    pub(super) fn bind(&mut self, id: ClientId, binding: Binding, expires: Time, now: Time) -> bool {
        self.unbind(id);
        if let Some(client) = self.clients.get_mut(id.0 as usize) {
            (client.address, client.server, client.bound) = (binding.address, binding.server, true);
            self.bound += 1;
        }
        let before = self.holders.insert(binding.address, (id, expires));
        before.is_none_or(|(holder, until)| holder == id || until <= now)
    }

    /// The client has no lease any more.
    pub(super) fn unbind(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id.0 as usize).filter(|client| client.bound) {
            client.bound = false;
            self.bound -= 1;
            if self.holders.get(&client.address).is_some_and(|(holder, _)| *holder == id) {
                self.holders.remove(&client.address);
            }
        }
    }
}
