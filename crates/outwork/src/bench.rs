//! `outwork bench`: loads a server and reports what it bears.

use std::io::Write;
use std::process::ExitCode;

use outwork_dhcp::bench::{self, BenchOptions};

use crate::cli::Global;
use crate::cli::bench::{DhcpArgs, Rate, Scenario};
use crate::local::print_json;

/// The port that DHCP servers, and relay agents without a port of their own, listen on.
const SERVER_PORT: u16 = 67;
/// The relay agent's port where the server is not on that one.
const OWN_PORT: u16 = 6768;

/// `outwork bench dhcp`. Fails if the server gave one address to two clients.
pub(crate) fn dhcp(global: &Global, args: &DhcpArgs) -> anyhow::Result<ExitCode> {
    let usual = if args.target.port() == SERVER_PORT { SERVER_PORT } else { OWN_PORT };
    let options = BenchOptions {
        target: args.target,
        relays: args.giaddr.clone(),
        relay_port: args.relay_port.unwrap_or(usual),
        relay_information: args.option82,
        scenario: match args.scenario {
            Scenario::Dora => bench::Scenario::Dora,
            Scenario::Renew => bench::Scenario::Renew,
            Scenario::Mixed => bench::Scenario::Mixed,
            Scenario::Avalanche => bench::Scenario::Avalanche,
        },
        clients: args.clients,
        rate: match args.rate {
            Rate::Max => bench::Rate::Max,
            Rate::PerSecond(rate) => bench::Rate::PerSecond(f64::from(rate)),
        },
        duration: args.duration,
        timeout: args.timeout,
        window: args.window,
        seed: args.seed,
        offload: args.offload,
    };
    let report = bench::run(&options)?;
    if global.json {
        print_json(&serde_json::to_value(&report)?)?;
    } else {
        write!(anstream::stdout(), "{report}")?;
    }
    Ok(if report.duplicate_addresses == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
