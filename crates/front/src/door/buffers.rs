//! What the kernel keeps for a socket, either way.

use std::io;
use std::os::fd::AsFd;

use outwork_config::ByteSize;
use rustix::net::sockopt;

/// How much that is at most; where nothing is said, as much as the kernel sees fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buffers {
    /// Of what has come and was not read yet (`SO_RCVBUF`).
    pub receive: Option<ByteSize>,
    /// Of what was sent and has not left yet (`SO_SNDBUF`).
    pub send: Option<ByteSize>,
}

impl Buffers {
    /// These, and where they say nothing, the others.
    pub fn or(self, others: Self) -> Self {
        Self { receive: self.receive.or(others.receive), send: self.send.or(others.send) }
    }

    /// Gives them to a socket, as far as the kernel lets (`net.core.rmem_max`, `net.core.wmem_max`). How far the window of a TCP connection can open is settled as
    /// it opens: so a socket has to have them before it connects, and before it listens for those that inherit them.
    ///
    /// # Errors
    /// When this is no socket.
    pub fn set(&self, socket: impl AsFd) -> io::Result<()> {
        // The kernel doubles what it is told, to account for its own needs.
        if let Some(size) = self.receive {
            sockopt::set_socket_recv_buffer_size(&socket, size.as_usize() / 2)?;
        }
        if let Some(size) = self.send {
            sockopt::set_socket_send_buffer_size(&socket, size.as_usize() / 2)?;
        }
        Ok(())
    }
}
