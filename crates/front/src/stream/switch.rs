//! Streams of HTTP/2 and HTTP/3 that become something else: WebSockets and the like (RFC 8441, RFC 9220), and what CONNECT opens.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use h2::ext::Protocol;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use crate::message::Response;
use crate::problem::Problem;

/// Has a request that wants another protocol on its stream ask for that as one of HTTP/1.1 would (RFC 8441 section 5.1), so that no handler has to know
/// of two ways. Whether its stream is to be somebody else's: CONNECT without a protocol stays what it is (RFC 9113 section 8.5).
pub(crate) fn is_asked_for(head: &mut Parts) -> bool {
    let Some(protocol) = head.extensions.remove::<Protocol>() else { return head.method == Method::CONNECT };
    let Ok(name) = HeaderValue::from_str(protocol.as_str()) else { return false };
    head.method = Method::GET;
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if name == "websocket" {
        // Nobody here has to prove that it has understood, but who speaks HTTP/1.1 waits for the question.
        let mut key = [0; 16];
        let known = getrandom::fill(&mut key).is_ok();
        if let Ok(key) = HeaderValue::try_from(BASE64_STANDARD.encode(key))
            && known
        {
            head.headers.insert(SEC_WEBSOCKET_KEY, key);
        }
    }
    head.headers.insert(UPGRADE, name);
    true
}

/// A success without anybody who takes the stream over would be heard as one (RFC 8441 section 5, RFC 9220 section 3): what follows would be taken for the other protocol.
pub(crate) fn checked(response: Response, is_asked_for: bool) -> Response {
    if is_asked_for && response.upgrade.is_none() && response.status.is_success() {
        return Problem::new(StatusCode::NOT_IMPLEMENTED, "nothing at this address speaks that protocol")
            .into_response();
    }
    response
}

/// Over these versions a client hears by a 200 that it speaks another protocol from now on.
pub(crate) fn accept(response: &mut Response) {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        [UPGRADE, SEC_WEBSOCKET_ACCEPT].iter().for_each(|name| response.remove_field(name));
        response.status = StatusCode::OK;
    }
}
