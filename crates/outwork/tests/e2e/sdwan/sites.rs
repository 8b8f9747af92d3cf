//! Two sites over two uplinks each.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use super::super::site::Site;
use super::super::{PATIENCE, wait_for};
use super::peer::Keys;

/// Two sites, and two cables between them: `one` and `two`.
pub(super) struct Sites {
    pub sites: [Site; 2],
}

pub(super) const CABLES: [&str; 2] = ["one", "two"];

/// The address of a site at a cable.
pub(super) fn outer(site: usize, cable: usize) -> String {
    format!("192.0.{}.{}", 2 + cable, site + 1)
}

/// The address of a site within the tunnels, in its own network.
pub(super) fn inner(site: usize) -> String {
    format!("10.{}.0.1", 100 + site)
}

impl Sites {
    /// Both, started. Uplinks are bound to their cables.
    fn new() -> Sites {
        Sites::with("", "")
    }

    /// The same, with more of what is said of health, and more sections of the first of them.
    pub(super) fn with(health: &str, more: &str) -> Sites {
        Sites::amended(health, more, |_, text| text)
    }

    /// The same, where `amend` says what else is said of a site.
    pub(super) fn amended(health: &str, more: &str, amend: impl Fn(usize, String) -> String) -> Sites {
        let mut sites = [Site::new(""), Site::new("")];
        let keys = [[Keys::new(), Keys::new()], [Keys::new(), Keys::new()]];
        for (cable, name) in CABLES.iter().enumerate() {
            let [a, b] = &sites;
            a.lab.veth((&a.server, name), (&b.server, name));
            for (number, site) in sites.iter().enumerate() {
                site.server.ip(&format!("addr add {}/24 dev {name}", outer(number, cable)));
            }
        }
        for (number, site) in sites.iter_mut().enumerate() {
            let more = if number == 0 { more } else { "" };
            let section = section(number, &keys).replace("[sdwan.health]", &format!("[sdwan.health]\n{health}"));
            site.configure(&amend(number, format!("{section}{more}")));
            site.start();
        }
        Sites { sites }
    }

    /// The paths of a site.
    pub(super) fn paths(&self, site: usize) -> Vec<Json> {
        self.sites[site].json(&["paths"])["paths"].as_array().unwrap().clone()
    }

    pub(super) fn told(&self) -> String {
        let site = |number: usize| format!("{:#}\n{}", self.sites[number].json(&["paths"]), self.sites[number].log());
        format!("{}\n{}", site(0), site(1))
    }

    /// Waits until the path by each cable is up, at both sites. (Those from one cable to the other lead nowhere.)
    pub(super) fn wait_until_all_are_up(&self) {
        for site in 0..2 {
            wait_for(
                "all paths to be up",
                || self.told(),
                || {
                    let paths = self.paths(site);
                    (paths.iter().filter(|path| path["state"] == "up").count() == CABLES.len()).then_some(())
                },
            );
        }
    }

    /// The uplink that new flows of a site take.
    fn taken(&self, site: usize) -> Option<String> {
        let taken = self.paths(site).into_iter().find(|path| path["chosen"] == true)?;
        taken["uplink"].as_str().map(str::to_owned)
    }
}

fn section(site: usize, keys: &[[Keys; 2]; 2]) -> String {
    let other = 1 - site;
    let uplink = |cable: usize| {
        format!(
            "[[sdwan.uplink]]\nname = '{name}'\ninterface = '{name}'\nlisten = ['0.0.0.0:{port}']\nprivate_key = '{key}'\nendpoint = '{at}:{port}'\n",
            name = CABLES[cable],
            port = 51820 + cable,
            key = keys[site][cable].private,
            at = outer(site, cable),
        )
    };
    let far = |cable: usize| {
        format!(
            "[[sdwan.site.uplink]]\nname = '{}'\npublic_key = '{}'\nendpoint = '{}:{}'\n",
            CABLES[cable],
            keys[other][cable].public,
            outer(other, cable),
            51820 + cable,
        )
    };
    format!(
        "[sdwan]\nsubnets = ['10.{own}.0.0/16']\n[sdwan.tunnel]\naddresses = ['{address}/16']\nworkers = 1\n\
         [sdwan.health]\ntrial = '100ms'\ninterval = '200ms'\n{}{}\
         [[sdwan.site]]\nname = 'far'\nsubnets = ['10.{theirs}.0.0/16']\n{}{}",
        uplink(0),
        uplink(1),
        far(0),
        far(1),
        own = 100 + site,
        theirs = 100 + other,
        address = inner(site),
    )
}

#[test]
fn a_connection_lives_through_a_pulled_cable_and_its_path_is_named_in_the_events() {
    let sites = Sites::new();
    sites.wait_until_all_are_up();
    let [here, there] = [&sites.sites[0].server, &sites.sites[1].server];
    let listener = there.run(|| TcpListener::bind((inner(1), 7000))).unwrap();
    let (done, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut octets = [0; 8];
            while stream.read_exact(&mut octets).is_ok() {
                stream.write_all(&octets).unwrap();
            }
        });
        scope.spawn(|| {
            let mut stream = here.run(|| TcpStream::connect((inner(1), 7000))).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut number = 0_u64;
            while !done.load(Ordering::SeqCst) {
                number += 1;
                stream.write_all(&number.to_be_bytes()).unwrap();
                let mut back = [0; 8];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(u64::from_be_bytes(back), number, "each octet comes once, and in order");
                count.store(number, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let goes_on = |what: &str| {
            let before = count.load(Ordering::SeqCst);
            wait_for(what, || sites.told(), || (count.load(Ordering::SeqCst) > before + 50).then_some(()));
        };
        goes_on("the first octets");
        let first = sites.taken(0).unwrap();
        let second = CABLES.iter().find(|cable| **cable != first).unwrap();
        here.ip(&format!("link set {first} down"));
        goes_on("octets by the other cable");
        wait_for(
            "traffic to be on the other cable",
            || sites.told(),
            || (sites.taken(0).as_deref() == Some(*second) && sites.taken(1).as_deref() == Some(*second)).then_some(()),
        );
        let events = sites.sites[0].json(&["paths"])["events"].clone();
        let of = |kind: &str, to: &str| {
            let events = events.as_array().unwrap().iter();
            events.filter(|event| event["kind"] == kind && event["to"].as_str().unwrap().contains(to)).count()
        };
        assert!(of("path", "down") > 0 && of("switch", second) > 0, "{events:#}");
        here.ip(&format!("link set {first} up"));
        goes_on("octets after the cable is back");
        sites.wait_until_all_are_up();
        here.ip(&format!("link set {second} down"));
        goes_on("octets by the first cable");
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn who_sends_more_than_paths_take_is_told_so_at_the_site_and_at_a_machine_behind_it() {
    let sites = Sites::new();
    sites.wait_until_all_are_up();
    let site = &sites.sites[0];
    let behind = site.lab.namespace("behind");
    site.lab.veth((&site.server, "inside"), (&behind, "eth0"));
    site.server.ip("addr add 10.100.7.1/24 dev inside");
    behind.ip("addr add 10.100.7.2/24 dev eth0");
    behind.ip("route add default via 10.100.7.1");
    site.server.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
    for site in &sites.sites {
        CABLES.iter().for_each(|cable| site.server.ip(&format!("link set {cable} mtu 1380")));
    }
    // Of 1380 octets IP, UDP and WireGuard take 60.
    for room in [&site.server, &behind] {
        let socket = room.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        wait_for(
            "the kernel to know how long packets may be",
            || sites.told(),
            || {
                // "Don't fragment" is what Linux sends of itself. What it has learnt by then it may say as an error.
                let _ = socket.send_to(&[7; 1350], (inner(1), 9));
                let output = room.command("ip").args(["route", "get", &inner(1)]).output().unwrap();
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                let mtu = told.split_whitespace().skip_while(|word| *word != "mtu").nth(1)?.parse::<u32>().ok()?;
                (1280..=1320).contains(&mtu).then_some(())
            },
        );
    }
}

#[test]
fn a_path_that_swallows_everything_is_left_though_its_cable_is_in() {
    let sites = Sites::new();
    sites.wait_until_all_are_up();
    let [here, there] = [&sites.sites[0].server, &sites.sites[1].server];
    let listener = there.run(|| TcpListener::bind((inner(1), 7000))).unwrap();
    let mut client = here.run(|| TcpStream::connect((inner(1), 7000))).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut say = |what: u8| {
        client.write_all(&[what]).unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut heard = [0];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [what]);
    };
    say(1);
    let first = sites.taken(0).unwrap();
    let port = 51820 + CABLES.iter().position(|cable| *cable == first).unwrap();
    // One way only: nothing of that path comes in here any more.
    let rules =
        format!("table inet hole {{ chain in {{ type filter hook input priority 0; udp dport {port} drop; }}; }}");
    assert!(here.command("nft").arg(rules).status().unwrap().success());
    wait_for(
        "both to leave the path",
        || sites.told(),
        || {
            say(2);
            let left = |site| sites.taken(site).is_some_and(|taken| taken != first);
            (left(0) && left(1)).then_some(())
        },
    );
    say(3);
}

#[test]
fn each_path_has_figures_of_its_own_in_metrics() {
    let sites = Sites::new();
    sites.wait_until_all_are_up();
    let told = sites.sites[0].get("/metrics").unwrap();
    let has = |path: &Json, metric: &str| {
        let [site, uplink, remote] =
            ["site", "uplink", "remote_uplink"].map(|name| path[name].as_str().unwrap().to_owned());
        let labels = format!("site=\"{site}\",uplink=\"{uplink}\",remote=\"{remote}\"");
        told.contains(&format!("outwork_sdwan_path_{metric}{{{labels}}} "))
    };
    for path in sites.paths(0) {
        assert!(has(&path, "up"), "{path}\n{told}");
        for metric in ["latency_seconds", "jitter_seconds", "loss_ratio"] {
            assert_eq!(has(&path, metric), path["state"] == "up", "{metric} of {path}\n{told}");
        }
    }
    let up = format!("outwork_sdwan_paths{{state=\"up\"}} {}", CABLES.len());
    assert!(told.contains(&up), "{up}\n{told}");
}
