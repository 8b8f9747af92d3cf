//! The connection to an ACME server: HTTPS that is verified, and bounded in time and size.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, Request, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs::default_provider;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::AcmeError;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const LONGEST: u64 = 1 << 20;

/// Speaks HTTPS with one ACME server.
#[derive(Clone)]
pub(super) struct Directory {
    agent: Agent,
    /// When the server wants to be asked again, as of its last refusal.
    retry_after: Arc<Mutex<Option<SystemTime>>>,
}

impl Directory {
    /// Verifies the server by the authorities of the web, or by those in `root` alone.
    pub(super) fn new(root: Option<&Path>) -> Result<Self, AcmeError> {
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(default_provider()));
        let roots = root.map(roots).transpose()?.unwrap_or(RootCerts::WebPki);
        let config = Agent::config_builder()
            .tls_config(tls.root_certs(roots).build())
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(3)
            .timeout_global(Some(PATIENCE));
        Ok(Self { agent: config.build().into(), retry_after: Arc::default() })
    }

    /// When the server wants to be asked again, where its last refusal said so.
    pub(super) fn retry_after(&self) -> Option<SystemTime> {
        *self.retry_after.lock()
    }
}

fn roots(path: &Path) -> Result<RootCerts, AcmeError> {
    let failed = |reason: String| AcmeError::Root { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut all: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(error.to_string()))? {
            all.push(certificate);
        }
    }
    if all.is_empty() { Err(failed("no certificate in it".to_owned())) } else { Ok(all.into()) }
}

impl HttpClient for Directory {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (agent, retry_after) = (self.agent.clone(), Arc::clone(&self.retry_after));
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(axum::body::Body::new(body), LONGEST as usize).await;
            let body = body.map_err(|error| Error::Other(error.into()))?;
            let exchange = tokio::task::spawn_blocking(move || {
                let answered = match head.method {
                    Method::POST => agent.run(Request::from_parts(head, body.to_vec()))?,
                    _ => agent.run(Request::from_parts(head, ()))?,
                };
                let (head, mut body) = answered.into_parts();
                Ok::<_, ureq::Error>((head, body.with_config().limit(LONGEST).read_to_vec()?))
            });
            let exchange = exchange.await.map_err(|error| Error::Other(error.into()))?;
            let (parts, body) = exchange.map_err(|error| Error::Other(error.into()))?;
            *retry_after.lock() = asked_to_wait(parts.status, &parts.headers, SystemTime::now());
            Ok(BytesResponse { parts, body: Box::new(Bytes::from(body)) })
        })
    }
}

/// What a refusal says of when to come back (RFC 8555 section 6.6; RFC 9110 section 10.2.3).
fn asked_to_wait(status: StatusCode, fields: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_refusal_may_say_when_to_come_back() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let asked = |status: StatusCode, text: &str| {
            asked_to_wait(status, &HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now)
        };
        assert_eq!(asked(StatusCode::TOO_MANY_REQUESTS, "120"), Some(now + Duration::from_secs(120)));
        assert_eq!(
            asked(StatusCode::SERVICE_UNAVAILABLE, "Fri, 15 Jan 2027 08:00:10 GMT"),
            Some(now + Duration::from_secs(10))
        );
        assert_eq!(asked(StatusCode::OK, "120"), None, "polling has a pause of its own");
        assert_eq!(asked(StatusCode::TOO_MANY_REQUESTS, "later"), None);
        assert_eq!(asked_to_wait(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), now), None);
    }
}
