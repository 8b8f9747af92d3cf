//! The `[cache]` section.

use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{At, ByteSize, Secret, choice, days, hours, millis, mins, secs, section};

use crate::server::Server;

section! {
    /// The cache of responses and query results: memory, over Redis, over disk.
    pub struct Settings {
        /// Memory of this process.
        pub l1: L1,
        /// Redis, or what speaks its protocol: shared by all instances of a site, which also tell each other of purges through it.
        pub l2: L2,
        /// Disk of this machine. What lies there outlives a restart.
        pub l3: L3,
        /// Bytes that may wait to be written to Redis, and as many for the disk. What comes beyond stays in memory alone.
        pub queue: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(16)] = ByteSize::mib(64),
    }
}

choice! {
    /// What memory gives up first.
    pub enum Policy {
        /// What was asked for only once (S3-FIFO). Crawlers and downloads do not push out what many ask for.
        S3Fifo = "s3fifo",
        /// What was not asked for the longest.
        Lru = "lru",
    }
}

section! {
    /// The cache in memory.
    pub struct L1 {
        /// Memory that it may take, with all that it needs beside the bytes that are cached.
        pub size: ByteSize [restart, range ByteSize::mib(1)..=ByteSize::gib(16_384)] = ByteSize::mib(256),
        /// How long an entry stays at most. The response may say less.
        pub ttl: Duration [restart, range secs(1)..] = hours(24),
        /// What it gives up first.
        pub policy: Policy [restart] = Policy::S3Fifo,
        /// The largest entry. Whatever this says, it is no larger than all of the size.
        pub max_entry: ByteSize [restart, range ByteSize::kib(1)..=ByteSize::gib(4)] = ByteSize::mib(8),
    }
}

section! {
    /// The cache in Redis. How much it may hold is for Redis to say, by its `maxmemory`, with a `maxmemory-policy` such as
    /// `volatile-lru`: every entry has a time to live, and what is kept of purges has none and must stay.
    pub struct L2 {
        /// Whether it is used.
        pub enabled: bool [restart] = false,
        /// Where it is: `redis://host:6379/0`, `rediss://` for TLS, `unix:///run/redis.sock`. User and password have keys of their own.
        pub url: String [restart] = "redis://127.0.0.1:6379",
        /// The user, where Redis has users.
        pub user: Option<String> [restart],
        /// The password.
        pub password: Option<Secret> [restart],
        /// Certificates (PEM) of who may vouch for the server; unset, those of the operating system.
        pub ca: Option<PathBuf> [restart],
        /// What every key there begins with. Instances with the same prefix share their purges, and the answers of routes that are
        /// written alike, down to the folder and the URL of the database. What a PUT, POST or DELETE has changed goes from Redis and from the instance
        /// that answered it; others give what they have in memory or on disk until its time is over, or until it is purged.
        pub prefix: String [restart] = "outwork:",
        /// How long an entry stays at most. The response may say less.
        pub ttl: Duration [restart, range secs(1)..] = hours(24),
        /// How long a request waits for Redis before it goes on without.
        pub timeout: Duration [restart, range millis(1)..=secs(10)] = millis(5),
        /// The largest entry.
        pub max_entry: ByteSize [restart, range ByteSize::kib(1)..=ByteSize::mib(256)] = ByteSize::mib(1),
        /// Failures in a row after which nobody waits for it any more.
        pub failures: u32 [restart, range 1..=1_000_000] = 5,
        /// How long it is left alone then, until it is tried again.
        pub retry: Duration [restart, range millis(10)..=mins(60)] = secs(1),
    }
    check a_url_without_a_password;
}

impl L2 {
    /// The server.
    pub(crate) fn server(&self) -> Server<'_> {
        Server {
            url: &self.url,
            user: self.user.as_deref(),
            password: self.password.as_ref(),
            ca: self.ca.as_deref(),
            prefix: &self.prefix,
        }
    }
}

fn a_url_without_a_password(l2: &L2, at: &mut At<'_>) {
    l2.server().check("cache.l2", at);
}

section! {
    /// The cache on disk.
    pub struct L3 {
        /// Whether it is used.
        pub enabled: bool [restart] = false,
        /// Its directory. Only one Outwork can use it at a time.
        pub path: PathBuf [restart] = "cache",
        /// Disk that it may take.
        pub size: ByteSize [restart, range ByteSize::mib(8)..=ByteSize::gib(65_536)] = ByteSize::gib(4),
        /// How long an entry stays at most. The response may say less.
        pub ttl: Duration [restart, range secs(1)..] = days(7),
        /// The largest entry. Whatever this says, it is no larger than a 64th of the size, or 1MiB where that is more.
        pub max_entry: ByteSize [restart, range ByteSize::kib(1)..=ByteSize::mib(240)] = ByteSize::mib(8),
        /// Entries that it may hold. Each takes about 32 bytes of memory.
        pub max_entries: u32 [restart, range 1_000..=500_000_000] = 1_000_000,
        /// Threads that read.
        pub readers: u16 [restart, range 1..=64] = 2,
        /// How long a request waits for the disk before it goes on without.
        pub timeout: Duration [restart, range millis(1)..=secs(10)] = millis(100),
        /// Failures in a row after which nobody waits for it any more.
        pub failures: u32 [restart, range 1..=1_000_000] = 5,
        /// How long it is left alone then, until it is tried again.
        pub retry: Duration [restart, range millis(10)..=mins(60)] = secs(5),
    }
}

/// Segments that the disk's share is cut into, where they are not smaller than the smallest.
const SEGMENTS: u64 = 64;
const SMALLEST_SEGMENT: u64 = 1 << 20;
/// Offsets in a segment are counted in 28 bits of 64 bytes.
const LARGEST_SEGMENT: u64 = 64 << 28;

impl L3 {
    /// Bytes of the largest entry.
    pub(crate) fn largest(&self) -> u64 {
        self.max_entry.get().min(self.segment_bytes())
    }

    /// Bytes of a segment file.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.size.get() / SEGMENTS).clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT)
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    section! {
        /// A file with nothing else.
        struct Root {
            /// The cache.
            cache: Settings,
        }
    }

    fn read(file: &str) -> Result<Settings, String> {
        let sources = Sources { file: Some(("test.toml".into(), file.into())), env: vec![], set: vec![] };
        load::<Root>(sources).map(|loaded| loaded.value.cache).map_err(|faults| faults.render(false))
    }

    #[test]
    fn memory_is_on_by_default_and_redis_and_disk_are_off() {
        let settings = read("").unwrap();
        assert_eq!(settings, Settings::default());
        assert!(!settings.l2.enabled && !settings.l3.enabled);
        assert_eq!((settings.l1.size, settings.l1.policy), (ByteSize::mib(256), Policy::S3Fifo));
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_shown() {
        for url in ["redis://:hunter2@cache:6379", "redis://hunter2@cache"] {
            let text = read(&format!("[cache.l2]\nurl = '{url}'")).unwrap_err();
            assert!(text.contains("test.toml:2") && text.contains("cache.l2.password"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let settings = read("[cache.l2]\npassword = 'hunter2'").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn what_cannot_work_is_refused_where_it_stands() {
        for (file, line, words) in [
            ("[cache.l2]\nurl = 'http://cache'\n", 2, "redis://host:port"),
            ("[cache.l2]\nurl = 'cache:6379'\n", 2, "redis://host:port"),
            ("[cache.l2]\nca = 'ca.pem'\n", 2, "rediss://"),
        ] {
            let text = read(file).unwrap_err();
            assert!(text.contains(words) && (line == 1 || text.contains(&format!("test.toml:{line}"))), "{text}");
        }
    }

    #[test]
    fn every_form_of_address_is_taken() {
        for url in ["redis://cache", "rediss://cache:6380/2", "unix:///run/redis.sock", "redis://[::1]:6379"] {
            assert_eq!(read(&format!("[cache.l2]\nurl = '{url}'")).unwrap().l2.url, url);
        }
    }
}
