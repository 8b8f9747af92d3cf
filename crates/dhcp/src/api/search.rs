//! Lists of leases: by subnet, state, whole address, hardware address, client identifier or host name, and text in any of these.
//!
//! An address and identifiers are looked up in the table's indexes. All else, a host name included, is a walk over the table in slices, the
//! engine let go between them, so that a list of a million leases holds no packet up.

use super::lease::{ETHERNET, LeaseState, LeaseView, any_client_id, client_id, show};
use super::text;
use crate::engine::Engine;
use crate::lease::{Client, Lease, Table};
use outwork_front::api::{PageQuery, Problem};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::net::Ipv4Addr;
use utoipa::{IntoParams, ToSchema};

/// Leases looked at in one hold of the engine.
const SLICE: usize = 2048;
/// Octets of a text that is searched for.
const MAX_TEXT: usize = 255;
/// Octets from which on a text in hex is looked up as a hardware address or client identifier.
const LOOKED_UP: usize = 4;
/// Leases that one identifier may have and be found by the indexes.
const MAX_EXACT: usize = 10_000;

/// Which leases are wanted.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// An address, hardware address, client identifier or host name, or a part of one.
    pub q: Option<String>,
    /// The address.
    #[param(value_type = Option<String>)]
    pub address: Option<Ipv4Addr>,
    /// The hardware address, whole.
    pub mac: Option<String>,
    /// The client identifier (option 61), whole: hex, as `hex:0152` or `01:52`, or text in single quotes.
    pub client_id: Option<String>,
    /// The host name, whole, in capitals or not.
    pub hostname: Option<String>,
    /// Subnet id.
    pub subnet: Option<u32>,
    /// State.
    pub state: Option<LeaseState>,
    /// `next` of the page before; absent for the first page.
    #[param(value_type = Option<String>)]
    pub after: Option<Ipv4Addr>,
    /// Leases a page: 100 when absent, 1000 at most.
    pub limit: Option<usize>,
}

/// A page of leases, ascending by address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeasePage {
    /// The leases.
    pub items: Vec<LeaseView>,
    /// `after` of the next page; null on the last one.
    pub next: Option<String>,
    /// How many match, on all pages.
    pub total: usize,
}

/// Text to be found, in the notations that its places have.
#[derive(Debug)]
struct Needle {
    /// In lower case.
    text: String,
    /// The address it is, if it is a whole one.
    address: Option<Ipv4Addr>,
    /// The octets it is, if it may be a whole identifier.
    octets: Option<Vec<u8>>,
    /// As octets parted by colons are written, if it may be a part of that.
    colons: Option<String>,
    /// True if it may be a part of octets written without anything between.
    bare: bool,
    /// True if it may be a part of an address.
    dotted: bool,
}

impl Needle {
    fn new(text: &str) -> Self {
        let text = text.to_lowercase();
        let only = |more: &str| text.chars().all(|c| c.is_ascii_hexdigit() || more.contains(c));
        Self {
            address: text.parse().ok(),
            octets: text::hardware(&text)
                .or_else(|| crate::options::parse_hex(&text))
                .filter(|octets| octets.len() >= LOOKED_UP),
            colons: only(":-").then(|| text.replace('-', ":")),
            bare: only(""),
            dotted: text.chars().all(|c| c.is_ascii_digit() || c == '.'),
            text,
        }
    }

    fn is_in(&self, lease: &Lease, scratch: &mut String) -> bool {
        if self.dotted {
            scratch.clear();
            if write!(scratch, "{}", lease.address).is_ok() && scratch.contains(&self.text) {
                return true;
            }
        }
        let named = |name: std::borrow::Cow<'_, str>| contains_ignoring_case(&name, &self.text);
        if lease.host_name().is_some_and(named) {
            return true;
        }
        let mut written = |octets: &[u8]| {
            let mut has = |between, part: &str| {
                scratch.clear();
                text::push_hex(octets, between, scratch);
                scratch.contains(part)
            };
            self.colons.as_deref().is_some_and(|part| has(Some(':'), part)) || (self.bare && has(None, &self.text))
        };
        self.colons.is_some() && (written(lease.hardware()) || any_client_id(lease).is_some_and(written))
    }
}

/// True if `text` contains `part`, which is in lower case.
fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
        || (!text.is_ascii() && text.to_lowercase().contains(part))
}

/// What a lease must be, each in full.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whole {
    subnet: Option<u32>,
    state: Option<LeaseState>,
    address: Option<Ipv4Addr>,
    mac: Option<Vec<u8>>,
    client_id: Option<Vec<u8>>,
    hostname: Option<String>,
}

impl Whole {
    fn new(query: &LeaseQuery) -> Result<Self, Problem> {
        Ok(Self {
            subnet: query.subnet,
            state: query.state,
            address: query.address,
            mac: query.mac.as_deref().map(|mac| text::mac("mac", mac)).transpose()?,
            client_id: query.client_id.as_deref().map(client_id).transpose()?,
            hostname: query.hostname.clone(),
        })
    }

    fn is(&self, lease: &Lease) -> bool {
        let named = |name: &String| lease.host_name().is_some_and(|own| own.eq_ignore_ascii_case(name));
        self.subnet.is_none_or(|subnet| subnet == lease.subnet)
            && self.state.is_none_or(|state| state == lease.state.into())
            && self.address.is_none_or(|address| address == lease.address)
            && self.mac.as_deref().is_none_or(|mac| mac == lease.hardware())
            && self.client_id.as_deref().is_none_or(|id| Some(id) == any_client_id(lease))
            && self.hostname.as_ref().is_none_or(named)
    }

    /// What may be wanted, by the index that knows it; `None` if none does.
    fn indexed(&self, leases: &Table) -> Option<Vec<Ipv4Addr>> {
        let at = |lease: &Lease| lease.address;
        if let Some(address) = self.address {
            Some(leases.at(address).map(at).into_iter().collect())
        } else if let Some(mac) = &self.mac {
            // The index is by hardware type too.
            let all = (0..=u8::MAX).flat_map(|htype| leases.of_hardware(htype, mac));
            Some(all.map(|(_, lease)| at(lease)).take(MAX_EXACT).collect())
        } else {
            let id = self.client_id.as_deref()?;
            Some(leases.of_id(id).map(|(_, lease)| at(lease)).take(MAX_EXACT).collect())
        }
    }
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    whole: Whole,
    needle: Option<Needle>,
    after: Option<Ipv4Addr>,
    limit: usize,
    /// Where the walk goes on; `None` before its first slice.
    at: Option<Ipv4Addr>,
    scratch: String,
    /// Leases of the page, and whether their addresses are reserved. They become JSON once the engine is let go.
    found: Vec<(Lease, bool)>,
    total: usize,
}

impl Search {
    /// A search for what is asked.
    ///
    /// # Errors
    /// A text that is too long, or no hardware address or client identifier where one has to be.
    pub(super) fn new(query: &LeaseQuery) -> Result<Self, Problem> {
        let needle = query.q.as_deref().map(str::trim).filter(|text| !text.is_empty());
        if needle.is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(Problem::invalid("q", format!("expected at most {MAX_TEXT} octets")));
        }
        Ok(Self {
            whole: Whole::new(query)?,
            needle: needle.map(Needle::new),
            after: query.after,
            limit: PageQuery { after: None, limit: query.limit }.rows(),
            at: None,
            scratch: String::new(),
            found: Vec::new(),
            total: 0,
        })
    }

    /// Looks at the next slice of the table. True once the page is complete.
    pub(super) fn step(&mut self, engine: &Engine) -> bool {
        let everything = self.whole == Whole::default() && self.needle.is_none();
        if self.at.is_none() && self.exact(engine) {
            return true;
        }
        let from = match self.at {
            Some(at) => at,
            None if everything => {
                self.total = engine.leases().len();
                match self.after.map(|after| u32::from(after).checked_add(1)) {
                    None => Ipv4Addr::UNSPECIFIED,
                    Some(Some(next)) => next.into(),
                    Some(None) => return true,
                }
            }
            None => Ipv4Addr::UNSPECIFIED,
        };
        for (seen, lease) in engine.leases().range(from).enumerate() {
            if seen == SLICE {
                self.at = Some(lease.address);
                return false;
            }
            if everything {
                self.take(engine, lease);
                if self.found.len() > self.limit {
                    break;
                }
            } else if self.matches(lease) {
                self.total += 1;
                self.take(engine, lease);
            }
        }
        true
    }

    /// The page, once [`step`](Self::step) says so.
    pub(super) fn finish(mut self) -> LeasePage {
        let more = self.found.len() > self.limit;
        self.found.truncate(self.limit);
        let items: Vec<LeaseView> = self.found.iter().map(|(lease, fixed)| show(lease, *fixed)).collect();
        let next = items.last().filter(|_| more).map(|last| last.address.to_string());
        LeasePage { items, next, total: self.total }
    }

    /// Answers from the indexes, if something is asked for in whole that they know, or the text is a whole address or
    /// identifier that somebody has.
    fn exact(&mut self, engine: &Engine) -> bool {
        if let Some(mut wanted) = self.whole.indexed(engine.leases()) {
            wanted.sort_unstable();
            for lease in wanted.iter().filter_map(|address| engine.leases().at(*address)) {
                if self.matches(lease) {
                    self.total += 1;
                    self.take(engine, lease);
                }
            }
            return true;
        }
        let Some(needle) = &self.needle else { return false };
        let leases = engine.leases();
        let mut found: Vec<Ipv4Addr> =
            needle.address.and_then(|address| leases.at(address)).map(|l| l.address).into_iter().collect();
        if let Some(octets) = &needle.octets {
            let by_hardware = leases.of_hardware(ETHERNET, octets).map(|(_, lease)| lease.address);
            let by_client = leases.of_client(Client::Id(octets)).map(|(_, lease)| lease.address);
            found.extend(by_hardware.chain(by_client).take(MAX_EXACT));
        }
        found.sort_unstable();
        found.dedup();
        for lease in found.iter().filter_map(|address| leases.at(*address)) {
            if self.whole.is(lease) {
                self.total += 1;
                self.take(engine, lease);
            }
        }
        !found.is_empty()
    }

    fn matches(&mut self, lease: &Lease) -> bool {
        self.whole.is(lease) && self.needle.as_ref().is_none_or(|needle| needle.is_in(lease, &mut self.scratch))
    }

    /// Puts a lease on the page if it belongs there; one more than fits says that there is a next page.
    fn take(&mut self, engine: &Engine, lease: &Lease) {
        if self.found.len() <= self.limit && self.after.is_none_or(|after| lease.address > after) {
            self.found.push((lease.clone(), engine.reservations().at(lease.address).is_some()));
        }
    }
}
