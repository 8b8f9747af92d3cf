//! Which backend gets which place: a pool's snapshot, as tables that know of no health have it.
//!
//! New flows go to the first level of priority in which somebody is usable, and there to the own zone while somebody is in that; the parts that a pool gives to
//! several levels at once, limits and slow starts are not for the kernel. Where nobody is usable and the pool knows a panic, health is ignored.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outwork_balance::{Pool, Slot, Standing};
use outwork_engine::Time;

use super::RegistryError;
use crate::layout::{KEEPS_KNOWN, TAKES_NEW, Vip};
use crate::settings::{Failed, ServiceSettings};

/// What a backend may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    /// Its name in the pool.
    pub(crate) key: String,
    /// [`TAKES_NEW`], [`KEEPS_KNOWN`].
    pub(crate) flags: u8,
}

/// A pool's snapshot as tables have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Steered {
    pub(crate) backends: BTreeMap<SocketAddr, Use>,
    /// For each place, the index of whose it is in the pool.
    pub(crate) table: Vec<u32>,
    /// Where those are, by their index.
    addresses: Vec<Option<SocketAddr>>,
}

impl Steered {
    pub(crate) fn new(
        vip: Vip,
        settings: &ServiceSettings,
        pool: &Pool,
        address: impl Fn(&str) -> Option<SocketAddr>,
        now: Time,
    ) -> Result<Steered, RegistryError> {
        if !pool.settings().policy.hashes() {
            return Err(RegistryError::Policy(vip));
        }
        let addresses: Vec<Option<SocketAddr>> = pool.slots().iter().map(|slot| address(slot.member().key())).collect();
        let standing = |slot: &Slot| slot.standing(now, pool.settings().trust_unknown);
        let mut backends: BTreeMap<SocketAddr, Use> = BTreeMap::new();
        for (slot, at) in pool.slots().iter().zip(&addresses) {
            let (Some(at), key) = (*at, slot.member().key()) else { continue };
            let flags = match (standing(slot), settings.failed) {
                (Standing::Usable, _) => TAKES_NEW | KEEPS_KNOWN,
                (Standing::Draining, _) | (Standing::Unhealthy | Standing::Ejected, Failed::Keep) => KEEPS_KNOWN,
                (Standing::Unhealthy | Standing::Ejected, Failed::Move) => 0,
                (Standing::Drained, _) => continue,
            };
            if let Some(first) = backends.insert(at, Use { key: key.to_owned(), flags }) {
                return Err(RegistryError::Twice { vip, at, first: first.key, second: key.to_owned() });
            }
        }
        let is_placed = |slot: &Slot| address(slot.member().key()).is_some();
        let cohorts = || pool.ranks().iter().flat_map(|rank| rank.cohorts());
        let usable = |slot: &Slot| is_placed(slot) && standing(slot) == Standing::Usable;
        let mut table = cohorts().find_map(|cohort| cohort.resolve(pool.slots(), usable));
        if table.is_none() && pool.settings().panic_threshold > 0 {
            let there =
                |slot: &Slot| is_placed(slot) && !matches!(standing(slot), Standing::Draining | Standing::Drained);
            table = cohorts().find_map(|cohort| cohort.resolve(pool.slots(), there));
            for index in table.iter().flatten() {
                let at = addresses.get(*index as usize).copied().flatten();
                if let Some(one) = at.and_then(|at| backends.get_mut(&at)) {
                    one.flags = TAKES_NEW | KEEPS_KNOWN;
                }
            }
        }
        Ok(Steered { backends, table: table.unwrap_or_default(), addresses })
    }

    /// The table with numbers of backends. Who has none has a number that nobody has.
    pub(crate) fn numbers(&self, number: impl Fn(&SocketAddr) -> Option<u32>) -> Vec<u32> {
        let of = |at: &Option<SocketAddr>| at.as_ref().and_then(&number).unwrap_or(u32::MAX);
        let numbers: Vec<u32> = self.addresses.iter().map(of).collect();
        self.table.iter().map(|index| numbers.get(*index as usize).copied().unwrap_or(u32::MAX)).collect()
    }
}
