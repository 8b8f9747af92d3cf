//! Flows that end because nobody says anything, as the configuration has it.

use std::net::Shutdown;

use super::{Rooms, exchange};
use crate::wait_for;

/// Waits until so many flows go on.
fn wait_for_flows(rooms: &Rooms, count: f64) {
    let told = || format!("{} flows\n{}", rooms.metric("flows"), rooms.site.log());
    wait_for("flows to end or begin", told, || (rooms.metric("flows") == count).then_some(()));
}

/// Each kind of flow is over once its own time is, and no other.
fn flows_end(tier: &str) {
    let mut rooms = Rooms::new();
    // What is not said here holds for longer than anybody waits for here.
    let configure = |rooms: &Rooms, timeouts: &str| {
        rooms.configure(&format!("tiers = ['{tier}']\ntimeouts = {{ {timeouts} }}"));
    };
    configure(&rooms, "");
    rooms.site.start();
    rooms.ask(10);
    let [mut open, mut closing] = [11, 12].map(|source| rooms.connect(source).0);
    for stream in [&mut open, &mut closing] {
        exchange(stream, 5_000);
    }
    closing.shutdown(Shutdown::Both).unwrap();
    wait_for_flows(&rooms, 3.0);
    for (timeouts, left) in [
        ("datagrams = '100ms'", 2.0),
        ("datagrams = '100ms', closing = '100ms'", 1.0),
        ("datagrams = '100ms', closing = '100ms', established = '100ms'", 0.0),
    ] {
        configure(&rooms, timeouts);
        rooms.site.admin(&["reload"]);
        wait_for_flows(&rooms, left);
    }
    rooms.site.terminate();
}

#[test]
fn a_flow_of_the_kernel_is_over_once_nobody_has_said_anything_for_as_long_as_is_configured() {
    flows_end("xdp");
}

#[test]
fn a_flow_of_user_space_is_over_once_nobody_has_said_anything_for_as_long_as_is_configured() {
    flows_end("af_xdp");
}
