//! What runs where there is no configuration.

use std::path::PathBuf;

use serde_json::Value as Json;

use crate::binary::{Place, get, until_some};

/// A server without a configuration, which listens where no other test does.
fn practising() -> Place {
    let mut place = Place::new();
    std::fs::remove_file(place.path().join("outwork.toml")).expect("the file");
    let host = place.host().to_owned();
    let backends: Vec<String> = (8071..8074).map(|port| format!("{{ url = \"http://{host}:{port}\" }}")).collect();
    let set = [
        ("ADMIN__LISTEN", format!("[\"{host}:8067\"]")),
        ("DHCP__LISTEN", format!("[\"{host}:6767\"]")),
        ("FRONT__LISTENER", format!("[{{ address = \"{host}:8068\" }}]")),
        ("PROXY__POOL__SAMPLE__BACKEND", format!("[{}]", backends.join(", "))),
    ];
    let set = set.map(|(key, value)| (format!("OUTWORK__{key}"), PathBuf::from(value)));
    let set: Vec<(&str, PathBuf)> = set.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    place.start_with(&set);
    place
}

fn pool(place: &Place) -> Json {
    let url = format!("http://{}:8067", place.host());
    let pools: Json = serde_json::from_str(&place.must(&["--json", "--url", &url, "backends", "list"])).expect("JSON");
    pools[0].clone()
}

#[test]
fn one_server_of_the_sample_pool_leaves_and_comes_back_and_no_client_notices() {
    let place = practising();
    let host = place.host();
    let (site, third) = (format!("http://{host}:8068/backends/hello"), format!("http://{host}:8073"));
    // What it is seen as, from one thing to the next.
    let seen = |wanted: &str| {
        until_some(wanted, || {
            let answer = get(&site, &[]);
            assert!(
                answer.starts_with("HTTP/1.1 200 ") && answer.contains("of the sample pool says hello"),
                "{answer}"
            );
            let pool = pool(&place);
            let third = pool["backends"].as_array()?.iter().find(|one| one["key"] == third.as_str())?;
            (third["state"] == wanted).then(|| (pool.clone(), third.clone()))
        })
    };
    let (pool, _) = seen("usable");
    assert!(pool["name"] == "sample" && pool["backends"].as_array().is_some_and(|all| all.len() == 3), "{pool}");
    let (pool, third) = seen("ejected");
    assert!(pool["retries"].as_u64() >= Some(1) && pool["ejections"].as_u64() >= Some(1), "{pool}");
    assert!(third["ejected_by"] == "consecutive-gateway" && third["problem"].is_null(), "{third}");
    let (_, third) = seen("unhealthy");
    assert!(third["problem"].as_str().is_some_and(|problem| problem.contains("503")), "{third}");
    seen("usable");
}
