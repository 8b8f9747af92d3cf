//! Fields that come after content, and which of them go through: plain functions of fields.

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, COOKIE, DATE, EXPECT, EXPIRES,
    FORWARDED, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, MAX_FORWARDS,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, RETRY_AFTER, SET_COOKIE, VARY, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use outwork_front::filter::{Owned, take_out};

use super::{grpc, head};

/// Fields that mean something before the content alone: where a message goes, how it is framed, judged, kept or read, and whose it is (RFC 9110 section 6.5.1).
const BEFORE: [HeaderName; 27] = [
    AGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    FORWARDED,
    HOST,
    head::HTTP2_SETTINGS,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    LOCATION,
    MAX_FORWARDS,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    VARY,
    WWW_AUTHENTICATE,
];

/// Where requests may bring fields after their content: what stands before backends looks at heads alone, so that this is for who asks for it.
#[derive(Debug, Clone)]
pub(super) struct Passage {
    /// Those that the middleware of the route has taken out of the head.
    owned: Option<Owned>,
}

impl Passage {
    /// That of a request: of calls of gRPC, and of all others where that is `wanted`.
    pub(super) fn of(head: &Parts, wanted: bool) -> Option<Self> {
        let is_open = wanted || (grpc::is_call(head) && !grpc::is_of_web(&head.headers));
        is_open.then(|| Self { owned: head.extensions.get().cloned() })
    }

    /// Of the fields that came after the content, those that go on.
    pub(super) fn of_request(&self, fields: HeaderMap) -> HeaderMap {
        let mut fields = of_answer(fields);
        // Programs that know fields by the names of variables take other spellings for the same.
        BEFORE.iter().for_each(|name| take_out(&mut fields, name));
        if let Some(owned) = &self.owned {
            owned.take_out_of(&mut fields);
        }
        fields
    }
}

/// Of the fields that came after the content of an answer, those that may stand there.
pub(super) fn of_answer(mut fields: HeaderMap) -> HeaderMap {
    head::strip(&mut fields, false);
    for name in BEFORE {
        fields.remove(name);
    }
    let ours: Vec<HeaderName> = fields.keys().filter(|name| says_whose(name)).cloned().collect();
    for name in ours {
        fields.remove(name);
    }
    fields
}

/// Whether a field says whose a request is, or which one, however it is spelled: nobody but us says that, and before the content.
fn says_whose(name: &HeaderName) -> bool {
    let plain = name.as_str().replace('_', "-");
    plain.starts_with("x-forwarded-") || ["x-real-ip", "x-request-id", "true-client-ip"].contains(&&*plain)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn fields(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect()
    }

    fn head(kind: &'static str) -> Parts {
        let (head, ()) = Request::post("/").header(CONTENT_TYPE, kind).body(()).unwrap().into_parts();
        head
    }

    #[test]
    fn what_comes_after_content_says_nothing_that_has_to_come_before_it() {
        let came = ["x-sum", "authorization", "content-length", "x-forwarded-for", "transfer-encoding", "set-cookie"];
        let left = of_answer(fields(&[&came[..], &["grpc-status", "host", "x_real_ip"]].concat()));
        assert_eq!(left.keys().collect::<Vec<_>>(), ["x-sum", "grpc-status"]);
    }

    #[test]
    fn a_request_has_fields_after_its_content_where_it_is_a_call_or_its_route_says_so() {
        let of = |kind, wanted| Passage::of(&head(kind), wanted).is_some();
        assert!(of("application/grpc", false) && of("application/grpc+proto", false) && of("text/plain", true));
        assert!(!of("text/plain", false) && !of("application/grpc-web+proto", false));
    }

    #[test]
    fn what_only_we_say_of_a_request_is_said_in_no_spelling_after_its_content() {
        let came = ["x-sum", "content_type", "x_forwarded_for", "x-forwarded-prefix", "x-request-id", "true-client-ip"];
        let passage = Passage::of(&head("application/grpc"), false).unwrap();
        let left = passage.of_request(fields(&came));
        assert_eq!(left.keys().collect::<Vec<_>>(), ["x-sum"]);
    }
}
