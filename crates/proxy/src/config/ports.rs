//! What the configuration says of forwarding in user space: sockets of AF_XDP, ports of DPDK.

use std::time::Duration;

use outwork_config::{Affinity, At, Fault, choice, millis, section, text_setting};
use outwork_fastpath::port::af_xdp::{Copying, PortSettings};

section! {
    /// Sockets of AF_XDP, one for each queue of an interface. One thread serves all of them.
    pub struct AfXdp {
        /// Frames that a socket gives and takes at once.
        pub batch: u32 [range 1..=4096] = 64,
        /// Queues of each interface, by number. Empty: all of them. The card has to put all packets of listeners and of their backends into these: others are
        /// the kernel's, and so are sockets'.
        pub queues: Vec<u32>,
        /// Frames that a socket has memory for, 4 KiB each, and that each of its rings has: a power of two. Half of them are for what comes in.
        pub frames: u32 [range 64..=65_536] = 4096,
        /// Whether frames are copied between the card's memory and that of a socket.
        pub copy: CopyMode = CopyMode::Auto,
        /// How long the thread goes on looking for frames after the last one before it sleeps until the kernel wakes it. It costs a processor for as long, and saves
        /// the time to wake.
        pub spin: Duration [range Duration::ZERO..=millis(100)] = Duration::ZERO,
        /// Processors for the thread: it stays on the first, or with `true` on the last that the process may use.
        pub affinity: Affinity [restart] = Affinity::Anywhere,
    }
    check af_xdp;
}

choice! {
    /// Whether frames are copied.
    pub enum CopyMode {
        /// Where the driver cannot do without.
        Auto = "auto",
        /// They are.
        Copy = "copy",
        /// They are not: where the driver cannot do without, the tier cannot be had.
        ZeroCopy = "zero_copy",
    }
}

section! {
    /// Ports of DPDK, in a build that has it. It is set up once in a process: what it is told changes with a restart. Each port has an interface of the kernel's (a TAP) that
    /// stands for it: addresses and routes are that one's, and all frames that are not passed on go there and come from there.
    pub struct Dpdk {
        /// Cards by their address on PCI, such as `0000:02:00.0`, bound to a driver that DPDK has (`dpdk-devbind.py --bind=vfio-pci`).
        pub pci: Vec<String> [restart],
        /// Virtual devices, such as `net_af_xdp0,iface=eth0` or `net_af_packet0,iface=eth0`. With the second the kernel sees every frame as well, and has to be told to
        /// drop them.
        pub vdevs: Vec<String> [restart],
        /// Which of DPDK's ports are used, as its own programs have it: a hexadecimal number with a bit for each, the lowest for port 0. Unset: all of them.
        pub port_mask: Option<PortMask> [restart],
        /// What the interfaces are called that stand for ports, in the order of those that are used. Those that are not named are called `dpdk0`, `dpdk1` and so on, by
        /// the number of the port.
        pub interfaces: Vec<String> [restart],
        /// Processors, such as `4-7`: the thread that forwards runs on the first. Unset: DPDK's own choice.
        pub cores: Option<String> [restart],
        /// Channels of memory that the processor has. 0: DPDK's own choice.
        pub memory_channels: u32 [restart, range 0..=32] = 0,
        /// Megabytes of memory. 0: DPDK's own choice.
        pub memory: u32 [restart, range 0..=1 << 20] = 0,
        /// Whether memory is in huge pages (`sysctl vm.nr_hugepages`). Cards ask for it.
        pub hugepages: bool [restart] = true,
        /// Further arguments of DPDK's environment (EAL).
        pub eal: Vec<String> [restart],
        /// Frames that a port gives and takes at once.
        pub batch: u32 [restart, range 1..=64] = 32,
        /// Descriptors of the queue of a port, each way. A driver may have fewer.
        pub descriptors: u32 [restart, range 64..=32_768] = 512,
        /// Frames of 2 KiB that a port has memory for; one less than a power of two takes the least memory.
        pub frames: u32 [restart, range 1023..=4_194_303] = 8191,
        /// How long the thread sleeps from one look at its ports to the next while no frames come. 0: not at all, which costs a processor.
        pub sleep: Duration [range Duration::ZERO..=millis(100)] = Duration::from_micros(50),
        /// How long it goes on looking for frames after the last one before it sleeps.
        pub spin: Duration [range Duration::ZERO..=millis(100)] = millis(1),
    }
    check dpdk;
}

/// Which ports are used, by bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMask(u64);

impl PortMask {
    /// Whether the port with this number is.
    #[cfg_attr(not(feature = "dpdk"), allow(dead_code))]
    pub(crate) fn has(self, port: u32) -> bool {
        self.0.checked_shr(port).is_some_and(|rest| rest & 1 == 1)
    }
}

impl std::str::FromStr for PortMask {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        u64::from_str_radix(digits, 16).map(PortMask)
    }
}

impl std::fmt::Display for PortMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

text_setting!(PortMask, "a hexadecimal number such as", "0x3");

fn af_xdp(af_xdp: &AfXdp, at: &mut At<'_>) {
    if !af_xdp.frames.is_power_of_two() {
        let fault = Fault::new(format!("{} is no power of two", af_xdp.frames));
        at.fault("frames", fault.expected(af_xdp.frames.next_power_of_two().min(65_536).to_string()));
    } else if af_xdp.batch > af_xdp.frames / 2 {
        let fault = Fault::new(format!("{} frames at once, and {} for what comes in", af_xdp.batch, af_xdp.frames / 2));
        at.fault("batch", fault.expected("at most half of frames"));
    }
    for (index, queue) in af_xdp.queues.iter().enumerate() {
        let key = format!("queues[{index}]");
        if *queue >= QUEUES {
            at.fault(
                &key,
                Fault::new(format!("no queue has the number {queue}")).expected(format!("less than {QUEUES}")),
            );
        } else if af_xdp.queues.iter().take(index).any(|other| other == queue) {
            at.fault(&key, Fault::new(format!("queue {queue} is named twice")));
        }
    }
}

/// Queues of an interface at most.
pub(crate) const QUEUES: u32 = 1024;

impl AfXdp {
    /// What the socket of a queue is told.
    pub(crate) fn settings(&self, queue: u32) -> PortSettings {
        let copying = match self.copy {
            CopyMode::Auto => Copying::AsNeeded,
            CopyMode::Copy => Copying::Always,
            CopyMode::ZeroCopy => Copying::Never,
        };
        PortSettings { queue, batch: self.batch as usize, frames: self.frames, copying }
    }
}

/// Octets of the longest name of an interface.
const NAME: usize = 15;

fn dpdk(dpdk: &Dpdk, at: &mut At<'_>) {
    if dpdk.port_mask.is_some_and(|mask| mask.0 == 0) {
        at.fault("port_mask", Fault::new("no port has a bit in it").expected("\"0x1\" for the first port"));
    }
    if dpdk.cores.as_deref() == Some("") {
        at.fault("cores", Fault::new("no processor is named").expected("\"4-7\", or nothing"));
    }
    for (index, name) in dpdk.interfaces.iter().enumerate() {
        let key = format!("interfaces[{index}]");
        if name.is_empty() || name.len() > NAME || name.contains(['/', ' ', ',']) {
            at.fault(&key, Fault::new(format!("{name:?} is no name of an interface")).expected("\"dpdk0\""));
        } else if dpdk.interfaces.iter().take(index).any(|other| other == name) {
            at.fault(&key, Fault::new(format!("{name:?} is named twice")));
        }
    }
}

#[cfg_attr(not(feature = "dpdk"), allow(dead_code))]
impl Dpdk {
    /// What the interface is called that stands for the port with this number, which is the `nth` of those that are used.
    pub(crate) fn interface(&self, nth: usize, port: u32) -> String {
        self.interfaces.get(nth).cloned().unwrap_or_else(|| format!("dpdk{port}"))
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Section, Sources, load};

    use super::*;

    fn read<S: Section + 'static>(text: &str) -> Result<S, String> {
        let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
        load::<S>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false))
    }

    #[test]
    fn what_a_socket_cannot_be_is_refused_by_its_key() {
        for (text, key) in [
            ("frames = 1000", "frames"),
            ("frames = 64\nbatch = 64", "batch"),
            ("queues = [1, 1]", "queues[1]"),
            ("queues = [5000]", "queues[0]"),
        ] {
            let told = read::<AfXdp>(text).expect_err(text);
            assert!(told.contains(key), "{text}: {told}");
        }
        let settings = read::<AfXdp>("batch = 7\nframes = 128\ncopy = 'zero_copy'").unwrap().settings(3);
        assert_eq!(settings, PortSettings { queue: 3, batch: 7, frames: 128, copying: Copying::Never });
    }

    #[test]
    fn a_mask_says_which_ports_are_used_and_their_interfaces_have_names_in_turn() {
        let dpdk = read::<Dpdk>("port_mask = '0x5'\ninterfaces = ['wan']").unwrap();
        let used: Vec<u32> = (0..70).filter(|port| dpdk.port_mask.unwrap().has(*port)).collect();
        assert_eq!(used, [0, 2]);
        assert_eq!((dpdk.interface(0, 0), dpdk.interface(1, 2)), ("wan".to_owned(), "dpdk2".to_owned()));
        for (text, key) in [
            ("port_mask = '0x0'", "port_mask"),
            ("port_mask = 'all'", "port_mask"),
            ("interfaces = ['a', 'a']", "interfaces[1]"),
            ("interfaces = ['sixteen-letters-']", "interfaces[0]"),
            ("cores = ''", "cores"),
        ] {
            let told = read::<Dpdk>(text).expect_err(text);
            assert!(told.contains(key), "{text}: {told}");
        }
    }
}
