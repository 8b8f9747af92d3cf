//! HTTPS of the real binary: curl and openssl as clients, certificates that change, the local authority.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::binary::{Place, json, text, until};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

const HTTP: u16 = 8080;
const HTTPS: u16 = 8443;

const ROUTES: &str = "[[front.route]]\npath = '/*'\nrespond = { body = 'routed' }\n";

/// An authority that signs what a test needs; its root is in `root.pem`.
pub(crate) struct Ca(Issuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "the root of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        std::fs::write(dir.join("root.pem"), params.self_signed(&key).expect("a root").pem()).expect("a file");
        Self(Issuer::new(params, key))
    }

    /// Writes `FILE.pem` and `FILE.key`, good since long and for so many days from now.
    pub(crate) fn sign(&self, dir: &Path, file: &str, names: &[&str], days: u64) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        params.not_before = (now - 90 * day).into();
        params.not_after = (now + day * u32::try_from(days).expect("few")).into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        // The key first, as tools that renew do it not: what does not belong together is not taken up.
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).expect("a file");
        std::fs::write(dir.join(format!("{file}.pem")), certificate.pem()).expect("a file");
    }
}

fn change(place: &Place, from: &str, to: &str) {
    place.change(|before| {
        assert!(before.contains(from), "{before}");
        before.replace(from, to)
    });
}

/// What curl does that trusts `root`.
fn curl(place: &Place, root: &str, arguments: &[&str]) -> Output {
    place.curl().args(["--cacert", root]).args(arguments).output().expect("curl")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// The certificate that a client gets who asks for `name`, as openssl shows its names.
fn names(place: &Place, host: &str, name: Option<&str>) -> String {
    let to = format!("{host}:{HTTPS}");
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &to]);
    match name {
        Some(name) => client.args(["-servername", name]),
        None => client.arg("-noservername"),
    };
    let shown = client.stdin(Stdio::null()).output().expect("openssl");
    let mut reader = Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName"])
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    // It may have seen enough before the end.
    let _ = reader.stdin.take().expect("its input").write_all(&shown.stdout);
    text(&reader.wait_with_output().expect("openssl").stdout)
}

/// A connection that stays: openssl as the client.
struct Kept(Child);

impl Kept {
    fn open(host: &str, name: &str) -> Self {
        let client = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &format!("{host}:{HTTPS}"), "-servername", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(client.expect("openssl"))
    }

    fn ask(&mut self) -> String {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        self.0.stdin.as_mut().expect("its input").write_all(request).expect("it is open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"routed") {
            let mut some = [0; 1024];
            let read = self.0.stdout.as_mut().expect("its output").read(&mut some).expect("an answer");
            assert!(read > 0, "the connection stays");
            answer.extend_from_slice(&some[..read]);
        }
        text(&answer)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Nothing to do about one that has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LISTENER: &str = "[[front.listener]]\naddress = 'HOST:8443'\n";

#[test]
fn https_is_served_by_name_over_http_2_and_http_1() {
    let tls =
        "tls = { certificate = 'a.pem', key = 'a.key', certificates = [{ certificate = 'b.pem', key = 'b.key' }] }\n";
    let mut place = Place::with(&[LISTENER, tls, ROUTES].concat());
    let host = place.host().to_owned();
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "a", &["a.test"], 90);
    ca.sign(place.path(), "b", &["b.test", "*.b.test"], 90);
    place.start();
    let form = ["-w", " %{http_version}"];
    for (name, version, protocol) in
        [("a.test", "--http2", "2"), ("b.test", "--http1.1", "1.1"), ("x.b.test", "--http2", "2")]
    {
        let url = format!("https://{name}:{HTTPS}/");
        let answered = curl(&place, "root.pem", &[&[version, &url], &form[..]].concat());
        assert_eq!(said(&answered), format!("routed {protocol}"), "{name}");
    }
    assert!(names(&place, &host, None).contains("DNS:a.test"), "the first for those who ask for none");
    assert!(names(&place, &host, Some("other.test")).contains("DNS:a.test"));
    let listed = json(&place.outwork(&["tls", "status", "--json"]));
    let kinds: Vec<_> =
        listed["items"].as_array().expect("certificates").iter().map(|one| (&one["name"], &one["kind"])).collect();
    assert_eq!(format!("{kinds:?}"), r#"[(String("a.test"), String("files")), (String("b.test"), String("files"))]"#);
    let shown = place.must(&["tls", "status"]);
    assert!(shown.contains("b.test *.b.test") && shown.contains("the root of a test"), "{shown}");
    let metrics = said(&curl(&place, "root.pem", &[&format!("http://{host}:8067/metrics")]));
    assert!(metrics.contains("outwork_front_tls_handshakes_total{handshake=\"full_tls13\"}"), "{metrics}");
    until("the file", || {
        let metrics = said(&curl(&place, "root.pem", &[&format!("http://{host}:8067/metrics")]));
        metrics.contains("outwork_front_certificate_expiry_seconds{certificate=\"a.test\",issuer=\"files\"} 77")
    });
}

#[test]
fn certificates_are_replaced_by_a_reload_and_by_changed_files_while_connections_stay() {
    let mut place = Place::with(&[LISTENER, "tls = { certificate = 'a.pem', key = 'a.key' }\n", ROUTES].concat());
    let host = place.host().to_owned();
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "a", &["a.test"], 90);
    place.start();
    let mut kept = Kept::open(&host, "a.test");
    kept.ask();
    ca.sign(place.path(), "a", &["a.test", "second.test"], 90);
    until("the reload", || names(&place, &host, Some("a.test")).contains("DNS:second.test"));
    kept.ask();
    ca.sign(place.path(), "a", &["a.test", "third.test"], 90);
    place.must(&["reload"]);
    assert!(names(&place, &host, Some("a.test")).contains("DNS:third.test"), "a reload does not wait");
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    let logged = ["names=\"a.test third.test\"", "before=\"a.test second.test\""];
    assert!(log.lines().any(|line| logged.iter().all(|part| line.contains(part))), "{log}");
    kept.ask();
    ca.sign(place.path(), "b", &["b.test"], 90);
    change(
        &place,
        "key = 'a.key' }",
        "key = 'a.key', min_version = '1.3', certificates = [{ certificate = 'b.pem', key = 'b.key' }] }",
    );
    place.must(&["reload"]);
    assert!(names(&place, &host, Some("b.test")).contains("DNS:b.test"));
    let old = curl(&place, "root.pem", &["--tls-max", "1.2", &format!("https://a.test:{HTTPS}/")]);
    assert!(!old.status.success(), "{old:?}");
    kept.ask();
    std::fs::write(place.path().join("b.key"), "nothing").expect("a file");
    let refused = place.outwork(&["reload"]);
    let why = text(&refused.stderr);
    assert!(
        !refused.status.success() && why.contains("front.listener[0].tls") && why.contains("b.key: no private key"),
        "{why}"
    );
    change(&place, "tls = {", "#tls = {");
    place.must(&["reload"]);
    let clear = curl(&place, "root.pem", &[&format!("http://a.test:{HTTPS}/")]);
    assert!(clear.status.success(), "whoever comes now finds clear text: {clear:?}");
    kept.ask();
}

#[test]
fn clients_show_certificates_where_that_is_required() {
    let tls =
        "tls = { certificate = 'a.pem', key = 'a.key', client_auth = { ca = 'root.pem' }, unknown_names = 'refuse' }\n";
    let mut place = Place::with(&[LISTENER, tls, ROUTES].concat());
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "a", &["a.test"], 90);
    ca.sign(place.path(), "client", &["ann"], 90);
    place.start();
    let url = format!("https://a.test:{HTTPS}/");
    let shown = curl(&place, "root.pem", &["--cert", "client.pem", "--key", "client.key", &url]);
    assert_eq!(said(&shown), "routed");
    let not_shown = curl(&place, "root.pem", &[&url]);
    assert!(!not_shown.status.success() && text(&not_shown.stderr).contains("certificate required"), "{not_shown:?}");
    let unknown = curl(&place, "root.pem", &[&format!("https://b.test:{HTTPS}/")]);
    assert!(text(&unknown.stderr).contains("unrecognized name"), "{unknown:?}");
}

#[test]
fn where_certificates_are_optional_routes_say_what_needs_one_and_the_log_says_whose_it_was() {
    let tls = "tls = { certificate = 'a.pem', key = 'a.key', client_auth = { ca = 'root.pem', mode = 'optional' } }\n";
    let routes = "[front.access_log]\nfile = 'log'\nfields = ['target', 'status', 'client_subject', 'client_fingerprint']\n\
                  [[front.route]]\npath = '/*'\nrespond = { body = 'routed' }\n\
                  [[front.route]]\npath = '/any'\nrespond = { body = 'routed' }\nclient_certificate = {}\n\
                  [[front.route]]\npath = '/bob'\nrespond = { body = 'routed' }\nclient_certificate = { subjects = ['CN=bob'] }\n";
    let mut place = Place::with(&[LISTENER, tls, routes].concat());
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "a", &["a.test"], 90);
    ca.sign(place.path(), "client", &["ann"], 90);
    place.start();
    let ann = ["--cert", "client.pem", "--key", "client.key"];
    // Often enough on one connection for the answers to be known by heart.
    let statuses = |version: &str, who: &[&str], path: &str| {
        let url = format!("https://a.test:{HTTPS}{path}");
        let asked = ["-o", "/dev/null", url.as_str()].repeat(5);
        let form = [version, "-w", "%{http_code} "];
        said(&curl(&place, "root.pem", &[&form[..], who, &asked].concat()))
    };
    let five = |status: &str| format!("{status} ").repeat(5);
    for version in ["--http1.1", "--http2"] {
        assert_eq!(statuses(version, &ann, "/any"), five("200"), "{version}");
        assert_eq!(statuses(version, &[], "/any"), five("403"), "{version}");
        assert_eq!(statuses(version, &ann, "/bob"), five("403"), "{version}");
        assert_eq!(statuses(version, &[], "/"), five("200"), "{version}");
    }
    place.stop(15);
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    let has = |line: &str| log.lines().any(|one| one.starts_with(line));
    assert!(has(r#"{"target":"/any","status":200,"client_subject":"CN=ann","client_fingerprint":""#), "{log}");
    assert!(has(r#"{"target":"/any","status":403,"client_subject":null,"client_fingerprint":null}"#), "{log}");
}

#[test]
fn clear_text_goes_to_https_which_asks_to_be_kept_to() {
    let lines = "[[front.listener]]\naddress = 'HOST:8080'\nredirect_https = 8443\n\
                 [[front.listener]]\naddress = 'HOST:8443'\nhsts = { include_subdomains = true }\n\
                 tls = { certificate = 'a.pem', key = 'a.key' }\n";
    let mut place = Place::with(&[lines, ROUTES].concat());
    Ca::new(place.path()).sign(place.path(), "a", &["a.test"], 90);
    place.start();
    let form = "%{http_code} %{redirect_url}";
    let url = format!("http://a.test:{HTTP}/x?y=1");
    let redirected = curl(&place, "root.pem", &["-o", "/dev/null", "-w", form, &url]);
    assert_eq!(said(&redirected), format!("308 https://a.test:{HTTPS}/x?y=1"));
    for version in ["--http1.1", "--http2"] {
        let followed = said(&curl(&place, "root.pem", &["-L", "-i", version, &url]));
        assert!(followed.ends_with("routed"), "{followed}");
        assert!(followed.contains("strict-transport-security: max-age=31536000; includeSubDomains"), "{followed}");
    }
    change(&place, "redirect_https = 8443\n", "");
    change(&place, "hsts = { include_subdomains = true }\n", "");
    place.must(&["reload"]);
    until("the reload", || said(&curl(&place, "root.pem", &["-i", &url])).starts_with("HTTP/1.1 200"));
    until("the file", || {
        !said(&curl(&place, "root.pem", &["-i", &format!("https://a.test:{HTTPS}/")])).contains("strict-transport")
    });
}

#[test]
fn the_local_authority_certifies_for_who_trusts_its_root() {
    let mut place =
        Place::with(&[LISTENER, "tls = { local = ['localhost', '*.shop.test', '127.0.0.1'] }\n", ROUTES].concat());
    place.start();
    let root = place.outwork(&["tls", "ca"]);
    assert!(root.status.success() && text(&root.stderr).contains("update-ca-certificates"), "{root:?}");
    std::fs::write(place.path().join("ca.pem"), &root.stdout).expect("a file");
    for name in ["localhost", "www.shop.test", "127.0.0.1"] {
        let answered = curl(&place, "ca.pem", &[&format!("https://{name}:{HTTPS}/")]);
        assert_eq!(said(&answered), "routed", "{name}");
    }
    assert!(!curl(&place, "ca.pem", &[&format!("https://other.test:{HTTPS}/")]).status.success());
    let certificate = &json(&place.outwork(&["tls", "status", "--json"]))["items"][0];
    assert_eq!((&certificate["kind"], &certificate["provisional"]), (&"local".into(), &false.into()));
    assert!(certificate["next_renewal"].is_string() && certificate["issuer"].to_string().contains("local authority"));
    let made = json(&place.outwork(&["tls", "ca", "--json"]));
    assert_eq!(made["path"], place.data().join("tls/local/ca.pem").display().to_string());
    place.stop(15);
    place.start();
    assert_eq!(place.outwork(&["tls", "ca"]).stdout, root.stdout, "it is made once");
    place.stop(15);
    change(&place, "'127.0.0.1'] }", "'www.example.com'] }");
    let refused = text(&place.outwork(&["run"]).stderr);
    assert!(refused.contains("front.listener[0].tls") && refused.contains("made for other names"), "{refused}");
}

#[test]
fn a_server_without_a_local_authority_says_that_it_has_none() {
    let mut place = Place::new();
    place.start();
    let none = text(&place.outwork(&["tls", "ca"]).stderr);
    assert!(none.contains("tls = { local = [...] }"), "{none}");
    assert_eq!(place.must(&["tls", "status"]), "no certificates are in use\n");
}

#[test]
fn check_reads_certificates_and_says_what_is_wrong_with_them_and_what_soon_will_be() {
    let lines = "[[front.listener]]\naddress = 'HOST:8443'\n\
                 tls = { certificate = 'soon.pem', key = 'soon.key', certificates = [{ certificate = 'soon.pem', key = 'b.key' }], \
                 client_auth = { ca = 'soon.key' } }\n";
    let place = Place::with(lines);
    let ca = Ca::new(place.path());
    ca.sign(place.path(), "soon", &["soon.test"], 5);
    ca.sign(place.path(), "b", &["b.test"], 90);
    let said = place.outwork(&["check"]);
    let wrong = text(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{wrong}");
    assert!(
        wrong.contains("front.listener[0].tls.certificates[0].certificate") && wrong.contains("this is not the key of"),
        "{wrong}"
    );
    assert!(
        wrong.contains("front.listener[0].tls.client_auth.ca") && wrong.contains("soon.key: no certificate in it"),
        "{wrong}"
    );
    change(
        &place,
        ", certificates = [{ certificate = 'soon.pem', key = 'b.key' }], client_auth = { ca = 'soon.key' }",
        "",
    );
    let said = place.outwork(&["check"]);
    let warned = text(&said.stderr);
    assert!(said.status.success() && warned.contains("soon.pem: the certificate expires in 4 days"), "{said:?}");
    assert!(text(&said.stdout).contains("no faults, 2 warnings"), "there is no route, either: {said:?}");
}

#[test]
fn a_key_for_root_alone_is_remarked_on_where_the_server_becomes_another_user() {
    let place = Place::with(&[LISTENER, "tls = { certificate = 'a.pem', key = 'a.key' }\n", ROUTES].concat());
    Ca::new(place.path()).sign(place.path(), "a", &["a.test"], 90);
    let open = |path: &Path, mode: u32| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    open(place.path(), 0o755);
    open(&place.path().join("a.key"), 0o600);
    let keys = |more: &[&str]| {
        let told = json(&place.outwork(&[["check", "--json"].as_slice(), more].concat()));
        let list = told.as_array().expect("a list").iter();
        list.map(|one| (one["key"].to_string(), one["found"].to_string())).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[]), []);
    let another = keys(&["--set", "process.user=nobody"]);
    assert!(another.len() == 1 && another[0].0 == "\"front.listener[0].tls.key\"", "{another:?}");
    assert!(another[0].1.contains("nobody (process.user)"), "{another:?}");
    open(&place.path().join("a.key"), 0o640);
    assert_eq!(keys(&["--set", "process.user=nobody"]), [], "it may be of that group");
}

#[test]
fn settings_of_tls_that_do_not_go_together_are_named() {
    let place = Place::with(
        "[[front.listener]]\naddress = 'HOST:1'\nredirect_https = true\nhsts = { preload = true }\n\
         tls = { certificate = 'a.pem', ciphers = 'modern', min_version = '1.2', acme = ['*.example.org'] }\n\
         [[front.listener]]\naddress = 'HOST:2'\nhsts = {}\nredirect_https = 0\n\
         [front.acme]\nemail = 'nobody'\ndirectory = 'http://example.org'\nchallenges = []\n\
         external_account = { key_id = 'a', hmac_key = '*' }\n",
    );
    let said = text(&place.outwork(&["check"]).stderr);
    for fault in [
        "front.listener[0].tls.acme[0]",
        "a wildcard needs a challenge in the DNS",
        "front.listener[1].redirect_https",
        "front.acme.directory",
        "front.acme.external_account.hmac_key",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    assert!(!said.contains("'*'"), "secrets are not shown: {said}");
    change(&place, "acme = ['*.example.org']", "acme = ['www.example.org']");
    change(&place, "redirect_https = 0\n", "");
    change(&place, "directory = 'http://example.org'\n", "");
    change(&place, "hmac_key = '*'", "hmac_key = 'AAAA'");
    let said = text(&place.outwork(&["check"]).stderr);
    for fault in [
        "front.listener[0].tls.certificate",
        "front.listener[0].tls.min_version",
        "front.listener[0].redirect_https",
        "front.listener[0].tls.acme: the terms of service",
        "front.listener[1].hsts",
        "front.acme.email",
        "front.acme.challenges",
        "warning: front.listener[0].hsts.preload",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
}
