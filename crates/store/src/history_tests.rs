use super::*;
use crate::database::{Database, DatabaseOptions};

fn with<T: Send + 'static>(job: impl FnOnce(&mut Connection) -> T + Send + 'static) -> T {
    let dir = tempfile::TempDir::new().unwrap();
    let database = Database::open(&DatabaseOptions::new(dir.path().join("db")), &[]).unwrap();
    database.call(|connection| Ok(job(connection))).wait().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A point every 10 s in `from..until`; the value is the time, in seconds, times `factor`.
fn fill(connection: &mut Connection, series: SeriesId, from: u64, until: u64, factor: f64) {
    let points: Vec<Point> =
        (from..until).step_by(10).map(|s| Point { series, at: at(s), value: s as f64 * factor }).collect();
    assert_eq!(write(connection, &points).unwrap(), points.len());
}

#[test]
fn a_name_keeps_its_number() {
    with(|connection| {
        let first = series(connection, "dhcp.requests").unwrap();
        let second = series(connection, "cpu").unwrap();
        assert_ne!(first, second);
        assert_eq!(series(connection, "dhcp.requests").unwrap(), first);
        assert_eq!(list_series(connection).unwrap(), [("cpu".into(), second), ("dhcp.requests".into(), first)]);
    });
}

#[test]
fn points_come_back_in_order_and_what_is_not_finite_is_left_out() {
    with(|connection| {
        let id = series(connection, "a").unwrap();
        fill(connection, id, 0, 100, 1.0);
        let odd = [f64::NAN, f64::INFINITY, 7.0].map(|value| Point { series: id, at: at(40), value });
        assert_eq!(write(connection, &odd).unwrap(), 1);
        let found = points(connection, id, at(30), at(60)).unwrap();
        let values: Vec<_> = found.iter().map(|point| (point.at, point.value)).collect();
        assert_eq!(values, [(at(30), 30.0), (at(40), 7.0), (at(50), 50.0)]);
    });
}

#[test]
fn closed_windows_are_rolled_up_in_bounded_slices_each_once() {
    with(|connection| {
        let (a, b) = (series(connection, "a").unwrap(), series(connection, "b").unwrap());
        fill(connection, a, 600, 1500, 1.0);
        fill(connection, b, 900, 1500, -1.0);
        // A long silence: its windows cost nothing.
        fill(connection, a, 90_000, 90_050, 2.0);
        let early = roll_up(connection, at(900 + 29), 10).unwrap();
        assert_eq!(early, Progress::default(), "points may still come");
        assert_eq!(roll_up(connection, at(90_000), 2).unwrap(), Progress { done: 2, more: true });
        assert_eq!(roll_up(connection, at(90_000), 2).unwrap(), Progress { done: 1, more: false });
        assert_eq!(roll_up(connection, at(90_330), 2).unwrap(), Progress { done: 1, more: false });
        assert_eq!(roll_up(connection, at(99_000), 2).unwrap(), Progress::default());
        let of_a = aggregates(connection, a, at(0), at(100_000)).unwrap();
        assert_eq!(of_a.iter().map(|window| window.at).collect::<Vec<_>>(), [at(600), at(900), at(1200), at(90_000)]);
        let expected = Aggregate { series: a, at: at(600), min: 600.0, max: 890.0, avg: 745.0, last: 890.0, count: 30 };
        assert_eq!(of_a[0], expected);
        let of_b = aggregates(connection, b, at(1000), at(100_000)).unwrap();
        let expected =
            Aggregate { series: b, at: at(1200), min: -1490.0, max: -1200.0, avg: -1345.0, last: -1490.0, count: 30 };
        assert_eq!(of_b, [expected]);
    });
}

#[test]
fn old_points_go_in_bounded_slices_but_never_before_they_are_rolled_up() {
    with(|connection| {
        let id = series(connection, "a").unwrap();
        fill(connection, id, 0, 900, 1.0);
        assert_eq!(prune_points(connection, at(700), 50).unwrap(), Progress::default());
        roll_up(connection, at(630), 10).unwrap();
        assert_eq!(prune_points(connection, at(700), 50).unwrap(), Progress { done: 50, more: true });
        assert_eq!(prune_points(connection, at(700), 50).unwrap(), Progress { done: 10, more: false });
        assert_eq!(points(connection, id, at(0), at(900)).unwrap().len(), 30);
        assert_eq!(prune_aggregates(connection, at(300), 50).unwrap(), Progress { done: 1, more: false });
        assert_eq!(aggregates(connection, id, at(0), at(900)).unwrap().len(), 1);
    });
}
