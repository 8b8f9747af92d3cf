//! Leases out and in, as the rows of Kea's lease file.

use super::lease::{ETHERNET, any_client_id, chaddr, holder, id_detail, leasable};
use crate::engine::{Engine, Now};
use crate::import::csv::{CsvError, LeaseRow, LeaseRows, LeaseState, LeaseWriter};
use crate::lease::{Detail, Details, INFINITE, Lease, State};
use serde::Serialize;
use serde_json::Value as Json;
use std::io::{self, BufRead};
use std::net::Ipv4Addr;
use std::time::Duration;
use utoipa::ToSchema;

/// Leases read in one hold of the engine.
const SLICE: usize = 1000;
/// Rows that are put in, and made durable, together.
pub(super) const BATCH: usize = 512;
/// Faults that a report lists; those after them are counted.
const MAX_FAULTS: usize = 1000;

/// A lease as a row of the file. Offers are none: nobody has asked for them yet.
pub(super) fn row(lease: &Lease) -> Option<LeaseRow> {
    let state = match lease.state {
        State::Offered => return None,
        State::Active => LeaseState::Assigned,
        State::Declined => LeaseState::Declined,
        // Its time is over, so that a Kea before 2.7, which knows no released leases, takes it for an expired one.
        State::Released => LeaseState::Released,
        State::Expired => LeaseState::Reclaimed,
    };
    // Zero would say that the lease was deleted.
    let lifetime = if lease.expires == INFINITE { INFINITE } else { lease.expires.saturating_sub(lease.starts).max(1) };
    let expires = match lifetime {
        INFINITE => u64::from(lease.starts) + u64::from(INFINITE),
        _ => lease.expires.into(),
    };
    Some(LeaseRow {
        address: lease.address,
        mac: lease.hardware().to_vec(),
        client_id: any_client_id(lease).unwrap_or_default().to_vec(),
        valid_lifetime: Duration::from_secs(lifetime.into()),
        expires: Duration::from_secs(expires),
        subnet_id: lease.subnet,
        fqdn_forward: false,
        fqdn_reverse: false,
        hostname: lease.host_name().unwrap_or_default().into_owned(),
        state,
        user_context: lease.details.get(Detail::Relay).map(context).unwrap_or_default(),
        pool_id: 0,
    })
}

/// The context that Kea keeps relay agent information in (`store-extended-info`), in the form that every release reads.
fn context(relay: &[u8]) -> String {
    let digits: String = relay.iter().map(|octet| format!("{octet:02X}")).collect();
    format!(r#"{{ "ISC": {{ "relay-agent-info": "0x{digits}" }} }}"#)
}

/// What is of use in a row's context: relay agent information, whole, and what there is beside it.
fn relay(context: &str) -> Result<(Vec<u8>, Vec<String>), String> {
    if context.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let expected = |what: &str| format!("user_context: expected {what}");
    let context: Json = serde_json::from_str(context).map_err(|error| format!("{}: {error}", expected("JSON")))?;
    let context = context.as_object().ok_or_else(|| expected("a JSON object"))?;
    let isc = context.get("ISC").and_then(Json::as_object);
    let mut others: Vec<String> = context.keys().filter(|key| *key != "ISC").cloned().collect();
    others.extend(isc.into_iter().flatten().map(|(key, _)| key).filter(|key| *key != "relay-agent-info").cloned());
    let Some(info) = isc.and_then(|isc| isc.get("relay-agent-info")) else { return Ok((Vec::new(), others)) };
    // Text up to Kea 2.2; later an object whose other fields are taken from the sub-options.
    let text = info.get("sub-options").unwrap_or(info).as_str();
    let digits = text.map(|text| text.strip_prefix("0x").unwrap_or(text));
    let octets = digits.and_then(crate::options::parse_hex).filter(|octets| octets.len() <= 255);
    Ok((octets.ok_or_else(|| expected("relay-agent-info of at most 255 octets in hex"))?, others))
}

/// The next rows from an address on, and where to go on.
pub(super) fn rows(engine: &Engine, from: Ipv4Addr) -> (Vec<LeaseRow>, Option<Ipv4Addr>) {
    let mut rows = Vec::new();
    for (seen, lease) in engine.leases().range(from).enumerate() {
        if seen == SLICE {
            return (rows, Some(lease.address));
        }
        rows.extend(row(lease));
    }
    (rows, None)
}

/// Rows as text, below the header if they are the first.
pub(super) fn write(rows: &[LeaseRow], first: bool) -> io::Result<Vec<u8>> {
    let mut writer = LeaseWriter::new(Vec::with_capacity(128 * (rows.len() + 1)))?;
    rows.iter().try_for_each(|row| writer.write(row))?;
    let mut text = writer.finish()?;
    if !first {
        let header = text.iter().position(|octet| *octet == b'\n').map_or(0, |end| end + 1);
        text.drain(..header);
    }
    Ok(text)
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportReport {
    /// Rows that are in force and on disk now.
    pub imported: u64,
    /// Of these, rows that changed or ended a lease that was there.
    pub updated: u64,
    /// Rows that change nothing: as the lease that is there, older than that, or without a client.
    pub unchanged: u64,
    /// Lines that could not be taken.
    pub failed: u64,
    /// The first thousand of them.
    pub faults: Vec<LineFault>,
    /// What was not taken as it stands in the file, of the first thousand rows of the kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<LineFault>,
}

/// A line that could not be taken, or not as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LineFault {
    /// Line of the file, from 1.
    pub line: u64,
    /// The address of its lease, if it can be read.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub address: Option<Ipv4Addr>,
    /// What is wrong, or what was done.
    pub detail: String,
}

impl ImportReport {
    fn fault(&mut self, line: u64, address: Option<Ipv4Addr>, detail: String) {
        self.failed += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(LineFault { line, address, detail });
        }
    }

    fn note(&mut self, line: u64, address: Ipv4Addr, notes: &[String]) {
        if !notes.is_empty() && self.notes.len() < MAX_FAULTS {
            self.notes.push(LineFault { line, address: Some(address), detail: notes.join("; ") });
        }
    }
}

/// Why an import ended before its file did. What the report counts as imported is in force and on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError<E> {
    /// The file is none, or breaks off.
    #[error("{source}; {} leases before that are imported", report.imported)]
    File {
        /// What is wrong.
        source: CsvError,
        /// What was done.
        report: Box<ImportReport>,
    },
    /// The leases could not be kept.
    #[error("{source}; {} leases before that are imported", report.imported)]
    Store {
        /// What is wrong.
        source: E,
        /// What was done.
        report: Box<ImportReport>,
    },
}

/// Rows with their lines.
pub(super) type Batch = Vec<(u64, LeaseRow)>;

/// Reads a lease file and hands its rows to `put` in batches; `put` answers each row once the batch is durable.
///
/// # Errors
/// [`ImportError`], with what was done until then.
pub(super) fn import<E>(
    file: impl BufRead,
    mut put: impl FnMut(Batch) -> Result<Vec<Answer>, E>,
) -> Result<ImportReport, ImportError<E>> {
    let mut report = ImportReport::default();
    let mut rows = match LeaseRows::new(file) {
        Ok(rows) => rows,
        Err(source) => return Err(ImportError::File { source, report: report.into() }),
    };
    let mut ended = None;
    while ended.is_none() {
        let mut batch = Batch::with_capacity(BATCH);
        while batch.len() < BATCH && ended.is_none() {
            match rows.next() {
                Some(Ok(row)) => batch.push((rows.line(), row)),
                Some(Err(error)) if error.is_of_a_row() => {
                    // The line stands in the text too; the report says it once.
                    let said = error.to_string();
                    let bare = said.strip_prefix(&format!("line {}: ", rows.line())).unwrap_or(&said).to_owned();
                    report.fault(rows.line(), rows.address(), bare);
                }
                Some(Err(error)) => ended = Some(Err(error)),
                None => ended = Some(Ok(())),
            }
        }
        if batch.is_empty() {
            continue;
        }
        let outcomes = match put(batch) {
            Ok(outcomes) => outcomes,
            Err(source) => return Err(ImportError::Store { source, report: report.into() }),
        };
        for Answer { line, address, outcome, notes } in outcomes {
            match outcome {
                Ok(Effect::New) => report.imported += 1,
                Ok(Effect::Updated) => (report.imported, report.updated) = (report.imported + 1, report.updated + 1),
                Ok(Effect::None) => report.unchanged += 1,
                Err(detail) => report.fault(line, Some(address), detail),
            }
            report.note(line, address, &notes);
        }
    }
    report.faults.sort_by_key(|fault| fault.line);
    match ended {
        Some(Err(source)) => Err(ImportError::File { source, report: report.into() }),
        _ => Ok(report),
    }
}

/// What a row did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Its lease is new here.
    New,
    /// It changed or ended a lease that was there.
    Updated,
    /// Nothing.
    None,
}

/// What became of a row.
#[derive(Debug)]
pub(super) struct Answer {
    line: u64,
    address: Ipv4Addr,
    /// What it did, or why it can't be taken.
    outcome: Result<Effect, String>,
    /// What was not taken as it stands.
    notes: Vec<String>,
}

/// Puts rows in, in order.
pub(super) fn put(engine: &mut Engine, now: Now, batch: &Batch) -> Vec<Answer> {
    let put = |(line, row): &(u64, LeaseRow)| {
        let mut notes = Vec::new();
        let outcome = put_row(engine, now, row, &mut notes);
        if !matches!(outcome, Ok(Effect::New | Effect::Updated)) {
            notes.clear();
        }
        Answer { line: *line, address: row.address, outcome, notes }
    };
    batch.iter().map(put).collect()
}

fn put_row(engine: &mut Engine, now: Now, row: &LeaseRow, notes: &mut Vec<String>) -> Result<Effect, String> {
    let lease = lease(engine, now, row, notes)?;
    let old = engine.leases().at(row.address);
    let same = old.is_some_and(|old| old.client() == lease.client());
    if row.valid_lifetime.is_zero() {
        // The file deletes what it said before; what somebody else was given here meanwhile is not its own.
        let ended = same && engine.release_address(row.address, now.unix);
        return Ok(if ended { Effect::Updated } else { Effect::None });
    }
    if lease.state != State::Declined && row.mac.is_empty() && row.client_id.is_empty() {
        return Ok(Effect::None);
    }
    match old {
        Some(old) if same && old.starts > lease.starts => return Ok(Effect::None),
        Some(old) if !same && old.state.holds() => {
            return Err(format!("{} is {} here to {}", row.address, old.state.name(), holder(old)));
        }
        _ => {}
    }
    if lease.state == State::Declined && lease.expires <= now.unix {
        return Ok(Effect::None);
    }
    // The lease stays as it is, with what the file has no column for.
    if old.is_some_and(|old| self::row(old) == self::row(&lease)) {
        return Ok(Effect::None);
    }
    let effect = if old.is_some() { Effect::Updated } else { Effect::New };
    engine.put_lease(lease);
    Ok(effect)
}

/// The lease that a row stands for.
fn lease(engine: &Engine, now: Now, row: &LeaseRow, notes: &mut Vec<String>) -> Result<Lease, String> {
    let policy = engine.policy();
    let subnet = leasable(policy, row.address)?;
    if row.mac.len() > 16 {
        return Err(format!("hwaddr: {} octets; a hardware address has at most 16", row.mac.len()));
    }
    if row.client_id.len() > 255 {
        return Err(format!("client_id: {} octets; at most 255 can be kept", row.client_id.len()));
    }
    let anonymous = row.mac.is_empty() && row.client_id.is_empty();
    if row.state == LeaseState::Assigned && anonymous {
        return Err("hwaddr: a lease needs a hardware address or a client id".to_owned());
    }
    let lifetime = row.valid_lifetime.as_secs();
    let expires = match lifetime == u64::from(INFINITE) {
        true => INFINITE,
        false => u32::try_from(row.expires.as_secs()).unwrap_or(INFINITE - 1).min(INFINITE - 1),
    };
    let state = match row.state {
        LeaseState::Assigned if expires > now.unix => State::Active,
        LeaseState::Assigned | LeaseState::Reclaimed => State::Expired,
        LeaseState::Declined => State::Declined,
        LeaseState::Released => State::Released,
    };
    // A context that makes no sense costs what it says, not the lease.
    let (mut relay, others) = relay(&row.user_context).unwrap_or_else(|fault| {
        notes.push(fault);
        Default::default()
    });
    if !others.is_empty() {
        notes.push(format!("user_context: {} has no place with a lease here: left out", others.join(", ")));
    }
    if !relay.is_empty() && !policy.rules.store_relay {
        notes.push("user_context: relay information is left out, for `store_relay` is off".to_owned());
        relay.clear();
    }
    let subnet = policy.subnets.get(subnet).map_or(row.subnet_id, |subnet| subnet.id);
    if subnet != row.subnet_id {
        let own = row.subnet_id;
        notes
            .push(format!("subnet_id: {own}, but the address lies in subnet {subnet}: it is a lease of {subnet} here"));
    }
    let details = [
        (id_detail(policy), row.client_id.as_slice()),
        (Detail::HostName, row.hostname.as_bytes()),
        (Detail::Relay, relay.as_slice()),
    ];
    Ok(Lease {
        address: row.address,
        subnet,
        starts: u32::try_from(row.expires.as_secs().saturating_sub(lifetime)).unwrap_or(now.unix),
        expires,
        state,
        htype: ETHERNET,
        hlen: row.mac.len() as u8,
        due: 0,
        chaddr: chaddr(&row.mac),
        details: Details::pack(details),
    })
}
