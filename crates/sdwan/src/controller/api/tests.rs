//! The routes over a socket, with a real controller, database and tokens.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use outwork_front::api::{Access, audited};
use outwork_front::{Binding, Limits, Server};
use outwork_store::database::{Database, DatabaseOptions};
use outwork_store::tokens::{self, Role};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::*;
use crate::channel::message::{PathReport, Report, TrafficReport};
use crate::controller::config::ControllerSettings;
use crate::controller::store::health::Note;

pub(crate) const VIEWER: usize = 0;
pub(crate) const OPERATOR: usize = 1;
pub(crate) const ADMIN: usize = 2;

/// A server with routes of a controller.
pub(crate) struct Lab {
    _dir: TempDir,
    runtime: Runtime,
    controller: Arc<Controller>,
    base: &'static str,
    address: SocketAddr,
    tokens: [String; 3],
    begun: SystemTime,
    _stop: oneshot::Sender<()>,
}

impl Lab {
    /// One that has `routes` at `base`.
    pub(crate) fn new(base: &'static str, routes: impl FnOnce(&Arc<Controller>) -> OpenApiRouter) -> Lab {
        let dir = TempDir::new().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let database = Database::open(&DatabaseOptions::new(dir.path().join("db")), &[]).unwrap();
        let tokens = [("eye", Role::Viewer), ("hand", Role::Operator), ("head", Role::Admin)].map(|(name, role)| {
            let made = database.call(move |db| Ok(tokens::create(db, name, role, None, SystemTime::now())));
            made.wait().unwrap().unwrap().1.expose().to_owned()
        });
        let access = Access::new(Arc::new(database), Arc::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (controller, address) = runtime.block_on(async {
            let settings = ControllerSettings { listen: vec![(Ipv4Addr::LOCALHOST, 0).into()], ..Default::default() };
            let controller = Controller::start(&settings, &dir.path().join("controller")).await.unwrap();
            let limits = Limits {
                connections: 64,
                header_timeout: std::time::Duration::from_secs(10),
                keep_alive: std::time::Duration::from_secs(10),
                request_timeout: std::time::Duration::from_secs(60),
                body_bytes: 64 * 1024,
                drain: std::time::Duration::from_secs(1),
            };
            let binding = Binding { address: (Ipv4Addr::LOCALHOST, 0).into(), tls: None };
            let server = Server::bind(vec![binding], limits, Arc::default()).await.unwrap();
            let address = server.addresses()[0].0;
            let (router, _) = OpenApiRouter::new().nest(base, routes(&controller)).split_for_parts();
            tokio::spawn(server.run(audited(router, access), async { drop(stopped.await) }));
            (controller, address)
        });
        Lab { _dir: dir, runtime, controller, base, address, tokens, begun: SystemTime::now(), _stop: stop }
    }

    /// Status, head and body of what is answered, over HTTP/1.0 so that the body ends with the connection.
    pub(crate) fn send(&self, who: usize, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let token = self.tokens.get(who).map(|token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!(
            "{method} {}/{path} HTTP/1.0\r\nHost: lab\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.base,
            token.unwrap_or_default(),
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, format!("{head}\r\n").to_lowercase(), body.to_owned())
    }

    /// The status, and the body as JSON.
    pub(crate) fn ask(&self, who: usize, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.send(who, method, path, body);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Has a site report one path as often as there are latencies, a second apart, and just now.
    pub(crate) fn report(&self, site: &str, latencies: &[u32]) {
        let begun = self.begun.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 - 30_000;
        for (number, latency) in (1..).zip(latencies) {
            let path = PathReport {
                uplink: "fibre".to_owned(),
                site: "south".to_owned(),
                remote_uplink: "dsl".to_owned(),
                via: String::new(),
                state: "up".to_owned(),
                chosen: true,
                latency_ms: (*latency).into(),
                jitter_ms: 1.0,
                loss: 0.0,
                mos: 4.0,
                sent: 1,
                received: 1,
            };
            let at_ms = begun + number * 1000;
            let traffic = vec![TrafficReport { policy: "calls".to_owned(), packets: 1, octets: 100 }];
            let report = Report { sequence: number, at_ms, paths: vec![path], events: vec![], traffic, more: false };
            self.runtime.block_on(self.controller.store().keep(site, Note::Report(report))).unwrap();
        }
    }

    /// When it has begun, in seconds since 1970.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.duration_since(UNIX_EPOCH).unwrap().as_secs()
    }
}

fn lab() -> Lab {
    Lab::new("/api/v1/controller", |controller| router(Arc::clone(controller)))
}

#[test]
fn operators_change_the_network_and_admins_alone_let_sites_in() {
    let lab = lab();
    let site = json!({ "body": { "name": "north" } }).to_string();
    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let uplink = json!({ "body": { "site": "north", "name": "fibre", "public_key": key } }).to_string();
    let policy = json!({ "body": { "name": "calls", "class": "voice" } }).to_string();
    let again = json!({ "body": { "name": "calls", "class": "video" }, "version": 1 }).to_string();
    let token = json!({ "site": "north" }).to_string();
    for (method, path, body, expected) in [
        ("GET", "sites", "", [200, 200, 200]),
        ("POST", "sites", site.as_str(), [403, 201, 409]),
        ("POST", "uplinks", &uplink, [403, 201, 409]),
        ("POST", "policies", &policy, [403, 201, 409]),
        ("PUT", "policies/calls", &again, [403, 200, 409]),
        ("DELETE", "policies/calls", "", [403, 204, 404]),
        ("GET", "enrolments", "", [403, 403, 200]),
        ("POST", "enrolments", &token, [403, 403, 201]),
        ("DELETE", "enrolments/1", "", [403, 403, 204]),
        ("DELETE", "sites/north/certificates", "", [403, 200, 200]),
        ("DELETE", "uplinks/north/fibre", "", [403, 204, 404]),
        ("DELETE", "sites/north", "", [403, 204, 404]),
    ] {
        for (who, expected) in [VIEWER, OPERATOR, ADMIN].into_iter().zip(expected) {
            let (status, _, body) = lab.send(who, method, path, body);
            assert_eq!(status, expected, "{method} {path} by {who}: {body}");
        }
    }
    let (_, changes) = lab.ask(VIEWER, "GET", "changes", "");
    assert!(changes.to_string().contains("\"who\":\"hand\""), "{changes}");
}

#[test]
fn each_write_is_of_the_version_that_it_says() {
    let lab = lab();
    let made = |kind: &str, body: Value| {
        let (status, answer) = lab.ask(OPERATOR, "POST", kind, &json!({ "body": body }).to_string());
        assert_eq!((status, &answer["version"]), (201, &json!(1)), "{kind}: {answer}");
    };
    let key = |number: u8| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode([number; 32])
    };
    let documents = [
        ("sites", "sites/north", json!({ "name": "north", "subnets": ["10.1.0.0/16"] })),
        ("uplinks", "uplinks/north/fibre", json!({ "site": "north", "name": "fibre", "public_key": key(7) })),
        ("classes", "classes/gold", json!({ "name": "gold", "latency": "20ms" })),
        ("applications", "applications/mail", json!({ "name": "mail", "names": ["mail.test"] })),
        ("policies", "policies/calls", json!({ "name": "calls", "class": "gold" })),
        ("settings", "settings/network", json!({ "health": { "misses": 5 }, "default_class": "gold" })),
    ];
    for (kind, path, body) in documents {
        made(kind, body.clone());
        let put = |version: u64| {
            let change = json!({ "body": body, "version": version }).to_string();
            lab.ask(OPERATOR, "PUT", path, &change).0
        };
        assert_eq!([put(1), put(1), put(2)], [200, 409, 200], "{path}");
        let unsaid = json!({ "body": body }).to_string();
        assert_eq!(lab.ask(OPERATOR, "PUT", path, &unsaid).0, 400, "{path}");
        let (_, head, _) = lab.send(VIEWER, "GET", path, "");
        assert!(head.contains("etag: \"3\"\r\n"), "{path}: {head}");
    }
}

#[test]
fn what_is_only_tried_says_what_would_change_and_changes_nothing() {
    let lab = lab();
    let body = |body: Value| json!({ "body": body }).to_string();
    let site = body(json!({ "name": "north" }));
    let (status, tried) = lab.ask(OPERATOR, "POST", "sites?dry_run=true", &site);
    let item = json!({ "kind": "site", "id": "north", "before": null, "after": { "name": "north" } });
    assert_eq!((status, tried), (200, json!({ "made": false, "items": [item], "other_releases": 0 })));
    assert_eq!(lab.ask(VIEWER, "GET", "sites/north", "").0, 404);
    assert_eq!(lab.ask(VIEWER, "POST", "sites?dry_run=true", &site).0, 403);
    let odd = body(json!({ "name": "calls", "class": "nowhere" }));
    assert_eq!(lab.ask(OPERATOR, "POST", "policies?dry_run=true", &odd).0, 422);
    assert_eq!(lab.ask(OPERATOR, "POST", "sites", &site).0, 201);
    let change = json!({ "body": { "name": "north", "hub": true }, "version": 1 }).to_string();
    let (_, tried) = lab.ask(OPERATOR, "PUT", "sites/north?dry_run=true", &change);
    assert_eq!((&tried["items"][0]["before"]["hub"], &tried["items"][0]["after"]["hub"]), (&json!(null), &json!(true)));
    let (status, tried) = lab.ask(OPERATOR, "DELETE", "sites/north?dry_run=true", "");
    assert_eq!((status, &tried["items"][0]["after"]), (200, &json!(null)));
    let (_, there) = lab.ask(VIEWER, "GET", "sites/north", "");
    assert_eq!((&there["version"], &there["body"]), (&json!(1), &json!({ "name": "north" })));
}

#[test]
fn a_change_is_taken_back_by_its_number_or_as_the_latest() {
    let lab = lab();
    let policy = |class: &str| json!({ "name": "calls", "class": class });
    lab.ask(OPERATOR, "POST", "policies", &json!({ "body": policy("voice") }).to_string());
    lab.ask(OPERATOR, "PUT", "policies/calls", &json!({ "body": policy("video"), "version": 1 }).to_string());
    let class = || lab.ask(VIEWER, "GET", "policies/calls", "").1["body"]["class"].clone();
    let (status, tried) = lab.ask(OPERATOR, "POST", "changes/undo?dry_run=true", "");
    assert_eq!((status, &tried["made"], class()), (200, &json!(false), json!("video")));
    assert_eq!(lab.ask(VIEWER, "POST", "changes/undo", "").0, 403);
    let (status, undone) = lab.ask(OPERATOR, "POST", "changes/undo", "");
    assert_eq!((status, &undone["made"], class()), (200, &json!(true), json!("voice")));
    let (_, changes) = lab.ask(VIEWER, "GET", "changes", "");
    assert_eq!((&changes["items"][0]["what"], &changes["items"][0]["revision"]), (&json!("policy.change"), &json!(3)));
    // What was changed since is not taken back; what is as it left it again is.
    assert_eq!(lab.ask(OPERATOR, "POST", "changes/2/undo", "").0, 409);
    assert_eq!(lab.ask(OPERATOR, "POST", "changes/1/undo", "").0, 200);
    assert_eq!(class(), json!(null));
    assert_eq!(lab.ask(OPERATOR, "POST", "changes/99/undo", "").0, 404);
}

#[test]
fn the_version_of_the_network_is_brought_forward_by_who_may_change_it_and_not_without_need() {
    let lab = lab();
    assert_eq!(lab.ask(VIEWER, "POST", "changes/accept", "").0, 403);
    let (status, problem) = lab.ask(OPERATOR, "POST", "changes/accept", "");
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("nothing is held back")), (409, true));
    assert_eq!(lab.ask(OPERATOR, "POST", "changes/accept?beyond=9999999999", "").0, 400);
    assert_eq!(lab.ask(OPERATOR, "POST", "changes/accept?beyond=8", ""), (200, json!({ "version": 9 })));
    let (_, changes) = lab.ask(VIEWER, "GET", "changes", "");
    assert_eq!((&changes["items"][0]["what"], &changes["items"][0]["who"]), (&json!("network.accept"), &json!("hand")));
}

#[test]
fn what_a_policy_has_carried_is_told_by_time_and_by_site() {
    let lab = lab();
    lab.report("north", &[10, 20, 30]);
    lab.report("east", &[10]);
    let (status, told) = lab.ask(VIEWER, "GET", "policies/calls/traffic", "");
    assert_eq!((status, &told["packets"], &told["octets"]), (200, &json!(4), &json!(400)), "{told}");
    let north = json!({ "site": "north", "packets": 3, "octets": 300 });
    assert_eq!((&told["sites"][0], &told["step_seconds"]), (&north, &json!(300)));
    let (_, told) = lab.ask(VIEWER, "GET", "policies/calls/traffic?site=east", "");
    assert_eq!(told["octets"], 100);
    let (_, all) = lab.ask(VIEWER, "GET", "traffic", "");
    assert_eq!(all["items"], json!([{ "policy": "calls", "packets": 4, "octets": 400 }]));
    assert_eq!(lab.ask(VIEWER, "GET", "policies/mail/traffic", "").0, 404);
    let (_, tunnels) = lab.ask(VIEWER, "GET", "tunnels?site=north", "");
    assert_eq!((&tunnels["items"][0]["remote_site"], &tunnels["items"][0]["state"]), (&json!("south"), &json!("up")));
}

#[test]
fn so_many_tokens_for_a_site_are_good_at_once() {
    let lab = lab();
    let token = json!({ "site": "north" }).to_string();
    let made: Vec<_> = (0..9).map(|_| lab.ask(ADMIN, "POST", "enrolments", &token)).collect();
    assert_eq!(made.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [[201; 8].as_slice(), &[409]].concat());
    assert!(made[8].1["detail"].as_str().unwrap().contains("withdraw"), "{}", made[8].1);
    assert_eq!(lab.ask(ADMIN, "DELETE", "enrolments/3", "").0, 204);
    assert_eq!(lab.ask(ADMIN, "POST", "enrolments", &token).0, 201);
}

#[test]
fn who_has_networks_overlap_is_told_so_and_a_token_says_which_it_is_for() {
    let lab = lab();
    let site = |name: &str, net: &str| json!({ "body": { "name": name, "subnets": [net] } }).to_string();
    let (_, first) = lab.ask(OPERATOR, "POST", "sites", &site("north", "10.0.0.0/8"));
    assert_eq!(first["warnings"], Value::Null);
    let (status, second) = lab.ask(OPERATOR, "POST", "sites", &site("south", "10.2.0.0/16"));
    assert_eq!(status, 201);
    assert!(second["warnings"][0].as_str().unwrap().contains("10.0.0.0/8, which is behind site north"), "{second}");
    let (status, made) =
        lab.ask(ADMIN, "POST", "enrolments", &json!({ "site": "west", "subnets": ["10.3.0.0/16"] }).to_string());
    assert_eq!((status, &made["subnets"]), (201, &json!(["10.3.0.0/16"])));
    let (_, listed) = lab.ask(ADMIN, "GET", "enrolments", "");
    assert_eq!(listed["items"][0]["subnets"], json!(["10.3.0.0/16"]));
    let (status, odd) =
        lab.ask(ADMIN, "POST", "enrolments", &json!({ "site": "west", "subnets": ["10.3"] }).to_string());
    assert_eq!((status, &odd["key"]), (400, &json!("subnets[0]")));
}
