//! Where the door listens: the sockets of every thread, kept for a reload and for the process that comes after this one.
//!
//! Each thread has a socket of its own at every place, and the kernel shares connections out between them. A connection that waits to be
//! accepted belongs to one of these sockets and is refused when that is closed; so a place that stays keeps its sockets through a reload, and through an
//! upgrade to another process.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use super::listener::listen_with;
use super::{Buffers, DoorError};
use crate::filter::Networks;
use crate::h3::socket::{self, Before, Ids, mailboxes};
use crate::tls::Tls;

/// Numbers of ports that are tried where any is welcome.
const PORTS: u32 = 16;

/// An address to listen on.
#[derive(Clone)]
pub struct Place {
    /// The address. With port 0, one that is free.
    pub address: SocketAddr,
    /// A certificate, for HTTPS.
    pub tls: Option<Arc<Tls>>,
    /// Whether HTTP/3 is spoken, too; only with a certificate whose TLS offers it.
    pub http3: bool,
    /// Connections that may wait to be accepted, for each thread.
    pub backlog: i32,
    /// What the kernel keeps for each connection, and for HTTP/3 for each thread.
    pub buffers: Buffers,
    /// Proxies whose connections begin with a header that says whose they are.
    pub proxies: Networks,
}

impl Place {
    fn speaks_quic(&self) -> bool {
        self.http3 && self.tls.is_some()
    }
}

/// Which place, for as long as the door is open.
pub(super) type Key = u64;

/// The sockets of a thread at a place.
pub(super) struct Sockets {
    pub(super) key: Key,
    pub(super) place: Place,
    /// More than one where the process before had more threads.
    pub(super) tcp: Vec<TcpListener>,
    pub(super) quic: Option<socket::Place>,
}

/// The way from a process that has taken a thread's sockets over back to that thread.
pub(super) type Way = (Key, UnixDatagram);

/// The sockets of a place, on their way from one process to the next.
pub struct Handed {
    /// The address as it was configured.
    pub address: SocketAddr,
    /// Those of TCP.
    pub tcp: Vec<OwnedFd>,
    /// Those of QUIC.
    pub quic: Option<HandedQuic>,
}

/// The sockets of QUIC at a place, on their way from one process to the next.
pub struct HandedQuic {
    /// The key of connection ids.
    pub key: [u64; 2],
    /// Which of the processes that share the key.
    pub generation: u8,
    /// A socket for each thread.
    pub udp: Vec<OwnedFd>,
    /// For each thread, where what arrives for its connections is to be sent.
    pub back: Vec<OwnedFd>,
}

/// A place that is listened at.
struct Held {
    key: Key,
    place: Place,
    /// The address that was found.
    address: SocketAddr,
    tcp: Vec<Arc<TcpListener>>,
    quic: Option<(Ids, Vec<Arc<UdpSocket>>)>,
}

/// Every place that is listened at, as they were configured.
pub(super) struct Places {
    threads: usize,
    next: Key,
    held: Vec<Held>,
}

/// What becomes of them.
pub(super) struct Change {
    pub(super) after: Places,
    /// What each thread has to open.
    pub(super) open: Vec<Vec<Sockets>>,
    /// What all have to close.
    pub(super) close: Vec<Key>,
}

impl Held {
    fn again(&self, place: &Place) -> Self {
        Self {
            key: self.key,
            place: place.clone(),
            address: self.address,
            tcp: self.tcp.clone(),
            quic: self.quic.clone(),
        }
    }

    /// Whether the threads can go on as they are.
    fn serves(&self, place: &Place) -> bool {
        let same = match (&self.place.tls, &place.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same && self.quic.is_some() == place.speaks_quic() && self.place.proxies == place.proxies
    }
}

impl Places {
    /// None.
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, next: 0, held: Vec::new() }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.held.iter().map(|held| held.address).collect()
    }

    /// How many connections may wait is said with each call, and a second one changes it; those that come from here on have these buffers. What is
    /// no longer said stays as it was.
    pub(super) fn listen_again(&self) {
        for held in &self.held {
            let Place { backlog, buffers, .. } = held.place;
            let tcp = held.tcp.iter().map(|socket| {
                buffers.set(socket)?;
                rustix::net::listen(socket, backlog).map_err(io::Error::from)
            });
            let quic = held.quic.iter().flat_map(|(_, sockets)| sockets).map(|socket| buffers.set(socket));
            for error in tcp.chain(quic).filter_map(Result::err) {
                tracing::warn!(%error, listener = %held.address, "a socket stays as it was");
            }
        }
    }

    /// Makes ready to listen at these places: with the sockets that there are, with those `handed` over, and with new ones.
    pub(super) fn change(&self, places: &[Place], handed: &mut Vec<Handed>) -> Result<Change, DoorError> {
        let (mut left, mut gone): (Vec<&Held>, Vec<&Held>) = (self.held.iter().collect(), Vec::new());
        let mut after = Self { threads: self.threads, next: self.next, held: Vec::with_capacity(places.len()) };
        let mut open: Vec<Vec<_>> = (0..self.threads).map(|_| Vec::new()).collect();
        for place in places {
            let known =
                left.iter().position(|held| held.place.address == place.address).map(|index| left.remove(index));
            if let Some(known) = known.filter(|known| known.serves(place)) {
                after.held.push(known.again(place));
                continue;
            }
            let before = handed.iter().position(|one| one.address == place.address).map(|index| handed.remove(index));
            gone.extend(known);
            let tcp = known.map(|known| (known.address, known.tcp.clone()));
            let (held, sockets) = after.open(place, tcp, before)?;
            open.iter_mut().zip(sockets).for_each(|(thread, sockets)| thread.push(sockets));
            after.held.push(held);
        }
        let close = left.into_iter().chain(gone).map(|held| held.key).collect();
        Ok(Change { after, open, close })
    }

    /// Listens at a place.
    fn open(
        &mut self,
        place: &Place,
        known: Option<(SocketAddr, Vec<Arc<TcpListener>>)>,
        handed: Option<Handed>,
    ) -> Result<(Held, Vec<Sockets>), DoorError> {
        let key = self.next;
        self.next += 1;
        let (tcp, udp) = match handed {
            Some(Handed { tcp, quic, .. }) => (tcp.into_iter().map(|fd| Arc::new(fd.into())).collect(), quic),
            None => (known.map(|(_, tcp)| tcp).unwrap_or_default(), None),
        };
        let mut bound = self.bind(key, place, tcp.clone(), udp);
        for _ in 1..PORTS {
            match &bound {
                // The UDP port of that number is somebody else's: another number may be free for both.
                Err(DoorError::Quic { .. }) if place.address.port() == 0 && tcp.is_empty() => {}
                _ => break,
            }
            bound = self.bind(key, place, Vec::new(), None);
        }
        bound
    }

    fn bind(
        &self,
        key: Key,
        place: &Place,
        mut tcp: Vec<Arc<TcpListener>>,
        handed: Option<HandedQuic>,
    ) -> Result<(Held, Vec<Sockets>), DoorError> {
        let mut address = place.address;
        let failed = |address| move |source| DoorError::Listen { address, source };
        if let Some(first) = tcp.first() {
            address = first.local_addr().map_err(failed(address))?;
        }
        while tcp.len() < self.threads {
            let socket = listen_with(address, place.backlog, |socket| place.buffers.set(socket));
            tcp.push(Arc::new(socket.map_err(failed(address))?));
            // With port 0, the first finds one for all.
            if let Some(first) = tcp.first() {
                address = first.local_addr().map_err(failed(address))?;
            }
        }
        let (mut quic, mut of_threads) = (None, Vec::new());
        if place.speaks_quic() {
            let failed = |source| DoorError::Quic { address, source };
            let (ids, held, places) = self.bind_quic(address, place.buffers, handed).map_err(failed)?;
            (quic, of_threads) = (Some((ids, held)), places);
        }
        let mut of_threads = of_threads.into_iter();
        let mut sockets = Vec::with_capacity(self.threads);
        for thread in 0..self.threads {
            let own = tcp.iter().skip(thread).step_by(self.threads).map(|socket| socket.try_clone());
            let own = own.collect::<io::Result<_>>().map_err(failed(address))?;
            sockets.push(Sockets { key, place: place.clone(), tcp: own, quic: of_threads.next() });
        }
        Ok((Held { key, place: place.clone(), address, tcp, quic }, sockets))
    }

    /// A UDP socket for each thread; those of a process before this one go on, and what is its connections' finds its way back.
    fn bind_quic(
        &self,
        address: SocketAddr,
        buffers: Buffers,
        handed: Option<HandedQuic>,
    ) -> io::Result<(Ids, Vec<Arc<UdpSocket>>, Vec<socket::Place>)> {
        let (mut udp, mut ids, mut before) = (Vec::with_capacity(self.threads), Ids::random()?, None);
        if let Some(HandedQuic { key, generation, udp: handed, back }) = handed {
            udp.extend(handed.into_iter().map(UdpSocket::from).map(Arc::new));
            ids = Ids::after(key, generation);
            before = Some(Arc::new(Before::new(generation, back)?));
        }
        udp.truncate(self.threads);
        while udp.len() < self.threads {
            udp.push(Arc::new(socket::bind(address, buffers)?));
        }
        let mailboxes = mailboxes(u16::try_from(self.threads).unwrap_or(u16::MAX));
        let places = udp.iter().zip(mailboxes).map(|(socket, mailbox)| {
            Ok(socket::Place { socket: socket.try_clone()?, ids, mailbox, before: before.clone() })
        });
        let places = places.collect::<io::Result<_>>()?;
        Ok((ids, udp, places))
    }

    /// Copies of all sockets, and for each thread the ways by which its datagrams come back to it.
    pub(super) fn hand_over(&self) -> io::Result<(Vec<Handed>, Vec<Vec<Way>>)> {
        let mut ways: Vec<Vec<Way>> = (0..self.threads).map(|_| Vec::new()).collect();
        let mut handed = Vec::with_capacity(self.held.len());
        for held in &self.held {
            let tcp = held.tcp.iter().map(|one| one.try_clone().map(OwnedFd::from)).collect::<io::Result<_>>()?;
            let quic = held.quic.as_ref().map(|(ids, sockets)| {
                let udp = sockets.iter().map(|one| one.try_clone().map(OwnedFd::from)).collect::<io::Result<_>>()?;
                let mut back = Vec::with_capacity(self.threads);
                for ways in &mut ways {
                    let (theirs, ours) = UnixDatagram::pair()?;
                    theirs.set_nonblocking(true)?;
                    ours.set_nonblocking(true)?;
                    back.push(theirs.into());
                    ways.push((held.key, ours));
                }
                Ok::<_, io::Error>(HandedQuic { key: ids.key(), generation: ids.generation(), udp, back })
            });
            handed.push(Handed { address: held.place.address, tcp, quic: quic.transpose()? });
        }
        Ok((handed, ways))
    }
}
