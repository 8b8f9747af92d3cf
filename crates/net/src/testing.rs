//! Network namespaces for tests, made with `ip` of iproute2, and waiting. They need root, and whatever fails panics: a test that cannot run fails.
#![allow(clippy::panic, clippy::expect_used)]

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Of the time between two looks so much counts, at most.
const LOOK: Duration = Duration::from_secs(1);

/// How long a test waits for what nobody tells it. A machine may stand still for tens of seconds, as a virtual one that is paused: of each of those no more than a second counts, so that
/// nothing fails that was hardly looked at.
#[derive(Debug)]
pub struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    /// So much, from now on.
    pub fn new(left: Duration) -> Patience {
        Patience { left, looked: Instant::now() }
    }

    /// Whether it is at an end. Asked after each look.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.looked, now);
        self.spend(passed)
    }

    fn spend(&mut self, passed: Duration) -> bool {
        self.left = self.left.saturating_sub(passed.min(LOOK));
        self.left.is_zero()
    }
}

/// Looks until there is something, with a pause between; panics with what `state` says when that never comes.
pub fn wait_for<T>(
    (patience, pause): (Duration, Duration),
    what: &str,
    state: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let mut patience = Patience::new(patience);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(!patience.is_over(), "waited in vain for {what}\n{}", state());
        std::thread::sleep(pause);
    }
}

/// A set of namespaces that goes away, with every process in it, when it is dropped.
pub struct Lab {
    prefix: String,
    namespaces: std::sync::Mutex<Vec<String>>,
}

/// A network namespace of a lab, with its loopback interface up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

/// How the names of all labs begin; the number of the process and that of the lab follow.
const MARK: &str = "owlab";

impl Default for Lab {
    fn default() -> Self {
        Lab::new()
    }
}

impl Lab {
    /// An empty lab. Labs of any number of tests and processes exist side by side.
    pub fn new() -> Lab {
        static LABS: AtomicU32 = AtomicU32::new(0);
        remove_orphans();
        let prefix = format!("{MARK}-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        Lab { prefix, namespaces: std::sync::Mutex::default() }
    }

    /// Makes a namespace.
    pub fn namespace(&self, name: &str) -> Namespace {
        let name = format!("{}-{name}", self.prefix);
        ip(&["netns", "add", &name]);
        self.namespaces.lock().expect("no test panics while it holds this").push(name.clone());
        let namespace = Namespace { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Joins two namespaces by a cable: an interface in each, both up.
    pub fn veth(&self, (left, left_name): (&Namespace, &str), (right, right_name): (&Namespace, &str)) {
        let words =
            ["link", "add", left_name, "netns", &left.name, "type", "veth", "peer", "name", right_name, "netns"];
        ip(&[&words[..], &[&right.name]].concat());
        left.ip(&format!("link set {left_name} up"));
        right.ip(&format!("link set {right_name} up"));
    }
}

/// A socket by which ICMP of any kind is sent over IPv4, as datagrams to port 0, from the namespace of this thread.
///
/// # Errors
/// What the kernel says.
pub fn icmp() -> std::io::Result<UdpSocket> {
    crate::sys::socket::open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP).map(UdpSocket::from)
}

/// What ICMP says of a datagram of UDP over IPv4 that did not get there, with this code (RFC 792). Whoever made it up or not.
pub fn unreachable(code: u8, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let octets = |at: SocketAddr| match at.ip() {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => panic!("{v6} is of IPv6"),
    };
    let length = |octets: usize| u16::try_from(octets).expect("a datagram is no longer").to_be_bytes();
    let header =
        [&[0x45, 0][..], &length(28 + payload.len()), &[0, 0, 0x40, 0, 64, 17, 0, 0], &octets(from), &octets(to)];
    let udp = [&from.port().to_be_bytes()[..], &to.port().to_be_bytes(), &length(8 + payload.len()), &[0, 0], payload];
    // The last two octets: the longest packet that passes, where the code is of that (RFC 1191).
    let mut message = [&[3, code, 0, 0, 0, 0, 5, 0], &header.concat()[..], &udp.concat()].concat();
    let words = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let sum = words.sum::<u32>();
    let sum = (sum >> 16) + (sum & 0xffff);
    let check = !((sum >> 16) + (sum & 0xffff)) as u16;
    message[2..4].copy_from_slice(&check.to_be_bytes());
    message
}

impl Drop for Lab {
    fn drop(&mut self) {
        let namespaces = self.namespaces.lock().map(|names| names.clone()).unwrap_or_default();
        namespaces.iter().for_each(|name| remove(name));
    }
}

impl Namespace {
    /// One that somebody else has made, by its name: it stays when labs go.
    pub fn named(name: &str) -> Namespace {
        Namespace { name: name.to_owned() }
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in the namespace, with words separated by spaces: `ns.ip("addr add 10.0.0.1/24 dev eth0")`.
    pub fn ip(&self, words: &str) {
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(words.split_whitespace()).collect();
        ip(&words);
    }

    /// A command that runs in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `work` on a thread of its own in the namespace, and panics when it does. Sockets that it opens stay in the namespace wherever they go.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        let run = || {
            crate::sys::process::enter_network_namespace(namespace.as_fd()).expect("root may enter");
            work()
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("iproute2 is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`ip {}` failed: {complaint}", words.join(" "));
}

/// Ends the processes of a namespace and deletes it, as far as that is possible: it runs while a failed test unwinds.
fn remove(name: &str) {
    let pids =
        Command::new("ip").args(["netns", "pids", name]).output().map(|output| output.stdout).unwrap_or_default();
    for pid in String::from_utf8_lossy(&pids).split_whitespace() {
        // This process itself is listed when one of its threads is in there.
        if pid != std::process::id().to_string() {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
    }
    let _ = Command::new("ip").args(["netns", "del", name]).status();
}

/// Removes the namespaces of test processes that were killed before they could.
fn remove_orphans() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
            let owner = name.strip_prefix(MARK).and_then(|rest| rest.trim_start_matches('-').split('-').next());
            if owner.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
                remove(&name);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_stands_still_uses_up_no_more_than_a_look() {
        let mut patience = Patience::new(Duration::from_secs(3));
        let spent = [40_000, 100, 900, 999, 1].map(|millis| patience.spend(Duration::from_millis(millis)));
        assert_eq!(spent, [false, false, false, false, true]);
        assert!(patience.spend(Duration::ZERO));
    }
}
