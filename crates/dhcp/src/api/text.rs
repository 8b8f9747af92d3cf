//! Octets, names and moments as the API writes and reads them.

use crate::lease::{INFINITE, Seconds};
use crate::options::parse_hex;
use crate::policy::{Identifier, IdentifierKind};
use outwork_front::api::{Problem, Timestamp};
use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999: when a lease ends that never does.
const NEVER: Duration = Duration::from_secs(253_402_300_799);

/// Octets as `52:54:00`.
pub(super) fn colons(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 3);
    push_hex(octets, Some(':'), &mut text);
    text
}

/// Appends octets in hex, parted by `between`.
pub(super) fn push_hex(octets: &[u8], between: Option<char>, text: &mut String) {
    for (index, octet) in octets.iter().enumerate() {
        text.extend(between.filter(|_| index > 0));
        text.extend([octet >> 4, octet & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
}

/// Octets that a device chose: `'text'` if they are text, else hex. [`Identifier::parse`] reads it back.
pub(super) fn quoted(octets: &[u8]) -> String {
    match octets {
        text if text.iter().all(|octet| (0x20..0x7f).contains(octet)) => format!("'{}'", String::from_utf8_lossy(text)),
        [one] => format!("hex:{one:02x}"),
        many => colons(many),
    }
}

/// An identifier as [`Identifier::parse`] reads it back.
pub(super) fn identifier(identifier: &Identifier) -> String {
    match identifier.kind {
        IdentifierKind::Mac => colons(&identifier.bytes),
        _ => quoted(&identifier.bytes),
    }
}

/// A hardware address in any of the usual notations.
pub(super) fn mac(key: &str, text: &str) -> Result<Vec<u8>, Problem> {
    hardware(text).ok_or_else(|| {
        Problem::invalid(key, format!("`{text}` is no hardware address; expected one such as 52:54:00:12:34:56"))
    })
}

/// `52:54:00:12:34:56`, `52-54-00-12-34-56`, `5254.0012.3456` or `525400123456`.
pub(super) fn hardware(text: &str) -> Option<Vec<u8>> {
    let groups_of_four = text.contains('.') && text.split('.').all(|group| group.len() == 4);
    let octets = if groups_of_four { parse_hex(&text.replace('.', "")) } else { parse_hex(text) };
    octets.filter(|octets| (1..=16).contains(&octets.len()))
}

/// Refuses what is no host name for option 12.
pub(super) fn host_name(key: &str, name: &str) -> Result<(), Problem> {
    crate::policy::host_name(name)
        .map_err(|breach| Problem::invalid(key, format!("{}; expected {}", breach.found, breach.expected)))
}

/// When something is. What never ends, ends with the year 9999.
pub(super) fn moment(second: Seconds) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + if second == INFINITE { NEVER } else { Duration::from_secs(second.into()) })
}
