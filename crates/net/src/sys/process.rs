//! Threads and the process: affinity, users, capabilities, namespaces.

use std::ffi::CStr;
use std::io;
use std::mem::{size_of, zeroed};

use super::check;

/// The processors that a thread may run on, by its number; 0 is the calling one.
pub(crate) fn affinity(thread: i32) -> io::Result<Vec<usize>> {
    // SAFETY: `cpu_set_t` is an array of integers, for which all zeroes is valid; the call writes at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        check(libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &mut set))?;
        set
    };
    // SAFETY: `CPU_ISSET` indexes the set, and every index here is below its size.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

/// Lets the calling thread run on these processors only.
pub(crate) fn keep_on(cpus: &[usize]) -> io::Result<()> {
    if cpus.iter().any(|cpu| *cpu >= libc::CPU_SETSIZE as usize) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `cpu_set_t` is an array of integers, for which all zeroes is valid, and each of `cpus` is below its size; the call only reads the set.
    check(unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        cpus.iter().for_each(|cpu| libc::CPU_SET(*cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    })
    .map(drop)
}

/// The kernel's `sched_attr` (`sched_setattr(2)`), in its first form.
#[repr(C)]
#[derive(Default)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Reads the calling thread's scheduling attributes, lets `change` change them, and sets them if it did.
fn reschedule(change: impl FnOnce(&mut SchedulingAttributes) -> bool) -> io::Result<()> {
    let mut attributes = SchedulingAttributes::default();
    let size = size_of::<SchedulingAttributes>() as u32;
    // SAFETY: `attributes` is writable for `size` bytes during the call, plain integers for which any bytes are valid.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    if !change(&mut attributes) {
        return Ok(());
    }
    attributes.size = size;
    // SAFETY: the kernel reads `size` bytes of `attributes`, which is alive during the call.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Asks for turns of `nanos` nanoseconds for the calling thread, if it is scheduled as usual. Kernels before 6.12 pay no heed.
pub(crate) fn slice(nanos: u64) -> io::Result<()> {
    reschedule(|attributes| {
        attributes.runtime = nanos;
        attributes.policy == libc::SCHED_OTHER as u32
    })
}

/// Has the calling thread run before all usual ones, for as long as it has something to do (`sched(7)`: SCHED_FIFO, the lowest priority). Threads that it starts do not.
pub(crate) fn real_time() -> io::Result<()> {
    reschedule(|attributes| {
        attributes.policy = libc::SCHED_FIFO as u32;
        attributes.flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
        (attributes.priority, attributes.nice, attributes.runtime) = (1, 0, 0);
        true
    })
}

/// Has the calling thread count for more among usual ones, or for less (`nice(2)`).
pub(crate) fn nice(nice: i32) -> io::Result<()> {
    reschedule(|attributes| {
        attributes.nice = nice;
        attributes.policy == libc::SCHED_OTHER as u32
    })
}

/// Whether the calling thread is scheduled before usual ones, and how nice it is.
#[cfg(test)]
pub(crate) fn scheduled() -> io::Result<(bool, i32)> {
    let mut told = (false, 0);
    reschedule(|attributes| {
        told = (attributes.policy == libc::SCHED_FIFO as u32, attributes.nice);
        false
    })?;
    Ok(told)
}

/// Nanoseconds of a turn, as the kernel has it; 0 where it does not say.
#[cfg(test)]
pub(crate) fn slice_now() -> io::Result<u64> {
    let mut nanos = 0;
    reschedule(|attributes| {
        nanos = attributes.runtime;
        false
    })?;
    Ok(nanos)
}

/// User and primary group number of a user, `None` when there is no such user.
pub(crate) fn user(name: &CStr) -> io::Result<Option<(u32, u32)>> {
    let mut buffer = vec![0u8; 64 * 1024];
    // SAFETY: all zeroes is valid for `passwd` (null pointers and zero numbers).
    let mut entry: libc::passwd = unsafe { zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is to a live local, `buffer` is writable for its length, `name` ends in a zero byte.
    let code =
        unsafe { libc::getpwnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found) };
    match code {
        0 if found.is_null() => Ok(None),
        0 => Ok(Some((entry.pw_uid, entry.pw_gid))),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Becomes `uid` with the groups of the user called `name`, for good, keeping the permitted capabilities for [`set_capabilities`].
pub(crate) fn become_user(name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: the calls take numbers, and a name that ends in a zero byte.
    unsafe {
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check(libc::initgroups(name.as_ptr(), gid))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid))?;
        // No program started from here gains anything by its file's set-user-id bit or capabilities.
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    Ok(())
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl CapabilityHeader {
    /// `_LINUX_CAPABILITY_VERSION_3`, two data elements of 64 capabilities, of the calling thread.
    fn own() -> Self {
        Self { version: 0x2008_0522, pid: 0 }
    }
}

/// The permitted capabilities of the calling thread (bit n: capability n).
pub(crate) fn permitted() -> io::Result<u64> {
    let (mut header, mut data) = (CapabilityHeader::own(), [CapabilityData::default(); 2]);
    // SAFETY: version 3 takes a header and two data elements of this layout, both alive and writable through the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    check(result as libc::c_int)?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Makes `mask` the effective and the permitted capabilities of the calling thread; programs that it starts have `passed_on` of them at most.
pub(crate) fn set_capabilities(mask: u64, passed_on: u64) -> io::Result<()> {
    let mut header = CapabilityHeader::own();
    let half = |shift: u32| CapabilityData {
        effective: (mask >> shift) as u32,
        permitted: (mask >> shift) as u32,
        inheritable: (passed_on >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes a header and two data elements of this layout, both alive through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    check(result as libc::c_int).map(drop)
}

/// Has programs that the calling thread starts have a capability that is permitted and may be passed on.
pub(crate) fn raise_ambient(capability: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0) }).map(drop)
}

/// The effective user of the calling thread.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Moves the calling thread into a network namespace.
#[cfg(any(test, feature = "lab"))]
pub(crate) fn enter_network_namespace(namespace: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}
