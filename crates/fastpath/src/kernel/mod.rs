//! The tier in the kernel: programs and maps loaded, kept and let go by `aya`, and the control plane's writes carried out on them ([`Sink`]).
//!
//! - `object`: the programs, as they were compiled into this crate.
//! - `maps`: the tables as maps.
//! - `pins`: where they outlive the process.
//! - [`attach`]: how a program gets hold of an interface.
//! - `statistics`: what was counted.
//! - `flows`: what goes on; what is over is taken out.
//! - [`neighbours`]: next hops that nobody has asked for yet.

pub mod attach;
mod flows;
mod maps;
pub mod neighbours;
pub(crate) mod object;
mod pins;
mod statistics;

use std::io;
use std::path::{Path, PathBuf};

use outwork_engine::Time;

use crate::layout::{BackendTally, Neighbour, Reason, ServiceTally, Tally};
use crate::registry::plane::{ChangeError, Sink};
use crate::registry::{Apply, Registry, Write};
use crate::settings::{Settings, SizeError, Sizes};
use crate::sys::bpf::{self, Ran};
use crate::tables::Swept;
use attach::Attachment;
pub use attach::{AttachError, Attached, Mode, Tier};
use maps::Maps;
pub use object::{Unavailable, available};
use pins::Pins;
pub use pins::{USUAL, discard, missing_file_system};

/// Why the tables cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There are no programs.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A size that cannot be.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The directory for what outlives the process is not one.
    #[error(
        "{path} is not on a BPF file system, for none is mounted there: `mount -t bpf -o mode=0700 bpf {mount}`, or name a directory of one"
    )]
    NotBpf {
        /// The directory.
        path: PathBuf,
        /// Where one is to be mounted.
        mount: PathBuf,
    },
    /// The directory for what outlives the process cannot be used.
    #[error(
        "{path}: {error}; programs are kept in a directory of this process' own user that nobody else may write to, such as `install -d -m 0700 -o USER` makes"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel makes maps, and does not let them outlive the process.
    #[error(
        "tables are to be kept (`pins`), and the kernel does not let them be in {path}, as it may have them without that: {error}"
    )]
    Kept {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        error: Box<aya::pin::PinError>,
    },
    /// The kernel does not take the maps or programs.
    #[error("the kernel does not take the programs: {0}")]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel does not take a program.
    #[error("the kernel does not take `{program}`: {error}")]
    Program {
        /// The program.
        program: &'static str,
        /// What the verifier says.
        error: Box<aya::programs::ProgramError>,
    },
    /// A map is not what it should be.
    #[error("map `{map}`: {error}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// What a start has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: tables are new.
    Nothing,
    /// The tables of an earlier process, with services that go on.
    Left {
        /// So many of them.
        services: usize,
    },
    /// Tables that cannot be read or are not as asked for, which have made way for new ones.
    Replaced {
        /// Why.
        why: String,
    },
}

/// Whether XDP and tc can be had here: whether this build has programs, and the kernel lets this process load them.
///
/// # Errors
/// With what is in the way.
pub fn probe() -> Result<(), OpenError> {
    let sizes = Sizes { flows: 64, services: 1, backends: 1, places: 2, sources: 64, prefixes: 1 };
    Fastpath::open(Settings { sizes, ..Settings::default() }, None).map(drop)
}

/// The programs, their tables, and what is decided by. When it goes, the programs are detached and everything is forgotten; [`Fastpath::leave`] is how it stays.
#[derive(Debug)]
pub struct Fastpath {
    ebpf: aya::Ebpf,
    maps: Maps,
    registry: Registry,
    pins: Option<Pins>,
    attachments: Vec<Attachment>,
    sweep: flows::Sweep,
    /// Writes that the kernel did not take: they come before all others.
    undone: Vec<Write>,
}

impl Fastpath {
    /// Loads programs and tables. With a directory of a BPF file system, they outlive a crash of the process: the next start takes over what lies there, and
    /// no packet notices.
    ///
    /// # Errors
    /// When the kernel or the directory does not allow it.
    pub fn open(settings: Settings, directory: Option<&Path>) -> Result<(Fastpath, Found), OpenError> {
        Fastpath::load(settings, directory, false)
    }

    /// The same with a clock that stands where it is put ([`Fastpath::set_clock`]), for tests.
    ///
    /// # Errors
    /// As [`Fastpath::open`].
    pub fn open_with_clock(settings: Settings) -> Result<Fastpath, OpenError> {
        Fastpath::load(settings, None, true).map(|(fastpath, _)| fastpath)
    }

    fn load(
        settings: Settings,
        directory: Option<&Path>,
        clock_is_given: bool,
    ) -> Result<(Fastpath, Found), OpenError> {
        settings.sizes.check()?;
        let (mut pins, mut found) = match directory {
            Some(directory) => Pins::open(directory, &settings.sizes).map(|(pins, found)| (Some(pins), found))?,
            None => (None, Found::Nothing),
        };
        let mut ebpf = object::load(&settings.sizes, pins.as_ref(), clock_is_given)?;
        let mut maps = Maps::new(&mut ebpf, &settings.sizes)?;
        let (registry, writes) = match &mut found {
            Found::Left { services } => {
                let left = maps.left()?;
                *services = left.services.len();
                Registry::adopt(settings, left)
            }
            _ => Registry::new(settings),
        };
        for write in &writes {
            maps.apply(write).map_err(|error| OpenError::Map { map: "controls", error })?;
        }
        if let Some(pins) = &mut pins {
            pins.own();
        }
        let sweep = flows::Sweep::default();
        Ok((Fastpath { ebpf, maps, registry, pins, attachments: vec![], sweep, undone: vec![] }, found))
    }

    /// Says what time it is, where programs do not look for themselves ([`Fastpath::open_with_clock`]).
    pub fn set_clock(&self, now: Time) {
        self.maps.set_clock(now);
    }

    /// Runs a program by hand on a frame that came in by the interface `ingress`, `repeat` times. The frame of the last run comes back.
    ///
    /// # Errors
    /// When the kernel does not run it.
    pub fn run(&self, tier: Tier, frame: &[u8], ingress: u32, repeat: u32) -> io::Result<Ran> {
        let (program, context) = (object::program(&self.ebpf, tier)?, context(tier, frame, ingress));
        bpf::run(program, frame, &context, repeat)
    }

    /// Has XDP's program send off so many frames as if they had come in by the interface `ingress`: for measurements.
    ///
    /// # Errors
    /// When the kernel does not run it.
    pub fn run_live(&self, frame: &[u8], ingress: u32, count: u32) -> io::Result<()> {
        let tier = Tier::Xdp(Mode::Native);
        bpf::run_live(object::program(&self.ebpf, tier)?, frame, &context(tier, frame, ingress), count)
    }

    /// Goes, and leaves programs and tables to the next start, as a crash would. Without a directory nothing stays.
    pub fn leave(mut self) {
        if let Some(pins) = self.pins.take() {
            pins.keep();
            self.attachments.iter_mut().for_each(Attachment::keep);
        }
    }
}

impl Sink for Fastpath {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    fn carry_out(&mut self, writes: &[Write]) -> Result<(), ChangeError> {
        let mut writes: Vec<Write> = self.undone.drain(..).chain(writes.iter().cloned()).collect();
        for at in 0..writes.len() {
            let Some(write) = writes.get(at) else { break };
            if let Err(error) = self.maps.apply(write) {
                let what = maps::name(write).to_owned();
                self.undone = writes.split_off(at);
                return Err(ChangeError::Write { what, error });
            }
        }
        Ok(())
    }

    fn tally(&self, reason: Reason) -> io::Result<Tally> {
        Ok(self.maps.tally(reason)?.into_iter().fold(Tally::default(), Tally::plus))
    }

    fn service_tally(&self, number: u32) -> io::Result<ServiceTally> {
        Ok(self.maps.service_tally(number)?.into_iter().fold(ServiceTally::default(), ServiceTally::plus))
    }

    fn backend_tally(&self, number: u32) -> io::Result<BackendTally> {
        Ok(self.maps.backend_tally(number)?.into_iter().fold(BackendTally::default(), BackendTally::plus))
    }

    fn take_wanted(&self, most: usize) -> io::Result<Vec<Neighbour>> {
        let map = self.maps.wanted()?;
        let wanted: Vec<Neighbour> = map.entries()?.into_iter().map(|(neighbour, _)| neighbour).take(most).collect();
        wanted.iter().try_for_each(|neighbour| map.remove(neighbour).map(drop))?;
        Ok(wanted)
    }

    fn sweep(&mut self, now: Time) -> io::Result<Swept> {
        self.sweep_slice(now)
    }
}

/// What a program is told of a frame beside its bytes.
fn context(tier: Tier, frame: &[u8], ingress: u32) -> Vec<u8> {
    let mut context = vec![];
    match tier {
        // `struct xdp_md`: where data begins, ends, its metadata, the interface, the queue, the interface it leaves by.
        Tier::Xdp(_) => {
            let words = [0, frame.len() as u32, 0, ingress, 0, 0];
            words.iter().for_each(|word| context.extend_from_slice(&word.to_ne_bytes()));
        }
        // `struct __sk_buff`, of which the interface is the eleventh word.
        Tier::Tc => {
            context.resize(192, 0);
            if let Some(place) = context.get_mut(40..44) {
                place.copy_from_slice(&ingress.to_ne_bytes());
            }
        }
    }
    context
}
