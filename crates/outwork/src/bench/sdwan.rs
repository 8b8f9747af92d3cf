//! `outwork bench sdwan`.

use std::process::ExitCode;

use outwork_sdwan::bench::{failover, health, selection, simulation, throughput};
use tikv_jemalloc_ctl::thread::{allocatedp, deallocatedp};

use super::told;
use crate::cli::Global;
use crate::cli::bench_sdwan::SdwanBench;

/// What the allocator says of this thread.
fn counted() -> Option<(u64, u64)> {
    Some((allocatedp::read().ok()?.get(), deallocatedp::read().ok()?.get()))
}

/// `outwork bench sdwan`. Fails if something was not as it should be.
pub(crate) fn sdwan(global: &Global, command: &SdwanBench) -> anyhow::Result<ExitCode> {
    let hint = match command {
        SdwanBench::PathSelection(args) => {
            let options = selection::Options {
                sites: args.sites,
                paths: args.paths,
                policies: args.policies,
                iterations: args.iterations,
                concurrency: args.concurrency,
                seed: args.seed,
            };
            let report = selection::run(&options, counted)?;
            let slow = args.at_most_us.and_then(|most| report.slower_than(most));
            let hint = report.hint().or(slow);
            told(global, &report, hint.as_deref())?;
            hint
        }
        SdwanBench::HealthCheck(args) => {
            let options = health::Options { targets: args.targets, iterations: args.iterations, seed: args.seed };
            let report = health::run(&options, counted)?;
            let slow = args.at_most_us.and_then(|most| report.slower_than(most));
            let hint = report.hint().or(slow);
            told(global, &report, hint.as_deref())?;
            hint
        }
        SdwanBench::Failover(args) => {
            let options = failover::Options { iterations: args.iterations, uplinks: args.uplinks, seed: args.seed };
            let report = failover::run(&options)?;
            let hint = report.hint();
            told(global, &report, hint.as_deref())?;
            hint
        }
        SdwanBench::Throughput(args) => {
            let options = throughput::Options {
                iterations: args.iterations,
                concurrency: args.concurrency,
                packet_size: args.packet_size,
            };
            let report = throughput::run(&options, counted)?;
            let hint = report.hint();
            told(global, &report, hint.as_deref())?;
            hint
        }
        SdwanBench::Simulation(args) => {
            let options = simulation::Options { sites: args.sites, uplinks: args.uplinks, seed: args.seed };
            let report = simulation::run(&options, counted)?;
            let hint = report.hint();
            told(global, &report, hint.as_deref())?;
            hint
        }
    };
    Ok(if hint.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
