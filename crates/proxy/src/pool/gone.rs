//! Members of a pool that may not go on with what they have. Whatever that is, of layer 4 or above, it is looked at once in a while, and keeps no deadline of its own.

use std::sync::Arc;

use outwork_balance::{MemberId, Standing};

use super::endpoint::Endpoint;
use super::{Pool, Snapshot};

/// Who may not, at a moment.
pub(crate) struct Gone {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The pool has left the configuration, and so has everybody in it.
    over: bool,
    drained: Vec<MemberId>,
    /// Those that fail, while others do not.
    failing: Vec<MemberId>,
}

impl Gone {
    pub(crate) fn of(pool: &Pool) -> Self {
        let (snapshot, now) = (pool.snapshot(), pool.now());
        let (mut drained, mut failing, mut usable) = (Vec::new(), Vec::new(), false);
        for slot in snapshot.balance.slots() {
            match slot.standing(now, true) {
                Standing::Drained => drained.push(slot.member().id()),
                Standing::Unhealthy | Standing::Ejected => failing.push(slot.member().id()),
                Standing::Usable => usable = true,
                Standing::Draining => {}
            }
        }
        if !usable {
            failing.clear();
        }
        Self { snapshot, over: pool.is_over(), drained, failing }
    }

    /// Where a member is that may go on with what it has.
    pub(crate) fn stays(&self, id: MemberId) -> Option<&Arc<Endpoint>> {
        self.snapshot.endpoint(id).filter(|_| !self.over && !self.drained.contains(&id))
    }

    /// Whether it fails, while others do not.
    pub(crate) fn fails(&self, id: MemberId) -> bool {
        self.failing.contains(&id)
    }
}
