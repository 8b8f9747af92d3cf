//! A whole admin server on a loopback port over a real database, and a client for it.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::State as AxumState;
use futures_util::future::BoxFuture;
use outwork_admin::routes::{CpuProfile, Listener, MemoryReport, Profiler, StoreStatus};
use outwork_admin::{
    Admin, AdminSettings, Live, LocalFile, ServiceApi, ServiceState, State, StoreArchive, assets, router,
};
use outwork_front::api::{Access, Json, Operator, Problem};
use outwork_front::events::Hub;
use outwork_front::{Binding, FrontMetrics, Server, Tls};
use outwork_host::report::{Report, Row, State as Found};
use outwork_store::database::{Database, DatabaseOptions};
use outwork_store::tokens::{self, Role, Secret};
use outwork_telemetry::Registry;
use outwork_telemetry::alerts::Alerts;
use outwork_telemetry::history::History;
use outwork_telemetry::logs::{LogSettings, Logs};
use outwork_telemetry::process::Process;
use serde_json::Value;
use ureq::http::{Method, Request, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The service of these tests: it can lose its readiness, and has one route that changes something.
#[utoipa::path(delete, path = "/thing", responses((status = 200)))]
async fn remove_thing(
    Operator(caller): Operator,
    AxumState(things): AxumState<Arc<Mutex<u32>>>,
) -> Result<Json<u32>, Problem> {
    caller.does("thing.remove", "the thing", "one less");
    let mut things = things.lock().unwrap();
    *things = things.checked_sub(1).ok_or_else(|| Problem::conflict(None, "there is none"))?;
    Ok(Json(*things))
}

pub struct Site {
    pub address: SocketAddr,
    pub database: Arc<Database>,
    pub hub: Arc<Hub>,
    pub metrics: Arc<FrontMetrics>,
    pub history: Arc<History>,
    pub registry: Arc<Registry>,
    pub alerts: Arc<Alerts>,
    pub ready: Arc<AtomicBool>,
    pub things: Arc<Mutex<u32>>,
    pub router: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    runtime: Option<tokio::runtime::Runtime>,
    served: Option<tokio::task::JoinHandle<()>>,
    /// The secret of the data directory.
    pub local: Secret,
    _local_file: LocalFile,
    _directory: tempfile::TempDir,
}

/// Logs can be started once a process.
pub fn logs() -> Logs {
    static LOGS: Mutex<Option<Logs>> = Mutex::new(None);
    let mut logs = LOGS.lock().unwrap();
    logs.get_or_insert_with(|| Logs::start(LogSettings::default().format, LogSettings::default().levels()).unwrap())
        .clone()
}

/// Something of the machine that is not as it is wanted.
fn row() -> Row {
    Row {
        kind: "sysctl",
        name: "net.core.somaxconn".into(),
        now: Some("128".into()),
        wanted: "at least 4096".into(),
        state: Found::Differs,
        why: "connections".into(),
        services: vec!["web".into()],
        settings: vec!["front.listener[0].backlog".into()],
        remark: None,
    }
}

impl Site {
    pub fn start() -> Self {
        Self::with(AdminSettings::default())
    }

    pub fn with(settings: AdminSettings) -> Self {
        let tls = settings.tls_files().map(Tls::load).transpose().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let database = Arc::new(Database::open(&DatabaseOptions::new(directory.path().join("db")), &[]).unwrap());
        let metrics = Arc::new(FrontMetrics::default());
        let process = Arc::new(Process::new("1.2.3"));
        let registry = Arc::new(Registry::default());
        registry.register(metrics.clone()).unwrap();
        registry.register(process.clone()).unwrap();
        let archive = StoreArchive::open(database.clone()).unwrap();
        let history = Arc::new(History::new(Some(archive)));
        let alerts = Arc::new(Alerts::new(&["slow"]));
        registry.register(alerts.clone()).unwrap();
        let hub = Hub::new(&["metrics", "system", "thing"], metrics.clone());
        let (local_file, local) = LocalFile::token(directory.path()).unwrap();
        let (ready, things) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(1)));
        let admin = Admin {
            version: "1.2.3",
            host: "testhost".into(),
            config_file: Some("/etc/outwork.toml".into()),
            started: SystemTime::now(),
            process,
            registry: registry.clone(),
            history: history.clone(),
            alerts: alerts.clone(),
            logs: logs(),
            hub: hub.clone(),
            database: database.clone(),
            access: Access::with_local(database.clone(), metrics.clone(), &local),
            metrics_public: settings.metrics_are_public(),
            metrics: settings.metrics,
            store: Box::new(|| StoreStatus {
                health: "ok",
                error: None,
                durability: "fsync".into(),
                pending_bytes: 0,
                durable_lsn: 7,
            }),
            listeners: Box::new(|| {
                vec![Listener { service: "admin".into(), address: "127.0.0.1:1".into(), protocol: "http".into() }]
            }),
            config: Box::new(|| {
                let loaded = outwork_config::load::<AdminSettings>(outwork_config::Sources::default());
                loaded.unwrap().effective()
            }),
            reload: Box::new(|| {
                Box::pin(async {
                    Err(Problem::refused(
                        Some("dhcp.workers".into()),
                        serde_json::json!([]),
                        "a change needs a restart",
                    ))
                })
            }),
            upgrade: Box::new(|| Box::pin(async { Ok(7) })),
            memory: Box::new(|| MemoryReport { allocator: [("allocated".into(), 5)].into(), parts: [].into() }),
            machine: Box::new(|| Report { items: vec![row()], good: 0, differs: 1, absent: 0 }),
            profiler: Box::new(Shown),
        };
        let service = ServiceApi {
            name: "thing",
            router: OpenApiRouter::new().routes(routes!(remove_thing)).with_state(things.clone()),
            state: {
                let ready = ready.clone();
                Box::new(move || ServiceState {
                    state: State::Running,
                    ready: ready.load(Ordering::Relaxed),
                    detail: "one thing".into(),
                })
            },
        };
        let router = router(admin, vec![service], assets());
        let routes = format!("{router:?}");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let binding = Binding { address: "127.0.0.1:0".parse().unwrap(), tls };
        let server = runtime.block_on(Server::bind(vec![binding], settings.limits(), metrics.clone())).unwrap();
        let address = server.addresses()[0].0;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = runtime.spawn(server.run(router, async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            database,
            hub,
            metrics,
            history,
            registry,
            alerts,
            ready,
            things,
            router: routes,
            stop: Some(stop),
            runtime: Some(runtime),
            served: Some(served),
            local,
            _local_file: local_file,
            _directory: directory,
        }
    }

    /// A new token of this role.
    pub fn token(&self, name: &str, role: Role) -> String {
        let name = name.to_owned();
        let made = self.database.call(move |db| Ok(tokens::create(db, &name, role, None, SystemTime::now())));
        made.wait().unwrap().unwrap().1.expose().to_owned()
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => agent.run(request.header("content-type", "application/json").body(body).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        };
        Answer::from(response.unwrap())
    }

    /// A request with a bearer token.
    pub fn ask(&self, method: &str, path: &str, token: &str, body: Option<&str>) -> Answer {
        self.send(method, path, &[("authorization", &format!("Bearer {token}"))], body)
    }

    /// Opens an event stream; what it sends is read line by line.
    pub fn events(&self, query: &str, token: &str, last: Option<&str>) -> Events {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /api/v1/events{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut events = Events(BufReader::new(stream));
        // The stream is joined once its head has arrived.
        while events.line().is_some_and(|line| !line.is_empty()) {}
        events
    }

    /// Starts the sampling.
    pub fn sample(&self) {
        let live = Live {
            registry: self.registry.clone(),
            history: self.history.clone(),
            archive: StoreArchive::open(self.database.clone()).unwrap(),
            hub: self.hub.clone(),
            retention: Arc::new(|| (Duration::from_secs(86_400), Duration::from_secs(86_400))),
        };
        self.runtime.as_ref().unwrap().spawn(live.run());
    }

    /// Stops the server gracefully; returns when every connection is closed.
    pub fn stop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let (Some(runtime), Some(served)) = (&self.runtime, self.served.take()) {
            runtime.block_on(served).unwrap();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl From<Response<ureq::Body>> for Answer {
    fn from(response: Response<ureq::Body>) -> Self {
        let (head, mut body) = response.into_parts();
        let text = String::from_utf8_lossy(&body.read_to_vec().unwrap()).into_owned();
        Self { status: head.status.as_u16(), headers: head.headers, text }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub struct Events(BufReader<TcpStream>);

#[derive(Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub topic: String,
    pub data: Value,
}

impl Events {
    /// The next line, without the frames of chunked coding; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; `None` when the stream has ended.
    pub fn next(&mut self) -> Option<Event> {
        let (mut id, mut topic) = (String::new(), String::new());
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", value)) => id = value.to_owned(),
                Some(("event", value)) => topic = value.to_owned(),
                Some(("data", value)) => return Some(Event { id, topic, data: serde_json::from_str(value).unwrap() }),
                _ => {}
            }
        }
    }
}

/// Profiles that say what was asked for.
struct Shown;

impl Profiler for Shown {
    fn heap(&self) -> BoxFuture<'static, Result<Vec<u8>, Problem>> {
        Box::pin(async { Ok(b"heap_v2/1".to_vec()) })
    }

    fn cpu(&self, wanted: CpuProfile) -> BoxFuture<'static, Result<Vec<u8>, Problem>> {
        Box::pin(async move { Ok(format!("{wanted:?}").into_bytes()) })
    }
}
