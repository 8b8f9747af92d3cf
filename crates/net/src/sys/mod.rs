//! The system calls. Every unsafe block of the crate is in here, behind functions that are safe for any argument.
#![allow(unsafe_code)]

pub(crate) mod address;
pub(crate) mod batch;
pub(crate) mod bpf;
pub(crate) mod event;
pub(crate) mod mapping;
pub(crate) mod message;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod splice;
pub(crate) mod tun;

/// The result of a system call that gives -1 and sets `errno` on failure.
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
