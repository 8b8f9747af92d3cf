//! What `check` and `run` refuse of layer 4, each by name.

use crate::binary::Place;
use crate::refusals::fault;

const POOLS: &str = "[proxy.pool.db]\nbackend = [{ url = 'tcp://192.0.2.1:5432' }]\n\
                     [proxy.pool.dns]\nbackend = [{ url = 'udp://192.0.2.1:53' }]\n\
                     [proxy.pool.web]\nbackend = [{ url = 'http://192.0.2.1' }]\n";

/// What is found wrong with a listener of these keys, and what helps, at a key below it.
fn listener(keys: &str, key: &str) -> (String, String) {
    let lines = format!("{POOLS}[[proxy.listener]]\naddress = ['HOST:7000']\n{keys}\n");
    fault(&lines, &format!("proxy.listener[0].{key}"))
}

#[test]
fn a_listener_names_a_pool_that_takes_what_it_passes_on() {
    let (found, _) = listener("pool = 'web'", "pool");
    assert!(found.contains("takes no connections") && found.contains("http://192.0.2.1"), "{found}");
    let (found, _) = listener("pool = 'db'\nprotocol = 'udp'", "pool");
    assert!(found.contains("takes no datagrams"), "{found}");
    let (found, _) = listener("pool = 'none'", "pool");
    assert!(found.contains("there is no pool \"none\""), "{found}");
    let (found, _) = listener("sni = [{ names = ['a.test'], pool = 'dns' }]", "sni[0].pool");
    assert!(found.contains("takes no connections"), "{found}");
    listener("", "pool");
    let route = format!(
        "{POOLS}[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'db' }}\n"
    );
    let (found, _) = fault(&route, "front.route[0].proxy.pool");
    assert!(found.contains("takes no requests") && found.contains("tcp://"), "{found}");
}

#[test]
fn what_a_protocol_or_a_way_does_not_look_at_is_refused() {
    let udp = |keys: &str, key: &str| listener(&format!("pool = 'dns'\nprotocol = 'udp'\n{keys}"), key);
    udp("tls = { local = ['a.test'] }", "tls");
    udp("sni = [{ names = ['a.test'], pool = 'dns' }]\n", "sni");
    udp("half_close_timeout = '5s'", "half_close_timeout");
    udp("backlog = 5", "backlog");
    udp("send_proxy = 'v1'", "send_proxy");
    listener("pool = 'db'\nquic = true", "quic");
    listener("pool = 'db'\nforwarding = 'nat'\nsend_proxy = 'v2'", "send_proxy");
    listener("pool = 'db'\nconnection_burst = 5", "connection_burst");
    listener("pool = 'db'\ntls = { local = ['a.test'], http3 = { enabled = true } }", "tls.http3");
}

#[test]
fn a_backend_that_is_the_listener_itself_is_refused_and_one_that_ends_here_is_not() {
    let raw = |listens: &str, backend: &str| {
        format!(
            "[[proxy.listener]]\naddress = ['{listens}']\npool = 'a'\n[proxy.pool.a]\nbackend = [{{ url = '{backend}' }}]\n"
        )
    };
    for (listens, backend) in [("HOST:7000", "tcp://HOST:7000"), ("0.0.0.0:7000", "tcp://127.0.0.1:7000")] {
        let (found, _) = fault(&raw(listens, backend), "proxy.pool.a.backend[0].url");
        assert!(found.starts_with("this is proxy.listener[0] (") && found.contains("comes back"), "{found}");
    }
    let front = "[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/*'\nproxy = { pool = 'a' }\n";
    let behind = format!(
        "{}{front}[proxy.pool.b]\nbackend = [{{ url = 'http://HOST:8067' }}]\n",
        raw("HOST:7000", "tcp://HOST:8080")
    );
    let place = Place::with(&behind.replace("pool = 'a' }", "pool = 'b' }"));
    place.must(&["check"]);
}

#[test]
fn a_pool_is_told_once_of_each_fault_and_by_what_is_written() {
    let pool = |lines: &str| format!("[proxy.pool.a]\n{lines}\n");
    let (_, help) = fault(&pool("backends = [{ url = 'tcp://192.0.2.1:5' }]"), "proxy.pool.a.backends");
    assert!(help.contains("\"backend\""), "{help}");
    let twice = pool("backend = [{ url = 'tcp://192.0.2.1:5' }, { url = 'tcp://192.0.2.1:5' }]");
    let (found, _) = fault(&twice, "proxy.pool.a.backend[1].url");
    assert!(found.contains("tcp://192.0.2.1:5 is in this pool already"), "{found}");
    let backend = "backend = [{ url = 'tcp://192.0.2.1:5' }, { url = 'tls://192.0.2.1:5' }]";
    Place::with(&pool(backend)).must(&["check"]);
    let lasts = pool(&format!("{backend}\noutlier = {{ base_ejection = '10m' }}"));
    let (found, help) = fault(&lasts, "proxy.pool.a.outlier.base_ejection");
    assert!(found.contains("max_ejection") && help.contains("max_ejection"), "{found} {help}");
    let short = pool(&format!("{backend}\nhealth_check = {{ inter = '1s' }}"));
    let (_, help) = fault(&short, "proxy.pool.a.health_check.inter");
    assert!(help.contains("write interval = "), "{help}");
    let (_, help) = listener("sni = [{ names = ['*'], pool = 'db' }]", "sni[0].names[0]");
    assert!(help.contains("`pool` of a listener of layer 4"), "{help}");
}

#[test]
fn addresses_that_something_else_has_are_refused() {
    let twice = |second: &str| {
        format!(
            "{POOLS}[[proxy.listener]]\nname = 'a'\naddress = ['HOST:7000']\npool = 'db'\n\
             [[proxy.listener]]\n{second}\npool = 'db'\n"
        )
    };
    let (found, _) = fault(&twice("name = 'b'\naddress = ['HOST:7000']"), "proxy.listener[1].address[0]");
    assert!(found.contains("another listener of tcp has"), "{found}");
    fault(&twice("name = 'a'\naddress = ['HOST:7001']"), "proxy.listener[1].name");
    let admin = format!("{POOLS}[[proxy.listener]]\naddress = ['HOST:8067']\npool = 'db'\n");
    let (found, _) = fault(&admin, "proxy.listener[0].address[0]");
    assert!(found.contains("the admin API"), "{found}");
    let front = format!(
        "{POOLS}[[proxy.listener]]\naddress = ['HOST:8080']\npool = 'db'\n\
         [[front.listener]]\naddress = '0.0.0.0:8080'\n[[front.route]]\npath = '/*'\nrespond = {{}}\n"
    );
    let (found, _) = fault(&front, "proxy.listener[0].address[0]");
    assert!(found.contains("front.listener[0]"), "{found}");
}

#[test]
fn pools_of_layer_4_have_nothing_that_is_about_requests() {
    let pool = |keys: &str, key: &str| {
        let lines = format!("[proxy.pool.db]\nbackend = [{{ url = 'tcp://192.0.2.1:5432' }}]\n{keys}\n");
        fault(&lines, &format!("proxy.pool.db.{key}"))
    };
    pool("sticky = {}", "sticky");
    pool("hedge = {}", "hedge");
    pool("retry = { statuses = [503] }", "retry.statuses");
    let (found, _) = pool("health_check = { path = '/healthz' }", "health_check.path");
    assert!(found.contains("a check by tcp"), "{found}");
    let mixed = "[proxy.pool.db]\nbackend = [{ url = 'tcp://192.0.2.1:5432' }, { url = 'http://192.0.2.1' }]\n";
    fault(mixed, "proxy.pool.db.backend[1].url");
    let udp = "[proxy.pool.dns]\nbackend = [{ url = 'udp://192.0.2.1:53' }]\nhealth_check = {}\n";
    let (found, _) = fault(udp, "proxy.pool.dns.health_check.port");
    assert!(found.contains("a port of UDP"), "{found}");
    fault("[proxy.pool.db]\nbackend = [{ url = 'tcp://192.0.2.1' }]\n", "proxy.pool.db.backend[0].url");
}
