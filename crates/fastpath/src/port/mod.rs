//! Forwarding in user space, on whole frames: ports that bring and take them in bursts, and the pump that forwards between them by the same engine.
//!
//! - [`af_xdp`]: ports on sockets of AF_XDP.
//! - `dpdk`: ports of DPDK, with the feature of that name.
//! - [`steering`]: which frames the kernel gives to them.
//! - [`ways`]: the kernel's routes, asked for and remembered.
//!
//! What the engine would leave to the kernel does not come back to it from here: steering keeps away what is not ours, and of the rest (a neighbour that is not
//! known, a packet that is out of hops) it is counted and dropped. Who has a pump has the kernel ask for neighbours
//! ([`crate::kernel::neighbours::resolve`] of [`Tables::take_wanted`]).

pub mod af_xdp;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod steering;
pub mod ways;

use std::io;

use outwork_engine::Time;

use crate::forward::{Frame, Routes, Verdict, forward};
use crate::tables::Tables;

/// A frame in the memory of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The chunk that it lies in.
    pub chunk: u32,
    /// Where it begins there.
    pub start: u32,
    /// Its octets.
    pub length: u32,
}

/// Where frames come from and go to.
///
/// Chunks are the port's: a frame that was received, or a chunk that was taken, is in the caller's hands until it is transmitted or released.
pub trait Port {
    /// The index of the interface.
    fn interface(&self) -> u32;

    /// Takes in what waits, a burst at most, and says how much that was.
    ///
    /// # Errors
    /// When the port is gone.
    fn rx_burst(&mut self, into: &mut Vec<Packet>) -> io::Result<usize>;

    /// Sends frames off and says how many; the rest stays in `from`, for there was no room.
    ///
    /// # Errors
    /// When the port is gone.
    fn tx_burst(&mut self, from: &mut Vec<Packet>) -> io::Result<usize>;

    /// The chunk of a frame. `None` where it is not in the caller's hands.
    fn chunk(&mut self, chunk: u32) -> Option<&mut [u8]>;

    /// A chunk for a frame of another port. `None` where all are in use.
    fn take(&mut self) -> Option<u32>;

    /// Gives a chunk back.
    fn release(&mut self, chunk: u32);
}

/// What a pump has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pumped {
    /// Frames that came in.
    pub received: u64,
    /// Frames that left.
    pub sent: u64,
    /// Frames that were the kernel's to see to, and are gone.
    pub passed: u64,
    /// Frames that there was no room for, or no port.
    pub lost: u64,
}

/// Forwards between ports.
#[derive(Debug)]
pub struct Pump<P> {
    ports: Vec<Lane<P>>,
    pumped: Pumped,
}

#[derive(Debug)]
struct Lane<P> {
    port: P,
    /// What is to leave by it.
    leaving: Vec<Packet>,
}

impl<P: Port> Pump<P> {
    /// A pump between these ports. Several may be of one interface, one for each of its queues: frames leave by the first.
    pub fn new(ports: Vec<P>) -> Pump<P> {
        let ports = ports.into_iter().map(|port| Lane { port, leaving: vec![] }).collect();
        Pump { ports, pumped: Pumped::default() }
    }

    /// The ports.
    pub fn ports(&self) -> impl Iterator<Item = &P> {
        self.ports.iter().map(|lane| &lane.port)
    }

    /// What it has done by now.
    pub fn pumped(&self) -> Pumped {
        self.pumped
    }

    /// Forwards a burst of each port. Says how many frames came in: where that is 0, there is time to wait.
    ///
    /// # Errors
    /// When a port is gone.
    pub fn turn(&mut self, tables: &mut Tables, routes: &impl Routes, now: Time) -> io::Result<usize> {
        let (mut total, mut burst) = (0, vec![]);
        for at in 0..self.ports.len() {
            burst.clear();
            let Some(lane) = self.ports.get_mut(at) else { continue };
            total += lane.port.rx_burst(&mut burst)?;
            self.pumped.received += burst.len() as u64;
            for packet in burst.drain(..) {
                self.forward(at, packet, tables, routes, now);
            }
        }
        for lane in &mut self.ports {
            if !lane.leaving.is_empty() {
                self.pumped.sent += lane.port.tx_burst(&mut lane.leaving)? as u64;
                // Who would wait for room would wait for everybody's.
                for packet in lane.leaving.drain(..) {
                    lane.port.release(packet.chunk);
                    self.pumped.lost += 1;
                }
            }
        }
        Ok(total)
    }

    fn forward(&mut self, at: usize, packet: Packet, tables: &mut Tables, routes: &impl Routes, now: Time) {
        let Some(lane) = self.ports.get_mut(at) else { return };
        let interface = lane.port.interface();
        let chunk = lane.port.chunk(packet.chunk);
        let frame = chunk.and_then(|chunk| Frame::new(chunk, packet.start as usize, packet.length as usize));
        let sent = frame.and_then(|mut frame| match forward(&mut frame, interface, tables, routes, now) {
            Verdict::Send { ifindex, .. } => {
                let (start, length) = (frame.start() as u32, frame.bytes().len() as u32);
                Some((ifindex, Packet { start, length, ..packet }))
            }
            Verdict::Pass(_) => {
                self.pumped.passed += 1;
                None
            }
            Verdict::Drop(_) => None,
        });
        match sent {
            None => lane.port.release(packet.chunk),
            Some((ifindex, packet)) if ifindex == interface => lane.leaving.push(packet),
            Some((ifindex, packet)) => {
                if self.carry_over(at, packet, ifindex).is_none() {
                    self.pumped.lost += 1;
                }
            }
        }
    }

    /// Copies a frame into the memory of the port that it leaves by.
    fn carry_over(&mut self, at: usize, packet: Packet, ifindex: u32) -> Option<()> {
        let to = self.ports.iter().position(|lane| lane.port.interface() == ifindex);
        let (from, to) = match to.and_then(|to| self.ports.get_disjoint_mut([at, to]).ok()) {
            Some([from, to]) => (from, to),
            None => {
                self.ports.get_mut(at)?.port.release(packet.chunk);
                return None;
            }
        };
        let range = packet.start as usize..(packet.start + packet.length) as usize;
        let copied = from.port.chunk(packet.chunk).and_then(|chunk| chunk.get(range.clone())).and_then(|bytes| {
            let chunk = to.port.take()?;
            let Some(place) = to.port.chunk(chunk).and_then(|chunk| chunk.get_mut(range)) else {
                to.port.release(chunk);
                return None;
            };
            place.copy_from_slice(bytes);
            to.leaving.push(Packet { chunk, ..packet });
            Some(())
        });
        from.port.release(packet.chunk);
        copied
    }
}

#[cfg(test)]
mod tests;
