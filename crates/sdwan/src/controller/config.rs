//! The `[controller]` section: whether this process says to sites what their network is, and how it keeps that.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use outwork_config::{At, ByteSize, Fault, choice, days, duration_text, hours, millis, mins, secs, section};
use outwork_store::config::check_page_size;
use outwork_store::database::{DatabaseOptions, JournalMode, Synchronous};

/// The controller's database in its directory.
const DATABASE: &str = "sdwan.db";

section! {
    /// The controller of a network: it knows all sites and policies, and tells them to the sites. Off without `listen`. Any site can hold it.
    pub struct ControllerSettings {
        /// Where sites come to.
        pub listen: Vec<SocketAddr> [restart],
        /// How many sites there are. From that come the sizes below that are not said, and how often sites report.
        pub size: Size [restart] = Size::Small,
        /// How long certificates of sites are good. They are made anew when two thirds of that are over.
        pub certificate_life: Duration [restart, range days(1)..=days(3650)] = days(90),
        /// How long it is kept how each path was at each report; unset, as `size` has it.
        pub retention: Option<Duration> [restart, range mins(10)..=days(365)],
        /// Whether that is rolled up into spans besides, which are kept for longer.
        pub roll_up: bool [restart] = true,
        /// How long these spans are, in whole minutes; unset, as `size` has it: 5 minutes, and 10 where there are more than 500 sites.
        pub roll_up_every: Option<Duration> [restart, range mins(1)..=hours(1)],
        /// How long the spans are kept; unset, as `size` has it.
        pub aggregate_retention: Option<Duration> [restart, range hours(1)..=days(3650)],
        /// How long it is kept who changed what, and what has happened to paths.
        pub audit_retention: Duration [restart, range days(1)..=days(3650)] = days(365),
        /// What its database may hold at most; unset, as `size` has it. Beyond it the oldest reports go before their time, then the oldest events; never what the network is to be.
        pub max_size: Option<ByteSize> [restart, range ByteSize::mib(16)..=ByteSize::gib(65_536)],
        /// How its database works.
        pub database: ControllerDatabase,
    }
    check spans_are_of_whole_minutes;
}

fn spans_are_of_whole_minutes(controller: &ControllerSettings, at: &mut At<'_>) {
    if let Some(span) = controller.roll_up_every.filter(|span| !span.as_millis().is_multiple_of(60_000)) {
        let fault = Fault::new(format!("{} is no number of whole minutes", duration_text(span)));
        at.fault("roll_up_every", fault.expected("1m to 1h in whole minutes, such as \"5m\""));
    }
}

choice! {
    /// How many sites there are.
    pub enum Size {
        /// Up to 50.
        Small = "1-50",
        /// Up to 500.
        Medium = "50-500",
        /// Up to 2000.
        Large = "500-2000",
        /// More.
        Huge = "2000+",
    }
}

section! {
    /// How SQLite works on the controller's file. What the words mean: <https://sqlite.org/pragma.html>.
    pub struct ControllerDatabase {
        /// How a transaction is kept atomic.
        pub journal_mode: JournalMode [restart] = JournalMode::Wal,
        /// How often SQLite syncs. With less than `full` a loss of power may take the last changes of the network: sites that were told them show that, and the controller tells nobody
        /// anything until `outwork sdwan accept`.
        pub synchronous: Synchronous [restart] = Synchronous::Full,
        /// Memory for pages, for each connection; unset, as `size` has it.
        pub cache_size: Option<ByteSize> [restart, range ByteSize::bytes(0)..=ByteSize::gib(1024)],
        /// How much of the file is mapped into memory; unset, as `size` has it.
        pub mmap_size: Option<ByteSize> [restart, range ByteSize::bytes(0)..=ByteSize::gib(1024)],
        /// How long a statement waits for another process's lock.
        pub busy_timeout: Duration [restart, range millis(0)..=secs(3600)] = secs(5),
        /// Bytes of a page: 512, 1024, 2048, 4096, 8192, 16384, 32768 or 65536. A file with another page size is rewritten at start.
        pub page_size: u32 [restart, range 512..=65_536] = 4096,
        /// Connections for reading; unset, as `size` has it.
        pub readers: Option<u16> [restart, range 1..=64],
        /// Statements that each connection keeps prepared.
        pub statements: u16 [restart, range 0..=10_000] = 100,
        /// Jobs that may wait for the writer, and as many for the readers. Beyond it they are refused.
        pub queue: u32 [restart, range 1..=1_000_000] = 4096,
    }
    check page_size_is_a_power_of_two;
}

fn page_size_is_a_power_of_two(database: &ControllerDatabase, at: &mut At<'_>) {
    check_page_size(database.page_size, at);
}

/// What follows from how many sites there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Connections for reading.
    pub readers: u16,
    /// Threads of the admin API, which the channel to sites has as well.
    pub threads: u16,
    /// Memory for pages, for each connection.
    pub cache: ByteSize,
    /// How much of the file is mapped into memory.
    pub mapped: ByteSize,
    /// Between reports of a site at least.
    pub report: Duration,
    /// Between looks of sites at paths that carry nothing,
    pub interval: Duration,
    /// and hellos of such a look.
    pub probes: u8,
    /// How long it is kept how each path was at each report.
    pub retention: Duration,
    /// How long a span is that reports are rolled up into.
    pub span: Duration,
    /// How long spans are kept.
    pub aggregate_retention: Duration,
    /// What the database may hold at most.
    pub most: ByteSize,
}

impl Size {
    /// That of a network of so many sites.
    pub const fn of(sites: usize) -> Size {
        match sites {
            ..=50 => Size::Small,
            51..=500 => Size::Medium,
            501..=2000 => Size::Large,
            2001.. => Size::Huge,
        }
    }

    /// What follows from it. Of 2000 sites with two paths to each of a few hubs come some hundred rows a second.
    pub const fn preset(self) -> Preset {
        let small = Preset {
            readers: 2,
            threads: 2,
            cache: ByteSize::mib(16),
            mapped: ByteSize::mib(64),
            report: secs(10),
            interval: secs(10),
            probes: 5,
            retention: days(7),
            span: mins(5),
            aggregate_retention: days(90),
            most: ByteSize::gib(4),
        };
        let medium = Preset {
            readers: 4,
            threads: 4,
            cache: ByteSize::mib(64),
            mapped: ByteSize::mib(256),
            retention: days(3),
            most: ByteSize::gib(16),
            ..small
        };
        let large = Preset {
            readers: 8,
            threads: 8,
            cache: ByteSize::mib(128),
            mapped: ByteSize::mib(512),
            report: secs(15),
            interval: secs(15),
            probes: 3,
            retention: days(1),
            span: mins(10),
            aggregate_retention: days(30),
            most: ByteSize::gib(32),
        };
        match self {
            Size::Small => small,
            Size::Medium => medium,
            Size::Large => large,
            Size::Huge => Preset {
                readers: 16,
                threads: 16,
                cache: ByteSize::mib(256),
                mapped: ByteSize::mib(1024),
                report: secs(30),
                retention: hours(6),
                most: ByteSize::gib(64),
                ..large
            },
        }
    }
}

impl ControllerSettings {
    /// Whether this process is one.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty()
    }

    /// How long it is kept how each path was: at each report, and in spans.
    pub fn kept(&self) -> (Duration, Duration) {
        let preset = self.size.preset();
        let aggregates = self.aggregate_retention.unwrap_or(preset.aggregate_retention);
        (self.retention.unwrap_or(preset.retention), aggregates)
    }

    /// How long the spans are that reports are rolled up into; none where they are not.
    pub fn span(&self) -> Option<Duration> {
        self.roll_up.then(|| self.roll_up_every.unwrap_or(self.size.preset().span))
    }

    /// Octets that its database may hold at most.
    pub fn most(&self) -> u64 {
        self.max_size.unwrap_or(self.size.preset().most).get()
    }

    /// Options of its database in `dir`.
    pub fn database(&self, dir: &Path) -> DatabaseOptions {
        let preset = self.size.preset();
        let ControllerDatabase { journal_mode, synchronous, busy_timeout, page_size, .. } = self.database;
        DatabaseOptions {
            path: dir.join(DATABASE),
            journal_mode,
            synchronous,
            cache_size: self.database.cache_size.unwrap_or(preset.cache).get(),
            mmap_size: self.database.mmap_size.unwrap_or(preset.mapped).get(),
            busy_timeout,
            page_size,
            readers: usize::from(self.database.readers.unwrap_or(preset.readers)),
            statements: usize::from(self.database.statements),
            queue: self.database.queue as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn read(text: &str) -> Result<ControllerSettings, String> {
        let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
        load::<ControllerSettings>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false))
    }

    #[test]
    fn sizes_follow_from_the_number_of_sites_and_what_is_said_counts_before() {
        let options = |text: &str| read(text).unwrap().database(Path::new("/d"));
        let small = options("");
        assert_eq!((small.readers, small.cache_size, small.mmap_size), (2, 16 << 20, 64 << 20));
        let huge = options("size = '2000+'\n[database]\ncache_size = '1MiB'\n");
        assert_eq!((huge.readers, huge.cache_size, huge.mmap_size), (16, 1 << 20, 1024 << 20));
        let kept = read("size = '500-2000'\nretention = '2h'").unwrap().kept();
        assert_eq!(kept, (hours(2), days(30)));
        assert_eq!((read("").unwrap().most(), read("max_size = '1GiB'").unwrap().most()), (4 << 30, 1 << 30));
        assert!(!read("").unwrap().is_on());
    }

    #[test]
    fn reports_are_rolled_up_as_long_as_nobody_says_otherwise() {
        let span = |text: &str| read(text).unwrap().span();
        assert_eq!((span(""), span("size = '500-2000'")), (Some(mins(5)), Some(mins(10))));
        assert_eq!((span("roll_up_every = '1m'"), span("roll_up = false")), (Some(mins(1)), None));
        for text in ["roll_up_every = '90s'", "roll_up_every = '59s'", "roll_up_every = '61m'"] {
            let told = read(text).unwrap_err();
            assert!(told.contains("roll_up_every"), "{told}");
        }
        assert!(read("roll_up_every = '90s'").unwrap_err().contains("whole minutes"));
    }

    #[test]
    fn statements_are_kept_as_many_as_is_said() {
        let statements = |text: &str| read(text).unwrap().database(Path::new("/d")).statements;
        assert_eq!((statements(""), statements("[database]\nstatements = 0")), (100, 0));
    }

    #[test]
    fn a_network_has_the_size_that_its_number_of_sites_is_within() {
        for (sites, size) in [
            (0, Size::Small),
            (50, Size::Small),
            (51, Size::Medium),
            (500, Size::Medium),
            (501, Size::Large),
            (2000, Size::Large),
            (2001, Size::Huge),
        ] {
            assert_eq!(Size::of(sites), size);
        }
    }

    #[test]
    fn more_sites_never_have_smaller_sizes_nor_report_more_often() {
        let presets: Vec<_> = Size::ALL.iter().map(|size| size.preset()).collect();
        for pair in presets.windows(2) {
            assert!(
                pair[0].readers < pair[1].readers && pair[0].cache < pair[1].cache && pair[0].mapped < pair[1].mapped
            );
            assert!(pair[0].report <= pair[1].report && pair[0].retention >= pair[1].retention);
            assert!(pair[0].most < pair[1].most && pair[0].threads < pair[1].threads);
            assert!(pair[0].interval <= pair[1].interval && pair[0].probes >= pair[1].probes);
            assert!(pair[0].span <= pair[1].span);
        }
    }

    #[test]
    fn a_page_size_that_sqlite_does_not_have_is_refused() {
        assert!(read("[database]\npage_size = 5000").unwrap_err().contains("not a power of two"));
    }
}
