//! Calls of gRPC, and how they are told of an end that no backend has given them: by fields, in an answer that is a success of HTTP. Clients take an error of HTTP
//! for a server that is not there, whichever it is.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::message::Response;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How a call ends that no backend has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its time is over.
    DeadlineExceeded,
    /// It is more, or larger, than may be.
    ResourceExhausted,
    /// There is nobody who could answer it now.
    Unavailable,
}

impl Status {
    /// What a status of HTTP is there.
    pub fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => Self::ResourceExhausted,
            _ => Self::Unavailable,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "4",
            Self::ResourceExhausted => "8",
            Self::Unavailable => "14",
        }
    }
}

/// Whether a request is a call.
pub fn is_call(head: &Parts) -> bool {
    // All calls are POSTs; whatever else says that it is one would have what is told of it kept by caches, as the success that it is for HTTP.
    head.method == Method::POST
        && head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether it is one as browsers make them, which have the fields after the content within it (gRPC-Web).
pub fn is_of_web(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
}

/// The answer to a call that ends before it has one.
pub fn ended(status: Status, detail: &str) -> Response {
    let mut response = Response::new(StatusCode::OK);
    response.headers = trailers(status, detail);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What comes after the content of an answer whose call ends like this. `detail` is plain text: printable ASCII without a percent sign, which begins an escape there.
pub fn trailers(status: Status, detail: &str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(2);
    fields.insert(STATUS, HeaderValue::from_static(status.code()));
    fields.extend(HeaderValue::from_str(detail).ok().map(|detail| (MESSAGE, detail)));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_times_have_statuses_of_their_own() {
        let of = |status: u16| Status::of(StatusCode::from_u16(status).unwrap()).code();
        assert_eq!([504, 429, 413, 503, 502].map(of), ["4", "8", "8", "14", "14"]);
    }

    #[test]
    fn an_end_is_told_by_fields_of_a_success() {
        let told = ended(Status::ResourceExhausted, "too many");
        assert_eq!(told.status, StatusCode::OK);
        let fields = ["grpc-status", "grpc-message", "content-type"].map(|name| told.headers[name].as_bytes());
        assert_eq!(fields, [&b"8"[..], b"too many", b"application/grpc"]);
    }
}
