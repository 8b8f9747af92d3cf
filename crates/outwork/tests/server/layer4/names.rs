//! TLS at layer 4: names on their way past, TLS that ends here or begins here, and the PROXY protocol.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{backend, echo, metric};
use crate::binary::{Place, text, until};
use crate::tls::Ca;

/// What openssl hears until it has heard this, or until it ends.
fn hear(mut client: Child, until: &str) -> String {
    let (mut heard, mut some) = (Vec::new(), [0; 4096]);
    let mut output = client.stdout.take().expect("its output");
    while let Ok(read @ 1..) = output.read(&mut some) {
        heard.extend_from_slice(&some[..read]);
        if text(&heard).contains(until) {
            break;
        }
    }
    // It may have ended by itself.
    let _ = client.kill();
    let _ = client.wait();
    text(&heard)
}

/// openssl as a client that asks for this name, and knows who is to vouch for it.
fn client(place: &Place, name: Option<&str>, more: &[&str]) -> Child {
    let mut client = Command::new("openssl");
    client.current_dir(place.path()).args(["s_client", "-verify_return_error", "-CAfile", "root.pem", "-ign_eof"]);
    client.args(["-connect", &format!("{}:7000", place.host())]).args(more);
    match name {
        Some(name) => client.args(["-servername", name, "-verify_hostname", name]),
        None => client.arg("-noservername"),
    };
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl")
}

/// What it hears who says one line.
fn ask(place: &Place, name: Option<&str>, more: &[&str]) -> String {
    let mut client = client(place, name, &[&["-quiet"][..], more].concat());
    // One that was refused listens no longer.
    let _ = client.stdin.as_mut().expect("its input").write_all(b"hello\n");
    hear(client, "\n")
}

/// A server of TLS with a certificate of its own, which says its name and ends: openssl.
struct Server(Child, SocketAddr);

impl Server {
    fn new(place: &Place, file: &str, more: &[&str]) -> Self {
        let free = std::net::TcpListener::bind((place.host(), 0)).expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut server = Command::new("openssl");
        server.current_dir(place.path()).args(["s_server", "-quiet", "-rev", "-accept", &address.to_string()]);
        server.args(["-cert", &format!("{file}.pem"), "-key", &format!("{file}.key")]).args(more);
        let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("openssl");
        until("it to listen", || TcpStream::connect(address).is_ok());
        Self(child, address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listen(place: &Place, lines: &str) {
    let host = place.host();
    place.change(|text| {
        let kept = text.split("# layer 4").next().unwrap_or_default().to_owned();
        format!("{kept}# layer 4\n{}", lines.replace("HOST", host))
    });
}

#[test]
fn tls_passes_through_to_the_pool_of_the_name_that_is_asked_for() {
    let mut place = Place::new();
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "a", &["a.test"], 90);
    ca.sign(place.path(), "b", &["*.b.test"], 90);
    let (a, b) = (Server::new(&place, "a", &[]), Server::new(&place, "b", &[]));
    listen(
        &place,
        &format!(
            "[proxy.pool.a]\nbackend = [{{ url = 'tcp://{}' }}]\n[proxy.pool.b]\nbackend = [{{ url = 'tcp://{}' }}]\n\
             [[proxy.listener]]\nname = 'app'\naddress = ['HOST:7000']\n\
             sni = [{{ names = ['a.test'], pool = 'a' }}, {{ names = ['*.b.test'], pool = 'b' }}]\n",
            a.1, b.1
        ),
    );
    place.start();
    // The certificates are the backends' own, and each is verified by its name.
    assert_eq!(ask(&place, Some("a.test"), &["-tls1_2"]), "olleh\n");
    assert_eq!(ask(&place, Some("A.test"), &[]), "olleh\n");
    assert_eq!(ask(&place, Some("x.b.test"), &[]), "olleh\n");
    for unknown in [Some("b.test"), Some("c.test"), None] {
        assert_eq!(ask(&place, unknown, &[]), "", "{unknown:?}");
    }
    until("they to be counted", || metric(&place, "refused_total", ",reason=\"name\"") == 3.0);
    // Who speaks something else is sent away.
    let mut client = TcpStream::connect((place.host(), 7000)).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is heard");
    let _ = client.read_to_end(&mut Vec::new());
    until("it to be counted", || metric(&place, "refused_total", ",reason=\"tls\"") == 1.0);
}

#[test]
fn tls_ends_here_and_the_name_chooses_the_pool_and_the_certificate_changes_with_a_reload() {
    let mut place = Place::new();
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "own", &["a.test", "b.test"], 90);
    let (one, two) = (echo(place.host(), "one\n"), echo(place.host(), "two\n"));
    let lines = |tls: &str| {
        format!(
            "[proxy.pool.one]\nbackend = [{{ url = 'tcp://{one}' }}]\n[proxy.pool.two]\nbackend = [{{ url = 'tcp://{two}' }}]\n\
             [[proxy.listener]]\nname = 'app'\naddress = ['HOST:7000']\npool = 'one'\nsni = [{{ names = ['b.test'], pool = 'two' }}]\n\
             tls = {{ certificate = 'own.pem', key = 'own.key'{tls} }}\n"
        )
    };
    listen(&place, &lines(""));
    place.start();
    let quit = |name: &str, more: &[&str], until: &str| hear(client(&place, Some(name), more), until);
    assert!(quit("a.test", &["-alpn", "postgresql"], "one\n").contains("one\n"));
    assert!(quit("b.test", &[], "two\n").contains("two\n"));
    assert!(!quit("c.test", &[], "one\n").contains("one\n"), "it has no certificate for that name");
    ca.sign(place.path(), "own", &["c.test"], 90);
    listen(&place, &lines(", alpn = ['h2']"));
    place.must(&["reload"]);
    let heard = quit("c.test", &["-alpn", "h2"], "one\n");
    assert!(heard.contains("one\n") && heard.contains("ALPN protocol: h2"), "{heard}");
}

#[test]
fn backends_are_told_whose_a_connection_is_and_tls_begins_here_where_they_speak_it() {
    let mut place = Place::new();
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "db", &["db.test"], 90);
    let line = backend(place.host(), |mut stream| {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).expect("a line");
            line.push(octet[0]);
        }
        stream.write_all(&line).expect("it is heard");
    });
    let server = Server::new(&place, "db", &[]);
    listen(
        &place,
        &format!(
            "[proxy.pool.line]\nbackend = [{{ url = 'tcp://{line}' }}]\n\
             [proxy.pool.db]\nbackend = [{{ url = 'tls://{}' }}]\ntls = {{ ca = 'root.pem', name = 'db.test' }}\n\
             health_check = {{ interval = '50ms', fast_interval = '50ms' }}\n\
             [[proxy.listener]]\nname = 'app'\naddress = ['HOST:7000']\npool = 'line'\nsend_proxy = 'v1'\nproxy_protocol = {{ from = ['127.0.0.0/8'] }}\n\
             [[proxy.listener]]\naddress = ['HOST:7001']\npool = 'db'\n",
            server.1
        ),
    );
    place.start();
    let mut client = TcpStream::connect((place.host(), 7000)).expect("it listens");
    client.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n").expect("it is heard");
    let mut heard = String::new();
    client.read_to_string(&mut heard).expect("an echo");
    assert_eq!(heard, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "both ends, as they were told");
    let mut client = TcpStream::connect((place.host(), 7000)).expect("it listens");
    client.write_all(b"hello\r\n").expect("it is heard");
    let _ = client.read_to_end(&mut Vec::new());
    until("who says nothing of that to be counted", || metric(&place, "refused_total", ",reason=\"proxy\"") == 1.0);
    let mut client = TcpStream::connect((place.host(), 7001)).expect("it listens");
    client.write_all(b"hello\n").expect("it is heard");
    let mut back = [0; 6];
    client.read_exact(&mut back).expect("an answer out of TLS");
    assert_eq!(&back, b"olleh\n");
}
