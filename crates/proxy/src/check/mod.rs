//! Checks of backends: one question, and what the answer says.
//!
//! - `grpc`: the messages of gRPC's health checks.

mod grpc;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use outwork_front::message::BodyError;
use tokio::time::timeout;

use crate::address::Speech;
use crate::announce;
use crate::config::{CheckKind, HealthCheck, ProxyVersion, statuses};
use crate::metrics::ProxyMetrics;
use crate::pool::endpoint::Endpoint;
use crate::upstream::dial::{Agreed, OwnEnd, dial_as};
use crate::upstream::wire::Wire;
use crate::upstream::{Body, BodyParts, Counted, Exchange, Link, Reply, Version, h1, h2, speak};

/// Bytes of an answer that are looked through.
const LOOKED_AT: usize = 64 << 10;
/// What backends see in their logs.
const AGENT: HeaderValue = HeaderValue::from_static("Outwork-check");

/// Asks a backend. An error says what was wrong with it.
pub(crate) async fn check(
    kind: CheckKind,
    settings: &HealthCheck,
    endpoint: &Endpoint,
    send_proxy: Option<ProxyVersion>,
) -> Result<(), String> {
    // What listens at another port is something else.
    let first = send_proxy.filter(|_| settings.port.is_none()).map(announce::own).unwrap_or_default();
    let asked = timeout(settings.timeout, ask(kind, settings, endpoint, &first));
    asked.await.unwrap_or_else(|_| Err(format!("it does not answer within {:?}", settings.timeout)))
}

async fn ask(kind: CheckKind, settings: &HealthCheck, endpoint: &Endpoint, first: &[u8]) -> Result<(), String> {
    let target = settings.port.map_or_else(|| endpoint.target.clone(), |port| endpoint.target.with_port(port));
    let version = match (endpoint.speech, kind) {
        (Speech::Tls, CheckKind::Tcp) => Version::Other,
        (Speech::Tls, CheckKind::Http) => Version::Http1,
        _ => Version::Any,
    };
    let tls = endpoint.tls.as_ref().map(|tls| (tls.config(version), &tls.name));
    let dialled = dial_as(OwnEnd::default(), first, &target, tls, settings.timeout).await;
    let (wire, agreed) = dialled.map_err(|error| error.to_string())?;
    match kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http => http(settings, endpoint, wire, agreed).await,
        CheckKind::Grpc => grpc(settings, endpoint, wire, agreed).await,
    }
}

/// The question, as HTTP/2 has it.
fn question(settings: &HealthCheck, endpoint: &Endpoint, method: Method, path: &str) -> Result<Request<()>, String> {
    let host = settings.host.as_deref().map_or(endpoint.authority.as_bytes(), str::as_bytes);
    let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri.map_err(|error| error.to_string())?;
    request.headers_mut().insert(USER_AGENT, AGENT);
    Ok(request)
}

async fn http(settings: &HealthCheck, endpoint: &Endpoint, wire: Wire, agreed: Option<Agreed>) -> Result<(), String> {
    let metrics = Arc::<ProxyMetrics>::default();
    let link =
        speak(wire, endpoint.speech, agreed, Counted::new(&metrics, None)).await.map_err(|error| error.to_string())?;
    let mut exchange = match link {
        Link::Http1(conn) => {
            let mut head = BytesMut::with_capacity(256);
            let host = settings.host.as_deref().map_or(endpoint.authority.as_bytes(), str::as_bytes);
            for part in [b"GET ", settings.path.as_bytes(), b" HTTP/1.1\r\nhost: ", host, b"\r\nuser-agent: "] {
                head.put_slice(part);
            }
            head.put_slice(AGENT.as_bytes());
            head.put_slice(b"\r\naccept: */*\r\nconnection: close\r\n\r\n");
            Exchange::Http1(Box::new(h1::Exchange::new(conn, Method::GET, head, None, (false, false))))
        }
        // Only of those that have carried others.
        Link::Piped(_) => return Err("it carries others".to_owned()),
        Link::Http2(session) => {
            let mut request = question(settings, endpoint, Method::GET, &settings.path)?;
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
            let begun = h2::Exchange::begin(&session, request, None).await;
            Exchange::Http2(Box::new(begun.map_err(|error| error.to_string())?))
        }
    };
    let reply = reply(&mut exchange).await?;
    let status = reply.status.as_u16();
    // Checked when the configuration was read.
    let good = statuses(&settings.status).unwrap_or_default();
    if !good.iter().any(|range| range.contains(&status)) {
        return Err(format!("it answers {status}, which is not {}", settings.status));
    }
    let Some(wanted) = &settings.body else { return Ok(()) };
    match memchr::memmem::find(&content(&mut exchange).await?, wanted.as_bytes()) {
        Some(_) => Ok(()),
        None => Err(format!("its answer does not have {wanted:?} in it")),
    }
}

async fn grpc(settings: &HealthCheck, endpoint: &Endpoint, wire: Wire, agreed: Option<Agreed>) -> Result<(), String> {
    let metrics = Arc::<ProxyMetrics>::default();
    // Where connections are passed on, nothing says what is spoken on them.
    let speech = if endpoint.speech == Speech::Tcp { Speech::Http2 } else { endpoint.speech };
    let link = speak(wire, speech, agreed, Counted::new(&metrics, None)).await.map_err(|error| error.to_string())?;
    let Link::Http2(session) = link else { return Err("it does not speak HTTP/2, as gRPC does".to_owned()) };
    let mut request = question(settings, endpoint, Method::POST, "/grpc.health.v1.Health/Check")?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    let body = Body(Box::new(Once(Some(grpc::request(&settings.service)))));
    let begun = h2::Exchange::begin(&session, request, Some(body)).await.map_err(|error| error.to_string())?;
    let mut exchange = Exchange::Http2(Box::new(begun));
    let reply = reply(&mut exchange).await?;
    if reply.status != http::StatusCode::OK {
        return Err(format!("it answers {}, which is not 200", reply.status.as_u16()));
    }
    let message = content(&mut exchange).await?;
    // Without a message, both may stand in the head.
    let fields = exchange.trailers().unwrap_or(reply.headers);
    match fields.get("grpc-status").map(HeaderValue::as_bytes) {
        Some(b"0") => grpc::response(&message),
        Some(b"12") => Err("it has no health service (UNIMPLEMENTED)".to_owned()),
        Some(code) => Err(format!("it answers with the gRPC status {}", String::from_utf8_lossy(code))),
        None => Err("its answer has no gRPC status".to_owned()),
    }
}

async fn reply(exchange: &mut Exchange) -> Result<Reply, String> {
    poll_fn(|context| exchange.poll_reply(context)).await.map_err(|error| error.to_string())
}

async fn content(exchange: &mut Exchange) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    while content.len() < LOOKED_AT {
        match poll_fn(|context| exchange.poll_part(context)).await {
            Some(part) => content.extend_from_slice(&part.map_err(|error| error.to_string())?),
            None => break,
        }
    }
    Ok(content)
}

/// A body of one part.
struct Once(Option<Bytes>);

impl BodyParts for Once {
    fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        Poll::Ready(self.0.take().map(Ok))
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        None
    }
}
