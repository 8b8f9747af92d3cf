//! `outwork heap-dump`, `outwork cpu-profile` and `outwork threads`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::{fetch, rows};
use crate::cli::Global;
use crate::client::Client;
use crate::local::print_json;
use crate::report;
use crate::table::cell;

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
    fetch(&client, &path, BINARY, output)?;
    let profile = std::fs::read(output).with_context(|| format!("cannot read {}", output.display()))?;
    if !has_samples(&profile, pprof) {
        let told = format!("no samples were taken: the server used next to no processor time in these {seconds} s");
        report::warn(&format!("{told}; profile it under load, for longer, or with a higher --hertz"))?;
    }
    Ok(())
}

/// `outwork threads`.
pub(crate) fn threads(global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get("/profile/threads")?;
    if global.json {
        return print_json(&answer);
    }
    let columns =
        [">ID", "NAME", "STATE", ">ON", "MAY BE ON", ">USER", ">SYSTEM", ">WAITED", ">INTERRUPTED", "WAITS IN"];
    rows(&mut anstream::stdout(), &columns, &answer, "no threads", |one| {
        let seconds = |key: &str| format!("{:.2}", one[key].as_f64().unwrap_or_default());
        vec![
            cell(&one["id"]),
            cell(&one["name"]),
            cell(&one["state"]),
            cell(&one["processor"]),
            cell(&one["allowed"]),
            seconds("user_seconds"),
            seconds("system_seconds"),
            cell(&one["voluntary_switches"]),
            cell(&one["involuntary_switches"]),
            cell(&one["waits_in"]),
        ]
    })?;
    Ok(())
}

/// Whether there is anything in a profile: a line for each stack, or, behind the five words of gperftools' header, anything but the three that end it.
fn has_samples(profile: &[u8], pprof: bool) -> bool {
    const WORD: usize = size_of::<usize>();
    match pprof {
        true => profile.get(5 * WORD..6 * WORD).is_some_and(|count| count.iter().any(|byte| *byte != 0)),
        false => !profile.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_without_samples_is_told_from_one_with_some() {
        let words = |words: &[usize]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        assert!(!has_samples(&words(&[0, 3, 0, 10_101, 0, 0, 1, 0]), true));
        assert!(has_samples(&words(&[0, 3, 0, 10_101, 0, 2, 1, 4096, 0, 1, 0]), true));
        assert!(!has_samples(b"", false) && has_samples(b"main;work 1\n", false));
    }
}
