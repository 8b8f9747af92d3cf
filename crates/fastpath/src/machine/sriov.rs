//! SR-IOV: virtual functions of cards, listed, made and removed through sysfs.
//!
//! The kernel makes them when their number is written to `sriov_numvfs` of the card, and takes another number only after zero. Their interfaces come
//! when their driver has seen them, which may be a little later.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Roots, names, number, target};

/// How long a driver may take until the interfaces of its virtual functions are there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks: sysfs tells nobody.
const PAUSE: Duration = Duration::from_millis(10);

/// Virtual functions of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Functions {
    /// How many it can have.
    pub total: u32,
    /// Those that it has, by their numbers.
    pub made: Vec<Function>,
}

/// A virtual function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// Its number, from 0 on.
    pub number: u32,
    /// Its address on the bus.
    pub bus: String,
    /// Its driver, where it has one.
    pub driver: Option<String>,
    /// Its interface, where its driver is one of the network and it is not in another namespace.
    pub interface: Option<String>,
}

/// Why virtual functions are not as they are wanted.
#[derive(Debug, thiserror::Error)]
pub enum SriovError {
    /// No interface has the name.
    #[error("there is no interface `{0}`")]
    Unknown(String),
    /// Its card has none.
    #[error(
        "`{0}` has no virtual functions: its card or its driver knows no SR-IOV, or it is switched off in the firmware (there is no `device/sriov_totalvfs` below it in sysfs)"
    )]
    None(String),
    /// So many are not there.
    #[error("`{device}` can have {total} virtual functions, and {wanted} are asked for")]
    TooMany {
        /// The interface of the card.
        device: String,
        /// How many it can have.
        total: u32,
        /// How many are asked for.
        wanted: u32,
    },
    /// The kernel refuses.
    #[error("{path}: {error}{}", advice(error))]
    Refused {
        /// What was written to.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// They did not come.
    #[error("`{device}` was asked for {wanted} virtual functions and has {made} after {} s; `dmesg` may say why", PATIENCE.as_secs())]
    Missing {
        /// The interface of the card.
        device: String,
        /// How many were asked for.
        wanted: u32,
        /// How many there are.
        made: usize,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            "; it takes root: make them with `outwork tiers vfs create`, or start as root"
        }
        Some(libc::EBUSY) => "; somebody uses one of them: take virtual machines and containers off it first",
        Some(libc::ENOMEM | libc::ENOSPC) => {
            "; the bus has no addresses for them: `pci=realloc` on the kernel's command line, or a setting of the firmware"
        }
        _ => "",
    }
}

impl Functions {
    /// Those of the card that an interface is of. `None` where it can have none.
    pub fn look(sysfs: &Path, interface: &str) -> Option<Functions> {
        let card = sysfs.join("class/net").join(interface).join("device");
        let total = u32::try_from(number(&card.join("sriov_totalvfs"))?).ok().filter(|total| *total > 0)?;
        let mut made: Vec<Function> = names(&card)
            .iter()
            .filter_map(|name| {
                let link = card.join(name);
                Some(Function {
                    number: name.strip_prefix("virtfn")?.parse().ok()?,
                    bus: target(&link)?,
                    driver: target(&link.join("driver")),
                    interface: names(&link.join("net")).into_iter().next(),
                })
            })
            .collect();
        made.sort();
        Some(Functions { total, made })
    }

    /// Those of the card of an interface.
    ///
    /// # Errors
    /// When there is no such interface, or its card has none.
    pub fn of(roots: &Roots, interface: &str) -> Result<Functions, SriovError> {
        // A name is one, and no way to another folder.
        let is_name = !interface.is_empty() && !interface.contains('/') && ![".", ".."].contains(&interface);
        if !is_name || !roots.sysfs.join("class/net").join(interface).exists() {
            return Err(SriovError::Unknown(interface.to_owned()));
        }
        Functions::look(&roots.sysfs, interface).ok_or_else(|| SriovError::None(interface.to_owned()))
    }

    /// Gives a card so many virtual functions, with zero none, and returns them once they are there. Those that it has are removed where it had another number.
    ///
    /// # Errors
    /// When it cannot have so many, or the kernel refuses.
    pub fn set(roots: &Roots, interface: &str, wanted: u32) -> Result<Functions, SriovError> {
        let before = Functions::of(roots, interface)?;
        let device = || interface.to_owned();
        if wanted > before.total {
            return Err(SriovError::TooMany { device: device(), total: before.total, wanted });
        }
        if before.made.len() != wanted as usize {
            let path = roots.sysfs.join("class/net").join(interface).join("device/sriov_numvfs");
            let write = |count: u32| {
                std::fs::write(&path, count.to_string())
                    .map_err(|error| SriovError::Refused { path: path.clone(), error })
            };
            if !before.made.is_empty() {
                write(0)?;
                Functions::await_count(roots, interface, 0)?;
            }
            if wanted > 0 {
                write(wanted)?;
            }
        }
        Functions::await_count(roots, interface, wanted)
    }

    /// Waits until there are so many, and what has a driver of the network has its interface.
    fn await_count(roots: &Roots, interface: &str, wanted: u32) -> Result<Functions, SriovError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Functions::of(roots, interface)?;
            let is_late = Instant::now() >= deadline;
            // Who is handed to a program or a guest never has an interface.
            let is_handed_on =
                |driver: &String| ["vfio-pci", "pci-stub", "uio_pci_generic", "igb_uio"].contains(&driver.as_str());
            let is_whole =
                now.made.iter().all(|one| one.interface.is_some() || one.driver.as_ref().is_some_and(is_handed_on));
            if now.made.len() == wanted as usize && (is_whole || is_late) {
                return Ok(now);
            }
            if is_late {
                return Err(SriovError::Missing { device: interface.to_owned(), wanted, made: now.made.len() });
            }
            std::thread::sleep(PAUSE);
        }
    }
}
