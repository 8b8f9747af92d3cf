//! Tokens before routes of the real binary: keys at a server that changes them, claims that are handed on, and what `outwork check` says.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::binary::{Place, curl, field, get, text, until, until_some};
use serde_json::Value as Json;

/// Somebody who issues tokens: a key, and what is published of it.
struct Issuer {
    key: rcgen::KeyPair,
    id: &'static str,
}

impl Issuer {
    fn new(id: &'static str) -> Self {
        Self { key: rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key"), id }
    }

    fn set(&self) -> String {
        let x = base64url(self.key.public_key_raw());
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{}","x":"{x}"}}]}}"#, self.id)
    }

    /// A token of ann's with these claims, good for ten minutes.
    fn token(&self, claims: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.id);
        let claims = format!(r#"{{"iss":"https://login.test","aud":"site","sub":"ann","exp":{},{claims}}}"#, now + 600);
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = rcgen::SigningKey::sign(&self.key, message.as_bytes()).expect("a signature");
        format!("{message}.{}", base64url(&signature))
    }
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |group: u32, at: usize| char::from(DIGITS[(group >> (18 - 6 * at)) as usize & 63]);
    let group = |chunk: &[u8]| {
        let group = (0..3).fold(0, |group, at| group << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        (0..=chunk.len()).map(move |at| digit(group, at)).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// A server that publishes what stands in the cell.
fn publish(content: &Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    let content = Arc::clone(content);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let body = content.lock().expect("the cell").clone();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = reader.get_mut().write_all((head + &body).as_bytes());
        }
    });
    url
}

struct Site {
    place: Place,
    keys: Arc<Mutex<String>>,
}

impl Site {
    fn running(issuer: &Issuer) -> Self {
        let keys = Arc::new(Mutex::new(issuer.set()));
        let url = publish(&keys);
        let mut place = Place::with(&format!(
            "[front]\nworkers = 1\njwt = {{ realm = 'site', claim_headers = {{ x-user = 'sub' }} }}\n\
             [[front.listener]]\naddress = 'HOST:8080'\n\
             [front.access_log]\nfile = 'access.log'\nflush = '10ms'\nfields = ['user', 'status', 'target', 'request:x-user']\n\
             [front.jwt_issuer.login]\nissuer = 'https://login.test'\naudiences = ['site']\njwks_url = '{url}'\nrefetch = '1s'\n\
             [[front.route]]\npath = '/*'\nrespond = {{ body = 'fine' }}\n\
             [[front.route]]\npath = '/mine'\njwt = {{ cookie = 'session', forward = false }}\ncache = {{}}\n\
             respond = {{ body = 'mine', headers = {{ cache-control = 'max-age=600' }} }}\n\
             [[front.route]]\npath = '/shared'\njwt = {{ cookie = 'session', forward = false }}\ncache = {{}}\n\
             respond = {{ body = 'shared', headers = {{ cache-control = 'public, max-age=600' }} }}\n\
             [[front.route]]\npath = '/open'\njwt = {{ enabled = false }}\nrespond = {{ body = 'open' }}\n\
             [[front.route]]\npath = '/admin'\njwt = {{ claims = {{ roles = ['admin', 'root'] }}, scopes = ['write'] }}\nrespond = {{ body = 'admin' }}\n"
        ));
        place.start();
        Self { place, keys }
    }

    fn ask(&self, version: &str, path: &str, token: Option<&str>) -> String {
        let bearer = token.map(|token| format!("Authorization: Bearer {token}"));
        let mut curl = curl();
        curl.args(["-i", version, &format!("http://{}:8080{path}", self.place.host()), "-H", "X-User: root"]);
        curl.args(bearer.iter().flat_map(|bearer| ["-H", bearer]));
        text(&curl.output().expect("curl").stdout)
    }

    fn status(&self, path: &str, token: &str) -> u16 {
        status(&self.ask("--http1.1", path, Some(token)))
    }

    /// The cells of a counter, in the words of the exposition.
    fn counts(&self, metric: &str) -> Vec<String> {
        let all = get(&format!("http://{}:8067/metrics", self.place.host()), &[]);
        all.lines().filter(|line| line.starts_with(metric) && !line.ends_with(" 0")).map(str::to_owned).collect()
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn routes_answer_who_has_a_token_and_say_to_others_what_is_wrong() {
    let issuer = Issuer::new("one");
    let site = Site::running(&issuer);
    let ann = issuer.token(r#""roles":["dev"]"#);
    let root = issuer.token(r#""roles":["root"],"scope":"read write""#);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let none = site.ask(version, "/", None);
        assert_eq!((status(&none), field(&none, "www-authenticate")), (401, Some("Bearer realm=\"site\"")));
        assert!(site.ask(version, "/open", None).ends_with("open"));
        assert!(site.ask(version, "/", Some(&ann)).ends_with("fine"));
        let forbidden = site.ask(version, "/admin", Some(&ann));
        assert_eq!(status(&forbidden), 403);
        assert!(
            field(&forbidden, "www-authenticate").is_some_and(|told| told.ends_with("scope=\"write\"")),
            "{forbidden}"
        );
        assert!(site.ask(version, "/admin", Some(&root)).ends_with("admin"));
        let forged = site.ask(version, "/", Some(&Issuer::new("one").token("\"x\":1")));
        assert_eq!(status(&forged), 401);
        assert!(
            field(&forged, "www-authenticate").is_some_and(|told| told.contains("error=\"invalid_token\"")),
            "{forged}"
        );
    }
    let log = site.place.path().join("access.log");
    let lines = until_some("the lines of the log", || {
        let text = std::fs::read_to_string(&log).ok()?;
        (text.lines().count() >= 12).then_some(text)
    });
    let users: Vec<Json> =
        lines.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON")["user"].clone()).collect();
    assert_eq!(users[..6], [Json::Null, Json::Null, "ann".into(), "ann".into(), "ann".into(), Json::Null]);
}

#[test]
fn an_issuer_may_change_its_keys_and_a_reload_keeps_those_that_were_fetched() {
    let (one, two) = (Issuer::new("one"), Issuer::new("two"));
    let site = Site::running(&one);
    assert_eq!(site.status("/", &one.token("\"x\":1")), 200);
    *site.keys.lock().expect("the cell") = two.set();
    assert_eq!(site.status("/", &two.token("\"x\":1")), 200);
    assert_eq!(site.status("/", &one.token("\"x\":1")), 401);
    // From here on there is nothing to be fetched.
    *site.keys.lock().expect("the cell") = String::new();
    site.place.change(|file| file.replace("'open'", "'reloaded'"));
    site.place.must(&["reload"]);
    until("the reload", || site.ask("--http1.1", "/open", None).ends_with("reloaded"));
    assert_eq!(site.status("/", &two.token("\"x\":2")), 200);
    let fetches = site.counts("outwork_front_jwt_key_fetches");
    assert!(fetches.iter().any(|line| line.contains("fetched")), "{fetches:?}");
    assert!(!fetches.iter().any(|line| line.contains("failed")), "{fetches:?}");
}

#[test]
fn what_a_token_in_a_cookie_lets_through_is_kept_for_others_only_where_the_answer_says_so() {
    let issuer = Issuer::new("one");
    let site = Site::running(&issuer);
    let (ann, again) = (issuer.token("\"x\":1"), issuer.token("\"x\":2"));
    let ask = |path: &str, token: &str| {
        let url = format!("http://{}:8080{path}", site.place.host());
        text(&curl().args(["-i", &url, "-b", &format!("session={token}")]).output().expect("curl").stdout)
    };
    let is_hit = |answer: &str| field(answer, "cache-status").is_some_and(|status| status.contains("; hit"));
    for (path, shared) in [("/mine", false), ("/shared", true)] {
        let (first, second) = (ask(path, &ann), ask(path, &again));
        assert!(first.ends_with(&path[1..]) && second.ends_with(&path[1..]), "{first}\n{second}");
        assert_eq!((is_hit(&first), is_hit(&second)), (false, shared), "{second}");
        assert_eq!(status(&ask(path, "nonsense")), 401, "a hit is behind the token, too");
    }
}
