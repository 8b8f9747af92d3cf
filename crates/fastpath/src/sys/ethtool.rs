//! `SIOCETHTOOL`: what a driver says of its interface, and what it is told.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A question: its number, and the octets of the structure that is its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) number: u32,
    pub(crate) octets: usize,
}

/// `ETHTOOL_GDRVINFO`: after the number, 32 octets of the driver's name.
pub(crate) const DRIVER: Question = Question { number: 0x03, octets: 196 };
/// `ETHTOOL_GTXCSUM`: whether checksums are left to the card.
pub(crate) const TX_CHECKSUMS: Question = Question { number: 0x16, octets: 8 };
/// `ETHTOOL_GFLAGS`, of which bit 15 is LRO.
pub(crate) const FLAGS: Question = Question { number: 0x25, octets: 8 };
/// `ETHTOOL_GGRO`: whether runs of segments are joined.
pub(crate) const GRO: Question = Question { number: 0x2b, octets: 8 };

/// Asks, and gives the words of the answer, the first of which is the question's number.
///
/// # Errors
/// When the driver does not answer that, or there is no such interface.
pub(crate) fn ask(socket: BorrowedFd<'_>, interface: &str, question: Question) -> io::Result<Vec<u32>> {
    let mut words = vec![0u32; question.octets.div_ceil(4)];
    if let Some(first) = words.first_mut() {
        *first = question.number;
    }
    exchange(socket, interface, &mut words)?;
    Ok(words)
}

/// Tells: the first of the words is the number of what they say, and they are all of its structure.
///
/// # Errors
/// When the driver refuses, this process may not, or there is no such interface.
pub(crate) fn tell(socket: BorrowedFd<'_>, interface: &str, told: Question, words: &[u32]) -> io::Result<()> {
    let mut words = words.to_vec();
    // Whatever the caller brings, the kernel reads and writes what this number stands for.
    words.resize(told.octets.div_ceil(4), 0);
    if let Some(first) = words.first_mut() {
        *first = told.number;
    }
    exchange(socket, interface, &mut words)
}

/// The call itself; `words` are all of the structure that the first of them stands for.
fn exchange(socket: BorrowedFd<'_>, interface: &str, words: &mut [u32]) -> io::Result<()> {
    // SAFETY: integers, an array of them and a union of those; all zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last octet stays the zero that ends it.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::NotFound.into());
    }
    request.ifr_name.iter_mut().zip(interface.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the request lives until the call returns, and what it points to is as long as the structure of its number; the kernel reads and writes no further.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
