//! Requests through reloads.

use super::backend::Backend;
use super::configure;
use crate::binary::Place;
use crate::upgrade::Load;

#[test]
fn reloads_in_a_row_under_load_with_backends_that_come_and_go_lose_no_request() {
    let mut place = Place::new();
    let backends = [(); 3].map(|()| Backend::named(place.host(), "routed"));
    let [one, two, three] = &backends;
    configure(&place, &[one, two], "", "");
    place.start();
    let load = Load::begin(&format!("{}:8080", place.host()));
    load.go_on(100);
    for round in 0..20 {
        let (are_there, pool) = match round % 4 {
            0 => (vec![one], ""),
            1 => (vec![one, three], "policy = 'least_conn'"),
            2 => (vec![two], "connections = { max_idle = 1 }"),
            _ => (vec![three, two], "outlier = { enabled = false }\nlimits = { requests = 1000 }"),
        };
        let before: Vec<usize> = are_there.iter().map(|backend| backend.requests()).collect();
        configure(&place, &are_there, pool, "");
        place.must(&["reload"]);
        load.go_on(20);
        let had: usize = are_there.iter().zip(before).map(|(backend, before)| backend.requests() - before).sum();
        assert!(had > 0, "in round {round}, nobody was asked who was there");
    }
    load.end();
}
