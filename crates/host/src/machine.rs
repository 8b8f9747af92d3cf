//! Reads and writes what can be set, below a folder.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use outwork_fastpath::machine::card;

use crate::interrupts;
use crate::knob::{Feature, Knob, QueueAttribute};
use crate::processors::Processors;

/// What drivers are asked, and told.
pub trait Cards: Send + Sync {
    /// What a feature of an interface is now.
    ///
    /// # Errors
    /// Those of the system.
    fn read(&self, interface: &str, feature: card::Feature) -> io::Result<u32>;

    /// Makes it so.
    ///
    /// # Errors
    /// Those of the system.
    fn write(&self, interface: &str, feature: card::Feature, value: u32) -> io::Result<()>;
}

/// The drivers of this network namespace.
#[derive(Debug, Clone, Copy, Default)]
pub struct Drivers;

impl Cards for Drivers {
    fn read(&self, interface: &str, feature: card::Feature) -> io::Result<u32> {
        feature.read(interface)
    }

    fn write(&self, interface: &str, feature: card::Feature, value: u32) -> io::Result<()> {
        feature.write(interface, value)
    }
}

/// A machine. Its settings of the network are those of the network namespace that a thread is in.
pub struct Machine {
    root: PathBuf,
    cards: Box<dyn Cards>,
    /// Whether irqbalance runs, once somebody has asked.
    balanced: OnceLock<bool>,
}

/// The processors that packets are not handed on to.
const NOBODY: &str = "none";

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        Machine::below(Path::new("/"), Box::new(Drivers))
    }

    /// One whose `proc` and `sys` lie in a folder.
    pub fn below(root: &Path, cards: Box<dyn Cards>) -> Machine {
        Machine { root: root.to_owned(), cards, balanced: OnceLock::new() }
    }

    /// A file of it.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The text of a file; `None` where it cannot be read.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    /// What lies in a folder, in order; nothing where there is none.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The processors that are at work.
    pub(crate) fn processors(&self) -> Option<Processors> {
        self.text("sys/devices/system/cpu/online")?.parse().ok()
    }

    /// Whether irqbalance runs.
    pub(crate) fn is_balanced(&self) -> bool {
        *self.balanced.get_or_init(|| interrupts::are_balanced(self))
    }

    /// The file of a thing that has one.
    pub fn file(&self, knob: &Knob) -> Option<PathBuf> {
        let path = match knob {
            Knob::Sysctl { name } => Path::new("proc/sys").join(name.path()),
            Knob::HugePages {} => "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages".into(),
            Knob::Interrupt { number } => format!("proc/irq/{number}/smp_affinity_list").into(),
            Knob::Link { interface, attribute } => format!("sys/class/net/{interface}/{attribute}").into(),
            Knob::Queue { interface, number, attribute } => {
                format!("sys/class/net/{interface}/queues/rx-{number}/{attribute}").into()
            }
            Knob::Card { .. } => return None,
        };
        Some(self.path(path))
    }

    /// What a thing is now, its numbers apart by single spaces; `None` where this machine has none.
    ///
    /// # Errors
    /// Those of the system.
    pub fn read(&self, knob: &Knob) -> io::Result<Option<String>> {
        let read = match (knob, self.file(knob)) {
            (Knob::Card { interface, feature }, _) => {
                self.cards.read(interface.as_str(), feature.question()).map(|value| told(*feature, value))
            }
            (_, Some(path)) => fs::read_to_string(path),
            (_, None) => return Ok(None),
        };
        match read {
            Ok(text) => {
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                Ok(Some(match knob {
                    Knob::Queue { attribute: QueueAttribute::Processors, .. } => {
                        Processors::of_mask(&text).map_or_else(|| NOBODY.to_owned(), |set| set.to_string())
                    }
                    _ => text,
                }))
            }
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a thing so. What the kernel made of it, [`read`](Self::read) says.
    ///
    /// # Errors
    /// Those of the system.
    pub fn write(&self, knob: &Knob, value: &str) -> io::Result<()> {
        let Some(path) = self.file(knob) else {
            let Knob::Card { interface, feature } = knob else { return Ok(()) };
            let value = meant(*feature, value).ok_or(io::ErrorKind::InvalidInput)?;
            return self.cards.write(interface.as_str(), feature.question(), value);
        };
        let text = match knob {
            Knob::Queue { attribute: QueueAttribute::Processors, .. } if value == NOBODY => "0".to_owned(),
            Knob::Queue { attribute: QueueAttribute::Processors, .. } => {
                value.parse::<Processors>().map_err(|_| io::ErrorKind::InvalidInput)?.mask()
            }
            _ => value.to_owned(),
        };
        // The kernel takes a value by one write, and a file that is not there is not to be made.
        OpenOptions::new().write(true).truncate(true).open(path)?.write_all(format!("{text}\n").as_bytes())
    }
}

/// Whether an error says that the machine has no such thing.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENODEV | libc::ENXIO))
}

fn told(feature: Feature, value: u32) -> String {
    match (feature.is_switch(), value) {
        (true, 0) => "off".to_owned(),
        (true, _) => "on".to_owned(),
        (false, value) => value.to_string(),
    }
}

fn meant(feature: Feature, value: &str) -> Option<u32> {
    match (feature.is_switch(), value) {
        (true, "on") => Some(1),
        (true, "off") => Some(0),
        (true, _) => None,
        (false, value) => value.parse().ok(),
    }
}
