//! Reservations as JSON: how the API takes and shows them, and how those made through it are kept in the log.

use super::lease::{holder, is_for, leasable};
use super::text;
use crate::engine::{Engine, Now};
use crate::options::{OptionSet, OptionTable, Value};
use crate::policy::{
    Boot, Breach, Clash, ClassSet, Identifier, IdentifierKind, Policy, Reservation, Scope, Subnet, Times,
};
use crate::server::Service;
use outwork_front::api::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use utoipa::ToSchema;

/// Octets that a reservation may have in the log.
const MAX_JSON: usize = 16 * 1024;
/// How ids of the file's reservations begin, before their place in the file.
const OF_FILE: &str = "config-";

/// What a client is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Hardware address.
    Mac,
    /// Option 61.
    ClientId,
    /// Sub-option 1 of option 82.
    CircuitId,
    /// Sub-option 2 of option 82.
    RemoteId,
    /// The value of `dhcp.flex_identifier`.
    Flex,
}

impl From<IdentifierKind> for Kind {
    fn from(kind: IdentifierKind) -> Self {
        match kind {
            IdentifierKind::Mac => Self::Mac,
            IdentifierKind::ClientId => Self::ClientId,
            IdentifierKind::CircuitId => Self::CircuitId,
            IdentifierKind::RemoteId => Self::RemoteId,
            IdentifierKind::Flex => Self::Flex,
        }
    }
}

impl From<Kind> for IdentifierKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Mac => Self::Mac,
            Kind::ClientId => Self::ClientId,
            Kind::CircuitId => Self::CircuitId,
            Kind::RemoteId => Self::RemoteId,
            Kind::Flex => Self::Flex,
        }
    }
}

/// Who a reservation is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentifierBody {
    /// What the value is.
    pub kind: Kind,
    /// A hardware address, or for the other kinds hex such as `01:52:54`, or text in single quotes.
    pub value: String,
}

/// A reservation as it is sent, and as it is kept in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservationBody {
    /// The subnet's id. Without one it holds wherever its client is, unless the subnet has a reservation for it; an address
    /// counts only where it fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<u32>,
    /// Who it is for.
    pub identifier: IdentifierBody,
    /// The address; without one the client gets one from a pool, and what else is said here.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub address: Option<Ipv4Addr>,
    /// Host name.
    pub hostname: Option<String>,
    /// Options by name or code, as in the configuration file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub options: OptionTable,
    /// Classes it is in, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// `siaddr`: where to boot from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub next_server: Option<Ipv4Addr>,
    /// `sname`: the boot server's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_hostname: Option<String>,
    /// `file`: what to boot. With an HTTP URI here or in option 67, clients that boot over HTTP are told so in option 60 too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_file: Option<String>,
    /// How long its leases last, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_time_seconds: Option<u32>,
    /// The least it may ask for, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lease_time_seconds: Option<u32>,
    /// The most it may ask for, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lease_time_seconds: Option<u32>,
    /// T1: when it begins to renew, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_time_seconds: Option<u32>,
    /// T2: when it begins to ask any server, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebind_time_seconds: Option<u32>,
}

/// Where a reservation was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// In the configuration file.
    Config,
    /// Through the API.
    Api,
}

/// A reservation.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReservationView {
    /// Its id.
    pub id: String,
    /// What it says.
    #[serde(flatten)]
    pub body: ReservationBody,
    /// Where it was made, and so where it can be changed.
    pub source: Origin,
    /// In the answer to a change: what to know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A page of reservations: those made through the API by age, then those of the file.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReservationPage {
    /// The reservations.
    pub items: Vec<ReservationView>,
    /// `after` of the next page; null on the last one.
    pub next: Option<String>,
    /// How many there are, on all pages.
    pub total: usize,
}

/// Something in a reservation that does not fit the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct Unfit {
    /// The field.
    pub key: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Unfit {
    fn new(key: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { key: key.into(), detail: detail.into() }
    }

    fn from_breach(key: impl Into<String>, breach: &Breach) -> Self {
        let help = breach.help.map_or(String::new(), |help| format!("; {help}"));
        Self::new(key, format!("{}; expected {}{help}", breach.found, breach.expected))
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        Self::invalid(unfit.key, unfit.detail)
    }
}

/// A reservation that was read, and what of it the configuration no longer knows: options and classes by name.
pub type Read = (Reservation, Vec<Unfit>);

/// Reads a reservation as the log keeps it. What it says by names that the configuration does not have is left out and
/// reported; its client and address count without that.
///
/// # Errors
/// [`Unfit`] if it can't be read, its subnet is gone or its address has left the subnet.
pub fn from_json(policy: &Policy, id: u64, json: &[u8]) -> Result<Read, Unfit> {
    let body: ReservationBody = serde_json::from_slice(json).map_err(|error| Unfit::new("", error.to_string()))?;
    compile(policy, id, &body)
}

/// A reservation as the API shows it.
pub fn to_json(policy: &Policy, reservation: &Reservation) -> ReservationView {
    let Scope { options, times, boot } = &reservation.scope;
    let named = policy.classes.iter().enumerate().filter(|(index, _)| reservation.classes.contains(*index));
    ReservationView {
        id: id_text(reservation.id),
        body: ReservationBody {
            subnet_id: reservation.subnet,
            identifier: IdentifierBody {
                kind: reservation.identifier.kind.into(),
                value: text::identifier(&reservation.identifier),
            },
            address: reservation.address,
            hostname: reservation.hostname.clone(),
            options: option_table(policy, options),
            classes: named.map(|(_, class)| class.name.clone()).collect(),
            next_server: boot.next_server,
            server_hostname: boot.server_hostname.clone(),
            boot_file: boot.file.clone(),
            lease_time_seconds: times.lease,
            min_lease_time_seconds: times.min,
            max_lease_time_seconds: times.max,
            renew_time_seconds: times.renew,
            rebind_time_seconds: times.rebind,
        },
        source: if reservation.from_file() { Origin::Config } else { Origin::Api },
        warning: None,
    }
}

fn option_table(policy: &Policy, options: &OptionSet) -> OptionTable {
    let flag = |name: &str| (name.to_owned(), Value::Bool(true));
    let mut table = OptionTable::new();
    for code in options.never().iter() {
        table.insert(policy.definitions.name_of(code).into_owned(), Value::Table([flag("never_send")].into()));
    }
    for code in options.codes().union(&options.always()).iter() {
        let value = options.get(code).map(|data| policy.definitions.decode(code, data));
        let value = match (options.always().contains(code), value) {
            (false, Some(value)) => value,
            (_, value) => {
                let value = value.map(|value| ("value".to_owned(), value));
                Value::Table(value.into_iter().chain([flag("always_send")]).collect())
            }
        };
        table.insert(policy.definitions.name_of(code).into_owned(), value);
    }
    table
}

fn compile(policy: &Policy, id: u64, body: &ReservationBody) -> Result<Read, Unfit> {
    let find = |id| {
        let found = policy.subnet_by_id(id).and_then(|index| policy.subnets.get(index));
        found.ok_or_else(|| Unfit::new("subnet_id", format!("there is no subnet {id}")))
    };
    let subnet = body.subnet_id.map(find).transpose()?;
    let kind = IdentifierKind::from(body.identifier.kind);
    if let Some(why) = kind.unknowable(policy.flex.is_some()) {
        return Err(Unfit::new("identifier.kind", why));
    }
    let identifier = Identifier::parse(kind, body.identifier.value.trim()).ok_or_else(|| {
        let expected = match kind {
            IdentifierKind::Mac => "a hardware address such as 52:54:00:12:34:56",
            _ => "1 to 255 octets in hex such as 01:52:54, or text in single quotes",
        };
        Unfit::new("identifier.value", format!("`{}`; expected {expected}", body.identifier.value))
    })?;
    if let Some(address) = body.address {
        leasable(policy, address).map_err(|error| Unfit::new("address", error))?;
        if let Some(subnet) = subnet.filter(|subnet| !subnet.contains(address)) {
            return Err(Unfit::new("address", format!("{address} is not in {}", subnet.prefix())));
        }
    }
    if let Some(name) = &body.hostname {
        text::host_name("hostname", name).map_err(|problem| Unfit::new("hostname", problem.detail))?;
    }
    let boot = Boot {
        next_server: body.next_server,
        server_hostname: body.server_hostname.clone(),
        file: body.boot_file.clone(),
    };
    if let Some(breach) = boot.breaches().into_iter().next() {
        return Err(Unfit::from_breach(breach.key, &breach));
    }
    let mut unfit = Vec::new();
    let classes = class_set(policy, &body.classes, &mut unfit);
    let scope = Scope {
        options: option_set(policy, &body.options, &mut unfit),
        times: times(policy, subnet, body, &mut unfit),
        boot,
    };
    let (subnet, address, hostname) = (body.subnet_id, body.address, body.hostname.clone());
    Ok((Reservation { id, subnet, identifier, address, hostname, classes, scope }, unfit))
}

/// What was sent of times, if they agree with each other and with what they inherit; else none of them.
fn times(policy: &Policy, subnet: Option<&Subnet>, body: &ReservationBody, unfit: &mut Vec<Unfit>) -> Times {
    let own = Times {
        lease: body.lease_time_seconds,
        min: body.min_lease_time_seconds,
        max: body.max_lease_time_seconds,
        renew: body.renew_time_seconds,
        rebind: body.rebind_time_seconds,
        offer: None,
    };
    let named = [
        ("lease_time", own.lease),
        ("min_lease_time", own.min),
        ("max_lease_time", own.max),
        ("renew_time", own.renew),
        ("rebind_time", own.rebind),
    ];
    let before = unfit.len();
    let zeros = named.iter().filter(|(_, time)| *time == Some(0));
    unfit.extend(zeros.map(|(key, _)| Unfit::new(format!("{key}_seconds"), "expected at least 1 second")));
    let breaches = own.breaches(policy.times_in(subnet));
    unfit.extend(breaches.iter().map(|breach| Unfit::from_breach(format!("{}_seconds", breach.key), breach)));
    if unfit.len() == before { own } else { Times::default() }
}

fn class_set(policy: &Policy, names: &[String], unfit: &mut Vec<Unfit>) -> ClassSet {
    let mut classes = ClassSet::default();
    for (index, name) in names.iter().enumerate() {
        match policy.classes.iter().position(|class| class.name == *name) {
            Some(class) => classes.insert(class),
            None => {
                let detail = format!("there is no class `{name}`; define it with [[dhcp.class]]");
                unfit.push(Unfit::new(format!("classes[{index}]"), detail));
            }
        }
    }
    classes
}

fn option_set(policy: &Policy, table: &OptionTable, unfit: &mut Vec<Unfit>) -> OptionSet {
    let compile =
        |table: &OptionTable| policy.definitions.compile(table.iter().map(|(key, value)| (key.as_str(), value)));
    let errors = match compile(table) {
        Ok(set) => return set,
        Err(errors) => errors,
    };
    let wrong = |key: &String| errors.iter().any(|error| error.option() == key);
    let rest: OptionTable =
        table.iter().filter(|(key, _)| !wrong(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    unfit.extend(errors.iter().map(|error| Unfit::new(format!("options.{}", error.option()), error.to_string())));
    compile(&rest).unwrap_or_default()
}

/// Puts a configuration in force, at the start and at a reload, together with the reservations of the log as they are under
/// it: it may have changed what their options and classes mean. What does not fit is logged and stays in the log, for a
/// configuration that it fits again. Returns how many are in force.
pub fn adopt(service: &Service, policy: Arc<Policy>) -> usize {
    let (in_force, clashes) = service.adopt(policy, |policy, id, json| match from_json(policy, id, json) {
        Ok((reservation, unfit)) => {
            for fault in unfit {
                tracing::warn!(reservation = id, %fault, "left out of a reservation: the configuration lacks it");
            }
            Some(reservation)
        }
        Err(fault) => {
            tracing::warn!(reservation = id, %fault, "a reservation does not fit the configuration");
            None
        }
    });
    for (id, clash) in clashes {
        tracing::warn!(reservation = id, %clash, "a reservation of the API gives way to one of the file");
    }
    in_force
}

fn id_text(id: u64) -> String {
    match id & Reservation::FROM_FILE {
        0 => id.to_string(),
        _ => format!("{OF_FILE}{}", id & !Reservation::FROM_FILE),
    }
}

/// Reads an id as the API writes it.
///
/// # Errors
/// Not found: no id looks like that.
pub(super) fn parse_id(text: &str) -> Result<u64, Problem> {
    let (mark, digits) = match text.strip_prefix(OF_FILE) {
        Some(digits) => (Reservation::FROM_FILE, digits),
        None => (0, text),
    };
    let id = digits.parse::<u64>().ok().filter(|id| id & Reservation::FROM_FILE == 0);
    id.map(|id| id | mark).ok_or_else(|| absent(text))
}

fn absent(id: &str) -> Problem {
    Problem::not_found(format!("there is no reservation {id}"))
}

/// One reservation.
///
/// # Errors
/// Not found.
pub(super) fn get(engine: &Engine, id: u64) -> Result<&Arc<Reservation>, Problem> {
    engine.reservations().get(id).ok_or_else(|| absent(&id_text(id)))
}

/// One that the API may change.
fn own(engine: &Engine, id: u64) -> Result<Arc<Reservation>, Problem> {
    let found = get(engine, id)?;
    if !found.from_file() {
        return Ok(Arc::clone(found));
    }
    let what = text::identifier(&found.identifier);
    let detail = format!(
        "the reservation of {what} {} is set in the configuration file: change it there and reload",
        place(found.subnet)
    );
    Err(Problem::conflict(Some("id".to_owned()), detail))
}

/// Reservations from an id on, at most `count`.
pub(super) fn page(engine: &Engine, from: u64, count: usize) -> Vec<Arc<Reservation>> {
    engine.reservations().from_id(from).take(count).cloned().collect()
}

/// Reads what was sent; everything in it has to fit.
fn accept(engine: &Engine, id: u64, body: &ReservationBody) -> Result<(Reservation, Vec<u8>), Problem> {
    let (reservation, unfit) = compile(engine.policy(), id, body)?;
    if let Some(unfit) = unfit.into_iter().next() {
        return Err(unfit.into());
    }
    let json = serde_json::to_vec(body).map_err(Problem::internal)?;
    if json.len() > MAX_JSON {
        return Err(Problem::too_large(format!("a reservation may have {MAX_JSON} octets; this has {}", json.len())));
    }
    Ok((reservation, json))
}

/// Where a reservation holds, for people.
pub(super) fn place(subnet: Option<u32>) -> String {
    subnet.map_or("in any subnet".to_owned(), |id| format!("in subnet {id}"))
}

fn clashes(clash: &Clash) -> Problem {
    match clash {
        Clash::Address(_) => Problem::conflict(Some("address".to_owned()), clash),
        Clash::Client(_) | Clash::Anywhere => Problem::conflict(Some("identifier".to_owned()), clash),
        Clash::Full(_) => Problem::conflict(None, clash),
    }
}

/// Says who else has the address now.
fn warning(engine: &Engine, reservation: &Reservation) -> Option<String> {
    let address = reservation.address?;
    let lease = engine.leases().at(address).filter(|lease| lease.state.holds())?;
    let until = text::moment(lease.expires);
    match is_for(reservation, lease) {
        Some(true) => None,
        Some(false) => Some(format!(
            "{address} is {} to {} until {until}: that client is moved to another address when it renews",
            lease.state.name(),
            holder(lease)
        )),
        None => Some(format!(
            "{address} is {} to {} until {until}: if that is another client, it is moved when it renews",
            lease.state.name(),
            holder(lease)
        )),
    }
}

fn shown(engine: &Engine, reservation: &Reservation) -> ReservationView {
    ReservationView { warning: warning(engine, reservation), ..to_json(engine.policy(), reservation) }
}

/// Adds a reservation.
///
/// # Errors
/// Names the field that is wrong or taken.
pub(super) fn add(engine: &mut Engine, now: Now, body: &ReservationBody) -> Result<ReservationView, Problem> {
    // By time, so that the id of one that is gone, or waits in the log for a configuration it fits, is not given again.
    let id = now.millis.max(engine.reservations().last_id() + 1);
    let (reservation, json) = accept(engine, id, body)?;
    engine.reserve(reservation.clone(), &json).map_err(|clash| clashes(&clash))?;
    Ok(shown(engine, &reservation))
}

/// Replaces a reservation.
///
/// # Errors
/// Not found, set in the file, or the field that is wrong or taken.
pub(super) fn replace(engine: &mut Engine, id: u64, body: &ReservationBody) -> Result<ReservationView, Problem> {
    let old = own(engine, id)?;
    let (reservation, json) = accept(engine, id, body)?;
    free(engine, &old, &reservation)?;
    // Taken out first, so that an address it lets go of can be handed out again.
    engine.unreserve(id);
    engine.reserve(reservation.clone(), &json).map_err(|clash| clashes(&clash))?;
    Ok(shown(engine, &reservation))
}

/// Refuses a replacement whose client or address is reserved by a third.
fn free(engine: &Engine, old: &Reservation, new: &Reservation) -> Result<(), Problem> {
    let all = engine.reservations();
    let other = |found: Option<&Arc<Reservation>>| found.is_some_and(|found| found.id != old.id);
    if other(all.of(new.subnet, new.identifier.kind, &new.identifier.bytes)) {
        return Err(clashes(&new.subnet.map_or(Clash::Anywhere, Clash::Client)));
    }
    match new.address.filter(|address| other(all.at(*address))) {
        Some(address) => Err(clashes(&Clash::Address(address))),
        None => Ok(()),
    }
}

/// Takes a reservation out. `stored`: the log has it, though it may be in force nowhere.
///
/// # Errors
/// Not found, or set in the file.
pub(super) fn remove(engine: &mut Engine, id: u64, stored: bool) -> Result<(), Problem> {
    if !stored {
        own(engine, id)?;
    }
    engine.discard_reservation(id);
    Ok(())
}
