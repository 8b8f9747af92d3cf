#[path = "../../../../cache/tests/redis/server.rs"]
mod server;

use super::*;
use server::Redis;

/// As they are spoken to.
fn settings(redis: &Redis) -> Settings {
    Settings {
        url: format!("redis://127.0.0.1:{}/1", redis.port),
        user: None,
        password: None,
        ca: None,
        prefix: "test:".to_owned(),
        timeout: Duration::from_secs(5),
        failures: 1,
        retry: Duration::from_secs(3600),
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
    let redis = Redis::start(&[]);
    let metrics = Arc::new(FilterMetrics::default());
    let counters: Vec<_> = (0..2).map(|_| Counter::start(&settings(&redis), &metrics).unwrap()).collect();
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
    let redis = Redis::start(&["--requirepass", "open sesame", "--unixsocket", "socket"]);
    let asked = |password: &str| {
        let settings = Settings {
            url: format!("unix://{}", redis.dir.path().join("socket").display()),
            password: Some(outwork_config::Secret::new(password)),
            ..settings(&redis)
        };
        let counter = Counter::start(&settings, &Arc::new(FilterMetrics::default())).unwrap();
        wait(counter.ask("a".to_owned(), rate(4)))
    };
    let outcome = (asked("open sesame").map(|verdict| verdict.remaining), asked("open barley"));
    assert_eq!(outcome, (Some(3), None));
}

#[test]
fn where_redis_is_away_there_is_no_answer_and_soon_no_question() {
    let redis = Redis::start(&[]);
    let settings = settings(&redis);
    let metrics = Arc::new(FilterMetrics::default());
    let counter = Counter::start(&settings, &metrics).unwrap();
    assert!(wait(counter.ask("a".to_owned(), rate(4))).is_some());
    drop(redis);
    assert_eq!(wait(counter.ask("a".to_owned(), rate(4))), None);
    assert_eq!(wait(counter.ask("a".to_owned(), rate(4))), None);
    let of = |outcome| metrics.rate_shared.of(outcome).get();
    assert_eq!((of(Shared::Failed), of(Shared::Paused)), (1, 1));
}

#[test]
fn a_redis_that_comes_back_is_used_again_though_it_has_forgotten_the_script() {
    let mut redis = Redis::start(&[]);
    let settings = Settings { failures: 1000, ..settings(&redis) };
    let counter = Counter::start(&settings, &Arc::new(FilterMetrics::default())).unwrap();
    assert!(wait(counter.ask("a".to_owned(), rate(1))).unwrap().allowed);
    redis.kill();
    assert_eq!(wait(counter.ask("a".to_owned(), rate(1))), None);
    redis.restart();
    let answered = (0..1000).find_map(|_| wait(counter.ask("a".to_owned(), rate(1))));
    assert!(answered.expect("Redis answers again").allowed);
}
