//! What this machine can do, found by looking: the kernel, its interfaces, its huge pages.
//!
//! - [`interface`]: an interface: its driver and queues, what XDP can do there, what stands in the way.
//! - [`card`]: what drivers let everybody set: rings, queues, coalescing, offloads.
//! - [`features`]: what drivers say of XDP.
//! - [`sriov`]: virtual functions of cards.
//! - [`tiers`]: what all of that says of the tiers.
//!
//! Files are read below [`Roots`], and what the kernel is asked otherwise comes in as [`Answers`]: tests have machines of their own.

pub mod card;
pub mod features;
pub mod interface;
pub mod sriov;
pub mod tiers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType, socket};

use crate::kernel;
use features::Features;
use interface::{Device, Interface};

/// Where the kernel's files are.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/proc`.
    pub procfs: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots { sysfs: "/sys".into(), procfs: "/proc".into() }
    }
}

/// What the kernel says beside its files.
pub struct Answers {
    /// Whether programs for XDP and tc can be had, or what is in the way.
    pub programs: Result<(), String>,
    /// Whether sockets of AF_XDP can be.
    pub sockets: Result<(), String>,
    /// Whether this build has DPDK.
    pub dpdk: Result<(), String>,
    /// What drivers do for XDP, by the interfaces' indexes; `None` where the kernel does not say.
    pub features: Option<BTreeMap<u32, Features>>,
    /// What the driver of an interface says of it.
    pub device: Box<dyn Fn(&str) -> Device + Send + Sync>,
}

impl Answers {
    /// What is known without asking: for who wants to know what lies in files.
    pub fn of_files() -> Answers {
        let unasked = || Err("nobody has asked".to_owned());
        let device = Box::new(|_: &str| Device::default());
        Answers { programs: unasked(), sockets: unasked(), dpdk: unasked(), features: None, device }
    }

    /// Asks the kernel. It checks our programs for that, which takes some milliseconds.
    pub fn ask() -> Answers {
        Answers {
            programs: kernel::probe().map_err(|error| kernel::attach::reasons(&error)),
            sockets: socket(AddressFamily::XDP, SocketType::RAW, None)
                .map(drop)
                .map_err(|error| format!("the kernel gives no socket of AF_XDP: {error}")),
            dpdk: match cfg!(feature = "dpdk") {
                true => Ok(()),
                false => {
                    Err("this build has no DPDK: build it with `--features dpdk` and Debian's `libdpdk-dev`".to_owned())
                }
            },
            features: features::features().ok(),
            device: Box::new(Device::ask),
        }
    }
}

/// Pages of one size that are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// Kibibytes of one.
    pub kibibytes: u64,
    /// How many there are.
    pub total: u64,
    /// How many of them nobody uses.
    pub free: u64,
}

/// Whether the kernel answers a SYN by a cookie, which costs it no memory (`net.ipv4.tcp_syncookies`, which is IPv6's as well).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynCookies {
    /// Never: a flood fills what waits for its handshake to end, and others are not heard.
    Off,
    /// Where more waits than it keeps.
    OnDemand,
    /// Always.
    Always,
}

impl SynCookies {
    /// What the kernel does; `None` where it does not say.
    pub fn look(roots: &Roots) -> Option<SynCookies> {
        Some(match number(&roots.procfs.join("sys/net/ipv4/tcp_syncookies"))? {
            0 => SynCookies::Off,
            1 => SynCookies::OnDemand,
            _ => SynCookies::Always,
        })
    }
}

/// A machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The release of its kernel.
    pub kernel: String,
    /// See [`Answers::programs`].
    pub programs: Result<(), String>,
    /// See [`Answers::sockets`].
    pub sockets: Result<(), String>,
    /// See [`Answers::dpdk`].
    pub dpdk: Result<(), String>,
    /// Huge pages, by size.
    pub huge_pages: Vec<HugePages>,
    /// Whether it keeps cards to memory that they were given.
    pub has_iommu: bool,
    /// Whether there is a driver that hands cards to programs.
    pub has_vfio: bool,
    /// What its kernel does against floods of SYN, where sockets listen.
    pub syn_cookies: Option<SynCookies>,
    /// Its interfaces, by index.
    pub interfaces: Vec<Interface>,
}

impl Machine {
    /// Looks at a machine.
    pub fn look(roots: &Roots, answers: &Answers) -> Machine {
        let sysfs = &roots.sysfs;
        let mut interfaces: Vec<Interface> =
            names(&sysfs.join("class/net")).iter().filter_map(|name| Interface::look(roots, answers, name)).collect();
        interfaces.sort_by_key(|interface| interface.index);
        let mut huge_pages: Vec<HugePages> =
            names(&sysfs.join("kernel/mm/hugepages")).iter().filter_map(|name| huge(sysfs, name)).collect();
        huge_pages.sort_by_key(|pages| pages.kibibytes);
        Machine {
            kernel: text(&roots.procfs.join("sys/kernel/osrelease")).unwrap_or_else(|| "unknown".to_owned()),
            programs: answers.programs.clone(),
            sockets: answers.sockets.clone(),
            dpdk: answers.dpdk.clone(),
            huge_pages,
            has_iommu: !names(&sysfs.join("kernel/iommu_groups")).is_empty(),
            has_vfio: sysfs.join("bus/pci/drivers/vfio-pci").is_dir(),
            syn_cookies: SynCookies::look(roots),
            interfaces,
        }
    }
}

fn huge(sysfs: &Path, name: &str) -> Option<HugePages> {
    let directory = sysfs.join("kernel/mm/hugepages").join(name);
    let kibibytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    let (total, free) = (number(&directory.join("nr_hugepages"))?, number(&directory.join("free_hugepages"))?);
    Some(HugePages { kibibytes, total, free })
}

/// What lies in a directory, in order; nothing where there is none.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The text of a file of the kernel's.
fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The name of what a link leads to.
fn target(link: &Path) -> Option<String> {
    std::fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
