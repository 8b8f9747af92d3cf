//! Threads and sockets of the front door, as the kernel shows them.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use crate::binary::{Client, Place, get, json, said, text, until};

/// The threads of a process whose names begin like this: their names and their folders below `/proc`, in order.
fn threads(process: u32, begin: &str) -> Vec<(String, PathBuf)> {
    let folders = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let name = |folder: PathBuf| {
        // A thread may end meanwhile.
        let name = std::fs::read_to_string(folder.join("comm")).ok()?;
        Some((name.trim().to_owned(), folder))
    };
    let named = folders.filter_map(|folder| name(folder.ok()?.path()));
    let mut named: Vec<_> = named.filter(|(name, _)| name.starts_with(begin)).collect();
    named.sort();
    named
}

/// The processors that a thread may be on.
fn processors(thread: &std::path::Path) -> Vec<usize> {
    let status = std::fs::read_to_string(thread.join("status")).expect("its status");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("its processors").trim();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        number(first)..=number(last)
    };
    list.split(',').flat_map(range).collect()
}

/// How many connections may wait at each socket of the door.
fn backlogs(place: &Place) -> Vec<u32> {
    let shown = said(Command::new("ss").args(["-ltnH", "src", &format!("{}:8080", place.host())]));
    let column = |line: &str| line.split_whitespace().nth(2).and_then(|number| number.parse().ok());
    shown.lines().filter_map(column).collect()
}

#[test]
fn the_door_has_the_threads_and_the_sockets_that_the_settings_say() {
    let mut place = Place::with(
        "[front]\nworkers = 3\naffinity = true\nstack_size = '5300KiB'\nio_threads = 1\n\
         [[front.listener]]\naddress = 'HOST:8080'\nbacklog = 77\n\
         [[front.route]]\npath = '/*'\nfiles = { root = 'site', listing = { enabled = true } }\n",
    );
    std::fs::create_dir(place.path().join("site")).expect("a folder");
    (0..500)
        .for_each(|number| drop(std::fs::File::create(place.path().join(format!("site/{number}"))).expect("a file")));
    place.start();
    // A thread says its name, and goes where it is to stay, once it runs.
    let all = processors(&PathBuf::from(format!("/proc/{}", place.pid())));
    let wanted: Vec<_> = (0..3).map(|index| (format!("front-{index}"), vec![all[index % all.len()]])).collect();
    until("three threads, each on its processor", || {
        let doors = threads(place.pid(), "front-").into_iter();
        doors.map(|(name, thread)| (name, processors(&thread))).eq(wanted.iter().cloned())
    });
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", place.pid())).expect("its memory");
    let size = |line: &str| {
        let (begin, end) = line.split(' ').next()?.split_once('-')?;
        Some(usize::from_str_radix(end, 16).ok()? - usize::from_str_radix(begin, 16).ok()?)
    };
    let stacks = maps.lines().filter_map(size).filter(|size| *size == 5300 << 10).count();
    assert!(stacks > 0, "{maps}");
    assert_eq!(backlogs(&place), [77; 3]);
    place.change(|before| before.replace("backlog = 77", "backlog = 99"));
    place.must(&["reload"]);
    assert_eq!(backlogs(&place), [99; 3], "the same sockets");
    // Lists are read from the disk by a thread beside that of the connection, and by no second one.
    let mut clients: Vec<_> = (0..24).map(|_| TcpStream::connect((place.host(), 8080)).expect("the door")).collect();
    for client in &mut clients {
        std::io::Write::write_all(client, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it hears");
    }
    for mut client in clients {
        let list = std::io::read_to_string(&mut client).expect("a list");
        assert!(list.starts_with("HTTP/1.1 200 ") && list.contains("499"), "{list}");
    }
    let mut beside: Vec<_> = threads(place.pid(), "front-").into_iter().map(|(name, _)| name).collect();
    beside.retain(|name| name.ends_with("-io"));
    let count = beside.len();
    beside.dedup();
    assert!(count > 0 && beside.len() == count, "{count} threads: {beside:?}");
}

#[test]
fn connections_that_cannot_be_accepted_are_counted_and_told_of_once() {
    let mut place = Place::with(
        "[front]\nworkers = 2\n[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/'\nrespond = { body = 'routed' }\n",
    );
    place.start();
    let admin = format!("{}:8067", place.host());
    let mut admin = Client::new(&admin);
    let mut failed = || {
        let metrics = admin.ask("GET /metrics", "a");
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("outwork_front_connections_cut_total{reason=\"accept\"} "));
        count.map_or(0, |count| count.parse().expect("a number"))
    };
    assert_eq!(failed(), 0);
    let files = |most: &str| said(Command::new("prlimit").args(["--pid", &place.pid().to_string(), most]));
    files("--nofile=3:");
    let mut clients: Vec<_> = (0..8).map(|_| Client::new(&format!("{}:8080", place.host()))).collect();
    until("failures", || failed() >= 10);
    files("--nofile=4096:");
    for client in &mut clients {
        assert!(client.ask("GET /", "a").ends_with("routed"), "who waited is served");
    }
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    assert_eq!(log.matches("cannot accept connections").count(), 1, "{log}");
    assert!(get(&format!("http://{}:8080/", place.host()), &[]).ends_with("routed"));
}

/// Where threads are whose names begin like this, without those that say so twice.
fn places(process: u32, begin: &str) -> Vec<Vec<usize>> {
    let mut places: Vec<_> = threads(process, begin).iter().map(|(_, thread)| processors(thread)).collect();
    places.sort();
    places.dedup();
    places
}

/// The port of a listener of layer 4, and a pool for it.
const LAYER4: &str = "[proxy.pool.a]\nbackend = [{ url = 'tcp://192.0.2.1:1' }]\n[[proxy.listener]]\naddress = ['HOST:7000']\npool = 'a'\n";

#[test]
fn threads_of_every_kind_stay_on_the_processors_that_are_named() {
    let all = outwork_net::thread::processors().expect("processors");
    let last = *all.last().expect("a processor");
    let mut place = Place::with(&format!(
        "[front]\naffinity = {last}\n[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/'\nrespond = {{}}\n\
         [proxy]\naffinity = '{last}'\n{LAYER4}"
    ));
    let list = PathBuf::from(last.to_string());
    place.start_with(&[
        ("OUTWORK__DHCP__WORKERS", "2".into()),
        ("OUTWORK__DHCP__AFFINITY", list.clone()),
        ("OUTWORK__ADMIN__AFFINITY", list),
    ]);
    for begin in ["dhcp-worker-", "front-", "l4-", "admin"] {
        until(begin, || places(place.pid(), begin) == [[last]]);
    }
    // Nobody has said how many there are: as many as there are processors for them.
    for begin in ["front-", "l4-"] {
        assert_eq!(threads(place.pid(), begin).len(), 1, "{begin}");
    }
    assert_eq!(places(place.pid(), "dhcp-keeper"), [all], "nobody has said where it stays");
}

#[test]
fn what_the_admin_api_begins_beside_itself_is_not_kept_where_it_is() {
    let all = outwork_net::thread::processors().expect("processors");
    let mut place = Place::new();
    place.own_program();
    let last = all.last().expect("a processor").to_string();
    place.start_with(&[("OUTWORK__ADMIN__AFFINITY", last.into())]);
    place.change(|before| before + &LAYER4.replace("HOST", place.host()));
    place.must(&["reload"]);
    until("threads of layer 4", || places(place.pid(), "l4-") == std::slice::from_ref(&all));
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    let mut before = place.succeed(&upgraded["process"]);
    let successor = upgraded["process"].as_u64().and_then(|process| u32::try_from(process).ok()).expect("a number");
    assert_eq!(processors(&PathBuf::from(format!("/proc/{successor}"))), all);
    before.wait().expect("it ends");
}

#[test]
fn a_processor_that_the_process_may_not_use_is_refused_by_its_key() {
    let place = Place::with("[proxy]\naffinity = '1022-1023'\n[front]\naffinity = 1023\n");
    let checked = place.outwork(&["check"]);
    let said = text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    for key in ["front.affinity", "proxy.affinity"] {
        assert!(said.contains(key), "{said}");
    }
    assert!(said.contains("this process may not use processor 1022") && said.contains("CPUAffinity="), "{said}");
    assert_eq!(place.outwork(&["run"]).status.code(), Some(1), "nor does it start");
}
