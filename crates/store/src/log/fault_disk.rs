//! A disk in memory that loses what was not synced, tears writes, and fails calls, all from one seed.
//!
//! After a failed sync the pages count as clean, as on Linux: a later sync succeeds without having written them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Default, Clone)]
struct Inode {
    /// What the kernel shows.
    cached: Vec<u8>,
    /// What is on the platter.
    stable: Vec<u8>,
    dirty: BTreeSet<usize>,
    length_dirty: bool,
}

impl Inode {
    fn persist(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.cached.len());
        if from < to {
            if self.stable.len() < to {
                self.stable.resize(to, 0);
            }
            self.stable[from..to].copy_from_slice(&self.cached[from..to]);
        }
    }

    fn persist_length(&mut self) {
        self.stable.resize(self.cached.len(), 0);
        self.length_dirty = false;
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.cached.len() {
            self.cached.resize(end, 0);
            self.length_dirty = true;
        }
        self.cached[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }
}

#[derive(Clone)]
enum NameChange {
    Set(String, usize),
    Rename(String, String),
    Remove(String),
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

struct State {
    rng: Rng,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    stable_names: BTreeMap<String, usize>,
    changes: Vec<NameChange>,
    /// Percentage of changing calls that fail.
    fail: u64,
}

impl State {
    fn fault(&mut self) -> io::Result<()> {
        match self.rng.below(100) < self.fail {
            true if self.rng.chance(50) => Err(io::Error::from_raw_os_error(28)),
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[derive(Clone)]
pub(crate) struct FaultDisk(Arc<Mutex<State>>);

impl FaultDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            stable_names: BTreeMap::new(),
            changes: Vec::new(),
            fail: 0,
        })))
    }

    /// From now on this percentage of changing calls fails.
    pub(crate) fn fail(&self, percent: u64) {
        self.0.lock().fail = percent;
    }

    /// Loses power: of what was not synced, any part may have reached the platter.
    pub(crate) fn lose_power(&self) {
        let mut state = self.0.lock();
        let State { rng, inodes, names, stable_names, changes, .. } = &mut *state;
        for inode in inodes.iter_mut() {
            if inode.length_dirty && rng.chance(50) {
                inode.persist_length();
            }
            let length = inode.stable.len();
            let odds = [0, 50, 100][rng.below(3) as usize];
            for sector in std::mem::take(&mut inode.dirty) {
                if rng.chance(odds) {
                    inode.persist(sector);
                }
            }
            if inode.length_dirty {
                inode.stable.truncate(length);
            }
            inode.length_dirty = false;
            inode.cached = inode.stable.clone();
        }
        // A journal keeps changes of names in order, except that removals may be late.
        let kept = rng.below(changes.len() as u64 + 1) as usize;
        for change in changes.drain(..).take(kept) {
            if matches!(change, NameChange::Remove(_)) && rng.chance(30) {
                continue;
            }
            apply(stable_names, &change);
        }
        *names = stable_names.clone();
    }
}

impl Disk for FaultDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, allocate: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.fault()?;
        let inode = state.inodes.len();
        let cached = vec![0; allocate as usize];
        state.inodes.push(Inode { cached, length_dirty: true, ..Inode::default() });
        state.names.insert(name.to_owned(), inode);
        state.changes.push(NameChange::Set(name.to_owned(), inode));
        Ok(Box::new(FaultFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.0.lock().inode(name)?;
        Ok(Box::new(FaultFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.fault()?;
        state.inode(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        apply(&mut state.names, &change);
        state.changes.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.fault()?;
        state.inode(name)?;
        let change = NameChange::Remove(name.to_owned());
        apply(&mut state.names, &change);
        state.changes.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.fault()?;
        state.changes.clear();
        state.stable_names = state.names.clone();
        Ok(())
    }

    fn salt(&self) -> io::Result<u64> {
        Ok(self.0.lock().rng.next())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/simulated").join(name)
    }

    fn release(&self) {}
}

struct FaultFile {
    disk: FaultDisk,
    inode: usize,
}

impl DiskFile for FaultFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let cached = &state.inodes[self.inode].cached;
        let from = (offset as usize).min(cached.len());
        let read = buffer.len().min(cached.len() - from);
        buffer[..read].copy_from_slice(&cached[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let outcome = state.fault();
        let written = match outcome {
            Ok(()) => bytes.len(),
            Err(_) => state.rng.below(bytes.len() as u64 + 1) as usize,
        };
        state.inodes[self.inode].write(&bytes[..written], offset as usize);
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let outcome = state.fault();
        let State { rng, inodes, .. } = &mut *state;
        let inode = &mut inodes[self.inode];
        if outcome.is_ok() || rng.chance(50) {
            inode.persist_length();
        }
        for sector in std::mem::take(&mut inode.dirty) {
            if outcome.is_ok() || rng.chance(50) {
                inode.persist(sector);
            }
        }
        outcome
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.fault()?;
        let inode = &mut state.inodes[self.inode];
        inode.cached.truncate(length as usize);
        inode.dirty = inode.dirty.split_off(&0).into_iter().filter(|s| s * SECTOR < length as usize).collect();
        inode.length_dirty = true;
        Ok(())
    }
}
