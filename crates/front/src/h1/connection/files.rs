//! Bodies that are files: sent by the kernel where nothing has to be encrypted, read otherwise.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use outwork_net::Mapping;
use tokio::io::Interest;

use super::{Connection, Transport};
use crate::file::{self, DirectReader, FileTransfer};
use crate::message::{FilePart, Transfer};

/// Bytes of a file that are sent before other connections have their turn.
const FILE_TURN: usize = 1 << 20;

impl<S: Transport> Connection<S> {
    /// Sends a part of a file: by the kernel itself where nothing has to be encrypted.
    pub(super) async fn send_file(&self, head: &[u8], part: FilePart) -> io::Result<()> {
        let plain = self.io.borrow().as_ref().is_some_and(|io| io.plain().is_some());
        let (transfer, sent) = match &part.transfer {
            Transfer::Direct(direct) => (FileTransfer::Direct, self.send_direct(head, &part, direct).await),
            Transfer::Kernel if plain => (FileTransfer::Sendfile, self.send_by_kernel(head, &part, None).await),
            Transfer::Mapped(mapping) if plain => {
                (FileTransfer::Mapped, self.send_by_kernel(head, &part, Some(mapping)).await)
            }
            _ => (FileTransfer::Read, self.send_read(head, &part).await),
        };
        self.worker.metrics.file_parts.of(transfer).inc();
        sent
    }

    async fn send_direct(&self, mut head: &[u8], part: &FilePart, direct: &Arc<File>) -> io::Result<()> {
        let mut reader = DirectReader::new(part, direct);
        while let Some(read) = self.wait_for_disk(reader.next()).await? {
            self.worker.metrics.direct_refused.add(read.refused.into());
            self.write([head, read.piece.as_ref(), &[]]).await?;
            head = &[];
        }
        Ok(())
    }

    /// Reads what is in the page cache into the thread's own buffer and writes that, so that a connection that waits for its client holds no
    /// memory. What is not there is read by another thread.
    async fn send_read(&self, mut head: &[u8], part: &FilePart) -> io::Result<()> {
        let (mut at, end) = (part.offset, part.offset.saturating_add(part.length));
        while at < end {
            let turn = end.min(at.saturating_add(FILE_TURN as u64));
            let cached =
                poll_fn(|context| self.poll_send_cached(context, &mut head, &part.file, &mut at, turn)).await?;
            if cached {
                tokio::task::yield_now().await;
                continue;
            }
            let piece = self.wait_for_disk(file::read(&part.file, at..end, file::HELD)).await?;
            self.write([head, &piece, &[]]).await?;
            head = &[];
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// The client's time goes on when the disk has done its part.
    async fn wait_for_disk<T>(&self, read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        self.worker.metrics.file_waits.inc();
        self.pulse().forever();
        let read = read.await;
        self.allow(|options| options.send_timeout);
        read
    }

    /// Whether everything up to `end` was in the page cache.
    fn poll_send_cached(
        &self,
        context: &mut Context<'_>,
        head: &mut &[u8],
        file: &File,
        at: &mut u64,
        end: u64,
    ) -> Poll<io::Result<bool>> {
        while *at < end {
            let mut scratch = self.worker.scratch.borrow_mut();
            let wanted = usize::try_from(end - *at).unwrap_or(usize::MAX).min(scratch.len());
            let room = scratch.get_mut(..wanted).unwrap_or_default();
            let piece = match file::read_cached(file, room, *at)? {
                None => return Poll::Ready(Ok(false)),
                Some(0) => return Poll::Ready(Err(shorter())),
                Some(read) => room.get(..read).unwrap_or_default(),
            };
            let slices = [IoSlice::new(head), IoSlice::new(piece)];
            let written = ready!(self.poll_io(context, |io, context| io.poll_write_vectored(context, &slices)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent(written);
            let of_head = written.min(head.len());
            *head = head.get(of_head..).unwrap_or_default();
            *at += (written - of_head) as u64;
        }
        Poll::Ready(Ok(true))
    }

    /// Has the kernel send it, after it was made sure that this does not wait for the disk.
    async fn send_by_kernel(&self, mut head: &[u8], part: &FilePart, mapping: Option<&Mapping>) -> io::Result<()> {
        let (mut at, end) = (part.offset, part.offset.saturating_add(part.length));
        while at < end {
            let turn = at..end.min(at.saturating_add(FILE_TURN as u64));
            if !file::is_cached(&part.file, turn.clone()) {
                self.wait_for_disk(file::warm(Arc::clone(&part.file), turn.clone())).await?;
            }
            let turn = turn.end;
            poll_fn(|context| self.poll_send_file(context, &mut head, (&part.file, mapping), &mut at, turn)).await?;
            if at < end {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn poll_send_file(
        &self,
        context: &mut Context<'_>,
        head: &mut &[u8],
        (file, mapping): (&File, Option<&Mapping>),
        at: &mut u64,
        end: u64,
    ) -> Poll<io::Result<()>> {
        let io = self.io.borrow();
        let Some(socket) = io.as_ref().and_then(Transport::plain) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while *at < end {
            ready!(self.pulse().poll(context, |context| socket.poll_write_ready(context)))?;
            let sent = socket.try_io(Interest::WRITABLE, || {
                if !head.is_empty() {
                    // The head shares its segment with the beginning of the file.
                    let flags = rustix::net::SendFlags::MORE | rustix::net::SendFlags::NOSIGNAL;
                    return Ok(rustix::net::send(socket, head, flags)?);
                }
                let wanted = usize::try_from(end - *at).unwrap_or(usize::MAX);
                let mut offset = *at;
                match mapping {
                    Some(mapping) => mapping.send(socket, offset, wanted, false),
                    None => Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), wanted)?),
                }
            });
            match sent {
                Ok(0) => return Poll::Ready(Err(shorter())),
                Ok(sent) if head.is_empty() => {
                    self.sent(sent);
                    *at += sent as u64;
                }
                Ok(sent) => {
                    self.sent(sent);
                    *head = head.get(sent..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::FAULT.raw_os_error()) => {
                    return Poll::Ready(Err(shorter()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn shorter() -> io::Error {
    io::Error::other("the file has become shorter")
}
