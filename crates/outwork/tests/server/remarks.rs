//! What `outwork check` says of listeners, routes, folders and databases that can be used, and may not do what was meant.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use crate::binary::{json, outwork, text};

const LISTENER: &str = "[[front.listener]]\naddress = '127.0.0.1:8080'\n";
const ROUTE: &str = "[[front.route]]\npath = '/'\nrespond = {}\n";

/// What a configuration is told: whether it can be used, and of each remark its severity, key, line and what was found.
fn told(dir: &Path, file: &str) -> (bool, Vec<(String, String, u64, String)>) {
    std::fs::write(dir.join("outwork.toml"), file).expect("a file");
    let output = outwork(dir, &["check", "--json"]);
    let word = |one: &Json, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let of = |one: &Json| {
        assert!(one["help"].is_string() || one["severity"] == "error", "what is to be done: {one:#}");
        (word(one, "severity"), word(one, "key"), one["line"].as_u64().unwrap_or_default(), word(one, "found"))
    };
    (output.status.success(), json(&output).as_array().expect("a list").iter().map(of).collect())
}

/// The single warning of a configuration that can be used: its key, line and text.
fn warned(file: &str) -> (String, u64, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, mut told) = told(dir.path(), file);
    assert!(good && told.len() == 1 && told[0].0 == "warning", "{file}: {told:?}");
    let (_, key, line, found) = told.remove(0);
    (key, line, found)
}

/// That nothing is said of it.
fn silent(file: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(told(dir.path(), file), (true, Vec::new()), "{file}");
}

#[test]
fn a_listener_without_any_route_is_warned_of() {
    let (key, line, found) = warned(LISTENER);
    assert_eq!((&*key, line), ("front.listener[0]", 1));
    assert!(found.contains("there is no route"), "{found}");
    silent(&format!("{LISTENER}{ROUTE}"));
    silent(&format!("{LISTENER}redirect_https = true\n"));
}

#[test]
fn an_interface_that_this_machine_does_not_have_is_warned_of() {
    let on = |name: &str| format!("{LISTENER}{ROUTE}[proxy.acceleration]\ntiers = ['tc']\ninterfaces = ['{name}']\n");
    let (key, _, found) = warned(&on("none0"));
    assert!(key == "proxy.acceleration.interfaces[0]" && found.contains("no interface \"none0\""), "{key}: {found}");
    silent(&on("lo"));
}

#[test]
fn a_backend_that_is_the_front_door_itself_is_warned_of() {
    let pool = "[proxy.pool.a]\nbackend = [{ url = 'http://127.0.0.1:8080' }]\n";
    let (key, _, found) = warned(&format!("{LISTENER}[[front.route]]\npath = '/*'\nproxy = {{ pool = 'a' }}\n{pool}"));
    assert_eq!(key, "proxy.pool.a.backend[0].url");
    assert!(found.starts_with("this is front.listener[0] (127.0.0.1:8080)"), "{found}");
}

#[test]
fn what_is_said_of_tiers_or_of_listeners_that_are_not_there_is_warned_of() {
    let layer4 = "[proxy.pool.db]\nbackend = [{ url = 'tcp://192.0.2.1:5432' }]\n\
                  [[proxy.listener]]\naddress = ['127.0.0.1:7000']\npool = 'db'\n";
    let with = |lines: &str| format!("{layer4}[proxy.acceleration]\n{lines}\n");
    for (lines, key) in [
        ("failed = 'move'", "failed"),
        ("tunnel_v4 = '192.0.2.1'", "tunnel_v4"),
        ("pins = '/sys/fs/bpf/outwork'", "pins"),
        ("tables = { flows = 64 }", "tables.flows"),
        ("timeouts = { datagrams = '5s' }", "timeouts.datagrams"),
    ] {
        let (at, _, found) = warned(&with(lines));
        assert!(at == format!("proxy.acceleration.{key}") && found.contains("tiers names none"), "{at}: {found}");
    }
    // Sockets look at these.
    silent(&with("deny = ['192.0.2.0/24']\nsource_rate = 5\nsyn_rate = 5\ntables = { sources = 64, prefixes = 9 }"));
    let alone = format!("{LISTENER}{ROUTE}[proxy.acceleration]\ndeny = ['192.0.2.0/24']\n");
    let (at, _, found) = warned(&alone);
    assert!(at == "proxy.acceleration.deny" && found.contains("no listener of layer 4"), "{at}: {found}");
}

#[test]
fn a_pool_that_a_tier_passes_packets_on_to_and_that_nobody_checks_is_warned_of() {
    let of = |protocol: &str, pool: &str| {
        format!(
            "[[proxy.listener]]\naddress = ['127.0.0.1:7000']\nprotocol = '{protocol}'\npool = 'db'\nforwarding = 'nat'\n\
             [proxy.pool.db]\npolicy = 'maglev'\nbackend = [{{ url = '{protocol}://192.0.2.1:53' }}]\n{pool}\n\
             [proxy.acceleration]\ntiers = ['tc']\ninterfaces = ['lo']\npins = false\n"
        )
    };
    for protocol in ["tcp", "udp"] {
        let (key, line, found) = warned(&of(protocol, ""));
        assert_eq!((&*key, line), ("proxy.listener[0].forwarding", 5));
        assert!(found.starts_with("the pool \"db\" has no health_check"), "{found}");
        silent(&of(protocol, "health_check = { port = 80 }"));
    }
}

#[test]
fn flows_of_the_kernel_of_which_nobody_says_whether_they_are_kept_are_warned_of() {
    let of = |forwarding: &str, tiers: &str| {
        format!(
            "[[proxy.listener]]\naddress = ['127.0.0.1:7000']\npool = 'db'\nforwarding = '{forwarding}'\n\
             [proxy.pool.db]\npolicy = 'maglev'\nbackend = [{{ url = 'tcp://192.0.2.1:53' }}]\nhealth_check = {{}}\n\
             [proxy.acceleration]\ninterfaces = ['lo']\n{tiers}\n"
        )
    };
    let (key, line, found) = warned(&of("nat", "tiers = ['tc']"));
    assert_eq!((&*key, line), ("proxy.acceleration.tiers", 11));
    assert!(found.starts_with("flows that the kernel passes on are cut by an upgrade"), "{found}");
    silent(&of("nat", "tiers = ['tc']\npins = false"));
    silent(&of("nat", "tiers = ['af_xdp']"));
    silent(&of("sockets", "tiers = ['tc']"));
}

#[test]
fn tables_of_the_kernel_that_are_to_be_kept_where_no_bpf_file_system_is_are_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let pins = dir.path().join("pins");
    let accelerated = format!("tiers = ['tc']\ninterfaces = ['lo']\npins = '{}'", pins.display());
    let (good, found) = told(dir.path(), &format!("{LISTENER}{ROUTE}[proxy.acceleration]\n{accelerated}\n"));
    assert!(good && found.len() == 1 && found[0].1 == "proxy.acceleration.pins", "{found:?}");
    assert!(found[0].3.contains("pins is not on a BPF file system"), "{found:?}");
    let shown = text(&outwork(dir.path(), &["check"]).stderr);
    assert!(shown.contains(&format!("`mount -t bpf -o mode=0700 bpf {}`", pins.display())), "{shown}");
}

#[test]
fn a_certificate_that_no_listener_asks_for_is_warned_of() {
    let (key, line, found) = warned(&format!("{LISTENER}{ROUTE}client_certificate = {{}}\n"));
    assert_eq!((&*key, line), ("front.route[0].client_certificate", 6));
    assert!(found.contains("no listener asks clients for certificates"), "{found}");
    silent(&format!("{LISTENER}{ROUTE}client_certificate = {{ enabled = false }}\n"));
}

#[test]
fn tokens_that_others_see_or_make_or_that_nobody_can_send_are_warned_of() {
    let site = |front: &str, issuer: &str, route: &str| {
        format!("[front]\n{front}\n[front.jwt_issuer.a]\n{issuer}\n{LISTENER}{ROUTE}{route}\n")
    };
    let fetched = "jwks_url = 'https://login.example.org/keys'\naudiences = ['site']";
    silent(&site("jwt = {}", fetched, ""));
    silent(&site("jwt = {}", &fetched.replace("https://login.example.org", "http://127.0.0.1:8000"), ""));
    let (key, _, found) = warned(&site("jwt = {}", &fetched.replace("https", "http"), ""));
    assert!(key == "front.jwt_issuer.a.jwks_url" && found.contains("fetched in clear text"), "{key}: {found}");
    let (key, _, found) = warned(&site("jwt = {}", "jwks_url = 'https://login.example.org/keys'", ""));
    assert!(key == "front.jwt_issuer.a.jwks_url" && found.contains("nobody is named"), "{key}: {found}");

    let password = "basic_auth = { users = { ann = '$2y$04$abcdefghijklmnopqrstuuGbKDpNc4C8KcSQTqcFnTRIRdHQCVnkS' } }";
    let (key, _, found) = warned(&site(password, fetched, "jwt = {}"));
    assert!(key == "front.route[0].jwt" && found.contains("every request is answered 401"), "{key}: {found}");
    silent(&site(password, fetched, "jwt = { cookie = 'token' }"));
    silent(&site(password, fetched, "jwt = {}\nbasic_auth = { enabled = false }"));

    let (key, _, found) = warned(&site("jwt = { query = 'ticket' }\naccess_log = {}", fetched, ""));
    assert!(key == "front.jwt.query" && found.contains("ticket=: it does not mask them"), "{key}: {found}");
    silent(&site("jwt = { query = 'access_token' }\naccess_log = {}", fetched, ""));
    silent(&site("jwt = { query = 'ticket' }\naccess_log = { query = 'drop' }", fetched, ""));

    let dir = tempfile::tempdir().expect("a directory");
    let short = |secret: &str, more: &str| {
        std::fs::write(dir.path().join("secret"), secret).expect("a file");
        told(dir.path(), &site("jwt = {}", &format!("secret_file = 'secret'\n{more}"), ""))
    };
    let (good, found) = short("too short\n", "");
    assert!(good && found.len() == 1 && found[0].1 == "front.jwt_issuer.a.secret_file", "{found:?}");
    assert!(found[0].3.contains("9 bytes, and HS256 is as hard to forge as one with 32"), "{found:?}");
    assert_eq!(short(&"x".repeat(32), ""), (true, Vec::new()));
    assert!(short(&"x".repeat(32), "algorithms = ['HS256', 'HS512']").1[0].3.contains("HS512"));
}

#[test]
fn listeners_of_one_address_are_warned_of_and_refused_where_they_differ() {
    let (key, line, found) = warned(&format!("{LISTENER}{LISTENER}{ROUTE}"));
    assert_eq!((&*key, line), ("front.listener[1].address", 4));
    assert!(found.contains("front.listener[0] has this address, too"), "{found}");

    let dir = tempfile::tempdir().expect("a directory");
    let (good, told) = told(dir.path(), &format!("{LISTENER}{LISTENER}tls = {{ local = ['localhost'] }}\n{ROUTE}"));
    assert!(!good && told.len() == 1, "{told:?}");
    assert_eq!((&*told[0].0, &*told[0].1, told[0].2), ("error", "front.listener[1].address", 4));

    let wild = "[[front.listener]]\naddress = '0.0.0.0:8080'\n";
    let (key, _, found) = warned(&format!("{LISTENER}{wild}{ROUTE}"));
    assert_eq!(key, "front.listener[1].address");
    assert!(found.contains("connections to 127.0.0.1:8080 go past this one, 0.0.0.0:8080"), "{found}");
    let (_, _, found) = warned(&format!("{wild}{LISTENER}{ROUTE}"));
    assert!(found.contains("connections to 127.0.0.1:8080 go past the other, 0.0.0.0:8080"), "{found}");

    for other in ["127.0.0.2:8080", "127.0.0.1:8081", "0.0.0.0:8081", "[::]:8080", "[::1]:8080"] {
        silent(&format!("{LISTENER}[[front.listener]]\naddress = '{other}'\n{ROUTE}"));
    }
    let any = "[[front.listener]]\naddress = '127.0.0.1:0'\n";
    silent(&format!("{any}{any}{ROUTE}"));
}

#[test]
fn a_route_that_never_answers_is_warned_of() {
    let of = |routes: &[&str]| {
        let route = |one: &&str| format!("[[front.route]]\n{one}\nrespond = {{}}\n");
        format!("{LISTENER}{}", routes.iter().map(route).collect::<String>())
    };
    let (key, line, found) = warned(&of(&["path = '/a/{id}'", "path = '/b'", "path = '/a/{x}'"]));
    assert_eq!((&*key, line), ("front.route[2].path", 10));
    assert!(found.contains("front.route[0], /a/{id}, answers all of its requests"), "{found}");
    silent(&of(&["path = '/a/{id}'", "path = '/a/b'", "path = '/a/*'", "path = '/*'"]));
    silent(&of(&["path = '/a'", "path = '/a'\nmethods = ['POST']", "path = '/a'\nhost = ['a.example']"]));
    silent(&of(&["path = '/a'", "path = '/a'\nheaders = { x-version = '2' }"]));
}

#[test]
fn a_pool_that_gets_one_path_and_nothing_below_it_is_warned_of_unless_another_route_has_that() {
    let of = |routes: &[&str]| {
        let route = |one: &&str| format!("[[front.route]]\n{one}\nproxy = {{ pool = 'app' }}\n");
        let routes: String = routes.iter().map(route).collect();
        format!("{LISTENER}{routes}[proxy.pool.app]\nbackend = [{{ url = 'http://192.0.2.1' }}]\n")
    };
    for (path, such) in [("/api", "/api/-"), ("/api/", "/api/-"), ("/", "/-")] {
        let (key, line, found) = warned(&of(&[&format!("path = '{path}'")]));
        assert_eq!((&*key, line), ("front.route[0].path", 4), "{path}");
        assert!(found.contains(&format!("such as {such}, is answered 404")), "{found}");
    }
    for other in ["path = '/api/*'", "path = '/*'", "path = '/api/users'\nmethods = ['GET']", "path = '/{any}/*'"] {
        silent(&of(&["path = '/api'", other]));
    }
    silent(&of(&["path = '/api'\nmethods = ['POST']"]));
    silent(&of(&["path = '/favicon.ico'"]));
    let (key, ..) = warned(&of(&["path = '/api'\nhost = ['a.example']", "path = '/*'\nhost = ['b.example']"]));
    assert_eq!(key, "front.route[0].path");
}

#[test]
fn databases_that_are_not_there_are_warned_of_and_folders_refused_and_paths_begin_at_the_folder_of_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let below = dir.path().join("below");
    std::fs::create_dir(&below).expect("a directory");
    let file = format!(
        "{LISTENER}[[front.route]]\npath = '/*'\nfiles = {{ root = 'site' }}\n[web.database.\"my.db\"]\nurl = 'sqlite:site.db'\n"
    );
    let check = || {
        std::fs::write(below.join("outwork.toml"), &file).expect("a file");
        let output = outwork(dir.path(), &["check", "--config", "below/outwork.toml"]);
        (text(&output.stderr), text(&output.stdout))
    };
    let said = |parts: &[&str]| {
        let (said, last) = check();
        parts.iter().for_each(|part| assert!(said.contains(part), "{part}: {said}"));
        last
    };
    assert_eq!(said(&["error: front.route[0].files.root: below/site is not there", "below/outwork.toml:5:"]), "");
    std::fs::write(below.join("site"), "").expect("a file");
    said(&["below/site is no folder"]);
    std::fs::remove_file(below.join("site")).expect("it was there");
    std::fs::create_dir(below.join("site")).expect("a directory");
    let missing = "warning: web.database.\"my.db\".url: below/site.db is not there";
    assert_eq!(said(&[missing, "below/outwork.toml:7:"]), "below/outwork.toml: no faults, 1 warning\n");
    std::fs::create_dir(below.join("site.db")).expect("a directory");
    said(&["below/site.db is a folder"]);
    std::fs::remove_dir(below.join("site.db")).expect("it was there");
    std::fs::write(below.join("site.db"), "").expect("a file");
    assert_eq!(check(), (String::new(), "below/outwork.toml: no faults\n".to_owned()));
}

#[test]
fn a_redirection_to_a_name_that_stands_for_nothing_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let of = |to: &str| {
        let file = format!("{LISTENER}[[front.route]]\npath = '/users/{{id}}'\nredirect = {{ to = '{to}' }}\n");
        told(dir.path(), &file)
    };
    let (good, told) = of("https://{host}/people/{name}{query}");
    assert!(!good && told.len() == 1, "{told:?}");
    assert_eq!((&*told[0].1, told[0].2), ("front.route[0].redirect.to", 5));
    assert!(told[0].3.contains("no {name}"), "{told:?}");
    let shown = text(&outwork(dir.path(), &["check"]).stderr);
    assert!(shown.contains("{host}, {authority}, {path}, {query} or {id}"), "{shown}");
    for to in ["https://{authority}{path}{query}", "/people/{id}", "/a", "/{", "/{}", "/{a-b}", "/}{"] {
        assert_eq!(of(to), (true, Vec::new()), "{to}");
    }
}

#[test]
fn what_could_not_be_read_has_no_remarks_and_nothing_is_said_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, found) = told(dir.path(), &format!("{LISTENER}[[front.route]]\npath = 'x'\nrespond = {{}}\n"));
    let severities: Vec<_> = found.iter().map(|one| &*one.0).collect();
    assert_eq!((good, severities), (false, vec!["error"]), "{found:?}");
    let (good, found) = told(dir.path(), &format!("{LISTENER}{ROUTE}{ROUTE}[store]\ndata_dir = 3\n"));
    let mut keys: Vec<_> = found.iter().map(|one| &*one.1).collect();
    keys.sort_unstable();
    assert_eq!((good, keys), (false, vec!["front.route[1].path", "store.data_dir"]), "{found:?}");
}

/// The lines of a starter file's example that are about a site, without their mark.
fn example_of_a_site(starter: &str) -> String {
    let lines = starter.lines().skip_while(|line| !line.contains("An example of a site"));
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.strip_prefix("# ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_example_of_a_site_in_a_starter_file_serves_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let example = example_of_a_site(&text(&outwork(dir.path(), &["config", "init", "-"]).stdout));
    let (good, found) = told(dir.path(), &example);
    let keys = |found: &[(String, String, u64, String)]| {
        found.iter().map(|one| (one.0.clone(), one.1.clone())).collect::<Vec<_>>()
    };
    assert_eq!((good, keys(&found)), (false, vec![("error".into(), "front.route[0].files.root".into())]), "{found:?}");
    std::fs::create_dir(dir.path().join("site")).expect("a directory");
    let (good, found) = told(dir.path(), &example);
    let missing = ["front.route[0].files.error_pages.404", "web.database.main.url"];
    let missing: Vec<_> = missing.map(|key| ("warning".to_owned(), key.to_owned())).into();
    assert_eq!((good, keys(&found)), (true, missing), "{found:?}");
    std::fs::write(dir.path().join("site/404.html"), "nothing is here").expect("a file");
    let tables = "create table users (id integer primary key, name text); insert into users (name) values ('Ada')";
    let made = Command::new("sqlite3").arg(dir.path().join("site.db")).arg(tables).status();
    assert!(made.expect("the package sqlite3 is installed").success());
    assert_eq!(told(dir.path(), &example), (true, Vec::new()));
    let shown = json(&outwork(dir.path(), &["config", "show", "front", "--json"]));
    let has = |key: &str, value: &str| {
        let entry = |one: &&Json| one["key"] == key && one["value"] == value;
        assert!(shown.as_array().into_iter().flatten().any(|one| entry(&one)), "{key}: {shown:#}");
    };
    has("front.listener[0].address", "127.0.0.1:8443");
    has("front.route[1].query.database", "main");
}

#[test]
fn an_error_without_its_page_is_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("site")).expect("a directory");
    std::fs::write(dir.path().join("site/404.html"), "none").expect("a file");
    let pages = "error_pages = { 404 = '/404.html', 5xx = '/sorry.html' }";
    let file = format!("{LISTENER}[[front.route]]\npath = '/*'\nfiles = {{ root = 'site', {pages} }}\n");
    let (good, told) = told(dir.path(), &file);
    assert!(good && told.len() == 1, "{told:?}");
    assert_eq!((&*told[0].1, told[0].2), ("front.route[0].files.error_pages.5xx", 5));
    assert!(told[0].3.ends_with("site/sorry.html is not there"), "{told:?}");
}

#[test]
fn a_query_that_its_database_does_not_take_is_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = Command::new("sqlite3").arg(dir.path().join("site.db")).arg("create table users (id, name)").status();
    assert!(made.expect("the package sqlite3 is installed").success());
    let of = |sql: &str| {
        let query = format!("query = {{ database = 'main', sql = '{sql}' }}");
        let file =
            format!("{LISTENER}[[front.route]]\npath = '/'\n{query}\n[web.database.main]\nurl = 'sqlite:site.db'\n");
        told(dir.path(), &file)
    };
    let (good, told) = of("select nmae from users");
    assert!(good && told.len() == 1, "{told:?}");
    assert_eq!((&*told[0].1, told[0].2), ("front.route[0].query.sql", 5));
    assert!(told[0].3.ends_with("no such column: nmae"), "{told:?}");
    assert_eq!(of("select name from users"), (true, Vec::new()));
}

#[test]
fn a_table_that_is_missing_is_shown_as_it_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = format!("{LISTENER}[[front.route]]\npath = '/*'\nfiles = 'site'\n");
    std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
    let told = json(&outwork(dir.path(), &["check", "--json"]));
    assert_eq!(told.as_array().map(Vec::len), Some(1), "nothing is said twice: {told:#}");
    assert_eq!(told[0]["help"], "make it a table: files = { root = \"path/to/file\" }", "{told:#}");
}

#[test]
fn a_guard_that_requests_pass_by_is_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = dir.path().display();
    let route =
        |lines: &str| format!("[[front.route]]\n{lines}\nfiles = {{ root = '{site}', try = ['$path', '/a'] }}\n");
    std::fs::write(dir.path().join("a"), "a").expect("a file");
    let guard = "addresses = { allow = ['192.0.2.0/24'] }";
    let of = |routes: &[String]| told(dir.path(), &format!("{LISTENER}{}", routes.concat()));
    let www = || route("host = ['www.test']\npath = '/*'");
    let (good, found) = of(&[www(), route(&format!("path = '/img/*'\n{guard}"))]);
    assert!(good && found.len() == 1 && found[0].1 == "front.route[1].addresses", "{found:?}");
    let by = "requests such as www.test/img/- go past this: front.route[0], www.test/*, answers them";
    assert_eq!(found[0].3, by);
    let (good, found) = of(&[route("path = '/*'"), route(&format!("path = '/admin/'\n{guard}"))]);
    assert!(good && found.len() == 1 && found[0].3.contains("/admin/- go past this"), "{found:?}");
    let own = route(&format!("host = ['www.test']\npath = '/img/*'\n{guard}"));
    assert_eq!(of(&[www(), own]), (true, Vec::new()));
    let guarded = route(&format!("host = ['www.test']\npath = '/*'\n{guard}"));
    assert_eq!(of(&[guarded, route(&format!("path = '/img/*'\n{guard}"))]), (true, Vec::new()));
}

#[test]
fn answers_kept_by_url_beside_a_route_that_writes_are_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = Command::new("sqlite3").arg(dir.path().join("site.db")).arg("create table users (id, name)").status();
    assert!(made.expect("the package sqlite3 is installed").success());
    let of = |read: &str| {
        let reads = format!("[[front.route]]\npath = '/users'\nmethods = ['GET']\n{read}\n");
        let write = "query = { database = 'main', sql = 'delete from users', write = true }";
        let writes = format!("[[front.route]]\npath = '/users'\nmethods = ['DELETE']\n{write}\n");
        told(dir.path(), &format!("{LISTENER}{reads}{writes}[web.database.main]\nurl = 'sqlite:site.db'\n"))
    };
    let (good, found) =
        of("query = { database = 'main', sql = 'select name from users' }\ncache = { default_ttl = '1m' }");
    assert!(good && found.len() == 1 && found[0].1 == "front.route[0].cache", "{found:?}");
    assert!(found[0].3.contains("what front.route[1] writes is not seen here"), "{found:?}");
    let by_table = "query = { database = 'main', sql = 'select name from users', cache = { ttl = '1m' } }";
    assert_eq!(of(by_table), (true, Vec::new()));
}

#[test]
fn a_folder_that_has_nothing_at_the_path_of_its_route_is_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(dir.path().join("site/img")).expect("a directory");
    let of = |root: &str, more: &str| {
        let files = format!("files = {{ root = '{root}' }}");
        told(dir.path(), &format!("{LISTENER}[[front.route]]\npath = '/img/*'\n{files}\n{more}\n"))
    };
    let (good, found) = of("site/img", "");
    assert!(good && found.len() == 1 && found[0].1 == "front.route[0].files.root", "{found:?}");
    assert!(found[0].3.starts_with("there is no img in "), "{found:?}");
    assert_eq!(of("site", ""), (true, Vec::new()));
    assert_eq!(of("site/img", "rewrite = { strip_prefix = '/img' }"), (true, Vec::new()));
}

#[test]
fn a_host_that_no_certificate_is_for_is_warned_of_where_there_is_tls_alone() {
    let tls = "[[front.listener]]\naddress = '127.0.0.1:8443'\ntls = { local = ['a.test', '*.b.test'] }\n";
    let route = |hosts: &str| format!("[[front.route]]\nhost = [{hosts}]\npath = '/'\nrespond = {{}}\n");
    let (key, _, found) = warned(&format!("{tls}{}", route("'a.test', 'c.test', 'www.b.test', '*.b.test'")));
    assert_eq!((&*key, &*found), ("front.route[0].host[1]", "no certificate of a listener is for c.test"));
    silent(&format!("{tls}{LISTENER}{}", route("'c.test'")));
}
