//! How a program gets hold of an interface, and what is tried when it cannot be as asked.

use std::error::Error as _;
use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, TcAttachType, XdpMode};

use super::{Fastpath, USUAL, object};
use crate::sys::bpf;

/// How XDP runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// On the card.
    Hardware,
    /// In the driver, before the kernel makes a packet of the frame.
    Native,
    /// After that, with any driver.
    Skb,
}

/// A way into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// XDP.
    Xdp(Mode),
    /// tc, on the way in.
    Tc,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tier::Xdp(Mode::Hardware) => "xdp-hw",
            Tier::Xdp(Mode::Native) => "xdp-native",
            Tier::Xdp(Mode::Skb) => "xdp-skb",
            Tier::Tc => "tc",
        })
    }
}

impl Tier {
    /// What is tried in its place, in this order.
    pub fn fallbacks(self) -> &'static [Tier] {
        match self {
            Tier::Xdp(Mode::Hardware) => &[Tier::Xdp(Mode::Native), Tier::Xdp(Mode::Skb), Tier::Tc],
            Tier::Xdp(Mode::Native) => &[Tier::Xdp(Mode::Skb), Tier::Tc],
            Tier::Xdp(Mode::Skb) => &[Tier::Tc],
            Tier::Tc => &[],
        }
    }
}

/// How a program got hold of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The interface.
    pub interface: String,
    /// What was asked for.
    pub asked: Tier,
    /// What came of it.
    pub got: Tier,
    /// What was tried before, and why it failed.
    pub tried: Vec<(Tier, String)>,
    /// Whether the program took the place of an earlier process' one, between two packets.
    pub replaced: bool,
    /// Whether it stays when the process crashes.
    pub stays: bool,
}

/// Why a program has no hold of an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// There is none.
    #[error("there is no interface `{0}`")]
    Unknown(String),
    /// Everything was tried.
    #[error("`{interface}` takes no program: {}", tried.iter().map(|(tier, why)| format!("{tier}: {why}")).collect::<Vec<_>>().join("; "))]
    Failed {
        /// The interface.
        interface: String,
        /// What was tried, and why it failed.
        tried: Vec<(Tier, String)>,
    },
    /// A program of ours has hold of it.
    #[error("`{0}` has its program: detach it first")]
    Twice(String),
}

/// What keeps a program where it is, until it is dropped.
#[derive(Debug)]
enum Hold {
    Xdp {
        _link: XdpLink,
    },
    Tc {
        _link: SchedClassifierLink,
    },
    /// A file of a BPF file system, which goes with this unless it is to stay.
    Pinned {
        path: PathBuf,
        stays: bool,
    },
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Hold::Pinned { path, stays: false } = self {
            // The kernel sees a moment later that a file is gone. Until then its program would be in the way of the next; where this fails, it is.
            let _ = take_off(path);
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Takes off the program that a file keeps.
fn take_off(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    bpf::unlink(bpf::open(&path)?.as_fd())
}

/// A program on an interface.
#[derive(Debug)]
pub(super) struct Attachment {
    attached: Attached,
    ifindex: u32,
    hold: Hold,
}

impl Attachment {
    /// Makes it stay when this goes.
    pub(super) fn keep(&mut self) {
        if let Hold::Pinned { stays, .. } = &mut self.hold {
            *stays = true;
        }
    }
}

impl Fastpath {
    /// Gets hold of an interface, as asked or else by the next best way. Where an earlier process has left a program there, it is replaced.
    ///
    /// # Errors
    /// When nothing worked.
    pub fn attach(&mut self, interface: &str, asked: Tier) -> Result<Attached, AttachError> {
        self.attach_by(interface, asked, asked.fallbacks())
    }

    /// The same with other ways than those that are usual in the place of the one that was asked for.
    ///
    /// # Errors
    /// When nothing worked.
    pub fn attach_by(&mut self, interface: &str, asked: Tier, fallbacks: &[Tier]) -> Result<Attached, AttachError> {
        let unknown = || AttachError::Unknown(interface.to_owned());
        let ifindex = index_of(interface).ok_or_else(unknown)?;
        if self.attachments.iter().any(|one| one.ifindex == ifindex) {
            return Err(AttachError::Twice(interface.to_owned()));
        }
        let mut tried = vec![];
        for tier in [asked].iter().chain(fallbacks) {
            match self.hold(interface, ifindex, *tier) {
                Ok((hold, replaced)) => {
                    let stays = matches!(hold, Hold::Pinned { .. });
                    let attached =
                        Attached { interface: interface.to_owned(), asked, got: *tier, tried, replaced, stays };
                    self.attachments.push(Attachment { attached: attached.clone(), ifindex, hold });
                    self.release(ifindex, |other| other != *tier);
                    return Ok(attached);
                }
                Err(why) => tried.push((*tier, why)),
            }
        }
        Err(AttachError::Failed { interface: interface.to_owned(), tried })
    }

    /// Gets hold of an interface by other ways than it is held by now, as far as they come before the one that it has. The program that is there goes when the
    /// other is there, as far as both can be at once: no packet of a flow comes to the kernel's stack, which would end it.
    ///
    /// # Errors
    /// When nothing worked: then there is no program there any more.
    pub fn attach_anew(&mut self, interface: &str, asked: Tier, fallbacks: &[Tier]) -> Result<Attached, AttachError> {
        let Some(at) = self.attachments.iter().position(|one| one.attached.interface == interface) else {
            return self.attach_by(interface, asked, fallbacks);
        };
        let mut old = self.attachments.swap_remove(at);
        if matches!((old.attached.got, asked), (Tier::Xdp(had), Tier::Xdp(wanted)) if had != wanted) {
            // An interface has one program of XDP.
            drop(old);
            return self.attach_by(interface, asked, fallbacks);
        }
        let ways = || [asked].into_iter().chain(fallbacks.iter().copied());
        let better: Vec<Tier> = ways().take_while(|way| *way != old.attached.got).collect();
        let tried = match better.split_first() {
            None => vec![],
            Some((first, rest)) => match self.attach_by(interface, *first, rest) {
                Err(AttachError::Failed { tried, .. }) if ways().any(|way| way == old.attached.got) => tried,
                other => return other,
            },
        };
        old.attached = Attached { asked, tried, ..old.attached };
        let attached = old.attached.clone();
        self.attachments.push(old);
        Ok(attached)
    }

    /// Lets go of an interface. Says whether there was a hold.
    pub fn detach(&mut self, interface: &str) -> bool {
        let before = self.attachments.len();
        self.attachments.retain(|one| one.attached.interface != interface);
        self.attachments.len() < before
    }

    /// The interfaces that programs have hold of.
    pub fn attached(&self) -> impl Iterator<Item = &Attached> {
        self.attachments.iter().map(|one| &one.attached)
    }

    /// Interfaces that programs are on, by their index.
    pub fn attached_to(&self) -> impl Iterator<Item = u32> {
        self.attachments.iter().map(|one| one.ifindex)
    }

    /// Forgets interfaces that are gone. One of the same name that has come since has no program.
    pub fn drop_gone(&mut self) {
        self.attachments.retain(|one| index_of(&one.attached.interface) == Some(one.ifindex));
    }

    /// A hold, and whether it was an earlier process' one.
    fn hold(&mut self, interface: &str, ifindex: u32, tier: Tier) -> Result<(Hold, bool), String> {
        let path = self.pins.as_ref().map(|pins| pins.held().join(format!("{tier}-{ifindex}")));
        if let Some(path) = &path {
            if let Ok(link) = PinnedLink::from_pin(path) {
                match self.replace(tier, link.into()) {
                    Ok(()) => return Ok((Hold::Pinned { path: path.clone(), stays: false }, true)),
                    // The interface that it was for is gone, and its index has another one.
                    Err(_) => drop(std::fs::remove_file(path)),
                }
            }
            if let Tier::Xdp(_) = tier {
                // An interface has one program of XDP: that of another mode makes way.
                self.release(ifindex, |other| other != tier && other != Tier::Tc);
            }
        }
        let pin = |link: FdLink, path: PathBuf| {
            link.pin(&path).map_err(|error| {
                format!("it is to be kept in {} (`pins`), and the kernel refuses: {}", path.display(), reasons(&error))
            })?;
            Ok((Hold::Pinned { path, stays: false }, false))
        };
        match tier {
            Tier::Xdp(mode) => {
                let link = self.hold_xdp(ifindex, mode).map_err(|error| not_held(&error))?;
                let Some(path) = path.filter(|_| mode != Mode::Hardware) else {
                    return Ok((Hold::Xdp { _link: link }, false));
                };
                match FdLink::try_from(link) {
                    Ok(link) => pin(link, path),
                    // A kernel before 5.9 has no link that can outlive the process. The program may be there still, and is taken once more.
                    Err(_) => {
                        let link = self.hold_xdp(ifindex, mode).map_err(|error| not_held(&error))?;
                        Ok((Hold::Xdp { _link: link }, false))
                    }
                }
            }
            Tier::Tc => {
                let (link, is_link) = self.hold_tc(interface).map_err(|error| reasons(&error))?;
                match path.filter(|_| is_link) {
                    Some(path) => pin(link.try_into().map_err(|error: LinkError| reasons(&error))?, path),
                    None => Ok((Hold::Tc { _link: link }, false)),
                }
            }
        }
    }

    fn hold_xdp(&mut self, ifindex: u32, mode: Mode) -> Result<XdpLink, ProgramError> {
        let program = object::xdp(&mut self.ebpf)?;
        let mode = match mode {
            Mode::Hardware => XdpMode::Hardware,
            Mode::Native => XdpMode::Driver,
            Mode::Skb => XdpMode::Skb,
        };
        let id = program.attach_to_if_index(ifindex, mode)?;
        program.take_link(id)
    }

    /// A hold of the way in, and whether it is one that can outlive the process.
    fn hold_tc(&mut self, interface: &str) -> Result<(SchedClassifierLink, bool), ProgramError> {
        let program = object::tc(&mut self.ebpf)?;
        let chain = TcAttachOptions::TcxOrder(LinkOrder::first());
        let (id, is_link) = match program.attach_with_options(interface, TcAttachType::Ingress, chain) {
            Ok(id) => (id, true),
            // A kernel before 6.6 has a filter of a queueing discipline in its place.
            Err(_) => {
                // That it is there already is as good.
                let _ = tc::qdisc_add_clsact(interface);
                let filter = TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() });
                (program.attach_with_options(interface, TcAttachType::Ingress, filter)?, false)
            }
        };
        Ok((program.take_link(id)?, is_link))
    }

    /// Gives a link that was left our program in place of its own, between two packets. The link is its file's.
    fn replace(&mut self, tier: Tier, link: FdLink) -> Result<(), ProgramError> {
        let gone = |_: LinkError| ProgramError::NotAttached;
        match tier {
            Tier::Xdp(_) => {
                let program = object::xdp(&mut self.ebpf)?;
                let id = program.attach_to_link(link.try_into().map_err(gone)?)?;
                program.take_link(id).map(drop)
            }
            Tier::Tc => {
                let program = object::tc(&mut self.ebpf)?;
                let id = program.attach_to_link(link.try_into().map_err(gone)?)?;
                program.take_link(id).map(drop)
            }
        }
    }

    /// Removes what lies there for the interface, of an earlier process too, in the ways that are to go.
    fn release(&self, ifindex: u32, goes: impl Fn(Tier) -> bool) {
        let Some(pins) = &self.pins else { return };
        for way in [Tier::Xdp(Mode::Hardware), Tier::Xdp(Mode::Native), Tier::Xdp(Mode::Skb), Tier::Tc] {
            if goes(way) {
                let _ = std::fs::remove_file(pins.held().join(format!("{way}-{ifindex}")));
            }
        }
    }
}

/// Why XDP has no hold of an interface. The kernel says of another program there no more than that something is busy.
fn not_held(error: &ProgramError) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let mut codes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    let told = reasons(error);
    match codes.any(|code| code == libc::EBUSY) {
        true => format!(
            "{told}: another program of XDP is there, perhaps of a server that kept its tables and is gone (`bpftool link` shows it, and `ls {USUAL}` what is kept)"
        ),
        false => told,
    }
}

/// The index of an interface of this network namespace.
pub fn index_of(interface: &str) -> Option<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(&socket, interface).ok()
}

/// The name of an interface of this network namespace.
pub fn name_of(index: u32) -> Option<String> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::index_to_name(&socket, index).ok()
}

/// All that an error says, down to the kernel's word.
pub fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Versions of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4 is one of them.
    pub v4: bool,
    /// IPv6 is.
    pub v6: bool,
}

impl FromIterator<IpAddr> for Families {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Families {
        let with = |families: Families, address: IpAddr| match address {
            IpAddr::V4(_) => Families { v4: true, ..families },
            IpAddr::V6(_) => Families { v6: true, ..families },
        };
        addresses.into_iter().fold(Families::default(), with)
    }
}

/// The setting that keeps the kernel from routing what comes in by this interface, by the files of `procfs`; `None` where it routes that.
pub fn unrouted(procfs: &Path, interface: &str, is_v4: bool) -> Option<String> {
    let family = if is_v4 { "ipv4" } else { "ipv6" };
    let path = procfs.join(format!("sys/net/{family}/conf/{interface}/forwarding"));
    let is_off = std::fs::read_to_string(path).ok()?.trim() == "0";
    // As sysctl(8) has it: a dot of a name is a slash.
    is_off.then(|| format!("net.{family}.conf.{}.forwarding", interface.replace('.', "/")))
}

/// What is in the way of forwarding packets of these versions of IP that come in by this interface, and what to do about it, by the files of `procfs`.
pub fn concerns(procfs: &Path, interface: &str, families: Families) -> Vec<String> {
    [(families.v4, true), (families.v6, false)]
        .into_iter()
        .filter(|(is_wanted, _)| *is_wanted)
        .filter_map(|(_, is_v4)| unrouted(procfs, interface, is_v4))
        .map(|setting| {
            format!("`{setting}` is 0: the kernel does not route what comes in here, for forwarding is off (`sysctl -w {setting}=1`)")
        })
        .collect()
}
