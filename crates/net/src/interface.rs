//! The interfaces of this host with their IPv4 addresses, by [`netlink`].

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use outwork_wire::MacAddr;

use crate::netlink::{self, MESSAGES};
use crate::{Context, Result, sys};

/// An IPv4 address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of the network part, 0 to 32.
    pub prefix_length: u8,
}

impl Address {
    /// Whether `other` is in the same network.
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_length.min(32))).unwrap_or(0);
        (u32::from(self.address) ^ u32::from(other)) & mask == 0
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index: another one when it is removed and made anew.
    pub index: u32,
    /// Its hardware address, if it is an Ethernet interface.
    pub mac: Option<MacAddr>,
    /// Octets of the longest packet.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it has a carrier as well.
    pub running: bool,
    /// Whether it leads back to this host.
    pub loopback: bool,
    /// Its IPv4 addresses, the primary one first.
    pub addresses: Vec<Address>,
}

/// The interfaces of this network namespace, in the order of their indexes.
pub fn interfaces() -> Result<Vec<Interface>> {
    list().context(|| "list the interfaces".to_owned())
}

fn list() -> io::Result<Vec<Interface>> {
    let mut kernel = netlink::Connection::begin()?;
    let told = |refusal: netlink::Refusal| refusal.source;
    let links = kernel.list(&netlink::link::all(), netlink::link::read).map_err(told)?;
    let addresses = kernel.list(&netlink::address::all_v4(), netlink::address::read).map_err(told)?;
    let mut interfaces: BTreeMap<u32, Interface> = links.into_iter().map(|link| (link.index, link.into())).collect();
    for address in addresses {
        if let Some(interface) = interfaces.get_mut(&address.link)
            && let IpAddr::V4(v4) = address.prefix.address
        {
            interface.addresses.push(Address { address: v4, prefix_length: address.prefix.length });
        }
    }
    Ok(interfaces.into_values().collect())
}

impl From<netlink::Link> for Interface {
    fn from(link: netlink::Link) -> Interface {
        let netlink::Link { name, index, mac, mtu, up, carrier, loopback, .. } = link;
        Interface { name, index, mac, mtu, up, running: carrier, loopback, addresses: Vec::new() }
    }
}

/// Says when interfaces or their IPv4 addresses change. Wait for it to be readable.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches from now on, in the network namespace of this thread.
    pub fn new() -> Result<Watch> {
        let attempt = || {
            let fd = sys::socket::open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
            sys::socket::bind_netlink(fd.as_fd(), (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR) as u32)?;
            Ok(Watch(fd))
        };
        attempt().context(|| "watch the interfaces".to_owned())
    }

    /// Forgets the changes that have been told so far, and says whether there were any: then [`interfaces`] shall be asked again.
    /// After a very long burst some are left for the next call.
    pub fn drain(&self) -> Result<bool> {
        // What changed is in the list itself; the messages need no room here.
        let mut buffer = [0; 1];
        for told in 0..MESSAGES {
            match sys::socket::receive(self.0.as_fd(), &mut buffer) {
                // Messages were lost: something did change.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(told > 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => drop(result.context(|| "watch the interfaces".to_owned())?),
            }
        }
        Ok(true)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
