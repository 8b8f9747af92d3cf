//! WebSockets with backends that speak HTTP/2 (RFC 8441): what is asked for as an upgrade of HTTP/1.1 is a stream there, and comes back as the upgrade.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use h2::ext::Protocol;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request};

use super::head;

/// What a server shows with to have understood (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: &str = "websocket";

/// Whether it is a WebSocket that is asked for. Other upgrades may be left alone (RFC 9110 section 7.8), and nobody has streams for them.
pub(super) fn is_one(upgrade: &HeaderValue) -> bool {
    upgrade.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// Has a request ask for a WebSocket as one of HTTP/2 does.
pub(super) fn ask(request: &mut Request<()>) {
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
    request.headers_mut().remove(SEC_WEBSOCKET_KEY);
}

/// The fields of an answer to a request of HTTP/1.1, of those that a stream was switched with.
pub(super) fn switched(mut fields: HeaderMap, asked: &HeaderMap) -> HeaderMap {
    head::strip(&mut fields, false);
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    if let Some(key) = asked.get(SEC_WEBSOCKET_KEY)
        && let Ok(accept) = HeaderValue::try_from(accept(key.as_bytes()))
    {
        fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    fields
}

/// What shows that a key was understood (RFC 6455 section 4.2.2).
fn accept(key: &[u8]) -> String {
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_to_be_understood_as_rfc_6455_has_it() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_switched_stream_is_an_upgrade_for_who_speaks_http_1() {
        let key = HeaderMap::from_iter([(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="))]);
        let protocol = http::header::SEC_WEBSOCKET_PROTOCOL;
        let said = HeaderMap::from_iter([(protocol.clone(), HeaderValue::from_static("chat"))]);
        let fields = switched(said, &key);
        assert!(fields[UPGRADE] == "websocket" && fields[CONNECTION] == "upgrade" && fields[protocol] == "chat");
        assert_eq!(fields[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
