//! One TOML file: layers, spans, faults, schema, diff.
//!
//! Each crate declares its sections once; the binary composes them into a root. From the one declaration come the
//! struct, its defaults, a reader that finds every fault, the JSON Schema, the list of effective values and the
//! difference between two configurations.
//!
//! ```
//! use std::time::Duration;
//! use outwork_config::{At, Fault, Ipv4Net, Sources, diff, hours, load, secs, section};
//!
//! section! {
//!     /// The whole file.
//!     pub struct Root {
//!         /// The DHCP service.
//!         pub dhcp: Dhcp,
//!     }
//! }
//!
//! section! {
//!     /// The DHCP service.
//!     pub struct Dhcp {
//!         /// Worker threads; 0 means one a core.
//!         pub workers: u16 [restart, range 0..=1024] = 0,
//!         /// How long a lease lasts when nothing more specific says so.
//!         pub lease_time: Duration [range secs(60)..] = hours(12),
//!         /// The subnets.
//!         pub subnet: Vec<Subnet>,
//!     }
//!     check no_overlap;
//! }
//!
//! section! {
//!     /// A subnet.
//!     #[required_keys]
//!     pub struct Subnet {
//!         /// Its prefix.
//!         pub subnet: Ipv4Net,
//!     }
//! }
//!
//! fn no_overlap(dhcp: &Dhcp, at: &mut At<'_>) {
//!     for (index, one) in dhcp.subnet.iter().enumerate() {
//!         if let Some(other) = dhcp.subnet.iter().take(index).position(|other| other.subnet.overlaps(one.subnet)) {
//!             let fault = Fault::new(format!("overlaps subnet[{other}]")).expected("prefixes that share no address");
//!             at.fault(&format!("subnet[{index}].subnet"), fault);
//!         }
//!     }
//! }
//!
//! let file = "[dhcp]\nlease_time = '2h'\nsubnet = [{ subnet = '192.0.2.0/24' }]\n";
//! let sources = Sources {
//!     file: Some(("outwork.toml".into(), file.into())),
//!     env: vec![("OUTWORK__DHCP__WORKERS".into(), "4".into())],
//!     set: vec![],
//! };
//! let loaded = load::<Root>(sources).unwrap();
//! assert_eq!(loaded.value.dhcp.lease_time, hours(2));
//! assert_eq!(loaded.origin("dhcp.lease_time").to_string(), "outwork.toml:2:14");
//! assert_eq!(loaded.origin("dhcp.workers").to_string(), "environment variable OUTWORK__DHCP__WORKERS");
//!
//! let changes = diff(&Root::default(), &loaded.value);
//! assert_eq!((changes[0].key.as_str(), changes[0].live), ("dhcp.workers", false));
//!
//! let faults = load::<Root>(Sources { set: vec!["dhcp.leas_time=2h".into()], ..Sources::default() }).unwrap_err();
//! assert!(faults.render(false).contains("did you mean \"lease_time\"?"));
//! ```
//!
//! What is built from the settings in a service reports its own faults through [`Loaded::faults`] and [`Faults::at`],
//! by key path. A type that is written in a way of its own implements [`Setting`], or takes [`text_setting!`].
//!
//! # Rooms
//! - `section`: the macros that declare sections and choices; `expansion`: what their code calls.
//! - `setting`: what a type must do to be the value of a key; limits and defaults.
//! - `kinds`, `duration`, `size`, `prefix`, `host`, `affinity`, `secret`: the types that a key can have.
//! - `layers`: the file, the environment and the flags, laid over each other into one tree.
//! - `node`, `origin`, `path`: the tree, where its values came from, and how its keys are named.
//! - `fault`: what is wrong, where, what was expected, what to do; the report.
//! - `load`: sources to settings, effective values, schema, difference.
//! - `text`: values as TOML text, and the starter file.
//!
//! Absent by intent: reading files or the process environment (the caller does), includes and templates in the file, and
//! any knowledge of a service.
#![deny(clippy::disallowed_methods)]

mod affinity;
mod duration;
#[doc(hidden)]
pub mod expansion;
mod fault;
mod host;
mod kinds;
mod layers;
mod load;
mod node;
mod origin;
mod path;
mod prefix;
mod secret;
mod section;
mod setting;
mod size;
mod text;

pub use affinity::{Affinity, Processors, ProcessorsError};
pub use duration::{days, duration_text, hours, millis, mins, parse_duration, secs};
pub use fault::{At, Fault, Faults};
pub use host::{HostPort, HostPortError, is_host_name};
pub use layers::{ENV_PREFIX, Sources};
pub use load::{Loaded, diff, load, salvage, schema};
pub use node::{Node, Value};
pub use origin::{Origin, Place};
pub use prefix::{Ipv4Net, PrefixError};
pub use secret::Secret;
pub use section::NoSuchChoice;
pub use setting::{Absent, Change, Effective, Given, Limits, Ranged, Section, Setting};
pub use size::{ByteSize, SizeError};
pub use text::{starter, toml_text};
