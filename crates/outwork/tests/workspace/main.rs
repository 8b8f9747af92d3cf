//! The rules of the whole workspace: who may lean on whom, what may be depended on, how long a file may be, what goes with the program.
//!
//! Everything is read from `cargo metadata --offline` of this host's platform, so these tests need no network.
#![allow(clippy::unwrap_used, clippy::panic)]

mod dependencies;
mod deploy;
mod direction;
mod files;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All packages and how they resolved.
fn metadata() -> Json {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value} is text"))
}

fn list<'a>(value: &'a Json, key: &str) -> &'a [Json] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} of {value} is a list"))
}
