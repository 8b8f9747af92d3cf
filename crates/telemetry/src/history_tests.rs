use std::collections::BTreeMap;

use super::*;
use crate::{Desc, Kind, Sample, Unit, Value};

const T0: u64 = 1_800_000_000;

fn gauge(value: f64) -> Vec<Family> {
    let desc = Desc { name: "level", help: "", kind: Kind::Gauge, unit: Unit::None, history: true };
    vec![Family { desc, samples: vec![Sample { labels: Vec::new(), value: Value::Number(value) }], overflow: None }]
}

fn ask(history: &History, series: &str, from: u64, to: u64, step: u64) -> Vec<Option<f64>> {
    let query = Query { series: vec![series.into()], from, to, step: Some(step) };
    history.query(&query).unwrap().series.remove(0)
}

#[derive(Default)]
struct Table(Mutex<BTreeMap<(String, u64), f64>>);

impl Archive for Table {
    fn append(&self, at: u64, points: &[Point]) -> Result<(), ArchiveError> {
        self.0.lock().extend(points.iter().map(|point| ((point.series.clone(), at), point.value)));
        Ok(())
    }

    fn read(&self, series: &str, from: u64, to: u64) -> Result<Vec<(u64, f64)>, ArchiveError> {
        let rows = self.0.lock();
        let range = (series.to_owned(), from)..(series.to_owned(), to);
        Ok(rows.range(range).map(|((_, at), value)| (*at, *value)).collect())
    }
}

#[test]
fn points_come_back_on_their_grid_and_gaps_stay_gaps() {
    let history = History::new(None);
    for (offset, value) in [(0, 1.0), (10, 2.0), (30, 4.0)] {
        history.observe(T0 + offset + 3, Instant::now(), &gauge(value)).unwrap();
    }
    assert_eq!(ask(&history, "level", T0, T0 + 40, 10), [Some(1.0), Some(2.0), None, Some(4.0)]);
    assert_eq!(ask(&history, "level", T0, T0 + 40, 20), [Some(1.5), Some(4.0)]);
    assert_eq!(ask(&history, "unheard_of", T0, T0 + 20, 10), [None, None]);
}

#[test]
fn a_quantile_over_a_longer_step_is_the_worst_one_and_not_their_mean() {
    let mut grid = Grid::new(0, 30, 1, "t_p99{which=\"a\"}");
    [(0, 1.0), (10, 9.0), (20, 2.0)].into_iter().for_each(|(at, value)| grid.add(at, value));
    assert_eq!(grid.finish(), [Some(9.0)]);
}

#[test]
fn memory_holds_the_last_hour_and_the_archive_answers_for_what_came_before() {
    let archive = Arc::new(Table::default());
    let (alone, archived) = (History::new(None), History::new(Some(archive)));
    for i in 0..2 * SLOTS {
        for history in [&alone, &archived] {
            history.observe(T0 + i * STEP, Instant::now(), &gauge(i as f64)).unwrap();
        }
    }
    let end = T0 + 2 * SLOTS * STEP;
    let all = ask(&archived, "level", T0, end, STEP);
    assert!(all.iter().enumerate().all(|(i, value)| *value == Some(i as f64)));
    let recent = ask(&alone, "level", T0, end, STEP);
    assert_eq!(recent.iter().flatten().count(), SLOTS as usize);
    assert_eq!(recent[SLOTS as usize], Some(SLOTS as f64));
    assert_eq!(recent[SLOTS as usize - 1], None);
}

#[test]
fn a_clock_set_back_forgets_the_future_and_goes_on() {
    let history = History::new(None);
    for (at, value) in [(T0 + 86_400, 1.0), (T0, 2.0), (T0 + 10, 3.0)] {
        history.observe(at, Instant::now(), &gauge(value)).unwrap();
    }
    assert_eq!(ask(&history, "level", T0, T0 + 20, 10), [Some(2.0), Some(3.0)]);
}

#[test]
fn a_series_that_was_silent_for_an_hour_leaves_memory() {
    let history = History::new(None);
    history.observe(T0, Instant::now(), &gauge(1.0)).unwrap();
    assert_eq!(history.metrics().series.get(), 1);
    history.observe(T0 + SLOTS * STEP, Instant::now(), &[]).unwrap();
    assert_eq!(history.metrics().series.get(), 0);
}

#[test]
fn more_series_than_memory_has_room_for_are_counted_and_left_out() {
    let history = History::new(None);
    let cell = |i: usize| Sample { labels: vec![("i", i.to_string().into())], value: Value::Number(1.0) };
    // Cells, and their sum.
    let family = |name: usize, cells: usize| {
        let mut family = gauge(1.0).remove(0);
        family.desc.name = Box::leak(format!("level_{name}").into_boxed_str());
        family.samples = (0..cells).map(cell).collect();
        family
    };
    let mut families: Vec<_> = (0..31).map(|name| family(name, 64)).collect();
    families.push(family(31, MAX_SERIES - 31 * 65));
    history.observe(T0, Instant::now(), &families).unwrap();
    assert_eq!((history.metrics().series.get(), history.metrics().refused.get()), (MAX_SERIES as i64, 1));
}

#[test]
fn a_query_out_of_bounds_names_its_parameter() {
    let history = History::new(None);
    let key = |query: &Query| match history.query(query) {
        Err(QueryError::Invalid { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    let good = Query { series: vec!["level".into()], from: T0, to: T0 + 100, step: None };
    assert_eq!(key(&Query { series: Vec::new(), ..good.clone() }), "name");
    assert_eq!(key(&Query { to: T0, ..good.clone() }), "to");
    assert_eq!(key(&Query { to: T0 + 10_000_000, step: Some(10), ..good.clone() }), "step");
    assert_eq!(history.query(&Query { to: T0 + 90 * 86_400, ..good }).unwrap().step, 25_920);
}

#[test]
fn an_archive_that_refuses_is_counted_and_memory_keeps_the_points() {
    struct Full;
    impl Archive for Full {
        fn append(&self, _: u64, _: &[Point]) -> Result<(), ArchiveError> {
            Err("disk full".into())
        }
        fn read(&self, _: &str, _: u64, _: u64) -> Result<Vec<(u64, f64)>, ArchiveError> {
            Err("disk gone".into())
        }
    }
    let history = History::new(Some(Arc::new(Full)));
    assert!(history.observe(T0, Instant::now(), &gauge(5.0)).is_err());
    assert_eq!(history.metrics().archive_failed.get(), 1);
    assert_eq!(ask(&history, "level", T0, T0 + 10, 10), [Some(5.0)]);
    let older = Query { series: vec!["level".into()], from: T0 - 100, to: T0 + 10, step: None };
    assert!(matches!(history.query(&older), Err(QueryError::Archive(_))));
}

#[test]
fn the_memory_of_the_history_grows_with_its_series() {
    let history = History::new(None);
    let empty = history.memory();
    history.observe(T0, Instant::now(), &gauge(1.0)).unwrap();
    let one = history.memory();
    assert!(one >= empty + SLOTS as usize * size_of::<f64>(), "{empty}, {one}");
    history.observe(T0 + 10, Instant::now(), &gauge(2.0)).unwrap();
    assert_eq!(history.memory(), one, "an hour's room is taken at once");
}
