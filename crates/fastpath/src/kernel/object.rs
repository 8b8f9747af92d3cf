//! The programs, as they were compiled into this crate.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use aya::maps::MapError;
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};

use super::OpenError;
use super::attach::Tier;
use super::maps::MAPS;
use super::pins::Pins;
use crate::settings::Sizes;

/// Why there are no programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// This build has none.
    #[error("this build has no programs for the kernel: {0}")]
    NotBuilt(&'static str),
}

#[cfg(bpf)]
fn bytes() -> Result<&'static [u8], Unavailable> {
    Ok(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/l4.bpf.o")))
}

#[cfg(not(bpf))]
fn bytes() -> Result<&'static [u8], Unavailable> {
    Err(Unavailable::NotBuilt(env!("OUTWORK_WITHOUT_BPF")))
}

/// What forwarding in user space asks of the kernel.
#[cfg(bpf)]
pub(crate) fn port() -> Result<&'static [u8], Unavailable> {
    Ok(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/port.bpf.o")))
}

#[cfg(not(bpf))]
pub(crate) fn port() -> Result<&'static [u8], Unavailable> {
    Err(Unavailable::NotBuilt(env!("OUTWORK_WITHOUT_BPF")))
}

/// Whether this build has programs for the kernel.
///
/// # Errors
/// When it has none, with what was missing when it was built.
pub fn available() -> Result<(), Unavailable> {
    bytes().map(|_| ())
}

/// Loads maps and programs. Maps that lie in `pins` are taken over, others are put there.
pub(super) fn load(sizes: &Sizes, pins: Option<&Pins>, clock_is_given: bool) -> Result<Ebpf, OpenError> {
    let given = u8::from(clock_is_given);
    let mut loader = EbpfLoader::new();
    loader.override_global("clock_is_given", &given, true);
    for map in &MAPS {
        if let Some(entries) = (map.entries)(sizes) {
            loader.map_max_entries(map.name, entries);
        }
        if let Some(pins) = pins {
            loader.map_pin_path(map.name, pins.map(map.name));
        }
    }
    let mut ebpf = loader.load(bytes()?).map_err(|error| not_loaded(pins.map(Pins::directory), error))?;
    let refused = |program| move |error: ProgramError| OpenError::Program { program, error: Box::new(error) };
    xdp(&mut ebpf).and_then(Xdp::load).map_err(refused("l4_xdp"))?;
    tc(&mut ebpf).and_then(SchedClassifier::load).map_err(refused("l4_tc"))?;
    Ok(ebpf)
}

/// Why there are no maps or programs: that they cannot be kept is another matter than that they cannot be had.
fn not_loaded(directory: Option<&Path>, error: EbpfError) -> OpenError {
    match (directory, error) {
        (Some(path), EbpfError::MapError(MapError::PinError { error, .. })) => {
            OpenError::Kept { path: path.to_owned(), error: Box::new(error) }
        }
        (_, error) => OpenError::Load(Box::new(error)),
    }
}

pub(super) fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    ebpf.program_mut("l4_xdp").ok_or(ProgramError::NotLoaded)?.try_into()
}

pub(super) fn tc(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, ProgramError> {
    ebpf.program_mut("l4_tc").ok_or(ProgramError::NotLoaded)?.try_into()
}

/// The loaded program of a tier.
pub(super) fn program(ebpf: &Ebpf, tier: Tier) -> io::Result<BorrowedFd<'_>> {
    let name = match tier {
        Tier::Xdp(_) => "l4_xdp",
        Tier::Tc => "l4_tc",
    };
    let program = ebpf.program(name).ok_or(io::ErrorKind::NotFound)?;
    program.fd().map(AsFd::as_fd).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use aya::pin::PinError;
    use aya::sys::SyscallError;

    use super::super::attach::reasons;
    use super::*;

    #[test]
    fn a_kernel_that_makes_maps_and_does_not_let_them_be_kept_is_told_apart() {
        let refused = || {
            let io_error = io::Error::from_raw_os_error(libc::EPERM);
            let error = PinError::SyscallError(SyscallError { call: "BPF_OBJ_PIN", io_error });
            EbpfError::MapError(MapError::PinError { name: Some("flows".to_owned()), error })
        };
        let told = reasons(&not_loaded(Some(Path::new("/sys/fs/bpf/a")), refused()));
        let begins = "tables are to be kept (`pins`), and the kernel does not let them be in /sys/fs/bpf/a";
        assert!(told.starts_with(begins) && told.contains("(os error 1)"), "{told}");
        assert!(matches!(not_loaded(None, refused()), OpenError::Load(_)));
    }
}
