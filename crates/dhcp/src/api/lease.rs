//! One lease: how it is shown, added, changed and released.

use super::text;
use crate::codec::RelayInfo;
use crate::engine::{Engine, Now};
use crate::lease::{Client, Detail, Details, INFINITE, Lease, State};
use crate::policy::{ClassSet, IdentifierKind, Policy, Reservation};
use outwork_front::api::{Problem, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use std::net::Ipv4Addr;
use utoipa::ToSchema;

/// Ethernet, the hardware type of leases that are added (RFC 1700).
pub(super) const ETHERNET: u8 = 1;

/// What an address is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Bound to its client.
    Active,
    /// Offered, not yet asked for.
    Offered,
    /// In use by a stranger; quarantined.
    Declined,
    /// Given back by its client.
    Released,
    /// Ran out.
    Expired,
}

impl From<State> for LeaseState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Offered => Self::Offered,
            State::Declined => Self::Declined,
            State::Released => Self::Released,
            State::Expired => Self::Expired,
        }
    }
}

/// The relay agent that a lease came through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RelayView {
    /// Its address.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub giaddr: Option<Ipv4Addr>,
    /// Sub-option 1 of option 82: hex, or text in single quotes.
    pub circuit_id: Option<String>,
    /// Sub-option 2 of option 82: hex, or text in single quotes.
    pub remote_id: Option<String>,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeaseView {
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// What it is doing.
    pub state: LeaseState,
    /// Hardware address.
    pub mac: Option<String>,
    /// Option 61 in hex.
    pub client_id: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// The subnet's id.
    pub subnet_id: u32,
    /// When its client was last heard.
    pub starts: Timestamp,
    /// When it ends, or ended; the end of the year 9999 if never.
    pub expires: Timestamp,
    /// The relay agent, if it came through one.
    pub relay: Option<RelayView>,
    /// Option 60.
    pub vendor_class: Option<String>,
    /// Where the client says that a description of it is: option 161 (RFC 8520).
    pub mud_url: Option<String>,
    /// True if the address is reserved.
    pub fixed: bool,
}

/// Option 61, whether it identifies the client or not.
pub(super) fn any_client_id(lease: &Lease) -> Option<&[u8]> {
    lease.any_client_id()
}

/// A lease of an engine as the API shows it.
pub(super) fn view(engine: &Engine, lease: &Lease) -> LeaseView {
    show(lease, engine.reservations().at(lease.address).is_some())
}

/// A lease as the API shows it; `fixed` if its address is reserved.
pub(super) fn show(lease: &Lease, fixed: bool) -> LeaseView {
    let detail = |which| lease.details.get(which);
    let lossy = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let giaddr = detail(Detail::Giaddr).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).map(Ipv4Addr::from);
    let info = detail(Detail::Relay).map(RelayInfo::new);
    let sub_option = |code| info.and_then(|info| info.get(code)).map(text::quoted);
    let relay = (giaddr.is_some() || info.is_some()).then(|| RelayView {
        giaddr,
        circuit_id: sub_option(RelayInfo::CIRCUIT_ID),
        remote_id: sub_option(RelayInfo::REMOTE_ID),
    });
    LeaseView {
        address: lease.address,
        state: lease.state.into(),
        mac: Some(text::colons(lease.hardware())).filter(|mac| !mac.is_empty()),
        client_id: any_client_id(lease).map(text::colons),
        hostname: lease.host_name().map(std::borrow::Cow::into_owned),
        subnet_id: lease.subnet,
        starts: text::moment(lease.starts),
        expires: text::moment(lease.expires),
        relay,
        vendor_class: detail(Detail::VendorClass).map(lossy),
        mud_url: lease.mud_url().map(str::to_owned),
        fixed,
    }
}

/// Who holds a lease, in words.
pub(super) fn holder(lease: &Lease) -> String {
    match (lease.hardware(), any_client_id(lease)) {
        ([], None) => "an unknown client".to_owned(),
        ([], Some(id)) => format!("the client {}", text::quoted(id)),
        (mac, _) => text::colons(mac),
    }
}

/// Whether the reservation is for the client of this lease; `None` if the lease does not tell.
pub(super) fn is_for(reservation: &Reservation, lease: &Lease) -> Option<bool> {
    let relay = || lease.details.get(Detail::Relay).map(RelayInfo::new);
    let known = match reservation.identifier.kind {
        IdentifierKind::Mac => Some(lease.hardware()).filter(|mac| !mac.is_empty()),
        IdentifierKind::ClientId => any_client_id(lease),
        IdentifierKind::CircuitId => relay().and_then(|info| info.get(RelayInfo::CIRCUIT_ID)),
        IdentifierKind::RemoteId => relay().and_then(|info| info.get(RelayInfo::REMOTE_ID)),
        IdentifierKind::Flex => None,
    };
    known.map(|octets| octets == reservation.identifier.bytes)
}

/// A lease to add, for a device that holds its address already.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddLease {
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// Hardware address; this or `client_id` is needed.
    pub mac: Option<String>,
    /// Option 61: hex, or text in single quotes.
    pub client_id: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Seconds; the subnet's lease time if absent, 4294967295 for ever.
    pub lease_time: Option<u32>,
}

/// What to change of a lease. What is absent stays.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeLease {
    /// The host name; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub hostname: Option<Option<String>>,
    /// Seconds from now on, for an active lease; 4294967295 is for ever.
    pub lease_time: Option<u32>,
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The index of the subnet that an address may be leased in.
pub(super) fn leasable(policy: &Policy, address: Ipv4Addr) -> Result<usize, String> {
    let index = policy.subnet_of(address).ok_or_else(|| format!("{address} is in no subnet of the configuration"))?;
    let edge =
        |subnet: &&crate::policy::Subnet| subnet.length < 31 && (address == subnet.first || address == subnet.last);
    match policy.subnets.get(index).filter(edge) {
        Some(subnet) => Err(format!("{address} is the network or broadcast address of {}", subnet.prefix())),
        None => Ok(index),
    }
}

/// The lease time a subnet gives to a client that asks for none.
pub(super) fn usual_time(policy: &Policy, subnet: usize, reservation: Option<&Reservation>) -> u32 {
    let mut classes = ClassSet::default();
    classes.insert(Policy::ALL);
    policy.lease_time(&classes, subnet, reservation, None)
}

/// When a lease of this many seconds ends.
fn end(now: Now, lease_time: u32) -> Result<u32, Problem> {
    match lease_time {
        0 => Err(Problem::invalid("lease_time", "expected at least 1 second")),
        INFINITE => Ok(INFINITE),
        seconds => Ok(now.unix.saturating_add(seconds).min(INFINITE - 1)),
    }
}

/// The fixed-size form of a hardware address of at most 16 octets.
pub(super) fn chaddr(mac: &[u8]) -> [u8; 16] {
    let mut chaddr = [0; 16];
    chaddr.iter_mut().zip(mac).for_each(|(to, from)| *to = *from);
    chaddr
}

/// Which detail keeps option 61: what identifies the client, or what is only shown.
pub(super) fn id_detail(policy: &Policy) -> Detail {
    if policy.rules.match_client_id { Detail::ClientId } else { Detail::ShownId }
}

/// Adds a lease.
///
/// # Errors
/// Names the field that is wrong, or who has the address.
pub(super) fn add(engine: &mut Engine, now: Now, draft: &AddLease) -> Result<LeaseView, Problem> {
    let policy = engine.policy();
    let address = draft.address;
    let subnet = leasable(policy, address).map_err(|error| Problem::invalid("address", error))?;
    let mac = draft.mac.as_deref().map(|mac| text::mac("mac", mac)).transpose()?.unwrap_or_default();
    let id = draft.client_id.as_deref().map(client_id).transpose()?.unwrap_or_default();
    if mac.is_empty() && (id.is_empty() || !policy.rules.match_client_id) {
        return Err(Problem::invalid("mac", "a lease needs the hardware address of its client, or its client_id"));
    }
    if let Some(name) = &draft.hostname {
        text::host_name("hostname", name)?;
    }
    let name = draft.hostname.as_deref().unwrap_or_default().as_bytes();
    let reservation = engine.reservations().at(address);
    let time = draft.lease_time.unwrap_or_else(|| usual_time(policy, subnet, reservation.map(AsRef::as_ref)));
    let lease = Lease {
        address,
        subnet: policy.subnets.get(subnet).map_or(0, |subnet| subnet.id),
        starts: now.unix,
        expires: end(now, time)?,
        state: State::Active,
        htype: ETHERNET,
        hlen: mac.len() as u8,
        due: 0,
        chaddr: chaddr(&mac),
        details: Details::pack([(id_detail(policy), id.as_slice()), (Detail::HostName, name)]),
    };
    may_have(engine, &lease)?;
    engine.put_lease(lease.clone());
    Ok(view(engine, &lease))
}

pub(super) fn client_id(text: &str) -> Result<Vec<u8>, Problem> {
    crate::policy::Identifier::parse(IdentifierKind::ClientId, text).map(|identifier| identifier.bytes).ok_or_else(
        || {
            Problem::invalid(
                "client_id",
                format!("`{text}`; expected 1 to 255 octets in hex, or text in single quotes"),
            )
        },
    )
}

/// Refuses a lease whose address is another's, or whose client has another address on its link.
fn may_have(engine: &Engine, lease: &Lease) -> Result<(), Problem> {
    let address = lease.address;
    let conflict = |key: &str, detail: String| Err(Problem::conflict(Some(key.to_owned()), detail));
    if let Some(reservation) = engine.reservations().at(address)
        && is_for(reservation, lease) == Some(false)
    {
        let client = text::identifier(&reservation.identifier);
        return conflict("address", format!("{address} is reserved for {} {client}", reservation.identifier.kind));
    }
    match engine.leases().at(address).filter(|old| old.state.holds()) {
        Some(old) if old.state == State::Declined => {
            return conflict("address", format!("{address} is quarantined: a stranger uses it; release it first"));
        }
        Some(old) if old.client() != lease.client() => {
            return conflict("address", format!("{address} is leased to {}; release it first", holder(old)));
        }
        _ => {}
    }
    match elsewhere(engine, lease.client(), address) {
        Some(other) => conflict("mac", format!("this client has {other} on the same link; release that first")),
        None => Ok(()),
    }
}

/// The other address that a client holds on the link of this one.
fn elsewhere(engine: &Engine, client: Client<'_>, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let policy = engine.policy();
    let network = |address| policy.subnet_of(address).and_then(|index| policy.subnets.get(index)).map(|s| s.network);
    let mut others = engine.leases().of_client(client).map(|(_, lease)| lease);
    let here = |other: &&Lease| {
        other.address != address && other.state == State::Active && network(other.address) == network(address)
    };
    others.find(here).map(|other| other.address)
}

/// The lease of an address.
///
/// # Errors
/// Not found.
pub(super) fn get(engine: &Engine, address: Ipv4Addr) -> Result<&Lease, Problem> {
    engine.leases().at(address).ok_or_else(|| Problem::not_found(format!("{address} has no lease")))
}

/// Changes a lease.
///
/// # Errors
/// Not found, or the field that is wrong.
pub(super) fn change(
    engine: &mut Engine,
    now: Now,
    address: Ipv4Addr,
    change: &ChangeLease,
) -> Result<LeaseView, Problem> {
    let mut lease = get(engine, address)?.clone();
    if lease.state == State::Offered {
        let detail = format!("{address} is only offered: it can be changed once its client has asked for it");
        return Err(Problem::conflict(None, detail));
    }
    if let Some(name) = &change.hostname {
        let name = name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            text::host_name("hostname", name)?;
        }
        lease.details = renamed(&lease.details, name);
    }
    if let Some(seconds) = change.lease_time {
        if lease.state != State::Active {
            let detail =
                format!("{address} is {}: only an active lease can be made longer or shorter", lease.state.name());
            return Err(Problem::conflict(Some("lease_time".to_owned()), detail));
        }
        (lease.starts, lease.expires) = (now.unix, end(now, seconds)?);
    }
    engine.put_lease(lease.clone());
    Ok(view(engine, &lease))
}

/// The same details with another host name.
fn renamed(details: &Details, name: &str) -> Details {
    use Detail::{ClientId, Giaddr, HostName, MudUrl, Relay, ShownId, VendorClass};
    let kept = [ClientId, ShownId, VendorClass, Relay, Giaddr, MudUrl];
    let kept = kept.into_iter().map(|detail| (detail, details.get(detail).unwrap_or_default()));
    Details::pack(kept.chain([(HostName, name.as_bytes())]))
}

/// Ends a lease.
///
/// # Errors
/// Not found, or nobody holds the address.
pub(super) fn release(engine: &mut Engine, now: Now, address: Ipv4Addr) -> Result<(), Problem> {
    let state = get(engine, address)?.state;
    if engine.release_address(address, now.unix) {
        return Ok(());
    }
    Err(Problem::conflict(None, format!("the lease of {address} has ended already: it is {}", state.name())))
}
