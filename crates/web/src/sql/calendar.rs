//! Dates and times as texts: what a request says, and what a database counts.

use std::fmt::Write as _;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub(super) const DAYS_TO_2000: i64 = 10_957;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// Whether a text is a date that there is: `2026-11-21`.
pub(super) fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return false;
    }
    let part = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<u32>().ok());
    let (Some(year), Some(month), Some(day)) = (part(0..4), part(5..7), part(8..10)) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    year > 0 && (1..=last).contains(&day)
}

/// Whether a text is a moment as RFC 3339 writes it: `2026-11-21T12:00:00.5+01:00`.
pub(super) fn is_timestamp(text: &str) -> bool {
    let Some((date, rest)) = text.split_once(['T', 't', ' ']) else { return false };
    let Some(clock) = rest.get(..8) else { return false };
    let clock = clock.as_bytes();
    let two = |at: usize| match (clock.get(at), clock.get(at + 1)) {
        (Some(tens), Some(ones)) if tens.is_ascii_digit() && ones.is_ascii_digit() => {
            Some((tens - b'0') * 10 + (ones - b'0'))
        }
        _ => None,
    };
    let in_range = clock.get(2) == Some(&b':')
        && clock.get(5) == Some(&b':')
        && two(0).is_some_and(|hour| hour < 24)
        && two(3).is_some_and(|minute| minute < 60)
        // A leap second.
        && two(6).is_some_and(|second| second <= 60);
    let mut zone = rest.get(8..).unwrap_or_default();
    if let Some(fraction) = zone.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 9 {
            return false;
        }
        zone = fraction.get(digits..).unwrap_or_default();
    }
    is_date(date) && in_range && is_zone(zone)
}

fn is_zone(zone: &str) -> bool {
    if matches!(zone, "Z" | "z") {
        return true;
    }
    let Some((hours, minutes)) = zone.strip_prefix(['+', '-']).and_then(|zone| zone.split_once(':')) else {
        return false;
    };
    let two = |text: &str, below: u8| {
        text.len() == 2
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u8>().is_ok_and(|part| part < below)
    };
    two(hours, 24) && two(minutes, 60)
}

/// A date, from days since 1970: `2026-11-21`, with as many digits of the year as it takes; years before the first have a minus.
pub(super) fn date(days: i64) -> String {
    // Days since 0000-03-01, so that the leap day ends the year; an era is 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    match year < 0 {
        true => format!("-{:04}-{month:02}-{day:02}", -year),
        false => format!("{year:04}-{month:02}-{day:02}"),
    }
}

/// A time of day, from microseconds since midnight: `12:00:00`, `12:00:00.25`.
pub(super) fn time(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    push_fraction(&mut text, fraction);
    text
}

/// A date and time, from microseconds since 2000: `2026-11-21T12:00:00`. Who knows its zone says so behind it.
pub(super) fn moment(micros: i64) -> String {
    let days = micros.div_euclid(MICROS_A_DAY);
    format!("{}T{}", date(days + DAYS_TO_2000), time(micros.rem_euclid(MICROS_A_DAY)))
}

/// How far a zone is east of UTC, from seconds: `Z`, `+01:00`.
pub(super) fn zone(east: i64) -> String {
    match east {
        0 => "Z".to_owned(),
        east => {
            let (sign, seconds) = if east < 0 { ('-', -east) } else { ('+', east) };
            format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
        }
    }
}

/// A span of time as ISO 8601 writes it: `P1Y2M3DT4H5M6.5S`. Its parts may have signs of their own.
pub(super) fn interval(months: i64, days: i64, micros: i64) -> String {
    let mut text = "P".to_owned();
    let push = |text: &mut String, amount: i64, unit: char| {
        if amount != 0 {
            // To write to a String cannot fail.
            let _ = write!(text, "{amount}{unit}");
        }
    };
    push(&mut text, months / 12, 'Y');
    push(&mut text, months % 12, 'M');
    push(&mut text, days, 'D');
    if micros != 0 {
        text.push('T');
        let seconds = micros / 1_000_000;
        push(&mut text, seconds / 3600, 'H');
        push(&mut text, seconds / 60 % 60, 'M');
        let rest = micros % 60_000_000;
        if rest != 0 {
            let sign = if rest < 0 { "-" } else { "" };
            let _ = write!(text, "{sign}{}", rest.abs() / 1_000_000);
            push_fraction(&mut text, rest.abs() % 1_000_000);
            text.push('S');
        }
    }
    if text.len() == 1 {
        text.push_str("T0S");
    }
    text
}

/// Microseconds as a fraction, without zeroes at the end.
fn push_fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        text.push_str(format!(".{micros:06}").trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_one_that_there_is() {
        for text in ["2026-11-21", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"] {
            assert!(is_date(text), "{text}");
        }
        for text in
            ["2026-02-29", "1900-02-29", "2026-13-01", "2026-00-01", "2026-04-31", "2026-1-1", "0000-01-01", "20261121"]
        {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn a_moment_says_its_zone() {
        for text in [
            "2026-11-21T12:00:00Z",
            "2026-11-21t12:00:00.123456z",
            "2026-11-21 23:59:60+05:30",
            "2026-11-21T00:00:00-00:00",
        ] {
            assert!(is_timestamp(text), "{text}");
        }
        for text in [
            "2026-11-21T12:00:00",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:00Z",
            "2026-11-21T12:00:00.Z",
            "2026-11-21T12:00:00+0100",
            "2026-11-21T12:00:00+24:00",
            "2026-11-31T12:00:00Z",
            "2026-11-21T12:00:0éZ",
        ] {
            assert!(!is_timestamp(text), "{text}");
        }
    }

    #[test]
    fn what_is_counted_becomes_a_date_and_a_time() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(DAYS_TO_2000), "2000-01-01");
        assert_eq!(date(20_778), "2026-11-21");
        assert_eq!(date(-719_528), "0000-01-01");
        assert_eq!(date(-719_529), "-0001-12-31");
        assert_eq!(moment(0), "2000-01-01T00:00:00");
        assert_eq!(moment(-1), "1999-12-31T23:59:59.999999");
        assert_eq!(moment(500_000), "2000-01-01T00:00:00.5");
        assert_eq!((zone(0), zone(3600), zone(-19_800)), ("Z".into(), "+01:00".into(), "-05:30".into()));
    }

    #[test]
    fn a_span_of_time_keeps_months_days_and_seconds_apart() {
        assert_eq!(interval(14, 3, 14_706_500_000), "P1Y2M3DT4H5M6.5S");
        assert_eq!(interval(0, 0, 0), "PT0S");
        assert_eq!(interval(-1, 40, -500_000), "P-1M40DT-0.5S");
        assert_eq!(interval(0, 0, -3_661_000_000), "PT-1H-1M-1S");
    }
}
