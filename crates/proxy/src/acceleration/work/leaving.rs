//! Services that no plan names any longer: new flows are for sockets, and those that are known go on for as long as their pool lets backends drain. Where the plan wants no
//! tier at all, what is held is let go of with the last of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_fastpath::{ControlPlane as _, Vip};

use super::super::held::Held;
use super::super::plan::Plan;
use super::Work;

/// Whole looks at the table of flows without one, before there is none: the first may have begun before the last flow did.
const ROUNDS: u32 = 2;

/// Who leaves.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Until when flows go on at most.
    until: BTreeMap<Vip, Instant>,
    /// Whether nothing else is held for.
    is_all: bool,
    /// Looks without any flow.
    empty: u32,
    /// Flows at the last look.
    flows: u64,
}

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(super) fn contains(&self, vip: &Vip) -> bool {
        self.until.contains_key(vip)
    }

    /// Whether nothing else is held for.
    pub(super) fn is_all(&self) -> bool {
        self.is_all
    }

    /// What is held is wanted for other services, too.
    pub(super) fn is_needed(&mut self) {
        self.is_all = false;
    }

    /// Takes up how many flows a whole look at the table has found.
    pub(super) fn swept(&mut self, flows: u64) {
        self.flows = flows;
        self.empty = if flows == 0 { self.empty + 1 } else { 0 };
    }

    /// Whether nothing is held for any longer.
    fn is_over(&self) -> bool {
        self.is_all && (self.until.is_empty() || self.empty >= ROUNDS)
    }
}

impl Work {
    /// Sends no new flows by services that the plan does not name.
    pub(super) fn retire(&mut self) {
        let (plan, now) = (Arc::clone(&self.plan), Instant::now());
        self.leaving.until.retain(|vip, _| !plan.services.contains_key(vip));
        let Some(held) = &mut self.held else { return };
        let is_kernel = matches!(held, Held::Kernel(_));
        let sink = held.sink();
        let named = |vip: &Vip| plan.services.contains_key(vip) || self.leaving.until.contains_key(vip);
        let gone: Vec<Vip> = sink.registry().services().map(|(vip, _)| *vip).filter(|vip| !named(vip)).collect();
        for vip in gone {
            // What an earlier process has left is told of no pool yet, and what was refused has no flows.
            let drain = self.told.get(&vip).map_or(Duration::ZERO, |told| told.snapshot.settings.drain);
            // A port has whole frames of datagrams, and need not have a way to give them back.
            let stays = is_kernel || vip.is_tcp();
            if stays && !drain.is_zero() && sink.retire(&vip).is_ok() {
                tracing::info!(at = %vip.socket(), for_at_most = ?drain, "a service is for sockets from now on; flows that a tier passes on go on");
                self.leaving.until.insert(vip, now + drain);
            }
        }
        self.leaving.empty = 0;
    }

    /// Lets go of what is held once its flows have ended.
    pub(super) fn let_go_later(&mut self, before: &Plan) {
        let wanted = std::mem::replace(&mut self.plan, Arc::new(Plan { services: BTreeMap::new(), ..before.clone() }));
        self.leaving.is_all = true;
        self.fill();
        if self.held.is_none() || self.leaving.is_empty() {
            self.plan = wanted;
            self.let_go();
        }
    }

    /// Ends services whose time is over.
    pub(super) fn part(&mut self, now: Instant) {
        let late: Vec<Vip> =
            self.leaving.until.iter().filter(|(_, until)| **until <= now).map(|(vip, _)| *vip).collect();
        let has_room = !late.is_empty();
        for vip in late {
            self.leaving.until.remove(&vip);
            if let Some(held) = &mut self.held
                && let Err(error) = held.sink().withdraw(&vip)
            {
                tracing::warn!(%error, at = %vip.socket(), "a service that is over is not taken out of the tables");
            }
            tracing::info!(at = %vip.socket(), "the time is over that flows of a service had to end");
        }
        if self.leaving.is_over() {
            self.plan = Arc::default();
            self.let_go();
        } else if has_room {
            // Who was refused for want of room may have it now.
            let refused = self.shared.status.lock().refused.keys().copied().collect::<Vec<Vip>>();
            refused.iter().for_each(|vip| drop(self.told.remove(vip)));
            self.follow();
        }
    }

    /// Flows that what is held passes on and that have not ended, as far as they were counted.
    pub(super) fn flows(&self) -> u64 {
        if self.held.is_some() { self.leaving.flows } else { 0 }
    }

    /// Gives up what was to end in peace: its tables are gone. Says whether anything else is wanted.
    pub(super) fn give_up_leaving(&mut self) -> bool {
        if std::mem::take(&mut self.leaving).is_all {
            self.plan = Arc::default();
            self.let_go();
            return false;
        }
        true
    }
}
