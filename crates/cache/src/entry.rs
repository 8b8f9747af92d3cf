//! What is cached, and under what.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// What an entry is found by: 128 bits of a hash.
///
/// The hash is SHA-256, cut short, so that nobody can make two requests that share a key, though the same key must be found by every
/// instance and after every restart, which rules out a hash with a secret of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of a list of parts. Where one part ends and the next begins makes a difference. No allocation.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let full: [u8; 32] = hash.finalize().into();
        let mut key = [0; 16];
        key.copy_from_slice(&full[..16]);
        Self(key)
    }

    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Half of it: which slot of a table.
    pub(crate) fn low(&self) -> u64 {
        u128::from_le_bytes(self.0) as u64
    }

    /// The other half: which part of what is parted.
    pub(crate) fn high(&self) -> u64 {
        (u128::from_le_bytes(self.0) >> 64) as u64
    }
}

/// Hexadecimal, as it stands in Redis.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Milliseconds since 1970 in UTC, by the wall clock: what instances of one site agree on, and what outlives a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Later than anything.
    pub const NEVER: Self = Self(u64::MAX);

    /// So much later; [`NEVER`](Self::NEVER) where that does not fit.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `now` until then; zero when it is past.
    pub fn left(self, now: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(now.0))
    }
}

impl From<SystemTime> for UnixMillis {
    /// What lies before 1970 is 1970.
    fn from(time: SystemTime) -> Self {
        Self::default().after(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

/// Where the time comes from. It is asked once a lookup.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The clock of the system.
pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().into())
}

/// Something cached. What its bytes mean is its owner's affair.
///
/// `meta` and `body` should own their memory: a slice of a larger buffer keeps all of that buffer alive, and only its own length is
/// counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is called by whoever purges it: `https://host/path?query`, or another scheme of the owner's.
    pub name: Box<str>,
    /// What its owner keeps about the body.
    pub meta: Bytes,
    /// The body.
    pub body: Bytes,
    /// Words by which it can be purged together with others.
    pub tags: Box<[Box<str>]>,
    /// From then on it is of no use to anybody, and no tier gives it out.
    pub expires: UnixMillis,
    /// What its owner has made of `meta`, so that a hit in memory does not read it again. No tier writes it down.
    pub decoded: Decoded,
}

/// The decoded form of an entry's `meta`, once somebody needs it. It is no part of what the entry is: clones begin without it.
#[derive(Default)]
pub struct Decoded(OnceLock<Box<dyn Any + Send + Sync>>);

impl Decoded {
    /// One that is known already.
    pub fn of<T: Send + Sync + 'static>(value: T) -> Self {
        Self(OnceLock::from(Box::new(value) as Box<_>))
    }

    /// The decoded form, made now if it was not before; `None` where it is of another type.
    pub fn get_or_make<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

impl Clone for Decoded {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Decoded {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Decoded {}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "decoded" } else { "not decoded" })
    }
}

impl Entry {
    /// Bytes of memory that it takes behind an [`Arc`], with what the allocator rounds up.
    pub(crate) fn memory(&self) -> usize {
        /// Two counts of an `Arc`; `Bytes` keep as much beside what they share.
        const COUNTS: usize = 2 * size_of::<usize>();
        /// What a decoded form is larger than `meta`: a header map with its values, and its lines.
        const DECODED: usize = 6;
        let shared = |bytes: &Bytes| if bytes.is_empty() { 0 } else { class(bytes.len()) + class(3 * COUNTS / 2) };
        class(COUNTS + size_of::<Self>())
            + class(self.name.len())
            + shared(&self.meta)
            + DECODED * self.meta.len()
            + shared(&self.body)
            + class(size_of_val(&*self.tags))
            + self.tags.iter().map(|tag| class(tag.len())).sum::<usize>()
    }

    /// What people count it as: its own bytes.
    pub fn len(&self) -> usize {
        self.name.len() + self.meta.len() + self.body.len() + self.tags.iter().map(|tag| tag.len()).sum::<usize>()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What jemalloc takes for an allocation: sizes up to 128 in steps of 16, then four steps to every power of two.
fn class(size: usize) -> usize {
    match size {
        0 => 0,
        1..=128 => size.next_multiple_of(16),
        _ => size.next_multiple_of(1 << ((size - 1).ilog2() - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_where_parts_begin_and_on_nothing_of_this_process() {
        assert_eq!(Key::of(&[b"ab", b"c"]), Key::of(&[b"ab", b"c"]));
        let others: [&[&[u8]]; 4] = [&[b"a", b"bc"], &[b"abc"], &[b"ab", b"c", b""], &[]];
        for other in others {
            assert_ne!(Key::of(&[b"ab", b"c"]), Key::of(other));
        }
        // printf '\1\0\0\0\0\0\0\0a' | sha256sum
        assert_eq!(Key::of(&[b"a"]).to_string(), "ae6121c88ba555f64c3d812123eb799d");
    }

    #[test]
    fn what_was_decoded_once_stays_and_is_no_part_of_what_an_entry_is() {
        let decoded = Decoded::default();
        assert_eq!(decoded.get_or_make(|| 7u32), Some(&7));
        assert_eq!(decoded.get_or_make(|| 8u32), Some(&7));
        assert_eq!(decoded.get_or_make(|| "eight"), None);
        assert_eq!(decoded.clone().get_or_make(|| 9u32), Some(&9));
        assert_eq!(Decoded::of(1u8).get_or_make(|| 2u8), Some(&1));
    }

    #[test]
    fn memory_is_counted_as_the_allocator_gives_it() {
        for (size, taken) in
            [(0, 0), (1, 16), (128, 128), (129, 160), (160, 160), (257, 320), (1000, 1024), (4097, 5120)]
        {
            assert_eq!(class(size), taken, "{size}");
        }
    }

    #[test]
    fn time_left_ends_at_zero_and_never_does_not_come() {
        let now = UnixMillis(1000);
        assert_eq!(now.after(Duration::from_secs(2)).left(now), Duration::from_secs(2));
        assert_eq!(UnixMillis(1).left(now), Duration::ZERO);
        assert_eq!(now.after(Duration::MAX), UnixMillis::NEVER);
    }
}
