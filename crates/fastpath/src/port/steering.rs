//! Which frames the kernel gives to sockets: those to services, and those of backends that answer through here. All others go on as ever.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapData};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use super::af_xdp::AfXdp;
use crate::kernel::{Mode, Unavailable, object};
use crate::layout::Vip;
use crate::sys::bpf::{self, Typed};

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

/// What frames for or from a place are: bpf/port.bpf.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Frames {
    /// For sockets.
    Ours = 1,
    /// Those of a service that gets no new flows: what opens a connection, and what is of one that a socket of TCP has, is the kernel's.
    Leaving = 2,
}

/// What keeps a program on an interface, for as long as any process has it.
#[derive(Debug)]
pub struct Hold(OwnedFd);

impl Hold {
    /// That of a process that has left it.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of(file: OwnedFd) -> io::Result<Hold> {
        bpf::linked(file.as_fd()).map(|_| Hold(file))
    }

    /// The interface; `None` where it is gone.
    pub fn interface(&self) -> Option<u32> {
        bpf::linked(self.0.as_fd()).ok().filter(|index| *index != 0)
    }

    /// Takes the program off, whoever else holds it.
    ///
    /// # Errors
    /// When the kernel does not do so.
    pub fn end(&self) -> io::Result<()> {
        bpf::unlink(self.0.as_fd())
    }

    /// The file, for another process.
    pub fn into_file(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Hold {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The program that runs behind the driver.
const BEHIND: &str = "port_xdp_skb";

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<(), SteeringError> {
    let load = |error: &dyn std::error::Error| SteeringError::Load(crate::kernel::attach::reasons(error));
    let missing = || SteeringError::Load("a part of it is missing".to_owned());
    let program: &mut Xdp = ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|error| load(&error))?;
    program.load().map_err(|error| load(&error))
}

/// The program of one interface, for that is what sockets are of. It is detached when this goes.
#[derive(Debug)]
pub struct Steering {
    ebpf: Ebpf,
    ours: Map,
    sockets: Map,
    closed: Map,
    /// The program that is used: that for frames which can be given back, or the other.
    program: &'static str,
    hold: Option<Hold>,
    known: BTreeMap<Vip, Frames>,
}

impl Steering {
    /// Loads the program, with room for so many services and backends. It is on no interface yet.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn load(most: u32) -> Result<Steering, SteeringError> {
        let load = |error: &dyn std::error::Error| SteeringError::Load(crate::kernel::attach::reasons(error));
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("ours", most);
        let mut ebpf = loader.load(object::port()?).map_err(|error| load(&error))?;
        let missing = || SteeringError::Load("a part of it is missing".to_owned());
        let ours = ebpf.take_map("ours").ok_or_else(missing)?;
        let sockets = ebpf.take_map("sockets").ok_or_else(missing)?;
        let closed = ebpf.take_map("closed").ok_or_else(missing)?;
        let (program, hold) = ("port_xdp", None);
        load_program(&mut ebpf, program)?;
        Ok(Steering { ebpf, ours, sockets, closed, program, hold, known: BTreeMap::new() })
    }

    fn program(&self) -> io::Result<BorrowedFd<'_>> {
        let program = self.ebpf.program(self.program).ok_or(io::ErrorKind::NotFound)?;
        program.fd().map(AsFd::as_fd).map_err(io::Error::other)
    }

    /// Puts the program on an interface.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn attach(&mut self, interface: &str, mode: Mode) -> Result<(), SteeringError> {
        // `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_HW_MODE`.
        let flags = match mode {
            Mode::Skb => 1 << 1,
            Mode::Native => 1 << 2,
            Mode::Hardware => 1 << 3,
        };
        if mode == Mode::Skb && self.program != BEHIND {
            load_program(&mut self.ebpf, BEHIND)?;
            self.program = BEHIND;
        }
        let index = crate::kernel::attach::index_of(interface).ok_or(io::ErrorKind::NotFound);
        let linked = index.map_err(io::Error::from).and_then(|index| bpf::link(self.program()?, index, flags));
        let refused =
            |error: io::Error| SteeringError::Attach { interface: interface.to_owned(), why: error.to_string() };
        self.hold = Some(Hold(linked.map_err(refused)?));
        Ok(())
    }

    /// Puts the program in the place of one that another process has left, between two packets. It runs as that one did, which is in the driver.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn succeed(&mut self, hold: Hold) -> Result<(), SteeringError> {
        let refused = |error: io::Error| SteeringError::Attach {
            interface: "the interface of the process before this one".to_owned(),
            why: error.to_string(),
        };
        bpf::relink(hold.as_fd(), self.program().map_err(refused)?).map_err(refused)?;
        self.hold = Some(hold);
        Ok(())
    }

    /// Says whether our frames are dropped while no socket takes them, and not left to the kernel.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn close(&mut self, is_closed: bool) -> Result<(), SteeringError> {
        let refused = |error: io::Error| SteeringError::Table { what: "that sockets make way", why: error.to_string() };
        let Map::Array(data) = &self.closed else { return Err(refused(io::ErrorKind::InvalidData.into())) };
        let map: Typed<'_, u32, u32> = Typed::new(MapData::fd(data).as_fd()).map_err(refused)?;
        map.insert(&0, &u32::from(is_closed)).map_err(refused)
    }

    /// What keeps the program where it is, for a process that is to take over.
    pub fn into_hold(self) -> Option<Hold> {
        self.hold
    }

    /// Gives the frames of a queue to a port.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn give(&mut self, queue: u32, port: &AfXdp) -> Result<(), SteeringError> {
        let refused = |error: io::Error| SteeringError::Table { what: "a socket", why: error.to_string() };
        let Map::XskMap(data) = &self.sockets else { return Ok(()) };
        let map: Typed<'_, u32, u32> = Typed::new(data.fd().as_fd()).map_err(refused)?;
        map.insert(&queue, &(port.as_fd().as_raw_fd() as u32)).map_err(refused)
    }

    /// Says whose frames are ours: services, and backends that answer through here, each by where it is.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn steer(&mut self, wanted: &BTreeMap<Vip, Frames>) -> Result<(), SteeringError> {
        self.add(wanted)?;
        let gone: Vec<Vip> = self.known.keys().filter(|one| !wanted.contains_key(one)).copied().collect();
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
    pub fn add(&mut self, wanted: &BTreeMap<Vip, Frames>) -> Result<(), SteeringError> {
        for (one, frames) in wanted {
            if self.known.get(one) != Some(frames) {
                self.ours()?.insert(one, &(*frames as u32)).map_err(refused)?;
                self.known.insert(*one, *frames);
            }
        }
        Ok(())
    }

    fn ours(&self) -> Result<Typed<'_, Vip, u32>, SteeringError> {
        let Map::HashMap(data) = &self.ours else { return Err(refused(io::ErrorKind::InvalidData.into())) };
        Typed::new(data.fd().as_fd()).map_err(refused)
    }
}

fn refused(error: io::Error) -> SteeringError {
    SteeringError::Table { what: "a service or backend", why: error.to_string() }
}
