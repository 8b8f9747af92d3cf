//! Backends that want to know whom they talk to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{body, site};
use crate::binary::{Place, get};
use crate::tls::Ca;

/// Requests that need a connection at once.
const TOGETHER: usize = 8;

/// Answers one request, and ends the connection.
fn answer(stream: TcpStream, tls: &Arc<ServerConfig>) {
    let session = ServerConnection::new(Arc::clone(tls)).expect("a session");
    let mut stream = StreamOwned::new(session, stream);
    let (mut heard, mut some) = (Vec::new(), [0; 1024]);
    while !heard.ends_with(b"\r\n\r\n") {
        match stream.read(&mut some) {
            Ok(read @ 1..) => heard.extend_from_slice(&some[..read]),
            _ => return,
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nknown");
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

#[test]
fn connections_to_a_backend_that_speaks_no_http_2_are_opened_beside_each_other() {
    let mut place = Place::new();
    let (dir, ca) = (place.path(), Ca::new(place.path()));
    ca.sign(dir, "backend", &["backend.test"], 90);
    let chain = CertificateDer::pem_file_iter(dir.join("backend.pem")).expect("a file");
    let key = PrivateKeyDer::from_pem_file(dir.join("backend.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let chain = chain.map(|one| one.expect("one")).collect();
    let tls = Arc::new(tls.with_no_client_auth().with_single_cert(chain, key).expect("a certificate"));
    let listener = TcpListener::bind((place.host(), 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut streams = listener.incoming().map_while(Result::ok);
        // The first shows what it speaks.
        streams.by_ref().take(1).for_each(|stream| answer(stream, &tls));
        // Nobody gets further than the connection itself before all have one.
        let all = Arc::new(Barrier::new(TOGETHER));
        for stream in streams {
            let (all, tls) = (Arc::clone(&all), Arc::clone(&tls));
            std::thread::spawn(move || {
                all.wait();
                answer(stream, &tls);
            });
        }
    });
    let root = dir.join("root.pem");
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[front]\nworkers = 1\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy.pool.app]\nbackend = [{{ url = 'https://{address}' }}]\nretry = {{ attempts = 0 }}\n\
             tls = {{ ca = '{}', name = 'backend.test' }}\nconnections = {{ connect_timeout = '60s' }}\n",
            root.display()
        )
    });
    place.start();
    assert_eq!(body(&get(&site(&place), &[])), "known");
    let site = site(&place);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(|| get(&site, &[]))).collect();
        asked.into_iter().for_each(|one| assert_eq!(body(&one.join().expect("an answer")), "known"));
    });
}

#[test]
fn a_backend_that_asks_for_a_certificate_is_shown_that_of_its_pool() {
    let mut server = Place::new();
    let ca = Ca::new(server.path());
    ca.sign(server.path(), "server", &["backend.test"], 90);
    ca.sign(server.path(), "proxy", &["proxy.test"], 90);
    server.change(|text| {
        format!(
            "{text}\n[[front.listener]]\naddress = '{}:8443'\n\
             tls = {{ certificate = 'server.pem', key = 'server.key', client_auth = {{ ca = 'root.pem' }} }}\n\
             [[front.route]]\npath = '/*'\nrespond = {{ body = 'known' }}\nclient_certificate = {{ subjects = ['CN=proxy.test'] }}\n",
            server.host()
        )
    });
    server.start();
    let mut place = Place::new();
    let dir = server.path().display().to_string();
    let configure = |place: &Place, more: &str| {
        place.change(|text| {
            let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
            let (host, backend) = (place.host(), server.host());
            format!(
                "{kept}# proxy\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
                 [proxy.pool.app]\nbackend = [{{ url = 'https://{backend}:8443' }}]\n\
                 tls = {{ ca = '{dir}/root.pem', name = 'backend.test'{more} }}\n"
            )
        });
    };
    let shown = format!(", certificate = '{dir}/proxy.pem', key = '{dir}/proxy.key'");
    configure(&place, &shown);
    place.start();
    assert_eq!(body(&get(&site(&place), &[])), "known");
    configure(&place, &format!("{shown}, http2 = false"));
    place.must(&["reload"]);
    assert_eq!(body(&get(&site(&place), &[])), "known");
    configure(&place, "");
    place.must(&["reload"]);
    let refused = get(&site(&place), &[]);
    assert!(refused.starts_with("HTTP/1.1 502 "), "nothing is shown, and no connection of before is used: {refused}");
}
