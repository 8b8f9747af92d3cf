//! Kea's DHCPv4 lease file (memfile): comma-separated rows under a header, the later row of an address winning.
//!
//! Reads every header that Kea has written (1.0 to 2.6: `state`, `user_context` and `pool_id` came in time), columns in
//! any order. Writes the header of Kea 2.2, which every later release reads too.
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The longest line, in octets; Kea's own rows stay far below.
pub const MAX_LINE: usize = 64 * 1024;

const HEADER: &str =
    "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context";
const REQUIRED: usize = 9;
const COLUMNS: [&str; 12] = [
    "address",
    "hwaddr",
    "client_id",
    "valid_lifetime",
    "expire",
    "subnet_id",
    "fqdn_fwd",
    "fqdn_rev",
    "hostname",
    "state",
    "user_context",
    "pool_id",
];

/// What a lease is to the server that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaseState {
    /// Held by its client until it expires.
    #[default]
    Assigned,
    /// A client found the address in use.
    Declined,
    /// Expired and taken back; kept so that its client may get it again.
    Reclaimed,
    /// Given back by its client.
    Released,
}

/// One row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The leased address.
    pub address: Ipv4Addr,
    /// Hardware address; empty if there was none.
    pub mac: Vec<u8>,
    /// Client identifier (option 61); empty if there was none.
    pub client_id: Vec<u8>,
    /// Length of the lease; `u32::MAX` seconds is forever, zero means the lease was deleted.
    pub valid_lifetime: Duration,
    /// When it ends, since the Unix epoch (whole seconds).
    pub expires: Duration,
    /// The subnet's id.
    pub subnet_id: u32,
    /// The server updated the name's address record.
    pub fqdn_forward: bool,
    /// The server updated the address's name record.
    pub fqdn_reverse: bool,
    /// The client's name; empty if there was none.
    pub hostname: String,
    /// What the lease is.
    pub state: LeaseState,
    /// JSON the operator attached; empty if there was none.
    pub user_context: String,
    /// The pool's id, 0 if the file does not say.
    pub pool_id: u32,
}

/// Why a lease file, or a row of it, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The file could not be read.
    #[error("line {line}: {source}")]
    Read {
        /// Line, from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The first line is not the header of a lease file.
    #[error("line 1: {0}; a DHCPv4 lease file begins with `{HEADER}`")]
    Header(String),
    /// A row that makes no sense; the rows after it can still be read.
    #[error("line {line}: {column}: expected {expected}, found `{found}`")]
    Field {
        /// Line, from 1.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// A row with too few or too many fields.
    #[error("line {line}: expected {expected} fields like the header, found {found}")]
    Width {
        /// Line, from 1.
        line: u64,
        /// Columns of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
    },
    /// A line longer than any lease.
    #[error("line {line}: longer than {MAX_LINE} octets, or not UTF-8")]
    Line {
        /// Line, from 1.
        line: u64,
    },
}

impl CsvError {
    /// True if the rows after it can still be read.
    #[must_use]
    pub fn is_of_a_row(&self) -> bool {
        matches!(self, Self::Field { .. } | Self::Width { .. })
    }
}

/// The rows of a lease file, in order, one at a time.
#[derive(Debug)]
pub struct LeaseRows<R> {
    reader: R,
    /// Where each of `COLUMNS` stands in a row.
    places: [Option<usize>; COLUMNS.len()],
    width: usize,
    line: u64,
    /// The address that the last row names, if it does.
    address: Option<Ipv4Addr>,
    ended: bool,
}

impl<R: BufRead> LeaseRows<R> {
    /// Reads the header.
    pub fn new(reader: R) -> Result<Self, CsvError> {
        let mut rows = Self { reader, places: [None; COLUMNS.len()], width: 0, line: 0, address: None, ended: false };
        let header = rows.next_line()?.ok_or_else(|| CsvError::Header("the file is empty".to_owned()))?;
        for (place, name) in header.split(',').map(str::trim).enumerate() {
            let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
                let reason = match name {
                    "duid" => "this is a DHCPv6 lease file".to_owned(),
                    _ => format!("no column is called `{name}`"),
                };
                return Err(CsvError::Header(reason));
            };
            if let Some(slot) = rows.places.get_mut(column) {
                *slot = Some(place);
            }
            rows.width = place + 1;
        }
        let missing = COLUMNS.iter().zip(&rows.places).take(REQUIRED).find(|(_, place)| place.is_none());
        match missing {
            Some((column, _)) => Err(CsvError::Header(format!("column `{column}` is missing"))),
            None => Ok(rows),
        }
    }

    /// The line that was read last, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The address that the last row names, even if the rest of it makes no sense.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.address
    }

    fn next_line(&mut self) -> Result<Option<String>, CsvError> {
        self.line += 1;
        let line = self.line;
        let mut octets = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        let mut limited = Read::take(&mut self.reader, limit);
        let read = limited.read_until(b'\n', &mut octets).map_err(|source| CsvError::Read { line, source })?;
        if read == 0 {
            return Ok(None);
        }
        if octets.last() == Some(&b'\n') {
            octets.pop();
        }
        if octets.last() == Some(&b'\r') {
            octets.pop();
        }
        match String::from_utf8(octets) {
            Ok(text) if text.len() <= MAX_LINE => Ok(Some(text)),
            _ => Err(CsvError::Line { line }),
        }
    }

    fn row(&self, text: &str) -> Result<LeaseRow, CsvError> {
        let fields: Vec<&str> = text.split(',').collect();
        if fields.len() != self.width {
            return Err(CsvError::Width { line: self.line, expected: self.width, found: fields.len() });
        }
        let row = Row { rows: self, fields };
        Ok(LeaseRow {
            address: row.parsed(0, "an IPv4 address", |text| text.parse().ok())?,
            mac: row.parsed(1, "octets like 00:11:22:33:44:55", octets)?,
            client_id: row.parsed(2, "octets like 01:00:11:22:33:44:55", octets)?,
            valid_lifetime: Duration::from_secs(row.parsed(3, "seconds", |text| text.parse::<u32>().ok())?.into()),
            expires: Duration::from_secs(row.parsed(4, "seconds since 1970", |text| text.parse().ok())?),
            subnet_id: row.parsed(5, "a subnet id", |text| text.parse().ok())?,
            fqdn_forward: row.parsed(6, "0 or 1", flag)?,
            fqdn_reverse: row.parsed(7, "0 or 1", flag)?,
            hostname: unescape(row.text(8)),
            state: row.parsed(9, "a state from 0 to 3", state)?,
            user_context: unescape(row.text(10)),
            pool_id: row.parsed(11, "a pool id", |text| if text.is_empty() { Some(0) } else { text.parse().ok() })?,
        })
    }
}

struct Row<'a, R> {
    rows: &'a LeaseRows<R>,
    fields: Vec<&'a str>,
}

impl<R> Row<'_, R> {
    /// A column's field; empty if the header lacks it.
    fn text(&self, column: usize) -> &str {
        let place = self.rows.places.get(column).copied().flatten();
        place.and_then(|place| self.fields.get(place)).copied().unwrap_or_default()
    }

    fn parsed<T>(
        &self,
        column: usize,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, CsvError> {
        parse(self.text(column)).ok_or_else(|| CsvError::Field {
            line: self.rows.line,
            column: COLUMNS.get(column).copied().unwrap_or_default(),
            expected,
            found: self.text(column).chars().take(80).collect(),
        })
    }
}

impl<R: BufRead> Iterator for LeaseRows<R> {
    type Item = Result<LeaseRow, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.next_line() {
                Ok(Some(text)) if text.is_empty() => {}
                Ok(Some(text)) => {
                    let place = self.places.first().copied().flatten();
                    self.address = place.and_then(|place| text.split(',').nth(place)?.parse().ok());
                    return Some(self.row(&text));
                }
                Ok(None) => self.ended = true,
                Err(fault) => {
                    self.ended = true;
                    return Some(Err(fault));
                }
            }
        }
        None
    }
}

fn octets(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() { Some(Vec::new()) } else { crate::options::parse_hex(text) }
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" | "false" => Some(false),
        "1" | "true" => Some(true),
        _ => None,
    }
}

fn state(text: &str) -> Option<LeaseState> {
    Some(match text {
        "" | "0" => LeaseState::Assigned,
        "1" => LeaseState::Declined,
        "2" => LeaseState::Reclaimed,
        "3" => LeaseState::Released,
        _ => return None,
    })
}

/// Undoes Kea's `&#xHH` for commas and ampersands.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"&#x").and_then(|digits| {
            let octet = u8::from_str_radix(std::str::from_utf8(digits.get(..2)?).ok()?, 16).ok()?;
            Some((octet, digits.get(2..)?))
        });
        match escaped {
            Some((octet, after)) => (plain.push(octet), rest = after),
            None => (plain.push(*first), rest = after),
        };
    }
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}

/// Writes commas, ampersands and what would break a line as Kea does.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            ',' | '&' | '\n' | '\r' => escaped.push_str(&format!("&#x{:02x}", u32::from(symbol))),
            _ => escaped.push(symbol),
        }
    }
    escaped
}

/// What a file says in the end: the last row of each address, without those it deletes.
///
/// `fault` gets every row that makes no sense; other errors end the reading.
pub fn latest(
    rows: LeaseRows<impl BufRead>,
    mut fault: impl FnMut(CsvError),
) -> Result<BTreeMap<Ipv4Addr, LeaseRow>, CsvError> {
    let mut leases = BTreeMap::new();
    for row in rows {
        match row {
            Ok(row) if row.valid_lifetime.is_zero() => _ = leases.remove(&row.address),
            Ok(row) => _ = leases.insert(row.address, row),
            Err(error) if error.is_of_a_row() => fault(error),
            Err(error) => return Err(error),
        }
    }
    Ok(leases)
}

/// Writes a lease file that Kea 2.2 and later load.
#[derive(Debug)]
pub struct LeaseWriter<W> {
    writer: W,
}

impl<W: Write> LeaseWriter<W> {
    /// Writes the header.
    pub fn new(mut writer: W) -> io::Result<Self> {
        writeln!(writer, "{HEADER}")?;
        Ok(Self { writer })
    }

    /// Writes one lease. Its pool id is left out: Kea 2.2 knows none.
    pub fn write(&mut self, row: &LeaseRow) -> io::Result<()> {
        let state = match row.state {
            LeaseState::Assigned => 0,
            LeaseState::Declined => 1,
            LeaseState::Reclaimed => 2,
            LeaseState::Released => 3,
        };
        writeln!(
            self.writer,
            "{},{},{},{},{},{},{},{},{},{state},{}",
            row.address,
            colons(&row.mac),
            colons(&row.client_id),
            row.valid_lifetime.as_secs(),
            row.expires.as_secs(),
            row.subnet_id,
            u8::from(row.fqdn_forward),
            u8::from(row.fqdn_reverse),
            escape(&row.hostname),
            escape(&row.user_context),
        )
    }

    /// Writes out what is buffered and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}

fn colons(octets: &[u8]) -> String {
    let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    pairs.join(":")
}
