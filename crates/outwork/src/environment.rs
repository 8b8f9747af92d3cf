//! Variables of the environment that look like ours, and set nothing.

use std::env;

use clap::CommandFactory;
use outwork_config::{ENV_PREFIX, Fault, Sources};

use crate::cli::Cli;
use crate::compose::SUCCEEDS;
use crate::settings::Settings;

/// What everything of ours begins with.
const OURS: &str = "OUTWORK_";
/// What Kubernetes tells of a service that is called outwork begins so.
const SERVICE: [&str; 2] = ["OUTWORK_SERVICE_", "OUTWORK_PORT"];

/// A remark on each of them.
pub(crate) fn strays() -> Vec<Fault> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let strays: Vec<String> = names.filter(|name| is_stray(name)).collect();
    if strays.is_empty() {
        return Vec::new();
    }
    let defaults = outwork_config::load::<Settings>(Sources::default());
    let keys: Vec<String> = defaults.iter().flat_map(|one| one.effective()).map(|entry| entry.key).collect();
    let remark = |name: &String| {
        let found = format!("the variable {name} is none of Outwork's, and sets nothing");
        let meant = meant(name, &keys).unwrap_or_else(|| format!("{ENV_PREFIX}SECTION__KEY"));
        let help = format!("two underscores stand before each part of a key: did you mean {meant}?");
        Fault::new(found).expected(format!("a variable that begins with {ENV_PREFIX}")).help(help)
    };
    strays.iter().map(remark).collect()
}

fn is_stray(name: &str) -> bool {
    let command = Cli::command();
    let mut options = command.get_arguments().filter_map(|argument| argument.get_env());
    let known = name == SUCCEEDS || options.any(|known| known == name);
    name.starts_with(OURS)
        && !name.starts_with(ENV_PREFIX)
        && !known
        && !SERVICE.iter().any(|begin| name.starts_with(begin))
}

/// The variable that sets what this one seems to be about.
fn meant(name: &str, keys: &[String]) -> Option<String> {
    let rest = name.strip_prefix(OURS)?;
    let flat = rest.replace("__", "_").to_ascii_lowercase();
    let key = keys.iter().find(|key| key.replace('.', "_") == flat);
    let path = key.map(|key| key.replace('.', "__").to_ascii_uppercase());
    Some(format!("{ENV_PREFIX}{}", path.or_else(|| rest.contains("__").then(|| rest.to_owned()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_sets_nothing_is_told_from_those_that_mean_something() {
        for stray in ["OUTWORK_DHCP_LEASE_TIME", "OUTWORK_FRONT__WORKERS", "OUTWORK_CONFIGS"] {
            assert!(is_stray(stray), "{stray}");
        }
        for known in ["OUTWORK__FRONT__WORKERS", "OUTWORK_CONFIG", "OUTWORK_TOKEN", "OUTWORK_URL", "OUTWORK_CA"] {
            assert!(!is_stray(known), "{known}");
        }
        for other in [SUCCEEDS, "OUTWORK_SERVICE_HOST", "OUTWORK_PORT_8067_TCP_ADDR", "PATH"] {
            assert!(!is_stray(other), "{other}");
        }
    }

    #[test]
    fn what_was_meant_is_found_by_its_words() {
        let keys = ["dhcp.lease_time".to_owned(), "front.workers".to_owned()];
        let meant = |name: &str| meant(name, &keys);
        assert_eq!(meant("OUTWORK_DHCP_LEASE_TIME").as_deref(), Some("OUTWORK__DHCP__LEASE_TIME"));
        assert_eq!(meant("OUTWORK_FRONT__WORKERS").as_deref(), Some("OUTWORK__FRONT__WORKERS"));
        assert_eq!(
            meant("OUTWORK_FRONT__LISTENER__0__BACKLOG").as_deref(),
            Some("OUTWORK__FRONT__LISTENER__0__BACKLOG")
        );
        assert_eq!(meant("OUTWORK_SOMETHING"), None);
    }
}
