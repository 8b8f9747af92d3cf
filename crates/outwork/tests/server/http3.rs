//! HTTP/3 of the real binary, with another implementation as its client; curl is told where to find it.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::binary::{Place, get, said, text};
use bytes::{Buf, Bytes};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub(crate) const PORT: u16 = 8443;
const LISTENER: &str = "[[front.listener]]\naddress = 'HOST:8443'\ntls = { certificate = 'a.pem', key = 'a.key', http3 = { retry_above = 0 } }\n\
    [[front.route]]\npath = '/pages/*'\nfiles = { root = 'site' }\n[[front.route]]\npath = '/*'\nrespond = { body = 'routed' }\n";

/// A certificate that signs itself, in `a.pem` and `a.key`.
pub(crate) fn certify(dir: &Path, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
    std::fs::write(dir.join("a.key"), key.serialize_pem()).expect("a file");
    std::fs::write(dir.join("a.pem"), certificate.pem()).expect("a file");
}

/// A server with a site, and where it listens.
fn place() -> (Place, SocketAddr) {
    let place = Place::with(LISTENER);
    std::fs::create_dir_all(place.path().join("site/pages")).expect("a folder");
    std::fs::write(place.path().join("site/pages/page.html"), "a page\n".repeat(100_000)).expect("a file");
    certify(place.path(), &["a.test"]);
    let address = SocketAddr::new(place.host().parse().expect("an address"), PORT);
    (place, address)
}

/// A connection of a client that trusts nothing but `a.pem` as it is now.
pub(crate) async fn connect(place: &Place, to: SocketAddr) -> Result<Connection, quinn::ConnectionError> {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_file(place.path().join("a.pem")).expect("a certificate");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut tls = tls.expect("a version").with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into()).expect("a socket");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a suite"))));
    endpoint.connect(to, "a.test").expect("a client").await
}

/// Asks for a page on a connection of its own requests.
struct Client(h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>);

impl Client {
    async fn over(quic: Connection) -> Self {
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic)).await.expect("HTTP/3");
        tokio::spawn(async move { poll_fn(|context| driver.poll_close(context)).await });
        Self(requests)
    }

    async fn get(&mut self, path: &str) -> String {
        let request = http::Request::get(format!("https://a.test:{PORT}{path}")).body(()).expect("a request");
        let mut stream = self.0.send_request(request).await.expect("a stream");
        stream.finish().await.expect("it is open");
        let head = stream.recv_response().await.expect("an answer");
        let mut content = Vec::new();
        while let Some(mut part) = stream.recv_data().await.expect("content") {
            content.extend_from_slice(&part.copy_to_bytes(part.remaining()));
        }
        format!("{} {}", head.status().as_u16(), text(&content))
    }
}

#[test]
fn a_site_is_served_over_http_3_through_reloads_until_the_server_stops() {
    let (mut place, to) = place();
    place.start();
    let told = said(place.curl().args(["-i", "--cacert", "a.pem", &format!("https://a.test:{PORT}/")]));
    assert!(told.contains(&format!("alt-svc: h3=\":{PORT}\"; ma=86400")), "{told}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let quic = connect(&place, to).await.expect("a connection");
        let mut client = Client::over(quic.clone()).await;
        assert_eq!(client.get("/").await, "200 routed");
        let page = client.get("/pages/page.html").await;
        assert!(page.starts_with("200 a page") && page.len() == 4 + 700_000, "{}", page.len());
        let metrics = get(&format!("http://{}:8067/metrics", to.ip()), &[]);
        for line in [
            "outwork_front_quic_connections_total 1",
            "outwork_front_quic_retries_total 1",
            "outwork_front_protocols_total{protocol=\"http3\"} 2",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        // Another certificate: whoever is here stays, who comes gets that.
        certify(place.path(), &["a.test", "b.test"]);
        place.must(&["reload"]);
        assert!(connect(&place, to).await.is_ok());
        assert_eq!(client.get("/").await, "200 routed");
        let file = place.path().join("outwork.toml");
        let settings = std::fs::read_to_string(&file).expect("the file");
        std::fs::write(&file, settings.replace("retry_above = 0", "enabled = false")).expect("the file");
        place.must(&["reload"]);
        let over = |ended: quinn::ConnectionError| {
            let quinn::ConnectionError::ApplicationClosed(closed) = &ended else { panic!("{ended}") };
            assert_eq!(closed.error_code.into_inner(), 0x100);
        };
        over(quic.closed().await);
        let told = said(place.curl().args(["-i", "--cacert", "a.pem", &format!("https://a.test:{PORT}/")]));
        assert!(told.contains("routed") && !told.contains("alt-svc"), "it was turned off: {told}");
        std::fs::write(&file, settings).expect("the file");
        place.must(&["reload"]);
        let quic = connect(&place, to).await.expect("it was turned on again");
        let mut client = Client::over(quic.clone()).await;
        assert_eq!(client.get("/").await, "200 routed");
        assert_eq!(place.stop(15).code(), Some(0));
        over(quic.closed().await);
    });
}

/// What Chromium is told to trust a certificate by: the hash of its key.
const KEY_HASH: &str =
    "openssl x509 -in a.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64";

#[test]
fn a_browser_shows_a_page_that_it_got_over_quic() {
    let (mut place, to) = place();
    let page = "<p>a page</p><script>document.body.dataset.over = performance.getEntriesByType('navigation')[0].nextHopProtocol</script>";
    std::fs::write(place.path().join("site/pages/script.html"), page).expect("a file");
    place.start();
    let hash = Command::new("sh").current_dir(place.path()).args(["-c", KEY_HASH]).output().expect("openssl");
    let profile = place.path().join("profile").display().to_string();
    let browser = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--dump-dom",
        ])
        .args(["--no-proxy-server", &format!("--user-data-dir={profile}")])
        .arg(format!("--ignore-certificate-errors-spki-list={}", text(&hash.stdout).trim()))
        .arg(format!("--host-resolver-rules=MAP a.test {}", to.ip()))
        .args(["--enable-quic", &format!("--origin-to-force-quic-on=a.test:{PORT}")])
        .arg(format!("https://a.test:{PORT}/pages/script.html"))
        .output()
        .expect("chromium");
    let shown = text(&browser.stdout);
    assert!(shown.contains("data-over=\"h3\"") && shown.contains("<p>a page</p>"), "{shown} {}", text(&browser.stderr));
}
