//! From socket to socket through a pipe: pages change hands, and nothing is copied (`splice(2)`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::splice;

/// A pipe between two sockets.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    room: usize,
}

impl Pipe {
    /// One with room for so many octets, or for as many as the kernel gives: it gives less where one user has many pipes.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn new(room: usize) -> io::Result<Self> {
        /// What a pipe has that nobody asked for more of, at least.
        const LEAST: usize = 4096;
        let (read, write) = splice::pipe()?;
        let wanted = i32::try_from(room).unwrap_or(i32::MAX);
        let room = splice::set_pipe_size(write.as_fd(), wanted).ok().and_then(|room| usize::try_from(room).ok());
        Ok(Self { read, write, held: 0, room: room.unwrap_or(LEAST) })
    }

    /// Octets that are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes what has come at a socket, without waiting. Nothing is its end. Only where nothing is held: else nobody could tell a full pipe from a
    /// socket that has nothing.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has come, and what is wrong with the socket.
    pub fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        let moved = splice::splice(from.as_fd(), self.write.as_fd(), self.room - self.held.min(self.room))?;
        self.held += moved;
        Ok(moved)
    }

    /// Gives a socket what is held, as far as it takes it without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing, and what is wrong with it.
    pub fn pour(&mut self, to: impl AsFd) -> io::Result<usize> {
        let moved = splice::splice(self.read.as_fd(), to.as_fd(), self.held)?;
        self.held = self.held.saturating_sub(moved);
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        other.set_nonblocking(true).unwrap();
        (one, other)
    }

    #[test]
    fn what_comes_at_one_socket_leaves_by_the_other_and_its_end_is_seen() {
        let ((mut client, from), (mut server, to)) = (pair(), pair());
        let mut pipe = Pipe::new(64 << 10).unwrap();
        assert_eq!(pipe.fill(&from).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut moved = 0;
        while moved < 5 {
            moved += pipe.fill(&from).unwrap_or(0);
        }
        assert_eq!((pipe.held(), pipe.pour(&to).unwrap(), pipe.held()), (5, 5, 0));
        let end = std::iter::repeat_with(|| pipe.fill(&from)).find_map(Result::ok);
        assert_eq!(end, Some(0));
        let mut said = [0; 5];
        server.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"hello");
    }
}
