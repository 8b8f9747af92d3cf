//! What Redis says of its size, in the text of `INFO`.

use outwork_telemetry::Counter;

/// What a server holds, for all who share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Keys of the database.
    pub(crate) keys: u64,
    /// Bytes of memory.
    pub(crate) used: u64,
    /// Bytes that it may use: `maxmemory`. `None` where that has no bound.
    pub(crate) limit: Option<u64>,
    /// Keys that it gave up to make room since it was started.
    pub(crate) evicted: u64,
}

impl Size {
    /// Out of the sections `memory` and `stats`; `None` where they do not say what is used, as where something else than Redis answers.
    pub(crate) fn read(info: &str, keys: u64) -> Option<Self> {
        let number = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<u64>().ok())
        };
        Some(Self {
            keys,
            used: number("used_memory")?,
            limit: number("maxmemory").filter(|limit| *limit > 0),
            evicted: number("evicted_keys").unwrap_or_default(),
        })
    }

    /// Counts what was given up since `before`. A server that was started again begins with none.
    pub(crate) fn count_evicted(&self, before: &Self, evictions: &Counter) {
        evictions.add(self.evicted.checked_sub(before.evicted).unwrap_or(self.evicted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_read_out_of_what_redis_says_and_of_nothing_else() {
        let info =
            "# Memory\r\nused_memory:1024\r\nused_memory_human:1K\r\nmaxmemory:0\r\n# Stats\r\nevicted_keys:7\r\n";
        let size = Size { keys: 3, used: 1024, limit: None, evicted: 7 };
        assert_eq!(Size::read(info, 3), Some(size));
        assert_eq!(
            Size::read(&info.replace("maxmemory:0", "maxmemory:2048"), 3),
            Some(Size { limit: Some(2048), ..size })
        );
        assert_eq!(Size::read("# Memory\r\nused_memory_human:1K\r\n", 3), None);
        let evictions = Counter::default();
        Size { evicted: 9, ..size }.count_evicted(&size, &evictions);
        assert_eq!(evictions.get(), 2);
        Size { evicted: 1, ..size }.count_evicted(&size, &evictions);
        assert_eq!(evictions.get(), 3, "it was started again");
    }
}
