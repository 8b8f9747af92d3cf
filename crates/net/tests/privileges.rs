//! Root becomes an ordinary user that can still open packet sockets, and nothing else of root's.
//! Without a harness: only the first thread of a process may drop its privileges.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use outwork_net::bpf::Capture;
use outwork_net::privileges::{Capability, PrivilegeError, drop_to, pass_on};
use outwork_net::{PacketSocket, interfaces};

fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim().to_owned()
}

fn main() {
    assert!(matches!(drop_to("no-such-user", &[]), Err(PrivilegeError::NoUser(_))));
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    assert!(matches!(drop_to("nobody", &[]), Err(PrivilegeError::Threads(2))));
    drop(stop);
    let _ = other.join();
    while std::fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        std::thread::yield_now();
    }

    drop_to("nobody", &[Capability::NetRaw, Capability::NetBindService]).unwrap();
    assert!(status("Uid:").split_whitespace().all(|id| id == "65534"), "{}", status("Uid:"));
    assert!(status("Gid:").split_whitespace().all(|id| id == "65534"), "{}", status("Gid:"));
    assert_eq!(status("Groups:"), "65534");
    assert_eq!((status("CapEff:"), status("CapPrm:")), ("0000000000002400".to_owned(), "0000000000002400".to_owned()));
    assert_eq!(status("NoNewPrivs:"), "1");
    let loopback = interfaces().unwrap().into_iter().find(|interface| interface.loopback).unwrap();
    PacketSocket::open(&loopback, Capture::Arp, 0).unwrap();
    assert!(std::fs::read("/etc/shadow").is_err());
    assert!(drop_to("root", &[]).is_err(), "there is no way back");
    let of_a_child = || {
        let child = std::process::Command::new("grep").args(["CapEff", "/proc/self/status"]).output().unwrap();
        String::from_utf8(child.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(of_a_child(), "CapEff:\t0000000000000000");
    assert_eq!(pass_on(|| Ok(of_a_child())).unwrap(), "CapEff:\t0000000000002400");
    assert_eq!(of_a_child(), "CapEff:\t0000000000000000", "only what is started there has them");
    drop_to("nobody", &[Capability::NetRaw, Capability::NetAdmin]).unwrap();
    assert_eq!(status("CapEff:"), "0000000000002000", "who is that user already lets go of the others");
    println!("root became an ordinary user that keeps two capabilities ... ok");
}
