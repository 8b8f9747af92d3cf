//! The dashboard in a real browser, on a lease that a real client made.

use std::path::Path;

use super::client::{Client, Kind};
use super::site::{LAN, SERVER, Site, binary};

#[test]
fn the_dashboard_shows_and_changes_what_the_server_does() {
    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboard");
    assert!(dashboard.join("node_modules").exists(), "the browser tests are not installed: run `make dashboard`");
    // A client that takes its time: the lease must be the same from the first test to the last.
    let site = Site::running(&LAN.replace("4s", "1h"));
    let client = Client::start(&site, Kind::Udhcpc, site.plug("client"));
    let given = client.bound(&site);
    let relay = site.plug("relay");
    relay.ip("addr add 10.1.0.2/24 dev eth0");
    let bench =
        format!("ip netns exec {} {} bench dhcp --target {SERVER}:67 --giaddr 10.1.0.2", relay.name(), binary());
    let output = site
        .server
        .command("npm")
        .args(["run", "--silent", "e2e"])
        .current_dir(dashboard)
        .env("OUTWORK_URL", "http://127.0.0.1:8067")
        .env("OUTWORK_TOKEN", site.token())
        .env("OUTWORK_LAB_ADDRESS", &given.address)
        .env("OUTWORK_LAB_MAC", client.mac())
        .env("OUTWORK_LAB_BENCH", bench)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}\nserver:\n{}", site.log());
    // What was measured on the way.
    for line in said.lines().filter(|line| line.contains("bytes of JS and CSS")) {
        eprintln!("{line}");
    }
}
