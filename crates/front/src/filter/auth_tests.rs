use std::rc::Rc;

use http::Method;

use super::*;
use crate::filter::users::Hash;
use crate::message::{Origin, RequestBody};

const SECOND: u64 = 1_000_000_000;

fn settings(users: &[(&str, &str)]) -> Settings {
    let hash =
        |password: &str| outwork_config::Secret::new(Hash::argon2(password.as_bytes(), [7; 16]).unwrap().to_string());
    let users = users.iter().map(|(name, password)| ((*name).to_owned(), hash(password))).collect();
    Settings { users, ..Settings::default() }
}

fn request(peer: &str, credentials: Option<&str>) -> Request {
    let mut builder = http::Request::builder().method(Method::GET);
    if let Some(credentials) = credentials {
        builder = builder.header(AUTHORIZATION, format!("basic {}", STANDARD.encode(credentials)));
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    let origin = Origin {
        peer: (peer.parse::<std::net::IpAddr>().unwrap(), 1).into(),
        local: ([127, 0, 0, 1], 80).into(),
        to: None,
        tls: false,
        session: None,
    };
    Request { head, body: RequestBody::Empty, origin: Rc::new(origin) }
}

struct Guard {
    auth: Arc<BasicAuth>,
    metrics: Arc<FilterMetrics>,
    runtime: tokio::runtime::Runtime,
}

impl Guard {
    fn new(settings: Settings) -> Self {
        let metrics = Arc::new(FilterMetrics::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { auth: BasicAuth::new(settings, &metrics).unwrap(), metrics, runtime }
    }

    /// The name, or the status of the refusal; and whether it was told at once.
    fn ask(&self, credentials: Option<&str>, now: u64) -> (Result<Box<str>, StatusCode>, bool) {
        self.runtime.block_on(async {
            match self.auth.check(&request("192.0.2.1", credentials), now) {
                Checked::Pass(name) => (Ok(name), true),
                Checked::Refuse(response) => (Err(response.status), true),
                Checked::Later(told) => (told.await.map_err(|response| response.status), false),
            }
        })
    }

    /// What is made of it at first.
    fn check(&self, peer: &str, credentials: &str, now: u64) -> Checked {
        let _runtime = self.runtime.enter();
        self.auth.check(&request(peer, Some(credentials)), now)
    }

    fn count(&self, outcome: Login) -> u64 {
        self.metrics.logins.of(outcome).get()
    }
}

#[test]
fn a_password_is_hashed_once_and_then_remembered_for_a_while() {
    let guard = Guard::new(settings(&[("ann", "pass:word")]));
    let right = Some("ann:pass:word");
    assert_eq!(guard.ask(right, 0), (Ok("ann".into()), false));
    assert_eq!(guard.ask(right, SECOND), (Ok("ann".into()), true));
    assert_eq!(guard.ask(Some("ann:pass:wore"), SECOND), (Err(StatusCode::UNAUTHORIZED), false));
    assert_eq!(guard.ask(right, 301 * SECOND), (Ok("ann".into()), false), "after five minutes it is hashed again");
    assert_eq!((guard.count(Login::Right), guard.count(Login::Remembered), guard.count(Login::Wrong)), (2, 1, 1));
}

#[test]
fn how_long_a_password_is_remembered_is_as_the_settings_say() {
    let right = Some("ann:x");
    let at_once = |guard: &Guard, now| {
        let (name, at_once) = guard.ask(right, now);
        assert_eq!(name, Ok("ann".into()));
        at_once
    };
    let brief = Guard::new(Settings { remember: Duration::from_secs(10), ..settings(&[("ann", "x")]) });
    assert_eq!([0, 9, 11].map(|second| at_once(&brief, second * SECOND)), [false, true, false]);
    let never = Guard::new(Settings { remember: Duration::ZERO, ..settings(&[("ann", "x")]) });
    assert_eq!([0, 0].map(|now| at_once(&never, now)), [false, false]);
}

#[test]
fn who_sends_nothing_or_nonsense_is_asked_for_a_password() {
    let guard = Guard::new(settings(&[("ann", "x")]));
    assert_eq!(guard.ask(None, 0), (Err(StatusCode::UNAUTHORIZED), true));
    assert_eq!(guard.ask(Some("no colon"), 0), (Err(StatusCode::UNAUTHORIZED), true));
    let Checked::Refuse(refusal) = guard.auth.check(&request("192.0.2.1", None), 0) else { panic!("it is refused") };
    assert_eq!(refusal.headers[WWW_AUTHENTICATE], "Basic realm=\"Restricted\", charset=\"UTF-8\"");
    assert_eq!(guard.count(Login::Missing), 3);
}

#[test]
fn after_some_wrong_passwords_an_address_has_to_wait_and_others_need_not() {
    let guard = Guard::new(Settings { failures: 2, ..settings(&[("ann", "x")]) });
    let wrong = |now| guard.ask(Some("ann:y"), now).0;
    assert_eq!((wrong(0), wrong(0)), (Err(StatusCode::UNAUTHORIZED), Err(StatusCode::UNAUTHORIZED)));
    assert_eq!(wrong(0), Err(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(guard.ask(Some("ann:x"), 0).0, Err(StatusCode::TOO_MANY_REQUESTS), "not even the right one is tried");
    assert!(matches!(guard.check("192.0.2.2", "ann:x", 0), Checked::Later(_)));
    assert_eq!(guard.ask(Some("ann:x"), 31 * SECOND).0, Ok("ann".into()));
    assert_eq!(guard.count(Login::Throttled), 2);
}

#[test]
fn guesses_that_are_sent_at_once_are_counted_before_any_of_them_is_hashed() {
    let guard = Guard::new(Settings { failures: 4, ..settings(&[("ann", "x")]) });
    let checks: Vec<_> = (0..6).map(|guess| guard.check("192.0.2.1", &format!("ann:{guess}"), 0)).collect();
    let refused: Vec<_> = checks.iter().map(|check| matches!(check, Checked::Refuse(_))).collect();
    assert_eq!(refused, [false, false, false, false, true, true]);
    assert_eq!(guard.count(Login::Throttled), 2);
}

#[test]
fn a_password_that_is_right_costs_nothing_in_the_end_and_one_hash_however_often_it_is_sent_at_once() {
    let guard = Guard::new(Settings { failures: 1, ..settings(&[("ann", "x")]) });
    let checks: Vec<_> = (0..50).map(|_| guard.check("192.0.2.1", "ann:x", 0)).collect();
    for check in checks {
        let Checked::Later(told) = check else { panic!("it takes a while") };
        assert_eq!(guard.runtime.block_on(told).ok(), Some("ann".into()));
    }
    assert_eq!((guard.count(Login::Right), guard.count(Login::Remembered)), (1, 49));
    // What was charged comes back by itself after a minute; what hashing has taken of it counts.
    let wrong = || guard.ask(Some("ann:y"), 59 * SECOND).0;
    assert_eq!(wrong(), Err(StatusCode::UNAUTHORIZED), "the one that may be wrong is left");
    assert_eq!(wrong(), Err(StatusCode::TOO_MANY_REQUESTS));
}

#[test]
fn no_client_takes_the_turns_of_others_and_there_are_so_many_in_all() {
    let guard = Guard::new(Settings { failures: 1000, ..settings(&[("ann", "x")]) });
    let guess = |client: usize, guess: usize| guard.check(&format!("192.0.2.{client}"), &format!("ann:{guess}"), 0);
    let statuses = |checks: Vec<Checked>| -> Vec<_> {
        let refused = checks.iter().filter_map(|check| match check {
            Checked::Refuse(response) => Some(response.status),
            _ => None,
        });
        refused.collect()
    };
    let first = statuses((0..turns::EACH + 1).map(|number| guess(1, number)).collect());
    assert_eq!(first, [StatusCode::SERVICE_UNAVAILABLE], "the last of the first client");
    let rest = turns::ALL - turns::EACH;
    let others = (0..rest).map(|number| guess(2 + number / turns::EACH, number)).collect();
    assert!(statuses(others).is_empty());
    assert_eq!(statuses(vec![guess(200, 0)]), [StatusCode::SERVICE_UNAVAILABLE]);
    assert_eq!(guard.count(Login::Busy), 2);
}

#[test]
fn who_gives_up_gets_no_other_turn_until_what_was_begun_is_over() {
    let guard = Guard::new(Settings { failures: 1000, ..settings(&[("ann", "x")]) });
    drop((0..turns::EACH).map(|guess| guard.check("192.0.2.1", &format!("ann:{guess}"), 0)).collect::<Vec<_>>());
    assert_eq!(guard.ask(Some("ann:x"), 0), (Err(StatusCode::SERVICE_UNAVAILABLE), true));
    let Checked::Later(last) = guard.check("192.0.2.1", "ann:7", 0) else { panic!("it joins what is under way") };
    assert!(guard.runtime.block_on(last).is_err());
    assert_eq!(guard.ask(Some("ann:x"), 0).0, Ok("ann".into()));
}

#[test]
fn a_file_of_users_is_read_again_when_it_changes_and_stays_as_it_was_where_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let line = |name: &str, password: &str| format!("{name}:{}\n", Hash::bcrypt(password.as_bytes(), [3; 16]).unwrap());
    std::fs::write(&path, line("ann", "x")).unwrap();
    let guard = Guard::new(Settings { file: Some(path.clone()), failures: 1000, ..Settings::default() });
    assert_eq!(guard.ask(Some("ann:x"), SECOND).0, Ok("ann".into()));
    std::fs::write(&path, line("bob", "y") + "# more\n").unwrap();
    guard.auth.refresh().unwrap();
    assert_eq!(guard.ask(Some("bob:y"), SECOND).0, Ok("bob".into()));
    assert_eq!(guard.ask(Some("ann:x"), SECOND).0, Err(StatusCode::UNAUTHORIZED), "she is not remembered");
    std::fs::write(&path, "bob:{SHA}x").unwrap();
    let told = guard.auth.refresh().unwrap_err().to_string();
    assert!(told.contains("users: line 1: SHA-1") && told.starts_with("basic_auth.file: "), "{told}");
    assert_eq!(guard.ask(Some("bob:y"), SECOND).0, Ok("bob".into()));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(guard.auth.refresh(), Err(AuthError::File { .. })));
}

#[test]
fn a_changed_file_is_noticed_by_the_requests_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let line = |password: &str| format!("ann:{}\n", Hash::bcrypt(password.as_bytes(), [3; 16]).unwrap());
    std::fs::write(&path, line("x")).unwrap();
    let guard = Guard::new(Settings { file: Some(path.clone()), failures: 1000, ..Settings::default() });
    assert_eq!(guard.ask(Some("ann:x"), 2 * SECOND).0, Ok("ann".into()));
    std::fs::write(&path, line("another password")).unwrap();
    let still = |second: &u64| guard.ask(Some("ann:x"), *second * SECOND).0.is_ok();
    let pause = |_| std::thread::sleep(Duration::from_millis(2));
    let last = (3..10_000).take_while(still).inspect(|_| pause(())).last().unwrap_or(3);
    assert!(last < 9_999, "the old password stops working");
    assert_eq!(guard.ask(Some("ann:another password"), (last + 2) * SECOND).0, Ok("ann".into()));
}
