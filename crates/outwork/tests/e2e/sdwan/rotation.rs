//! Static keys of uplinks that take over from each other, while a datagram a millisecond goes through.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use super::super::site::Site;
use super::super::wait_for;

const PORT: u16 = 7001;

/// Two sites and a cable between them, `wan`, whose keys are made and kept by them.
struct Sites {
    sites: [Site; 2],
}

fn outer(site: usize) -> String {
    format!("192.0.2.{}", site + 1)
}

fn inner(site: usize) -> String {
    format!("10.{}.0.1", 100 + site)
}

/// What the file of a site says; `far` are the keys of the other, as its file has them. A machine that stands still for a moment takes no path down.
fn section(site: usize, far: &str) -> String {
    let other = 1 - site;
    format!(
        "[sdwan]\nsubnets = ['10.{own}.0.0/16']\n[sdwan.tunnel]\naddresses = ['{address}/16']\nworkers = 1\n\
         [sdwan.health]\ntrial = '100ms'\ninterval = '200ms'\nfast = '400ms'\nmisses = 5\n\
         [[sdwan.uplink]]\nname = 'wan'\ninterface = 'wan'\nendpoint = '{at}:51820'\n\
         [[sdwan.site]]\nname = 'far'\nsubnets = ['10.{theirs}.0.0/16']\n\
         [[sdwan.site.uplink]]\nname = 'wan'\nendpoint = '{to}:51820'\n{far}",
        own = 100 + site,
        theirs = 100 + other,
        address = inner(site),
        at = outer(site),
        to = outer(other),
    )
}

impl Sites {
    fn new() -> Sites {
        let mut sites = [Site::new(""), Site::new("")];
        let [a, b] = &sites;
        a.lab.veth((&a.server, "wan"), (&b.server, "wan"));
        for (number, site) in sites.iter_mut().enumerate() {
            site.server.ip(&format!("addr add {}/24 dev wan", outer(number)));
            // Its key is made by the first start, before anybody can know it.
            let alone = section(number, "").split("[[sdwan.site]]").next().unwrap().to_owned();
            site.configure(&alone);
            site.start();
        }
        let sites = Sites { sites };
        for number in 0..2 {
            sites.knows(number, &format!("public_key = '{}'\n", sites.key(1 - number, "public_key")));
        }
        for number in 0..2 {
            let paths = || sites.sites[number].json(&["paths"])["paths"].clone();
            wait_for("the path to be up", || sites.told(), || (paths()[0]["state"] == "up").then_some(()));
        }
        sites
    }

    /// The other's keys are these in the file of a site from now on.
    fn knows(&self, site: usize, far: &str) {
        self.sites[site].configure(&section(site, far));
        self.sites[site].admin(&["reload"]);
    }

    fn uplink(&self, site: usize) -> Json {
        self.sites[site].json(&["tunnels"])["uplinks"][0].clone()
    }

    fn key(&self, site: usize, which: &str) -> String {
        self.uplink(site)[which].as_str().unwrap().to_owned()
    }

    /// Until all have shown that they know the key that takes over from that of a site.
    fn wait_until_known(&self, site: usize) {
        let known = || (self.uplink(site)["rotation"]["state"] == "taken-up").then_some(());
        wait_for("the new key to be known", || self.told(), known);
    }

    fn told(&self) -> String {
        let site = |number: usize| {
            let site = &self.sites[number];
            format!("{:#}\n{:#}\n{}", site.json(&["tunnels"]), site.json(&["paths"]), site.log())
        };
        format!("{}\n{}", site(0), site(1))
    }

    /// Sends a datagram a millisecond while something is done, and counts those that come.
    fn under_load(&self, what: impl FnOnce()) {
        let [here, there] = [&self.sites[0].server, &self.sites[1].server];
        let heard = there.run(|| UdpSocket::bind((inner(1), PORT))).unwrap();
        heard.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let sends = here.run(|| UdpSocket::bind((inner(0), 0))).unwrap();
        let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let came = std::thread::scope(|scope| {
            let hears = scope.spawn(|| {
                let (mut came, mut octets) = (0_u64, [0; 16]);
                // Until nothing comes any more.
                while heard.recv(&mut octets).is_ok() {
                    came += 1;
                }
                came
            });
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let number = sent.fetch_add(1, Ordering::SeqCst);
                    sends.send_to(&number.to_be_bytes(), (inner(1), PORT)).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            what();
            done.store(true, Ordering::SeqCst);
            hears.join().unwrap()
        });
        assert_eq!(came, sent.load(Ordering::SeqCst), "none is lost: {}", self.told());
    }
}

#[test]
fn keys_of_both_sites_take_over_while_datagrams_go_through_and_none_is_lost() {
    let sites = Sites::new();
    let before = [0, 1].map(|site| sites.key(site, "public_key"));
    let events = |site: usize| sites.sites[site].json(&["paths"])["events"].as_array().unwrap().len();
    let (counted, ids) =
        ([0, 1].map(events), [0, 1].map(|site| sites.sites[site].json(&["paths"])["paths"][0]["id"].clone()));
    sites.under_load(|| {
        for (site, before) in before.iter().enumerate() {
            sites.sites[site].admin(&["sdwan", "rotate-key"]);
            assert_eq!(sites.uplink(site)["rotation"]["state"], "announced");
            assert_eq!(sites.key(site, "public_key"), *before);
        }
        for site in 0..2 {
            let [old, next] = ["public_key", "next_public_key"].map(|which| sites.key(1 - site, which));
            sites.knows(site, &format!("public_key = '{old}'\nnext_public_key = '{next}'\n"));
        }
        (0..2).for_each(|site| sites.wait_until_known(site));
    });
    for site in 0..2 {
        assert_eq!(sites.sites[site].json(&["paths"])["paths"][0]["id"], ids[site], "it is the same path");
        let switched = sites.sites[site].json(&["paths"])["events"].clone();
        let since = switched.as_array().unwrap().iter().take(events(site) - counted[site]);
        assert_eq!(since.filter(|event| event["to"] == "down").count(), 0, "{}", sites.told());
        assert!(sites.sites[site].log().contains("all know it"), "{}", sites.sites[site].log());
    }
}

#[test]
fn a_site_that_starts_anew_in_the_middle_has_both_keys_and_one_that_is_given_up_is_gone() {
    let mut sites = Sites::new();
    sites.sites[0].admin(&["sdwan", "rotate-key", "wan"]);
    let [old, next] = ["public_key", "next_public_key"].map(|which| sites.key(0, which));
    sites.knows(1, &format!("public_key = '{old}'\nnext_public_key = '{next}'\n"));
    sites.sites[0].kill();
    sites.sites[0].start();
    assert_eq!((sites.key(0, "public_key"), sites.key(0, "next_public_key")), (old.clone(), next));
    sites.wait_until_known(0);
    sites.sites[0].admin(&["sdwan", "rotate-key", "wan", "--abandon"]);
    assert_eq!((sites.key(0, "public_key"), sites.uplink(0)["rotation"].clone()), (old, Json::Null));
    sites.under_load(|| std::thread::sleep(Duration::from_secs(1)));
    let refused = sites.sites[0].outwork(&["sdwan", "rotate-key", "dsl", "--token", &sites.sites[0].token()]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("no uplink is called"));
}
