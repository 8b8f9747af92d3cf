//! From root to an ordinary user that keeps a few capabilities. Done once, after what needs root is open and before any thread starts.

use std::ffi::CString;

use crate::sys::process;

/// A capability that a service may need after it has left root (`capabilities(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Bind to ports below 1024.
    NetBindService = 10,
    /// Configure interfaces, and give sockets larger buffers than `rmem_max`.
    NetAdmin = 12,
    /// Open packet sockets, on interfaces that appear later.
    NetRaw = 13,
    /// Share more memory with the kernel than `RLIMIT_MEMLOCK` allows.
    IpcLock = 14,
    /// Have threads run before others.
    SysNice = 23,
    /// Have the kernel look less closely at programs that it is given.
    Perfmon = 38,
    /// Give the kernel programs, and tables for them.
    Bpf = 39,
}

/// Why privileges were not dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The user is not in the password database.
    #[error("there is no user `{0}`: create it (`useradd --system {0}`) or name another")]
    NoUser(String),
    /// Capabilities belong to threads; those already running would keep theirs.
    #[error("privileges must be dropped before threads start, and {0} threads are running")]
    Threads(usize),
    /// The kernel refused.
    #[error("cannot become user `{user}`: {source}")]
    Refused {
        /// The user to become.
        user: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Becomes `user` for good, with `keep` as the only capabilities. Programs started from here on have none, but for those of [`pass_on`].
/// Who is that user already only lets go of the others.
pub fn drop_to(user: &str, keep: &[Capability]) -> Result<(), PrivilegeError> {
    let refused = |source| PrivilegeError::Refused { user: user.to_owned(), source };
    let threads = std::fs::read_dir("/proc/self/task").map_err(refused)?.count();
    if threads != 1 {
        return Err(PrivilegeError::Threads(threads));
    }
    let (name, uid, gid) = look_up(user)?;
    let mut mask = keep.iter().fold(0, |mask, capability| mask | 1 << *capability as u32);
    if process::effective_user() == uid {
        mask &= process::permitted().map_err(refused)?;
    } else {
        process::become_user(&name, uid, gid).map_err(refused)?;
    }
    process::set_capabilities(mask, 0).map_err(refused)
}

/// Whether this thread has a capability, or may take it up: a container may have taken it from root.
pub fn may(capability: Capability) -> bool {
    process::permitted().is_ok_and(|permitted| permitted >> capability as u32 & 1 == 1)
}

/// Does something in a thread of its own, in which programs are started with the capabilities of this one.
///
/// # Errors
/// When the kernel refuses, or there is no thread.
pub fn pass_on<T: Send>(start: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let started = std::thread::Builder::new().name("start".to_owned()).spawn_scoped(scope, || {
            // Root passes all of its own on without being told.
            if process::effective_user() != 0 {
                let permitted = process::permitted()?;
                process::set_capabilities(permitted, permitted)?;
                (0..u64::BITS).filter(|bit| permitted >> bit & 1 == 1).try_for_each(process::raise_ambient)?;
            }
            start()
        })?;
        started.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread has panicked")))
    })
}

/// The ids of a user and its group: what a directory made for it is given to.
pub fn ids(user: &str) -> Result<(u32, u32), PrivilegeError> {
    look_up(user).map(|(_, uid, gid)| (uid, gid))
}

fn look_up(user: &str) -> Result<(CString, u32, u32), PrivilegeError> {
    let no_user = || PrivilegeError::NoUser(user.to_owned());
    let name = CString::new(user).map_err(|_| no_user())?;
    let refused = |source| PrivilegeError::Refused { user: user.to_owned(), source };
    let (uid, gid) = process::user(&name).map_err(refused)?.ok_or_else(no_user)?;
    Ok((name, uid, gid))
}
