//! Listeners of layer 4 through reloads, upgrades and the end.

use std::io::Write;

use super::{configure, connect, connect_to, echo, end, hear, metric, place_of, told};
use crate::binary::{Place, json, until};
use crate::proxy::backend::Backend;
use crate::upgrade::Load;

#[test]
fn ten_reloads_in_a_row_under_load_drop_nothing() {
    let mut place = Place::new();
    let [one, two] = [Backend::named(place.host(), "routed"), Backend::named(place.host(), "routed")];
    configure(&place, &[one.address, two.address], "", "");
    place.start();
    let load = Load::begin(&format!("{}:7000", place.host()));
    load.go_on(100);
    for round in 0..10 {
        let (backends, listener) = match round % 3 {
            0 => (vec![one.address], ""),
            1 => (vec![one.address, two.address], "max_connections = 5000"),
            _ => (vec![two.address], "idle_timeout = '5m'"),
        };
        configure(&place, &backends, listener, "drain = '5m'");
        place.must(&["reload"]);
        load.go_on(20);
    }
    load.end();
    assert_eq!(metric(&place, "ended_total", ",reason=\"backend\""), 0.0);
    assert_eq!(metric(&place, "refused_total", ",reason=\"backend\""), 0.0);
}

#[test]
fn a_listener_that_is_gone_accepts_nobody_and_what_it_had_goes_on_until_its_pool_is_drained() {
    let mut place = Place::new();
    let backend = echo(place.host(), "one");
    configure(&place, &[backend], &another(backend, place.host()), "drain = '1s'");
    place.start();
    let mut client = connect(&place);
    let mut of_another = connect_to(&place, 7002);
    for client in [&mut client, &mut of_another] {
        hear(client, 3);
    }
    place.change(|text| text.replace(":7000", ":7001").replace(":7002", ":7003"));
    place.must(&["reload"]);
    for port in [7000, 7002] {
        assert!(std::net::TcpStream::connect((place.host(), port)).is_err());
    }
    assert_eq!(end(&mut client).expect("its end"), b"");
    assert_eq!(metric(&place, "ended_total", ",reason=\"drained\""), 1.0);
    assert_eq!(told(&place)["address"], format!("{}:7001", place.host()));
    // The time of the other's pool is not over.
    of_another.write_all(b"hello").expect("it is heard");
    assert_eq!(hear(&mut of_another, 5), "hello");
}

/// A pool that takes its time, and a listener of its own for it.
fn another(backend: std::net::SocketAddr, host: &str) -> String {
    format!(
        "[proxy.pool.slow]\nbackend = [{{ url = 'tcp://{backend}' }}]\ndrain = '10m'\n\
         [[proxy.listener]]\nname = 'slow'\naddress = ['{host}:7002']\npool = 'slow'"
    )
}

#[test]
fn a_backend_that_is_drained_keeps_what_it_has_until_its_time_is_over() {
    let place = place_of(&[|host| echo(host, "one"), |host| echo(host, "two")], "", "");
    let mut client = connect(&place);
    let name = hear(&mut client, 3);
    let shown = json(&place.outwork(&["backends", "list", "--json"]));
    let backends = shown[0]["backends"].as_array().expect("two");
    let used = backends.iter().find(|one| one["requests"] == 1).expect("it has the connection");
    let drain = |time: &str| {
        place.must(&["backends", "drain", "app", used["key"].as_str().expect("a key"), "--for", time]);
    };
    drain("10m");
    for _ in 0..6 {
        assert_ne!(hear(&mut connect(&place), 3), name);
    }
    client.write_all(b"hello").expect("it is heard");
    assert_eq!(hear(&mut client, 5), "hello");
    drain("1s");
    assert_eq!(end(&mut client).expect("its end"), b"");
}

#[test]
fn listeners_come_and_go_with_the_configuration() {
    let mut place = Place::with("# layer 4\n[proxy]\nworkers = 2\n");
    place.start();
    let backend = echo(place.host(), "one");
    configure(&place, &[backend], "", "");
    place.must(&["reload"]);
    assert_eq!(hear(&mut connect(&place), 3), "one");
    place.change(|text| text.split("[proxy.pool").next().unwrap_or_default().to_owned());
    place.must(&["reload"]);
    assert!(std::net::TcpStream::connect((place.host(), 7000)).is_err());
    configure(&place, &[backend], "", "");
    place.must(&["reload"]);
    assert_eq!(hear(&mut connect(&place), 3), "one");
    assert!(place.stop(15).success());
}

#[test]
fn an_upgrade_takes_the_listeners_over_and_refuses_no_connection() {
    let mut place = Place::new();
    let backend = Backend::named(place.host(), "routed");
    configure(&place, &[backend.address], "", "");
    place.start();
    let mut before = connect(&place);
    let load = Load::begin(&format!("{}:7000", place.host()));
    load.go_on(100);
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    let mut first = place.succeed(&upgraded["process"]);
    load.go_on(100);
    // What was open stays with the process that it came to.
    before.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
    assert!(hear(&mut before, 8).starts_with("HTTP/1.1"));
    drop(before);
    load.end();
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
    until("the other to have served", || told(&place)["total"].as_u64().is_some_and(|total| total > 0));
}

#[test]
fn a_connection_that_has_no_backend_yet_when_its_listener_goes_has_the_time_of_its_pool_to_get_one() {
    let mut place = Place::new();
    let [one, two] = [echo(place.host(), "one"), echo(place.host(), "two")];
    let listen = |place: &Place, ports: [u16; 2]| {
        let (host, [first, second]) = (place.host().to_owned(), ports);
        place.change(|text| {
            let kept = text.split("# layer 4").next().unwrap_or_default().to_owned();
            format!(
                "{kept}# layer 4\n[proxy]\nworkers = 1\n\
                 [proxy.pool.app]\nbackend = [{{ url = 'tcp://{one}' }}]\ndrain = '5m'\n\
                 [proxy.pool.brief]\nbackend = [{{ url = 'tcp://{two}' }}]\ndrain = '0s'\n\
                 [[proxy.listener]]\nname = 'app'\naddress = ['{host}:{first}']\npool = 'app'\nproxy_protocol = {{ from = ['127.0.0.0/8'] }}\n\
                 [[proxy.listener]]\nname = 'brief'\naddress = ['{host}:{second}']\npool = 'brief'\n"
            )
        });
    };
    listen(&place, [7000, 7001]);
    place.start();
    let mut client = connect(&place);
    client.write_all(b"PROXY TCP4 192.0.2.7 198.51").expect("it is heard");
    until("it to be accepted", || metric(&place, "active", "") == 1.0);
    let mut brief = std::net::TcpStream::connect((place.host(), 7001)).expect("it listens");
    brief.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a timeout");
    assert_eq!(hear(&mut brief, 3), "two");
    listen(&place, [7002, 7003]);
    place.must(&["reload"]);
    // What is late is ended in one turn: the other would be by then.
    let _ = end(&mut brief);
    client.write_all(b".100.1 4711 443\r\nhello").expect("it is heard");
    assert_eq!(hear(&mut client, 8), "onehello");
}
