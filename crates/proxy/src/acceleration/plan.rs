//! What a configuration wants of the kernel, made ready: services, interfaces and how they are taken, rates and denied networks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use outwork_fastpath::machine::Roots;
use outwork_fastpath::machine::sriov::{Functions, SriovError};
use outwork_fastpath::tables::Prefix;
use outwork_fastpath::{ServiceSettings, Settings, Tier, Vip};

use super::rules::{self, Rule};
use crate::config::Proxy;

/// A service of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// What its listener is called.
    pub(super) listener: String,
    /// Its pool.
    pub(super) pool: String,
    pub(super) settings: ServiceSettings,
}

/// What a configuration wants of the kernel.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    /// Each interface with what is tried there, in this order.
    pub(super) interfaces: BTreeMap<String, Vec<Tier>>,
    pub(super) pins: Option<PathBuf>,
    pub(super) denied: Vec<Prefix>,
    pub(super) services: BTreeMap<Vip, Service>,
    /// How many virtual functions each card is to have.
    pub(super) functions: BTreeMap<String, u32>,
    /// All listeners, those for sockets too.
    pub(super) listeners: Vec<Rule>,
}

impl Plan {
    /// That of a configuration, and of the virtual functions that it has.
    pub(super) fn of(proxy: &Proxy, functions: &[(String, Functions)]) -> Plan {
        let acceleration = &proxy.acceleration;
        let listeners: Vec<Rule> =
            proxy.listener.iter().map(|listener| rules::of_listener(listener, &proxy.pool, acceleration)).collect();
        let mut services = BTreeMap::new();
        for (listener, rule) in proxy.listener.iter().zip(&listeners).filter(|(_, rule)| rule.obstacles.is_empty()) {
            let Some(pool) = &listener.pool else { continue };
            let settings = rules::service(listener, acceleration);
            for vip in rules::vips(listener) {
                services.insert(vip, Service { listener: rule.name.clone(), pool: pool.clone(), settings });
            }
        }
        let mut interfaces: BTreeMap<String, Vec<Tier>> = BTreeMap::new();
        for name in &acceleration.interfaces {
            interfaces.insert(name.clone(), acceleration.ways(None));
        }
        for wanted in acceleration.sriov.iter().filter(|wanted| wanted.tier.is_some()) {
            let made = functions.iter().filter(|(device, _)| *device == wanted.device);
            let names = made.flat_map(|(_, functions)| functions.made.iter().filter_map(|one| one.interface.clone()));
            for name in names {
                interfaces.insert(name, acceleration.ways(wanted.tier));
            }
        }
        Plan {
            settings: acceleration.settings(),
            interfaces,
            pins: acceleration.pins.clone(),
            denied: acceleration.denied(),
            services,
            functions: acceleration.sriov.iter().map(|one| (one.device.clone(), one.vfs)).collect(),
            listeners,
        }
    }

    /// Whether there is anything for programs to do.
    pub(super) fn is_wanted(&self) -> bool {
        !self.interfaces.is_empty()
    }
}

/// Virtual functions as a configuration wants them. Where it is not taken up, they become what they were.
#[derive(Debug)]
pub(super) struct Made {
    roots: Roots,
    /// How many each card had.
    before: Vec<(String, u32)>,
    pub(super) functions: Vec<(String, Functions)>,
}

impl Made {
    /// Makes them.
    ///
    /// # Errors
    /// The key of what cannot be, and why; nothing has changed then.
    pub(super) fn of(proxy: &Proxy, roots: &Roots) -> Result<Made, String> {
        let mut made = Made { roots: roots.clone(), before: Vec::new(), functions: Vec::new() };
        for (index, wanted) in proxy.acceleration.sriov.iter().enumerate() {
            let refused = |error: SriovError| format!("proxy.acceleration.sriov[{index}]: {error}");
            let before = Functions::of(roots, &wanted.device).map_err(refused)?;
            made.before.push((wanted.device.clone(), u32::try_from(before.made.len()).unwrap_or(u32::MAX)));
            let functions = Functions::set(roots, &wanted.device, wanted.vfs).map_err(refused)?;
            let (device, vfs, tier) = (&*wanted.device, wanted.vfs, wanted.tier.map(|tier| tier.word()));
            if before != functions {
                tracing::info!(device, vfs, tier, "a card has other virtual functions");
            }
            made.functions.push((wanted.device.clone(), functions));
        }
        Ok(made)
    }

    /// Leaves them as they are.
    pub(super) fn keep(&mut self) {
        self.before.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (device, count) in self.before.drain(..).rev() {
            if let Err(error) = Functions::set(&self.roots, &device, count) {
                tracing::error!(device, count, %error, "a card keeps virtual functions of a configuration that was not taken up");
            }
        }
    }
}
