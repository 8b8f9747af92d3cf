//! Uplinks that are shaped.

use std::net::UdpSocket;

use outwork_net::testing::Namespace;
use serde_json::{Value as Json, json};

use super::super::site::Site;
use super::super::wait_for;
use super::peer::Keys;
use super::sites::{Sites, inner};

/// Both uplinks of the first site, at a rate that a flood is far above.
const SHAPED: &str =
    "[sdwan.qos]\nenabled = true\n[sdwan.qos.uplink.one]\nrate = 1_000_000\n[sdwan.qos.uplink.two]\nrate = 1_000_000\n";
/// Octets of a flood, and of each of its datagrams: at that rate it would take a minute and a half.
const FLOOD: usize = 12_000_000;
const EACH: usize = 1_200;

/// What is at the root of an interface.
fn root(room: &Namespace, interface: &str) -> String {
    let output = room.command("tc").args(["qdisc", "show", "dev", interface, "root"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// A figure of a class, of all uplinks together.
fn sum(told: &Json, class: &str, figure: &str) -> u64 {
    let uplinks = told["uplinks"].as_array().unwrap().iter();
    let classes = uplinks.flat_map(|uplink| uplink["classes"].as_array().unwrap());
    classes.filter(|one| one["class"] == class).map(|one| one[figure].as_u64().unwrap()).sum()
}

#[test]
fn a_flood_is_held_to_the_rate_of_its_uplink_and_hellos_pass_by_it() {
    let sites = Sites::with("", SHAPED);
    sites.wait_until_all_are_up();
    let [site, far] = &sites.sites;
    let told = || site.json(&["qos"]);
    let before = told();
    assert!(before["uplinks"].as_array().unwrap().iter().all(|uplink| uplink["state"] == "shaped"), "{before:#}");
    assert!(sum(&before, "control", "packets") > 0, "{before:#}");
    let socket = site.server.run(|| UdpSocket::bind((inner(0), 0))).unwrap();
    for _ in 0..FLOOD / EACH {
        // The device may have no room: what matters is what comes to the uplink.
        let _ = socket.send_to(&[7; EACH], (inner(1), 9));
    }
    wait_for(
        "the flood to be more than may pass",
        || format!("{:#}", told()),
        || {
            let _ = socket.send_to(&[7; EACH], (inner(1), 9));
            (sum(&told(), "bulk", "drops") > 0).then_some(())
        },
    );
    let during = sum(&told(), "control", "packets");
    let after = wait_for(
        "hellos to pass by it",
        || format!("{:#}", told()),
        || {
            let now = told();
            (sum(&now, "control", "packets") > during + 20).then_some(now)
        },
    );
    assert_eq!(sum(&after, "control", "drops"), 0, "{after:#}");
    assert!(sum(&after, "bulk", "bytes") < FLOOD as u64 / 2, "{after:#}");
    let metrics = site.get("/metrics").unwrap();
    for name in ["bytes_total", "packets_total", "drops_total", "backlog_bytes", "backlog_packets"] {
        let line = format!("outwork_sdwan_qos_{name}{{uplink=\"one\",class=\"bulk\"}} ");
        assert!(metrics.contains(&line), "{line} of {metrics}");
    }

    let undone = site.json(&["qos", "rollback"]);
    assert_eq!((&undone["failed"], undone["items"].as_array().unwrap().len()), (&json!(0), 2), "{undone}");
    assert_eq!(root(&site.server, "one"), root(&far.server, "one"));
    assert_eq!(told()["uplinks"][0]["state"], "rolled-back");
    sites.wait_until_all_are_up();
}

#[test]
fn what_policies_say_is_of_a_class_leaves_by_that_class_whatever_its_traffic_class() {
    let calls = "[[sdwan.policy]]\nname = 'calls'\nprotocols = ['udp']\nports = [5060]\nclass = 'voice'\n";
    let sites = Sites::with("", &format!("{calls}{SHAPED}"));
    sites.wait_until_all_are_up();
    let site = &sites.sites[0];
    let told = || site.json(&["qos"]);
    let socket = site.server.run(|| UdpSocket::bind((inner(0), 0))).unwrap();
    assert_eq!(sum(&told(), "voice", "packets"), 0);
    wait_for(
        "a call to leave as what it is",
        || format!("{:#}", told()),
        || {
            socket.send_to(b"hello?", (inner(1), 5060)).unwrap();
            (sum(&told(), "voice", "packets") > 0).then_some(())
        },
    );
}

#[test]
fn what_others_have_set_up_is_refused_or_replaced_and_is_there_again_at_the_end_and_after_a_crash() {
    let mut site = Site::new("");
    let other = site.lab.namespace("other");
    site.lab.veth((&site.server, "wan"), (&other, "wan"));
    let add = ["qdisc", "add", "dev", "wan", "root", "handle", "9:", "bfifo", "limit", "44444"];
    assert!(site.server.command("tc").args(add).status().unwrap().success());
    let before = root(&site.server, "wan");
    let plain = format!(
        "[sdwan.tunnel]\naddresses = ['10.99.0.1/24']\nworkers = 1\n\
         [[sdwan.uplink]]\nname = 'wan'\ninterface = 'wan'\nprivate_key = '{}'\n",
        Keys::new().private
    );
    site.configure(&plain);
    site.start();
    let with =
        |qos: &str| format!("{plain}[sdwan.qos]\nenabled = true\n{qos}\n[sdwan.qos.uplink.wan]\nrate = 8_000_000\n");
    site.configure(&with(""));
    let refused = site.outwork(&["reload", "--token", &site.token()]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("wan has a queueing discipline that is not ours"), "{told}");
    assert!(told.contains("foreign = \"replace\""), "{told}");
    assert_eq!(root(&site.server, "wan"), before);

    site.configure(&with("foreign = 'replace'"));
    site.admin(&["reload"]);
    assert!(root(&site.server, "wan").contains("htb 6f57:"));
    let undone = site.json(&["qos", "rollback"]);
    assert_eq!((&undone["items"][0]["outcome"], root(&site.server, "wan")), (&json!("restored"), before.clone()));
    let again = site.json(&["qos", "apply"]);
    assert_eq!(again["uplinks"][0]["state"], "shaped", "{again:#}");

    site.kill();
    assert!(root(&site.server, "wan").contains("htb 6f57:"));
    let undone = site.json(&["qos", "rollback"]);
    assert_eq!((&undone["items"][0]["outcome"], root(&site.server, "wan")), (&json!("restored"), before.clone()));
    site.start();
    assert!(root(&site.server, "wan").contains("htb 6f57:"));
    site.kill();
    site.start();
    let told = site.json(&["qos"]);
    assert_eq!(told["uplinks"][0]["state"], "shaped", "it goes on: {told:#}");
    site.terminate();
    assert_eq!(root(&site.server, "wan"), before);
}
