//! Which frames the kernel gives to sockets: those to services, and those of backends that answer through here. All others go on as ever.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::Map;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::af_xdp::AfXdp;
use crate::kernel::{Mode, Unavailable, object};
use crate::layout::Vip;
use crate::sys::bpf::Typed;

/// Why frames do not come.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// There is no program.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The kernel does not take it.
    #[error("the kernel does not take the program that gives frames to sockets: {0}")]
    Load(String),
    /// It cannot be attached.
    #[error("`{interface}` takes no program: {why}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why.
        why: String,
    },
    /// A table does not take what it is told.
    #[error("{what}: {why}")]
    Table {
        /// What it was told.
        what: &'static str,
        /// Why not.
        why: String,
    },
}

/// The program on one interface, for that is what sockets are of. It is detached when this goes.
#[derive(Debug)]
pub struct Steering {
    _ebpf: Ebpf,
    ours: Map,
    sockets: Map,
    _link: FdLink,
    known: BTreeSet<Vip>,
}

impl Steering {
    /// Attaches the program to an interface, with room for so many services and backends.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn attach(interface: &str, mode: Mode, most: u32) -> Result<Steering, SteeringError> {
        let load = |error: &dyn std::error::Error| SteeringError::Load(crate::kernel::attach::reasons(error));
        let attach = |error: &dyn std::error::Error| SteeringError::Attach {
            interface: interface.to_owned(),
            why: crate::kernel::attach::reasons(error),
        };
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("ours", most);
        let mut ebpf = loader.load(object::port()?).map_err(|error| load(&error))?;
        let missing = || SteeringError::Load("a part of it is missing".to_owned());
        let ours = ebpf.take_map("ours").ok_or_else(missing)?;
        let sockets = ebpf.take_map("sockets").ok_or_else(missing)?;
        let program: &mut Xdp =
            ebpf.program_mut("port_xdp").ok_or_else(missing)?.try_into().map_err(|error| load(&error))?;
        program.load().map_err(|error| load(&error))?;
        let mode = match mode {
            Mode::Hardware => XdpMode::Hardware,
            Mode::Native => XdpMode::Driver,
            Mode::Skb => XdpMode::Skb,
        };
        let id = program.attach(interface, mode).map_err(|error| attach(&error))?;
        let link = program.take_link(id).map_err(|error| attach(&error))?;
        let link = link.try_into().map_err(|error: LinkError| attach(&error))?;
        Ok(Steering { _ebpf: ebpf, ours, sockets, _link: link, known: BTreeSet::new() })
    }

    /// Gives the frames of a queue to a port.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn give(&mut self, queue: u32, port: &AfXdp) -> Result<(), SteeringError> {
        let refused = |error: std::io::Error| SteeringError::Table { what: "a socket", why: error.to_string() };
        let Map::XskMap(data) = &self.sockets else { return Ok(()) };
        let map: Typed<'_, u32, u32> = Typed::new(data.fd().as_fd()).map_err(refused)?;
        map.insert(&queue, &(port.as_fd().as_raw_fd() as u32)).map_err(refused)
    }

    /// Says whose frames are ours: services, and backends that answer through here, each by where it is.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn steer(&mut self, wanted: impl IntoIterator<Item = Vip>) -> Result<(), SteeringError> {
        let wanted: BTreeSet<Vip> = wanted.into_iter().collect();
        self.add(&wanted)?;
        let gone: Vec<Vip> = self.known.difference(&wanted).copied().collect();
        for one in &gone {
            self.ours()?.remove(one).map_err(refused)?;
            self.known.remove(one);
        }
        Ok(())
    }

    /// Says whose frames are ours as well.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn add(&mut self, wanted: &BTreeSet<Vip>) -> Result<(), SteeringError> {
        let come: Vec<Vip> = wanted.difference(&self.known).copied().collect();
        for one in &come {
            self.ours()?.insert(one, &1).map_err(refused)?;
            self.known.insert(*one);
        }
        Ok(())
    }

    fn ours(&self) -> Result<Typed<'_, Vip, u32>, SteeringError> {
        let Map::HashMap(data) = &self.ours else { return Err(refused(std::io::ErrorKind::InvalidData.into())) };
        Typed::new(data.fd().as_fd()).map_err(refused)
    }
}

fn refused(error: std::io::Error) -> SteeringError {
    SteeringError::Table { what: "a service or backend", why: error.to_string() }
}
