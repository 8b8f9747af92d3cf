//! Network namespaces of a test, which go with it.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces of one test.
pub(crate) struct Lab {
    name: String,
    rooms: Vec<String>,
}

impl Lab {
    /// A lab with these rooms, each a namespace in which packets are forwarded.
    pub(crate) fn new(rooms: &[&str]) -> Lab {
        static LABS: AtomicU32 = AtomicU32::new(0);
        sweep();
        let name = format!("owfast-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { rooms: rooms.iter().map(|room| format!("{name}-{room}")).collect(), name };
        for room in &lab.rooms {
            run("ip", &["netns", "add", room]);
        }
        for room in rooms {
            lab.ip(room, "link set lo up");
            for setting in [
                "ipv4.ip_forward=1",
                "ipv6.conf.all.forwarding=1",
                "ipv6.conf.all.accept_dad=0",
                "ipv6.conf.default.accept_dad=0",
                "ipv4.conf.all.rp_filter=0",
                "ipv4.conf.default.rp_filter=0",
            ] {
                lab.set(room, setting);
            }
        }
        lab
    }

    /// The name of a room.
    pub(crate) fn room(&self, room: &str) -> String {
        format!("{}-{room}", self.name)
    }

    /// Joins two rooms by a cable.
    pub(crate) fn cable(&self, (left, left_end): (&str, &str), (right, right_end): (&str, &str)) {
        let (left_room, right_room) = (self.room(left), self.room(right));
        let words = [
            "link",
            "add",
            left_end,
            "netns",
            &left_room,
            "type",
            "veth",
            "peer",
            "name",
            right_end,
            "netns",
            &right_room,
        ];
        run("ip", &words);
        self.ip(left, &format!("link set {left_end} up"));
        self.ip(right, &format!("link set {right_end} up"));
    }

    /// `ip` in a room.
    pub(crate) fn ip(&self, room: &str, words: &str) {
        let room = self.room(room);
        let words: Vec<&str> = ["-n", &room].into_iter().chain(words.split_whitespace()).collect();
        run("ip", &words);
    }

    /// A setting of the kernel, as `net.` goes on: `ipv4.ip_forward=1`.
    pub(crate) fn set(&self, room: &str, setting: &str) {
        let (name, value) = setting.split_once('=').unwrap();
        let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
        self.within(room, || std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Runs `work` in a room, on a thread of its own.
    pub(crate) fn within<T: Send>(&self, room: &str, work: impl FnOnce() -> T + Send) -> T {
        let room = File::open(format!("/run/netns/{}", self.room(room))).unwrap();
        let run = || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&room), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
    }

    /// The index of an interface.
    pub(crate) fn index(&self, room: &str, interface: &str) -> u32 {
        self.within(room, || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            rustix::net::netdevice::name_to_index(&socket, interface).unwrap()
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for room in &self.rooms {
            let _ = Command::new("ip").args(["netns", "del", room]).status();
        }
    }
}

pub(crate) fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{program} {}` failed: {complaint}", words.join(" "));
}

/// Removes what test processes have left that were killed.
fn sweep() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let rooms = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        for room in rooms.filter_map(|entry| entry.file_name().into_string().ok()) {
            let owner = room.strip_prefix("owfast-").and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|owner| !std::path::Path::new("/proc").join(owner).exists()) {
                let _ = Command::new("ip").args(["netns", "del", &room]).status();
            }
        }
    });
}
