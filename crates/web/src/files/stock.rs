//! Files that are kept, so many of them and so much.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::item::Item;
use crate::metrics::WebMetrics;

/// Files that are kept at most. Each is open.
const FILES: usize = 4096;

/// What is kept, by the path that was asked for.
pub(super) struct Stock {
    /// Bytes, at most.
    limit: usize,
    kept: RwLock<Kept>,
    metrics: Arc<WebMetrics>,
}

/// How much is kept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) files: usize,
    pub(super) bytes: usize,
    /// Bytes, at most.
    pub(super) limit: usize,
    /// Compressed forms.
    pub(super) variants: usize,
    /// Their bytes, which are among those above.
    pub(super) variant_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    by_path: HashMap<Box<str>, Arc<Item>, RandomState>,
    bytes: usize,
}

impl Stock {
    pub(super) fn new(limit: usize, metrics: Arc<WebMetrics>) -> Self {
        Self { limit, kept: RwLock::default(), metrics }
    }

    /// What was kept under a path. It may have changed since.
    pub(super) fn get(&self, path: &str) -> Option<Arc<Item>> {
        let item = Arc::clone(self.kept.read().by_path.get(path)?);
        item.want();
        Some(item)
    }

    /// Keeps a file under the path that was asked for, if there is room for such a one at all. Gives the one that is kept: where several find
    /// the same at once, all go on with the first, so that its forms are made once.
    pub(super) fn keep(&self, asked: &str, item: Arc<Item>) -> Arc<Item> {
        if item.weight() > self.limit {
            return item;
        }
        let (kept, evicted, _replaced) = self.change(|kept| {
            if let Some(first) = kept.by_path.get(asked).filter(|first| first.is_same(&item)) {
                return (Arc::clone(first), Vec::new(), Some(item));
            }
            let before = kept.by_path.insert(asked.into(), Arc::clone(&item));
            kept.bytes += item.weight();
            kept.bytes -= before.as_ref().map_or(0, |before| before.weight());
            (item, kept.make_room(self.limit, asked), before)
        });
        self.metrics.evicted.add(evicted.len() as u64);
        kept
    }

    /// A file that is kept has got another form, of so many bytes.
    pub(super) fn grow(&self, asked: &str, item: &Arc<Item>, bytes: usize) {
        let evicted = self.change(|kept| {
            item.grown.fetch_add(bytes, Ordering::Relaxed);
            if !kept.by_path.get(asked).is_some_and(|kept| Arc::ptr_eq(kept, item)) {
                return Vec::new();
            }
            kept.bytes += bytes;
            kept.make_room(self.limit, asked)
        });
        self.metrics.evicted.add(evicted.len() as u64);
    }

    /// How much of what is kept.
    pub(super) fn figures(&self) -> Figures {
        let kept = self.kept.read();
        let mut figures =
            Figures { files: kept.by_path.len(), bytes: kept.bytes, limit: self.limit, ..Figures::default() };
        for item in kept.by_path.values() {
            figures.variants += item.coded.iter().filter(|coded| coded.made.get().is_some()).count();
            figures.variant_bytes += item.grown.load(Ordering::Relaxed);
        }
        figures
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        drop(self.change(std::mem::take));
    }

    /// Changes what is kept. What is let go of is given back to be dropped afterwards: that takes calls to the kernel, and others wait.
    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.kept.write();
        let before = (kept.by_path.len() as i64, kept.bytes as i64);
        let gone = change(&mut kept);
        let after = (kept.by_path.len() as i64, kept.bytes as i64);
        drop(kept);
        self.metrics.kept_files.add(after.0 - before.0);
        self.metrics.kept.add(after.1 - before.1);
        gone
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Kept {
    /// Once there is too much, lets go of what nobody has asked for since the last time, and then of anything, until a quarter is free.
    fn make_room(&mut self, limit: usize, but: &str) -> Vec<Arc<Item>> {
        let mut gone = Vec::new();
        if self.bytes <= limit && self.by_path.len() <= FILES {
            return gone;
        }
        let (bytes, files) = (limit / 4 * 3, FILES / 4 * 3);
        for spare_wanted in [true, false] {
            let (mut kept_bytes, mut kept_files) = (self.bytes, self.by_path.len());
            let old = self.by_path.extract_if(|path, item| {
                let wanted = item.wanted.swap(false, Ordering::Relaxed);
                let new = &**path == but && item.weight() <= limit;
                if (kept_bytes <= bytes && kept_files <= files) || (wanted && spare_wanted) || new {
                    return false;
                }
                kept_bytes -= item.weight();
                kept_files -= 1;
                true
            });
            gone.extend(old.map(|(_, item)| item));
            self.bytes = kept_bytes;
        }
        gone
    }
}
