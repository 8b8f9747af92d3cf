//! Ports on sockets of AF_XDP: frames come and go through memory that is shared with the kernel, on rings, by few system calls.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with, sockopt,
};

use super::stack::Stack;
use super::{Packet, Port};
use crate::sys::ring::{Chunks, Descriptor, Ring};

/// Octets of a chunk: a page, which any driver takes.
const CHUNK: usize = 4096;
/// Frames that one system call makes the kernel send at most, where it copies.
const BUDGET: usize = 32;
/// Frames that are given to the kernel's stack in a turn: it takes far longer than to forward them.
const GIVEN: usize = 32;

/// Whether frames are copied between the card's memory and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Copying {
    /// They are: any driver does that.
    Always,
    /// They are where the driver cannot do without.
    #[default]
    AsNeeded,
    /// They are not, or there is no port.
    Never,
}

/// What the owner says of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSettings {
    /// The queue of the interface.
    pub queue: u32,
    /// Frames of a burst.
    pub batch: usize,
    /// Frames that its memory has room for, and that each of its rings has; a power of two, 64 to 65536.
    pub frames: u32,
    /// Whether they are copied.
    pub copying: Copying,
}

impl Default for PortSettings {
    fn default() -> Self {
        PortSettings { queue: 0, batch: 64, frames: 4096, copying: Copying::default() }
    }
}

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A size that cannot be.
    #[error("a port of {0} frames cannot be: expected a power of two from 64 to 65536")]
    Frames(u32),
    /// No interface has the name.
    #[error("there is no interface `{0}`")]
    Unknown(String),
    /// The kernel refuses.
    #[error("queue {queue} of `{interface}` gives no frames to a socket: {what}: {error}")]
    Refused {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What was asked.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

impl PortError {
    /// Whether another socket has the queue. The kernel takes a moment to let go of one that was closed just now.
    pub fn is_busy(&self) -> bool {
        matches!(self, PortError::Refused { error, .. } if error.kind() == io::ErrorKind::ResourceBusy)
    }
}

/// A port on a socket.
#[derive(Debug)]
pub struct AfXdp {
    // The rings go before the socket, and the socket before the memory.
    fill: Ring<u64>,
    completion: Ring<u64>,
    rx: Ring<Descriptor>,
    tx: Ring<Descriptor>,
    socket: OwnedFd,
    chunks: Chunks,
    free: Vec<u32>,
    interface: u32,
    queue: u32,
    batch: usize,
    stack: Option<Arc<Stack>>,
    /// Frames that may be given to it in this turn.
    allowance: usize,
    /// Why frames are copied though that was not wanted.
    copied_because: Option<String>,
}

impl AfXdp {
    /// A port on a queue of an interface. Frames come to it once a program sends them here: see [`super::steering`].
    ///
    /// # Errors
    /// When it cannot be.
    pub fn open(interface: &str, settings: &PortSettings) -> Result<AfXdp, PortError> {
        if !settings.frames.is_power_of_two() || !(64..=65_536).contains(&settings.frames) {
            return Err(PortError::Frames(settings.frames));
        }
        let refused = |what| {
            move |error: io::Error| PortError::Refused {
                interface: interface.to_owned(),
                queue: settings.queue,
                what,
                error,
            }
        };
        let index =
            crate::kernel::attach::index_of(interface).ok_or_else(|| PortError::Unknown(interface.to_owned()))?;
        // A process that is started from here, a successor among them, is not to have the queue.
        let socket = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(|error| refused("a socket")(error.into()))?;
        let chunks = Chunks::new(settings.frames, CHUNK).map_err(refused("memory"))?;
        let memory = XdpUmemReg {
            addr: chunks.address(),
            len: chunks.length(),
            chunk_size: CHUNK as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        sockopt::set_xdp_umem_reg(&socket, memory).map_err(|error| refused("its memory")(error.into()))?;
        let size = settings.frames;
        let sized = [
            sockopt::set_xdp_umem_fill_ring_size(&socket, size),
            sockopt::set_xdp_umem_completion_ring_size(&socket, size),
            sockopt::set_xdp_rx_ring_size(&socket, size),
            sockopt::set_xdp_tx_ring_size(&socket, size),
        ];
        sized.into_iter().collect::<Result<(), _>>().map_err(|error| refused("its rings")(error.into()))?;
        let offsets = sockopt::xdp_mmap_offsets(&socket).map_err(|error| refused("its rings")(error.into()))?;
        let fd = socket.as_fd();
        let rings = (|| {
            let fill = Ring::new(fd, XDP_UMEM_PGOFF_FILL_RING, offsets.fr, size)?;
            let completion = Ring::new(fd, XDP_UMEM_PGOFF_COMPLETION_RING, offsets.cr, size)?;
            let rx = Ring::new(fd, XDP_PGOFF_RX_RING, offsets.rx, size)?;
            io::Result::Ok((fill, completion, rx, Ring::new(fd, XDP_PGOFF_TX_RING, offsets.tx, size)?))
        })();
        let (fill, completion, rx, tx) = rings.map_err(refused("its rings"))?;
        let copied_because = bound(&socket, index, settings).map_err(refused("the queue"))?;
        let free = (0..size).rev().collect();
        let batch = settings.batch.clamp(1, size as usize);
        let (interface, queue, stack, allowance) = (index, settings.queue, None, GIVEN);
        let mut port = AfXdp {
            fill,
            completion,
            rx,
            tx,
            socket,
            chunks,
            free,
            interface,
            queue,
            batch,
            stack,
            allowance,
            copied_because,
        };
        port.refill();
        Ok(port)
    }

    /// The same port, which gives the kernel's stack what is the kernel's to see to, as far as that is not too much at once.
    pub fn with_stack(self, stack: Option<Arc<Stack>>) -> AfXdp {
        AfXdp { stack, ..self }
    }

    /// Why frames are copied though that was not wanted, where they are.
    pub fn copied_because(&self) -> Option<&str> {
        self.copied_because.as_deref()
    }

    /// Gives the kernel chunks for what comes in, and keeps half of them for what leaves.
    fn refill(&mut self) {
        let kept = (self.chunks.length() / CHUNK as u64 / 2) as usize;
        let spare = self.free.len().saturating_sub(kept).min(self.fill.room() as usize);
        let at = self.free.len() - spare;
        for chunk in self.free.drain(at..) {
            if self.chunks.lend(chunk) {
                self.fill.push([u64::from(chunk) * CHUNK as u64]);
            }
        }
    }

    /// Takes back what has left.
    fn reclaim(&mut self) {
        let (chunks, free) = (&mut self.chunks, &mut self.free);
        self.completion.pop(usize::MAX, |address| {
            let chunk = (address / CHUNK as u64) as u32;
            if chunks.take_back(chunk) {
                free.push(chunk);
            }
        });
    }
}

/// Binds the socket. Says why frames are copied, where they are and might not have been.
fn bound(socket: &OwnedFd, interface: u32, settings: &PortSettings) -> io::Result<Option<String>> {
    let bind = |flags| {
        let address = SocketAddrXdp::new(flags | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP, interface, settings.queue);
        bind(socket, &address).map_err(io::Error::from)
    };
    match settings.copying {
        Copying::Always => bind(SocketAddrXdpFlags::XDP_COPY).map(|()| None),
        Copying::Never => bind(SocketAddrXdpFlags::XDP_ZEROCOPY).map(|()| None),
        Copying::AsNeeded => match bind(SocketAddrXdpFlags::XDP_ZEROCOPY) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(error),
            Err(error) => {
                bind(SocketAddrXdpFlags::XDP_COPY).map(|()| Some(format!("the driver cannot do without ({error})")))
            }
        },
    }
}

impl AsFd for AfXdp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Port for AfXdp {
    fn interface(&self) -> u32 {
        self.interface
    }

    fn rx_burst(&mut self, into: &mut Vec<Packet>) -> io::Result<usize> {
        self.allowance = GIVEN;
        self.reclaim();
        self.refill();
        if self.tx.holds() && self.tx.wants_wakeup() {
            // The kernel had no room for some of what was to leave.
            again(send(&self.socket, &[], SendFlags::DONTWAIT).map(|_| ()))?;
        }
        if self.fill.wants_wakeup() {
            again(recv(&self.socket, &mut [0u8; 0], RecvFlags::DONTWAIT).map(|_| ()))?;
        }
        let chunks = &mut self.chunks;
        let count = self.rx.pop(self.batch, |descriptor: Descriptor| {
            let (chunk, start) = (descriptor.address / CHUNK as u64, descriptor.address % CHUNK as u64);
            if chunks.take_back(chunk as u32) {
                into.push(Packet { chunk: chunk as u32, start: start as u32, length: descriptor.length });
            }
        });
        Ok(count)
    }

    fn tx_burst(&mut self, from: &mut Vec<Packet>) -> io::Result<usize> {
        self.reclaim();
        let count = from.len().min(self.tx.room() as usize);
        for packet in from.drain(..count) {
            if self.chunks.lend(packet.chunk) {
                let address = u64::from(packet.chunk) * CHUNK as u64 + u64::from(packet.start);
                self.tx.push([Descriptor { address, length: packet.length, options: 0 }]);
            }
        }
        for _ in 0..count.div_ceil(BUDGET) {
            if self.tx.wants_wakeup() {
                again(send(&self.socket, &[], SendFlags::DONTWAIT).map(|_| ()))?;
            }
        }
        Ok(count)
    }

    fn chunk(&mut self, chunk: u32) -> Option<&mut [u8]> {
        self.chunks.chunk(chunk)
    }

    fn take(&mut self) -> Option<u32> {
        if self.free.is_empty() {
            self.reclaim();
        }
        self.free.pop()
    }

    fn release(&mut self, chunk: u32) {
        self.free.push(chunk);
    }

    fn give_back(&mut self, packet: Packet) -> bool {
        let range = packet.start as usize..(packet.start + packet.length) as usize;
        let stack = self.stack.as_ref().filter(|_| self.allowance > 0);
        let frame = self.chunks.chunk(packet.chunk).and_then(|chunk| chunk.get(range));
        let given = stack.zip(frame).is_some_and(|(stack, frame)| {
            self.allowance -= 1;
            stack.give(frame, self.interface, self.queue).is_ok()
        });
        self.free.push(packet.chunk);
        given
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

/// What is not done now is done with the next call, and an interface that is switched off or gone has nothing.
fn again(result: rustix::io::Result<()>) -> io::Result<()> {
    use rustix::io::Errno;
    match result {
        Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR | Errno::NETDOWN | Errno::NXIO) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
