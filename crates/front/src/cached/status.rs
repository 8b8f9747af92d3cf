//! `Cache-Status`: what this cache did with a request (RFC 9211).

use std::fmt::Write;

use http::{HeaderName, HeaderValue, StatusCode};
use outwork_cache::Key;

use super::policy::Forward;

/// The field.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What became of a request that was not answered with what was stored alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) why: Forward,
    /// What the handler answered, where it was asked on behalf of this request.
    pub(crate) status: Option<StatusCode>,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    /// A token.
    pub(crate) detail: Option<&'static str>,
}

impl Forwarded {
    pub(crate) fn because(why: Forward) -> Self {
        Self { why, status: None, stored: false, collapsed: false, detail: None }
    }

    /// The field's value.
    pub(crate) fn value(&self, key: Option<&Key>) -> Option<HeaderValue> {
        let mut text = format!("Outwork; fwd={}", self.why.name());
        // Writing to memory does not fail.
        if let Some(status) = self.status {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        with_key(&mut text, key);
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        HeaderValue::try_from(text).ok()
    }
}

/// The value for an answer with what was stored, where there is more to say than how long it lives.
pub(crate) fn hit(ttl: i64, detail: Option<&'static str>, key: Option<&Key>) -> Option<HeaderValue> {
    let mut text = format!("{}{ttl}", crate::message::Hit::STATUS);
    with_key(&mut text, key);
    if let Some(detail) = detail {
        let _ = write!(text, "; detail={detail}");
    }
    HeaderValue::try_from(text).ok()
}

fn with_key(text: &mut String, key: Option<&Key>) {
    if let Some(key) = key {
        let _ = write!(text, "; key=\"{key}\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_why_a_request_was_sent_on_and_what_came_of_it() {
        let mut forwarded =
            Forwarded { status: Some(StatusCode::OK), stored: true, ..Forwarded::because(Forward::UriMiss) };
        assert_eq!(forwarded.value(None).unwrap(), "Outwork; fwd=uri-miss; fwd-status=200; stored");
        forwarded = Forwarded { collapsed: true, detail: Some("x"), ..Forwarded::because(Forward::Stale) };
        let key = Key::from_bytes([0x1f; 16]);
        assert_eq!(
            forwarded.value(Some(&key)).unwrap(),
            format!("Outwork; fwd=stale; collapsed; key=\"{}\"; detail=x", "1f".repeat(16)).as_str()
        );
        assert_eq!(hit(-3, Some("stale-if-error"), None).unwrap(), "Outwork; hit; ttl=-3; detail=stale-if-error");
    }
}
