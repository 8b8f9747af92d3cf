//! Reservations: which client gets which address, found by any identifier, changed live.

use super::{ClassSet, Scope};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What a reservation may know its client by, in the order tried by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentifierKind {
    /// Hardware address.
    Mac,
    /// Option 61.
    ClientId,
    /// Sub-option 1 of option 82.
    CircuitId,
    /// Sub-option 2 of option 82.
    RemoteId,
    /// The value of `flex_identifier`.
    Flex,
}

impl IdentifierKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Mac, Self::ClientId, Self::CircuitId, Self::RemoteId, Self::Flex];

    /// Why no client can be known by it; `flex`: there is a `flex_identifier`.
    pub fn unknowable(self, flex: bool) -> Option<&'static str> {
        (self == Self::Flex && !flex)
            .then_some("no client is found by flex: there is no expression for it; set dhcp.flex_identifier first")
    }

    /// The key it has in the file and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mac => "mac",
            Self::ClientId => "client_id",
            Self::CircuitId => "circuit_id",
            Self::RemoteId => "remote_id",
            Self::Flex => "flex",
        }
    }
}

/// A client, as a reservation knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identifier {
    /// What the bytes are.
    pub kind: IdentifierKind,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One reservation.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Stable id. Those of the file have the top bit set, so they can't meet those of the API.
    pub id: u64,
    /// Subnet id. `None`: wherever its client is; what a subnet reserves for it comes first.
    pub subnet: Option<u32>,
    /// The client.
    pub identifier: Identifier,
    /// Its address; without one it only gets what the scope says.
    pub address: Option<Ipv4Addr>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Classes it is in besides those its packets say.
    pub classes: ClassSet,
    /// What it gets.
    pub scope: Scope,
}

impl Reservation {
    /// Marks ids of reservations that come from the file.
    pub const FROM_FILE: u64 = 1 << 63;

    /// Bytes of memory that it takes, the copy of its client's identifier in the index included.
    pub fn memory(&self) -> usize {
        let boot = &self.scope.boot;
        let texts = [&self.hostname, &boot.server_hostname, &boot.file].into_iter().flatten().map(String::capacity);
        // It stands behind two counts.
        size_of::<Self>()
            + 2 * size_of::<usize>()
            + 2 * self.identifier.bytes.capacity()
            + texts.sum::<usize>()
            + self.scope.options.memory()
    }

    /// True if the file made it, so that only the file can change it.
    pub fn from_file(&self) -> bool {
        self.id & Self::FROM_FILE != 0
    }
}

/// Why a reservation can't be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Clash {
    #[error("{0} is already reserved for another client")]
    Address(Ipv4Addr),
    #[error("this client already has a reservation in subnet {0}")]
    Client(u32),
    #[error("this client already has a reservation outside of subnets")]
    Anywhere,
    #[error("the table of reservations is full ({0})")]
    Full(usize),
}

/// All reservations in force, by id, by client and by address.
#[derive(Debug, Default)]
pub struct Reservations {
    by_id: BTreeMap<u64, Arc<Reservation>>,
    by_client: HashMap<Key, Arc<Reservation>, foldhash::quality::FixedState>,
    by_address: HashMap<Ipv4Addr, Arc<Reservation>, foldhash::quality::FixedState>,
    /// How many each subnet has.
    counts: BTreeMap<u32, usize>,
}

/// The client of a reservation, in its subnet.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    subnet: Option<u32>,
    kind: IdentifierKind,
    bytes: Vec<u8>,
}

/// A [`Key`] to look up; its hash is the same.
#[derive(Hash)]
struct Asked<'a> {
    subnet: Option<u32>,
    kind: IdentifierKind,
    bytes: &'a [u8],
}

impl hashbrown::Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.subnet == key.subnet && self.kind == key.kind && self.bytes == key.bytes
    }
}

impl<'a> Asked<'a> {
    fn of(reservation: &'a Reservation) -> Self {
        let Identifier { kind, bytes } = &reservation.identifier;
        Self { subnet: reservation.subnet, kind: *kind, bytes }
    }

    fn key(&self) -> Key {
        Key { subnet: self.subnet, kind: self.kind, bytes: self.bytes.to_vec() }
    }
}

impl Reservations {
    /// The most reservations held.
    pub const LIMIT: usize = 4_000_000;

    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Bytes of memory of the indices; [`Reservation::memory`] tells of what stands in them.
    pub fn memory(&self) -> usize {
        let by_id = self.by_id.len() * 2 * size_of::<(u64, Arc<Reservation>)>();
        by_id + self.by_client.allocation_size() + self.by_address.allocation_size()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`Clash`] if its client or its address has one already.
    pub fn insert(&mut self, reservation: Arc<Reservation>) -> Result<(), Clash> {
        let client = Asked::of(&reservation);
        if self.by_client.get(&client).is_some_and(|other| other.id != reservation.id) {
            return Err(reservation.subnet.map_or(Clash::Anywhere, Clash::Client));
        }
        if let Some(address) = reservation.address
            && self.by_address.get(&address).is_some_and(|other| other.id != reservation.id)
        {
            return Err(Clash::Address(address));
        }
        if self.by_id.len() >= Self::LIMIT && !self.by_id.contains_key(&reservation.id) {
            return Err(Clash::Full(Self::LIMIT));
        }
        let key = client.key();
        self.remove(reservation.id);
        if let Some(address) = reservation.address {
            self.by_address.insert(address, Arc::clone(&reservation));
        }
        if let Some(subnet) = reservation.subnet {
            *self.counts.entry(subnet).or_default() += 1;
        }
        self.by_client.insert(key, Arc::clone(&reservation));
        self.by_id.insert(reservation.id, reservation);
        Ok(())
    }

    /// Takes one out.
    pub fn remove(&mut self, id: u64) -> Option<Arc<Reservation>> {
        let old = self.by_id.remove(&id)?;
        self.by_client.remove(&Asked::of(&old));
        if let Some(address) = old.address {
            self.by_address.remove(&address);
        }
        if let Some(subnet) = old.subnet
            && let Some(count) = self.counts.get_mut(&subnet)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&subnet);
            }
        }
        Some(old)
    }

    /// One by id.
    pub fn get(&self, id: u64) -> Option<&Arc<Reservation>> {
        self.by_id.get(&id)
    }

    /// Who an address is reserved for.
    pub fn at(&self, address: Ipv4Addr) -> Option<&Arc<Reservation>> {
        if self.by_address.is_empty() { None } else { self.by_address.get(&address) }
    }

    /// The reservation of a client in a subnet, or outside of subnets.
    pub fn of(&self, subnet: Option<u32>, kind: IdentifierKind, bytes: &[u8]) -> Option<&Arc<Reservation>> {
        self.by_client.get(&Asked { subnet, kind, bytes })
    }

    /// Every reserved address.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.by_address.keys().copied()
    }

    /// How many a subnet has.
    pub fn in_subnet(&self, subnet: u32) -> usize {
        self.counts.get(&subnet).copied().unwrap_or(0)
    }

    /// Those from an id on, ascending by id.
    pub fn from_id(&self, id: u64) -> impl Iterator<Item = &Arc<Reservation>> {
        self.by_id.range(id..).map(|(_, reservation)| reservation)
    }

    /// The highest id that the API gave, 0 if it gave none.
    pub fn last_id(&self) -> u64 {
        self.by_id.range(..Reservation::FROM_FILE).next_back().map_or(0, |(id, _)| *id)
    }

    /// All of them, ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.by_id.values()
    }
}

impl std::fmt::Display for IdentifierKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no kind of identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such kind of identifier; there are mac, client_id, circuit_id, remote_id and flex")]
pub struct NoSuchKind;

impl std::str::FromStr for IdentifierKind {
    type Err = NoSuchKind;

    fn from_str(text: &str) -> Result<Self, NoSuchKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(NoSuchKind)
    }
}

impl Identifier {
    /// Reads an identifier as the file and the API write it: a hardware address in hex, also in groups of four digits parted
    /// by `.`; for the other kinds text (in
    /// single quotes if it would read as hex), or hex as `hex:0102ab` or in pairs parted by `:`.
    pub fn parse(kind: IdentifierKind, text: &str) -> Option<Self> {
        let hex = |text: &str| crate::options::parse_hex(text);
        let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        let bytes = match (kind, text.strip_prefix("hex:"), quoted) {
            (IdentifierKind::Mac, _, _) => {
                let grouped = text.contains('.') && text.split('.').all(|group| group.len() == 4);
                let octets = if grouped { hex(&text.replace('.', "")) } else { hex(text) };
                octets.filter(|octets| octets.len() <= 16)?
            }
            (_, Some(digits), _) => hex(digits)?,
            (_, _, Some(quoted)) => quoted.as_bytes().to_vec(),
            _ if text.contains(':') => hex(text).unwrap_or_else(|| text.as_bytes().to_vec()),
            _ => text.as_bytes().to_vec(),
        };
        (!bytes.is_empty() && bytes.len() <= 255).then_some(Self { kind, bytes })
    }
}
