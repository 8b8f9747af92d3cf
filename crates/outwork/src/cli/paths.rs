//! The arguments of `outwork paths`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

/// `outwork paths`.
#[derive(Debug, Subcommand)]
pub(crate) enum PathsCommand {
    /// The same as `outwork paths`
    List,
    /// Says what becomes of a flow that begins now: its policy, class and path, and why
    ///
    /// Flows that are under way stay where they are while their path keeps the limits of their class.
    #[command(after_help = "\
Examples:
  outwork paths explain 10.1.0.5 10.2.0.9 --port 443 --name www.example.com
  outwork paths explain 10.1.0.5 10.2.0.9 --protocol udp --port 5060 --dscp EF
  outwork paths explain 10.1.0.5 10.2.0.9 --json | jq '.paths[] | select(.taken)'")]
    Explain(FlowArgs),
}

/// A flow.
#[derive(Debug, Args)]
pub(crate) struct FlowArgs {
    /// The address that it comes from.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: IpAddr,
    /// The address that it goes to.
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: IpAddr,
    /// The protocol, by its name or number.
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub(crate) protocol: String,
    /// The port that it comes from.
    #[arg(long, value_name = "PORT")]
    pub(crate) source_port: Option<u16>,
    /// The port that it goes to.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// The traffic class of its packets, by its name or number.
    #[arg(long, value_name = "DSCP")]
    pub(crate) dscp: Option<String>,
    /// The name of the server that it asks for.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}
