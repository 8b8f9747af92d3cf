use super::*;

/// A Redis server of this test's own, on a port that was free.
struct Server {
    process: std::process::Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(port: Option<u16>) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, dir) = (port.unwrap_or_else(free), tempfile::tempdir().unwrap());
        let process = std::process::Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server runs");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { process, port, _dir: dir }
    }

    fn settings(&self) -> Settings {
        Settings {
            url: format!("redis://127.0.0.1:{}/1", self.port),
            user: None,
            password: None,
            ca: None,
            prefix: "test:".to_owned(),
            timeout: Duration::from_secs(5),
            failures: 1,
            retry: Duration::from_secs(3600),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn rate(limit: u32) -> Rate {
    Rate::new(limit, Duration::from_secs(3600), None)
}

#[test]
fn servers_count_together() {
    let server = Server::start(None);
    let metrics = Arc::new(FilterMetrics::default());
    let counters: Vec<_> = (0..2).map(|_| Counter::start(&server.settings(), &metrics).unwrap()).collect();
    let verdicts: Vec<Verdict> = wait(async {
        let mut verdicts = Vec::new();
        for turn in 0..6 {
            verdicts.push(counters[turn % 2].ask("a".to_owned(), rate(4)).await.expect("Redis answers"));
        }
        verdicts
    });
    assert_eq!(
        verdicts.iter().map(|verdict| verdict.allowed).collect::<Vec<_>>(),
        [true, true, true, true, false, false]
    );
    assert_eq!(verdicts.iter().map(|verdict| verdict.remaining).collect::<Vec<_>>(), [3, 2, 1, 0, 0, 0]);
    let retry = Duration::from_nanos(verdicts[5].retry_after);
    assert!(retry <= Duration::from_secs(900) && retry > Duration::from_secs(600), "{retry:?}");
    let other = wait(counters[0].ask("b".to_owned(), rate(4))).unwrap();
    assert!(other.allowed, "another key has a count of its own");
    assert_eq!(metrics.rate_shared.of(Shared::Answered).get(), 7);
}

#[test]
fn a_server_that_wants_a_password_is_spoken_to_through_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock");
    let mut process = std::process::Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--requirepass", "open sesame", "--unixsocket"])
        .arg(&socket)
        .current_dir(dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("redis-server runs");
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = |password: &str| {
        let settings = Settings {
            url: format!("unix://{}", socket.display()),
            user: None,
            password: Some(outwork_config::Secret::new(password)),
            ca: None,
            prefix: String::new(),
            timeout: Duration::from_secs(5),
            failures: 1,
            retry: Duration::from_secs(3600),
        };
        let counter = Counter::start(&settings, &Arc::new(FilterMetrics::default())).unwrap();
        wait(counter.ask("a".to_owned(), rate(4)))
    };
    let outcome = (asked("open sesame").map(|verdict| verdict.remaining), asked("open barley"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(outcome, (Some(3), None));
}

#[test]
fn where_redis_is_away_there_is_no_answer_and_soon_no_question() {
    let server = Server::start(None);
    let settings = server.settings();
    let metrics = Arc::new(FilterMetrics::default());
    let counter = Counter::start(&settings, &metrics).unwrap();
    assert!(wait(counter.ask("a".to_owned(), rate(4))).is_some());
    drop(server);
    assert_eq!(wait(counter.ask("a".to_owned(), rate(4))), None);
    assert_eq!(wait(counter.ask("a".to_owned(), rate(4))), None);
    let of = |outcome| metrics.rate_shared.of(outcome).get();
    assert_eq!((of(Shared::Failed), of(Shared::Paused)), (1, 1));
}

#[test]
fn a_redis_that_comes_back_is_used_again_though_it_has_forgotten_the_script() {
    let server = Server::start(None);
    let settings = Settings { failures: 1000, ..server.settings() };
    let counter = Counter::start(&settings, &Arc::new(FilterMetrics::default())).unwrap();
    assert!(wait(counter.ask("a".to_owned(), rate(1))).unwrap().allowed);
    let port = server.port;
    drop(server);
    assert_eq!(wait(counter.ask("a".to_owned(), rate(1))), None);
    let _again = Server::start(Some(port));
    let answered = (0..1000).find_map(|_| wait(counter.ask("a".to_owned(), rate(1))));
    assert!(answered.expect("Redis answers again").allowed);
}
