//! The interfaces of this host, by netlink (RFC 3549): `rtnetlink(7)` names the structures that are read here.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use outwork_wire::MacAddr;

use crate::{Context, Result, sys};

/// Octets of the largest netlink message read at once; the kernel's dumps use at most 32 KiB.
const BUFFER: usize = 64 * 1024;
/// Datagrams of one dump, and of one drained burst of changes. At some 30 interfaces each this is more than any host has.
const MESSAGES: usize = 10_000;
/// How often a dump is begun anew because the interfaces changed meanwhile.
const ATTEMPTS: usize = 5;

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
    let mut interfaces = BTreeMap::new();
    dump(libc::RTM_GETLINK, |message| {
        if let Some(interface) = link(message) {
            interfaces.insert(interface.index, interface);
        }
    })?;
    dump(libc::RTM_GETADDR, |message| {
        if let Some((index, address)) = address(message)
            && let Some(interface) = interfaces.get_mut(&index)
            // A dump that was begun anew tells some addresses twice.
            && !interface.addresses.contains(&address)
        {
            interface.addresses.push(address);
        }
    })?;
    Ok(interfaces.into_values().collect())
}

/// Asks for every object of a kind, and hands each one's message, without its header, to `each`.
fn dump(request: u16, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let fd = sys::socket::open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        let mut message = Vec::with_capacity(32);
        // `nlmsghdr`, then an `ifinfomsg` or `ifaddrmsg` (the longer one) of zeroes but for the family.
        message.extend_from_slice(&32u32.to_ne_bytes());
        message.extend_from_slice(&request.to_ne_bytes());
        message.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&u32::to_le(libc::AF_INET as u32).to_ne_bytes());
        message.extend_from_slice(&[0; 12]);
        sys::socket::send(fd.as_fd(), &message)?;
        if read_dump(fd.as_fd(), &mut each)? {
            return Ok(());
        }
    }
    Err(io::Error::other("the interfaces change faster than they can be read"))
}

/// Reads the answer to a dump; `false` when it was interrupted by a change (`NLM_F_DUMP_INTR`).
fn read_dump(fd: BorrowedFd<'_>, each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER];
    let mut consistent = true;
    for _ in 0..MESSAGES {
        let length = match sys::socket::receive(fd, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                await_answer(fd)?;
                continue;
            }
            length => length?,
        };
        let Some(mut rest) = buffer.get(..length) else { return Err(io::ErrorKind::InvalidData.into()) };
        while let Some((kind, flags, body)) = next_message(&mut rest) {
            consistent &= flags & libc::NLM_F_DUMP_INTR as u16 == 0;
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(consistent),
                libc::NLMSG_ERROR => {
                    let code = body.first_chunk().map_or(libc::EIO, |code| -i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(code));
                }
                _ => each(body),
            }
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Waits for the kernel to go on with a dump.
fn await_answer(fd: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let mut entries = [libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    match sys::event::poll(&mut entries, Some(Duration::from_secs(5)))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Takes the next message off `rest`: its type, flags and body.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, u16, &'a [u8])> {
    let [l0, l1, l2, l3, t0, t1, f0, f1] = *rest.first_chunk()?;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let body = rest.get(16..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes([t0, t1]), u16::from_ne_bytes([f0, f1]), body))
}

/// The attributes in `rest`: type and value.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, t0, t1] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two high bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
        Some((u16::from_ne_bytes([t0, t1]) & 0x3fff, value))
    })
}

/// Reads an `ifinfomsg` with its attributes.
fn link(message: &[u8]) -> Option<Interface> {
    let number = |at: usize| Some(u32::from_ne_bytes(*message.get(at..)?.first_chunk()?));
    let ethernet = message.get(2..4)? == libc::ARPHRD_ETHER.to_ne_bytes();
    let flags = number(8)? as i32;
    let mut interface = Interface {
        name: String::new(),
        index: number(4)?,
        mac: None,
        mtu: 0,
        up: flags & libc::IFF_UP != 0,
        running: flags & libc::IFF_RUNNING != 0,
        loopback: flags & libc::IFF_LOOPBACK != 0,
        addresses: Vec::new(),
    };
    for (kind, value) in attributes(message.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => {
                interface.name = String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
            }
            libc::IFLA_ADDRESS if ethernet => interface.mac = value.try_into().ok().map(MacAddr),
            libc::IFLA_MTU => interface.mtu = u32::from_ne_bytes(value.try_into().ok()?),
            _ => {}
        }
    }
    Some(interface)
}

/// Reads an `ifaddrmsg` with its attributes: the interface's index and an IPv4 address of it.
fn address(message: &[u8]) -> Option<(u32, Address)> {
    let [family, prefix_length, _, _, i0, i1, i2, i3] = *message.first_chunk()?;
    // On a point-to-point link IFA_ADDRESS is the peer's; IFA_LOCAL is this host's on any link.
    let (_, value) = attributes(message.get(8..)?).find(|(kind, _)| *kind == libc::IFA_LOCAL)?;
    let octets: [u8; 4] = value.try_into().ok()?;
    (i32::from(family) == libc::AF_INET)
        .then_some((u32::from_ne_bytes([i0, i1, i2, i3]), Address { address: octets.into(), prefix_length }))
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
