//! Two sites and their controller: each of the three on a machine of its own.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use serde_json::Value as Json;

use super::super::site::Site;
use super::super::wait_for;
use super::transfer;

/// The controller, and two sites that a cable joins, `wan`; a cable leads from each to the controller.
struct Network {
    controller: Site,
    sites: [Site; 2],
}

const NAMES: [&str; 2] = ["north", "south"];
const PORT: u16 = 8068;

/// The address of a site at the cable between the two.
fn outer(site: usize) -> String {
    format!("192.0.2.{}", site + 1)
}

/// The address of a site within the tunnels.
fn inner(site: usize) -> String {
    format!("10.{}.0.1", 100 + site)
}

/// The controller's address at the cable to a site, and the site's there.
fn control(site: usize) -> [String; 2] {
    [9, 1].map(|host| format!("198.51.{}.{host}", 100 + site))
}

/// What the file of a site says: of itself, and where the controller is.
fn settings(site: usize) -> String {
    let [controller, _] = control(site);
    format!(
        "[sdwan]\nsubnets = ['10.{net}.0.0/16']\n[sdwan.tunnel]\naddresses = ['{inner}/16']\nworkers = 1\n\
         [sdwan.health]\ntrial = '100ms'\ninterval = '200ms'\n\
         [sdwan.controller]\naddress = ['{controller}:{PORT}']\nreport = '1s'\n\
         [[sdwan.uplink]]\nname = 'wan'\ninterface = 'wan'\nlisten = ['0.0.0.0:51820']\nendpoint = '{outer}:51820'\n",
        net = 100 + site,
        inner = inner(site),
        outer = outer(site),
    )
}

impl Network {
    /// All three, started; no site is taken in yet.
    fn new() -> Network {
        let mut controller = Site::new(&format!("[controller]\nlisten = ['0.0.0.0:{PORT}']\n"));
        let mut sites = [0, 1].map(|site| Site::new(&settings(site)));
        let [north, south] = &sites;
        north.lab.veth((&north.server, "wan"), (&south.server, "wan"));
        for (number, site) in sites.iter().enumerate() {
            site.server.ip(&format!("addr add {}/24 dev wan", outer(number)));
            let cable = format!("to-{}", NAMES[number]);
            site.lab.veth((&controller.server, &cable), (&site.server, "control"));
            let [there, here] = control(number);
            controller.server.ip(&format!("addr add {there}/24 dev {cable}"));
            site.server.ip(&format!("addr add {here}/24 dev control"));
        }
        controller.start();
        sites.iter_mut().for_each(Site::start);
        Network { controller, sites }
    }

    /// The same, with both sites taken in and joined.
    fn joined() -> Network {
        let network = Network::new();
        for (site, name) in network.sites.iter().zip(NAMES) {
            let token = network.controller.admin(&["sdwan", "token", name]);
            site.admin(&["sdwan", "enrol", token.trim()]);
        }
        network.wait_until_joined();
        network
    }

    fn told(&self) -> String {
        let of = |site: &Site| format!("{}\n{}", site.outwork(&["status"]).status, site.log());
        format!("{}\n{}\n{}", self.controller.log(), of(&self.sites[0]), of(&self.sites[1]))
    }

    fn wait_until_joined(&self) {
        for site in &self.sites {
            wait_for(
                "a path to the other site",
                || self.told(),
                || {
                    let paths = site.json(&["paths"])["paths"].clone();
                    paths.as_array().unwrap().iter().any(|path| path["state"] == "up").then_some(())
                },
            );
        }
    }

    /// The items that the controller's API answers with to its admin.
    fn asked(&self, path: &str) -> Vec<Json> {
        let token = format!("Authorization: Bearer {}", self.controller.token());
        let url = format!("http://127.0.0.1:8067/api/v1/controller/{path}");
        let answer = self.controller.server.command("curl").args(["-sS", "-H", &token, &url]).output().unwrap();
        let answer: Json = serde_json::from_slice(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"));
        answer["items"].as_array().unwrap_or_else(|| panic!("{path}: {answer}")).clone()
    }

    /// Octets go between the two sites.
    fn speaks(&self) {
        transfer(&self.sites[0].server, &self.sites[1].server, &inner(1));
    }

    /// The policy that a flow to this port of the other site falls under, as a site says.
    fn policy(&self, site: usize, port: &str) -> Option<String> {
        let other = inner(1 - site);
        let flow = ["paths", "explain", &inner(site), &other, "--protocol", "udp", "--port", port];
        self.sites[site].json(&flow)["policy"].as_str().map(str::to_owned)
    }

    fn wait_for_policy(&self, port: &str, name: &str) {
        for site in 0..2 {
            wait_for(
                "a policy to be in force",
                || self.told(),
                || (self.policy(site, port).as_deref() == Some(name)).then_some(()),
            );
        }
    }
}

#[test]
fn two_sites_are_taken_in_by_tokens_and_go_on_without_their_controller_after_a_restart_as_well() {
    let mut network = Network::joined();
    network.speaks();
    network.controller.admin(&["sdwan", "policies", "add", "calls", "class=voice", "ports=[\"5060\"]"]);
    network.wait_for_policy("5060", "calls");
    network.speaks();
    network.controller.kill();
    network.speaks();
    network.sites[0].terminate();
    network.sites[0].start();
    network.wait_until_joined();
    network.wait_for_policy("5060", "calls");
    network.speaks();
    // It comes back, and is heard of again.
    network.controller.start();
    network.controller.admin(&["sdwan", "policies", "edit", "calls", "ports=[\"5062\"]"]);
    network.wait_for_policy("5062", "calls");
}

/// Numbered datagrams from the first site to the second, one each two milliseconds.
struct Numbered {
    done: Arc<AtomicBool>,
    sends: JoinHandle<u64>,
    hears: JoinHandle<Vec<u64>>,
}

impl Numbered {
    const PORT: u16 = 7002;

    fn begin(network: &Network) -> Numbered {
        let bind = |site: usize| network.sites[site].server.run(|| UdpSocket::bind((inner(site), Self::PORT))).unwrap();
        let (near, far) = (bind(0), bind(1));
        near.connect((inner(1), Self::PORT)).unwrap();
        // So long nothing comes after the last one.
        far.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let sends = spawn(move || {
            let mut number = 0;
            while !is_done.load(Ordering::SeqCst) {
                near.send(&u64::to_be_bytes(number)).unwrap();
                number += 1;
                sleep(Duration::from_millis(2));
            }
            number
        });
        let hears = spawn(move || {
            let (mut came, mut octets) = (vec![], [0; 8]);
            while far.recv(&mut octets).is_ok() {
                came.push(u64::from_be_bytes(octets));
            }
            came
        });
        Numbered { done, sends, hears }
    }

    /// How many were sent, and which came.
    fn end(self) -> (u64, Vec<u64>) {
        self.done.store(true, Ordering::SeqCst);
        (self.sends.join().unwrap(), self.hears.join().unwrap())
    }
}

#[test]
fn no_datagram_is_lost_or_overtaken_while_the_controller_is_killed_comes_back_and_changes_the_network() {
    let mut network = Network::joined();
    network.speaks();
    let numbered = Numbered::begin(&network);
    network.controller.admin(&["sdwan", "policies", "add", "numbers", "class=voice", "ports=[\"7002\"]"]);
    network.wait_for_policy("7002", "numbers");
    network.controller.kill();
    // Long enough that sites know, and have tried to come back.
    sleep(Duration::from_secs(3));
    network.controller.start();
    network.controller.admin(&["sdwan", "policies", "edit", "numbers", "class=bulk", "ports=[\"7002\", \"7004\"]"]);
    network.wait_for_policy("7004", "numbers");
    let (sent, came) = numbered.end();
    assert!(sent > 1000, "{sent}");
    let missing: Vec<u64> = (0..sent).filter(|number| came.binary_search(number).is_err()).collect();
    assert!(came.is_sorted(), "{}", network.told());
    assert_eq!((missing, came.len() as u64), (vec![], sent), "{}", network.told());
}

#[test]
fn the_controller_knows_how_paths_are_at_both_ends_and_who_is_there() {
    let network = Network::joined();
    wait_for(
        "both sites to report a path that is up",
        || network.told(),
        || {
            let status = network.controller.json(&["sdwan", "status"]);
            let current = status["items"].as_array().unwrap().iter().filter(|site| site["current"] == true).count();
            (current == 2 && network.asked("paths?state=up").len() == 2).then_some(())
        },
    );
    // The path of the one cable, each way.
    let text = |row: &Json, key: &str| row[key].as_str().unwrap().to_owned();
    let ends = |path: &Json| ["site", "uplink", "remote_site", "remote_uplink"].map(|key| text(path, key));
    let mut paths: Vec<_> = network.asked("paths?state=up").iter().map(ends).collect();
    paths.sort();
    let [north, south] = NAMES;
    assert_eq!(paths, [[north, "wan", south, "wan"], [south, "wan", north, "wan"]]);
    assert_eq!(network.asked("paths?state=down"), Vec::<Json>::new());
    // How it came to be up was reported along with that.
    let came = |event: &Json| event["kind"] == "path" && event["of"] == "south wan-wan" && event["to"] == "up";
    let events = network.asked("events?site=north");
    assert!(events.iter().any(came), "{events:#?}");
    assert!(events.iter().all(|event| event["site"] == "north"), "{events:#?}");
    let changes = network.controller.json(&["sdwan", "changes"]);
    let who: Vec<_> = changes["items"].as_array().unwrap().iter().map(|change| change["who"].clone()).collect();
    assert!(NAMES.iter().all(|name| who.contains(&format!("site {name}").into())), "{changes:#}");
    let metrics = network.controller.get("/metrics").unwrap();
    for metric in ["outwork_sdwan_controller_sites 2", "outwork_sdwan_db_query_duration"] {
        assert!(metrics.contains(metric), "{metric}\n{metrics}");
    }
}

#[test]
fn a_site_holds_the_controller_itself_and_follows_it_as_the_other_does() {
    let [there, _] = control(0);
    let from = |address: &str| settings(0).replace(&format!("'{there}:{PORT}'"), &format!("'{address}:{PORT}'"));
    let holder = Site::new(&format!("{}[controller]\nlisten = ['0.0.0.0:{PORT}']\n", from("127.0.0.1")));
    let [there, _] = control(1);
    let other = Site::new(&settings(1).replace(&format!("'{there}:{PORT}'"), &format!("'{}:{PORT}'", outer(0))));
    holder.lab.veth((&holder.server, "wan"), (&other.server, "wan"));
    let mut sites = [holder, other];
    for (number, site) in sites.iter_mut().enumerate() {
        site.server.ip(&format!("addr add {}/24 dev wan", outer(number)));
        site.start();
    }
    for (site, name) in sites.iter().zip(NAMES) {
        let token = sites[0].admin(&["sdwan", "token", name]);
        site.admin(&["sdwan", "enrol", token.trim()]);
    }
    let told = |sites: &[Site; 2]| format!("{}\n{}", sites[0].log(), sites[1].log());
    let joined = |sites: &[Site; 2]| {
        for site in sites {
            let up = || {
                let paths = site.json(&["paths"])["paths"].clone();
                paths.as_array().unwrap().iter().any(|path| path["state"] == "up").then_some(())
            };
            wait_for("a path to the other site", || told(sites), up);
        }
        transfer(&sites[0].server, &sites[1].server, &inner(1));
    };
    joined(&sites);
    let current = |sites: &[Site; 2]| {
        let all = || {
            let status = sites[0].json(&["sdwan", "status"]);
            let current = status["items"].as_array().unwrap().iter().filter(|site| site["current"] == true).count();
            (current == 2).then_some(())
        };
        wait_for("both sites to hold what the network is", || told(sites), all);
    };
    sites[0].admin(&["sdwan", "policies", "add", "calls", "class=voice", "ports=5060"]);
    current(&sites);
    // What is the site's is beside what is the controller's.
    let of_site = sites[1].json(&["sdwan", "status"]);
    assert_eq!((&of_site["follows"]["site"], &of_site["follows"]["connected"]), (&"south".into(), &true.into()));
    let changed = sites[1].outwork(&["sdwan", "changes", "--token", &sites[1].token()]);
    let why = String::from_utf8_lossy(&changed.stderr).into_owned();
    assert!(why.contains(&format!("at {}:{PORT}", outer(0))), "{why}");
    // Both come back together.
    sites[0].terminate();
    sites[0].start();
    joined(&sites);
    sites[0].admin(&["sdwan", "policies", "edit", "calls", "ports=5062"]);
    current(&sites);
}

#[test]
fn a_token_works_once_and_a_site_that_is_removed_is_heard_of_no_more() {
    let network = Network::joined();
    let token = network.controller.admin(&["sdwan", "token", "north"]);
    network.sites[0].admin(&["sdwan", "enrol", token.trim()]);
    let again = network.sites[1].outwork(&["sdwan", "enrol", token.trim()]);
    assert!(!again.status.success());
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(why.contains("the token is not good"), "{why}");
    network.controller.admin(&["sdwan", "sites", "remove", "south"]);
    wait_for(
        "the tunnels to the site to be gone",
        || network.told(),
        || network.sites[0].json(&["paths"])["paths"].as_array().unwrap().is_empty().then_some(()),
    );
}

#[test]
fn databases_are_looked_after_while_the_server_runs() {
    let network = Network::joined();
    let done = network.controller.json(&["db", "maintain"]);
    let done = done.as_array().unwrap();
    assert_eq!(done.len(), 2, "the store's and the controller's");
    assert!(done.iter().all(|one| one["faults"] == serde_json::json!([])), "{done:#?}");
    network.controller.admin(&["sdwan", "classes", "add", "gold", "latency=20ms"]);
}
