//! How many files and sockets this process may have open (`RLIMIT_NOFILE`). Programs begin with a soft limit of 1024, as a rule, for the sake of those that use
//! `select`; those that do not may raise it to the hard one.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit as far as it goes. Programs that are started from here on have it, too.
///
/// # Errors
/// When the kernel refuses.
pub fn raise() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Connections that there is room for, once the limit [is raised](raise): a part of it is for files, databases, logs and other services.
pub fn room_for_connections() -> usize {
    room(getrlimit(Resource::Nofile).maximum)
}

fn room(limit: Option<u64>) -> usize {
    /// What others need at most.
    const OTHERS: u64 = 1 << 16;
    let room = limit.map_or(u64::MAX, |limit| limit - (limit / 4).min(OTHERS));
    usize::try_from(room).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_limit_is_left_to_others() {
        assert_eq!([Some(1024), Some(1 << 20), None].map(room), [768, (1 << 20) - (1 << 16), usize::MAX]);
    }
}
