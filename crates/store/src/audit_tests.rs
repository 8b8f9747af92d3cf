use super::*;
use crate::database::{Database, DatabaseOptions};

fn table() -> (tempfile::TempDir, Database) {
    let dir = tempfile::TempDir::new().unwrap();
    let database = Database::open(&DatabaseOptions::new(dir.path().join("db")), &[]).unwrap();
    database
        .call(|connection| {
            for number in 1..=30 {
                append(connection, &entry(number))?;
            }
            Ok(())
        })
        .wait()
        .unwrap();
    (dir, database)
}

fn entry(number: i64) -> Entry {
    Entry {
        at: time(number * 1000),
        actor: if number % 3 == 0 { "ada" } else { "bob" }.to_owned(),
        origin: "192.0.2.7".to_owned(),
        action: ["lease.release", "lease.add", "leasehold.x"][number as usize % 3].to_owned(),
        target: format!("10.0.0.{number}"),
        succeeded: number % 2 == 0,
        detail: "{}".to_owned(),
    }
}

fn ids(database: &Database, filter: Filter, page: Page) -> Vec<i64> {
    let rows = database.read(move |connection| list(connection, &filter, page)).wait().unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

const ALL: Page = Page { before: None, limit: 100 };

#[test]
fn entries_come_back_as_they_were_newest_first() {
    let (_dir, database) = table();
    let rows = database.read(|connection| list(connection, &Filter::default(), ALL)).wait().unwrap();
    let expected: Vec<_> = (1..=30).rev().map(|id| StoredEntry { id, entry: entry(id) }).collect();
    assert_eq!(rows, expected);
}

#[test]
fn filters_narrow_and_combine() {
    let (_dir, database) = table();
    let text = |value: &str| Some(value.to_owned());
    let ada = Filter { actor: text("ada"), ..Filter::default() };
    assert_eq!(ids(&database, ada.clone(), ALL), (1..=30).rev().filter(|n| n % 3 == 0).collect::<Vec<_>>());
    let range = Filter { since: Some(time(10_000)), until: Some(time(13_000)), ..ada };
    assert_eq!(ids(&database, range, ALL), [12]);
    let exact = Filter { action: text("lease.add"), ..Filter::default() };
    assert_eq!(ids(&database, exact, ALL), (1..=30).rev().filter(|n| n % 3 == 1).collect::<Vec<_>>());
    let prefix = Filter { action: text("lease."), ..Filter::default() };
    assert_eq!(ids(&database, prefix, ALL), (1..=30).rev().filter(|n| n % 3 != 2).collect::<Vec<_>>());
    let target = Filter { target: text("10.0.0.4"), ..Filter::default() };
    assert_eq!(ids(&database, target, ALL), [4]);
}

#[test]
fn pages_follow_each_other_without_gaps() {
    let (_dir, database) = table();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = ids(&database, Filter::default(), Page { before, limit: 7 });
        let Some(last) = page.last() else { break };
        before = Some(*last);
        seen.extend(page);
    }
    assert_eq!(seen, (1..=30).rev().collect::<Vec<_>>());
}

#[test]
fn old_entries_are_dropped_in_bounded_slices() {
    let (_dir, database) = table();
    let drop_some = || database.call(|connection| prune(connection, time(16_000), 10)).wait().unwrap();
    assert_eq!([drop_some(), drop_some(), drop_some()], [10, 5, 0]);
    assert_eq!(ids(&database, Filter::default(), ALL), (16..=30).rev().collect::<Vec<_>>());
}
