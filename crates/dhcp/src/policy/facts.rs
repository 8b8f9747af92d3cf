//! What a request is by policy alone: the classes it is in and the subnet it is for.

use super::{Policy, Reservation, Subnet};
use crate::codec::{Message, RelayInfo, code};
use crate::expr::{Address, Fields};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A set of classes by index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassSet([u64; 4]);

impl ClassSet {
    /// True if the class is in.
    pub fn contains(&self, class: usize) -> bool {
        self.0.get(class / 64).is_some_and(|word| word & (1 << (class % 64)) != 0)
    }

    /// Puts a class in.
    pub fn insert(&mut self, class: usize) {
        if let Some(word) = self.0.get_mut(class / 64) {
            *word |= 1 << (class % 64);
        }
    }

    /// True if no class is in.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// True if some class is in both.
    pub fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    /// Classes in either.
    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }
}

/// How a datagram reached us.
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// Name of the interface it came in on.
    pub interface: &'a str,
    /// Our address there: the server identifier unless a relay agent overrides it.
    pub server: Ipv4Addr,
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Where it was sent to.
    pub destination: Ipv4Addr,
    /// True if the client is on our link, seen through a packet socket.
    pub link: bool,
}

/// A decoded message and how it came.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The message.
    pub message: Message<'a>,
    /// How it came.
    pub via: Via<'a>,
}

/// What of a request says which link its client is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locator<'a> {
    /// An address of the link, by link selection (RFC 3527) or subnet selection (RFC 3011).
    Selected(Ipv4Addr),
    /// The relay agent that passed it on.
    Relay(Ipv4Addr),
    /// The address that the client has.
    Client(Ipv4Addr),
    /// The interface it came in on, and our address there.
    Interface(&'a str, Ipv4Addr),
}

impl<'a> Request<'a> {
    /// Which link its client is on: link selection (RFC 3527), subnet selection (RFC 3011), the relay agent, the address
    /// a client renews, the interface.
    pub fn locator(&self) -> Locator<'a> {
        let message = &self.message;
        let chosen = message.relay().and_then(|r| r.address(RelayInfo::LINK_SELECTION));
        if let Some(link) = chosen.or_else(|| message.address_option(code::SUBNET_SELECTION)) {
            return Locator::Selected(link);
        }
        if !message.giaddr().is_unspecified() {
            return Locator::Relay(message.giaddr());
        }
        if (!self.via.link || self.is_unicast()) && !message.ciaddr().is_unspecified() {
            return Locator::Client(message.ciaddr());
        }
        Locator::Interface(self.via.interface, self.via.server)
    }

    /// True if the client itself sent it to our own address: it is bound, and renews, releases or informs (RFC 2131
    /// section 4.4.4). Whichever socket heard it, its link is where its address is.
    pub fn is_unicast(&self) -> bool {
        self.message.giaddr().is_unspecified() && self.via.destination == self.via.server
    }
}

/// Why policy alone refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Refusal {
    NoSubnet,
    NotAdmitted,
}

/// What policy says of a request before any lease is looked at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Index of the subnet selected.
    pub subnet: usize,
    /// Classes so far; those that need the reservation come later.
    pub classes: ClassSet,
    /// The flex identifier's value.
    pub flex: Option<Vec<u8>>,
    /// What the reply calls us: option 54.
    pub server_id: Ipv4Addr,
}

struct View<'a> {
    request: &'a Request<'a>,
    policy: &'a Policy,
    classes: &'a ClassSet,
}

impl Fields for View<'_> {
    fn option(&self, code: u8) -> Option<&[u8]> {
        self.request.message.option(code)
    }

    fn mac(&self) -> &[u8] {
        self.request.message.chaddr()
    }

    fn htype(&self) -> u8 {
        self.request.message.htype()
    }

    fn address(&self, field: Address) -> Ipv4Addr {
        let message = &self.request.message;
        match field {
            Address::Client => message.ciaddr(),
            Address::Your => message.yiaddr(),
            Address::NextServer => message.siaddr(),
            Address::Relay => message.giaddr(),
            Address::Source => *self.request.via.source.ip(),
            Address::Destination => self.request.via.destination,
        }
    }

    fn message_type(&self) -> u8 {
        self.request.message.kind() as u8
    }

    fn secs(&self) -> u16 {
        self.request.message.secs()
    }

    fn hops(&self) -> u8 {
        self.request.message.hops()
    }

    fn transaction_id(&self) -> u32 {
        u32::from_be_bytes(self.request.message.xid())
    }

    fn interface(&self) -> &str {
        self.request.via.interface
    }

    fn length(&self) -> usize {
        self.request.message.bytes().len()
    }

    fn relay_suboption(&self, code: u8) -> Option<&[u8]> {
        self.policy.relay_info(&self.request.message)?.get(code)
    }

    fn member(&self, class: &str) -> bool {
        if let Some(index) = self.policy.classes.iter().position(|c| c.name == class) {
            return self.classes.contains(index);
        }
        // Kea's built-in class of a vendor: VENDOR_CLASS_ and the text of option 60.
        let vendor = class.strip_prefix(Policy::VENDOR_CLASS).map(str::as_bytes);
        vendor.is_some() && vendor == self.request.message.option(code::VENDOR_CLASS)
    }
}

impl Policy {
    /// Evaluates the request against classes and subnets.
    ///
    /// # Errors
    /// [`Refusal`] if no subnet is for it; the caller counts it and stays silent.
    pub fn facts(&self, request: &Request<'_>) -> Result<Facts, Refusal> {
        let mut classes = ClassSet::default();
        classes.insert(Self::ALL);
        self.classify(request, &mut classes, |class| !class.late && !class.only_if_required);
        let subnet = self.select(request).ok_or(Refusal::NoSubnet)?;
        let flex = self.flex.as_ref().and_then(|flex| {
            flex.identify(&View { request, policy: self, classes: &classes }).map(std::borrow::Cow::into_owned)
        });
        let relay = request.message.relay();
        let server_id = relay.and_then(|r| r.address(RelayInfo::SERVER_ID_OVERRIDE)).unwrap_or(request.via.server);
        Ok(Facts { subnet, classes, flex, server_id })
    }

    /// Option 82 as far as it says who the client is: of a relay agent, or where the configuration says that switches
    /// put it in on our own links. Anybody could have written any other.
    pub fn relay_info<'m>(&self, message: &'m Message<'_>) -> Option<RelayInfo<'m>> {
        let on_link = || message.option(code::RELAY_AGENT).filter(|_| self.rules.link_relay_info).map(RelayInfo::new);
        message.relay().or_else(on_link)
    }

    /// Adds the classes that `which` chooses and whose test holds, in order, so that a test may ask for earlier ones.
    fn classify(&self, request: &Request<'_>, classes: &mut ClassSet, which: impl Fn(&super::Class) -> bool) {
        for (index, class) in self.classes.iter().enumerate() {
            if let Some(test) = &class.test
                && which(class)
                && test.holds(&View { request, policy: self, classes })
            {
                classes.insert(index);
            }
        }
    }

    /// The classes of a client once its reservation is known, or that it has none. Those that the reservation puts it in
    /// count for every test, so that tests are made anew then.
    pub fn classes_of(&self, request: &Request<'_>, facts: &Facts, reservation: Option<&Reservation>) -> ClassSet {
        let mut classes = facts.classes;
        let reserved = reservation.map(|reservation| reservation.classes).filter(|reserved| !reserved.is_empty());
        if let Some(reserved) = reserved {
            classes = reserved;
            classes.insert(Self::ALL);
        }
        classes.insert(if reservation.is_some() { Self::KNOWN } else { Self::UNKNOWN });
        self.classify(request, &mut classes, |class| (class.late || reserved.is_some()) && !class.only_if_required);
        classes
    }

    /// Adds the classes that a subnet or pool requires.
    pub fn classify_required(&self, request: &Request<'_>, required: &ClassSet, classes: &mut ClassSet) {
        if required.is_empty() {
            return;
        }
        for (index, class) in self.classes.iter().enumerate() {
            if !required.contains(index) || classes.contains(index) {
                continue;
            }
            if class.test.as_ref().is_none_or(|test| test.holds(&View { request, policy: self, classes })) {
                classes.insert(index);
            }
        }
    }

    /// The subnet a request is for.
    fn select(&self, request: &Request<'_>) -> Option<usize> {
        match request.locator() {
            Locator::Selected(address) | Locator::Client(address) => self.subnet_of(address),
            Locator::Relay(giaddr) => self.by_relay(giaddr).or_else(|| self.subnet_of(giaddr)),
            Locator::Interface(name, server) => self.by_interface(name).or_else(|| self.subnet_of(server)),
        }
    }

    fn by_relay(&self, giaddr: Ipv4Addr) -> Option<usize> {
        self.relays.get(&giaddr).copied()
    }

    fn by_interface(&self, name: &str) -> Option<usize> {
        let named = |interface: &Option<String>| interface.as_deref() == Some(name);
        let of_subnet = self.subnets.iter().position(|subnet: &Subnet| named(&subnet.interface));
        of_subnet.or_else(|| self.networks.iter().find(|n| named(&n.interface))?.subnets.first().copied())
    }
}
