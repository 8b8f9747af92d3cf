//! `outwork bench`: loads a server and reports what it bears; `sdwan`: what engine and plane of SD-WAN cost here.

mod sdwan;

use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::process::ExitCode;

use anyhow::Context;
use http::Uri;
use outwork_dhcp::bench::{self, BenchError, BenchOptions};
use outwork_proxy::bench as passed;
use outwork_web::bench as load;

use crate::cli::Global;
use crate::cli::bench::{DhcpArgs, Http, ProxyArgs, Rate, Scenario, WebArgs};
use crate::compose::ports::{Protocol, explained};
use crate::local::print_json;
pub(crate) use sdwan::sdwan;

/// The port that DHCP servers, and relay agents without a port of their own, listen on.
const SERVER_PORT: u16 = 67;
/// The relay agent's port where the server is not on that one.
const OWN_PORT: u16 = 6768;

/// `outwork bench dhcp`. Fails if the server gave one address to two clients, or answered nothing.
pub(crate) fn dhcp(global: &Global, args: &DhcpArgs) -> anyhow::Result<ExitCode> {
    let target = resolved(&args.target)?;
    let usual = if target.port() == SERVER_PORT { SERVER_PORT } else { OWN_PORT };
    let options = BenchOptions {
        target,
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
    let report = bench::run(&options).map_err(|error| match error {
        BenchError::Net(error) => explained(error.into(), Protocol::Udp, "choose another with --relay-port"),
        error => error.into(),
    })?;
    let hint = report.hint();
    told(global, &report, hint.as_deref())?;
    let well = report.duplicate_addresses == 0 && hint.is_none();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `outwork bench web`. Fails if anything failed or was answered with an error.
pub(crate) fn web(global: &Global, args: &WebArgs) -> anyhow::Result<ExitCode> {
    let options = load::Options {
        address: address(&args.page)?,
        url: args.page.clone(),
        protocol: match args.http {
            Http::One => load::Protocol::Http1,
            Http::Two => load::Protocol::Http2,
            Http::Three => load::Protocol::Http3,
        },
        method: args.method.clone(),
        fields: args.header.iter().cloned().collect(),
        content: args.body.clone().into(),
        connections: args.connections as usize,
        streams: args.streams as usize,
        rate: match args.rate {
            Rate::Max => None,
            Rate::PerSecond(rate) => Some(f64::from(rate)),
        },
        warm_up: args.warm_up,
        duration: args.duration,
        timeout: args.timeout,
        threads: args.threads.into(),
        trust: match &global.ca {
            _ if args.insecure => load::Trust::Anyone,
            Some(file) => load::Trust::File(file.clone()),
            None => load::Trust::System,
        },
    };
    let report = load::run(&options)?;
    let hint = report.hint();
    told(global, &report, hint.as_deref())?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `outwork bench proxy`. Fails if connections failed, or nothing was answered.
pub(crate) fn proxy(global: &Global, args: &ProxyArgs) -> anyhow::Result<ExitCode> {
    let expected = || format!("{}: expected ADDRESS:PORT or NAME:PORT, such as 127.0.0.1:5432", args.target);
    let mut addresses = args.target.to_socket_addrs().with_context(expected)?;
    let kinds = match args.kind.as_str() {
        "suite" => passed::Kind::ALL.to_vec(),
        kind => vec![kind.parse()?],
    };
    let options = passed::Options {
        kind: passed::Kind::Throughput,
        target: addresses.next().with_context(|| format!("{} has no address", args.target))?,
        protocol: args.protocol.parse()?,
        packet_size: args.packet_size,
        connections: args.connections,
        workers: args.workers,
        duration: args.duration,
        timeout: args.timeout,
    };
    if let Some((name, told)) = options.fault() {
        anyhow::bail!("--{}: {told}", name.replace('_', "-"));
    }
    let (is_suite, mut is_clean, mut all) = (kinds.len() > 1, true, Vec::new());
    for kind in kinds {
        let report = passed::run(passed::Options { kind, ..options.clone() })?;
        is_clean &= report.is_clean();
        match global.json && is_suite {
            true => all.push(as_json(&report, report.hint().as_deref())?),
            false => told(global, &report, report.hint().as_deref())?,
        }
    }
    if !all.is_empty() {
        print_json(&all.into())?;
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(report: &impl serde::Serialize, hint: Option<&str>) -> anyhow::Result<serde_json::Value> {
    let mut json = serde_json::to_value(report)?;
    json["hint"] = hint.into();
    Ok(json)
}

/// Tells what came of a load, for people or for programs.
fn told(
    global: &Global,
    report: &(impl serde::Serialize + std::fmt::Display),
    hint: Option<&str>,
) -> anyhow::Result<()> {
    if global.json {
        return print_json(&as_json(report, hint)?);
    }
    write!(anstream::stdout(), "{report}")?;
    if let Some(hint) = hint {
        writeln!(anstream::stderr(), "hint: {hint}")?;
    }
    Ok(())
}

/// The first address of a URL's host.
fn address(url: &Uri) -> anyhow::Result<SocketAddr> {
    let expected = || format!("{url} is no http or https URL: expected such as http://127.0.0.1:8068/");
    let usual = match url.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => anyhow::bail!(expected()),
    };
    let host = url.host().with_context(expected)?;
    let target = format!("{host}:{}", url.port_u16().unwrap_or(usual));
    let mut addresses = target.to_socket_addrs().with_context(|| format!("cannot find {target}"))?;
    addresses.next().with_context(|| format!("{host} has no address"))
}

/// The first IPv4 address of `HOST:PORT`.
fn resolved(target: &str) -> anyhow::Result<SocketAddrV4> {
    let expected = "expected ADDRESS:PORT or NAME:PORT, such as 192.0.2.1:67";
    let addresses = target.to_socket_addrs().with_context(|| format!("--target {target}: {expected}"))?;
    let first = addresses.into_iter().find_map(|address| match address {
        SocketAddr::V4(v4) => Some(v4),
        SocketAddr::V6(_) => None,
    });
    first.with_context(|| format!("--target {target}: it has no IPv4 address"))
}
