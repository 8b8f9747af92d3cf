//! Sockets, interfaces and threads of Linux, without a runtime: what a worker thread that serves packets in batches needs.
//!
//! - [`udp`]: UDP sockets that receive and send in batches, as groups that the kernel steers clients to.
//! - [`packet`]: packet sockets on one interface: broadcasts of clients without an address, ARP and ICMP probes.
//! - [`echo`]: ICMP echo, by the kernel's routes.
//! - [`bpf`]: the classic BPF programs that filter and steer.
//! - [`poll`]: waiting for descriptors with a timeout, and [`Waker`] to wake a waiting thread.
//! - [`interface`]: the interfaces of this host, and [`Watch`] that says when they change.
//! - [`tun`]: devices whose packets this process takes and gives.
//! - [`netlink`]: links, addresses, routes and shaping, as they are and as they shall be.
//! - [`handover`]: a line between two processes, over which sockets go.
//! - [`mapping`]: files mapped into memory, for the kernel to send from.
//! - [`splice`]: from socket to socket without a copy. [`transparent`]: sockets with addresses of others.
//! - [`thread`]: which processors a thread may run on.
//! - [`descriptors`]: how many files and sockets may be open.
//! - [`privileges`]: from root to an ordinary user that keeps a few capabilities.
//! - [`testing`]: network namespaces for tests (feature `lab`).
//! - `sys`: the system calls, and all of this crate's unsafe.
//!
//! Absent on purpose: IPv6 in batches (no service uses it here), and tokio: a service that wants it wraps a descriptor itself.

pub mod bpf;
pub mod descriptors;
pub mod echo;
pub mod handover;
pub mod interface;
pub mod mapping;
pub mod netlink;
pub mod packet;
pub mod poll;
pub mod privileges;
pub mod splice;
mod sys;
#[cfg(any(test, feature = "lab"))]
pub mod testing;
pub mod thread;
pub mod transparent;
pub mod tun;
pub mod udp;

pub use echo::EchoSocket;
pub use interface::{Interface, Watch, interfaces};
pub use mapping::Mapping;
pub use packet::PacketSocket;
pub use poll::Waker;
pub use udp::UdpSocket;

/// A system call that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub struct Error {
    /// What was attempted, as the end of "cannot ...".
    pub action: String,
    /// The kernel's answer.
    pub source: std::io::Error,
}

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was attempted when a system call fails.
trait Context<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error { action: action(), source })
    }
}

/// What [`udp::Outbox::push`] and [`packet::Outbox::push`] refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused<E> {
    /// The outbox holds as many messages as it may: send it first.
    #[error("the outbox is full")]
    Full,
    /// The message could not be written; nothing of it is left in the outbox.
    #[error("the message cannot be written: {0}")]
    Message(E),
}

/// What became of the messages of an outbox.
#[derive(Debug, Default)]
pub struct SendReport {
    /// Handed to the kernel.
    pub sent: usize,
    /// Dropped because the kernel had no buffers or the interface's queue was full (`ENOBUFS`).
    pub no_buffers: usize,
    /// Dropped for another reason, such as an unreachable network.
    pub failed: usize,
    /// Where those that were dropped stood in the outbox, from 0, ascending, each with the kernel's reason (`errno`).
    pub refused: Vec<(usize, i32)>,
    /// The reason of the last one dropped.
    pub last_error: Option<std::io::Error>,
    /// The socket's buffer is full; what is left in the outbox goes out with the next send, once the socket is writable.
    pub blocked: bool,
}
