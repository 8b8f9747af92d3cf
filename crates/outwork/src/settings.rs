//! The whole configuration: a section of each crate, and where its text comes from.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use outwork_config::{Sources, section};

use crate::cli::Global;

section! {
    /// Configuration of Outwork.
    pub(crate) struct Settings {
        /// Where state is kept: leases, the database, the first access token.
        pub(crate) data_dir: PathBuf [restart] = "data",
    }
}

/// Files that are read where none is named, first come first served.
const USUAL: [&str; 2] = ["outwork.toml", "/etc/outwork/outwork.toml"];

/// Every layer of the configuration, read as this run sees it. A file that was named must be there; a usual one may be
/// absent.
pub(crate) fn sources(global: &Global) -> anyhow::Result<Sources> {
    let file = match &global.config {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some((path.clone(), text.with_context(|| format!("cannot read the configuration {}", path.display()))?))
        }
        None => usual_file()?,
    };
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
    Ok(Sources { file, env, set: global.set.clone() })
}

fn usual_file() -> anyhow::Result<Option<(PathBuf, String)>> {
    for path in USUAL.map(Path::new) {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok(Some((path.to_owned(), text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the configuration {}", path.display()));
            }
        }
    }
    Ok(None)
}
