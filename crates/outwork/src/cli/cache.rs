//! The arguments of `outwork cache`.

use clap::{Args, Subcommand};

/// `outwork cache`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Shows what the cache holds, how often it is hit, and what is asked for most
    #[command(after_help = "\
Examples:
  outwork cache stats
  outwork cache stats --top 50
  outwork cache stats --json | jq '.requests.hit_rate'")]
    Stats {
        /// How many of the entries that are asked for most to show.
        #[arg(long, default_value_t = 10, value_name = "COUNT")]
        top: usize,
    },
    /// Throws out what is cached, here and in the caches around
    #[command(after_help = "\
Examples:
  outwork cache purge https://www.example.org/news
  outwork cache purge --prefix https://www.example.org/blog/
  outwork cache purge --tag product-7 --tag product-8
  outwork cache purge --all")]
    Purge(PurgeArgs),
    /// Fetches URLs before anybody asks for them
    #[command(after_help = "\
Examples:
  outwork cache warm https://www.example.org/ https://www.example.org/news")]
    Warm {
        /// What to fetch.
        #[arg(required = true, value_name = "URL")]
        urls: Vec<String>,
    },
}

/// What to throw out.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct PurgeArgs {
    /// What was answered to these URLs.
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// What was answered to URLs that begin so.
    #[arg(long, value_name = "URL")]
    pub(crate) prefix: Vec<String>,
    /// What has this tag, by Surrogate-Key or Cache-Tag.
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Everything.
    #[arg(long, conflicts_with_all = ["urls", "prefix", "tag"])]
    pub(crate) all: bool,
}
