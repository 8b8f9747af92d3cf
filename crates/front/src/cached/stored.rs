//! What is kept of a response beside its content, and how it is written down.
//!
//! Under the key of a request lies a response, or word that responses depend on more than the key (each then lies under a key of its own), or word that
//! they cannot be cached. The first byte tells the version of this form; what has another is as good as not there.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE, ETAG, EXPIRES,
    LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use outwork_cache::{Key, UnixMillis};

use crate::conditional::Validators;
use crate::message::ReadyHead;

/// Of the form in which records are written.
const VERSION: u8 = 1;

/// What lies under a key.
#[derive(Debug)]
pub(crate) enum Record {
    Response(Arc<Stored>),
    /// Responses depend on these request fields.
    Varies(Arc<Varies>),
    /// Responses cannot be cached, for as long as this lies here, by these [rules](super::rules::Rules::stamp).
    Pass(Key),
}

/// What responses under a key depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Varies {
    /// Parts the keys of its variants from those of any other: once it is gone, so are they.
    pub(crate) nonce: u64,
    /// In order, and each once.
    pub(crate) names: Vec<HeaderName>,
}

/// A response without its content.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    /// Its fields, as they are sent.
    pub(crate) ready: Arc<ReadyHead>,
    /// When it was made; what has passed since is its age.
    pub(crate) born: UnixMillis,
    pub(crate) life: Life,
    /// Requests that it has answered since they were last counted.
    pub(crate) hits: AtomicU32,
    /// What of the fields a 304 tells again.
    again: OnceLock<Arc<ReadyHead>>,
}

/// For how long a response is of use, from its birth on, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Life {
    pub(crate) fresh: Duration,
    /// Beyond that: how long it is given while a new one is fetched (RFC 5861 section 3).
    pub(crate) while_revalidate: Duration,
    /// Beyond that: how long it is given when no new one can be had (RFC 5861 section 4).
    pub(crate) if_error: Duration,
    /// No client may have it stale because it would take it (RFC 9111 section 4.2.4).
    pub(crate) forbids_stale: bool,
    /// Who names itself by `Authorization` may have it, too (RFC 9111 section 3.5).
    pub(crate) for_authorized: bool,
}

impl Stored {
    pub(crate) fn new(status: StatusCode, fields: HeaderMap, born: UnixMillis, life: Life) -> Self {
        Self { status, ready: ReadyHead::new(fields), born, life, hits: AtomicU32::new(0), again: OnceLock::new() }
    }

    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.ready.fields
    }

    /// RFC 9111 section 4.2.3.
    pub(crate) fn age(&self, now: UnixMillis) -> Duration {
        now.left(self.born)
    }

    /// What conditions of requests are held against.
    pub(crate) fn validators(&self, length: u64) -> Validators<'_> {
        let modified =
            self.fields().get(LAST_MODIFIED).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        Validators { etag: self.fields().get(ETAG), modified, length }
    }

    /// The fields of a 304 (RFC 9110 section 15.4.5).
    pub(crate) fn again(&self) -> &Arc<ReadyHead> {
        self.again.get_or_init(|| {
            let told = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY];
            let of = |name: HeaderName| {
                self.fields().get_all(&name).iter().map(move |value| (name.clone(), value.clone())).collect::<Vec<_>>()
            };
            ReadyHead::new(told.into_iter().flat_map(of).collect())
        })
    }

    /// The fields with those of a 304 in the place of older ones (RFC 9111 section 3.2).
    pub(crate) fn freshened(&self, newer: &HeaderMap) -> HeaderMap {
        let mut fields = self.fields().clone();
        // What the stored content depends on stays with it.
        let kept = |name: &HeaderName| {
            [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, http::header::CONTENT_TYPE].contains(name)
        };
        for name in newer.keys().filter(|name| !kept(name)) {
            fields.remove(name);
        }
        for (name, value) in newer.iter().filter(|(name, _)| !kept(name)) {
            fields.append(name, value.clone());
        }
        // The time of the answer, where it does not say another.
        if !newer.contains_key(DATE) {
            fields.remove(DATE);
        }
        fields
    }
}

impl Record {
    /// As bytes.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Self::Response(stored) => {
                out.put_u8(0);
                out.put_u16(stored.status.as_u16());
                out.put_u64(stored.born.0);
                let life = &stored.life;
                for time in [life.fresh, life.while_revalidate, life.if_error] {
                    out.put_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
                }
                out.put_u8(u8::from(life.forbids_stale) | u8::from(life.for_authorized) << 1);
                for (name, value) in stored.fields() {
                    put(&mut out, name.as_str().as_bytes());
                    put(&mut out, value.as_bytes());
                }
            }
            Self::Varies(varies) => {
                let Varies { nonce, names } = &**varies;
                out.put_u8(1);
                out.put_u64(*nonce);
                names.iter().for_each(|name| put(&mut out, name.as_str().as_bytes()));
            }
            Self::Pass(rules) => {
                out.put_u8(2);
                out.put_slice(rules.bytes());
            }
        }
        out.into()
    }

    /// Reads [`encode`](Self::encode); `None` for what it never writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if rest.try_get_u8().ok()? != VERSION {
            return None;
        }
        match rest.try_get_u8().ok()? {
            0 => {
                let status = StatusCode::from_u16(rest.try_get_u16().ok()?).ok()?;
                let born = UnixMillis(rest.try_get_u64().ok()?);
                let mut time = || rest.try_get_u64().ok().map(Duration::from_millis);
                let (fresh, while_revalidate, if_error) = (time()?, time()?, time()?);
                let flags = rest.try_get_u8().ok()?;
                let life = Life {
                    fresh,
                    while_revalidate,
                    if_error,
                    forbids_stale: flags & 1 != 0,
                    for_authorized: flags & 2 != 0,
                };
                let mut fields = HeaderMap::new();
                while !rest.is_empty() {
                    let name = HeaderName::from_bytes(take(&mut rest)?).ok()?;
                    let value = HeaderValue::from_bytes(take(&mut rest)?).ok()?;
                    fields.try_append(name, value).ok()?;
                }
                Some(Self::Response(Arc::new(Stored::new(status, fields, born, life))))
            }
            1 => {
                let nonce = rest.try_get_u64().ok()?;
                let mut names = Vec::new();
                while !rest.is_empty() {
                    names.push(HeaderName::from_bytes(take(&mut rest)?).ok()?);
                }
                Some(Self::Varies(Arc::new(Varies { nonce, names })))
            }
            2 => Some(Self::Pass(Key::from_bytes(rest.try_into().ok()?))),
            _ => None,
        }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // No field of a message that was taken in is nearly as long.
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        let mut fields = HeaderMap::new();
        for (name, value) in
            [("etag", "\"x\""), ("content-type", "text/html"), ("link", "</a>"), ("link", "</b>"), ("x-old", "1")]
        {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let life = Life {
            fresh: Duration::from_secs(60),
            while_revalidate: Duration::from_millis(1),
            forbids_stale: true,
            ..Life::default()
        };
        Stored::new(StatusCode::NOT_FOUND, fields, UnixMillis(77_000), life)
    }

    fn again(record: &Record) -> Record {
        Record::decode(&record.encode()).unwrap()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let before = stored();
        let Record::Response(after) = again(&Record::Response(stored().into())) else { panic!("it is a response") };
        assert_eq!((after.status, after.born, after.life), (before.status, before.born, before.life));
        assert_eq!(after.fields(), before.fields());
        let varies = Varies { nonce: u64::MAX, names: vec![VARY, ETAG] };
        assert!(matches!(again(&Record::Varies(varies.clone().into())), Record::Varies(after) if *after == varies));
        let rules = Key::of(&[b"rules"]);
        assert!(matches!(again(&Record::Pass(rules)), Record::Pass(after) if after == rules));
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_no_record_and_harms_nobody() {
        let whole = Record::Response(stored().into()).encode();
        // A cut between two fields cannot be told; the tiers check their bytes themselves.
        let unread = (0..whole.len()).filter(|length| Record::decode(&whole[..*length]).is_none()).count();
        assert!(unread > 40, "{unread} of {}", whole.len());
        for at in 0..whole.len() {
            let mut other = whole.to_vec();
            other[at] ^= 0x80;
            let _ = Record::decode(&other);
        }
        assert!(Record::decode(&[VERSION + 1, 2]).is_none() && Record::decode(&[VERSION, 3]).is_none());
    }

    #[test]
    fn a_304_changes_fields_but_not_those_that_describe_the_content() {
        let newer = HeaderMap::from_iter([
            (HeaderName::from_static("x-old"), HeaderValue::from_static("2")),
            (CONTENT_LENGTH, HeaderValue::from_static("0")),
            (http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            (CACHE_CONTROL, HeaderValue::from_static("max-age=9")),
        ]);
        let fields = stored().freshened(&newer);
        assert_eq!(
            (&fields["x-old"], &fields["cache-control"], &fields["content-type"]),
            (
                &HeaderValue::from_static("2"),
                &HeaderValue::from_static("max-age=9"),
                &HeaderValue::from_static("text/html")
            )
        );
        assert!(!fields.contains_key(CONTENT_LENGTH) && fields.get_all("link").iter().count() == 2);
    }

    #[test]
    fn a_304_tells_validators_and_lifetime_and_not_what_the_content_is() {
        let stored = stored();
        assert!(stored.again().fields.contains_key(ETAG) && !stored.again().fields.contains_key("content-type"));
    }
}
