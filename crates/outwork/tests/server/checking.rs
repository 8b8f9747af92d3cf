//! What `check` says of what it looked at, and what a reload tells of it.

use crate::binary::{Place, json, outwork, text};

#[test]
fn who_has_no_configuration_hears_that_it_is_the_built_in_one_that_was_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let checked = outwork(dir.path(), &["check"]);
    let said = text(&checked.stderr);
    assert!(checked.status.success() && said.contains("there is no configuration: no outwork.toml"), "{checked:?}");
    let told = json(&outwork(dir.path(), &["check", "--json"]));
    assert!(told[0]["severity"] == "warning" && told[0]["help"].is_string(), "{told:#}");
    let missing = outwork(dir.path(), &["check", "--config", "none.toml"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
}

#[test]
fn a_strict_check_fails_for_a_warning() {
    let place = Place::with("[[front.listener]]\naddress = 'HOST:8080'\n");
    assert!(place.outwork(&["check"]).status.success());
    let strict = place.outwork(&["check", "--strict"]);
    assert!(strict.status.code() == Some(1) && text(&strict.stderr).contains("there is no route"), "{strict:?}");
    place.change(|before| before + "[[front.route]]\npath = '/'\nrespond = {}\n");
    assert!(place.outwork(&["check", "--strict"]).status.success());
}

#[test]
fn a_buffer_that_the_kernel_does_not_give_is_remarked_on() {
    let most: u64 =
        std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("Linux").trim().parse().expect("a number");
    let place = Place::with(
        "[[front.listener]]\naddress = 'HOST:8080'\nreceive_buffer = 8192\n[[front.route]]\npath = '/'\nrespond = {}\n",
    );
    let told = json(&place.outwork(&["check", "--json"]));
    assert_eq!(told.as_array().map(Vec::len), Some(0), "{told:#}");
    let large = most * 2 + 4096;
    place.change(|before| before.replace("receive_buffer = 8192", &format!("receive_buffer = {large}")));
    let told = json(&place.outwork(&["check", "--json"]));
    assert!(told[0]["severity"] == "warning" && told[0]["key"] == "front.listener[0].receive_buffer", "{told:#}");
    let help = told[0]["help"].as_str().expect("what to do");
    assert!(help.contains(&format!("net.core.rmem_max to {}", large / 2)), "{help}");
}

#[test]
fn a_reload_tells_what_should_be_looked_at() {
    let route = "[[front.route]]\npath = '/a'\nrespond = {}\n";
    let mut place = Place::with(&format!("[[front.listener]]\naddress = 'HOST:8080'\n{route}"));
    place.start();
    place.change(|before| before + route);
    let reloaded = place.outwork(&["reload"]);
    let said = text(&reloaded.stderr);
    assert!(
        reloaded.status.success() && said.contains("front.route[1].path: this route never answers"),
        "{reloaded:?}"
    );
    let told = json(&place.outwork(&["reload", "--json"]));
    assert_eq!(told["warnings"][0]["key"], "front.route[1].path", "{told:#}");
}

#[test]
fn a_value_out_of_range_hides_no_name_that_nothing_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = |file: &str| {
        std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
        let report = json(&outwork(dir.path(), &["check", "--json"]));
        let faults = report.as_array().into_iter().flatten().filter(|fault| fault["severity"] == "error");
        faults.filter_map(|fault| fault["key"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let front = "[[front.listener]]\naddress = '127.0.0.1:8080'\n[[front.route]]\npath = '/*'\n";
    let listener = "[[proxy.listener]]\naddress = ['127.0.0.1:7000']\npool = 'l5'\nreceive_buffer = '1B'\n";
    let pool = "[proxy.pool.app]\nnonsense = 1\nbackend = [{ url = 'http://192.0.2.1', weight = -3 }]\n";
    let found = keys(&format!("{front}proxy = {{ pool = 'nope' }}\n{listener}{pool}"));
    let expected = [
        "front.route[0].proxy.pool",
        "proxy.listener[0].pool",
        "proxy.listener[0].receive_buffer",
        "proxy.pool.app.nonsense",
        "proxy.pool.app.backend[0].weight",
    ];
    assert_eq!(found, expected);
    // Of a pool that cannot be read, nobody knows that it is not there.
    let unread = keys(&format!("{front}proxy = {{ pool = 'app' }}\n[proxy.pool]\napp = 3\n"));
    assert_eq!(unread, ["proxy.pool.app"]);
}
