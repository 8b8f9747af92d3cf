//! `outwork run` with no configuration at all.

use std::fs::{File, read_to_string};
use std::path::Path;
use std::process::Stdio;

use outwork_net::testing::{Lab, Namespace};

use super::load::Relay;
use super::site::{binary, get, send, without_settings};
use super::wait_for;

#[test]
fn with_no_configuration_it_serves_loopback_says_where_to_look_and_shows_a_token_once() {
    let (lab, dir) = (Lab::new(), tempfile::tempdir().unwrap());
    let host = lab.namespace("host");
    let run = |log: &str| {
        let log = File::create(dir.path().join(log)).unwrap();
        let mut command = without_settings(host.command(&binary()));
        command.arg("run").current_dir(&dir).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    };
    let said = |log: &str| read_to_string(dir.path().join(log)).unwrap();
    let ready = || get(&host, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200 "));

    let mut process = run("first");
    wait_for("the server", || said("first"), ready);
    let text = said("first");
    assert!(text.contains("http://127.0.0.1:8067/") && text.contains("127.0.0.1:6767"), "{text}");
    assert!(text.contains("Admin token"), "{text}");
    let page = get(&host, "/").unwrap();
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<script"), "{page}");
    let mut relay = Relay::new(&host, [127, 0, 0, 1], ([127, 0, 0, 1], 6767));
    relay.lease();
    assert!(text.contains("http://127.0.0.1:8068/") && text.contains("https://127.0.0.1:8443/"), "{text}");
    let site = |arguments: &str, path: &str| {
        let url = format!("http://127.0.0.1:8068{path}");
        let output = host.command("curl").arg("-s").args(arguments.split_whitespace()).arg(url).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(site("", "/").contains("<h1>This site is yours to change</h1>"));
    assert!(site("-H accept:application/json", "/files/").contains("\"numbers.txt\""));
    assert!(site("-i", "/nothing-here").starts_with("HTTP/1.1 404 ") && site("", "/nothing-here").contains("<h1>"));
    assert!(site("", "/hello/you").starts_with("Hello."));
    assert!(site("-i", "/old/address?kept=yes").contains("location: /?kept=yes\r\n"));
    shows_its_features(&host, dir.path());
    std::fs::write(dir.path().join("data/site/index.html"), "mine").unwrap();
    assert_eq!(site("", "/"), "mine", "a change is seen with the next request");

    send(15, process.id());
    assert!(process.wait().unwrap().success(), "{}", said("first"));
    let mut process = run("second");
    wait_for("the server", || said("second"), ready);
    assert!(!said("second").contains("Admin token"), "{}", said("second"));
    assert_eq!(site("", "/"), "mine", "what was changed stays");
    send(15, process.id());
    assert!(process.wait().unwrap().success(), "{}", said("second"));
}

/// What the sample site's page points at, asked for as a visitor would.
fn shows_its_features(host: &Namespace, dir: &Path) {
    let curl = |arguments: &str, url: &str| {
        let mut command = host.command("curl");
        command.args(["-sS", "--noproxy", "*"]).args(arguments.split_whitespace()).arg(url).current_dir(dir);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{url}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let outwork = |words: &str| {
        let output =
            without_settings(host.command(&binary())).args(words.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let clear = |arguments: &str, path: &str| curl(arguments, &format!("http://127.0.0.1:8068{path}"));

    // HTTPS by each version of HTTP, with a certificate that a client can verify.
    let tls = |arguments: &str| curl(arguments, "https://localhost:8443/");
    assert!(tls("-k -i --http1.1").starts_with("HTTP/1.1 200 "));
    let second = tls("-k -i --http2");
    assert!(second.starts_with("HTTP/2 200 ") && second.contains("alt-svc: h3=\":8443\""), "{second}");
    std::fs::write(dir.join("ca.pem"), outwork("tls ca")).unwrap();
    assert!(tls("--cacert ca.pem").contains("<h1>This site is yours to change</h1>"));
    assert!(curl("--cacert ca.pem", "https://127.0.0.1:8443/").contains("<h1>"));
    let third = "bench web --http 3 --insecure --connections 1 --streams 1 --duration 1s --warm-up 10ms";
    outwork(&format!("{third} https://127.0.0.1:8443/"));
    assert!(clear("-i --http2-prior-knowledge", "/").starts_with("HTTP/2 200 "));

    let page = clear("-i", "/");
    assert!(page.contains("x-content-type-options: nosniff\r\n") && page.contains("x-request-id: "), "{page}");
    let style = clear("-I -H accept-encoding:zstd", "/style.css");
    assert!(style.contains("content-encoding: zstd\r\n"), "{style}");

    // Rows: typed parameters of the path and of the query, JSON and CSV.
    let row = clear("-i", "/rfcs/2131");
    let found = "{\"number\":2131,\"title\":\"Dynamic Host Configuration Protocol\",\"year\":1997}\n";
    assert!(row.starts_with("HTTP/1.1 200 ") && row.ends_with(found), "{row}");
    for (path, status) in [("/rfcs/none", 400), ("/rfcs/0", 400), ("/rfcs/1", 404), ("/rfcs?since=none", 400)] {
        assert!(clear("-i", path).starts_with(&format!("HTTP/1.1 {status} ")), "{path}");
    }
    let list = clear("-H accept:text/csv", "/rfcs?since=2020");
    assert!(list.starts_with("number,title,year\r\n9000,") && !list.contains("2131"), "{list}");
    assert!(clear("", "/rfcs").contains("2131"));

    // One answer for all who ask within ten seconds.
    let (first, second) = (clear("-i", "/clock"), clear("-i", "/clock"));
    assert!(first.starts_with("HTTP/1.1 200 ") && first.contains("; stored"), "{first}");
    assert!(second.contains("cache-status: ") && second.contains("; hit"), "{second}");
    assert_eq!(first.lines().last(), second.lines().last());

    let hello = clear("-i", "/backends/hello");
    assert!(hello.starts_with("HTTP/1.1 200 ") && hello.contains(" of the sample pool says hello."), "{hello}");

    let statuses = clear("-o /dev/null -w %{http_code},", "/limited?[1-20]");
    assert!(statuses.starts_with("200,200,200,200,200,") && statuses.contains("429,"), "{statuses}");
}
