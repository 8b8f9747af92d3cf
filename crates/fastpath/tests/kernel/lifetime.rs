//! Programs and tables come, stay and go: attached as asked or else by the next best way, replaced between two packets, left by a process that dies and taken
//! over by the next.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use outwork_balance::Pool;
use outwork_fastpath::kernel::attach::{Families, concerns};
use outwork_fastpath::kernel::{AttachError, OpenError, missing_file_system, probe};
use outwork_fastpath::layout::LAYOUT;
use outwork_fastpath::{
    ControlPlane as _, Fastpath, Found, Mode, Protocol, ServiceSettings, Settings, Sink as _, Sizes, Tier, Vip,
};

use crate::lab::Lab;
use crate::site::{
    FAMILIES, Family, FileSystem, Site, ask, attended, exchange, pool_settings, serve, serve_all, settings, wait,
};

const NATIVE: Tier = Tier::Xdp(Mode::Native);
const INTERFACES: [&str; 4] = ["c0", "b1", "b2", "b3"];

/// Where tables of this version lie.
fn own_place(files: &FileSystem) -> std::path::PathBuf {
    files.path().join(format!("v{LAYOUT}"))
}

/// Takes over what lies in the directory.
fn take_over(site: &Site, tier: Tier, directory: &Path) -> (Fastpath, Found) {
    site.lab.within("balancer", || {
        let (mut fastpath, found) = Fastpath::open(settings(), Some(directory)).unwrap();
        for interface in INTERFACES {
            let attached = fastpath.attach(interface, tier).unwrap();
            assert_eq!((attached.got, attached.replaced, attached.stays), (tier, true, true), "{attached:?}");
        }
        (fastpath, found)
    })
}

/// What the kernel says of the interfaces in the balancer's room.
fn programs(site: &Site) -> String {
    site.lab.within("balancer", || {
        let output = Command::new("ip").args(["link", "show"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
}

/// The kernel takes programs off a moment after the last file that holds them is gone.
fn no_program_is_left(site: &Site) {
    wait("programs to go", || (!programs(site).contains("xdp")).then_some(()));
}

#[test]
fn a_program_is_replaced_under_traffic_and_no_datagram_is_lost() {
    for tier in [NATIVE, Tier::Tc] {
        let (site, files) = (Site::new(tier), FileSystem::new());
        let mut fastpath = site.open(tier, Some(files.path()));
        serve_all(&mut fastpath, ServiceSettings::default());
        let mut connections: Vec<(TcpStream, usize)> = (0..12).map(|_| site.connect(Family::V4)).collect();
        let socket = site.socket(Family::V4);
        attended(&site, &fastpath, || ask(&socket, b"who?"));
        // What was asked twice is answered twice.
        while socket.recv(&mut [0; 100]).is_ok() {}
        let (done, sent, lost) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                    socket.send(&number).unwrap();
                    let mut answer = [0; 100];
                    match socket.recv(&mut answer) {
                        Ok(length) => assert_eq!(&answer[1..length], number),
                        Err(_) => drop(lost.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            });
            for _ in 0..5 {
                let (next, found) = take_over(&site, tier, files.path());
                assert_eq!(found, Found::Left { services: 4 });
                std::mem::replace(&mut fastpath, next).leave();
                let before = sent.load(Ordering::Relaxed);
                while sent.load(Ordering::Relaxed) < before + 20 && lost.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(lost.into_inner(), 0, "of {} datagrams", sent.into_inner());
        connections.iter_mut().for_each(|(stream, _)| exchange(stream, 10_000));
    }
}

#[test]
fn an_interface_changes_the_way_it_is_held_and_flows_go_on() {
    let (site, files) = (Site::new(NATIVE), FileSystem::new());
    for directory in [None, Some(files.path())] {
        let mut fastpath = site.open(Tier::Tc, directory);
        serve_all(&mut fastpath, ServiceSettings::default());
        let (mut stream, _) = site.connect(Family::V4);
        // The last is none that can be had: what is there already is taken once more.
        let hardware = Tier::Xdp(Mode::Hardware);
        for (asked, fallbacks, got) in
            [(NATIVE, &[][..], NATIVE), (Tier::Tc, &[], Tier::Tc), (hardware, &[Tier::Tc], Tier::Tc)]
        {
            site.lab.within("balancer", || {
                for interface in INTERFACES {
                    let attached = fastpath.attach_anew(interface, asked, fallbacks).unwrap();
                    assert_eq!((attached.got, attached.stays), (got, directory.is_some()), "{attached:?}");
                }
            });
            assert_eq!(fastpath.attached().count(), INTERFACES.len());
            exchange(&mut stream, 10_000);
        }
        drop(fastpath);
    }
}

/// The variable by which the process that is to die is told where.
const DIES_IN: &str = "OUTWORK_TEST_DIES_IN";

#[test]
fn a_process_that_is_killed_leaves_flows_that_go_on_and_the_next_takes_them_over() {
    if let Some(told) = std::env::var_os(DIES_IN) {
        return die_in(told.to_str().unwrap());
    }
    for tier in [NATIVE, Tier::Xdp(Mode::Skb), Tier::Tc] {
        let (site, files) = (Site::new(tier), FileSystem::new());
        let mut child = Command::new("ip")
            .args(["netns", "exec", &site.lab.room("balancer")])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lifetime::a_process_that_is_killed_leaves_flows_that_go_on_and_the_next_takes_them_over",
                "--nocapture",
            ])
            .env(DIES_IN, format!("{tier} {}", files.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line.contains("ready to die"));
        assert!(ready, "the process ended too early");
        let mut connections: Vec<(TcpStream, usize)> = (0..12).map(|_| site.connect(Family::V4)).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        connections.iter_mut().for_each(|(stream, _)| exchange(stream, 10_000));
        connections.extend((0..12).map(|_| site.connect(Family::V4)));
        let (mut fastpath, found) = take_over(&site, tier, files.path());
        assert_eq!(found, Found::Left { services: 4 });
        serve_all(&mut fastpath, ServiceSettings::default());
        let before = fastpath.flows(usize::MAX, Fastpath::kernel_time()).unwrap().len();
        assert!(before >= 24, "{before}");
        // One of three backends goes: the connections that it has stay all the same.
        let two = Pool::new(pool_settings(Family::V4, &[0, 1, 2])).unwrap();
        let two = two.rebuild(pool_settings(Family::V4, &[0, 1]), Fastpath::kernel_time()).unwrap();
        serve(&mut fastpath, Family::V4, Protocol::Tcp, ServiceSettings::default(), &two);
        connections.iter_mut().for_each(|(stream, _)| exchange(stream, 10_000));
        // A service that is no longer wanted goes with its flows.
        fastpath.retain(|vip| vip.protocol() == Protocol::Tcp as u8).unwrap();
        assert_eq!(fastpath.statistics().unwrap().len(), 2);
        drop(fastpath);
        no_program_is_left(&site);
        assert!(!own_place(&files).exists(), "nothing is left");
    }
}

fn die_in(told: &str) {
    let (tier, directory) = told.split_once(' ').unwrap();
    let tiers = [NATIVE, Tier::Xdp(Mode::Skb), Tier::Tc];
    let tier = tiers.into_iter().find(|one| one.to_string() == tier).unwrap();
    let (mut fastpath, _) = Fastpath::open(settings(), Some(Path::new(directory))).unwrap();
    for interface in INTERFACES {
        fastpath.attach(interface, tier).unwrap();
    }
    serve_all(&mut fastpath, ServiceSettings::default());
    println!("ready to die");
    loop {
        std::thread::park();
    }
}

#[test]
fn tables_of_another_size_or_layout_make_way_and_the_reason_is_said() {
    let (site, files) = (Site::new(NATIVE), FileSystem::new());
    let fastpath = site.open(NATIVE, Some(files.path()));
    fastpath.leave();
    assert!(programs(&site).contains("xdp"));
    let larger = Settings { sizes: Sizes { flows: 8192, ..settings().sizes }, ..settings() };
    let (fastpath, found) = Fastpath::open(larger, Some(files.path())).unwrap();
    let Found::Replaced { why } = found else { panic!("{found:?}") };
    assert_eq!(why, "map `flows` has room for 9472, and 17920 is asked for");
    no_program_is_left(&site);
    fastpath.leave();
    std::fs::rename(own_place(&files), files.path().join("v0")).unwrap();
    let (_, found) = Fastpath::open(settings(), Some(files.path())).unwrap();
    let Found::Replaced { why } = found else { panic!("{found:?}") };
    assert_eq!(why, format!("it is of layout 0, and this version has layout {LAYOUT}"));
    assert!(!files.path().join("v0").exists());
}

#[test]
fn a_probe_finds_that_programs_can_be_had_where_they_can() {
    probe().unwrap();
}

#[test]
fn a_directory_that_is_no_bpf_file_system_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("pins");
    let error = Fastpath::open(settings(), Some(&below)).unwrap_err();
    let what = format!("mount -t bpf -o mode=0700 bpf {}", below.display());
    assert!(matches!(error, OpenError::NotBpf { .. }) && error.to_string().contains(&what), "{error}");
    assert!(!below.exists(), "nothing is made in vain");
    let files = FileSystem::new();
    assert_eq!(missing_file_system(&files.path().join("a/b")), None, "it need not be there yet");
}

#[test]
fn directories_of_others_and_links_are_refused_and_nothing_behind_them_is_removed() {
    let (files, behind) = (FileSystem::new(), tempfile::tempdir().unwrap());
    let victim = behind.path().join("victim");
    std::fs::write(&victim, "of somebody else").unwrap();
    let directory = files.path().join("pins");
    let refused = |what: &str, path: &Path| {
        let error = Fastpath::open(settings(), Some(&directory)).unwrap_err();
        assert!(matches!(&error, OpenError::Directory { path: told, .. } if told == path), "{what}: {error}");
        let told = error.to_string();
        assert!(told.contains(what) && told.contains("install -d -m 0700"), "{what}: {told}");
        assert!(victim.exists(), "{what}");
    };
    symlink(behind.path(), &directory).unwrap();
    refused("links are not followed", &directory);
    std::fs::remove_file(&directory).unwrap();
    // Another layout's, and this one's.
    for name in ["v0".to_owned(), format!("v{LAYOUT}")] {
        std::fs::create_dir(&directory).unwrap();
        let inner = directory.join(name);
        symlink(behind.path(), &inner).unwrap();
        refused("links are not followed", &inner);
        chown(&directory, Some(65534), None).unwrap();
        refused("it is user 65534's", &directory);
        chown(&directory, Some(0), None).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o770)).unwrap();
        refused("others may write there (its mode is 0770)", &directory);
        std::fs::remove_file(&inner).unwrap();
        std::fs::remove_dir(&directory).unwrap();
    }
    // A link in what is ours is removed, and not what it leads to.
    let (fastpath, _) = Fastpath::open(settings(), Some(&directory)).unwrap();
    symlink(behind.path(), directory.join(format!("v{LAYOUT}/held/link"))).unwrap();
    drop(fastpath);
    assert!(victim.exists() && std::fs::read_dir(&directory).unwrap().next().is_none());
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn an_interface_that_has_another_program_of_xdp_says_so() {
    let lab = Lab::new(&["here", "there"]);
    lab.cable(("here", "h0"), ("there", "t0"));
    lab.within("here", || {
        let [mut first, mut second] = [(); 2].map(|()| Fastpath::open(settings(), None).unwrap().0);
        assert_eq!(first.attach("h0", NATIVE).unwrap().got, NATIVE);
        let attached = second.attach("h0", NATIVE).unwrap();
        assert!(
            attached.got == Tier::Tc && attached.tried[0].1.contains("another program of XDP is there"),
            "{attached:?}"
        );
    });
}

#[test]
fn what_cannot_be_attached_as_asked_is_by_the_next_best_way_with_the_reason() {
    let lab = Lab::new(&["here", "there"]);
    lab.cable(("here", "h0"), ("there", "t0"));
    lab.within("here", || {
        let (mut fastpath, _) = Fastpath::open(settings(), None).unwrap();
        let attached = fastpath.attach("h0", Tier::Xdp(Mode::Hardware)).unwrap();
        assert_eq!((attached.got, attached.tried.len(), attached.stays), (NATIVE, 1, false), "{attached:?}");
        assert!(attached.tried[0].1.contains("os error"), "{attached:?}");
        assert_eq!(fastpath.attach("h0", NATIVE).unwrap_err(), AttachError::Twice("h0".to_owned()));
        assert!(fastpath.detach("h0") && !fastpath.detach("h0"));
        // Longer packets than a page has room for: the driver takes no program that does not know of parts.
        lab.ip("there", "link set t0 mtu 9000");
        std::fs::write("/proc/sys/net/ipv4/conf/h0/forwarding", "0").unwrap();
        let attached = fastpath.attach("h0", NATIVE).unwrap();
        assert_eq!(attached.got, Tier::Xdp(Mode::Skb), "{attached:?}");
        let said = concerns(Path::new("/proc"), "h0", Families { v4: true, v6: true });
        assert!(said.len() == 1 && said[0].contains("`net.ipv4.conf.h0.forwarding` is 0"), "{said:?}");
        assert_eq!(fastpath.attach("nowhere", NATIVE).unwrap_err(), AttachError::Unknown("nowhere".to_owned()));
    });
}

#[test]
fn a_sweep_takes_out_flows_of_backends_that_are_gone_and_counts_the_others() {
    let site = Site::new(NATIVE);
    let mut fastpath = site.open(NATIVE, None);
    serve_all(&mut fastpath, ServiceSettings::default());
    let connections: Vec<(TcpStream, usize)> = (0..24).map(|_| site.connect(Family::V4)).collect();
    attended(&site, &fastpath, || FAMILIES.map(|family| ask(&site.socket(family), b"who?")));
    let now = Fastpath::kernel_time();
    let swept = fastpath.sweep(now).unwrap();
    assert_eq!((swept.flows, swept.removed, swept.whole), (26, 0, true));
    // A new pool knows nobody that would drain.
    let pool = Pool::new(pool_settings(Family::V4, &[0, 1])).unwrap();
    serve(&mut fastpath, Family::V4, Protocol::Tcp, ServiceSettings::default(), &pool);
    let gone = connections.iter().filter(|(_, who)| *who == 2).count() as u64;
    let swept = fastpath.sweep(now).unwrap();
    assert_eq!((swept.flows, swept.removed), (26 - gone, 2 * gone));
    let later = now + std::time::Duration::from_secs(7200);
    let swept = fastpath.sweep(later).unwrap();
    assert_eq!((swept.flows, swept.removed), (0, 2 * (26 - gone)));
    fastpath.withdraw(&Vip::new(Family::V4.vip(), Protocol::Tcp)).unwrap();
    assert_eq!(fastpath.statistics().unwrap().len(), 3);
}
