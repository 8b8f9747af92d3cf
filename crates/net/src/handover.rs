//! A line between two processes, over which messages go with open files: how one takes another's sockets over (`unix(7)`, `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Files that one packet carries; the kernel takes 253.
const FILES: usize = 128;
/// Bytes of a message.
const TEXT: usize = 64 << 10;

/// One end of the line.
#[derive(Debug)]
pub struct Line(OwnedFd);

/// What came over the line.
#[derive(Debug)]
pub struct Message {
    /// What it says.
    pub text: Vec<u8>,
    /// What it brings.
    pub files: Vec<OwnedFd>,
}

impl Line {
    /// Both ends.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// The end that another process has left for this one.
    pub fn from(file: OwnedFd) -> Self {
        Self(file)
    }

    /// The end, for another process.
    pub fn into_file(self) -> OwnedFd {
        self.0
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the other end is gone, or the message is too long.
    pub fn send(&self, text: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        if text.len() > TEXT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // A packet without text would be the end of the line.
        let count = (files.len() as u64).to_be_bytes();
        let mut parts = files.chunks(FILES);
        self.send_packet(&[IoSlice::new(&count), IoSlice::new(text)], parts.next().unwrap_or_default())?;
        parts.try_for_each(|part| self.send_packet(&[IoSlice::new(&count)], part))
    }

    fn send_packet(&self, text: &[IoSlice<'_>], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        sendmsg(&self.0, text, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; `None` where the other end is gone.
    ///
    /// # Errors
    /// When none comes within `patience`, or what comes is no message.
    pub fn receive(&self, patience: Duration) -> io::Result<Option<Message>> {
        sockopt::set_socket_timeout(&self.0, Timeout::Recv, Some(patience.max(Duration::from_millis(1))))?;
        let Some((text, mut files)) = self.receive_packet()? else { return Ok(None) };
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "this is no message of a process that hands over");
        let (count, text) = text.split_first_chunk::<8>().ok_or_else(broken)?;
        while (files.len() as u64) < u64::from_be_bytes(*count) {
            let Some((_, more)) = self.receive_packet()? else { return Ok(None) };
            if more.is_empty() {
                return Err(broken());
            }
            files.extend(more);
        }
        Ok(Some(Message { text: text.to_vec(), files }))
    }

    fn receive_packet(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; TEXT + 8];
        let received = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                // Once, where the other end was closed with messages unread; its own are still to come.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                received => break received?,
            }
        };
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(found) = message {
                files.extend(found);
            }
        }
        text.truncate(received.bytes);
        Ok((received.bytes > 0).then_some((text, files)))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn open_files_go_over_the_line_with_what_is_said_of_them() {
        let (one, other) = Line::pair().unwrap();
        for count in [0, 1, FILES, FILES + 1, 2 * FILES + 7] {
            let (reading, writing): (Vec<_>, Vec<_>) = (0..count).map(|_| io::pipe().unwrap()).unzip();
            one.send(b"pipes", &reading.iter().map(AsFd::as_fd).collect::<Vec<_>>()).unwrap();
            drop(reading);
            for (index, mut writing) in writing.into_iter().enumerate() {
                writing.write_all(&[index as u8]).unwrap();
            }
            let Message { text, files } = other.receive(SOON).unwrap().unwrap();
            assert_eq!((text.as_slice(), files.len()), (&b"pipes"[..], count));
            for (index, file) in files.into_iter().enumerate() {
                let mut read = Vec::new();
                std::fs::File::from(file).read_to_end(&mut read).unwrap();
                assert_eq!(read, [index as u8]);
            }
        }
    }

    #[test]
    fn the_end_of_the_other_process_and_its_silence_are_told_apart() {
        let (one, other) = Line::pair().unwrap();
        let silent = one.receive(Duration::from_millis(1)).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        other.send(b"", &[]).unwrap();
        one.send(b"never read", &[]).unwrap();
        drop(other);
        assert!(one.receive(SOON).unwrap().unwrap().text.is_empty());
        assert!(one.receive(SOON).unwrap().is_none());
        assert!(one.send(b"hello?", &[]).is_err());
    }
}
