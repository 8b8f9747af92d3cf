//! Where it is listened: the sockets of every thread, kept for a reload and for the process that comes after this one.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use outwork_front::door::listen_with;
use outwork_net::transparent;
use rustix::net::sockopt;

use super::L4Error;
use super::rule::Rule;
use super::udp::Moved;
use crate::config::{Listener, Protocol};
use crate::limits::Rate;

/// From when on, and how often, a peer that is silent is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Which post, for as long as this process runs.
pub(super) type Key = u64;

/// The sockets at an address, on their way from one process to the next.
#[derive(Debug)]
pub struct Handed {
    /// What comes there.
    pub protocol: Protocol,
    /// The address.
    pub address: SocketAddr,
    /// One for each thread.
    pub sockets: Vec<OwnedFd>,
}

/// The sockets of one thread at an address.
pub(super) struct Sockets {
    pub(super) key: Key,
    /// What is done there: another after a reload.
    pub(super) rule: Arc<ArcSwap<Rule>>,
    /// Sessions of QUIC, of all threads.
    pub(super) moved: Arc<Moved>,
    /// How fast connections begin, of all threads.
    pub(super) gate: Arc<Rate>,
    /// More than one where the process before had more threads.
    pub(super) sockets: Vec<OwnedFd>,
}

/// An address that is listened at.
#[derive(Clone)]
pub(super) struct Post {
    key: Key,
    address: SocketAddr,
    rule: Arc<ArcSwap<Rule>>,
    moved: Arc<Moved>,
    gate: Arc<Rate>,
    sockets: Vec<Arc<OwnedFd>>,
}

/// Every address that is listened at.
#[derive(Default)]
pub(super) struct Posts {
    threads: usize,
    next: Key,
    held: Vec<Post>,
}

/// What becomes of them.
pub(super) struct Change {
    pub(super) after: Posts,
    /// What each thread has to open.
    pub(super) open: Vec<Vec<Sockets>>,
    /// What all have to close.
    pub(super) close: Vec<Key>,
    /// What is done at those that stay.
    rules: Vec<(Arc<ArcSwap<Rule>>, Arc<Rule>)>,
}

impl Posts {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, next: 0, held: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is done at each of them.
    pub(super) fn rules(&self) -> impl Iterator<Item = (SocketAddr, Arc<Rule>)> {
        self.held.iter().map(|post| (post.address, post.rule.load_full()))
    }

    /// Makes ready to listen for these: with the sockets that there are, with those `handed` over, and with new ones.
    pub(super) fn change(&self, rules: &[Arc<Rule>], mut handed: Vec<Handed>) -> Result<Change, L4Error> {
        let mut left: Vec<&Post> = self.held.iter().collect();
        let mut after = Self { threads: self.threads, next: self.next, held: Vec::new() };
        let mut open: Vec<Vec<_>> = (0..self.threads).map(|_| Vec::new()).collect();
        let mut changed = Vec::new();
        for rule in rules {
            let protocol = rule.settings.protocol;
            for address in &rule.settings.address {
                let is_it = |post: &&Post| post.address == *address && post.rule.load().settings.protocol == protocol;
                if let Some(post) = left.iter().position(is_it).map(|index| left.remove(index)) {
                    after.held.push(post.clone());
                    changed.push((Arc::clone(&post.rule), Arc::clone(rule)));
                    continue;
                }
                let before = handed.iter().position(|one| (one.protocol, one.address) == (protocol, *address));
                let before = before.map(|index| handed.remove(index).sockets).unwrap_or_default();
                let failed = |source| L4Error::Listen { address: *address, source };
                let post = after.bind(rule, *address, before).map_err(failed)?;
                for (thread, open) in open.iter_mut().enumerate() {
                    let own = post.sockets.iter().skip(thread).step_by(after.threads).map(|socket| socket.try_clone());
                    let sockets = own.collect::<io::Result<_>>().map_err(failed)?;
                    open.push(Sockets {
                        key: post.key,
                        rule: Arc::clone(&post.rule),
                        moved: Arc::clone(&post.moved),
                        gate: Arc::clone(&post.gate),
                        sockets,
                    });
                }
                after.held.push(post);
            }
        }
        let close = left.into_iter().map(|post| post.key).collect();
        Ok(Change { after, open, close, rules: changed })
    }

    fn bind(&mut self, rule: &Arc<Rule>, address: SocketAddr, before: Vec<OwnedFd>) -> io::Result<Post> {
        let key = self.next;
        self.next += 1;
        let mut sockets: Vec<_> = before.into_iter().map(Arc::new).collect();
        while sockets.len() < self.threads {
            sockets.push(Arc::new(socket(&rule.settings, address)?));
        }
        let rule = Arc::new(ArcSwap::new(Arc::clone(rule)));
        Ok(Post { key, address, rule, moved: Arc::default(), gate: Arc::default(), sockets })
    }

    /// Copies of all sockets.
    pub(super) fn hand_over(&self) -> io::Result<Vec<Handed>> {
        let handed = self.held.iter().map(|post| {
            let sockets = post.sockets.iter().map(|socket| socket.try_clone()).collect::<io::Result<_>>()?;
            Ok(Handed { protocol: post.rule.load().settings.protocol, address: post.address, sockets })
        });
        handed.collect()
    }
}

impl Change {
    /// From here on, what comes to a post that stays is served as the new configuration says.
    pub(super) fn take_up(&mut self) {
        for (place, rule) in self.rules.drain(..) {
            place.store(rule);
        }
        for post in &self.after.held {
            let rule = post.rule.load();
            for socket in &post.sockets {
                let options = options(&rule.settings, post.address, std::os::fd::AsFd::as_fd(&**socket));
                // How many may wait is said with each call, and a second one changes it.
                let listens = match rule.settings.protocol {
                    Protocol::Tcp => rustix::net::listen(socket, rule.settings.waiting()).map_err(io::Error::from),
                    Protocol::Udp => Ok(()),
                };
                if let Err(error) = options.and(listens) {
                    tracing::warn!(%error, listener = rule.settings.label(), "a socket stays as it was");
                }
            }
        }
    }
}

fn socket(listener: &Listener, address: SocketAddr) -> io::Result<OwnedFd> {
    let options = |socket: BorrowedFd<'_>| options(listener, address, socket);
    match listener.protocol {
        Protocol::Tcp => listen_with(address, listener.waiting(), options).map(TcpListener::into),
        Protocol::Udp => super::udp::bind(address, options),
    }
}

/// What sockets have beside their address. Connections inherit it.
pub(super) fn options(listener: &Listener, address: SocketAddr, socket: BorrowedFd<'_>) -> io::Result<()> {
    if listener.transparent {
        transparent::allow(socket, address.is_ipv4()).map_err(|error| io::Error::new(error.source.kind(), error))?;
    }
    listener.buffers().set(socket)?;
    if listener.protocol == Protocol::Tcp {
        sockopt::set_tcp_nodelay(socket, true)?;
        // Who is cut off earlier than that is found out in any case.
        let asks = listener.idle() > KEEP_ALIVE;
        sockopt::set_socket_keepalive(socket, asks)?;
        if asks {
            sockopt::set_tcp_keepidle(socket, KEEP_ALIVE)?;
        }
    }
    Ok(())
}

/// The same of a connection to a backend, which has its buffers by then.
pub(super) fn of_backend(listener: &Listener, socket: impl std::os::fd::AsFd) {
    let settings = || -> io::Result<()> {
        if listener.idle() > KEEP_ALIVE {
            sockopt::set_socket_keepalive(&socket, true)?;
            sockopt::set_tcp_keepidle(&socket, KEEP_ALIVE)?;
        }
        Ok(())
    };
    if let Err(error) = settings() {
        tracing::debug!(%error, "options of a connection to a backend");
    }
}
