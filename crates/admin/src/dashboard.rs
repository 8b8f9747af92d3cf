//! Serves the embedded dashboard: precompressed, with strong entity tags, hashed files cached for good.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outwork_front::api::Problem;

/// One file of the dashboard.
#[derive(Debug)]
pub struct Asset {
    /// Its path, without a leading slash.
    pub path: &'static str,
    /// Its content type.
    pub content_type: &'static str,
    /// The beginning of its SHA-256.
    pub hash: &'static str,
    /// Whether its name changes with its content.
    pub immutable: bool,
    /// The file.
    pub identity: &'static [u8],
    /// The file with gzip, where that is smaller.
    pub gzip: Option<&'static [u8]>,
    /// The file with brotli, where that is smaller.
    pub brotli: Option<&'static [u8]>,
}

/// The dashboard as it was built with this binary.
pub fn assets() -> &'static [Asset] {
    static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));
    ASSETS
}

/// No inline script or style, nothing from elsewhere, no framing.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Answers for a path that no route has: an asset, the application for a page of its own, or 404.
pub(crate) fn answer(assets: &'static [Asset], request: &Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Problem::not_found("no such path; /api/v1/openapi.json lists them").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    let wanted = if path.is_empty() { "index.html" } else { path };
    if let Some(asset) = assets.iter().find(|asset| asset.path == wanted) {
        return send(asset, request.method(), request.headers());
    }
    // The application's pages are fragments of one document. A missing file, whose name has a dot, is missing.
    if path.rsplit('/').next().is_some_and(|name| name.contains('.')) {
        return Problem::not_found(format!("no such file: /{path}")).into_response();
    }
    (StatusCode::FOUND, [(LOCATION, format!("/#/{path}"))]).into_response()
}

fn send(asset: &'static Asset, method: &Method, headers: &HeaderMap) -> Response {
    let accepted = |coding| accepts(headers, coding);
    let (bytes, coding) = match (asset.brotli, asset.gzip) {
        (Some(brotli), _) if accepted("br") => (brotli, Some("br")),
        (_, Some(gzip)) if accepted("gzip") => (gzip, Some("gzip")),
        _ => (asset.identity, None),
    };
    // Each coding is another representation, so each has its own strong tag (RFC 9110 section 8.8.3.3).
    let tag = format!("\"{}{}\"", asset.hash, coding.map(|coding| format!("-{coding}")).unwrap_or_default());
    let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| {
        tags.split(',').map(|one| one.trim()).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    });
    let body = if known || method == Method::HEAD { Body::empty() } else { Body::from(Bytes::from_static(bytes)) };
    let mut response = Response::new(body);
    let out = response.headers_mut();
    let fixed = HeaderValue::from_static;
    out.insert(CACHE_CONTROL, fixed(if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" }));
    out.insert(VARY, fixed("accept-encoding"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        out.insert(ETAG, tag);
    }
    out.insert("content-security-policy", fixed(CONTENT_SECURITY_POLICY));
    out.insert("x-content-type-options", fixed("nosniff"));
    out.insert("x-frame-options", fixed("DENY"));
    out.insert("referrer-policy", fixed("no-referrer"));
    out.insert("cross-origin-opener-policy", fixed("same-origin"));
    out.insert("cross-origin-resource-policy", fixed("same-origin"));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    out.insert(CONTENT_TYPE, fixed(asset.content_type));
    out.insert(CONTENT_LENGTH, bytes.len().into());
    if let Some(coding) = coding {
        out.insert(CONTENT_ENCODING, fixed(coding));
    }
    response
}

/// Whether a coding is listed, and not with weight zero (RFC 9110 section 12.5.3).
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| {
        let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok());
        coding.trim().eq_ignore_ascii_case(wanted) && weight.is_none_or(|q| q > 0.0)
    })
}

#[cfg(test)]
#[path = "dashboard_tests.rs"]
mod tests;
