//! Programs of eBPF that are assembled here (`bpf(2)`).

use std::io;
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};

/// Loads a program.
const LOAD: libc::c_int = 5;
/// The kind of programs that look at a packet and give a number.
const SOCKET_FILTER: u32 = 1;

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    /// Of a jump: instructions that are left out.
    pub(crate) offset: i16,
    value: i32,
}

impl Instruction {
    pub(crate) fn new(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
        // Two fields of four bits, which compilers begin at the end that the machine's numbers begin at.
        let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        Instruction { code, registers, offset, value }
    }
}

/// The part of `union bpf_attr` for programs.
#[repr(C)]
struct Attr {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// Loads a program that looks at packets.
pub(crate) fn load_socket_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let license = c"MIT OR Apache-2.0";
    let mut attr = Attr {
        kind: SOCKET_FILTER,
        count,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `attr`, `count` instructions and a string that ends in a zero octet, all alive during the call, and writes none of them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw mut attr, size_of::<Attr>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it; it is closed on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
