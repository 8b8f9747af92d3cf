//! A socket that is accepted on, by one thread.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use futures_util::FutureExt;
use outwork_net::thread::Vital;
use tokio::net::TcpStream;

use super::Episode;

/// Pause after a failed accept. Out of descriptors, trying again at once would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that is accepted on.
#[derive(Debug)]
pub struct Acceptor {
    socket: tokio::net::TcpListener,
    local: SocketAddr,
}

impl Acceptor {
    /// Of a socket that listens and does not block, on the runtime of this thread.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(socket: TcpListener) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self { socket: tokio::net::TcpListener::from_std(socket)?, local })
    }

    /// Where it listens.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Takes what has come already.
    pub fn take_what_waits(&self, mut begin: impl FnMut(TcpStream, SocketAddr)) {
        while let Some(Ok((stream, peer))) = self.socket.accept().now_or_never() {
            begin(stream, peer);
        }
    }

    /// Accepts, for as long as anybody waits for this. `failed` counts what could not be accepted; of `unaccepted` one failure after another, the first is told.
    pub async fn run(&self, unaccepted: &Episode, failed: impl Fn(), mut begin: impl FnMut(TcpStream, SocketAddr)) {
        let _vital = Vital;
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => begin(stream, peer),
                Err(error) => {
                    failed();
                    if unaccepted.begins() {
                        tracing::warn!(%error, listener = %self.local, "cannot accept connections; those that follow are counted only");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
