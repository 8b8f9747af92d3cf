//! A client, three backends, and between them a balancer: all in namespaces, with the kernel's own TCP and UDP at both ends.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outwork_balance::{MemberSettings, Policy, Pool, PoolSettings};
use outwork_fastpath::settings::Sizes;
use outwork_fastpath::{ControlPlane as _, Fastpath, Protocol, ServiceSettings, Settings, Tier, Vip};

use crate::lab::{Lab, run};

/// Where waiting ends and a test fails. Nothing is measured against it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const BACKENDS: [&str; 3] = ["one", "two", "three"];
/// The port of services and of who answers for them.
pub(crate) const PORT: u16 = 80;

/// The rooms, and who answers in them.
pub(crate) struct Site {
    pub(crate) lab: Lab,
}

/// The two kinds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    pub(crate) fn vip(self) -> SocketAddr {
        match self {
            Family::V4 => SocketAddr::new("198.51.100.1".parse().unwrap(), PORT),
            Family::V6 => SocketAddr::new("2001:db8::1".parse().unwrap(), PORT),
        }
    }

    /// The address of the backend with this number.
    pub(crate) fn backend(self, number: usize) -> SocketAddr {
        let text = match self {
            Family::V4 => format!("10.2.{}.2", number + 1),
            Family::V6 => format!("fd02:{}::2", number + 1),
        };
        SocketAddr::new(text.parse().unwrap(), PORT)
    }

    pub(crate) fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl Site {
    /// The site for programs of a tier. XDP sees frames as the wire has them: checksums are complete there, and runs of segments are not joined.
    pub(crate) fn new(tier: Tier) -> Site {
        let lab = Lab::new(&["client", "balancer", "one", "two", "three"]);
        let site = Site { lab };
        site.join("client", "c0", "10.1.0", "fd01");
        for (number, room) in BACKENDS.iter().enumerate() {
            let number = number + 1;
            site.join(room, &format!("b{number}"), &format!("10.2.{number}"), &format!("fd02:{number}"));
            for service in ["198.51.100.1/32", "2001:db8::1/128 nodad"] {
                // For direct returns.
                site.lab.ip(room, &format!("addr add dev lo {service}"));
            }
        }
        if let Tier::Xdp(_) = tier {
            for room in ["client"].iter().chain(&BACKENDS) {
                // What XDP sends to a veth arrives where somebody receives by NAPI, which GRO is a reason for.
                site.lab.within(room, || run("ethtool", &["-K", "eth0", "tx", "off", "gro", "on"]));
            }
        }
        for (number, room) in BACKENDS.iter().enumerate() {
            site.answer(room, number);
        }
        site
    }

    fn join(&self, room: &str, interface: &str, v4: &str, v6: &str) {
        self.lab.cable((room, "eth0"), ("balancer", interface));
        self.lab.ip(room, &format!("addr add {v4}.2/24 dev eth0"));
        self.lab.ip(room, &format!("addr add {v6}::2/64 dev eth0 nodad"));
        self.lab.ip("balancer", &format!("addr add {v4}.1/24 dev {interface}"));
        self.lab.ip("balancer", &format!("addr add {v6}::1/64 dev {interface} nodad"));
        self.lab.ip(room, &format!("route add default via {v4}.1"));
        self.lab.ip(room, &format!("-6 route add default via {v6}::1"));
    }

    /// Answers in a room: says who it is, and then what it hears. Listeners are there until the process ends.
    fn answer(&self, room: &str, number: usize) {
        let (listeners, sockets) = self.lab.within(room, || {
            let any = [SocketAddr::new("::".parse().unwrap(), PORT)];
            let listeners = any.map(|any| TcpListener::bind(any).unwrap());
            // Of its own addresses each: an answer is from where the question went to.
            let mut sockets = vec![];
            for family in FAMILIES {
                for address in [family.vip(), family.backend(number)] {
                    sockets.push(UdpSocket::bind(address).unwrap());
                }
            }
            (listeners, sockets)
        });
        for listener in listeners {
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    std::thread::spawn(move || drop(echo(stream, number as u8)));
                }
            });
        }
        for socket in sockets {
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer[1..]) {
                    buffer[0] = number as u8;
                    let _ = socket.send_to(&buffer[..length + 1], from);
                }
            });
        }
    }

    /// Programs in the balancer's room, on all of its interfaces.
    pub(crate) fn open(&self, tier: Tier, directory: Option<&std::path::Path>) -> Fastpath {
        self.lab.within("balancer", || {
            let (mut fastpath, _) = Fastpath::open(settings(), directory).unwrap();
            for interface in ["c0", "b1", "b2", "b3"] {
                let attached = fastpath.attach(interface, tier).unwrap();
                assert_eq!(attached.got, tier, "{attached:?}");
            }
            fastpath
        })
    }

    /// A connection of the client's, and whom it leads to.
    pub(crate) fn connect(&self, family: Family) -> (TcpStream, usize) {
        let stream = self.lab.within("client", || TcpStream::connect_timeout(&family.vip(), PATIENCE).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = stream;
        let mut who = [0];
        stream.read_exact(&mut who).unwrap();
        (stream, usize::from(who[0]))
    }

    pub(crate) fn socket(&self, family: Family) -> UdpSocket {
        let socket = self.lab.within("client", || {
            let socket = UdpSocket::bind(match family {
                Family::V4 => "0.0.0.0:0",
                Family::V6 => "[::]:0",
            });
            let socket = socket.unwrap();
            socket.connect(family.vip()).unwrap();
            socket
        });
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket
    }
}

/// How long a test waits. A machine may stand still for tens of seconds, as a virtual one that is paused: of each of those no more than a second counts.
pub(crate) struct Waiting {
    left: Duration,
    looked: std::time::Instant,
}

impl Waiting {
    pub(crate) fn begin() -> Waiting {
        Waiting { left: PATIENCE, looked: std::time::Instant::now() }
    }

    /// Whether it has waited long enough. Asked after each look.
    pub(crate) fn is_over(&mut self) -> bool {
        let now = std::time::Instant::now();
        let passed = now - std::mem::replace(&mut self.looked, now);
        self.left = self.left.saturating_sub(passed.min(Duration::from_secs(1)));
        self.left.is_zero()
    }
}

/// Looks until there is something.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut waiting = Waiting::begin();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(!waiting.is_over(), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says who it is, and then what it hears.
fn echo(mut stream: TcpStream, number: u8) -> std::io::Result<()> {
    stream.write_all(&[number])?;
    let mut buffer = [0; 65_536];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// Asks by a datagram until there is an answer: whose it is.
pub(crate) fn ask(socket: &UdpSocket, question: &[u8]) -> usize {
    let mut waiting = Waiting::begin();
    let mut buffer = [0; 2048];
    loop {
        // Of a backend that is being looked for, or an error of an earlier one.
        let _ = socket.send(question);
        if let Ok(length) = socket.recv(&mut buffer) {
            assert_eq!(&buffer[1..length], question);
            return buffer[0].into();
        }
        assert!(!waiting.is_over(), "nobody answers {question:?}");
    }
}

/// Sends some octets through and wants them back.
pub(crate) fn exchange(stream: &mut TcpStream, octets: usize) {
    let sent: Vec<u8> = (0..octets).map(|at| ((at * 31) >> 3) as u8).collect();
    let mut half = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| half.write_all(&sent).unwrap());
        let mut back = vec![0; octets];
        stream.read_exact(&mut back).unwrap();
        assert!(back == sent, "what comes back is not what was sent");
    });
}

pub(crate) fn settings() -> Settings {
    let sizes = Sizes { flows: 4096, services: 16, backends: 64, places: 1 << 20, sources: 1024, prefixes: 16 };
    Settings {
        sizes,
        tunnel_v4: Some("10.1.0.1".parse().unwrap()),
        tunnel_v6: Some("fd01::1".parse().unwrap()),
        ..Settings::default()
    }
}

pub(crate) fn pool_settings(family: Family, members: &[usize]) -> PoolSettings {
    let members = members.iter().map(|number| MemberSettings::new(family.backend(*number).to_string())).collect();
    PoolSettings { members, policy: Policy::Maglev, ..PoolSettings::default() }
}

pub(crate) fn serve(
    fastpath: &mut Fastpath,
    family: Family,
    protocol: Protocol,
    settings: ServiceSettings,
    pool: &Pool,
) {
    let vip = Vip::new(family.vip(), protocol);
    fastpath.serve(vip, settings, pool, |key| key.parse().ok(), Fastpath::kernel_time()).unwrap();
}

/// Serves everything by all backends.
pub(crate) fn serve_all(fastpath: &mut Fastpath, settings: ServiceSettings) {
    for family in FAMILIES {
        let pool = Pool::new(pool_settings(family, &[0, 1, 2])).unwrap();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            serve(fastpath, family, protocol, settings, &pool);
        }
    }
}

/// Has the kernel ask for neighbours, as a process does beside everything else, while `work` goes on.
pub(crate) fn attended<T>(site: &Site, fastpath: &Fastpath, work: impl FnOnce() -> T) -> T {
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            site.lab.within("balancer", || {
                while !done.load(Ordering::Relaxed) {
                    fastpath.resolve_neighbours().unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        });
        // Also when it panics, or the other thread goes on for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

/// A BPF file system of a test's own.
pub(crate) struct FileSystem(tempfile::TempDir);

impl FileSystem {
    pub(crate) fn new() -> FileSystem {
        let directory = tempfile::tempdir().unwrap();
        run("mount", &["-t", "bpf", "-o", "mode=0700", "bpf", directory.path().to_str().unwrap()]);
        FileSystem(directory)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
