//! TUN devices: the kernel hands the packets that are routed to them to this process, and takes others from it.
//!
//! What goes through one may be longer than any packet on the wire: a *superpacket* of up to 64 KiB that stands for a run of packets of one flow, with a
//! [`VnetHeader`] before it that says how it comes apart. So the kernel's TCP goes through once where it would go through 40 times.
//!
//! A device is removed with its last queue: nothing here is persistent.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::netlink::{self, Connection, LinkSettings};
use crate::sys::{bpf, process, tun};
use crate::{Context, Result};

mod header;
mod steering;

pub use header::VnetHeader;

/// Where devices come from.
const SOURCE: &str = "/dev/net/tun";
/// Who may load programs into the kernel: since Linux 5.8, and before.
const CAP_BPF: u64 = 39;
const CAP_SYS_ADMIN: u64 = 21;
/// Octets of a name of an interface at most.
const NAME: usize = libc::IFNAMSIZ - 1;
/// Queues of a device at most, as the kernel has it.
pub const MAX_QUEUES: usize = 256;
/// Parts that a packet is sent by at most, as the kernel has it.
pub const MAX_PARTS: usize = 1024;
/// Octets of the longest superpacket with its header: a buffer to receive into has at least so many.
pub const ROOM: usize = VnetHeader::LENGTH + 65_535;

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No interface can have this name.
    #[error("`{0}` is no name for an interface: it has 1 to {NAME} octets, none of them `/`, `:`, `%` or white space")]
    Name(String),
    /// A device has no such number of queues.
    #[error("a TUN device has 1 to {MAX_QUEUES} queues, not {0}")]
    Queues(usize),
    /// The kernel's part is not there.
    #[error(
        "there is no {0}: load the module (`modprobe tun`), or give the container the device (`--device {SOURCE}`)"
    )]
    Absent(String),
    /// The process may not.
    #[error(
        "may not make the TUN device `{0}`: it takes the capability CAP_NET_ADMIN (`AmbientCapabilities=CAP_NET_ADMIN` in \
         the unit, `--cap-add NET_ADMIN` for a container)"
    )]
    Forbidden(String),
    /// There is an interface of this name.
    #[error(
        "there is an interface `{0}` already: choose another name, or remove it (`ip link del {0}`) if nobody uses it"
    )]
    InUse(String),
    /// What another process has left is of another device.
    #[error("what was handed over is a queue of `{found}`, not of `{wanted}`")]
    Foreign {
        /// The device that is wanted.
        wanted: String,
        /// The one that it is of.
        found: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] crate::Error),
    /// The kernel refused to set what was asked of the device.
    #[error(transparent)]
    Link(#[from] netlink::Error),
}

/// What a device shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// How many queues it has: a thread reads each. The packets of a flow stay in one of them where the device is [steered](Tun::is_steered).
    pub queues: usize,
    /// Whether it hands over superpackets, as far as the kernel has them.
    pub offload: bool,
    /// Octets of a superpacket at most; `None` for as many as the kernel has.
    pub gso_max_size: Option<u32>,
    /// Packets that a superpacket stands for at most; `None` for as many as the kernel has.
    pub gso_max_segs: Option<u32>,
}

impl Options {
    /// A device of one queue, with superpackets.
    pub fn new(name: &str) -> Options {
        Options { name: name.to_owned(), queues: 1, offload: true, gso_max_size: None, gso_max_segs: None }
    }
}

/// What a device hands over undone, because its reader can do it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Packets of this host whose checksum is still to be completed.
    pub checksums: bool,
    /// Runs of TCP segments.
    pub tcp: bool,
    /// Runs of UDP datagrams (Linux 6.2).
    pub udp: bool,
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.checksums, self.tcp, self.udp) {
            (_, _, true) => "checksums, TCP and UDP segmentation",
            (_, true, _) => "checksums, TCP segmentation",
            (true, ..) => "checksums",
            _ => "none",
        })
    }
}

/// What is asked for, from the most to the least.
const STEPS: [(u32, Offloads); 4] = [
    (
        libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_USO4 | libc::TUN_F_USO6,
        Offloads { checksums: true, tcp: true, udp: true },
    ),
    (libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6, Offloads { checksums: true, tcp: true, udp: false }),
    (libc::TUN_F_CSUM, Offloads { checksums: true, tcp: false, udp: false }),
    (0, Offloads { checksums: false, tcp: false, udp: false }),
];

/// Asks for less until the kernel agrees.
fn settle(offload: bool, mut set: impl FnMut(u32) -> io::Result<()>) -> io::Result<Offloads> {
    for (flags, had) in STEPS.into_iter().filter(|(flags, _)| offload || *flags == 0) {
        match set(flags) {
            Ok(()) => return Ok(had),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Offloads::default())
}

/// A TUN device. It lives as long as one of its [queues](Queue).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tun {
    name: Arc<str>,
    index: u32,
    offloads: Offloads,
    steered: bool,
}

impl Tun {
    /// Makes a device, switched off, without addresses, in the network namespace of this thread; and its queues.
    pub fn open(options: &Options) -> std::result::Result<(Tun, Vec<Queue>), Error> {
        open(options, Path::new(SOURCE), vec![])
    }

    /// Goes on with a device that another process has had, by the files of its queues ([`Queue::share`]), as it is: switched on, with its addresses and routes.
    /// Of more queues than there are to be the rest goes, and of fewer others are made.
    ///
    /// # Errors
    /// When these are no queues of a device of that name, and whatever [`Tun::open`] says.
    pub fn adopt(options: &Options, files: Vec<OwnedFd>) -> std::result::Result<(Tun, Vec<Queue>), Error> {
        let foreign = |name: &str| Error::Foreign { wanted: options.name.clone(), found: name.to_owned() };
        if files.is_empty() {
            return Err(foreign("none"));
        }
        for file in &files {
            let (name, _) = tun::attached(file.as_fd()).map_err(|_| foreign("none"))?;
            if name != options.name {
                return Err(foreign(&name));
            }
        }
        open(options, Path::new(SOURCE), files)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index among the interfaces.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether the packets of a flow stay in one queue, whatever comes in answer by which. Else, where this process may not load programs into the kernel (CAP_BPF), they move to the queue by which the answers were written last. A device of one queue has no other.
    pub fn is_steered(&self) -> bool {
        self.steered
    }

    /// What it hands over undone.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }
}

fn open(options: &Options, source: &Path, files: Vec<OwnedFd>) -> std::result::Result<(Tun, Vec<Queue>), Error> {
    let Options { name, queues, offload, gso_max_size, gso_max_segs } = options;
    let unfit = |octet: u8| octet.is_ascii_whitespace() || octet.is_ascii_control() || b"/:%".contains(&octet);
    if !(1..=NAME).contains(&name.len()) || name.bytes().any(unfit) || [".", ".."].contains(&name.as_str()) {
        return Err(Error::Name(name.clone()));
    }
    if !(1..=MAX_QUEUES).contains(queues) {
        return Err(Error::Queues(*queues));
    }
    let shared: Arc<str> = name.as_str().into();
    let known = files.into_iter().take(*queues);
    let mut opened: Vec<Queue> =
        known.map(|file| Queue { file: File::from(file), name: Arc::clone(&shared) }).collect();
    while opened.len() < *queues {
        let file = begin(source, name)?;
        // The first makes the device, and must not get hold of one that somebody else has.
        let exclusive = if opened.is_empty() { libc::IFF_TUN_EXCL } else { 0 };
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE | exclusive;
        tun::attach(file.as_fd(), name, flags).map_err(|error| refused(name, error))?;
        let made = || format!("read headers of the TUN device {name}");
        tun::set_little_endian(file.as_fd()).context(made)?;
        opened.push(Queue { file, name: Arc::clone(&shared) });
    }
    // It is the device that has offloads, whichever queue is told of them.
    let set = |flags| opened.iter().take(1).try_for_each(|queue| tun::set_offload(queue.file.as_fd(), flags));
    let offloads = settle(*offload, set).context(|| format!("set the offloads of the TUN device {name}"))?;
    let mut kernel = Connection::open()?;
    let gone = || crate::Error {
        action: format!("find the TUN device {name} that has just been made"),
        source: io::ErrorKind::NotFound.into(),
    };
    let index = kernel.link(name)?.ok_or_else(gone)?.index;
    if gso_max_size.or(*gso_max_segs).is_some() {
        let sizes =
            LinkSettings { gso_max_size: *gso_max_size, gso_max_segs: *gso_max_segs, ..LinkSettings::default() };
        kernel.set_link(index, &sizes)?;
    }
    let steered = opened.len() == 1
        || match opened.iter().take(1).try_for_each(|queue| steer(queue.file.as_fd())) {
            Ok(()) => true,
            Err(error) => {
                tracing::info!(device = name, %error, "flows may change queues when the other end changes paths: no program that keeps them is to be had");
                false
            }
        };
    Ok((Tun { name: shared, index, offloads, steered }, opened))
}

/// Has flows stay in their queues. It is the device that has the program, whichever queue is told of it.
fn steer(queue: BorrowedFd<'_>) -> io::Result<()> {
    // Without it the call is not even tried: a service manager that keeps system calls from processes ends who makes one of those (systemd's `SystemCallFilter`).
    if process::permitted()? & (1u64 << CAP_BPF | 1 << CAP_SYS_ADMIN) == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Each time another: nobody is to know which flows share a queue.
    let seed = RandomState::new().hash_one(0) as u32;
    let program = bpf::load_socket_filter(&steering::program(seed))?;
    tun::set_steering(queue, program.as_fd())
}

/// Opens the source of devices. Programs started later do not inherit it.
fn begin(source: &Path, name: &str) -> std::result::Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(source);
    file.map_err(|error| match error.raw_os_error() {
        // A device file without its module.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Error::Absent(source.display().to_string()),
        _ => refused(name, error),
    })
}

fn refused(name: &str, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::Forbidden(name.to_owned()),
        Some(libc::EBUSY | libc::EEXIST) => Error::InUse(name.to_owned()),
        _ => crate::Error { action: format!("make the TUN device {name}"), source: error }.into(),
    }
}

/// One queue of a device, non-blocking. Wait for it to be readable.
#[derive(Debug)]
pub struct Queue {
    file: File,
    name: Arc<str>,
}

impl Queue {
    /// Another descriptor of it, by which another process may go on with it.
    ///
    /// # Errors
    /// When this process has too many open files.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Receives one packet: a [`VnetHeader`], then the packet, which may be a superpacket. Says how many octets both have; `None` when none waits.
    ///
    /// # Errors
    /// When the buffer is shorter than [`ROOM`]: the kernel would cut what does not fit, and not say so. When the device is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let received = match buffer.len() < ROOM {
            true => Err(io::ErrorKind::InvalidInput.into()),
            false => rustix::io::read(&self.file, buffer).map_err(io::Error::from),
        };
        match received {
            Ok(length) => Ok(Some(length)),
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => Ok(None),
            Err(error) => Err(error).context(|| format!("receive from the TUN device {}", self.name)),
        }
    }

    /// Sends one packet by its parts, at most [`MAX_PARTS`]: a [`VnetHeader`], then the packet, which may be a superpacket. `false` when the kernel did not take it,
    /// for want of memory or because the device is switched off; it is lost.
    ///
    /// # Errors
    /// When the header does not fit the packet, or the device is gone.
    pub fn send(&self, parts: &[IoSlice<'_>]) -> Result<bool> {
        let sent = match parts.len() > MAX_PARTS {
            true => Err(io::ErrorKind::InvalidInput.into()),
            false => rustix::io::writev(&self.file, parts).map_err(io::Error::from),
        };
        match sent {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM | libc::EIO) => Ok(false),
                _ => Err(error).context(|| format!("send to the TUN device {}", self.name)),
            },
        }
    }
}

#[cfg(any(test, feature = "lab"))]
impl Queue {
    /// A queue of no device, and its other end: what that sends is what a kernel would hand over, and what it receives is what a kernel would be given. For tests.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pair() -> io::Result<(Queue, std::os::unix::net::UnixDatagram)> {
        let (own, other) = std::os::unix::net::UnixDatagram::pair()?;
        for end in [&own, &other] {
            end.set_nonblocking(true)?;
            crate::sys::socket::set_send_buffer(end.as_fd(), 16 << 20)?;
        }
        Ok((Queue { file: File::from(OwnedFd::from(own)), name: "of no device".into() }, other))
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests;
