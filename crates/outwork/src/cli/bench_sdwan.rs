//! The arguments of `outwork bench sdwan`.

use clap::{Args, Subcommand};

/// `outwork bench sdwan`.
#[derive(Debug, Subcommand)]
pub(crate) enum SdwanBench {
    /// Measures how long it takes to find the path of a flow, and to make the tables anew that this is read from
    ///
    /// Each selection is measured by itself, with one reading of the clock; what a reading takes alone is reported beside it.
    #[command(after_help = "\
Examples:
  outwork bench sdwan path-selection
  outwork bench sdwan path-selection --iterations 10000 --concurrency 100
  outwork bench sdwan path-selection --at-most-us 1
  outwork bench sdwan path-selection --sites 1000 --paths 16000 --json | jq .selection.p99_us")]
    PathSelection(PathSelectionArgs),
    /// Measures what hellos cost, and what is decided by them
    #[command(after_help = "\
Examples:
  outwork bench sdwan health-check --targets 100 --iterations 100
  outwork bench sdwan health-check --at-most-us 100
  outwork bench sdwan health-check --targets 4000 --json | jq .paths_per_core")]
    HealthCheck(HealthCheckArgs),
    /// Measures how soon a failure is known and traffic is elsewhere, in simulated time
    ///
    /// A cable that is pulled, a line that swallows everything, one that does so in one direction, one that loses a third, and one that takes no long packets any more.
    #[command(after_help = "\
Examples:
  outwork bench sdwan failover --iterations 100
  outwork bench sdwan failover --json | jq '.cases[] | {failure, switching}'")]
    Failover(FailoverArgs),
    /// Measures how fast packets are cut, sealed, opened and joined, in memory, by each thread
    #[command(after_help = "\
Examples:
  outwork bench sdwan throughput
  outwork bench sdwan throughput --packet-size 128 --concurrency 2 --json")]
    Throughput(ThroughputArgs),
    /// Simulates many sites that reach each other by two hubs, has one of these die, and says what a site takes of memory
    #[command(after_help = "\
Examples:
  outwork bench sdwan simulation
  outwork bench sdwan simulation --sites 200 --json | jq .bytes_per_site")]
    Simulation(SimulationArgs),
}

/// `outwork bench sdwan path-selection`.
#[derive(Debug, Args)]
pub(crate) struct PathSelectionArgs {
    /// Sites.
    #[arg(long, value_name = "COUNT", default_value_t = 2000)]
    pub(crate) sites: u32,
    /// Paths to all of them.
    #[arg(long, value_name = "COUNT", default_value_t = 4000)]
    pub(crate) paths: u32,
    /// Policies.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) policies: u32,
    /// Selections of each thread.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    pub(crate) iterations: u64,
    /// Threads.
    #[arg(long, alias = "concurrent", value_name = "COUNT", default_value_t = 1)]
    pub(crate) concurrency: u32,
    /// Chooses flows and what else is done by chance.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Fails where choosing a path takes longer (p99).
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) at_most_us: Option<u32>,
}

/// `outwork bench sdwan health-check`.
#[derive(Debug, Args)]
pub(crate) struct HealthCheckArgs {
    /// Paths that are watched closely.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) targets: u32,
    /// Rounds: a hello to each of them and one from each of them.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub(crate) iterations: u64,
    /// Chooses what is done by chance.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Fails where taking in a hello takes longer (p99).
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) at_most_us: Option<u32>,
}

/// `outwork bench sdwan failover`.
#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    /// Runs of each failure.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) iterations: u64,
    /// Uplinks of each of the two sites.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub(crate) uplinks: u32,
    /// Chooses what is done by chance: the same seed, the same report.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// `outwork bench sdwan throughput`.
#[derive(Debug, Args)]
pub(crate) struct ThroughputArgs {
    /// Pieces, as a device hands them over, of each thread.
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    pub(crate) iterations: u64,
    /// Threads, each with a tunnel of its own.
    #[arg(long, alias = "concurrent", value_name = "COUNT", default_value_t = 1)]
    pub(crate) concurrency: u32,
    /// Octets of a packet.
    #[arg(long, value_name = "OCTETS", default_value_t = 1420)]
    pub(crate) packet_size: u32,
}

/// `outwork bench sdwan simulation`.
#[derive(Debug, Args)]
pub(crate) struct SimulationArgs {
    /// Sites beside the two hubs.
    #[arg(long, value_name = "COUNT", default_value_t = 2000)]
    pub(crate) sites: u32,
    /// Uplinks of each.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub(crate) uplinks: u32,
    /// All of it follows from it.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
}
