//! Durations as people write them: `250ms`, `2h`, `1d12h`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::fault::{Fault, Faults};
use crate::node::{Node, Value};
use crate::setting::{Limits, Ranged, Setting};

/// Units, greatest first, in nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// So many milliseconds.
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// So many seconds.
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// So many minutes.
pub const fn mins(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 60)
}

/// So many hours.
pub const fn hours(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 3600)
}

/// So many days.
pub const fn days(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 86_400)
}

/// Reads a duration: numbers with units, greatest unit first. `None` when it is none, or does not fit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u128 = 0;
    let mut units = UNITS.iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (word, next) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let (_, nanos) = units.find(|(unit, _)| *unit == word)?;
        total = digits.parse::<u64>().ok().map(u128::from)?.checked_mul(*nanos)?.checked_add(total)?;
        rest = next;
    }
    let seconds = u64::try_from(total / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// Writes a duration the shortest way that [`parse_duration`] reads back.
pub fn duration_text(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        // Ten days read better than one week and three days.
        let count = if unit == "w" && !left.is_multiple_of(nanos) { 0 } else { left / nanos };
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            left -= count * nanos;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

impl Setting for Duration {
    fn expected() -> String {
        r#"a duration such as "250ms", "2h" or "1d12h""#.into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Some(duration) = node.text().and_then(parse_duration) {
            return Some(duration);
        }
        let fault = Fault::new(format!("found {}", node.describe())).expected(Self::expected());
        let help = match node.value() {
            Value::Int(number) => format!("name the unit: \"{number}s\" if seconds are meant"),
            _ => "write whole numbers, each with its unit: w, d, h, m, s, ms, us or ns".into(),
        };
        faults.on(node, fault.help(help));
        None
    }

    fn write(&self) -> Json {
        duration_text(*self).into()
    }

    fn schema() -> Json {
        json!({
            "type": "string",
            "pattern": "^ *(\\d+w)?(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?(\\d+us)?(\\d+ns)? *$",
            "examples": ["250ms", "2h", "1d12h"],
        })
    }
}

impl Ranged for Duration {
    type Bound = Duration;

    fn within(&self, limits: &Limits<Duration>) -> bool {
        limits.contain(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units_greatest_first() {
        assert_eq!(parse_duration("1d12h"), Some(hours(36)));
        assert_eq!(parse_duration(" 250ms "), Some(millis(250)));
        assert_eq!(parse_duration("1m1ms1us1ns"), Some(Duration::new(60, 1_001_001)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for wrong in ["", "12", "12x", "h", "1h1d", "1h1h", "-1s", "1.5s", "1 h", "99999999999999999999s", "1S"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_that_does_not_fit_is_none() {
        assert_eq!(parse_duration("18446744073709551615w"), None);
        assert_eq!(parse_duration("18446744073709551615s"), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn whole_weeks_are_weeks_and_others_are_days() {
        assert_eq!(duration_text(days(14)), "2w");
        assert_eq!(duration_text(days(10)), "10d");
        assert_eq!(duration_text(Duration::ZERO), "0s");
        assert_eq!(duration_text(hours(36)), "1d12h");
    }
}
