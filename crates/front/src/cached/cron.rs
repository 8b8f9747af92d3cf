//! When something is due: the five fields of crontab(5), in UTC, where no hour is missing or there twice.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use outwork_cache::UnixMillis;

/// Minutes in which something is due.
///
/// Minute, hour, day of the month, month, day of the week: each `*`, a number, a range `1-5`, a step `*/15` or `1-5/2`, or several of them with commas
/// between; months and days also by the first three letters of their English names; Sunday is 0 or 7. Where both days are given, either will do. `@hourly`,
/// `@daily`, `@weekly` and `@monthly` stand for what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: Box<str>,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Either day will do: both were given.
    either: bool,
}

/// A text that is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It has too many fields, or too few.
    #[error("it has {0} fields and not five: minute, hour, day of the month, month, day of the week")]
    Fields(usize),
    /// A field is not what it should be.
    #[error("{text:?} is no {field}")]
    Field {
        /// What stands there.
        text: String,
        /// What it should be.
        field: &'static str,
    },
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field: what it is, its least and its largest number, and names from the least on.
struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { what: "minute", least: 0, most: 59, names: &[] },
    Field { what: "hour", least: 0, most: 23, names: &[] },
    Field { what: "day of the month", least: 1, most: 31, names: &[] },
    Field { what: "month", least: 1, most: 12, names: &MONTHS },
    Field { what: "day of the week", least: 0, most: 7, names: &WEEKDAYS },
];

impl Field {
    /// The numbers that a text stands for, as bits.
    fn read(&self, text: &str) -> Result<u64, CronError> {
        let wrong = || CronError::Field { text: text.to_owned(), field: self.what };
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0).ok_or_else(wrong)?),
                None => (part, 1),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.least, self.most),
                Some((first, last)) => (self.number(first).ok_or_else(wrong)?, self.number(last).ok_or_else(wrong)?),
                // `5/10` goes on to the end.
                None if part.contains('/') => (self.number(range).ok_or_else(wrong)?, self.most),
                None => self.number(range).map(|number| (number, number)).ok_or_else(wrong)?,
            };
            if first > last {
                return Err(wrong());
            }
            (first..=last).step_by(step).for_each(|number| bits |= 1 << number);
        }
        Ok(bits)
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.least);
        let digits = || Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
        named.or_else(digits).filter(|number| (self.least..=self.most).contains(number))
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let spelled = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            other => other,
        };
        let texts: Vec<&str> = spelled.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = *texts else { return Err(CronError::Fields(texts.len())) };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let mut on = weekdays.read(weekday)?;
        // Sunday has two numbers.
        on |= on >> 7 & 1;
        Ok(Self {
            text: text.into(),
            minutes: minutes.read(minute)?,
            hours: hours.read(hour)?,
            days: days.read(day)?,
            months: months.read(month)?,
            weekdays: on,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

outwork_config::text_setting!(Cron, "five fields of crontab(5), in UTC, such as", "0 6 * * *");

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
/// Days that are looked at: a leap day on a certain weekday comes once in 28 years, and a century may leave one out.
const HORIZON: u64 = 41 * 366;

impl Cron {
    /// The first minute after this moment in which it is due; `None` where there is none, as for 30 February.
    pub fn next(&self, after: UnixMillis) -> Option<UnixMillis> {
        let from = (after.0 / MINUTE + 1) * MINUTE;
        let today = from / DAY;
        (today..today + HORIZON).filter(|day| self.is_on(*day)).find_map(|day| {
            let earliest = if day == today { from % DAY / MINUTE } else { 0 };
            let minute = (earliest..24 * 60)
                .find(|minute| self.hours >> (minute / 60) & 1 == 1 && self.minutes >> (minute % 60) & 1 == 1)?;
            Some(UnixMillis::default().after(Duration::from_millis(day * DAY + minute * MINUTE)))
        })
    }

    /// Whether something is due on a day, counted from 1970.
    fn is_on(&self, day: u64) -> bool {
        let (month, date) = calendar(day);
        // The first of January 1970 was a Thursday.
        let (by_date, by_weekday) = (self.days >> date & 1 == 1, self.weekdays >> ((day + 4) % 7) & 1 == 1);
        self.months >> month & 1 == 1 && if self.either { by_date || by_weekday } else { by_date && by_weekday }
    }
}

/// The month and the day in it of a day since 1970, in the Gregorian calendar.
fn calendar(day: u64) -> (u64, u64) {
    // Days since 0000-03-01, so that the leap day ends the year; an era is 400 years.
    let of_era = (day + 719_468) % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    (if shifted < 10 { shifted + 3 } else { shifted - 9 }, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMillis {
        httpdate::parse_http_date(text).unwrap().into()
    }

    #[test]
    fn it_is_due_in_the_next_minute_that_fits() {
        for (cron, after, expected) in [
            ("* * * * *", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:00 GMT"),
            ("* * * * *", "Sun, 06 Nov 1994 08:50:00 GMT", "Sun, 06 Nov 1994 08:51:00 GMT"),
            ("0 6 * * *", "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 06:00:00 GMT"),
            ("*/15 8-10 * * *", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:00:00 GMT"),
            ("5/20 * * * *", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:05:00 GMT"),
            ("50,55 8 * * 7", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:00 GMT"),
            ("0 0 1 * *", "Sat, 31 Dec 1994 23:59:59 GMT", "Sun, 01 Jan 1995 00:00:00 GMT"),
            ("0 0 * feb-MAR mon", "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 06 Feb 1995 00:00:00 GMT"),
            ("0 0 29 2 *", "Sun, 06 Nov 1994 08:49:37 GMT", "Thu, 29 Feb 1996 00:00:00 GMT"),
            ("0 0 31 * *", "Sun, 06 Nov 1994 08:49:37 GMT", "Sat, 31 Dec 1994 00:00:00 GMT"),
            // Where both days are given, either will do.
            ("0 0 13 * fri", "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 11 Nov 1994 00:00:00 GMT"),
            ("0 0 7 * fri", "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 00:00:00 GMT"),
            ("0 0 */2 * fri", "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 11 Nov 1994 00:00:00 GMT"),
            ("@weekly", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 13 Nov 1994 00:00:00 GMT"),
        ] {
            let found = cron.parse::<Cron>().unwrap().next(at(after));
            assert_eq!(found, Some(at(expected)), "{cron} after {after}");
        }
        assert_eq!("0 0 30 2 *".parse::<Cron>().unwrap().next(at("Sun, 06 Nov 1994 08:49:37 GMT")), None);
        assert_eq!(
            "0 0 29 2 *".parse::<Cron>().unwrap().next(at("Thu, 01 Mar 2096 00:00:00 GMT")),
            Some(at("Fri, 29 Feb 2104 00:00:00 GMT"))
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "* * * * mond",
            "-1 * * * *",
            "+1 * * * *",
            "1,, * * * *",
            "@yesterday",
        ] {
            assert!(text.parse::<Cron>().is_err(), "{text}");
        }
        assert_eq!("0 6 * * mon-fri".parse::<Cron>().unwrap().to_string(), "0 6 * * mon-fri");
    }
}
