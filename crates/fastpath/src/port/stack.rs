//! The way back: frames that were the kernel's after all go on as if they had come in by their interface, by a program that is run by hand on them.

use std::io;
use std::os::fd::AsFd;

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use super::steering::SteeringError;
use crate::kernel::object;
use crate::sys::bpf;

/// Who gives frames to the kernel's stack. Programs of XDP behind the driver see such frames again; those in the driver do not.
#[derive(Debug)]
pub struct Stack(Ebpf);

impl Stack {
    /// The stack of the network namespace that frames are given in.
    ///
    /// # Errors
    /// When the kernel does not take the program.
    pub fn open() -> Result<Stack, SteeringError> {
        let load = |error: &dyn std::error::Error| SteeringError::Load(crate::kernel::attach::reasons(error));
        let mut ebpf = EbpfLoader::new().load(object::port()?).map_err(|error| load(&error))?;
        let missing = || SteeringError::Load("a part of it is missing".to_owned());
        let program: &mut Xdp =
            ebpf.program_mut("port_stack").ok_or_else(missing)?.try_into().map_err(|error| load(&error))?;
        program.load().map_err(|error| load(&error))?;
        Ok(Stack(ebpf))
    }

    /// Has the kernel go on with a frame that came in by a queue of an interface. It takes some microseconds.
    ///
    /// # Errors
    /// When the kernel does not take it: it is longer than a page has room for, or the interface is gone.
    pub fn give(&self, frame: &[u8], ingress: u32, queue: u32) -> io::Result<()> {
        let program = self.0.program("port_stack").ok_or(io::ErrorKind::NotFound)?;
        let program = program.fd().map_err(io::Error::other)?;
        // `struct xdp_md`: where data begins, ends, its metadata, the interface, the queue, the interface it leaves by.
        let words = [0, frame.len() as u32, 0, ingress, queue, 0];
        let context: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        bpf::run_live(program.as_fd(), frame, &context, 1)
    }
}
