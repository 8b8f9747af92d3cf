//! A listener at work: what the configuration says of it, the pools that it passes on to, and what is known of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use foldhash::fast::FixedState;
use outwork_front::Tls;
use outwork_front::filter::Networks;
use outwork_front::route::HostPattern;

use super::metrics::Cells;
use crate::config::Listener;
use crate::limits::Rate;
use crate::pool::{Pool, PreparedPools};

/// A listener, as one configuration has it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) settings: Listener,
    pub(super) tls: Option<Arc<Tls>>,
    /// Proxies whose connections begin with a header that says whose they are.
    pub(super) proxies: Networks,
    pub(super) pools: Pools,
    pub(super) live: Arc<Live>,
}

/// What is known of a listener, whatever its settings are.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) active: AtomicUsize,
    pub(super) rate: Rate,
    pub(super) cells: Cells,
}

/// Pools by the name that clients ask for.
#[derive(Debug)]
pub(super) struct Pools {
    usual: Option<Arc<Pool>>,
    exact: HashMap<Box<str>, Arc<Pool>, FixedState>,
    /// Those of `*.example.org`, under `.example.org`, the longest first.
    below: Vec<(Box<str>, Arc<Pool>)>,
}

impl Pools {
    /// Those that a listener names; or the name of one that is not there.
    pub(super) fn new(listener: &Listener, pools: &PreparedPools) -> Result<Self, String> {
        let find = |name: &String| pools.get(name).cloned().ok_or_else(|| name.clone());
        let (mut exact, mut below) = (HashMap::default(), Vec::new());
        for route in &listener.sni {
            let pool = find(&route.pool)?;
            for name in &route.names {
                match name {
                    HostPattern::Name(name) => drop(exact.entry(name.clone()).or_insert_with(|| Arc::clone(&pool))),
                    HostPattern::Below(suffix) => below.push((suffix.clone(), Arc::clone(&pool))),
                }
            }
        }
        below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Ok(Self { usual: listener.pool.as_ref().map(find).transpose()?, exact, below })
    }

    /// Whether it takes a name to find one.
    pub(super) fn go_by_name(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// The one for clients that ask for this name, in small letters.
    pub(super) fn of(&self, name: Option<&str>) -> Option<&Arc<Pool>> {
        let named = name.and_then(|name| {
            let below = |(suffix, _): &&(Box<str>, _)| name.len() > suffix.len() && name.ends_with(&**suffix);
            self.exact.get(name).or_else(|| self.below.iter().find(below).map(|(_, pool)| pool))
        });
        named.or(self.usual.as_ref())
    }
}
