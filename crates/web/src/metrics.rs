//! Every metric of the web server, declared once.

use outwork_front::coding::Coding;
use outwork_telemetry::{labels, metrics};

labels! {
    /// What became of a look into what is kept.
    pub enum Lookup as "result" { Hit = "hit", Changed = "changed", Miss = "miss" }
}

labels! {
    /// Where the content of a file is sent from.
    pub enum Tier as "tier" { Memory = "memory", Sendfile = "sendfile", Mapped = "mapped", Direct = "direct", Read = "read" }
}

labels! {
    /// What became of a compressed file that lay beside its original.
    pub enum Sibling as "result" { Used = "used", Stale = "stale" }
}

metrics! {
    /// Metrics of files.
    pub struct WebMetrics, prefix "outwork_web" {
        /// Files asked for: kept and unchanged, kept but changed since, not kept.
        lookups: Counter by Lookup => history,
        /// Times that a kept file was looked at on the disk, for want of word that it has not changed, or because it was time.
        looks: Counter,
        /// Files kept now.
        kept_files: Gauge,
        /// Memory of what is kept.
        kept: Gauge in bytes => history,
        /// Files let go of to make room for others.
        evicted: Counter,
        /// Contents of files sent, by where from.
        sent: Counter by Tier => history,
        /// Compressed variants made.
        variants_made: Counter by Coding,
        /// Compressed variants sent, prepared ones included.
        variants_sent: Counter by Coding => history,
        /// Compressed files found beside their originals: used, or older than those.
        siblings: Counter by Sibling,
        /// Inodes that the kernel watches for us.
        watches: Gauge,
        /// Changes that the kernel told of.
        watch_events: Counter,
        /// Times that there were more changes than could be told apart, so that everything was looked at anew.
        watch_overflows: Counter,
        /// Files whose changes are not told of: another file system, or too many of them.
        watch_refused: Counter,
        /// Files that the file system would neither map nor open past the page cache.
        tier_refused: Counter,
        /// Lists of folders sent.
        listings: Counter,
        /// Lists that had to leave names out.
        listings_cut: Counter,
        /// Errors answered with a page of their own.
        error_pages: Counter,
        /// Files that could not be served because of an error here.
        errors: Counter,
    }
}
