//! What a browser does over HTTPS, where it speaks HTTP/2.

#![allow(clippy::unwrap_used)]

mod site;

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use http::{Method, Request, StatusCode};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outwork_admin::{AdminSettings, AdminTls};
use outwork_store::tokens::Role;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use site::Site;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../front/tests/tls").join(name)
}

/// A connection as a browser opens one: ALPN offers HTTP/2 first.
async fn browser(site: &Site) -> SendRequest<Body> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(site.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_browser_signs_in_and_makes_changes_over_http_2() {
    let tls = AdminTls { certificate: file("cert.pem"), key: file("key.pem") };
    let site = tokio::task::spawn_blocking(|| Site::with(AdminSettings { tls: Some(tls), ..AdminSettings::default() }));
    let site = site.await.unwrap();
    let token = site.token("browser", Role::Operator);
    let mut browser = browser(&site).await;
    let own = format!("https://localhost:{}", site.address.port());
    let request = |method: Method, path: &str, origin: &str| {
        let request = Request::builder().method(method).uri(format!("{own}/api/v1{path}"));
        request.header("origin", origin).header("x-outwork", "1").header("sec-fetch-site", "same-origin")
    };
    let body = Body::from(json!({ "token": token }).to_string());
    let sign_in = request(Method::POST, "/session", &own).header("content-type", "application/json").body(body);
    let answer = browser.send_request(sign_in.unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let text = String::from_utf8(to_bytes(Body::new(body), 10_000).await.unwrap().to_vec()).unwrap();
    assert_eq!(head.status, StatusCode::OK, "{text}");
    let cookie = head.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    for (origin, status) in [("https://evil.example", StatusCode::FORBIDDEN), (own.as_str(), StatusCode::OK)] {
        let change = request(Method::DELETE, "/thing/thing", origin).header("cookie", &cookie).body(Body::empty());
        assert_eq!(browser.send_request(change.unwrap()).await.unwrap().status(), status, "{origin}");
    }
    assert_eq!(*site.things.lock().unwrap(), 0);
}
