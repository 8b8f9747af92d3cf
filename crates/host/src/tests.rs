//! Machines in a folder, and the real kernel in a network namespace.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use outwork_config::{Sources, load};
use outwork_fastpath::machine::card;
use outwork_net::testing::Lab;

use crate::apply::{self, Done, Outcome};
use crate::before::{Before, BeforeError, FILE};
use crate::config::Host;
use crate::demand::{Asked, Demand, Tunnels, Wanting, Way};
use crate::drop_in;
use crate::limits;
use crate::machine::{Cards, Drivers, Machine};
use crate::report::{Report, Row, State};

/// What a driver remembers. It takes no ring of more than 1024 frames.
#[derive(Clone, Default)]
struct Driver(Arc<Mutex<BTreeMap<(String, card::Feature), u32>>>);

impl Cards for Driver {
    fn read(&self, interface: &str, feature: card::Feature) -> io::Result<u32> {
        let found = self.0.lock().unwrap().get(&(interface.to_owned(), feature)).copied();
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }

    fn write(&self, interface: &str, feature: card::Feature, value: u32) -> io::Result<()> {
        if feature == card::Feature::ReceiveRing && value > 1024 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.0.lock().unwrap().insert((interface.to_owned(), feature), value);
        Ok(())
    }
}

/// A machine in a folder, with a data directory beside it.
struct Made {
    folder: tempfile::TempDir,
    driver: Driver,
}

impl Made {
    fn new() -> Made {
        let made = Made { folder: tempfile::tempdir().unwrap(), driver: Driver::default() };
        fs::create_dir(made.data()).unwrap();
        for (name, value) in
            [("net/core/somaxconn", "4096"), ("net/ipv4/tcp_rmem", "4096\t131072\t6291456"), ("vm/swappiness", "60")]
        {
            made.put(&format!("proc/sys/{name}"), value);
        }
        made.put("sys/devices/system/cpu/online", "0-3");
        made
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join(path)).unwrap().trim().to_owned()
    }

    fn machine(&self) -> Machine {
        Machine::below(self.folder.path(), Box::new(self.driver.clone()))
    }

    fn apply(&self, host: &str) -> Vec<Done> {
        let (machine, mut before) = (self.machine(), Before::read(&self.data()).unwrap());
        apply::apply(&machine, &said(host, &machine), &mut before).unwrap()
    }

    fn roll_back(&self, force: bool) -> Vec<Done> {
        let mut before = Before::read(&self.data()).unwrap();
        apply::roll_back(&self.machine(), &mut before, force).unwrap()
    }
}

/// What a `[host]` section alone wants.
fn said(text: &str, machine: &Machine) -> Wanting {
    Wanting::new(&Demand::default(), &host(text), machine)
}

fn host(text: &str) -> Host {
    let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
    load::<Host>(sources).map_err(|faults| faults.render(false)).unwrap().value
}

fn outcomes(done: &[Done]) -> Vec<(&str, Outcome)> {
    done.iter().map(|one| (one.name.as_str(), one.outcome)).collect()
}

fn asked(setting: &str, amount: u64) -> Asked {
    Asked { setting: setting.to_owned(), amount, service: "web" }
}

fn row<'a>(report: &'a Report, name: &str) -> &'a Row {
    report.items.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} in {report:?}"))
}

#[test]
fn what_is_changed_can_be_put_back_and_nothing_is_left_of_it() {
    let made = Made::new();
    let wanted = "sysctl = { 'net.core.somaxconn' = 65535, 'net.ipv4.tcp_rmem' = '4096 131072 16777216' }";
    let done = made.apply(wanted);
    assert_eq!(outcomes(&done), [("net.core.somaxconn", Outcome::Changed), ("net.ipv4.tcp_rmem", Outcome::Changed)]);
    assert_eq!(made.get("proc/sys/net/core/somaxconn"), "65535");
    assert!(made.apply(wanted).is_empty(), "it is as wanted");
    let back = made.roll_back(false);
    assert_eq!(back[0].name, "net.ipv4.tcp_rmem", "the last change goes first");
    let now = ["proc/sys/net/core/somaxconn", "proc/sys/net/ipv4/tcp_rmem"].map(|path| made.get(path));
    assert_eq!(now, ["4096", "4096 131072 6291456"]);
    assert!(!made.data().join(FILE).exists());
    assert!(made.roll_back(false).is_empty());
}

#[test]
fn what_a_thing_was_before_its_first_change_is_what_it_gets_back() {
    let made = Made::new();
    made.apply("sysctl = { 'net.core.somaxconn' = 5000 }");
    made.apply("sysctl = { 'net.core.somaxconn' = 6000, 'vm.swappiness' = 1 }");
    assert_eq!(made.get("proc/sys/net/core/somaxconn"), "6000");
    made.roll_back(false);
    assert_eq!(
        (made.get("proc/sys/net/core/somaxconn"), made.get("proc/sys/vm/swappiness")),
        ("4096".into(), "60".into())
    );
}

#[test]
fn what_somebody_else_has_changed_since_stays_unless_it_is_forced() {
    let made = Made::new();
    made.apply("sysctl = { 'net.core.somaxconn' = 5000, 'vm.swappiness' = 1 }");
    made.put("proc/sys/net/core/somaxconn", "7000");
    let back = made.roll_back(false);
    assert_eq!(outcomes(&back), [("vm.swappiness", Outcome::Changed), ("net.core.somaxconn", Outcome::Left)]);
    assert!(back[1].remark.as_ref().unwrap().contains("from 5000; --force"), "{back:?}");
    assert_eq!(made.get("proc/sys/net/core/somaxconn"), "7000");
    assert_eq!(outcomes(&made.roll_back(true)), [("net.core.somaxconn", Outcome::Changed)]);
    assert_eq!(made.get("proc/sys/net/core/somaxconn"), "4096");
    assert!(!made.data().join(FILE).exists());
}

#[test]
fn what_was_put_back_by_somebody_else_is_forgotten() {
    let made = Made::new();
    made.apply("sysctl = { 'net.core.somaxconn' = 5000 }");
    made.put("proc/sys/net/core/somaxconn", "4096");
    assert!(made.roll_back(false).is_empty());
    assert!(!made.data().join(FILE).exists());
}

#[test]
fn a_rehearsal_changes_nothing_and_remembers_nothing() {
    let made = Made::new();
    let machine = made.machine();
    let told = apply::rehearse(&machine, &said("sysctl = { 'vm.swappiness' = 1 }", &machine));
    assert_eq!(outcomes(&told), [("vm.swappiness", Outcome::Planned)]);
    assert_eq!((made.get("proc/sys/vm/swappiness"), made.data().join(FILE).exists()), ("60".into(), false));
}

#[test]
fn a_rehearsal_of_putting_back_says_what_would_be_and_forgets_nothing() {
    let made = Made::new();
    made.apply(
        "sysctl = { 'net.core.somaxconn' = 5000, 'net.ipv4.tcp_rmem' = '4096 131072 16777216', 'vm.swappiness' = 1 }",
    );
    made.put("proc/sys/net/core/somaxconn", "7000");
    made.put("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456");
    let kept = fs::read(made.data().join(FILE)).unwrap();
    let told = |force| apply::rehearse_back(&made.machine(), &Before::read(&made.data()).unwrap(), force);
    let usual = told(false);
    assert_eq!(outcomes(&usual), [("vm.swappiness", Outcome::Planned), ("net.core.somaxconn", Outcome::Left)]);
    assert_eq!((usual[0].from.as_deref(), &*usual[0].to), (Some("1"), "60"));
    assert_eq!(outcomes(&told(true)), [("vm.swappiness", Outcome::Planned), ("net.core.somaxconn", Outcome::Planned)]);
    assert_eq!((made.get("proc/sys/vm/swappiness"), fs::read(made.data().join(FILE)).unwrap()), ("1".into(), kept));
    assert_eq!(
        outcomes(&made.roll_back(false)),
        [("vm.swappiness", Outcome::Changed), ("net.core.somaxconn", Outcome::Left)]
    );
}

#[test]
fn what_cannot_be_remembered_is_not_changed() {
    let made = Made::new();
    let (machine, mut before) = (made.machine(), Before::read(&made.data()).unwrap());
    fs::remove_dir(made.data()).unwrap();
    let wanting = said("sysctl = { 'vm.swappiness' = 1 }", &machine);
    assert!(matches!(apply::apply(&machine, &wanting, &mut before), Err(BeforeError::Io { .. })));
    assert_eq!(made.get("proc/sys/vm/swappiness"), "60");
}

#[test]
fn two_do_not_change_a_machine_at_once() {
    let made = Made::new();
    let first = Before::read(&made.data()).unwrap();
    assert!(matches!(Before::read(&made.data()), Err(BeforeError::Busy { .. })));
    drop(first);
    Before::read(&made.data()).unwrap();
}

#[test]
fn what_is_refused_is_named_with_what_to_do_and_the_rest_goes_on() {
    let made = Made::new();
    made.driver.0.lock().unwrap().insert(("eth0".into(), card::Feature::ReceiveRing), 256);
    let done = made.apply(
        "sysctl = { 'vm.swappiness' = 1 }\n[[interface]]\nname = 'eth0'\nrings = { receive = 4096 }\noffloads = { gro = true }\n",
    );
    let expected =
        [("eth0 rx-ring", Outcome::Failed), ("vm.swappiness", Outcome::Changed), ("eth0 gro", Outcome::Absent)];
    assert_eq!(outcomes(&done), expected);
    let why = done[0].remark.as_ref().unwrap();
    assert!(why.contains("the card cannot do so much") && why.contains("ethtool -g"), "{why}");
    let entries = Before::read(&made.data()).unwrap().entries().len();
    assert_eq!(entries, 1, "what did not change needs no remembering");
}

#[test]
fn junk_in_the_place_of_what_was_before_is_an_error_that_names_the_file() {
    let made = Made::new();
    let file = made.data().join(FILE);
    for junk in [
        "",
        "junk",
        "{}",
        r#"{"entries": [{"knob": {"kind": "sysctl", "name": "../../etc/passwd"}, "before": "1", "set": "2"}]}"#,
        r#"{"entries": [{"knob": {"kind": "link", "interface": "../x", "attribute": "mtu"}, "before": "1", "set": "2"}]}"#,
        r#"{"entries": [{"knob": {"kind": "link", "interface": "eth0", "attribute": "../x"}, "before": "1", "set": "2"}]}"#,
        r#"{"entries": [{"knob": {"kind": "huge_pages"}, "before": "1", "set": "2", "more": 1}]}"#,
    ] {
        fs::write(&file, junk).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let told = Before::read(&made.data()).unwrap_err().to_string();
        assert!(told.contains(FILE) && told.contains("help: mend it, or remove it"), "{junk}: {told}");
    }
}

#[test]
fn what_somebody_else_may_have_written_is_not_believed() {
    let made = Made::new();
    made.apply("sysctl = { 'vm.swappiness' = 1 }");
    let file = made.data().join(FILE);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(Before::read(&made.data()), Err(BeforeError::Foreign { .. })));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Before::read(&made.data()).unwrap().entries().len(), 1);
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        chown(&file, Some(12_345), None).unwrap();
        let told = Before::read(&made.data()).unwrap_err().to_string();
        assert!(told.contains("belongs to user 12345") && told.contains("chown 0 "), "{told}");
    }
    let aim = made.folder.path().join("aim");
    fs::rename(&file, &aim).unwrap();
    symlink(&aim, &file).unwrap();
    assert!(matches!(Before::read(&made.data()), Err(BeforeError::Io { .. })), "a link is not followed");
}

#[test]
fn what_services_do_well_with_is_recommended_and_what_is_larger_stays() {
    let made = Made::new();
    made.put("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432");
    made.put("proc/sys/net/ipv4/tcp_syncookies", "2");
    made.put("proc/sys/net/ipv4/tcp_congestion_control", "cubic");
    made.put("proc/sys/net/ipv4/tcp_available_congestion_control", "reno cubic");
    let demand = Demand {
        accepting: vec!["web"],
        backlogs: vec![asked("front.listener[0].backlog", 4096), asked("front.listener[1].backlog", 9000)],
        ..Demand::default()
    };
    let machine = made.machine();
    let wanting = Wanting::new(&demand, &Host::default(), &machine);
    let report = Report::look(&machine, &wanting, None);
    let state = |name: &str| row(&report, name).state;
    assert_eq!(state("net.ipv4.tcp_rmem"), State::Good, "more than wanted is good");
    assert_eq!(state("net.ipv4.tcp_syncookies"), State::Good);
    assert_eq!(state("net.netfilter.nf_conntrack_max"), State::Absent);
    let somaxconn = row(&report, "net.core.somaxconn");
    assert_eq!((somaxconn.state, somaxconn.wanted.as_str()), (State::Differs, "at least 9000"));
    assert_eq!(somaxconn.settings, ["front.listener[1].backlog"], "only the one that gets less than it asks for");
    let bbr = row(&report, "net.ipv4.tcp_congestion_control");
    assert_eq!(bbr.state, State::Absent);
    assert!(bbr.remark.as_ref().unwrap().contains("modprobe tcp_bbr"), "{bbr:?}");
    assert!(report.items.iter().all(|row| !row.name.starts_with("vm.")), "nobody waits for disks");
    let low = Wanting::new(&demand, &host("sysctl = { 'net.core.somaxconn' = 4096 }"), &machine);
    let low = Report::look(&machine, &low, None);
    let somaxconn = row(&low, "net.core.somaxconn");
    assert_eq!(somaxconn.state, State::Good, "the configuration wants it so");
    assert_eq!(somaxconn.settings, ["front.listener[1].backlog"], "and gives itself less than it asks for");
    let less = Wanting::new(&demand, &host("sysctl = { 'net.core.somaxconn' = false }"), &machine);
    assert!(Report::look(&machine, &less, None).items.iter().all(|row| row.name != "net.core.somaxconn"));
    let own = Wanting::new(&demand, &host("recommended = false\nsysctl = { 'vm.swappiness' = 1 }"), &machine);
    let own = Report::look(&machine, &own, None);
    assert_eq!((own.items.len(), own.items[0].name.as_str(), own.differs), (1, "vm.swappiness", 1));
}

#[test]
fn tunnels_want_packets_passed_on_and_heard_by_whichever_uplink_they_come() {
    let made = Made::new();
    made.put("proc/sys/net/core/rmem_max", "212992");
    made.put("proc/sys/net/core/wmem_max", "67108864");
    made.put("proc/sys/net/ipv4/ip_forward", "0");
    made.put("proc/sys/net/ipv6/conf/all/forwarding", "0");
    made.put("proc/sys/net/ipv4/conf/all/rp_filter", "1");
    for (interface, filter, routers) in [("dsl", "1", "1"), ("lte", "0", "0")] {
        made.put(&format!("proc/sys/net/ipv4/conf/{interface}/rp_filter"), filter);
        made.put(&format!("proc/sys/net/ipv6/conf/{interface}/accept_ra"), routers);
    }
    let buffer = |setting: &str, amount| Asked { setting: setting.to_owned(), amount, service: "sdwan" };
    let tunnels = Tunnels {
        service: "sdwan",
        buffers: vec![
            (Way::In, buffer("sdwan.tunnel.receive_buffer", 32 << 20)),
            (Way::Out, buffer("sdwan.tunnel.send_buffer", 4 << 20)),
        ],
        served_v4: Some("sdwan.subnets".to_owned()),
        served_v6: Some("sdwan.subnets".to_owned()),
        interfaces: ["dsl", "lte"].map(|name| name.parse().unwrap()).into(),
        crossing: Some("sdwan.uplink".to_owned()),
    };
    let demand = Demand { datagrams: vec!["sdwan"], tunnels: Some(tunnels.clone()), ..Demand::default() };
    let machine = made.machine();
    let wanting = Wanting::new(&demand, &Host::default(), &machine);
    let report = Report::look(&machine, &wanting, None);
    let row = |name: &str| row(&report, name);
    let room = row("net.core.rmem_max");
    assert_eq!((room.state, room.wanted.as_str()), (State::Differs, "at least 33554432"));
    assert!(room.why.contains("sdwan.tunnel.receive_buffer is 32MiB"), "{}", room.why);
    assert_eq!(row("net.core.wmem_max").state, State::Good);
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        assert_eq!(
            (row(name).state, row(name).settings.as_slice()),
            (State::Differs, &["sdwan.subnets".to_owned()][..]),
            "{name}"
        );
    }
    for (name, state) in [
        ("net.ipv4.conf.dsl.rp_filter", State::Differs),
        ("net.ipv4.conf.lte.rp_filter", State::Good),
        ("net.ipv6.conf.dsl.accept_ra", State::Differs),
        ("net.ipv6.conf.lte.accept_ra", State::Good),
    ] {
        assert_eq!(row(name).state, state, "{name}");
    }
    let place = |name: &str| report.items.iter().position(|row| row.name == name).unwrap();
    assert!(place("net.ipv6.conf.dsl.accept_ra") < place("net.ipv6.conf.all.forwarding"), "the way out is kept first");
    let mut before = Before::read(&made.data()).unwrap();
    apply::apply(&machine, &wanting, &mut before).unwrap();
    let [dsl, lte] = ["dsl", "lte"].map(|name| made.get(&format!("proc/sys/net/ipv4/conf/{name}/rp_filter")));
    assert_eq!((dsl.as_str(), lte.as_str()), ("2", "0"));

    let anywhere = Tunnels { interfaces: vec![], ..tunnels };
    let demand = Demand { tunnels: Some(anywhere), ..Demand::default() };
    let wanting = Wanting::new(&demand, &Host::default(), &machine);
    let report = Report::look(&machine, &wanting, None);
    assert_eq!(self::row(&report, "net.ipv4.conf.all.rp_filter").wanted, "2 in the place of 1");
}

#[test]
fn ports_that_are_listened_at_are_kept_from_connections_and_what_was_kept_stays() {
    let made = Made::new();
    let (range, reserved) = ("proc/sys/net/ipv4/ip_local_port_range", "proc/sys/net/ipv4/ip_local_reserved_ports");
    made.put(range, "32768\t60999");
    made.put(reserved, "9000,50000-50001");
    let ports = vec![(443, "web"), (27_017, "proxy"), (40_067, "admin"), (50_002, "proxy"), (62_000, "web")];
    let demand = Demand { opening: vec!["proxy"], ports, ..Demand::default() };
    let machine = made.machine();
    let wanting = Wanting::new(&demand, &Host::default(), &machine);
    let report = Report::look(&machine, &wanting, None);
    assert_eq!(row(&report, "net.ipv4.ip_local_port_range").wanted, "32768 65535, or wider");
    let kept = row(&report, "net.ipv4.ip_local_reserved_ports");
    assert_eq!(kept.wanted, "40067,50002,62000, beside what is there");
    assert_eq!((kept.state, kept.services.join(" ")), (State::Differs, "admin proxy web".to_owned()));
    let mut before = Before::read(&made.data()).unwrap();
    apply::apply(&machine, &wanting, &mut before).unwrap();
    drop(before);
    assert_eq!(
        (made.get(range).as_str(), made.get(reserved).as_str()),
        ("32768 65535", "9000,40067,50000-50002,62000")
    );
    let again = Report::look(&machine, &wanting, None);
    assert_eq!(row(&again, "net.ipv4.ip_local_reserved_ports").state, State::Good);
    made.roll_back(false);
    assert_eq!((made.get(range).as_str(), made.get(reserved).as_str()), ("32768 60999", "9000,50000-50001"));
}

#[test]
fn ports_are_kept_of_the_range_that_there_will_be_and_not_where_the_configuration_says_which() {
    let made = Made::new();
    made.put("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999");
    made.put("proc/sys/net/ipv4/ip_local_reserved_ports", "");
    let demand = Demand { ports: vec![(21_443, "web"), (40_067, "admin")], ..Demand::default() };
    let machine = made.machine();
    let kept = |text: &str| {
        let report = Report::look(&machine, &Wanting::new(&demand, &host(text), &machine), None);
        let row = report.items.into_iter().find(|row| row.name == "net.ipv4.ip_local_reserved_ports");
        row.map(|row| row.wanted)
    };
    assert_eq!(kept("").as_deref(), Some("40067, beside what is there"), "nobody opens connections: the range stays");
    let wide = "sysctl = { 'net.ipv4.ip_local_port_range' = '20000 65535' }";
    assert_eq!(kept(wide).as_deref(), Some("21443,40067, beside what is there"));
    assert_eq!(kept("sysctl = { 'net.ipv4.ip_local_port_range' = '50000 65535' }"), None, "none of them is in it");
    let own = "sysctl = { 'net.ipv4.ip_local_reserved_ports' = '5000' }";
    assert_eq!(kept(own).as_deref(), Some("5000"));
    assert_eq!(kept("sysctl = { 'net.ipv4.ip_local_reserved_ports' = false }"), None);
    assert_eq!(kept("recommended = false"), None);
}

#[test]
fn a_size_that_needs_more_than_is_recommended_says_which_setting_asks_and_why_for_half_of_it() {
    let made = Made::new();
    made.put("proc/sys/net/core/rmem_max", "212992");
    let receive_buffers =
        vec![asked("front.listener[0].receive_buffer", 64 << 10), asked("proxy.listener[0].receive_buffer", 32 << 20)];
    let demand = Demand { accepting: vec!["web"], receive_buffers, ..Demand::default() };
    let machine = made.machine();
    let report = Report::look(&machine, &Wanting::new(&demand, &Host::default(), &machine), None);
    let most = row(&report, "net.core.rmem_max");
    assert_eq!(most.wanted, "at least 33554432");
    assert!(
        most.why.contains("proxy.listener[0].receive_buffer is 64MiB, of which a socket asks for half"),
        "{most:?}"
    );
    assert_eq!(most.settings, ["proxy.listener[0].receive_buffer"]);
}

#[test]
fn an_interface_is_set_up_queue_by_queue_and_interrupt_by_interrupt() {
    let made = Made::new();
    for queue in ["rx-0", "rx-1", "tx-0"] {
        made.put(&format!("sys/class/net/eth0/queues/{queue}/rps_cpus"), "0");
        made.put(&format!("sys/class/net/eth0/queues/{queue}/rps_flow_cnt"), "0");
    }
    made.put("sys/class/net/eth0/mtu", "1500");
    made.put("sys/class/net/eth0/tx_queue_len", "1000");
    made.put("proc/sys/net/core/rps_sock_flow_entries", "0");
    for irq in ["24", "25", "26"] {
        made.put(&format!("sys/class/net/eth0/device/msi_irqs/{irq}"), "msix");
        made.put(&format!("proc/irq/{irq}/smp_affinity_list"), "0-3");
    }
    let features = [(card::Feature::Gro, 0), (card::Feature::ReceiveRing, 256), (card::Feature::Queues, 2)];
    made.driver.0.lock().unwrap().extend(features.map(|(feature, value)| (("eth0".to_owned(), feature), value)));
    let done = made.apply(
        "[[interface]]\nname = 'eth0'\ninterrupts = '2-3'\nsteering = '0-1'\nflows = 32768\nmtu = 9000\nqueues = 2\n\
         rings = { receive = 1024 }\noffloads = { gro = true }\n",
    );
    assert!(done.iter().all(|one| one.outcome == Outcome::Changed), "{done:?}");
    let irqs = ["24", "25", "26"].map(|irq| made.get(&format!("proc/irq/{irq}/smp_affinity_list")));
    assert_eq!(irqs, ["2", "3", "2"]);
    let queue = |file: &str| made.get(&format!("sys/class/net/eth0/queues/rx-1/{file}"));
    assert_eq!((queue("rps_cpus").as_str(), queue("rps_flow_cnt").as_str()), ("00000003", "16384"));
    assert_eq!(made.get("sys/class/net/eth0/queues/tx-0/rps_cpus"), "0");
    assert_eq!(
        (made.get("sys/class/net/eth0/mtu"), made.get("sys/class/net/eth0/tx_queue_len")),
        ("9000".into(), "1000".into())
    );
    assert_eq!(made.get("proc/sys/net/core/rps_sock_flow_entries"), "32768");
    let ring = made.driver.read("eth0", card::Feature::ReceiveRing).unwrap();
    assert_eq!((ring, made.driver.read("eth0", card::Feature::Gro).unwrap()), (1024, 1));
    assert!(made.roll_back(false).iter().all(|one| one.outcome == Outcome::Changed));
    assert_eq!((queue("rps_cpus").as_str(), made.get("proc/irq/24/smp_affinity_list").as_str()), ("0", "0-3"));
    assert_eq!(made.driver.read("eth0", card::Feature::Gro).unwrap(), 0);
}

#[test]
fn interrupts_without_a_list_at_the_card_are_found_by_the_name_of_the_interface() {
    let made = Made::new();
    made.put(
        "proc/interrupts",
        "            CPU0       CPU1\n 24:          1          0  IO-APIC   5-edge      ACPI:Ged\n\
          30:  5  6  PCI-MSI  eth0-rx-0\n 31:  5  6  PCI-MSI  eth0-tx-0\n 32:  5  6  PCI-MSI  eth01\n 33: 1 1 IO-APIC  usb1, eth0\n",
    );
    for irq in [24, 30, 31, 32, 33] {
        made.put(&format!("proc/irq/{irq}/smp_affinity_list"), "0-3");
    }
    let names: Vec<String> =
        made.apply("[[interface]]\nname = 'eth0'\ninterrupts = '1'").into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["interrupt 30", "interrupt 31", "interrupt 33"]);
}

#[test]
fn who_would_move_interrupts_again_is_named_and_a_processor_that_is_not_there() {
    let made = Made::new();
    made.put("sys/class/net/eth0/device/msi_irqs/24", "msix");
    made.put("proc/irq/24/smp_affinity_list", "1");
    let look = |text: &str| {
        let machine = made.machine();
        let report = Report::look(&machine, &said(text, &machine), None);
        (report.items[0].state, report.items[0].remark.clone().unwrap_or_default())
    };
    let one = "[[interface]]\nname = 'eth0'\ninterrupts = '1'";
    assert_eq!(look(one), (State::Good, String::new()));
    made.put("proc/77/comm", "irqbalance");
    let (state, remark) = look(one);
    assert!(state == State::Good && remark.contains("systemctl disable --now irqbalance"), "{remark}");
    let (state, remark) = look("[[interface]]\nname = 'eth0'\ninterrupts = '9'");
    assert!(state == State::Absent && remark.contains("no processor 9"), "{remark}");
}

#[test]
fn limits_are_those_of_the_process_that_has_the_data_directory() {
    let made = Made::new();
    let lock = made.data().join("lock");
    fs::write(&lock, "77\n").unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&lock).unwrap());
    assert_eq!(limits::server(&made.machine(), &lock), None);
    made.put(
        "proc/locks",
        &format!("1: POSIX  ADVISORY  READ 5 08:01:{inode} 0 EOF\n2: FLOCK  ADVISORY  WRITE 77 08:01:{inode} 0 EOF"),
    );
    assert_eq!(limits::server(&made.machine(), &lock), Some(77));
    let text = |files: &str| {
        format!(
            "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 {files}                files\nMax locked memory         8388608              8388608              bytes"
        )
    };
    made.put("proc/77/limits", &text("4096"));
    made.put("proc/77/status", "CapEff:\t0000000000000000");
    let demand = Demand {
        programs: true,
        descriptors: vec![asked("front.limits.max_connections", 2_000_000)],
        ..Demand::default()
    };
    let look = || {
        let machine = made.machine();
        let report = Report::look(&machine, &Wanting::new(&demand, &Host::default(), &machine), Some("77"));
        let rows: Vec<Row> = report.items.into_iter().filter(|row| row.kind == "limit").collect();
        rows
    };
    let rows = look();
    assert_eq!(
        rows.iter().map(|row| (row.name.as_str(), row.state)).collect::<Vec<_>>(),
        [("max locked memory", State::Differs), ("max open files", State::Differs),]
    );
    assert!(rows[1].remark.as_ref().unwrap().contains("LimitNOFILE=2000000"), "{rows:?}");
    assert!(rows[0].remark.as_ref().unwrap().contains("LimitMEMLOCK=infinity"), "{rows:?}");
    made.put("proc/77/limits", &text("unlimited"));
    made.put("proc/77/status", "CapEff:\t0000000000004000");
    assert!(look().iter().all(|row| row.state == State::Good));
}

#[test]
fn a_file_for_sysctl_has_the_reasons_and_lowers_nothing() {
    let made = Made::new();
    made.put("proc/sys/fs/file-max", "9223372036854775807");
    let demand = Demand { accepting: vec!["web"], ..Demand::default() };
    let machine = made.machine();
    let host = host("hugepages = 512\nsysctl = { 'net.core.somaxconn' = 5000 }\n");
    let text = drop_in::text(&drop_in::lines(&machine, &Wanting::new(&demand, &host, &machine)));
    for line in [
        "\n# files that all processes may have open\nfs.file-max = 9223372036854775807\n",
        "\n# host.sysctl\nnet.core.somaxconn = 5000\n",
        "\n-vm.nr_hugepages = 512\n",
        "\n-net.netfilter.nf_conntrack_max = 1048576\n",
        "\nnet.ipv4.tcp_rmem = 4096 131072 16777216\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn the_kernel_itself_takes_what_is_wanted_and_takes_it_back() {
    let lab = Lab::new();
    let (room, other) = (lab.namespace("host"), lab.namespace("other"));
    lab.veth((&room, "lan"), (&other, "eth0"));
    let data = tempfile::tempdir().unwrap();
    room.run(|| {
        let machine = Machine::below("/".as_ref(), Box::new(Drivers));
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap().trim().to_owned();
        let names = ["core/somaxconn", "ipv4/tcp_rmem", "ipv4/tcp_fin_timeout", "ipv4/conf/lan/forwarding"];
        let was = names.map(read);
        // Interfaces are this machine's there, and settings that this namespace has to itself.
        let text = "sysctl = { 'net.core.somaxconn' = 12345, 'net.ipv4.tcp_rmem' = '4096 131072 7340032', 'net.ipv4.tcp_fin_timeout' = 21, \
             'net.ipv4.conf.lan.forwarding' = 1, 'net.core.nothing_has_this_name' = 1, 'net.core.rmem_max' = 4242424242 }\n\
             [[interface]]\nname = 'lan'\noffloads = { gro = true, tso = false, transmit_checksums = false }\n";
        let mut before = Before::read(data.path()).unwrap();
        let done = apply::apply(&machine, &said(text, &machine), &mut before).unwrap();
        let outcome = |name: &str| done.iter().find(|one| one.name == name).unwrap().outcome;
        for name in ["net.core.somaxconn", "net.ipv4.tcp_rmem", "net.ipv4.conf.lan.forwarding", "lan gro", "lan tso"] {
            assert_eq!(outcome(name), Outcome::Changed, "{done:?}");
        }
        assert_eq!(outcome("net.core.nothing_has_this_name"), Outcome::Absent);
        assert_eq!(outcome("net.core.rmem_max"), Outcome::Failed, "it is the machine's, and more than it takes");
        assert_eq!(names.map(read), ["12345", "4096\t131072\t7340032", "21", "1"]);
        assert_eq!(card::Feature::Gro.read("lan").unwrap(), 1);
        drop(before);
        let mut before = Before::read(data.path()).unwrap();
        let back = apply::roll_back(&machine, &mut before, false).unwrap();
        assert!(back.iter().all(|one| one.outcome == Outcome::Changed), "{back:?}");
        assert_eq!(names.map(read), was);
        assert_eq!((card::Feature::Gro.read("lan").unwrap(), card::Feature::Tso.read("lan").unwrap()), (0, 1));
        assert!(!data.path().join(FILE).exists());
    });
}

#[test]
fn the_kernel_keeps_ports_from_connections_beside_those_that_it_kept() {
    let lab = Lab::new();
    let room = lab.namespace("ports");
    let data = tempfile::tempdir().unwrap();
    room.run(|| {
        let file = "/proc/sys/net/ipv4/ip_local_reserved_ports";
        let read = || fs::read_to_string(file).unwrap().trim().to_owned();
        let machine = Machine::below("/".as_ref(), Box::new(Drivers));
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n").unwrap();
        let demand = Demand { ports: vec![(40_067, "admin"), (40_068, "web")], ..Demand::default() };
        let wanting = Wanting::new(&demand, &Host::default(), &machine);
        for (was, becomes) in [("9000-9001", "9000-9001,40067-40068"), ("", "40067-40068")] {
            fs::write(file, format!("{was}\n")).unwrap();
            let mut before = Before::read(data.path()).unwrap();
            let done = apply::apply(&machine, &wanting, &mut before).unwrap();
            assert_eq!(outcomes(&done), [("net.ipv4.ip_local_reserved_ports", Outcome::Changed)]);
            assert_eq!(read(), becomes);
            let back = apply::roll_back(&machine, &mut before, false).unwrap();
            assert!(back.iter().all(|one| one.outcome == Outcome::Changed), "{back:?}");
            assert_eq!(read(), was);
        }
    });
}
