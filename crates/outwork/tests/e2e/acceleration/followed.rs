//! Tables that follow their pools.

use std::collections::BTreeSet;
use std::net::TcpListener;

use rustix::net::Shutdown;

use super::Rooms;
use crate::wait_for;

/// Backends by what their checks ask: four, of which the last is in the second room and has half of the clients.
const CHECKED: [(usize, &str); 4] = [(0, "10.2.1.2"), (0, "10.2.1.3"), (0, "10.2.1.4"), (1, "10.2.2.2")];

/// Takes connections of checks until what is returned is shut.
fn gate(rooms: &Rooms, room: usize, address: &str) -> TcpListener {
    let gate = rooms.backends[room].run(|| TcpListener::bind((address, 81)).unwrap());
    let taking = gate.try_clone().unwrap();
    std::thread::spawn(move || while taking.accept().is_ok() {});
    gate
}

/// Changes of pools that the tables were told of in the turn in which they were heard of. What is only found later, by looking, is not among them.
fn updates(rooms: &Rooms) -> f64 {
    rooms.metric("update_time_seconds_count")
}

#[test]
fn a_backend_that_fails_its_check_is_out_of_the_tables_by_the_turn_in_which_its_pool_is_heard_of() {
    let mut rooms = Rooms::new();
    ["10.2.1.3", "10.2.1.4"].iter().for_each(|own| rooms.backends[0].ip(&format!("addr add {own}/24 dev eth0")));
    let gates = CHECKED.map(|(room, address)| gate(&rooms, room, address));
    let backends = CHECKED
        .map(|(room, address)| format!("{{ url = 'tcp://{address}:80', weight = {} }}", if room == 0 { 1 } else { 3 }));
    rooms.site.configure(&format!(
        "[[proxy.listener]]\nname = 'stream'\naddress = ['{}']\npool = 'tcp'\nforwarding = 'nat'\n\
         [proxy.pool.tcp]\npolicy = 'maglev'\nbackend = [{}]\npanic_threshold = 0\n\
         health_check = {{ interval = '50ms', fast_interval = '10ms', unhealthy_threshold = 1, healthy_threshold = 1, port = 81 }}\n\
         [proxy.acceleration]\ntiers = ['xdp']\ninterfaces = ['c0', 'b1', 'b2']\n",
        super::VIP,
        backends.join(", "),
    ));
    rooms.site.start();
    rooms.wait_for_tier("xdp-native");
    let health = |rooms: &Rooms| -> Vec<String> {
        let pool = rooms.site.json(&["backends", "list", "tcp"])[0].clone();
        let health = pool["backends"].as_array().unwrap().iter().map(|one| one["health"].as_str().unwrap().to_owned());
        health.collect()
    };
    let are_well = || health(&rooms).iter().all(|one| one == "healthy").then_some(());
    wait_for("all to be checked", || rooms.site.log(), are_well);
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());

    let before = updates(&rooms);
    let [.., last] = &gates;
    rustix::net::shutdown(last, Shutdown::Both).unwrap();
    let is_found_out = || health(&rooms) == ["healthy", "healthy", "healthy", "unhealthy"];
    let are_told = || (is_found_out() && updates(&rooms) > before).then_some(());
    wait_for("the tables to be told", || rooms.site.log(), are_told);
    // It serves as before: nobody gets there any more because the tables say so.
    assert_eq!(rooms.met(), BTreeSet::from([0]), "{}", rooms.site.log());

    drop(gates);
    let _again = gate(&rooms, 1, "10.2.2.2");
    let is_back = || (rooms.met() == BTreeSet::from([0, 1])).then_some(());
    wait_for("the backend to come back", || rooms.site.log(), is_back);
    rooms.site.terminate();
}
