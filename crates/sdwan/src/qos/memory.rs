//! Where trees of ours are, and what was there before: a small file in the data directory, on the disk before anything is changed, so that the next start
//! knows what a crash has left.
//!
//! Whoever can write it can have nothing done with it but trees of ours taken away, and disciplines without classes put in their place.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use outwork_host::name::InterfaceName;
use outwork_net::netlink::shaping::{Handle, Qdisc};
use outwork_store::file::{create_private_dir, replace_private};

use super::QosError;

/// Its name in the directory.
const FILE: &str = "qos";
/// What the line of the process begins with.
const PROCESS: &str = "process";
/// Disciplines that have no classes and take back what they have said of themselves.
const RESTORABLE: [&str; 9] = ["pfifo", "bfifo", "fq_codel", "fq", "codel", "sfq", "cake", "pie", "fq_pie"];

/// A discipline that was at a root before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    /// Of which kind.
    pub(super) kind: String,
    /// Its name.
    pub(super) handle: Handle,
    /// What it was told.
    pub(super) options: Vec<u8>,
}

impl Before {
    /// What was there, if it can be put back.
    pub(super) fn of(qdisc: &Qdisc) -> Option<Before> {
        let Qdisc { kind, handle, options, .. } = qdisc;
        let is_restorable = RESTORABLE.contains(&kind.as_str());
        is_restorable.then(|| Before { kind: kind.clone(), handle: *handle, options: options.clone() })
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    /// The process that has written it.
    pub(super) process: u32,
    /// Interfaces that have a tree of ours, and what was there before; none where it was the kernel's own.
    pub(super) entries: BTreeMap<String, Option<Before>>,
}

impl Memory {
    /// Reads it; where there is none, nothing was ever changed.
    pub(super) fn read(dir: &Path) -> Result<Memory, QosError> {
        let path = dir.join(FILE);
        let failed = |source| QosError::Memory { path: path.clone(), source };
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(failed)?,
        };
        let mut memory = Memory { path: path.clone(), process: 0, entries: BTreeMap::new() };
        for (number, line) in (1..).zip(text.lines()) {
            memory.line(line).ok_or_else(|| QosError::Damaged { path: path.clone(), line: number })?;
        }
        Ok(memory)
    }

    /// Takes a line in.
    fn line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            [PROCESS, process] => self.process = process.parse().ok()?,
            [interface] => drop(self.entries.insert(name(interface)?, None)),
            [interface, kind, major, options] => {
                let kind = *RESTORABLE.iter().find(|known| **known == kind)?;
                let handle = Handle { major: u16::from_str_radix(major, 16).ok()?, minor: 0 };
                let before = Before { kind: kind.to_owned(), handle, options: from_hex(options)? };
                self.entries.insert(name(interface)?, Some(before));
            }
            _ => return None,
        }
        Some(())
    }

    /// Has it on the disk, in the name of this process; where there is nothing to remember, there is no file.
    pub(super) fn keep(&mut self) -> Result<(), QosError> {
        self.process = std::process::id();
        let failed = |source| QosError::Memory { path: self.path.clone(), source };
        if self.entries.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        if let Some(dir) = self.path.parent().filter(|dir| !dir.exists()) {
            create_private_dir(dir).map_err(failed)?;
        }
        replace_private(&self.path, self.text().as_bytes()).map_err(failed)
    }

    fn text(&self) -> String {
        let mut text = format!("{PROCESS} {}\n", self.process);
        for (interface, before) in &self.entries {
            text.push_str(interface);
            if let Some(Before { kind, handle, options }) = before {
                text.push_str(&format!(" {kind} {:x} {}", handle.major, hex(options)));
            }
            text.push('\n');
        }
        text
    }
}

/// The name of an interface.
fn name(text: &str) -> Option<String> {
    text.parse::<InterfaceName>().ok().map(|name| name.to_string())
}

/// Octets in hexadecimal; a lone `-` is none of them.
fn hex(octets: &[u8]) -> String {
    let mut text = if octets.is_empty() { "-".to_owned() } else { String::new() };
    for octet in octets {
        text.push_str(&format!("{octet:02x}"));
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text == "-" {
        return Some(vec![]);
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.len().is_multiple_of(2).then(|| text.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_back_and_nothing_else_is_believed() {
        let mut memory = Memory { path: PathBuf::new(), process: 7, entries: BTreeMap::new() };
        memory.entries.insert("eth0".to_owned(), None);
        let before =
            Before { kind: "bfifo".to_owned(), handle: Handle { major: 0x8001, minor: 0 }, options: vec![1, 0xfe] };
        memory.entries.insert("wan.7".to_owned(), Some(before));
        let text = memory.text();
        assert_eq!(text, "process 7\neth0\nwan.7 bfifo 8001 01fe\n");
        let mut read = Memory { path: PathBuf::new(), process: 0, entries: BTreeMap::new() };
        text.lines().for_each(|line| read.line(line).unwrap());
        assert_eq!((read.process, &read.entries), (7, &memory.entries));
        for wrong in
            ["", "a/b", "eth0 htb 1 00", "eth0 fq 1 0", "eth0 fq 1 0x", "eth0 fq 10000 00", "process x", "eth0 fq 1"]
        {
            assert_eq!(read.line(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn where_nothing_is_remembered_there_is_no_file() {
        let dir = std::env::temp_dir().join(format!("outwork-qos-{}", std::process::id()));
        let mut memory = Memory::read(&dir).unwrap();
        assert!(memory.entries.is_empty());
        memory.keep().unwrap();
        assert!(!dir.exists());
        memory.entries.insert("eth0".to_owned(), None);
        memory.keep().unwrap();
        let mut read = Memory::read(&dir).unwrap();
        assert_eq!((read.process, read.entries.len()), (std::process::id(), 1));
        std::fs::write(dir.join(FILE), "process 1\neth0 prio 1 00\n").unwrap();
        let told = Memory::read(&dir).unwrap_err().to_string();
        assert!(told.contains("line 2") && told.contains("tc qdisc del"), "{told}");
        read.entries.clear();
        read.keep().unwrap();
        assert!(!dir.join(FILE).exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
