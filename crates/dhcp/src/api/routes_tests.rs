//! The routes over a socket, with a real service, log, database and tokens.

use super::reservation;
use super::tests::{CONFIG, lease_of, policy};
use crate::lease::{Change, State};
use crate::server::Service;
use outwork_front::api::{Access, audited};
use outwork_front::{Binding, Limits, Server};
use outwork_store::audit;
use outwork_store::database::{Database, DatabaseOptions};
use outwork_store::log::{Log, LogOptions};
use outwork_store::tokens::{self, Role};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

struct Lab {
    dir: tempfile::TempDir,
    service: Arc<Service>,
    database: Arc<Database>,
    address: SocketAddr,
    tokens: [String; 2],
    stop: Option<oneshot::Sender<()>>,
    server: Option<std::thread::JoinHandle<()>>,
}

const VIEWER: usize = 0;
const OPERATOR: usize = 1;

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let log = LogOptions::new(dir.path().join("leases"));
        let (service, _) = Service::open(log, policy(CONFIG), Arc::default(), None).expect("a service");
        let database = Database::open(&DatabaseOptions::new(dir.path().join("db")), &[]).expect("a database");
        let database = Arc::new(database);
        let tokens = [("eye", Role::Viewer), ("hand", Role::Operator)].map(|(name, role)| {
            let made = database.call(move |db| Ok(tokens::create(db, name, role, None, SystemTime::now())));
            let (_, secret) = made.wait().expect("the database").expect("a token");
            secret.expose().to_owned()
        });
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (api, access) = (super::router(Arc::clone(&service)), Access::new(Arc::clone(&database), Arc::default()));
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let limits = Limits {
                    connections: 64,
                    header_timeout: Duration::from_secs(10),
                    keep_alive: Duration::from_secs(75),
                    request_timeout: Duration::from_secs(60),
                    body_bytes: 64 * 1024,
                    drain: Duration::from_secs(5),
                };
                let binding = Binding { address: (Ipv4Addr::LOCALHOST, 0).into(), tls: None };
                let server = Server::bind(vec![binding], limits, Arc::default()).await.expect("a listener");
                tell.send(server.addresses()[0].0).expect("a listening test");
                let (router, _) = utoipa_axum::router::OpenApiRouter::new().nest("/api/v1/dhcp", api).split_for_parts();
                let shutdown = async { drop(stopped.await) };
                server.run(audited(router, access), shutdown).await;
            });
        });
        let address = told.recv().expect("an address");
        Self { dir, service, database, address, tokens, stop: Some(stop), server: Some(server) }
    }

    /// Status and body, over HTTP/1.0 so that the body ends with the connection.
    fn send(&self, who: usize, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        let head = format!(
            "{method} /api/v1/dhcp/{path} HTTP/1.0\r\nHost: lab\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            self.tokens[who],
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("a head sent");
        stream.write_all(body).expect("a body sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&answer[..end]).expect("text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer[end + 4..].to_vec())
    }

    fn call(&self, who: usize, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).expect("JSON") };
        let (status, answer) = self.send(who, method, path, "application/json", &body);
        (status, if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).expect("JSON") })
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(VIEWER, "GET", path, Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn fill(&self, count: u32) {
        self.service
            .edit(|engine, now| {
                for n in 0..count {
                    engine.put_lease(crate::lease::Lease { starts: now.unix, expires: now.unix + 3600, ..lease_of(n) });
                }
            })
            .expect("a healthy log");
    }

    /// What was changed through the API, oldest first.
    fn audited(&self) -> Vec<(String, String, bool)> {
        let page = audit::Page { before: None, limit: audit::MAX_PAGE };
        let rows = self.database.read(move |db| audit::list(db, &audit::Filter::default(), page)).wait().expect("rows");
        rows.into_iter().rev().map(|row| (row.entry.action, row.entry.target, row.entry.succeeded)).collect()
    }

    /// Ends everything and gives the directory.
    fn stop(mut self) -> tempfile::TempDir {
        drop(self.stop.take());
        self.server.take().expect("a server").join().expect("a server that ends");
        self.dir
    }
}

/// What the log in a directory holds, as a restart reads it.
fn on_disk(dir: &Path) -> (BTreeMap<Ipv4Addr, State>, BTreeMap<u64, Value>) {
    let (mut leases, mut reservations) = (BTreeMap::new(), BTreeMap::new());
    let replay = &mut |record: &[u8]| {
        match Change::read(record)? {
            Change::Lease(lease) => drop(leases.insert(lease.address, lease.state)),
            Change::Forget(address) => drop(leases.remove(&address)),
            Change::Reserve(id, json) => drop(reservations.insert(id, serde_json::from_slice(&json)?)),
            Change::Unreserve(id) => drop(reservations.remove(&id)),
        }
        Ok(())
    };
    let (log, _) = Log::open(LogOptions::new(dir.join("leases")), replay).expect("a log");
    log.close().expect("an idle log");
    (leases, reservations)
}

#[test]
fn every_route_is_documented_with_its_problems() {
    let lab = Lab::new();
    let document = serde_json::to_value(super::router(Arc::clone(&lab.service)).to_openapi()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let operations: Vec<&Value> = paths.values().flat_map(|path| path.as_object().expect("a path").values()).collect();
    assert_eq!((paths.len(), operations.len()), (9, 15));
    for operation in operations {
        assert_eq!(operation["tags"], json!(["dhcp"]));
        assert!(
            operation["summary"].is_string() && operation["responses"].as_object().is_some_and(|all| all.len() > 1)
        );
    }
}

#[test]
fn ten_thousand_leases_are_paged_over_http() {
    let lab = Lab::new();
    lab.fill(10_000);
    let (mut seen, mut query) = (Vec::new(), "leases?limit=1000".to_owned());
    loop {
        let page = lab.get(&query);
        assert_eq!(page["total"], 10_000);
        seen.extend(page["items"].as_array().expect("items").iter().map(|lease| lease["address"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("leases?limit=1000&after={next}");
    }
    assert_eq!(seen.len(), 10_000);
    assert_eq!((&seen[0], &seen[9_999]), (&json!("10.1.1.0"), &json!("10.1.40.15")));
    assert_eq!(
        lab.get("leases?q=52%3A54%3A00%3A00%3A00%3A0a&state=active&subnet=1")["items"][0]["address"],
        "10.1.1.10"
    );
    assert_eq!(lab.get("summary")["active"], 10_000);
    assert_eq!(lab.get("subnets")["items"][0]["active"], 10_000);
}

#[test]
fn every_change_is_on_disk_before_its_answer_and_in_the_audit_log() {
    let lab = Lab::new();
    let change = |method, path: &str, body| {
        let (status, answer) = lab.call(OPERATOR, method, path, body);
        (status, answer)
    };
    let mac = |n: u8| format!("52:54:00:00:00:{n:02x}");
    for n in 1..=3 {
        let (status, _) = change("POST", "leases", json!({"address": format!("10.1.1.{n}"), "mac": mac(n)}));
        assert_eq!(status, 201);
    }
    assert_eq!(change("PATCH", "leases/10.1.1.1", json!({"hostname": "nas"})).1["hostname"], "nas");
    assert_eq!(change("DELETE", "leases/10.1.1.2", Value::Null), (204, Value::Null));
    change("POST", "leases", json!({"address": "10.2.0.10", "mac": mac(9)}));
    assert_eq!(change("POST", "subnets/7/wipe", Value::Null), (200, json!({"removed": 1})));
    let reservation =
        |n| json!({"subnet_id": 1, "identifier": {"kind": "mac", "value": mac(n)}, "address": format!("10.1.0.{n}")});
    let (status, kept) = change("POST", "reservations", reservation(20));
    assert_eq!((status, &kept["source"]), (201, &json!("api")));
    let (_, gone) = change("POST", "reservations", reservation(21));
    let path = |one: &Value| format!("reservations/{}", one["id"].as_str().expect("an id"));
    assert_eq!(change("PUT", &path(&kept), reservation(22)).0, 200);
    assert_eq!(change("DELETE", &path(&gone), Value::Null).0, 204);
    assert_eq!(lab.get(&path(&kept))["address"], "10.1.0.22");
    assert_eq!(lab.get("reservations")["total"], 2, "one of them is the file's");
    let header = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state\n";
    let file = format!("{header}10.1.3.1,{},,7200,4000000000,1,0,0,,0\nnonsense\n", mac(30));
    let (status, report) = lab.send(OPERATOR, "POST", "leases/import", "text/csv", file.as_bytes());
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!((status, &report["imported"], &report["faults"][0]["line"]), (200, &json!(1), &json!(3)));

    let actions = [
        "lease.add",
        "lease.add",
        "lease.add",
        "lease.change",
        "lease.release",
        "lease.add",
        "subnet.wipe",
        "reservation.create",
        "reservation.create",
        "reservation.change",
        "reservation.remove",
        "lease.import",
    ];
    let rows = lab.audited();
    assert_eq!(rows.iter().map(|(action, ..)| action.as_str()).collect::<Vec<_>>(), actions);
    assert!(rows.iter().all(|(_, _, succeeded)| *succeeded));
    assert_eq!(rows[4].1, "10.1.1.2");
    assert_eq!(rows[7].1, kept["id"].as_str().expect("an id"));

    // The service is still running and was never told to sync: what it acknowledged is in a copy of its directory.
    let copy = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(copy.path().join("leases")).expect("a directory");
    for entry in std::fs::read_dir(lab.dir.path().join("leases")).expect("files") {
        let entry = entry.expect("a file");
        std::fs::copy(entry.path(), copy.path().join("leases").join(entry.file_name())).expect("a copy");
    }
    let (leases, reservations) = on_disk(copy.path());
    let states: Vec<(String, State)> = leases.iter().map(|(address, state)| (address.to_string(), *state)).collect();
    let expected = [
        ("10.1.1.1", State::Active),
        ("10.1.1.2", State::Released),
        ("10.1.1.3", State::Active),
        ("10.1.3.1", State::Active),
    ];
    assert_eq!(states, expected.map(|(address, state)| (address.to_owned(), state)));
    assert_eq!(reservations.values().map(|one| one["address"].clone()).collect::<Vec<_>>(), ["10.1.0.22"]);
    drop(lab.stop());
}

#[test]
fn reservations_of_the_log_are_in_force_after_a_restart() {
    let lab = Lab::new();
    let body = json!({"subnet_id": 1, "identifier": {"kind": "client_id", "value": "'cam'"}, "address": "10.1.0.9",
        "classes": ["phones"]});
    let (status, made) = lab.call(OPERATOR, "POST", "reservations", body);
    assert_eq!(status, 201, "{made}");
    let dir = lab.stop();
    let log = LogOptions::new(dir.path().join("leases"));
    let (service, _) = Service::open(log, policy(CONFIG), Arc::default(), None).expect("a service");
    assert_eq!(service.read(|engine| engine.reservations().in_subnet(1)), 0);
    assert_eq!(reservation::adopt(&service, policy(CONFIG)), 1);
    let renamed = policy(&CONFIG.replace("[[class]]", "[[class]]\nname = \"before\"\n\n[[class]]"));
    assert_eq!(reservation::adopt(&service, renamed), 1);
    service.read(|engine| {
        let found = engine.reservations().at(Ipv4Addr::new(10, 1, 0, 9)).expect("a reservation");
        let shown = reservation::to_json(engine.policy(), found);
        assert_eq!(shown.body.classes, ["phones"], "by name, wherever the class stands now");
    });
}

#[test]
fn a_reservation_that_fits_the_configuration_no_more_can_be_taken_out() {
    let lab = Lab::new();
    let body = json!({"subnet_id": 1, "identifier": {"kind": "client_id", "value": "'cam'"}, "address": "10.1.0.9"});
    let (status, made) = lab.call(OPERATOR, "POST", "reservations", body);
    assert_eq!(status, 201, "{made}");
    let path = format!("reservations/{}", made["id"].as_str().expect("an id"));
    assert_eq!(
        reservation::adopt(&lab.service, policy(&CONFIG.replace("id = 1\n", "id = 77\n"))),
        0,
        "its subnet is gone"
    );
    assert_eq!(lab.call(OPERATOR, "DELETE", &path, Value::Null).0, 204);
    assert_eq!(lab.call(OPERATOR, "DELETE", &path, Value::Null).0, 404);
    assert_eq!(reservation::adopt(&lab.service, policy(CONFIG)), 0, "it does not come back");
    drop(lab.stop());
}

/// Whoever looks while the configuration changes back and forth, a batch of a worker for one, sees one whole or the other.
#[test]
fn no_client_is_served_by_a_new_configuration_and_the_reservations_of_the_old() {
    let lab = Lab::new();
    let body = json!({"subnet_id": 1, "identifier": {"kind": "client_id", "value": "'cam'"}, "address": "10.1.0.9",
        "classes": ["phones"]});
    let (status, made) = lab.call(OPERATOR, "POST", "reservations", body);
    assert_eq!(status, 201, "{made}");
    let service = Arc::clone(&lab.service);
    let looked = AtomicBool::new(false);
    let looks = || {
        service.read(|engine| {
            let found = engine.reservations().at(Ipv4Addr::new(10, 1, 0, 9)).expect("a reservation");
            assert_eq!(reservation::to_json(engine.policy(), found).body.classes, ["phones"]);
        });
    };
    let before = CONFIG.replace("[[class]]", "[[class]]\nname = \"before\"\n\n[[class]]");
    let two = [policy(&before), policy(CONFIG)];
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !looked.load(Ordering::Relaxed) {
                looks();
            }
        });
        for round in 0..400 {
            assert_eq!(reservation::adopt(&service, Arc::clone(&two[round % 2])), 1);
        }
        looked.store(true, Ordering::Relaxed);
        looking.join().expect("one whole or the other");
    });
    drop(service);
    drop(lab.stop());
}

#[test]
fn a_viewer_looks_and_changes_nothing() {
    let lab = Lab::new();
    lab.fill(3);
    for path in ["summary", "subnets", "leases", "leases/10.1.1.1", "reservations", "reservations/config-0"] {
        lab.get(path);
    }
    for (method, path) in [
        ("POST", "subnets/1/wipe"),
        ("POST", "leases"),
        ("PATCH", "leases/10.1.1.1"),
        ("DELETE", "leases/10.1.1.1"),
        ("POST", "leases/import"),
        ("POST", "reservations"),
        ("PUT", "reservations/1"),
        ("DELETE", "reservations/1"),
    ] {
        let (status, problem) = lab.call(VIEWER, method, path, json!({}));
        assert_eq!((status, &problem["fault"]), (403, &json!("client")), "{method} {path}");
    }
    assert!(lab.audited().iter().all(|(_, _, succeeded)| !succeeded));
    assert_eq!(lab.get("leases?state=active")["total"], 3);
}

#[test]
fn problems_name_the_field() {
    let lab = Lab::new();
    let blamed = |method, path: &str, body| {
        let (status, problem) = lab.call(OPERATOR, method, path, body);
        (status, problem["key"].as_str().unwrap_or_default().to_owned())
    };
    let is = |status: u16, key: &str| (status, key.to_owned());
    assert_eq!(blamed("POST", "leases", json!({"mac": "52:54:00:00:00:01"})), is(400, "address"));
    assert_eq!(blamed("POST", "leases", json!({"address": "10.1.1", "mac": "52:54:00:00:00:01"})), is(400, "address"));
    assert_eq!(blamed("POST", "leases", json!({"address": "10.1.1.1", "macc": "x"})), is(400, "macc"));
    assert_eq!(blamed("GET", "leases?state=gone", Value::Null), is(400, "state"));
    assert_eq!(blamed("GET", "leases?subnet=x", Value::Null), is(400, "subnet"));
    assert_eq!(blamed("GET", "leases/elsewhere", Value::Null), is(400, "address"));
    assert_eq!(blamed("POST", "subnets/x/wipe", Value::Null), is(400, "id"));
    assert_eq!(blamed("POST", "subnets/4/wipe", Value::Null), is(404, ""));
    let kind = json!({"subnet_id": 1, "identifier": {"kind": "name", "value": "x"}, "address": "10.1.0.9"});
    assert_eq!(blamed("POST", "reservations", kind), is(400, "identifier.kind"));
    assert_eq!(blamed("DELETE", "reservations/config-0", Value::Null), is(409, "id"));
    assert_eq!(lab.send(OPERATOR, "POST", "leases/import", "application/json", b"{}").0, 415);
    assert_eq!(lab.send(OPERATOR, "POST", "leases/import", "text/csv", b"a,b\n").0, 400);
}

#[test]
fn an_export_is_what_an_import_takes_and_bodies_larger_than_requests_go_through() {
    let lab = Lab::new();
    lab.fill(3000);
    let (status, file) = lab.send(VIEWER, "GET", "leases/export", "text/csv", b"");
    assert_eq!(status, 200);
    assert_eq!(file.iter().filter(|octet| **octet == b'\n').count(), 3001);
    assert!(file.len() > 64 * 1024, "larger than the limit of other bodies");
    let (status, wiped) = lab.call(OPERATOR, "POST", "subnets/1/wipe", Value::Null);
    assert_eq!((status, wiped), (200, json!({"removed": 3000})));
    assert_eq!(lab.get("leases")["total"], 0);
    let (status, report) = lab.send(OPERATOR, "POST", "leases/import", "text/csv", &file);
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(
        (status, report),
        (200, json!({"imported": 3000, "updated": 0, "unchanged": 0, "failed": 0, "faults": []}))
    );
    let (leases, _) = on_disk(lab.stop().path());
    assert_eq!(leases.values().filter(|state| **state == State::Active).count(), 3000);
}

#[test]
fn an_import_that_breaks_off_takes_no_part_of_a_line() {
    let lab = Lab::new();
    let file = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname\n\
                10.1.3.1,52:54:00:00:00:01,,7200,4000000000,1,0,0,whole\n10.1.3.2,52:54:00:00:00:02,,7200,4000000000,1,0,0,ha";
    let mut stream = TcpStream::connect(lab.address).expect("a connection");
    let head = format!(
        "POST /api/v1/dhcp/leases/import HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n\
         Content-Length: 1000\r\nConnection: close\r\n\r\n",
        lab.tokens[OPERATOR]
    );
    stream.write_all(head.as_bytes()).expect("a head sent");
    stream.write_all(file.as_bytes()).expect("a body sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half a connection");
    let mut answer = Vec::new();
    // The server may answer or just close.
    let _ = stream.read_to_end(&mut answer);
    drop(stream);
    let (leases, _) = on_disk(lab.stop().path());
    assert!(!leases.contains_key(&Ipv4Addr::new(10, 1, 3, 2)), "{leases:?}");
}
