use outwork_telemetry::Histogram;

use super::*;

/// A server with nothing to complain of, read every five seconds.
struct Server {
    start: Instant,
    reading: Reading,
    commits: Histogram,
    watch: Watch,
    settings: AlertSettings,
}

impl Server {
    fn new() -> Self {
        let (start, commits) = (Instant::now(), Histogram::default());
        let thread = |id, name: &str| ThreadUsage { id, name: name.to_owned(), cpu_seconds: 0.0 };
        let dhcp = DhcpReading {
            kernel_drops: 0,
            parked: 0,
            parked_room: 1000,
            disk_drops: 0,
            commits: commits.snapshot(),
            failure: None,
            pools: vec![],
            warn_at: 0.9,
            rate_limited: 0,
            malformed: 0,
            unserved: vec![],
            closed: vec![],
        };
        let reading = Reading {
            at: start,
            cpu_seconds: 0.0,
            processors: 4.0,
            threads: vec![thread(1, "dhcp-worker-0"), thread(2, "store-upkeep")],
            resident: 100 << 20,
            room: Room { limit: None, total: Some(1 << 30), available: Some(1 << 29) },
            database: DatabaseReading { waiting: 0, queue: 1000, refused: 0 },
            dhcp: Some(dhcp),
            dead: vec![],
            sdwan: SdwanReading::default(),
            wall: SystemTime::UNIX_EPOCH,
        };
        Self { start, reading, commits, watch: Watch::default(), settings: AlertSettings::default() }
    }

    fn dhcp(&mut self) -> &mut DhcpReading {
        self.reading.dhcp.as_mut().unwrap()
    }

    fn look(&mut self) -> Vec<Finding> {
        self.reading.at += INTERVAL;
        let commits = self.commits.snapshot();
        self.dhcp().commits = commits;
        self.watch.look(self.reading.clone(), &self.settings)
    }

    /// The condition that is found, when it is the only one.
    fn only(&mut self, id: &str) -> Option<Finding> {
        let mut findings = self.look();
        assert!(findings.iter().all(|finding| finding.id == id), "{findings:?} at {:?}", self.reading.at - self.start);
        findings.pop()
    }

    fn commit(&self, milliseconds: u64, times: usize) {
        (0..times).for_each(|_| self.commits.record(Duration::from_millis(milliseconds)));
    }
}

#[test]
fn a_server_at_work_has_no_alerts() {
    let mut server = Server::new();
    for _ in 0..100 {
        server.commit(4, 50);
        server.reading.cpu_seconds += 10.0;
        assert_eq!(server.look(), []);
    }
}

#[test]
fn clients_that_get_no_answer_and_interfaces_that_are_absent_are_told_while_they_are() {
    let mut server = Server::new();
    server.dhcp().unserved = vec![("clients of 10.9.0.1".to_owned(), "add 10.9.0.1".to_owned()); 3];
    let found = server.only("clients_unserved").unwrap();
    assert_eq!(found.what, "no answer to clients of 10.9.0.1; and so at 2 more places: the log names them");
    assert_eq!((found.advice.as_str(), found.holds, found.patience), ("add 10.9.0.1", true, Duration::ZERO));
    server.dhcp().unserved.clear();
    assert_eq!(server.only("clients_unserved"), None);
    server.dhcp().closed = vec!["lan9: it does not exist; it is picked up when it appears".to_owned()];
    let found = server.only("interface_closed").unwrap();
    assert!(found.holds && found.what.contains("lan9: it does not exist"), "{}", found.what);
}

#[test]
fn pools_without_a_backend_that_can_be_used_are_told_by_their_names() {
    let mut server = Server::new();
    server.look();
    server.reading.dead = (0..7).map(|number| format!("pool{number}")).collect();
    let found = server.only("backends_gone").unwrap();
    assert!(found.holds && found.what.contains("pool0; ") && found.what.ends_with("; and 2 more"), "{}", found.what);
    server.reading.dead.clear();
    assert_eq!(server.only("backends_gone"), None);
}

#[test]
fn drops_of_the_kernel_are_told_for_a_minute_after_the_last() {
    let mut server = Server::new();
    server.look();
    server.dhcp().kernel_drops = 7;
    let found = server.only("kernel_drops").unwrap();
    assert!(found.holds && found.what.contains("dropped 7 datagrams"), "{}", found.what);
    assert!(found.settings.contains(&"dhcp.receive_buffer"));
    assert!((0..10).all(|_| server.only("kernel_drops").is_some()));
    assert!((0..3).any(|_| server.only("kernel_drops").is_none()));
}

#[test]
fn a_disk_that_does_not_follow_is_told_before_requests_are_dropped_and_is_worse_after() {
    let mut server = Server::new();
    server.dhcp().parked = 800;
    let found = server.only("disk_behind").unwrap();
    assert!(
        found.holds && found.severity == Severity::Warning && found.what.starts_with("800 of 1000"),
        "{}",
        found.what
    );
    server.dhcp().parked = 500;
    assert!(!server.only("disk_behind").unwrap().holds, "an alert goes on, and none starts");
    server.dhcp().parked = 300;
    assert_eq!(server.only("disk_behind"), None);
    server.dhcp().disk_drops = 3;
    let found = server.only("disk_behind").unwrap();
    assert!(found.severity == Severity::Critical && found.what.contains("3 requests were dropped"), "{}", found.what);
}

#[test]
fn commits_are_slow_over_the_threshold_and_far_above_what_is_usual() {
    let mut server = Server::new();
    server.look();
    server.commit(120, 19);
    assert_eq!(server.look(), [], "a few say nothing");
    server.commit(120, 10);
    assert!(server.only("commit_slow").unwrap().holds);

    let mut server = Server::new();
    for _ in 0..60 {
        server.commit(2, 200);
        assert_eq!(server.look(), []);
    }
    server.commit(30, 200);
    let found = server.only("commit_slow").unwrap();
    assert!(found.holds && found.what.contains("; 2.0 ms are usual"), "{}", found.what);
    let mut server = Server::new();
    server.commit(30, 200);
    server.look();
    server.commit(30, 200);
    assert_eq!(server.look(), [], "nothing is usual yet");
}

#[test]
fn a_log_that_takes_nothing_is_critical_and_says_why() {
    let mut server = Server::new();
    server.dhcp().failure = Some("cannot write data/dhcp/1.seg: no space left".into());
    let found = server.only("log_failed").unwrap();
    assert!(found.severity == Severity::Critical && found.what.contains("no space left"), "{}", found.what);
}

#[test]
fn pools_are_named_the_fullest_first_and_no_more_than_a_few() {
    let pool = |number: u64, held| PoolReading { name: format!("pool {number}"), held, total: 200 };
    let mut server = Server::new();
    server.dhcp().pools = (0..8).map(|number| pool(number, 180 + number)).chain([pool(8, 10)]).collect();
    let found = server.only("pools_high").unwrap();
    assert!(found.holds && found.what.contains(": pool 7: 94 % (187 of 200), pool 6"), "{}", found.what);
    assert!(found.what.ends_with("and 3 more"), "{}", found.what);
    server.dhcp().pools = vec![pool(0, 178)];
    assert!(!server.only("pools_high").unwrap().holds, "just below");
    server.dhcp().pools = vec![pool(0, 175)];
    assert_eq!(server.look(), []);
    server.dhcp().pools = vec![pool(0, 200)];
    let ids: Vec<_> = server.look().into_iter().map(|finding| (finding.id, finding.severity)).collect();
    assert_eq!(ids, [("pools_exhausted", Severity::Critical)]);
    server.dhcp().warn_at = 0.0;
    assert!(server.only("pools_exhausted").unwrap().holds, "no warnings were asked for");
    server.dhcp().pools = vec![PoolReading { name: "empty".into(), held: 0, total: 0 }];
    assert_eq!(server.look(), []);
}

#[test]
fn a_pool_that_had_no_address_left_has_one_alert_until_it_is_over() {
    let mut server = Server::new();
    let pool = |name: &str, held| PoolReading { name: name.to_owned(), held, total: 1000 };
    let (mut fuller, alerts) = ("", outwork_telemetry::alerts::Alerts::new(&IDS));
    let mut told = Vec::new();
    for (first, second) in [(1000, 995), (995, 995), (980, 995), (980, 995)].into_iter().chain([(980, 995); 20]) {
        server.dhcp().pools = vec![pool("first", first), pool("second", second)];
        let findings = server.look();
        alerts.observe(server.reading.at, SystemTime::now(), server.settings.hold, findings);
        let active = alerts.active();
        let about = |pool: &str| active.iter().filter(|alert| alert.what.contains(pool)).count();
        assert_eq!((about("first"), about("second")), (1, 1), "{active:?}");
        let last = active.iter().find(|alert| alert.what.contains("first")).map_or("", |alert| alert.id);
        if last != fuller {
            told.push(last);
            fuller = last;
        }
    }
    assert_eq!(told, ["pools_exhausted", "pools_high"]);
}

#[test]
fn floods_are_told_of_by_their_rate_over_a_minute() {
    let mut server = Server::new();
    server.look();
    server.dhcp().rate_limited = 500;
    assert!(!server.only("rate_limited").unwrap().holds, "a burst of 500 is half of ten a second over a minute");
    server.dhcp().rate_limited = 600;
    assert!(server.only("rate_limited").unwrap().holds);
    let mut server = Server::new();
    server.look();
    server.dhcp().malformed = 6000;
    let found = server.only("malformed").unwrap();
    assert!(found.holds && found.what.starts_with("100 packets a second"), "{}", found.what);
}

#[test]
fn busy_processors_and_a_busy_thread_are_told_apart() {
    let mut server = Server::new();
    server.look();
    server.reading.threads[0].cpu_seconds += 4.9;
    server.reading.cpu_seconds += 6.0;
    let found = server.only("thread_saturated").unwrap();
    assert!(found.holds && found.patience == LOAD && found.what.contains("dhcp-worker-0"), "{}", found.what);
    assert_eq!(found.settings, ["dhcp.workers"]);
    server.reading.threads[1].cpu_seconds += 5.0;
    server.reading.cpu_seconds += 5.0;
    let found = server.only("thread_saturated").unwrap();
    assert!(found.patience > LOAD && found.settings.contains(&"store.snapshot_level"), "a snapshot may take its time");
    server.reading.threads[0].cpu_seconds += 5.0;
    server.reading.cpu_seconds += 19.0;
    let found = server.only("cpu_saturated").unwrap();
    assert!(found.what.starts_with("95 % of 4 processors") && found.what.contains("dhcp-worker-0"), "{}", found.what);
}

#[test]
fn memory_is_measured_against_the_nearest_limit() {
    let mut server = Server::new();
    server.reading.room.limit = Some(110 << 20);
    let found = server.only("memory_low").unwrap();
    assert!(found.holds && found.what.starts_with("91 % of its limit (110 MiB)"), "{}", found.what);
    server.reading.room = Room { limit: None, total: Some(1000), available: Some(50) };
    assert!(server.only("memory_low").unwrap().what.contains("the machine's memory"));
    server.reading.room = Room::default();
    assert_eq!(server.look(), [], "nothing is known");
}

#[test]
fn sqlite_is_behind_when_half_of_its_queue_waits_or_jobs_are_refused() {
    let mut server = Server::new();
    server.reading.database.waiting = 500;
    assert!(server.only("database_behind").unwrap().holds);
    server.reading.database.waiting = 249;
    assert_eq!(server.look(), []);
    server.reading.database.refused = 2;
    assert!(server.only("database_behind").unwrap().what.contains("2 were refused"));
}

#[test]
fn every_finding_is_of_a_known_condition_with_advice_and_settings_that_exist() {
    let mut server = Server::new();
    server.look();
    let pool = |held: u64| PoolReading { name: held.to_string(), held, total: 100 };
    *server.dhcp() = DhcpReading {
        kernel_drops: 1,
        parked: 1000,
        failure: Some("x".into()),
        pools: vec![pool(100), pool(95)],
        rate_limited: 1_000_000,
        malformed: 1_000_000,
        unserved: vec![("x".into(), "y".into())],
        closed: vec!["x".into()],
        ..server.dhcp().clone()
    };
    server.commit(200, 100);
    server.reading.cpu_seconds += 20.0;
    server.reading.database.waiting = 1000;
    server.reading.room.available = Some(0);
    server.reading.dead = vec!["x".into()];
    let follows = |is_connected| FollowsReading {
        is_connected,
        version: 1,
        error: Some("x".into()),
        certificate: Some((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH)),
    };
    let (away, behind) = ((1, vec!["x".into()]), (1, vec!["x".into()]));
    let controls = ControlsReading { away, behind, is_held_back: true };
    server.reading.sdwan =
        SdwanReading { cut_off: vec!["x".into()], follows: Some(follows(true)), controls: Some(controls) };
    let mut findings = server.look();
    server.reading.sdwan.follows = Some(follows(false));
    server.reading.threads[0].cpu_seconds += 5.0;
    findings.extend(server.look());
    let schema = outwork_config::schema::<crate::settings::Settings>();
    let mut missing: Vec<_> = IDS.to_vec();
    for finding in findings {
        assert!(IDS.contains(&finding.id) && !finding.advice.is_empty(), "{finding:?}");
        missing.retain(|id| *id != finding.id);
        for key in finding.settings {
            let pointer = key.split('.').map(|part| format!("/properties/{part}")).collect::<String>();
            assert!(schema.pointer(&pointer).is_some(), "{key} is no setting");
        }
    }
    assert!(missing.is_empty(), "{missing:?} were not found");
}
