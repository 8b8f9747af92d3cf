//! What `run` refuses, `check` finds before: files and users that are missing, addresses that are taken, words that mean nothing.

use std::path::PathBuf;

use serde_json::Value as Json;

use crate::binary::{Place, command, json, text};

const LISTENER: &str = "[[front.listener]]\naddress = 'HOST:8080'\n";
const RESPOND: &str = "[[front.route]]\npath = '/*'\nrespond = {}\n";

/// What `check` says of these lines, and that neither it nor `run` takes them.
fn refused(lines: &str) -> Vec<Json> {
    let place = Place::with(lines);
    std::fs::write(place.path().join("weak"), "ann:$apr1$a$b\n").expect("a file");
    let checked = place.outwork(&["check", "--json"]);
    // What is not refused would run for ever.
    assert_eq!(checked.status.code(), Some(1), "{lines}: {checked:?}");
    let ran = place.outwork(&["run"]);
    assert_eq!(ran.status.code(), Some(1), "{lines}: {ran:?}");
    json(&checked).as_array().expect("a list").clone()
}

/// The one fault of these lines that is no warning, which lies here: what was found, and what helps.
pub(crate) fn fault(lines: &str, key: &str) -> (String, String) {
    let faults: Vec<Json> = refused(lines).into_iter().filter(|fault| fault["severity"] == "error").collect();
    assert_eq!(faults.len(), 1, "{lines} {faults:#?}");
    let fault = &faults[0];
    assert_eq!(fault["key"], key, "{fault:#}");
    let word = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
    (word("found"), word("help"))
}

#[test]
fn files_folders_and_users_that_a_start_needs_are_looked_for() {
    let front = |key: &str| format!("[front]\n{key}\n{LISTENER}{RESPOND}");
    let (found, _) = fault(&front("basic_auth = { file = 'users' }"), "front.basic_auth.file");
    assert!(found.starts_with("cannot read ") && found.contains("users: No such file"), "{found}");
    let (found, _) = fault(&front("basic_auth = { file = 'weak' }"), "front.basic_auth.file");
    assert!(found.contains("weak: line 1: MD5 (apr1)") && found.contains("htpasswd -B"), "{found}");
    let (found, _) = fault(&front("addresses = { deny_files = ['bad'] }"), "front.addresses.deny_files");
    assert!(found.contains("cannot read ") && found.contains("bad"), "{found}");
    let (found, _) = fault(&front("addresses = { deny_files = ['weak'] }"), "front.addresses.deny_files");
    assert!(found.contains("weak:1: "), "{found}");
    let (found, _) = fault(&front("error_pages = { 404 = 'none.html' }"), "front.error_pages.404");
    assert!(found.contains("none.html"), "{found}");
    let (found, _) = fault(&front("access_log = { file = 'logs/access.log' }"), "front.access_log.file");
    assert!(found.ends_with("logs is not there"), "{found}");
    let route = |key: &str| format!("{LISTENER}[[front.route]]\npath = '/*'\n{key}\n");
    let (found, _) = fault(&route("files = { root = 'site' }"), "front.route[0].files.root");
    assert!(found.ends_with("site is not there"), "{found}");
    let auth = route("basic_auth = { file = 'users' }\nrespond = {}");
    fault(&auth, "front.route[0].basic_auth.file");
    let (found, _) = fault("[process]\nuser = 'nobody-has-this-name'\n", "process.user");
    assert!(found.contains("there is no user `nobody-has-this-name`"), "{found}");
}

#[test]
fn keys_of_tokens_that_cannot_be_used_and_issuers_that_nobody_knows_are_refused() {
    let front =
        |jwt: &str, issuer: &str| format!("[front]\njwt = {jwt}\n[front.jwt_issuer.a]\n{issuer}\n{LISTENER}{RESPOND}");
    let found = |jwt: &str, issuer: &str, key: &str| {
        let (found, help) = fault(&front(jwt, issuer), key);
        format!("{found}; {help}")
    };
    let told = found("{}", "public_keys = ['none']", "front.jwt_issuer.a.public_keys[0]");
    assert!(told.contains("cannot read ") && told.contains("none: No such file"), "{told}");
    let told = found("{}", "public_keys = ['weak']", "front.jwt_issuer.a.public_keys[0]");
    assert!(told.contains("weak: it has no PUBLIC KEY and no CERTIFICATE"), "{told}");
    let told = found("{}", "jwks_file = 'weak'", "front.jwt_issuer.a.jwks_file");
    assert!(told.contains("weak: it is no JSON Web Key Set"), "{told}");
    let told = found("{}", "", "front.jwt_issuer.a");
    assert!(told.contains("no token could be verified"), "{told}");
    let told = found("{}", "jwks_url = 'ftp://a.test/'\naudiences = ['a']", "front.jwt_issuer.a.jwks_url");
    assert!(told.contains("is no URL of HTTP"), "{told}");
    let told =
        found("{}", "public_keys = ['weak']\nalgorithms = ['RS256', 'HS256']", "front.jwt_issuer.a.algorithms[1]");
    assert!(told.contains("a secret verifies this, and there is none"), "{told}");
    let told = found("{ issuers = ['b'] }", "secret_file = 'weak'", "front.jwt.issuers[0]");
    assert!(told.contains("there is no issuer \"b\" in front.jwt_issuer"), "{told}");
    let two = "secret_file = 'weak'\n[front.jwt_issuer.b]\nsecret_file = 'weak'";
    let told = found("{}", two, "front.jwt");
    assert!(told.contains("issuers = [\"a\", \"b\"]"), "{told}");
    let told = found("{ issuers = ['a', 'b'] }", two, "front.jwt.issuers");
    assert!(told.contains("front.jwt_issuer.a has no name"), "{told}");
    let told = found("{ claims = { realm = { roles = 'x' } } }", "secret_file = 'weak'", "front.jwt.claims.realm");
    assert!(told.contains("\"realm.NAME\""), "{told}");
    let told = found(
        "{ claim_headers = { authorization = 'sub' } }",
        "secret_file = 'weak'",
        "front.jwt.claim_headers.authorization",
    );
    assert!(told.contains("this field has credentials"), "{told}");
    fault(&format!("{LISTENER}{RESPOND}jwt = {{}}\n"), "front.route[0].jwt");
}

#[test]
fn what_nothing_opens_is_not_looked_for() {
    let place = Place::with("[front]\nbasic_auth = { file = 'users' }\n");
    let checked = place.outwork(&["check", "--json"]);
    assert!(checked.status.success(), "there is no listener: {checked:?}");
}

#[test]
fn a_listener_of_the_front_door_leaves_the_admin_api_its_address() {
    let (found, help) = fault(&(LISTENER.replace("8080", "8067") + RESPOND), "front.listener[0].address");
    assert!(
        found.contains("the admin API listens there (admin.listen[0])") && help.contains("another port"),
        "{found}"
    );
    let any = LISTENER.replace("HOST:8080", "0.0.0.0:8067") + RESPOND;
    fault(&any, "front.listener[0].address");
}

#[test]
fn words_of_other_servers_and_groups_that_are_not_there_are_refused_with_what_is_written_here() {
    let route = |path: &str, answer: &str| format!("{LISTENER}[[front.route]]\npath = '{path}'\n{answer}\n");
    let (found, help) = fault(&route("/a?b=c", "respond = {}"), "front.route[0].path");
    assert!(found.contains("a path ends before `?`") && help.contains("leave the query out"), "{found} {help}");
    let rewrite = "respond = {}\nrewrite = { pattern = '^/(a)', replacement = '/$1/${2}' }";
    let (found, _) = fault(&route("/*", rewrite), "front.route[0].rewrite.replacement");
    assert_eq!(found, "the pattern has no group ${2}");
    for (to, help) in [
        ("https://$host$request_uri", "write {host}"),
        ("https://{host}$request_uri", "write {path}{query}"),
        ("/new/$1", "there are no groups"),
        ("/new/${name}", "there are no groups"),
        ("$scheme://{host}/new", "write http or https"),
    ] {
        let (found, said) = fault(&route("/*", &format!("redirect = {{ to = '{to}' }}")), "front.route[0].redirect.to");
        assert!(found.starts_with("a redirection knows no $") && said.contains(help), "{to}: {found} {said}");
    }
    let tried = "files = { root = '/', try = ['$uri', '$path/', '=404'] }";
    let faults = refused(&route("/*", tried));
    let helps: Vec<_> = faults.iter().filter_map(|fault| fault["help"].as_str()).collect();
    assert_eq!(helps.len(), 2, "{faults:#?}");
    assert!(helps[0] == "write \"$path\"" && helps[1].starts_with("leave it out"), "{helps:?}");
}

#[test]
fn a_redirection_that_leads_nowhere_in_particular_is_refused() {
    for (to, help) in [
        ("new", "write \"/new\""),
        ("www.example.org/new", "write \"https://www.example.org/new\""),
        ("{host}:8443/new", "write \"https://{host}:8443/new\""),
        ("localhost:8080", "write \"/localhost:8080\""),
    ] {
        let route = format!("{LISTENER}[[front.route]]\npath = '/*'\nredirect = {{ to = '{to}' }}\n");
        let (found, said) = fault(&route, "front.route[0].redirect.to");
        assert!(found.contains("depends on the path") && said.contains(help), "{to}: {found} {said}");
    }
}

#[test]
fn hosts_with_a_port_or_a_scheme_and_the_name_of_any_are_refused_with_why() {
    for (host, why, help) in [
        ("www.test:8443", "a host has no port", "leave the port out"),
        ("[::1]:80", "a host has no port", "leave the port out"),
        ("https://www.test", "a host has no scheme", "write the name alone"),
        ("_", "no client asks for a host of this name", "leave `host` out"),
        ("*", "no client asks for a host of this name", "leave `host` out"),
    ] {
        let route = format!("{LISTENER}[[front.route]]\nhost = ['{host}']\npath = '/*'\nrespond = {{}}\n");
        let (found, said) = fault(&route, "front.route[0].host[0]");
        assert!(found.contains(why) && said.contains(help), "{host}: {found} {said}");
    }
}

#[test]
fn keys_of_other_servers_are_refused_with_what_is_written_here() {
    let route = |line: &str| format!("{LISTENER}[[front.route]]\npath = '/*'\nrespond = {{}}\n{line}\n");
    for (line, help) in [
        ("proxy_pass = 'http://b'", "write proxy = { pool = \"NAME\" }"),
        ("reverse_proxy = 'b:80'", "write proxy = { pool = \"NAME\" }"),
        ("location = '/a'", "write path"),
        ("root = 'site'", "write files = { root"),
        ("server_name = 'a'", "write host"),
        ("try_files = ['a']", "try = ["),
        ("return = 301", "write redirect"),
        ("error_page = '404'", "write error_pages"),
        ("gzip = true", "write compression"),
        ("ssl_certificate = 'a.pem'", "in a [[front.listener]]"),
    ] {
        let key = line.split(' ').next().unwrap_or_default();
        let (found, said) = fault(&route(line), &format!("front.route[0].{key}"));
        assert!(found == "unknown key" && said.contains(help), "{line}: {said}");
    }
    let (_, said) = fault(&format!("[front]\nlisten = 80\n{LISTENER}{RESPOND}"), "front.listen");
    assert!(said.contains("[[front.listener]]"), "{said}");
    let (_, said) = fault(&format!("{LISTENER}[[front.route]]\npath = '/*'\n"), "front.route[0]");
    assert!(["files", "query", "redirect", "respond"].iter().all(|one| said.contains(one)), "{said}");
}

#[test]
fn keys_of_other_balancers_are_refused_with_what_is_written_here() {
    let all = |pool: &str, backend: &str, check: &str| {
        format!(
            "[proxy.pool.app]\nbackend = [{{ url = 'http://127.0.0.1:81'{backend} }}]\nhealth_check = {{ {check} }}\n{pool}\n{LISTENER}{RESPOND}"
        )
    };
    for (line, help) in [
        ("balance = 'leastconn'", "write policy = "),
        ("leastconn = true", "write policy = \"least_conn\""),
        ("roundrobin = true", "write policy = \"round_robin\""),
        ("server = 'a:80'", "write backend = ["),
        ("upstream = 'a:80'", "write backend = ["),
        ("check = true", "write health_check = "),
        ("maxconn = 100", "write limits = { requests"),
        ("backup = true", "write priority = 1"),
    ] {
        let key = line.split(' ').next().unwrap_or_default();
        let (found, said) = fault(&all(line, "", ""), &format!("proxy.pool.app.{key}"));
        assert!(found == "unknown key" && said.contains(help), "{line}: {said}");
    }
    for (line, help) in [
        ("backup = true", "write priority = 1"),
        ("maxconn = 100", "write max_requests"),
        ("check = true", "in the pool"),
        ("rise = 2", "healthy_threshold = 2"),
    ] {
        let key = line.split(' ').next().unwrap_or_default();
        let (_, said) = fault(&all("", &format!(", {line}"), ""), &format!("proxy.pool.app.backend[0].{key}"));
        assert!(said.contains(help), "{line}: {said}");
    }
    for (line, help) in [("rise = 2", "write healthy_threshold"), ("fall = 3", "write unhealthy_threshold")] {
        let key = line.split(' ').next().unwrap_or_default();
        let (_, said) = fault(&all("", "", line), &format!("proxy.pool.app.health_check.{key}"));
        assert!(said.contains(help), "{line}: {said}");
    }
    let (_, said) = fault(&format!("[proxy]\nupstream = 'a:80'\n{LISTENER}{RESPOND}"), "proxy.upstream");
    assert!(said.contains("[proxy.pool.NAME]"), "{said}");
}

#[test]
fn a_status_that_closes_connections_elsewhere_is_remarked_on() {
    let place = Place::with(&format!("{LISTENER}[[front.route]]\npath = '/*'\nrespond = {{ status = 444 }}\n"));
    let checked = place.outwork(&["check", "--json"]);
    let told = json(&checked);
    assert!(checked.status.success() && told[0]["key"] == "front.route[0].respond.status", "{told:#}");
}

#[test]
fn fields_that_frame_messages_are_refused_wherever_answers_get_fields() {
    for name in ["content-length", "Transfer-Encoding", "connection", "upgrade", "keep-alive", "te", "trailer"] {
        let respond = format!("{LISTENER}[[front.route]]\npath = '/*'\nrespond = {{ headers = {{ {name} = '1' }} }}\n");
        let (found, _) = fault(&respond, &format!("front.route[0].respond.headers.{name}"));
        assert!(found.contains("what the connection says"), "{found}");
        let set = format!("[front]\nresponse_headers = {{ set = {{ {name} = '1' }} }}\n{LISTENER}{RESPOND}");
        fault(&set, &format!("front.response_headers.set.{name}"));
    }
}

#[test]
fn a_path_that_is_taken_for_a_file_that_is_not_there_is_remarked_on() {
    let files = "[[front.route]]\npath = '/*'\nfiles = { root = 'site', try = ['$path', '/app.html'] }\n";
    let place = Place::with(&format!("{LISTENER}{files}"));
    std::fs::create_dir(place.path().join("site")).expect("a folder");
    let checked = place.outwork(&["check", "--json"]);
    let told = json(&checked);
    assert!(checked.status.success() && told[0]["key"] == "front.route[0].files.try[1]", "{told:#}");
    std::fs::write(place.path().join("site/app.html"), "app").expect("a file");
    assert_eq!(json(&place.outwork(&["check", "--json"])), Json::Array(vec![]));
}

#[test]
fn a_name_that_acme_cannot_prove_is_the_only_fault_of_its_listener() {
    let tls = "tls = { acme = ['*.example.org'] }\n[front.acme]\naccept_terms = true\n";
    let (found, _) = fault(&format!("{LISTENER}{tls}{RESPOND}"), "front.listener[0].tls.acme[0]");
    assert!(found.contains("a wildcard needs a challenge in the DNS"), "{found}");
}

#[test]
fn a_variable_that_sets_nothing_is_told_of_by_check_and_at_the_start() {
    let mut place = Place::new();
    let check = command(place.path(), &["check"]).env("OUTWORK_DHCP_LEASE_TIME", "2h").output().expect("it runs");
    let said = text(&check.stderr);
    assert!(check.status.success() && said.contains("the variable OUTWORK_DHCP_LEASE_TIME"), "{check:?}");
    assert!(said.contains("did you mean OUTWORK__DHCP__LEASE_TIME?") && !said.contains("2h"), "{said}");
    place.start_with(&[("OUTWORK_FRONT__WORKERS", PathBuf::from("3"))]);
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    assert!(log.contains("OUTWORK_FRONT__WORKERS") && log.contains("OUTWORK__FRONT__WORKERS"), "{log}");
}
