//! The engine: a frame and the tables in, a verdict and the frame as it leaves out. It is the truth that the programs in the kernel are held to, and what
//! ports of user space forward with ([`crate::port`]).
//!
//! - [`frame`]: a frame with room around it.
//! - `packet`: bytes to what is decided by.
//! - `decide`: whose it is and where it goes.
//! - `complete`: checksums that were left to somebody else.
//! - `rewrite`: what is done to it.
//! - [`routes`]: the next hop, which is the kernel's to know.
//! - [`hash`]: which flow gets which place of a table.

mod complete;
mod decide;
pub mod frame;
pub mod hash;
mod packet;
mod rewrite;
pub mod routes;

use outwork_engine::Time;

use crate::layout::{HAS_CABLES, Reason};
use crate::tables::Tables;
pub use frame::Frame;
pub use routes::{Hop, Query, Routes};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel's stack gets it, as it lies in the buffer now.
    Pass(Reason),
    /// Nobody gets it.
    Drop(Reason),
    /// It leaves.
    Send {
        /// By this interface.
        ifindex: u32,
        /// As what.
        reason: Reason,
    },
}

impl Verdict {
    /// Why.
    pub fn reason(self) -> Reason {
        match self {
            Verdict::Pass(reason) | Verdict::Drop(reason) | Verdict::Send { reason, .. } => reason,
        }
    }
}

/// Decides what becomes of a frame that came in by the interface `ingress`, changes it accordingly, and counts.
pub fn forward(frame: &mut Frame<'_>, ingress: u32, tables: &mut Tables, routes: &impl Routes, now: Time) -> Verdict {
    let length = frame.bytes().len() as u32;
    let now = now.as_nanos();
    let decided = packet::parse(frame.bytes(), ingress, tables)
        .map(|packet| (packet, decide::decide(&packet, tables, routes, now)));
    let (mut reason, mut ifindex) = (Reason::DropFault, 0);
    match decided {
        Err(left) => reason = left,
        Ok((_, (left, None))) => reason = left,
        Ok((packet, (sent, Some(order)))) => {
            ifindex = order.leaving.map_or(0, |leaving| leaving.ifindex);
            let done = !sent.rewrites()
                || completed(frame, &packet, tables)
                    .and_then(|()| rewrite::carry_out(frame, &packet, &order, &tables.control))
                    .is_some();
            if done {
                reason = sent;
            }
        }
    }
    if let Some(tally) = tables.tallies.get_mut(reason as usize) {
        tally.add(length);
    }
    match reason {
        reason if reason.passes() => Verdict::Pass(reason),
        reason if reason.drops() => Verdict::Drop(reason),
        reason => Verdict::Send { ifindex, reason },
    }
}

/// Completes the checksum of a frame that was left as it came, for who takes checksums for complete.
pub fn complete(frame: &mut Frame<'_>, ingress: u32, tables: &Tables) {
    if tables.control.flags & HAS_CABLES != 0
        && let Ok(packet) = packet::parse(frame.bytes(), ingress, tables)
    {
        // What cannot be completed is found out by whom it is for.
        let _ = completed(frame, &packet, tables);
    }
}

fn completed(frame: &mut Frame<'_>, packet: &packet::Packet, tables: &Tables) -> Option<()> {
    let asks = tables.control.flags & HAS_CABLES != 0 && !packet.is_error;
    if asks { complete::complete(frame, packet) } else { Some(()) }
}

#[cfg(test)]
mod tests;
