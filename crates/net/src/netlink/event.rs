//! What the kernel tells when links, addresses and routes change.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::message::{Message, next_message};
use super::{Address, Asked, BUFFER, Link, MESSAGES, Refusal, Result, Route, address, link, route};
use crate::sys;

/// Octets of changes that wait to be read, by the kernel's reckoning: a burst of some thousands.
const WAITING: usize = 4 << 20;

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link is new, or is not as it was.
    Link(Link),
    /// A link is gone.
    LinkGone(Link),
    /// A link has an address, newly or in another state.
    Address(Address),
    /// A link has lost an address.
    AddressGone(Address),
    /// There is a route.
    Route(Route),
    /// A route is gone. The kernel tells this of IPv6, and not of IPv4 routes that went with their link.
    RouteGone(Route),
    /// More changed than there was room for: whoever keeps a list shall ask for it anew.
    Missed,
}

/// Tells of changes in one network namespace. Wait for it to be readable.
#[derive(Debug)]
pub struct Events {
    fd: OwnedFd,
    buffer: Box<[u8]>,
}

impl Events {
    /// Tells of changes from now on, in the network namespace of this thread.
    pub fn subscribe() -> Result<Events> {
        let attempt = || {
            let fd = sys::socket::open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
            sys::socket::set_receive_buffer(fd.as_fd(), WAITING)?;
            let addresses = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
            let routes = libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;
            sys::socket::bind_netlink(fd.as_fd(), (libc::RTMGRP_LINK | addresses | routes) as u32)?;
            Ok(Events { fd, buffer: vec![0; BUFFER].into() })
        };
        attempt().map_err(|error: io::Error| Refusal::from(error)).asked(watch)
    }

    /// Hands on the changes that have been told so far. After a very long burst some are left for the next call.
    pub fn drain(&mut self, mut each: impl FnMut(Event)) -> Result<()> {
        for _ in 0..MESSAGES {
            match sys::socket::receive(self.fd.as_fd(), &mut self.buffer) {
                Ok(length) => {
                    // What is longer than the room for it was cut, and means nothing.
                    let Some(mut rest) = self.buffer.get(..length) else {
                        each(Event::Missed);
                        continue;
                    };
                    while let Some(message) = next_message(&mut rest) {
                        read(&message).into_iter().for_each(&mut each);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => each(Event::Missed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::from(error)).asked(watch),
            }
        }
        Ok(())
    }
}

fn watch() -> String {
    "watch links, addresses and routes".to_owned()
}

fn read(message: &Message<'_>) -> Option<Event> {
    // Of a bridge, this is about its ports: a link that leaves one is not gone (`rtnetlink(7)`: `ifi_family`).
    let is_of_bridge = message.body.first() == Some(&(libc::AF_BRIDGE as u8));
    match message.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK if is_of_bridge => None,
        libc::RTM_NEWLINK => link::read(message.body).map(Event::Link),
        libc::RTM_DELLINK => link::read(message.body).map(Event::LinkGone),
        libc::RTM_NEWADDR => address::read(message.body).map(Event::Address),
        libc::RTM_DELADDR => address::read(message.body).map(Event::AddressGone),
        libc::RTM_NEWROUTE => route::read(message.body).map(Event::Route),
        libc::RTM_DELROUTE => route::read(message.body).map(Event::RouteGone),
        _ => None,
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
