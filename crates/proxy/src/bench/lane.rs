//! One connection of a load, or one socket of UDP: it does its part over and over until it is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Kind, Options, Tally};
use crate::config::Protocol;

/// Before a lane that failed begins anew: who refuses everything is not to be asked as fast as can be.
const PAUSE: Duration = Duration::from_millis(20);
/// Exchanges of one connection of a mixed load, and packets that it sends at once.
const EXCHANGES: usize = 10;
const AT_ONCE: usize = 32;
/// `ENOBUFS`: the queue of an interface is full.
const NO_BUFFERS: i32 = 105;

pub(super) async fn run(options: &Options, tally: &Tally) {
    loop {
        let outcome = match options.protocol {
            Protocol::Tcp => stream(options, tally).await,
            Protocol::Udp => datagrams(options, tally).await,
        };
        if let Err(error) = outcome {
            tally.failures.fetch_add(1, Relaxed);
            tally.first.lock().get_or_insert_with(|| error.to_string());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} came in time"))
}

impl Tally {
    fn sent(&self, octets: usize) {
        self.packets.fetch_add(1, Relaxed);
        self.sent.fetch_add(octets as u64, Relaxed);
    }

    fn received(&self, octets: usize) {
        self.received.fetch_add(octets as u64, Relaxed);
    }

    fn exchanged(&self, since: Instant) {
        self.exchanges.fetch_add(1, Relaxed);
        self.times.record(since.elapsed());
    }
}

async fn stream(options: &Options, tally: &Tally) -> io::Result<()> {
    let begun = Instant::now();
    let connected = timeout(options.timeout, TcpStream::connect(options.target)).await;
    let mut stream = connected.map_err(|_| late("no connection"))??;
    stream.set_nodelay(true)?;
    tally.connections.fetch_add(1, Relaxed);
    let packet = vec![b'x'; options.packet_size];
    match options.kind {
        Kind::Connections => {
            tally.times.record(begun.elapsed());
            // A reset spares this host the port, which would be kept for a minute otherwise.
            stream.set_zero_linger()?;
            return Ok(());
        }
        Kind::Throughput => {
            let (mut from, mut to) = stream.split();
            let write = async {
                loop {
                    to.write_all(&packet).await?;
                    tally.sent(packet.len());
                }
            };
            let read = async {
                let mut buffer = vec![0; 65_536];
                loop {
                    match from.read(&mut buffer).await? {
                        0 => return Ok::<(), io::Error>(()),
                        length => tally.received(length),
                    }
                }
            };
            tokio::select! {
                written = write => return written,
                read = read => read?,
            }
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the target ended a connection"));
        }
        Kind::Latency => loop {
            echo(options, tally, &mut stream, &packet).await?;
        },
        Kind::Mixed => {
            for _ in 0..EXCHANGES {
                echo(options, tally, &mut stream, &packet).await?;
            }
            let (mut from, mut to) = stream.split();
            let write = async {
                for _ in 0..AT_ONCE {
                    to.write_all(&packet).await?;
                    tally.sent(packet.len());
                }
                Ok::<(), io::Error>(())
            };
            let read = async {
                let mut back = vec![0; packet.len()];
                for _ in 0..AT_ONCE {
                    from.read_exact(&mut back).await?;
                    tally.received(back.len());
                }
                Ok::<(), io::Error>(())
            };
            let both = timeout(options.timeout, async { tokio::try_join!(write, read) }).await;
            both.map_err(|_| late("no answer"))??;
        }
    }
    stream.set_zero_linger()
}

/// Sends a packet and waits until as much has come back.
async fn echo(options: &Options, tally: &Tally, stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    let begun = Instant::now();
    let mut back = vec![0; packet.len()];
    let (mut from, mut to) = stream.split();
    // Beside each other: a large one may have to be read before all of it is taken.
    let both = async { tokio::try_join!(to.write_all(packet), from.read_exact(&mut back)) };
    timeout(options.timeout, both).await.map_err(|_| late("no answer"))??;
    tally.sent(packet.len());
    tally.received(back.len());
    tally.exchanged(begun);
    Ok(())
}

async fn datagrams(options: &Options, tally: &Tally) -> io::Result<()> {
    let any: SocketAddr = match options.target {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(options.target).await?;
    tally.connections.fetch_add(1, Relaxed);
    let packet = vec![b'x'; options.packet_size];
    let mut buffer = vec![0; 65_536];
    match options.kind {
        Kind::Throughput => loop {
            for _ in 0..AT_ONCE {
                match socket.send(&packet).await {
                    Ok(length) => tally.sent(length),
                    // There is no room just now.
                    Err(error) if error.raw_os_error() == Some(NO_BUFFERS) => break,
                    Err(error) => return Err(error),
                }
            }
            while let Ok(length) = socket.try_recv(&mut buffer) {
                tally.received(length);
            }
            tokio::task::yield_now().await;
        },
        Kind::Latency => loop {
            question(options, tally, &socket, &packet, &mut buffer).await?;
        },
        // Each socket is a flow of its own.
        Kind::Connections => question(options, tally, &socket, &packet, &mut buffer).await,
        Kind::Mixed => {
            for _ in 0..EXCHANGES {
                question(options, tally, &socket, &packet, &mut buffer).await?;
            }
            for _ in 0..AT_ONCE {
                tally.sent(socket.send(&packet).await?);
            }
            while let Ok(length) = socket.try_recv(&mut buffer) {
                tally.received(length);
            }
            Ok(())
        }
    }
}

/// Sends a datagram and waits for one; that none comes is a loss, and no failure.
async fn question(
    options: &Options,
    tally: &Tally,
    socket: &UdpSocket,
    packet: &[u8],
    buffer: &mut [u8],
) -> io::Result<()> {
    // An answer that came too late is nobody's.
    while socket.try_recv(buffer).is_ok() {}
    let begun = Instant::now();
    tally.sent(socket.send(packet).await?);
    match timeout(options.timeout, socket.recv(buffer)).await {
        Ok(answer) => {
            tally.received(answer?);
            tally.exchanged(begun);
        }
        Err(_) => {
            tally.lost.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}
