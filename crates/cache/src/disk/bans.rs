//! The file of bans: purges hold after a restart.
//!
//! After `OWBANS01`, records: the number in 64 bits, then in 32 bits each the length of the text, the CRC-32 of number and length, and that
//! of the text; then the text. A text is a ban, or `f`: everything up to that number is banned, or `e` and a number: every purge that other instances told of up to that one is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::purge::{Ban, BanList, Epoch};

const MAGIC: [u8; 8] = *b"OWBANS01";
const HEAD: usize = 20;
/// Records that are superfluous before the file is written anew, beside as many as there are bans.
const SLACK: usize = 4096;

#[derive(Debug)]
pub(super) struct BanFile {
    dir: PathBuf,
    file: File,
    records: usize,
    /// The newest number in it.
    newest: u64,
    /// Bytes that are known to be good. What a failed write left after them is overwritten.
    end: u64,
    /// What other instances told of up to that number is in it.
    epoch: Option<Epoch>,
}

/// What was found.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) list: BanList,
    /// What other instances told of up to that number is in the list.
    pub(super) epoch: Option<Epoch>,
    /// Whether nothing can be missing.
    pub(super) whole: bool,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("bans")
}

fn record(number: u64, text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(number.to_le_bytes());
    out.extend((text.len() as u32).to_le_bytes());
    let sum = crc32fast::hash(&out[start..]);
    out.extend(sum.to_le_bytes());
    out.extend(crc32fast::hash(text.as_bytes()).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Reads the file's bytes: what they say, how many records, and how many bytes are good.
fn read(bytes: &[u8]) -> (Found, usize, usize) {
    let mut found = Found { list: BanList::default(), epoch: None, whole: bytes.starts_with(&MAGIC) };
    let (mut records, mut at) = (0, MAGIC.len());
    while let Some(head) = bytes.get(at..at + HEAD).filter(|_| found.whole) {
        let number = head.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let [length, head_sum, text_sum] =
            [8, 12, 16].map(|at| head[at..at + 4].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)));
        if crc32fast::hash(&head[..12]) != head_sum {
            found.whole = false;
            break;
        }
        // A record that the file ends in was never promised to anybody.
        let Some(text) = bytes.get(at + HEAD..).and_then(|rest| rest.get(..length as usize)) else { break };
        if crc32fast::hash(text) != text_sum {
            found.whole = false;
            break;
        }
        let text = std::str::from_utf8(text).unwrap_or_default();
        match (text, text.strip_prefix('e').map(str::parse), Ban::decode(text)) {
            ("f", ..) => found.list.raise(number),
            (_, Some(Ok(epoch)), _) => found.epoch = Some(epoch),
            (.., Some(ban)) => found.list.add(number, ban),
            _ => found.whole = false,
        }
        records += 1;
        at += HEAD + text.len();
    }
    (found, records, at)
}

/// What the file lacks.
#[derive(Debug)]
pub(super) struct Update {
    bytes: Vec<u8>,
    records: usize,
    newest: u64,
    /// Whether these bytes are the whole file.
    whole: bool,
}

/// The whole file, with nothing superfluous.
fn whole(list: &BanList, epoch: Option<Epoch>) -> Update {
    let mut bytes = MAGIC.to_vec();
    record(list.floor(), "f", &mut bytes);
    list.since(list.floor()).for_each(|(number, ban)| record(number, &ban.encode(), &mut bytes));
    if let Some(epoch) = epoch {
        record(list.newest(), &format!("e{epoch}"), &mut bytes);
    }
    Update { bytes, records: list.len() + 2, newest: list.newest(), whole: true }
}

impl BanFile {
    /// Opens the file of a directory, or makes it. Where there is none, or it is damaged, it is made anew, and what was found is not whole.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Found)> {
        let mut bytes = vec![];
        let file = match OpenOptions::new().read(true).write(true).open(path(dir)) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)?;
                Some(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (found, records, end) = read(&bytes);
        match file {
            Some(file) if found.whole => {
                let newest = found.list.newest();
                let (dir, epoch) = (dir.to_owned(), found.epoch);
                Ok((Self { dir, file, records, newest, end: end as u64, epoch }, found))
            }
            _ => Ok((Self::write(dir, whole(&found.list, None), None)?, found)),
        }
    }

    fn write(dir: &Path, update: Update, epoch: Option<Epoch>) -> io::Result<Self> {
        let new = dir.join("bans.new");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).read(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&update.bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path(dir))?;
        File::open(dir)?.sync_all()?;
        let Update { records, newest, .. } = update;
        Ok(Self { dir: dir.to_owned(), file, records, newest, end: update.bytes.len() as u64, epoch })
    }

    /// What the file lacks of the list. The list is locked meanwhile, the disk takes longer.
    pub(super) fn lacks(&self, list: &BanList, epoch: Option<Epoch>) -> Update {
        let epoch = epoch.or(self.epoch);
        if self.records > 2 * list.len() + SLACK {
            return whole(list, epoch);
        }
        let (mut bytes, mut records) = (vec![], 0);
        if list.floor() > self.newest {
            record(list.floor(), "f", &mut bytes);
            records += 1;
        }
        for (number, ban) in list.since(self.newest) {
            record(number, &ban.encode(), &mut bytes);
            records += 1;
        }
        if let Some(epoch) = epoch.filter(|_| epoch != self.epoch) {
            record(list.newest(), &format!("e{epoch}"), &mut bytes);
            records += 1;
        }
        Update { bytes, records, newest: list.newest(), whole: false }
    }

    /// Brings to stable storage what the file lacks, and gives the newest number in it.
    pub(super) fn add(&mut self, update: Update, epoch: Option<Epoch>) -> io::Result<u64> {
        let epoch = epoch.or(self.epoch);
        if update.whole {
            *self = Self::write(&self.dir, update, epoch)?;
            return Ok(self.newest);
        }
        self.file.write_all_at(&update.bytes, self.end)?;
        self.file.sync_data()?;
        self.end += update.bytes.len() as u64;
        self.records += update.records;
        (self.newest, self.epoch) = (update.newest, epoch);
        Ok(self.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::Purge;

    const EPOCH: Epoch = Epoch { count: 77, mark: 0xabc };

    fn name(name: &str) -> Ban {
        Ban::Purge(Purge::Name(name.into()))
    }

    impl BanFile {
        fn sync(&mut self, list: &BanList, epoch: Option<Epoch>) -> io::Result<u64> {
            self.add(self.lacks(list, epoch), epoch)
        }
    }

    #[test]
    fn bans_are_found_again_as_they_were_with_what_others_told() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, found) = BanFile::open(dir.path()).unwrap();
        assert!(!found.whole, "nobody knows what was purged before there was a file");
        let mut list = BanList::default();
        for number in 1..20 {
            list.add(number, if number == 10 { Ban::Purge(Purge::All) } else { name(&number.to_string()) });
            assert_eq!(file.sync(&list, (number == 15).then_some(EPOCH)).unwrap(), number);
        }
        let (_, found) = BanFile::open(dir.path()).unwrap();
        assert_eq!(found, Found { list, epoch: Some(EPOCH), whole: true });
    }

    #[test]
    fn a_file_that_grows_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = BanFile::open(dir.path()).unwrap();
        let mut list = BanList::default();
        for number in 1..3 * SLACK as u64 {
            list.add(number, name("the same"));
            // Every hundredth is enough to see it.
            if number % 100 == 0 {
                for epoch in 0..100 {
                    file.sync(&list, Some(Epoch { count: number * 100 + epoch, mark: 1 })).unwrap();
                }
            }
        }
        assert!(path(dir.path()).metadata().unwrap().len() < (SLACK as u64 + 200) * 40);
        let (_, found) = BanFile::open(dir.path()).unwrap();
        assert!(found.whole && found.list.len() == 1);
    }

    #[test]
    fn what_a_crash_cut_off_was_not_promised_and_what_was_damaged_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = BanFile::open(dir.path()).unwrap();
        let mut list = BanList::default();
        list.add(1, name("first"));
        file.sync(&list, None).unwrap();
        let good = std::fs::read(path(dir.path())).unwrap();
        list.add(2, name("second"));
        file.sync(&list, None).unwrap();
        let both = std::fs::read(path(dir.path())).unwrap();
        for length in good.len()..both.len() {
            std::fs::write(path(dir.path()), &both[..length]).unwrap();
            let (mut file, found) = BanFile::open(dir.path()).unwrap();
            assert!(found.whole && found.list.newest() == 1, "{length}");
            file.sync(&list, None).unwrap();
            assert_eq!(BanFile::open(dir.path()).unwrap().1.list, list);
        }
        for at in 0..both.len() {
            let mut damaged = both.clone();
            damaged[at] ^= 0x40;
            std::fs::write(path(dir.path()), &damaged).unwrap();
            let (_, found) = BanFile::open(dir.path()).unwrap();
            assert!(!found.whole, "{at}");
        }
    }
}
