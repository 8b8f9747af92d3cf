//! Loads and profiles: what a server bears, and where its memory and time go.

use std::process::Stdio;

use crate::binary::{Place, command, json, outwork, text};

/// A running place with a front door, in clear text and over TLS with HTTP/3, and the host that it listens at.
fn place() -> (Place, String) {
    let mut place = Place::with(
        "[[front.listener]]\naddress = 'HOST:8080'\n[[front.listener]]\naddress = 'HOST:8443'\n\
         tls = { local = ['localhost', 'HOST'] }\n[[front.route]]\npath = '/'\nrespond = { body = 'routed' }\n",
    );
    place.start();
    let host = place.host().to_owned();
    (place, host)
}

#[test]
fn a_load_over_each_version_of_http_is_reported_and_errors_are_told() {
    let (place, host) = place();
    let root = place.path().join("root.pem");
    std::fs::write(&root, place.must(&["tls", "ca"])).expect("a file");
    let root = root.to_str().expect("a path");
    let bench = |more: &[&str]| {
        let few = ["bench", "web", "--connections", "2", "--duration", "1s", "--warm-up", "10ms", "--json"];
        place.outwork(&[&few, more].concat())
    };
    for (version, url) in [
        ("1.1", format!("http://{host}:8080/")),
        ("2", format!("http://{host}:8080/")),
        ("2", format!("https://{host}:8443/")),
        ("3", format!("https://{host}:8443/")),
    ] {
        let output = bench(&["--http", version, "--ca", root, &url]);
        let report = json(&output);
        assert!(output.status.success(), "{report}");
        let answered = report["answered"].as_u64().expect("a count");
        assert_eq!((&report["http"], &report["statuses"]["200"]), (&version.into(), &answered.into()), "{report}");
        assert!(report["bytes"] == 6 * answered && report["latency"]["p99_us"].as_f64() > Some(0.0), "{report}");
    }
    let missing = bench(&[&format!("http://{host}:8080/none")]);
    assert!(!missing.status.success() && json(&missing)["statuses"]["404"].is_u64(), "{missing:?}");
    let untrusted = bench(&["--http", "3", &format!("https://{host}:8443/")]);
    let hint = json(&untrusted)["hint"].as_str().expect("a hint").to_owned();
    assert!(!untrusted.status.success() && hint.contains("--insecure"), "{hint}");
    let foreign = bench(&["ftp://localhost/"]);
    assert!(!foreign.status.success() && text(&foreign.stdout).contains("no http or https URL"), "{foreign:?}");
    let shown =
        place.outwork(&["bench", "web", "--connections", "2", "--duration", "2s", &format!("http://{host}:8080/")]);
    assert!(text(&shown.stdout).contains("requests/s") && text(&shown.stdout).contains("status 200"), "{shown:?}");
}

#[test]
fn threads_are_listed_with_their_processors_their_time_and_where_they_wait() {
    let (place, _) = place();
    let threads = json(&place.outwork(&["threads", "--json"]));
    let threads = threads.as_array().expect("a list");
    let door = threads.iter().find(|thread| thread["name"] == "front-0").expect("a thread of the door");
    assert!(door["allowed"].is_string() && door["processor"].is_u64() && door["user_seconds"].is_f64(), "{door}");
    assert!(door["voluntary_switches"].as_u64() > Some(0) && door["stack"].is_array(), "{door}");
    assert!(threads.iter().any(|thread| thread["state"] == "running"), "who reads that runs: {threads:?}");
    let listed = place.must(&["threads"]);
    assert!(listed.contains("MAY BE ON") && listed.lines().count() > threads.len() / 2, "{listed}");
}

#[test]
fn profiles_of_memory_and_time_are_what_their_tools_open() {
    let (place, host) = place();
    let url = format!("http://{host}:8080/");
    let mut load = command(place.path(), &["bench", "web", "--duration", "10m", &url]);
    let mut load = load.stdout(Stdio::null()).spawn().expect("a load");
    place.must(&["heap-dump", "--output", "heap"]);
    place.must(&["cpu-profile", "--seconds", "1", "--hertz", "500", "--output", "folded"]);
    place.must(&["cpu-profile", "--seconds", "1", "--pprof", "--output", "cpu"]);
    load.kill().and_then(|()| load.wait()).expect("the load");
    let heap = std::fs::read_to_string(place.path().join("heap")).expect("a profile");
    assert!(heap.starts_with("heap_v2/") && heap.contains("MAPPED_LIBRARIES:"), "{}", &heap[..200]);
    let folded = std::fs::read_to_string(place.path().join("folded")).expect("a profile");
    let (stack, count) = folded.lines().next().and_then(|line| line.rsplit_once(' ')).expect("a stack");
    assert!(count.parse::<u32>().is_ok() && stack.contains(';'), "{folded}");
    assert!(folded.lines().any(|line| line.starts_with("front-") && line.contains("outwork_front::")), "{folded}");
    let cpu = std::fs::read(place.path().join("cpu")).expect("a profile");
    let words: Vec<_> = cpu
        .chunks_exact(8)
        .take(5)
        .map(|word| word.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte)))
        .collect();
    assert_eq!(words, [0, 3, 0, 1_000_000 / 99, 0]);
    assert!(text(&cpu).contains("/outwork"), "it says what is mapped where");
    let seen = place.outwork(&["cpu-profile", "--seconds", "0", "--output", "none"]);
    assert!(!seen.status.success());
    // Their tools find the functions by it.
    for (file, total) in [("heap", "MB"), ("cpu", "samples")] {
        let program = env!("CARGO_BIN_EXE_outwork");
        let jeprof =
            std::process::Command::new("jeprof").current_dir(place.path()).args(["--text", program, file]).output();
        let output = jeprof.expect("jeprof");
        let table = text(&output.stdout);
        assert!(output.status.success() && table.contains(total) && table.contains("outwork"), "{file}: {output:?}");
    }
}

#[test]
fn of_two_thousand_sites_all_go_on_by_the_other_hub_in_half_a_second_and_none_takes_much_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = outwork(dir.path(), &["bench", "sdwan", "simulation", "--sites", "2000", "--uplinks", "1", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let told = json(&output);
    let number = |name: &str| told[name].as_u64().unwrap_or(u64::MAX);
    assert!(number("bytes_per_site") < 100_000 && number("hub_bytes_per_site") < 100_000, "{told}");
    assert!(number("calls_by_hub") > 500 && number("moved") == number("calls_by_hub"), "{told}");
    // Of simulated time, so it is the same on every machine.
    assert!(told["convergence"]["max_us"].as_f64().is_some_and(|micros| micros < 500_000.0), "{told}");
    assert_eq!(number("lost_by_restart"), 0, "{told}");
}

#[test]
fn what_sdwan_costs_is_measured_in_one_process_and_no_selection_allocates() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = |more: &[&str]| outwork(dir.path(), &[&["bench", "sdwan"], more].concat());
    let report = |more: &[&str]| {
        let output = bench(&[more, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        json(&output)
    };
    let few = ["path-selection", "--sites", "50", "--paths", "100", "--iterations", "1000", "--concurrent", "2"];
    let selection = report(&few);
    assert_eq!((&selection["paths"], &selection["without_path"]), (&100.into(), &0.into()), "{selection}");
    assert_eq!(
        (&selection["allocated_bytes"], &selection["selection"]["count"]),
        (&0.into(), &2000.into()),
        "{selection}"
    );
    assert!(selection["selection"]["p99_us"].is_f64() && selection["rebuild_of_all"]["max_us"].is_f64(), "{selection}");
    let health = report(&["health-check", "--targets", "10", "--iterations", "50"]);
    assert_eq!((&health["heard"], &health["downs"]), (&500.into(), &0.into()), "{health}");
    // Nothing is done in no time at all.
    for slow in [
        &["path-selection", "--sites", "50", "--paths", "100", "--iterations", "1000"][..],
        &["health-check", "--targets", "10", "--iterations", "50"],
    ] {
        let refused = bench(&[slow, &["--at-most-us", "0"]].concat());
        assert!(!refused.status.success(), "{refused:?}");
        assert!(
            text(&refused.stdout).contains("--at-most-us") || text(&refused.stderr).contains("--at-most-us"),
            "{refused:?}"
        );
        assert!(bench(&[slow, &["--at-most-us", "4000000000"]].concat()).status.success());
    }
    let failover = report(&["failover", "--iterations", "2"]);
    assert_eq!((&failover["time"], &failover["cases"][0]["left"]), (&"simulated".into(), &2.into()), "{failover}");
    let throughput = report(&["throughput", "--iterations", "50"]);
    assert_eq!((&throughput["lost"], &throughput["allocated_bytes"]), (&0.into(), &0.into()), "{throughput}");
    let simulation = report(&["simulation", "--sites", "20"]);
    assert!(simulation["bytes_per_site"].as_u64().is_some_and(|octets| (1..100_000).contains(&octets)), "{simulation}");
    assert!(
        simulation["bytes_per_tunnel"].as_u64().is_some_and(|octets| (500..50_000).contains(&octets)),
        "{simulation}"
    );
    assert!(simulation["hub_bytes_per_site"].as_u64().is_some_and(|octets| octets < 100_000), "{simulation}");
    assert_eq!(
        (&simulation["lost_by_restart"], &simulation["moved_by_restart"]),
        (&0.into(), &0.into()),
        "{simulation}"
    );
    let shown = bench(&["failover", "--iterations", "1"]);
    assert!(text(&shown.stdout).contains("times are of the simulation and not of this machine"), "{shown:?}");
    let refused = bench(&["path-selection", "--sites", "10", "--paths", "5"]);
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("--paths 5: expected 10 to 160"),
        "{refused:?}"
    );
}
