//! What waits to be written to a slower tier.
//!
//! A queue and a table at once: a key waits once, with what was last said of it, and whoever looks for it is told that before the tier is
//! asked, so a write that is late is never seen. Bounded in bytes and in number.

use std::collections::{VecDeque, hash_map};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::entry::{Entry, Key};
use crate::flights::KeyMap;
use crate::purge::Era;

/// What is to be done with a key.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Store this, which has passed every ban up to that era.
    Store(Arc<Entry>, Era),
    /// Remove it.
    Remove,
}

/// Something taken to be done, and its number.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) key: Key,
    pub(crate) op: Op,
    number: u64,
}

#[derive(Debug)]
struct Waiting {
    op: Op,
    number: u64,
    /// Whether it waits; otherwise it is being done.
    queued: bool,
}

#[derive(Debug, Default)]
struct State {
    ops: KeyMap<Waiting>,
    order: VecDeque<Key>,
    bytes: usize,
    next: u64,
    nudged: bool,
    closed: bool,
}

/// Keys that may wait, beside the bytes.
const KEYS: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Behind {
    state: Mutex<State>,
    limit: usize,
    /// Wakes a thread that takes.
    filled: Condvar,
    /// Wakes a task that takes.
    notify: Notify,
    /// Wakes who waits for something to be done.
    done: Notify,
}

fn cost(op: &Op) -> usize {
    match op {
        Op::Store(entry, _) => entry.memory(),
        Op::Remove => 0,
    }
}

impl Behind {
    pub(crate) fn new(limit: usize) -> Self {
        let (notify, done) = (Notify::new(), Notify::new());
        Self { state: Mutex::default(), limit, filled: Condvar::new(), notify, done }
    }

    /// Adds what is to be done. It fails when it is closed, and when too much waits already: what the tier has of this key is
    /// out of date, and is removed then.
    pub(crate) fn add(&self, key: Key, op: Op) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.closed {
            return false;
        }
        let number = state.next;
        state.next += 1;
        let before = state.ops.get(&key).map_or(0, |waiting| cost(&waiting.op));
        let full = match &op {
            Op::Store(..) => state.bytes - before + cost(&op) > self.limit || state.ops.len() >= KEYS,
            Op::Remove => state.ops.len() >= 2 * KEYS,
        };
        let (op, kept) = match full {
            true if state.ops.contains_key(&key) || state.ops.len() < 2 * KEYS => (Op::Remove, false),
            true => return false,
            false => (op, true),
        };
        state.bytes = state.bytes - before + cost(&op);
        match state.ops.entry(key) {
            hash_map::Entry::Occupied(mut waiting) => {
                let waiting = waiting.get_mut();
                if !std::mem::replace(&mut waiting.queued, true) {
                    state.order.push_back(key);
                }
                (waiting.op, waiting.number) = (op, number);
            }
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Waiting { op, number, queued: true });
                state.order.push_back(key);
            }
        }
        self.filled.notify_one();
        self.notify.notify_one();
        kept
    }

    /// What was last said of a key, if that is not done yet.
    pub(crate) fn look(&self, key: &Key) -> Option<Op> {
        self.state.lock().ops.get(key).map(|waiting| waiting.op.clone())
    }

    /// Takes what has waited the longest, up to so many bytes, and at least one.
    pub(crate) fn take(&self, bytes: usize) -> Vec<Taken> {
        Self::take_from(&mut self.state.lock(), bytes)
    }

    fn take_from(state: &mut State, bytes: usize) -> Vec<Taken> {
        let (mut taken, mut sum) = (vec![], 0);
        while sum < bytes && taken.len() < 1024 {
            let Some(key) = state.order.pop_front() else { break };
            if let Some(waiting) = state.ops.get_mut(&key) {
                waiting.queued = false;
                sum += cost(&waiting.op);
                taken.push(Taken { key, op: waiting.op.clone(), number: waiting.number });
            }
        }
        taken
    }

    /// Takes as [`take`](Self::take) does, and blocks until there is something, or it was nudged: then that may be nothing. `None` once it
    /// is closed and empty.
    pub(crate) fn wait(&self, bytes: usize) -> Option<Vec<Taken>> {
        let mut state = self.state.lock();
        loop {
            let taken = Self::take_from(&mut state, bytes);
            if std::mem::take(&mut state.nudged) || !taken.is_empty() {
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
    }

    /// Wakes who takes, though nothing waits.
    pub(crate) fn nudge(&self) {
        self.state.lock().nudged = true;
        self.filled.notify_one();
        self.notify.notify_one();
    }

    /// Comes back when something may wait, or it was closed.
    pub(crate) async fn filled(&self) {
        self.notify.notified().await;
    }

    /// What was taken is done. What was said of these keys meanwhile still waits.
    pub(crate) fn done(&self, taken: &[Taken]) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for one in taken {
            if let hash_map::Entry::Occupied(waiting) = state.ops.entry(one.key)
                && waiting.get().number == one.number
            {
                state.bytes -= cost(&waiting.remove().op);
            }
        }
        self.done.notify_waiters();
    }

    /// Comes back once all that was added so far is done, or replaced by what was added since.
    pub(crate) async fn settled(&self) {
        let end = self.state.lock().next;
        loop {
            let done = self.done.notified();
            let mut done = std::pin::pin!(done);
            // From here on it is told.
            done.as_mut().enable();
            if self.state.lock().ops.values().all(|waiting| waiting.number >= end) {
                return;
            }
            done.await;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().ops.len()
    }

    /// Forgets everything that waits.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        (state.ops, state.order, state.bytes) = Default::default();
        self.done.notify_waiters();
    }

    /// Lets those who take go, once nothing waits.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        self.notify.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::entry::UnixMillis;

    fn key(number: u8) -> Key {
        Key::from_bytes([number; 16])
    }

    fn store(body: usize) -> Op {
        let (meta, body, expires) = (Bytes::new(), vec![0; body].into(), UnixMillis::NEVER);
        Op::Store(
            Arc::new(Entry { name: "n".into(), meta, body, tags: [].into(), expires, decoded: Default::default() }),
            Era(0),
        )
    }

    impl Behind {
        fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }

    fn keys(taken: &[Taken]) -> Vec<Key> {
        taken.iter().map(|one| one.key).collect()
    }

    #[test]
    fn keys_are_taken_in_order_and_once_with_what_was_said_last() {
        let behind = Behind::new(1 << 20);
        for number in [1, 2, 1, 3] {
            assert!(behind.add(key(number), store(10)));
        }
        assert!(behind.add(key(2), Op::Remove));
        let taken = behind.take(1 << 20);
        assert_eq!(keys(&taken), [key(1), key(2), key(3)]);
        assert!(matches!(taken[1].op, Op::Remove));
        assert_eq!(behind.len(), 3, "still there to be seen");
        behind.done(&taken);
        assert!(behind.is_empty() && behind.look(&key(1)).is_none());
        assert_eq!(behind.state.lock().bytes, 0);
    }

    #[test]
    fn who_waits_for_what_was_added_is_not_kept_waiting_by_what_is_added_since() {
        let behind = Behind::new(1 << 20);
        for number in [1, 2] {
            behind.add(key(number), store(10));
        }
        let mut settled = std::pin::pin!(behind.settled());
        let mut is_settled = || settled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!is_settled());
        let first = behind.take(1);
        behind.add(key(3), store(10));
        behind.done(&first);
        assert!(!is_settled());
        let second = behind.take(1);
        behind.add(key(2), store(20));
        behind.done(&second);
        assert!(is_settled(), "what was said of the second since is not waited for");
        assert_eq!(behind.len(), 2);
    }

    #[test]
    fn what_is_said_while_a_key_is_being_written_waits_for_the_next_turn() {
        let behind = Behind::new(1 << 20);
        behind.add(key(1), store(10));
        let first = behind.take(1);
        assert!(behind.add(key(1), Op::Remove));
        behind.done(&first);
        assert!(matches!(behind.look(&key(1)), Some(Op::Remove)));
        let second = behind.take(1);
        assert!(matches!(second[0].op, Op::Remove));
        behind.done(&second);
        assert!(behind.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_it_would_replace_is_removed() {
        let behind = Behind::new(10_000);
        assert!(behind.add(key(1), store(4000)) && behind.add(key(2), store(4000)));
        assert!(!behind.add(key(3), store(4000)));
        assert!(matches!(behind.look(&key(3)), Some(Op::Remove)));
        assert!(!behind.add(key(1), store(9000)));
        assert!(matches!(behind.look(&key(1)), Some(Op::Remove)), "the old one is out of date");
        assert!(behind.add(key(3), store(4000)), "and takes no room any more");
    }

    #[test]
    fn a_thread_that_waits_is_woken_and_let_go_when_all_is_done() {
        let behind = Arc::new(Behind::new(1 << 20));
        let taker = {
            let behind = Arc::clone(&behind);
            std::thread::spawn(move || {
                let mut count = 0;
                while let Some(taken) = behind.wait(1) {
                    count += taken.len();
                    behind.done(&taken);
                }
                count
            })
        };
        (0..100).for_each(|number| assert!(behind.add(key(number), store(1))));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(behind.settled());
        behind.close();
        assert_eq!(taker.join().unwrap(), 100);
    }
}
