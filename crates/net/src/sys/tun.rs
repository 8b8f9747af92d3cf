//! TUN devices (`Documentation/networking/tuntap.rst` of the kernel): what is said of a descriptor of `/dev/net/tun`.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Makes a device of a name, or another queue of it, with these flags (`IFF_...`).
pub(crate) fn attach(fd: BorrowedFd<'_>, name: &str, flags: i32) -> io::Result<()> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all zeroes is valid for `ifreq`: a name of characters, and a union of integers and a null pointer.
    let mut request: libc::ifreq = unsafe { zeroed() };
    request.ifr_name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the kernel reads and writes one `ifreq`, which is alive during the call; its name ends in a zero octet.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map(drop)
}

/// The name of the device that a descriptor is a queue of, and its flags (`IFF_...`).
pub(crate) fn attached(fd: BorrowedFd<'_>) -> io::Result<(String, i32)> {
    // SAFETY: all zeroes is valid for `ifreq`, as above.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // SAFETY: the kernel writes one `ifreq`, which is alive during the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF as _, &raw mut request) })?;
    let name = request.ifr_name.iter().take_while(|octet| **octet != 0).map(|octet| char::from(*octet as u8)).collect();
    // SAFETY: the kernel has written the flags.
    Ok((name, i32::from(unsafe { request.ifr_ifru.ifru_flags })))
}

/// Says what the reader of a device can do for the kernel (`TUN_F_...`).
pub(crate) fn set_offload(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: the call takes a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) }).map(drop)
}

/// Has a program (eBPF, a socket filter) choose the queue of each packet that the kernel hands over.
pub(crate) fn set_steering(fd: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let program: libc::c_int = program.as_raw_fd();
    // SAFETY: the kernel reads one `int`, which is alive during the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETSTEERINGEBPF, &raw const program) }).map(drop)
}

/// Has the headers before packets in little-endian order on any machine.
pub(crate) fn set_little_endian(fd: BorrowedFd<'_>) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the kernel reads one `int`, which is alive during the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETLE, &raw const yes) }).map(drop)
}
