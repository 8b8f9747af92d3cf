//! Lines as JSON and as the combined format; what must not be in them.
//!
//! What clients send is escaped, so that nobody forges a line or a field of one.

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Version;

use super::line::RequestLine;
use super::{Line, LogField};
use crate::filter::config::{AccessLogSettings, QueryPolicy};
use crate::tls::ClientCertificate;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What stands in the place of a value that is not told.
const MASK: &str = "***";

/// A moment in UTC, in parts. The parts of the last one are kept: most lines share their second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    unix: u64,
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
    millisecond: u32,
}

impl Clock {
    pub(super) fn at(&mut self, moment: SystemTime) -> Self {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.unix / 86_400 != since.as_secs() / 86_400 || self.day == 0 {
            (self.year, self.month, self.day) = date(since.as_secs() / 86_400);
        }
        (self.unix, self.second_of_day) = (since.as_secs(), since.as_secs() % 86_400);
        self.millisecond = since.subsec_millis();
        *self
    }

    fn time(&self) -> (u64, u64, u64) {
        (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60)
    }
}

/// Year, month and day of a number of days since 1970. Years begin in March, so that the leap day ends them; an era is 400 of them.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP",
    }
}

/// `client - user [time] "request line" status bytes "referer" "user agent"`, and what was chosen beside that, each as `"value"`.
pub(super) fn combined(out: &mut Vec<u8>, line: &Line, fields: &[LogField], settings: &AccessLogSettings, now: Clock) {
    let month = usize::try_from(now.month).ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"");
    let (hour, minute, second) = now.time();
    // Writing to memory does not fail, here and below.
    let _ = write!(out, "{} - ", line.client.ip());
    match &line.user {
        Some(user) => word(out, user.as_bytes()),
        None => out.push(b'-'),
    }
    let _ = write!(out, " [{:02}/{month}/{}:{hour:02}:{minute:02}:{second:02} +0000] \"", now.day, now.year);
    if let Some(request) = &line.request {
        quoted(out, request.method.as_str().as_bytes());
        out.push(b' ');
        quoted(out, &target(request.uri.path(), request.uri.query(), settings));
        let _ = write!(out, " {}", protocol(request.version));
    }
    let _ = write!(out, "\" {} {} ", line.status.as_ref().map_or("-", |status| status.as_str()), line.bytes);
    string(out, &line.referer.as_ref().map(|referer| url(referer.as_bytes(), settings)));
    out.push(b' ');
    string(out, &line.user_agent.as_ref().map(|agent| agent.as_bytes()));
    let mut more = line.more.iter();
    for field in fields {
        out.push(b' ');
        let header = if field.is_header() { more.next().and_then(Option::as_ref) } else { None };
        match value(line, field, header, settings, now) {
            Value::None => out.extend_from_slice(b"\"-\""),
            Value::Text(text) => string(out, &Some(text)),
            Value::Plain(plain) => {
                out.push(b'"');
                plain.write(out);
                out.push(b'"');
            }
        }
    }
    out.push(b'\n');
}

/// The host that a client has named, and a space.
pub(super) fn host(out: &mut Vec<u8>, line: &Line) {
    word(out, line.host.as_ref().map_or(b"-", |host| host.as_bytes()));
    out.push(b' ');
}

fn string(out: &mut Vec<u8>, text: &Option<impl AsRef<[u8]>>) {
    out.push(b'"');
    match text {
        Some(text) => quoted(out, text.as_ref()),
        None => out.push(b'-'),
    }
    out.push(b'"');
}

/// Text within quotes: a quote, a backslash and whatever is not printable ASCII become `\xHH`.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                let _ = write!(out, "\\x{byte:02X}");
            }
            byte => out.push(byte),
        }
    }
}

/// Text without quotes, which no space may end.
fn word(out: &mut Vec<u8>, text: &[u8]) {
    for part in text.split_inclusive(|byte| *byte == b' ') {
        match part.split_last() {
            Some((b' ', before)) => {
                quoted(out, before);
                out.extend_from_slice(b"\\x20");
            }
            _ => quoted(out, part),
        }
    }
}

/// One object a line.
pub(super) fn json(out: &mut Vec<u8>, line: &Line, fields: &[LogField], settings: &AccessLogSettings, now: Clock) {
    out.push(b'{');
    let mut more = line.more.iter();
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // Names of parts and of header fields have nothing to escape.
        let _ = write!(out, "\"{field}\":");
        let header = if field.is_header() { more.next().and_then(Option::as_ref) } else { None };
        match value(line, field, header, settings, now) {
            Value::None => out.extend_from_slice(b"null"),
            Value::Text(text) => json_string(out, &text),
            Value::Plain(plain) => plain.write(out),
        }
    }
    out.extend_from_slice(b"}\n");
}

/// A JSON string. What is no UTF-8 becomes U+FFFD.
fn json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                // Line ends of Unicode and directions of writing, too: a terminal would obey them.
                control if control.is_control() || is_formatting(control) => {
                    let _ = write!(out, "\\u{:04x}", u32::from(control));
                }
                character => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn is_formatting(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

enum Value<'a> {
    None,
    Text(Cow<'a, [u8]>),
    Plain(Plain),
}

/// What JSON has no quotes for.
enum Plain {
    Integer(u64),
    Seconds(Duration),
    Flag(bool),
}

impl Plain {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Self::Seconds(time) => {
                let _ = write!(out, "{}.{:06}", time.as_secs(), time.subsec_micros());
            }
            Self::Flag(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
        }
    }
}

fn value<'a>(
    line: &'a Line,
    field: &LogField,
    header: Option<&'a http::HeaderValue>,
    settings: &AccessLogSettings,
    now: Clock,
) -> Value<'a> {
    let text = |text: Option<&'a [u8]>| text.map_or(Value::None, |text| Value::Text(text.into()));
    let header_text = |value: Option<&'a http::HeaderValue>| text(value.map(http::HeaderValue::as_bytes));
    let made = |text: String| Value::Text(text.into_bytes().into());
    let request = line.request.as_ref();
    let certified = |of: fn(&ClientCertificate) -> &str| text(line.certificate().map(|shown| of(shown).as_bytes()));
    match field {
        LogField::Time => made(rfc3339(now)),
        LogField::Id => header_text(line.id.as_ref()),
        LogField::Client => made(line.client.ip().to_string()),
        LogField::Peer => made(line.peer.to_string()),
        LogField::User => text(line.user.as_ref().map(|user| user.as_bytes())),
        LogField::Method => text(request.map(|request| request.method.as_str().as_bytes())),
        LogField::Host => header_text(line.host.as_ref()),
        LogField::Target => {
            let target = |request: &'a RequestLine| target(request.uri.path(), request.uri.query(), settings);
            request.map_or(Value::None, |request| Value::Text(target(request)))
        }
        LogField::Protocol => text(request.map(|request| protocol(request.version).as_bytes())),
        LogField::Tls => Value::Plain(Plain::Flag(line.tls)),
        LogField::ClientSubject => certified(|shown| &shown.subject),
        LogField::ClientIssuer => certified(|shown| &shown.issuer),
        LogField::ClientSerial => certified(|shown| &shown.serial),
        LogField::ClientFingerprint => certified(|shown| &shown.fingerprint),
        LogField::Status => {
            line.status.map_or(Value::None, |status| Value::Plain(Plain::Integer(status.as_u16().into())))
        }
        LogField::Bytes => Value::Plain(Plain::Integer(line.bytes)),
        LogField::Duration => Value::Plain(Plain::Seconds(line.took)),
        LogField::Wait => Value::Plain(Plain::Seconds(line.wait)),
        LogField::Pool => text(line.asked.as_ref().map(|asked| asked.whom.name().pool.as_bytes())),
        LogField::Backend => {
            let backend = line.asked.as_ref().and_then(|asked| asked.whom.name().backend.as_ref());
            text(backend.map(|backend| backend.as_bytes()))
        }
        LogField::Attempts => {
            line.asked.as_ref().map_or(Value::None, |asked| Value::Plain(Plain::Integer(asked.attempts.into())))
        }
        LogField::BackendTime => {
            let took = line.asked.as_ref().and_then(|asked| asked.took());
            took.map_or(Value::None, |took| Value::Plain(Plain::Seconds(took)))
        }
        LogField::Aborted => Value::Plain(Plain::Flag(!line.whole)),
        LogField::Referer => match &line.referer {
            Some(referer) => Value::Text(url(referer.as_bytes(), settings)),
            None => Value::None,
        },
        LogField::UserAgent => header_text(line.user_agent.as_ref()),
        LogField::Request(_) | LogField::Response(_) => header_text(header),
    }
}

fn rfc3339(now: Clock) -> String {
    let (hour, minute, second) = now.time();
    let Clock { year, month, day, millisecond, .. } = now;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// A target, with what may be told of its query.
fn target<'a>(path: &'a str, query: Option<&str>, settings: &AccessLogSettings) -> Cow<'a, [u8]> {
    match query.filter(|_| settings.query == QueryPolicy::Keep) {
        Some(query) => {
            let mut out = path.as_bytes().to_vec();
            push_query(&mut out, query.as_bytes(), settings);
            out.into()
        }
        None => path.as_bytes().into(),
    }
}

/// An address of another page, with what may be told of its query, and without the fragment.
fn url<'a>(url: &'a [u8], settings: &AccessLogSettings) -> Cow<'a, [u8]> {
    let url = url.split(|byte| *byte == b'#').next().unwrap_or_default();
    let Some(mark) = memchr::memchr(b'?', url) else { return url.into() };
    let mut out = url.get(..mark).unwrap_or_default().to_vec();
    if settings.query == QueryPolicy::Keep {
        push_query(&mut out, url.get(mark + 1..).unwrap_or_default(), settings);
    }
    out.into()
}

fn push_query(out: &mut Vec<u8>, query: &[u8], settings: &AccessLogSettings) {
    out.push(b'?');
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        let equals = pair.iter().position(|byte| *byte == b'=');
        let key = equals.map_or(pair, |at| pair.get(..at).unwrap_or_default());
        if equals.is_some() && settings.is_masked(key) {
            out.extend_from_slice(key);
            out.push(b'=');
            out.extend_from_slice(MASK.as_bytes());
        } else {
            out.extend_from_slice(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_date_in_leap_years_too() {
        let at = |unix: u64| rfc3339(Clock::default().at(UNIX_EPOCH + Duration::from_millis(unix * 1000 + 7)));
        assert_eq!(at(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_795_271_817), "2026-11-21T14:36:57.007Z");
        let mut clock = Clock::default();
        clock.at(UNIX_EPOCH + Duration::from_secs(86_399));
        assert_eq!(rfc3339(clock.at(UNIX_EPOCH + Duration::from_secs(86_400))), "1970-01-02T00:00:00.000Z");
    }

    #[test]
    fn nobody_forges_a_line_or_a_field() {
        let mut out = Vec::new();
        quoted(&mut out, b"a\"b\\c\r\nd\xff");
        assert_eq!(out, br"a\x22b\x5Cc\x0D\x0Ad\xFF");
        out.clear();
        word(&mut out, b"eve [1] \"x\"");
        assert_eq!(out, br"eve\x20[1]\x20\x22x\x22");
        out.clear();
        json_string(&mut out, "a\"b\\c\n\u{1b}[31m\u{2028}\u{202e}é".as_bytes());
        assert_eq!(String::from_utf8(out.clone()).unwrap(), "\"a\\\"b\\\\c\\u000a\\u001b[31m\\u2028\\u202eé\"");
        out.clear();
        json_string(&mut out, b"a\xffb");
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\u{fffd}b\"");
    }

    #[test]
    fn secrets_in_queries_are_masked_and_queries_can_be_left_out() {
        let settings = AccessLogSettings::default();
        let told = |settings: &AccessLogSettings, text: &str| {
            String::from_utf8(url(text.as_bytes(), settings).into_owned()).unwrap()
        };
        assert_eq!(told(&settings, "/a?x=1&TOKEN=t&b&%74oken=u&token"), "/a?x=1&TOKEN=***&b&%74oken=***&token");
        assert_eq!(told(&settings, "https://a.example/?code=7#frag"), "https://a.example/?code=***");
        let drop = AccessLogSettings { query: QueryPolicy::Drop, ..settings };
        assert_eq!(told(&drop, "/a?x=1"), "/a");
    }
}
