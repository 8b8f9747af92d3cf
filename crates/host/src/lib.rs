//! The machine that Outwork runs on: what services want of it, how it is, and how it is made so and put back.
//!
//! - [`demand`]: what the configuration turns on, as far as the machine is concerned; and what is wished for it, with the reasons.
//! - [`config`]: the `[host]` section.
//! - [`wish`]: a wish: one thing of the machine, and what it is to be.
//! - [`knob`]: the things that can be set: settings of the kernel, huge pages, interrupts, interfaces.
//! - [`name`], [`processors`]: how settings, interfaces and sets of processors are written.
//! - [`machine`]: reads and writes them, below a folder that need not be `/`: tests have machines of their own.
//! - [`limits`]: what the process may have: files, locked memory.
//! - [`report`]: the machine beside the wishes.
//! - [`drop_in`]: what of it holds through restarts.
//! - [`apply`]: makes it so, and puts it back; [`before`]: what is remembered for that.
//!
//! The running service writes nothing of this: `outwork host` does, as root, when somebody asks for it.
//!
//! Deliberately absent: queueing disciplines, addresses and routes; virtual functions, which are the fast path's (`fastpath::machine::sriov`).

pub mod apply;
pub mod before;
pub mod config;
pub mod demand;
pub mod drop_in;
mod interrupts;
pub mod knob;
pub mod limits;
pub mod machine;
pub mod name;
pub mod processors;
pub mod report;
pub mod wish;

#[cfg(test)]
mod tests;
