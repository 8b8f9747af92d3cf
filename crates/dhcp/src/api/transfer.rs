//! Leases out and in, as the rows of Kea's lease file.

use super::lease::{ETHERNET, any_client_id, chaddr, holder, id_detail, leasable};
use crate::engine::{Engine, Now};
use crate::import::csv::{CsvError, LeaseRow, LeaseRows, LeaseState, LeaseWriter};
use crate::lease::{Detail, Details, INFINITE, Lease, State};
use serde::Serialize;
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
        // Before its version 2.7 Kea knows no released leases.
        State::Released | State::Expired => LeaseState::Reclaimed,
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
        user_context: String::new(),
        pool_id: 0,
    })
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
    /// Rows that change nothing: older than the lease that is there, or without a client.
    pub unchanged: u64,
    /// Lines that could not be taken.
    pub failed: u64,
    /// The first thousand of them.
    pub faults: Vec<LineFault>,
}

/// A line that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LineFault {
    /// Line of the file, from 1.
    pub line: u64,
    /// What is wrong.
    pub detail: String,
}

impl ImportReport {
    fn fault(&mut self, line: u64, detail: String) {
        self.failed += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(LineFault { line, detail });
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
        report: ImportReport,
    },
    /// The leases could not be kept.
    #[error("{source}; {} leases before that are imported", report.imported)]
    Store {
        /// What is wrong.
        source: E,
        /// What was done.
        report: ImportReport,
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
    mut put: impl FnMut(Batch) -> Result<Vec<(u64, Outcome)>, E>,
) -> Result<ImportReport, ImportError<E>> {
    let mut report = ImportReport::default();
    let mut rows = match LeaseRows::new(file) {
        Ok(rows) => rows,
        Err(source) => return Err(ImportError::File { source, report }),
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
                    report.fault(rows.line(), bare);
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
            Err(source) => return Err(ImportError::Store { source, report }),
        };
        for (line, outcome) in outcomes {
            match outcome {
                Ok(true) => report.imported += 1,
                Ok(false) => report.unchanged += 1,
                Err(detail) => report.fault(line, detail),
            }
        }
    }
    report.faults.sort_by_key(|fault| fault.line);
    match ended {
        Some(Err(source)) => Err(ImportError::File { source, report }),
        _ => Ok(report),
    }
}

/// What became of a row: true if it is in force now, false if it changes nothing, or why it can't be taken.
pub(super) type Outcome = Result<bool, String>;

/// Puts rows in, in order.
pub(super) fn put(engine: &mut Engine, now: Now, batch: &Batch) -> Vec<(u64, Outcome)> {
    batch.iter().map(|(line, row)| (*line, put_row(engine, now, row))).collect()
}

fn put_row(engine: &mut Engine, now: Now, row: &LeaseRow) -> Outcome {
    let lease = lease(engine, now, row)?;
    let old = engine.leases().at(row.address);
    let same = old.is_some_and(|old| old.client() == lease.client());
    if row.valid_lifetime.is_zero() {
        // The file deletes what it said before; what somebody else was given here meanwhile is not its own.
        return Ok(same && engine.release_address(row.address, now.unix));
    }
    if lease.state != State::Declined && row.mac.is_empty() && row.client_id.is_empty() {
        return Ok(false);
    }
    match old {
        Some(old) if same && old.starts > lease.starts => return Ok(false),
        Some(old) if !same && old.state.holds() => {
            return Err(format!("{} is {} here to {}", row.address, old.state.name(), holder(old)));
        }
        _ => {}
    }
    if lease.state == State::Declined && lease.expires <= now.unix {
        return Ok(false);
    }
    engine.put_lease(lease);
    Ok(true)
}

/// The lease that a row stands for.
fn lease(engine: &Engine, now: Now, row: &LeaseRow) -> Result<Lease, String> {
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
    let details = [(id_detail(policy), row.client_id.as_slice()), (Detail::HostName, row.hostname.as_bytes())];
    Ok(Lease {
        address: row.address,
        subnet: policy.subnets.get(subnet).map_or(row.subnet_id, |subnet| subnet.id),
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
