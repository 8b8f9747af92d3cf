//! The arguments of `outwork lab`.

use clap::{Args, Subcommand};

/// `outwork lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Builds sites with several uplinks each in network namespaces of this machine, and runs a server in each, until ctrl-C
    ///
    /// Needs root, and `ip` of iproute2. What it prints says how one site talks to another, which takes no more than a shell: each answers by HTTP as well. Every uplink has a cable of its own to a router, by which each reaches each. The other commands break these and mend
    /// them, from another terminal. What was built is gone when it ends.
    #[command(args_conflicts_with_subcommands = true)]
    #[command(after_help = "\
Examples:
  outwork lab sdwan
  outwork lab sdwan --sites 3 --uplinks 2
  outwork lab sdwan pull site1 wan1      from another terminal
  outwork lab sdwan status")]
    Sdwan(SdwanLabArgs),
}

/// `outwork lab sdwan`.
#[derive(Debug, Args)]
pub(crate) struct SdwanLabArgs {
    /// Sites.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub(crate) sites: u32,
    /// Uplinks of each.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4))]
    pub(crate) uplinks: u32,
    /// Without one, the lab is built.
    #[command(subcommand)]
    pub(crate) command: Option<SdwanLab>,
}

/// What is done to a lab that stands.
#[derive(Debug, Subcommand)]
pub(crate) enum SdwanLab {
    /// Shows the paths of each site, as its server says they are
    Status,
    /// Pulls the cable of an uplink
    #[command(after_help = "\
Examples:
  outwork lab sdwan pull site1 wan1")]
    Pull(LabUplink),
    /// Plugs it in again
    #[command(after_help = "\
Examples:
  outwork lab sdwan plug site1 wan1")]
    Plug(LabUplink),
    /// Has an uplink lose a part of all packets, in both directions; needs `nft`
    #[command(after_help = "\
Examples:
  outwork lab sdwan drop site1 wan1 30
  outwork lab sdwan drop site1 wan1 100      everything, though the cable is in
  outwork lab sdwan drop site1 wan1 0        nothing any more")]
    Drop {
        #[command(flatten)]
        uplink: LabUplink,
        /// How many of a hundred.
        #[arg(value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// Delays what comes to a site by an uplink: the round trip grows by it; needs `tc` and the kernel's netem
    #[command(after_help = "\
Examples:
  outwork lab sdwan delay site1 wan1 80
  outwork lab sdwan delay site1 wan1 0")]
    Delay {
        #[command(flatten)]
        uplink: LabUplink,
        /// By so much.
        #[arg(value_name = "MILLISECONDS", value_parser = clap::value_parser!(u32).range(0..=10_000))]
        milliseconds: u32,
    },
    /// Ends it, and removes what is left of one whose process was killed
    Stop,
}

/// An uplink of a lab.
#[derive(Debug, Args)]
pub(crate) struct LabUplink {
    /// Whose: site1 and so on.
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// Which: wan1 and so on.
    #[arg(value_name = "UPLINK")]
    pub(crate) uplink: String,
}
