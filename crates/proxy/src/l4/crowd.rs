//! The connections and sessions of one thread: whose they are, and until when.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use outwork_balance::MemberId;
use slab::Slab;
use tokio::task::AbortHandle;

use super::connection::PATIENCE;
use super::metrics::End;
use super::post::Key;
use super::rule::Rule;
use crate::config::Protocol;
use crate::pool::Pool;
use crate::pool::gone::Gone;

/// What is open on a thread.
#[derive(Default)]
pub(super) struct Crowd {
    entries: RefCell<Slab<Rc<Entry>>>,
}

/// One of them.
struct Entry {
    post: Key,
    rule: Arc<Rule>,
    /// Whose it is.
    client: Cell<IpAddr>,
    member: RefCell<Option<(Arc<Pool>, MemberId)>>,
    /// When its listener has gone.
    left: Cell<Option<Instant>>,
    end: Cell<Option<End>>,
    task: RefCell<Option<AbortHandle>>,
}

/// Being one of them.
pub(super) struct Present {
    crowd: Rc<Crowd>,
    key: usize,
    entry: Rc<Entry>,
}

impl Crowd {
    /// One more, of this listener and client.
    pub(super) fn enter(self: &Rc<Self>, post: Key, rule: &Arc<Rule>, client: IpAddr) -> Present {
        let entry = Rc::new(Entry {
            post,
            rule: Arc::clone(rule),
            client: Cell::new(client),
            member: RefCell::default(),
            left: Cell::new(None),
            end: Cell::new(None),
            task: RefCell::default(),
        });
        let key = self.entries.borrow_mut().insert(Rc::clone(&entry));
        Present { crowd: Rc::clone(self), key, entry }
    }

    /// The task of one that has just begun.
    pub(super) fn runs(&self, key: usize, task: AbortHandle) {
        if let Some(entry) = self.entries.borrow().get(key) {
            entry.task.replace(Some(task));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// The listener at a post is gone: what it has may go on for as long as its pool lets what leaves.
    pub(super) fn leave(&self, post: Key, now: Instant) {
        let entries = self.entries.borrow();
        let of_post = entries.iter().filter(|(_, entry)| entry.post == post);
        of_post.for_each(|(_, entry)| entry.left.set(Some(now)));
    }

    /// Ends what clients have whose networks are denied by now.
    pub(super) fn turn_away(&self, is_denied: impl Fn(IpAddr) -> bool) {
        let entries = self.entries.borrow();
        let denied = entries.iter().filter(|(_, entry)| is_denied(entry.client.get()));
        denied.for_each(|(_, entry)| entry.stop(End::Denied));
    }

    /// Ends what is late, and what has a backend whose time to drain is over.
    pub(super) fn beat(&self, now: Instant) {
        let mut gone: HashMap<u64, Gone, FixedState> = HashMap::default();
        for (_, entry) in self.entries.borrow().iter() {
            let is_late = entry.left.get().is_some_and(|left| left + entry.drain() <= now);
            // A connection ends by itself where its backend is gone; datagrams would go there for as long as the client talks.
            let is_session = entry.rule.settings.protocol == Protocol::Udp;
            let end = entry.member.borrow().as_ref().and_then(|(pool, id)| {
                let gone = gone.entry(pool.number).or_insert_with(|| Gone::of(pool));
                match () {
                    () if gone.stays(*id).is_none() => Some(End::Drained),
                    () if is_session && gone.fails(*id) => Some(End::Backend),
                    () => None,
                }
            });
            if let Some(end) = end.or(is_late.then_some(End::Drained)) {
                entry.stop(end);
            }
        }
    }

    /// Ends all of it.
    pub(super) fn stop(&self) {
        self.entries.borrow().iter().for_each(|(_, entry)| entry.stop(End::Stopped));
    }
}

impl Entry {
    /// How long it may go on once its listener is gone. What has no backend yet has what the pool gives that it is likely to get; where that is for its client to
    /// say, as long as that may take.
    fn drain(&self) -> Duration {
        let of = |pool: &Arc<Pool>| pool.snapshot().settings.drain;
        match &*self.member.borrow() {
            Some((pool, _)) => of(pool),
            None => self.rule.pools.of(None).map_or(PATIENCE, of),
        }
    }

    fn stop(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
        }
        if let Some(task) = &*self.task.borrow() {
            task.abort();
        }
    }
}

impl Present {
    pub(super) fn key(&self) -> usize {
        self.key
    }

    /// It has this backend from now on.
    pub(super) fn has(&self, pool: &Arc<Pool>, id: MemberId) {
        self.entry.member.replace(Some((Arc::clone(pool), id)));
    }

    /// It is another client's than whoever has brought it.
    pub(super) fn is_of(&self, client: IpAddr) {
        self.entry.client.set(client);
    }

    /// It ends like this.
    pub(super) fn ended(&self, end: End) {
        self.entry.end.set(Some(end));
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.crowd.entries.borrow_mut().try_remove(self.key);
        if let Some(end) = self.entry.end.get() {
            self.entry.rule.live.cells.ended(end);
        }
    }
}
