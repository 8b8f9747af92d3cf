//! Who may come, by address.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use super::config::Addresses as Settings;
use super::networks::{Network, NetworkError, NetworkMap, parse_list};

/// The largest list of networks.
const FILE: u64 = 256 << 20;

/// Networks that may come, and networks that may not.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// True for who may come.
    networks: NetworkMap<bool>,
    /// Whether somebody may come of whom nothing is said.
    others: bool,
}

/// Why a list of networks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be read.
    #[error("addresses.{key}: cannot read {path}: {source}")]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A line is no network.
    #[error("addresses.{key}: {path}:{line}: {error}")]
    Line {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: NetworkError,
    },
}

impl Addresses {
    /// As configured; `None` where everybody may come.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Self>, ListError> {
        let mut allowed = settings.allow.clone();
        let mut denied = settings.deny.clone();
        read("allow_files", &settings.allow_files, &mut allowed)?;
        read("deny_files", &settings.deny_files, &mut denied)?;
        if allowed.is_empty() && denied.is_empty() && settings.allow_files.is_empty() {
            return Ok(None);
        }
        // A file of those who may come is a list of them, even where nobody stands in it.
        let others = allowed.is_empty() && settings.allow_files.is_empty();
        let denied = denied.into_iter().map(|network| (network, false));
        let networks = NetworkMap::new(denied.chain(allowed.into_iter().map(|network| (network, true))));
        Ok(Some(Self { networks, others }))
    }

    /// Whether this address may come. What is both allowed and denied is denied.
    pub(crate) fn allow(&self, address: IpAddr) -> bool {
        self.networks.get(address).unwrap_or(self.others)
    }
}

fn read(key: &'static str, files: &[PathBuf], networks: &mut Vec<Network>) -> Result<(), ListError> {
    for file in files {
        let path = || file.display().to_string();
        let failed = |source| ListError::File { key, path: path(), source };
        if std::fs::metadata(file).map_err(failed)?.len() > FILE {
            return Err(failed(io::Error::other("it is larger than 256 MiB")));
        }
        let text = std::fs::read_to_string(file).map_err(failed)?;
        networks.extend(parse_list(&text).map_err(|(line, error)| ListError::Line {
            key,
            path: path(),
            line,
            error,
        })?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(allow: &[&str], deny: &[&str]) -> Addresses {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let settings = Settings { allow: networks(allow), deny: networks(deny), ..Settings::default() };
        Addresses::new(&settings).unwrap().unwrap()
    }

    fn may(list: &Addresses, address: &str) -> bool {
        list.allow(address.parse().unwrap())
    }

    #[test]
    fn without_an_entry_for_it_an_address_may_come_unless_others_are_named() {
        let denied = list(&[], &["192.0.2.0/24"]);
        assert!(!may(&denied, "192.0.2.1") && may(&denied, "198.51.100.1") && !may(&denied, "::ffff:192.0.2.1"));
        let allowed = list(&["10.0.0.0/8", "2001:db8::/32"], &[]);
        assert!(may(&allowed, "10.1.2.3") && may(&allowed, "2001:db8::1") && !may(&allowed, "198.51.100.1"));
        assert!(Addresses::new(&Settings::default()).unwrap().is_none());
    }

    #[test]
    fn the_narrower_entry_counts_and_of_two_alike_the_refusal() {
        let both = list(&["10.0.0.0/8", "192.0.2.1"], &["10.9.0.0/16", "192.0.2.1"]);
        assert!(may(&both, "10.1.0.1") && !may(&both, "10.9.0.1") && !may(&both, "192.0.2.1"));
        let except = list(&["0.0.0.0/0", "10.9.1.0/24"], &["10.9.0.0/16"]);
        assert!(may(&except, "10.9.1.1") && !may(&except, "10.9.2.1") && may(&except, "198.51.100.1"));
    }

    #[test]
    fn lists_in_files_name_the_line_that_is_wrong_and_an_empty_one_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let allow = || Addresses::new(&Settings { allow_files: vec![path.clone()], ..Settings::default() });
        assert!(allow().unwrap_err().to_string().contains("allow_files: cannot read"));
        std::fs::write(&path, "10.0.0.0/8\n\nnobody\n").unwrap();
        assert!(allow().unwrap_err().to_string().ends_with("list:3: what stands before the slash is no IP address"));
        std::fs::write(&path, "# nobody yet\n").unwrap();
        assert!(!may(&allow().unwrap().unwrap(), "10.0.0.1"));
    }
}
