//! `outwork heap-dump` and `outwork cpu-profile`.

use std::path::Path;
use std::time::Duration;

use super::fetch;
use crate::cli::Global;
use crate::client::Client;

const BINARY: &str = "application/octet-stream";

/// `outwork heap-dump`.
pub(crate) fn heap_dump(global: &Global, output: &Path) -> anyhow::Result<()> {
    fetch(&Client::new(global)?, "/profile/heap", BINARY, output)
}

/// `outwork cpu-profile`.
pub(crate) fn cpu_profile(global: &Global, output: &Path, seconds: u16, hertz: u16, pprof: bool) -> anyhow::Result<()> {
    let form = if pprof { "pprof" } else { "folded" };
    let path = format!("/profile/cpu?seconds={seconds}&hertz={hertz}&form={form}");
    let client = Client::patient(global, Duration::from_secs(seconds.into()))?;
    fetch(&client, &path, BINARY, output)
}
