//! Durations as people write them: `250ms`, `1.5s`, `2h`, `1d12h`.

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

/// Reads a duration: numbers with units, greatest unit first, the last of which may have a fraction. `None` when it is none, does not fit, or says a part of a
/// nanosecond.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u128 = 0;
    let mut units = UNITS.iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (digits, after) = digits_of(rest)?;
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits_of(after).map(|(fraction, after)| (Some(fraction), after))?,
            None => (None, after),
        };
        let (word, next) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let (_, nanos) = units.find(|(unit, _)| *unit == word)?;
        total = digits.parse::<u64>().ok().map(u128::from)?.checked_mul(*nanos)?.checked_add(total)?;
        if let Some(fraction) = fraction {
            // With more behind it, it would not be plain what it is a part of.
            total = part_of(*nanos, fraction).filter(|_| next.is_empty())?.checked_add(total)?;
        }
        rest = next;
    }
    let seconds = u64::try_from(total / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// The digits that a text begins with, and what follows them.
fn digits_of(text: &str) -> Option<(&str, &str)> {
    Some(text.split_at(text.find(|c: char| !c.is_ascii_digit())?)).filter(|(digits, _)| !digits.is_empty())
}

/// So much of a unit as the digits behind a point say.
fn part_of(nanos: u128, digits: &str) -> Option<u128> {
    let whole = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let part = digits.parse::<u128>().ok()?.checked_mul(nanos)?;
    part.is_multiple_of(whole).then_some(part / whole)
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
            _ => "write numbers, each with its unit: w, d, h, m, s, ms, us or ns; the last may have a fraction".into(),
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
            "pattern": "^ *(\\d+w)?(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?(\\d+us)?(\\d+ns)?(\\d+\\.\\d+(w|d|h|m|s|ms|us))? *$",
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
        for wrong in ["", "12", "12x", "h", "1h1d", "1h1h", "-1s", "1.5", "1 h", "99999999999999999999s", "1S"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_number_of_a_duration_may_have_a_fraction() {
        let least = Duration::from_nanos(1);
        for (text, duration) in
            [("1.5s", millis(1500)), ("0.5s", millis(500)), ("1h1.50m", secs(3690)), ("0.000000001s", least)]
        {
            assert_eq!(parse_duration(text), Some(duration), "{text}");
        }
        for wrong in ["1.5h30m", ".5s", "1.s", "1.5.5s", "0.5ns", "0.0000000001s", "1,5s", "1.5"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        assert_eq!(parse_duration(&format!("0.{}s", "0".repeat(60))), None, "nobody counts so finely");
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
