//! What a request gets of something that is there as a whole: all of it, parts, or only word that it has not changed (RFC 9110 sections 13 and 14).

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{
    CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderValue, Method, StatusCode};

use crate::message::{Body, ReadyHead, Response};
use crate::problem::Problem;

/// Ranges that one request may ask for; with more it gets the whole.
const RANGES: usize = 16;

/// What is there as a whole.
pub trait Representation {
    /// What conditions are held against.
    fn validators(&self) -> Validators<'_>;
    /// All of its header fields, as they go with a 200.
    fn ready(&self) -> &Arc<ReadyHead>;
    /// Those that a 304 tells again.
    fn again(&self) -> &Arc<ReadyHead>;
    /// A part of its content.
    fn part(&self, range: Range<u64>) -> Body;
    /// A text that is not in the content, to part several parts by; `None` where several parts of it are nothing that could be named.
    fn boundary(&self) -> Option<String>;
    /// Whether conditions of a request count.
    fn is_conditional(&self) -> bool {
        true
    }
}

/// What is known of a representation before it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Validators<'a> {
    /// Its entity tag, quotes included.
    pub etag: Option<&'a HeaderValue>,
    /// When it was changed last.
    pub modified: Option<SystemTime>,
    /// Its bytes.
    pub length: u64,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// All of it.
    Whole,
    /// These parts of it, none of them empty.
    Parts(Vec<Range<u64>>),
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client takes it for.
    PreconditionFailed,
    /// 416: it has no such part.
    Unsatisfiable,
}

/// Decides what a GET or HEAD gets at the moment that `now` tells.
pub fn plan(method: &Method, fields: &HeaderMap, file: Validators<'_>, now: impl Fn() -> SystemTime) -> Plan {
    if let Some(plan) = preconditions(fields, file) {
        return plan;
    }
    ranges(method, fields, file, now)
}

/// The same, whatever its conditions.
fn ranges(method: &Method, fields: &HeaderMap, file: Validators<'_>, now: impl Fn() -> SystemTime) -> Plan {
    let asked = fields.get(RANGE).filter(|_| method == Method::GET && applies(fields.get(IF_RANGE), file, now));
    asked.and_then(|range| parts(range, file.length)).unwrap_or(Plan::Whole)
}

/// The answer to a GET or HEAD that would be a 200 without conditions.
pub fn answer(method: &Method, fields: &HeaderMap, whole: &impl Representation) -> Response {
    let validators = whole.validators();
    let length = validators.length;
    let mut response = Response::new(StatusCode::OK);
    let plan = match whole.is_conditional() {
        true => plan(method, fields, validators, SystemTime::now),
        false => ranges(method, fields, validators, SystemTime::now),
    };
    let mut all = || {
        response.ready = Some(Arc::clone(whole.ready()));
        response.body = whole.part(0..length);
    };
    match plan {
        Plan::Whole => all(),
        Plan::NotModified => {
            response.status = StatusCode::NOT_MODIFIED;
            response.ready = Some(Arc::clone(whole.again()));
        }
        Plan::PreconditionFailed => {
            let why = "what is there is not what a condition of the request takes it for";
            response = refused(StatusCode::PRECONDITION_FAILED, why.into(), fields);
        }
        Plan::Unsatisfiable => {
            let why = format!("what is there has {length} bytes, and none of those that were asked for");
            response = refused(StatusCode::RANGE_NOT_SATISFIABLE, why, fields);
            insert(&mut response, CONTENT_RANGE, format!("bytes */{length}"));
        }
        Plan::Parts(parts) => match (&*parts, whole.boundary()) {
            ([part], _) => {
                response.status = StatusCode::PARTIAL_CONTENT;
                response.ready = Some(Arc::clone(whole.ready()));
                insert(&mut response, CONTENT_RANGE, content_range(part, length));
                response.body = whole.part(part.clone());
            }
            (parts, Some(boundary)) => several(whole, parts, &boundary, &mut response),
            (_, None) => all(),
        },
    }
    response
}

/// Several parts in one answer (RFC 9110 section 14.6).
fn several(whole: &impl Representation, parts: &[Range<u64>], boundary: &str, response: &mut Response) {
    let length = whole.validators().length;
    let kind = whole.ready().fields.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| format!("content-type: {kind}\r\n")).unwrap_or_default();
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for (index, part) in parts.iter().enumerate() {
        let line = if index == 0 { "" } else { "\r\n" };
        let range = content_range(part, length);
        let head = format!("{line}--{boundary}\r\n{kind}content-range: {range}\r\n\r\n");
        pieces.push(Body::Full(head.into()));
        pieces.push(whole.part(part.clone()));
    }
    pieces.push(Body::Full(format!("\r\n--{boundary}--\r\n").into()));
    response.status = StatusCode::PARTIAL_CONTENT;
    response.ready = Some(Arc::clone(whole.again()));
    insert(response, CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
    response.body = Body::Pieces(pieces);
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1))
}

fn insert(response: &mut Response, name: HeaderName, value: String) {
    response.headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
}

fn refused(status: StatusCode, why: String, fields: &HeaderMap) -> Response {
    Problem::new(status, why).answer_to(fields)
}

/// RFC 9110 section 13.2.2, in its order.
fn preconditions(fields: &HeaderMap, file: Validators<'_>) -> Option<Plan> {
    if fields.contains_key(IF_MATCH) {
        if !names(fields, IF_MATCH, file.etag, Comparison::Strong) {
            return Some(Plan::PreconditionFailed);
        }
    } else if let (Some(modified), Some(since)) = (file.modified, date(fields, IF_UNMODIFIED_SINCE))
        && seconds(modified) > seconds(since)
    {
        return Some(Plan::PreconditionFailed);
    }
    if fields.contains_key(IF_NONE_MATCH) {
        return names(fields, IF_NONE_MATCH, file.etag, Comparison::Weak).then_some(Plan::NotModified);
    }
    let (modified, since) = (file.modified?, date(fields, IF_MODIFIED_SINCE)?);
    (seconds(modified) <= seconds(since)).then_some(Plan::NotModified)
}

/// How two entity tags are compared (RFC 9110 section 8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names this one; `*` names any.
fn names(fields: &HeaderMap, field: HeaderName, etag: Option<&HeaderValue>, comparison: Comparison) -> bool {
    fields.get_all(field).iter().any(|list| {
        let mut rest = list.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        while !rest.is_empty() {
            let weak = rest.starts_with(b"W/");
            let tag = rest.get(if weak { 2 } else { 0 }..).unwrap_or_default();
            let Some(end) = tag.strip_prefix(b"\"").and_then(|inside| inside.iter().position(|byte| *byte == b'"'))
            else {
                return false;
            };
            let (tag, after) = tag.split_at(end + 2);
            if etag.is_some_and(|etag| fits(etag.as_bytes(), tag, weak, comparison)) {
                return true;
            }
            rest = after.trim_ascii_start();
            rest = match rest.strip_prefix(b",") {
                Some(rest) => rest.trim_ascii_start(),
                None => return false,
            };
        }
        false
    })
}

fn fits(own: &[u8], tag: &[u8], weak: bool, comparison: Comparison) -> bool {
    let (own, own_weak) = own.strip_prefix(b"W/").map_or((own, false), |own| (own, true));
    own == tag && (comparison == Comparison::Weak || !(weak || own_weak))
}

/// Whether what the client has of the file is of this version (RFC 9110 section 13.1.5). A date says so only where the second that it names is
/// over: within it the file may change again, and keep its date (section 8.8.2.2).
fn applies(condition: Option<&HeaderValue>, file: Validators<'_>, now: impl Fn() -> SystemTime) -> bool {
    let Some(condition) = condition else { return true };
    if condition.as_bytes().starts_with(b"\"") {
        return file.etag == Some(condition);
    }
    let date = condition.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok());
    let (Some(date), Some(modified)) = (date, file.modified) else { return false };
    seconds(date) == seconds(modified) && seconds(modified) < seconds(now())
}

/// The parts that are asked for; `None` where the field is to be ignored.
fn parts(value: &HeaderValue, length: u64) -> Option<Plan> {
    let list = value.to_str().ok()?.strip_prefix("bytes=")?;
    let mut parts = Vec::new();
    for one in list.split(',').map(|one| one.trim_matches([' ', '\t'])) {
        if one.is_empty() {
            continue;
        }
        parts.push(part(one, length)?);
        if parts.len() > RANGES {
            return None;
        }
    }
    if parts.is_empty() {
        return None;
    }
    let parts: Vec<Range<u64>> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return Some(Plan::Unsatisfiable);
    }
    // Parts that overlap would make more of the file than there is (RFC 9110 section 17.15).
    let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
    (total <= length).then_some(Plan::Parts(parts))
}

/// One part; `Some(None)` where the file has none of it, `None` where the text is malformed.
fn part(text: &str, length: u64) -> Option<Option<Range<u64>>> {
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        // More than can be counted is more than there is.
        true => Some(digits.parse().unwrap_or(u64::MAX)),
        false => None,
    };
    let (first, last) = text.split_once('-')?;
    if first.is_empty() {
        let suffix: u64 = number(last)?;
        let start = length.saturating_sub(suffix);
        return Some((start < length).then_some(start..length));
    }
    let first: u64 = number(first)?;
    let end = match last {
        "" => length,
        last => {
            let last: u64 = number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(length)
        }
    };
    Some((first < end).then_some(first..end))
}

fn date(fields: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(fields.get(name)?.to_str().ok()?).ok()
}

/// Dates of HTTP are whole seconds.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
// A range is what is meant, not its numbers.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LATER: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sat, 05 Nov 1994 08:49:37 GMT";

    /// What a file of 100 bytes with the tag `"x"`, changed then, makes of these fields.
    fn of(method: Method, fields: &[(HeaderName, &str)]) -> Plan {
        let etag = HeaderValue::from_static("\"x\"");
        let modified = httpdate::parse_http_date(THEN).unwrap() + Duration::from_millis(300);
        let file = Validators { etag: Some(&etag), modified: Some(modified), length: 100 };
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        plan(&method, &fields, file, SystemTime::now)
    }

    fn get(fields: &[(HeaderName, &str)]) -> Plan {
        of(Method::GET, fields)
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        for tags in ["\"x\"", "W/\"x\"", "\"a\", \"x\"", "\"a\",W/\"x\" , \"b\"", "*", "\"a,b\", \"x\""] {
            assert_eq!(get(&[(IF_NONE_MATCH, tags)]), Plan::NotModified, "{tags}");
        }
        for tags in ["\"y\"", "x", "\"x", "W/x", "", "\"a\" \"x\""] {
            assert_eq!(get(&[(IF_NONE_MATCH, tags)]), Plan::Whole, "{tags}");
        }
        assert_eq!(get(&[(IF_MODIFIED_SINCE, THEN)]), Plan::NotModified);
        assert_eq!(get(&[(IF_MODIFIED_SINCE, LATER)]), Plan::NotModified);
        assert_eq!(get(&[(IF_MODIFIED_SINCE, BEFORE)]), Plan::Whole);
        assert_eq!(get(&[(IF_MODIFIED_SINCE, "yesterday")]), Plan::Whole);
    }

    #[test]
    fn a_weak_tag_of_ours_says_that_nothing_has_changed_but_not_that_parts_fit_together() {
        let etag = HeaderValue::from_static("W/\"x\"");
        let of = |name: HeaderName, tags: &str| {
            let fields = HeaderMap::from_iter([
                (name, HeaderValue::from_str(tags).unwrap()),
                (RANGE, HeaderValue::from_static("bytes=0-0")),
            ]);
            let file = Validators { etag: Some(&etag), modified: None, length: 100 };
            plan(&Method::GET, &fields, file, SystemTime::now)
        };
        assert_eq!(of(IF_NONE_MATCH, "\"x\""), Plan::NotModified);
        assert_eq!(of(IF_NONE_MATCH, "W/\"x\""), Plan::NotModified);
        assert_eq!(of(IF_MATCH, "\"x\""), Plan::PreconditionFailed);
        assert_eq!(of(IF_RANGE, "W/\"x\""), Plan::Whole);
    }

    #[test]
    fn tags_say_more_than_dates_and_what_must_match_comes_first() {
        assert_eq!(get(&[(IF_NONE_MATCH, "\"y\""), (IF_MODIFIED_SINCE, LATER)]), Plan::Whole);
        assert_eq!(get(&[(IF_MATCH, "\"x\""), (IF_UNMODIFIED_SINCE, BEFORE)]), Plan::Whole);
        assert_eq!(get(&[(IF_MATCH, "\"y\""), (IF_NONE_MATCH, "\"x\"")]), Plan::PreconditionFailed);
        assert_eq!(get(&[(IF_MATCH, "W/\"x\"")]), Plan::PreconditionFailed);
        assert_eq!(get(&[(IF_MATCH, "*")]), Plan::Whole);
        assert_eq!(get(&[(IF_UNMODIFIED_SINCE, BEFORE)]), Plan::PreconditionFailed);
        assert_eq!(get(&[(IF_UNMODIFIED_SINCE, THEN)]), Plan::Whole);
    }

    #[test]
    fn parts_are_from_the_beginning_or_from_the_end_and_within_the_file() {
        let parts = |text: &str| get(&[(RANGE, text)]);
        assert_eq!(parts("bytes=0-9"), Plan::Parts(vec![0..10]));
        assert_eq!(parts("bytes=90-"), Plan::Parts(vec![90..100]));
        assert_eq!(parts("bytes=-5"), Plan::Parts(vec![95..100]));
        assert_eq!(parts("bytes=-500"), Plan::Parts(vec![0..100]));
        assert_eq!(parts("bytes=90-900"), Plan::Parts(vec![90..100]));
        assert_eq!(parts("bytes=90-99999999999999999999999"), Plan::Parts(vec![90..100]));
        assert_eq!(parts("bytes=0-0, 50-59 ,-1"), Plan::Parts(vec![0..1, 50..60, 99..100]));
        assert_eq!(parts("bytes=0-0,200-"), Plan::Parts(vec![0..1]));
        for nowhere in ["bytes=100-", "bytes=200-300", "bytes=-0", "bytes=100-,200-"] {
            assert_eq!(parts(nowhere), Plan::Unsatisfiable, "{nowhere}");
        }
        for ignored in
            ["bytes=", "bytes=a-", "bytes=5-4", "bytes=-", "lines=1-2", "bytes=1", "bytes=+1-2", "bytes=1-2,x"]
        {
            assert_eq!(parts(ignored), Plan::Whole, "{ignored}");
        }
        assert_eq!(of(Method::HEAD, &[(RANGE, "bytes=0-9")]), Plan::Whole);
    }

    #[test]
    fn parts_that_make_more_than_the_file_get_the_file() {
        assert_eq!(get(&[(RANGE, "bytes=0-,0-")]), Plan::Whole);
        assert_eq!(get(&[(RANGE, &format!("bytes={}", "0-0,".repeat(17)))]), Plan::Whole);
    }

    #[test]
    fn parts_are_of_the_version_that_the_client_has_or_it_gets_all_of_the_new_one() {
        let range = |condition| get(&[(RANGE, "bytes=0-9"), (IF_RANGE, condition)]);
        assert_eq!(range("\"x\""), Plan::Parts(vec![0..10]));
        assert_eq!(range(THEN), Plan::Parts(vec![0..10]));
        for other in ["\"y\"", "W/\"x\"", LATER, BEFORE, "nonsense"] {
            assert_eq!(range(other), Plan::Whole, "{other}");
        }
    }

    #[test]
    fn a_date_tells_versions_apart_only_when_its_second_is_over() {
        let fields = HeaderMap::from_iter([
            (RANGE, HeaderValue::from_static("bytes=0-9")),
            (IF_RANGE, HeaderValue::from_static(THEN)),
        ]);
        let then = httpdate::parse_http_date(THEN).unwrap();
        let file = Validators { etag: None, modified: Some(then + Duration::from_millis(300)), length: 100 };
        let after = |time| plan(&Method::GET, &fields, file, || then + Duration::from_millis(time));
        assert_eq!([300, 999].map(after), [Plan::Whole, Plan::Whole]);
        assert_eq!(after(1000), Plan::Parts(vec![0..10]));
    }

    #[test]
    fn an_empty_file_has_no_parts() {
        let file = Validators { etag: None, modified: None, length: 0 };
        let fields = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-"))]);
        let of = |fields: &HeaderMap| plan(&Method::GET, fields, file, SystemTime::now);
        assert_eq!(of(&fields), Plan::Unsatisfiable);
        let tagged = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"x\""))]);
        assert_eq!(of(&tagged), Plan::Whole);
    }
}
