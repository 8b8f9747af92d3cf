//! Sockets with addresses that are not of this machine (TPROXY, `ip(7)`: `IP_TRANSPARENT`).

use std::os::fd::AsFd;

use crate::sys::socket;
use crate::{Context, Result};

/// Lets a socket be bound to any address, and take what a rule of the firewall diverts to it. It takes CAP_NET_ADMIN.
///
/// # Errors
/// Where this process may not.
pub fn allow(socket: impl AsFd, is_ipv4: bool) -> Result<()> {
    let (level, name) = match is_ipv4 {
        true => (libc::SOL_IP, libc::IP_TRANSPARENT),
        false => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    socket::set(socket.as_fd(), level, name, 1)
        .context(|| "have a socket with an address that is not of this machine (it takes CAP_NET_ADMIN)".to_owned())
}

/// Leaves it to the connection which port a socket has that is bound without one: then many may have the same, to different servers.
///
/// # Errors
/// What the kernel says.
pub fn port_with_connection(socket: impl AsFd) -> Result<()> {
    socket::set(socket.as_fd(), libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
        .context(|| "leave the port of a socket to its connection".to_owned())
}
