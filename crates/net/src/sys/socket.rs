//! Sockets: opening, options, binding, filters, plain sends and receives.

use std::io;
use std::mem::{size_of, size_of_val};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::address::{self, Address};
use super::check;

/// Opens a non-blocking socket that programs started later do not inherit.
pub(crate) fn open(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an option whose value is plain bytes to the kernel, which checks its size.
fn set_bytes(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: `value` is readable for `length` bytes during the call, and the kernel only reads it.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) }).map(drop)
}

/// Sets an option whose value is an `int`.
pub(crate) fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_bytes(fd, level, name, &value.to_ne_bytes())
}

/// Reads an option whose value is `N` numbers of 32 bits. Numbers that this kernel does not give stay zero.
pub(crate) fn get<const N: usize>(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<[u32; N]> {
    let mut value = [0u32; N];
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is writable for `length` bytes during the call, and any bytes make valid `u32`s.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &mut length) })?;
    Ok(value)
}

/// The index of the interface that a socket is bound to (`asm-generic/socket.h`, Linux 5.0).
pub(crate) const SO_BINDTOIFINDEX: i32 = 62;

/// Binds to the interface of that name.
pub(crate) fn bind_to_device(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    set_bytes(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes())
}

/// Sets an option whose value is a classic BPF program.
pub(crate) fn attach(fd: BorrowedFd<'_>, level: i32, name: i32, program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the kernel reads the `sock_fprog` and the `len` instructions it points to, both alive during the call, and writes neither.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const program).cast(), size) }).map(drop)
}

/// Binds to a socket address of any family, given as its bytes.
fn bind<T>(fd: BorrowedFd<'_>, address: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `address` is readable for `length` bytes; the kernel checks what they mean.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const *address).cast(), length) }).map(drop)
}

/// Binds to an address and port.
pub(crate) fn bind_ip(fd: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let address = Address::from(address);
    let (octets, length) = (address.octets(), address.octets().len() as libc::socklen_t);
    // SAFETY: `octets` is readable for `length` bytes during the call; the kernel checks what they mean.
    check(unsafe { libc::bind(fd.as_raw_fd(), octets.as_ptr().cast(), length) }).map(drop)
}

/// Binds a packet socket to an interface and an ethertype.
pub(crate) fn bind_packet(fd: BorrowedFd<'_>, interface: u32, ethertype: u16) -> io::Result<()> {
    bind(
        fd,
        &libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        },
    )
}

/// Binds a netlink socket to multicast groups (a bit each).
pub(crate) fn bind_netlink(fd: BorrowedFd<'_>, groups: u32) -> io::Result<()> {
    // SAFETY: all zeroes is valid for `sockaddr_nl`: integers, of which a zero port id lets the kernel choose.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    bind(fd, &address)
}

/// The address and port that a socket is bound to.
pub(crate) fn local(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut bytes = [0u8; address::LENGTH];
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: `bytes` is writable for `length` bytes during the call.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), &mut length) })?;
    address::parse(&bytes).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Sends one message to the socket's peer.
pub(crate) fn send(fd: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    // SAFETY: `message` is readable for its length during the call.
    let sent = unsafe { libc::send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one message without blocking: its length, which is more than the buffer's when it was cut.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: `buffer` is writable for its length during the call.
    let length = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

/// Gives a socket room for `octets` of packets that wait to be received, beyond `rmem_max` where this process may.
pub(crate) fn set_receive_buffer(fd: BorrowedFd<'_>, octets: usize) -> io::Result<()> {
    set_buffer(fd, [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF], octets)
}

/// Gives a socket room for `octets` of packets that wait to be sent, beyond `wmem_max` where this process may.
pub(crate) fn set_send_buffer(fd: BorrowedFd<'_>, octets: usize) -> io::Result<()> {
    set_buffer(fd, [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF], octets)
}

fn set_buffer(fd: BorrowedFd<'_>, [force, ask]: [i32; 2], octets: usize) -> io::Result<()> {
    let octets = i32::try_from(octets).unwrap_or(i32::MAX);
    set(fd, libc::SOL_SOCKET, force, octets).or_else(|_| set(fd, libc::SOL_SOCKET, ask, octets))
}

/// Packets that the kernel had for a socket and dropped, its buffer being full.
pub(crate) fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let figures: [u32; 9] = get(fd, libc::SOL_SOCKET, libc::SO_MEMINFO)?;
    Ok(figures.get(libc::SK_MEMINFO_DROPS as usize).copied().unwrap_or_default())
}
