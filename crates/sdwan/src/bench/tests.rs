use super::*;

/// Nobody counts.
fn uncounted() -> Option<(u64, u64)> {
    None
}

fn selection() -> selection::Options {
    selection::Options { sites: 20, paths: 40, policies: 30, iterations: 500, concurrency: 2, seed: 1 }
}

#[test]
fn every_flow_finds_its_path_and_tables_are_made_anew() {
    let report = selection::run(&selection(), uncounted).unwrap();
    assert_eq!((report.paths, report.without_path, report.hint()), (40, 0, None), "{report}");
    assert_eq!((report.selection.count, report.clock.count, report.allocated_bytes), (1000, 1000, None), "{report}");
    assert!(report.rebuild_of_one.count > 0 && report.rebuild_of_uplink.count > 0, "{report}");
    assert_eq!(report.rebuild_of_all.count, 10, "{report}");
    assert_eq!(report.slower_than(1 << 30), None);
    let slow = selection::Report { selection: Latency { p99: 1.5, ..report.selection }, ..report.clone() };
    assert_eq!(slow.slower_than(2), None);
    assert!(slow.slower_than(1).unwrap().contains("1.500 us, which is above 1"));
    assert!(report.to_string().contains("40 paths, 30 policies, 2 threads"), "{report}");
}

#[test]
fn hellos_to_all_targets_are_heard_and_none_is_taken_for_dead() {
    let report = health::run(&health::Options { targets: 7, iterations: 100, seed: 1 }, uncounted).unwrap();
    assert_eq!((report.heard, report.downs, report.hint()), (700, 0, None), "{report}");
    assert!(report.said >= 600 && report.paths_per_core > 0.0, "{report}");
    assert_eq!(report.slower_than(1 << 30), None);
    let slow = health::Report { hearing: Latency { p99: 1234.5, ..report.hearing }, ..report.clone() };
    assert!(slow.slower_than(1234).unwrap().contains("1234.500 us, which is above 1234"));
    assert!(report.hearing.count == 700 && report.saying.count == report.said, "{report}");
}

#[test]
fn every_failure_is_left_in_simulated_time_and_the_same_seed_says_the_same() {
    let options = failover::Options { iterations: 3, uplinks: 2, seed: 1 };
    let report = failover::run(&options).unwrap();
    assert_eq!(report, failover::run(&options).unwrap());
    assert_eq!((report.time, report.cases.len(), report.hint()), ("simulated", 5, None), "{report}");
    let [cable, silence, one_way, brown, mtu] = &report.cases[..] else { panic!("{report}") };
    assert_eq!(cable.switching.max, 0.0, "a carrier that is lost acts at once: {report}");
    assert!(silence.detection.count == 3 && silence.switching.p50 > 10_000.0, "{report}");
    assert!(one_way.left == 3 && brown.left == 3 && brown.switching.count == 3, "{report}");
    assert!(mtu.left == 3 && mtu.switching.count == 3 && mtu.outage.max < 2_000_000.0, "{report}");
    assert!(mtu.outage.p50 > 10_000.0, "what is too long is lost until that is known: {report}");
}

#[test]
fn what_is_sealed_comes_out_again_whole() {
    for packet_size in [64, 1420] {
        let options = throughput::Options { iterations: 20, concurrency: 2, packet_size };
        let report = throughput::run(&options, uncounted).unwrap();
        assert_eq!((report.lost, report.hint()), (0, None), "{report}");
        assert_eq!(report.packets, 40 * report.packets_a_piece, "{report}");
        assert!(report.bits_per_second > 0.0 && report.sealing.count == 40, "{report}");
    }
}

#[test]
fn calls_by_a_hub_that_dies_go_by_the_other_and_telling_everybody_everything_anew_moves_and_loses_none() {
    let report = simulation::run(&simulation::Options { sites: 12, uplinks: 2, seed: 1 }, uncounted).unwrap();
    assert!(report.calls_by_hub > 0 && report.hint().is_none(), "{report}");
    assert_eq!((report.moved, report.convergence.count), (report.calls_by_hub, report.calls_by_hub), "{report}");
    assert!(report.convergence.max < 500_000.0, "half a second of simulated time: {report}");
    assert_eq!((report.lost_by_restart, report.moved_by_restart), (0, 0), "{report}");
    // Two hubs know each other and twelve sites by four paths each; a site four others by eight, and the hubs by four.
    assert_eq!(report.bytes_per_tunnel, None, "nobody counts");
    assert_eq!((report.paths, report.bytes_per_site), (2 * 13 * 4 + 12 * (4 * 8 + 2 * 4), None), "{report}");
}

#[test]
fn tunnels_that_are_weighed_have_a_session_each() {
    thread_local!(static OCTETS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
    // Each look says that as much as a thousand octets of each of five has been given back since the one before.
    let counted = || Some((0, OCTETS.with(|octets| octets.replace(octets.get() + 5000))));
    assert_eq!(ends::octets(5, counted).unwrap(), Some(1000));
    assert_eq!(ends::octets(5, uncounted).unwrap(), None);
}

#[test]
fn an_option_that_is_out_of_bounds_is_refused_by_its_name() {
    let said = |error: BenchError| error.to_string();
    let few = selection::Options { paths: 19, ..selection() };
    assert_eq!(said(selection::run(&few, uncounted).unwrap_err()), "--paths 19: expected 20 to 320");
    let many = selection::Options { policies: 257, ..selection() };
    assert_eq!(said(selection::run(&many, uncounted).unwrap_err()), "--policies 257: expected 0 to 256");
    let large = throughput::Options { iterations: 1, concurrency: 1, packet_size: 1421 };
    assert_eq!(said(throughput::run(&large, uncounted).unwrap_err()), "--packet-size 1421: expected 41 to 1420");
    let single = failover::Options { iterations: 1, uplinks: 1, seed: 1 };
    assert!(said(failover::run(&single).unwrap_err()).starts_with("--uplinks 1: "));
}
