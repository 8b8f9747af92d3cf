//! The fast path: layer 4 load balancing in the kernel (XDP, tc), and in user space on whole frames.
//!
//! - [`forward`]: the engine, in plain Rust: a frame and tables in, a verdict and the frame as it leaves out. The programs in the kernel (bpf/) do the same,
//!   and a test holds them to it.
//! - [`guard`]: how much may come of one source, for the engine and for sockets alike.
//! - [`layout`]: what process and programs share; [`tables`], the same as plain values.
//! - [`registry`]: the control plane, decided apart from doing: services and pools in, writes to tables out.
//! - [`kernel`]: programs and maps in the kernel, loaded, attached, replaced, taken over from a process that crashed.
//! - [`port`]: forwarding in user space, on sockets of AF_XDP or ports of DPDK.
//! - [`machine`]: what this machine can do: its kernel, interfaces and cards, and which tiers can be had.
//! - [`settings`]: what owners say.
//!
//! A fast path is a copy of decisions: what is doubtful, rare or not ours goes to the kernel's stack as it came, and is counted with the reason.
//! Absent on purpose: layer 7, TLS, limits of backends and latencies, which ask for connections; SYN cookies (bpf/l4.bpf.c says why).

pub mod forward;
pub mod guard;
pub mod kernel;
pub mod layout;
pub mod machine;
pub mod port;
pub mod registry;
pub mod settings;
mod sys;
pub mod tables;

// Frames are built by the same hands for the engine's tests and for those of the programs.
#[cfg(test)]
#[path = "../tests/kernel/frames.rs"]
mod frames;

pub use kernel::{Attached, Fastpath, Found, Mode, Tier};
pub use layout::{Protocol, Reason, Vip, Way};
pub use registry::plane::{ControlPlane, Sink};
pub use registry::{Apply, Registry, Write};
pub use settings::{ServiceSettings, Settings, Sizes};
pub use sys::bpf::Ran;
