//! `outwork run` with no configuration at all.

use std::fs::{File, read_to_string};
use std::process::Stdio;

use outwork_net::testing::Lab;

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
    assert!(text.contains("http://127.0.0.1:8068/"), "{text}");
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
