//! Trees at real interfaces, in namespaces.

use std::net::UdpSocket;

use outwork_config::{Sources, load};
use outwork_net::testing::{Lab, Namespace};

use super::*;

struct Room {
    host: Namespace,
    dir: PathBuf,
    _peer: Namespace,
    _lab: Lab,
}

impl Room {
    /// A host with a cable from its `wan` to another.
    fn new(name: &str) -> Room {
        let lab = Lab::new();
        let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
        lab.veth((&host, "wan"), (&peer, "wan"));
        for (room, last) in [(&host, 1), (&peer, 2)] {
            room.ip(&format!("addr add 192.0.2.{last}/24 dev wan"));
        }
        // Nobody asks who that is: packets leave at once, and nothing else does.
        host.ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wan");
        let dir = std::env::temp_dir().join(format!("outwork-qos-{name}-{}", std::process::id()));
        // One of a test that was killed, whose number is used again.
        drop(std::fs::remove_dir_all(&dir));
        Room { host, dir, _peer: peer, _lab: lab }
    }

    fn qos(&self) -> Qos {
        self.host.run(|| Qos::new(&self.dir)).unwrap()
    }

    fn tc(&self, words: &str) -> String {
        let output = self.host.command("tc").args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "tc {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn root(&self) -> String {
        self.tc("qdisc show dev wan root")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn settings(more: &str) -> Sdwan {
    let text = format!(
        "[qos]\nenabled = true\n{more}\n[qos.uplink.fibre]\nrate = 8_000_000\n[[uplink]]\nname = 'fibre'\ninterface = 'wan'\n"
    );
    let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
    load::<Sdwan>(sources).map_err(|faults| faults.render(false)).unwrap().value
}

#[test]
fn a_tree_comes_is_changed_shows_what_has_passed_and_goes() {
    let room = Room::new("tree");
    let before = room.root();
    let qos = room.qos();
    let marking = qos.apply(&settings("")).unwrap();
    assert!(room.root().starts_with("qdisc htb 6f57: root"), "{}", room.root());
    assert!(room.tc("class show dev wan").contains("6f57:11 parent 6f57:1"));
    let memory = Memory::read(&room.dir).unwrap();
    assert_eq!((memory.process, memory.entries.get("wan")), (std::process::id(), Some(&None)));

    let sender = room.host.run(|| UdpSocket::bind("192.0.2.1:0")).unwrap();
    let sent = |class: &str| {
        let report = qos.report().unwrap().remove(0);
        assert_eq!((report.state, report.interface.as_str(), report.rate), ("shaped", "wan", 8_000_000));
        report.classes.into_iter().find(|one| one.class == class).unwrap()
    };
    assert_eq!((sent("voice").packets, sent("voice").rate, sent("voice").ceiling), (0, 1_600_000, 8_000_000));
    let socket = outwork_net::carrier::Options::new("192.0.2.1:0".parse().unwrap());
    let carrier = room.host.run(|| outwork_net::carrier::Socket::bind(&socket)).unwrap();
    let to = "192.0.2.2:9".parse().unwrap();
    let way = outwork_net::carrier::Way { to, from: None, tos: 0, mark: marking.control };
    assert_eq!(carrier.send(&way, &[7; 50], 50).octets, 50);
    let expedited = outwork_net::carrier::Way { tos: 46 << 2, mark: 0, ..way };
    assert_eq!(carrier.send(&expedited, &[7; 50], 50).octets, 50);
    sender.send_to(&[7; 50], "192.0.2.2:9").unwrap();
    assert_eq!((sent("control").packets, sent("voice").packets), (1, 1));
    assert!(sent("bulk").packets > 0, "what nothing is said of");
    assert_eq!(sent("voice").bytes, 50 + 28 + 14);

    // What waits in a class, and what it has counted, stays when another one is changed.
    qos.apply(&settings("[qos.class.video]\nshare = 0.1")).unwrap();
    assert_eq!((sent("video").rate, sent("voice").packets), (800_000, 1));
    let undone = qos.roll_back().unwrap();
    assert_eq!((undone.len(), undone[0].outcome), (1, "removed"));
    assert_eq!((room.root(), qos.report().unwrap()[0].state), (before.clone(), "rolled-back"));
    qos.apply_again().unwrap();
    assert_eq!(sent("video").rate, 800_000);
    room.tc("qdisc del dev wan root");
    assert_eq!(qos.report().unwrap()[0].state, "missing");
    qos.apply_again().unwrap();
    drop(qos);
    assert_eq!(room.root(), before);
    assert!(Memory::read(&room.dir).unwrap().entries.is_empty());
}

#[test]
fn who_starts_after_a_crash_goes_on_and_takes_away_what_is_not_wanted_any_longer() {
    let room = Room::new("crash");
    let before = room.root();
    let crashed = room.qos();
    crashed.apply(&settings("")).unwrap();
    // As another process would have left it.
    std::mem::forget(crashed);
    let text = std::fs::read_to_string(room.dir.join("qos")).unwrap();
    std::fs::write(room.dir.join("qos"), text.replace(&std::process::id().to_string(), "1")).unwrap();
    let classes = room.tc("class show dev wan");
    let next = room.qos();
    next.apply(&settings("")).unwrap();
    assert_eq!(room.tc("class show dev wan"), classes, "it goes on");
    next.apply(&Sdwan::default()).unwrap();
    assert_eq!(room.root(), before);

    next.apply(&settings("")).unwrap();
    let text = std::fs::read_to_string(room.dir.join("qos")).unwrap();
    std::fs::write(room.dir.join("qos"), text.replace(&std::process::id().to_string(), "1")).unwrap();
    drop(next);
    assert!(room.root().contains("6f57:"), "another process goes on with it");
    let undone = room.host.run(|| roll_back(&room.dir)).unwrap();
    assert_eq!((undone[0].interface.as_str(), undone[0].outcome, room.root()), ("wan", "removed", before));
    assert_eq!(room.host.run(|| roll_back(&room.dir)).unwrap(), []);
}

#[test]
fn what_others_have_put_there_stays_unless_it_may_be_replaced_and_then_it_comes_back() {
    let room = Room::new("foreign");
    room.tc("qdisc add dev wan root handle 9: bfifo limit 44444");
    let before = room.root();
    let qos = room.qos();
    let told = qos.apply(&settings("")).unwrap_err().to_string();
    assert!(told.contains("wan has a queueing discipline that is not ours, bfifo 9:0"), "{told}");
    assert!(told.contains("tc qdisc del dev wan root") && told.contains("foreign = \"replace\""), "{told}");
    assert_eq!((room.root(), room.dir.exists()), (before.clone(), false));
    qos.apply(&settings("foreign = 'replace'")).unwrap();
    assert!(room.root().contains("htb 6f57:"));
    let undone = qos.roll_back().unwrap();
    assert_eq!((undone[0].outcome, room.root()), ("restored", before));

    room.tc("qdisc replace dev wan root handle 5: htb default 1");
    let told = qos.apply(&settings("foreign = 'replace'")).unwrap_err().to_string();
    assert!(told.contains("does not hold for htb") && !told.contains("or have it replaced"), "{told}");
    assert!(room.root().contains("htb 5:"));
}

#[test]
fn an_interface_that_is_made_anew_is_shaped_again_and_one_that_has_gone_is_forgotten() {
    let room = Room::new("gone");
    let qos = room.qos();
    qos.apply(&settings("")).unwrap();
    room.host.ip("link del wan");
    qos.apply(&settings("[qos.class.voice]\nshare = 0.1")).unwrap();
    assert_eq!(qos.report().unwrap()[0].state, "absent");
    qos.plant_again().unwrap();
    room.host.ip("link add wan type veth peer name other");
    assert_eq!(qos.report().unwrap()[0].state, "missing");
    qos.plant_again().unwrap();
    assert!(qos.report().unwrap()[0].state == "shaped" && room.root().contains("htb 6f57:"));
    qos.roll_back().unwrap();
    qos.plant_again().unwrap();
    assert_eq!(qos.report().unwrap()[0].state, "rolled-back", "that was taken back by hand");
    qos.apply_again().unwrap();
    room.host.ip("link del wan");
    assert_eq!(qos.roll_back().unwrap()[0].outcome, "gone");
    assert!(!room.dir.join("qos").exists());
}
