use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use outwork_engine::{Rng, sim};

use super::shard::Shard;
use super::*;

const NOW: UnixMillis = UnixMillis(1_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn key(number: u64) -> Key {
    Key::of(&[&number.to_le_bytes()])
}

fn entry(name: &str, body: usize) -> Arc<Entry> {
    let (meta, body) = (Bytes::from_static(b"meta"), Bytes::from(vec![0; body]));
    Arc::new(Entry {
        name: name.into(),
        meta,
        body,
        tags: [].into(),
        expires: NOW.after(HOUR),
        decoded: Default::default(),
    })
}

fn memory(policy: Policy, limit: usize) -> Memory {
    Memory::new(policy, limit, limit, HOUR)
}

impl Memory {
    fn store(&self, number: u64, body: usize) -> Stored {
        self.put(key(number), &entry(&number.to_string(), body), NOW, || true)
    }

    fn has(&self, number: u64) -> bool {
        self.get(&key(number), NOW).is_some()
    }
}

/// S3-FIFO as the paper has it, on plain lists.
#[derive(Default)]
struct Model {
    small: VecDeque<(u64, usize, u8)>,
    main: VecDeque<(u64, usize, u8)>,
    ghosts: VecDeque<u64>,
}

impl Model {
    fn get(&mut self, key: u64) -> bool {
        let found = self.small.iter_mut().chain(&mut self.main).find(|item| item.0 == key);
        found.map(|item| item.2 = (item.2 + 1).min(3)).is_some()
    }

    fn insert(&mut self, key: u64, cost: usize) {
        if let Some(item) = self.small.iter_mut().chain(&mut self.main).find(|item| item.0 == key) {
            item.1 = cost;
        } else if let Some(at) = self.ghosts.iter().position(|ghost| *ghost == key) {
            // The list keeps its length: what came back has left a hole.
            self.ghosts[at] = u64::MAX;
            self.main.push_back((key, cost, 0));
        } else {
            self.small.push_back((key, cost, 0));
        }
    }

    fn remove(&mut self, key: u64) {
        self.small.retain(|item| item.0 != key);
        self.main.retain(|item| item.0 != key);
    }

    fn evict(&mut self) -> Option<usize> {
        let bytes = |queue: &VecDeque<(u64, usize, u8)>| queue.iter().map(|item| item.1).sum::<usize>();
        for turn in 0.. {
            let (small, main) = (bytes(&self.small), bytes(&self.main));
            if small > 0 && (main == 0 || small * 10 >= small + main) {
                let (key, cost, heat) = self.small.pop_front()?;
                if heat >= 2 && turn < 64 {
                    self.main.push_back((key, cost, 0));
                    continue;
                }
                self.ghosts.iter_mut().filter(|ghost| **ghost == key).for_each(|ghost| *ghost = u64::MAX);
                self.ghosts.push_back(key);
                while self.ghosts.len() > (self.small.len() + self.main.len()).max(64) {
                    self.ghosts.pop_front();
                }
                return Some(cost);
            }
            let (key, cost, heat) = self.main.pop_front()?;
            if heat == 0 || turn >= 64 {
                return Some(cost);
            }
            self.main.push_back((key, cost, heat - 1));
        }
        None
    }

    fn keys(&self) -> BTreeSet<u64> {
        self.small.iter().chain(&self.main).map(|item| item.0).collect()
    }
}

#[test]
fn the_shard_does_what_the_paper_says() {
    sim::seeds(60, |rng| {
        let (mut shard, mut model) = (Shard::new(Policy::S3Fifo), Model::default());
        let keys = 20 + rng.below(400);
        for _ in 0..2000 {
            let number = rng.below(keys) * rng.below(keys) / keys;
            match rng.below(10) {
                0..5 => assert_eq!(shard.hit(&key(number), NOW).is_some(), model.get(number)),
                5..8 => {
                    let cost = 1 + rng.below(100) as usize;
                    shard.insert(key(number), entry("", 0), UnixMillis::NEVER, cost);
                    model.insert(number, cost);
                }
                8 => assert_eq!(shard.evict(NOW), model.evict()),
                _ => {
                    shard.remove(&key(number));
                    model.remove(number);
                }
            }
            let left = shard.keys_where(|_, _| true).into_iter().collect::<BTreeSet<_>>();
            assert_eq!(left, model.keys().into_iter().map(key).collect());
        }
    });
}

#[test]
fn least_recently_used_is_exactly_that() {
    sim::seeds(100, |rng| {
        let mut shard = Shard::new(Policy::Lru);
        let mut used: VecDeque<u64> = VecDeque::new();
        for _ in 0..1000 {
            let number = rng.below(50);
            match rng.below(3) {
                0 if shard.hit(&key(number), NOW).is_some() => {
                    shard.promote(&key(number));
                    used.retain(|other| *other != number);
                    used.push_back(number);
                }
                0 => assert!(!used.contains(&number)),
                1 => {
                    shard.insert(key(number), entry("", 0), UnixMillis::NEVER, 1);
                    used.retain(|other| *other != number);
                    used.push_back(number);
                }
                _ => {
                    assert_eq!(shard.evict(NOW).is_some(), !used.is_empty());
                    used.pop_front();
                }
            }
            let left = shard.keys_where(|_, _| true).into_iter().collect::<BTreeSet<_>>();
            assert_eq!(left, used.iter().copied().map(key).collect());
        }
    });
}

/// Hits of a hot set of 400 entries in memory for about 1000, while a crawler asks for everything else once.
fn hits_beside_a_scan(policy: Policy) -> f64 {
    let memory = memory(policy, 4 << 20);
    let mut rng = Rng::new(7);
    let mut scanned = 1_000_000;
    let mut hits = 0;
    const ASKED: u32 = 20_000;
    for asked in 0..2 * ASKED {
        let number = rng.below(400);
        match memory.has(number) {
            true if asked >= ASKED => hits += 1,
            true => {}
            false => assert!(memory.store(number, 3500).kept),
        }
        for _ in 0..5 {
            scanned += 1;
            memory.store(scanned, 3500);
        }
    }
    f64::from(hits) / f64::from(ASKED)
}

#[test]
fn a_scan_does_not_push_out_what_is_hot_where_lru_loses_it() {
    let (s3fifo, lru) = (hits_beside_a_scan(Policy::S3Fifo), hits_beside_a_scan(Policy::Lru));
    assert!(s3fifo > 0.95, "{s3fifo}");
    assert!(lru < 0.5, "{lru}");
}

#[test]
fn it_never_takes_more_than_its_limit_and_counts_what_it_holds() {
    for policy in [Policy::S3Fifo, Policy::Lru] {
        let memory = memory(policy, 16 << 20);
        let mut rng = Rng::new(3);
        let mut evicted = 0;
        for _ in 0..20_000 {
            let (number, body) = (rng.below(3000), rng.below(20_000) as usize);
            match rng.below(10) {
                0 => memory.remove(&key(number)),
                1..4 => drop(memory.get(&key(number), NOW)),
                _ => evicted += memory.store(number, body).evicted,
            }
            assert!(memory.used() <= memory.limit(), "{}", memory.used());
        }
        assert!(evicted > 0);
        let counted = memory.top(usize::MAX >> 1, |_| true);
        assert_eq!(counted.len(), memory.entries());
        assert_eq!(counted.iter().map(|top| top.bytes as usize).sum::<usize>(), memory.used());
        for number in 0..3000 {
            memory.remove(&key(number));
        }
        assert_eq!((memory.used(), memory.entries()), (0, 0));
    }
}

#[test]
fn threads_that_read_and_write_at_once_leave_the_counts_right() {
    let memory = memory(Policy::S3Fifo, 8 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..5000 {
                    let number = rng.below(2000);
                    match rng.below(8) {
                        0 => memory.remove(&key(number)),
                        1..5 => drop(memory.get(&key(number), NOW)),
                        5 => _ = memory.retain(rng.below(2) as usize, |_, entry| !entry.name.ends_with('7')),
                        _ => _ = memory.store(number, rng.below(30_000) as usize),
                    }
                }
            });
        }
    });
    assert!(memory.used() <= memory.limit());
    let counted: BTreeMap<_, _> =
        memory.top(1 << 20, |_| true).into_iter().map(|top| (top.entry.name.clone(), top.bytes)).collect();
    assert_eq!(counted.len(), memory.entries());
    assert_eq!(counted.values().sum::<u64>() as usize, memory.used());
}

#[test]
fn an_entry_larger_than_the_largest_is_not_kept_nor_is_what_it_would_replace() {
    let memory = Memory::new(Policy::S3Fifo, 1 << 20, 100_000, HOUR);
    assert!(memory.store(1, 10).kept);
    assert_eq!(memory.store(1, 200_000), Stored { kept: false, evicted: 0 });
    assert!(!memory.has(1));
    assert_eq!(memory.used(), 0);
}

#[test]
fn one_entry_may_take_more_than_the_share_of_a_shard() {
    let memory = memory(Policy::S3Fifo, 256 << 20);
    assert!(memory.store(1, 100 << 20).kept);
    assert!(memory.has(1));
}

#[test]
fn an_entry_ends_with_its_time_or_with_the_longest_that_memory_keeps() {
    let memory = Memory::new(Policy::S3Fifo, 1 << 20, 1 << 20, Duration::from_secs(60));
    let brief = Entry { expires: NOW.after(Duration::from_secs(5)), ..Entry::clone(&entry("brief", 1)) };
    memory.put(key(1), &Arc::new(brief), NOW, || true);
    memory.store(2, 1);
    let at = |seconds, number| memory.get(&key(number), NOW.after(Duration::from_secs(seconds))).is_some();
    assert!(at(4, 1) && !at(5, 1));
    assert!(at(59, 2) && !at(60, 2));
}

#[test]
fn the_names_that_are_asked_for_most_come_first() {
    let memory = memory(Policy::S3Fifo, 64 << 20);
    for number in 0..100 {
        memory.store(number, 10);
        (0..number % 50).for_each(|_| assert!(memory.has(number)));
    }
    let top = memory.top(4, |_| true);
    assert_eq!(top.iter().map(|top| top.hits).collect::<Vec<_>>(), [49, 49, 48, 48]);
    assert!(["49", "99"].contains(&&*top[0].entry.name) && top[0].bytes > 10 && top[0].key != top[1].key);
    assert!(memory.top(0, |_| true).is_empty());
    let named = memory.top(4, |entry| entry.name.len() == 1);
    assert_eq!(named.iter().map(|top| top.hits).collect::<Vec<_>>(), [9, 8, 7, 6]);
}

#[test]
fn what_is_not_wanted_any_more_is_removed_and_counted() {
    let memory = memory(Policy::S3Fifo, 64 << 20);
    (0..100).for_each(|number| assert!(memory.store(number, 10).kept));
    let removed: u64 = (0..memory.parts()).map(|part| memory.retain(part, |_, entry| entry.name.len() == 1)).sum();
    assert_eq!((removed, memory.entries()), (90, 10));
}

#[test]
fn what_is_not_admitted_leaves_what_is_there() {
    let memory = memory(Policy::S3Fifo, 1 << 20);
    memory.store(1, 10);
    let used = memory.used();
    assert!(!memory.put(key(1), &entry("late", 10), NOW, || false).kept);
    assert_eq!(&*memory.get(&key(1), NOW).unwrap().name, "1");
    assert_eq!((memory.used(), memory.entries()), (used, 1));
}
