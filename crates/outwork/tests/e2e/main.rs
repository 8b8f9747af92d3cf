//! The real binary with real DHCP clients, in network namespaces. Needs root and the Debian packages that `make test` installs;
//! what is missing fails a test, nothing is skipped. (Peers of tunnels that come from crates.io take minutes to build, and keys take over after two minutes: `make interop` does
//! both, and elsewhere tests that want them say that they have tested nothing.)
//!
//! - `site`: a server in its namespace, and the cables that lead to it.
//! - `client`: dhclient, dhcpcd and udhcpc.
//! - `load`: a relay with as many clients as wanted, which remembers every DHCPACK.
//! - `storage`: file systems that fill up or refuse writes.
//!
//! The tests: `acceleration`, `first_run`, `clients`, `relays`, `configuration`, `host`, `durability`, `privileges`, `dashboard`, `sdwan`, `lab`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod acceleration;
mod client;
mod clients;
mod configuration;
mod dashboard;
mod durability;
mod first_run;
mod host;
mod lab;
mod load;
mod privileges;
mod relays;
mod sdwan;
mod site;
mod storage;

use std::time::Duration;

use outwork_net::testing;

/// Where waiting ends and a test fails. Nothing is measured against it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `condition` gives something; panics with what `state` says when that never comes.
fn wait_for<T>(what: &str, state: impl Fn() -> String, condition: impl FnMut() -> Option<T>) -> T {
    testing::wait_for((PATIENCE, Duration::from_millis(20)), what, state, condition)
}
