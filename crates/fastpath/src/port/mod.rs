//! Forwarding in user space, on whole frames: ports that bring and take them in bursts, and the pump that forwards between them by the same engine.
//!
//! - [`af_xdp`]: ports on sockets of AF_XDP.
//! - `dpdk`: ports of DPDK, with the feature of that name.
//! - [`steering`]: which frames the kernel gives to them.
//! - [`ways`]: the kernel's routes, asked for and remembered.
//! - [`stack`]: the way back to the kernel.
//! - [`userspace`]: the tables of a pump, with their control plane.
//!
//! Steering keeps away what is not ours. What the engine leaves to the kernel of the rest (a neighbour that is not known, a packet that is out of hops, a service
//! without a backend) a port gives back to it, as far as it can ([`Port::give_back`]).

pub mod af_xdp;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod stack;
pub mod steering;
pub mod userspace;
pub mod ways;

use std::io;
use std::os::fd::BorrowedFd;

use outwork_engine::Time;

use crate::forward::{Frame, Hop, Query, Routes, Verdict, complete, forward};
use crate::layout::FlowKey;
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

    /// Has the kernel go on with a frame, as if it had come in by this interface, and gives its chunk back. Says whether the kernel has it.
    fn give_back(&mut self, packet: Packet) -> bool {
        self.release(packet.chunk);
        false
    }

    /// What is ready to read when frames wait; `None` where only looking tells.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<P: Port + ?Sized> Port for Box<P> {
    fn interface(&self) -> u32 {
        (**self).interface()
    }

    fn rx_burst(&mut self, into: &mut Vec<Packet>) -> io::Result<usize> {
        (**self).rx_burst(into)
    }

    fn tx_burst(&mut self, from: &mut Vec<Packet>) -> io::Result<usize> {
        (**self).tx_burst(from)
    }

    fn chunk(&mut self, chunk: u32) -> Option<&mut [u8]> {
        (**self).chunk(chunk)
    }

    fn take(&mut self) -> Option<u32> {
        (**self).take()
    }

    fn release(&mut self, chunk: u32) {
        (**self).release(chunk);
    }

    fn give_back(&mut self, packet: Packet) -> bool {
        (**self).give_back(packet)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        (**self).readiness()
    }
}

/// What a pump has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pumped {
    /// Frames that came in.
    pub received: u64,
    /// Frames that left.
    pub sent: u64,
    /// Frames that were the kernel's to see to, and that it has.
    pub passed: u64,
    /// Frames that there was no room for; or that were the kernel's, and it has not taken them.
    pub lost: u64,
}

impl std::ops::AddAssign for Pumped {
    fn add_assign(&mut self, other: Pumped) {
        self.received += other.received;
        self.sent += other.sent;
        self.passed += other.passed;
        self.lost += other.lost;
    }
}

/// Forwards between ports.
#[derive(Debug)]
pub struct Pump<P> {
    ports: Vec<Lane<P>>,
    /// The interfaces of them.
    interfaces: Vec<u32>,
    /// Interfaces whose ports are about to come.
    expected: Vec<u32>,
    /// What ports have done that are gone.
    gone: Pumped,
}

#[derive(Debug)]
struct Lane<P> {
    port: P,
    /// What is to leave by it.
    leaving: Vec<Packet>,
    pumped: Pumped,
}

/// The ways that lead out by a port. What goes elsewhere is the kernel's.
struct Ways<'a, R> {
    routes: &'a R,
    interfaces: &'a [u32],
    expected: &'a [u32],
}

impl<R: Routes> Routes for Ways<'_, R> {
    fn hop(&self, query: &Query) -> Hop {
        self.routes.hop(query)
    }

    fn leaves_by(&self, ifindex: u32) -> bool {
        self.interfaces.contains(&ifindex) || self.expected.contains(&ifindex)
    }

    fn has_socket(&self, key: &FlowKey) -> bool {
        self.routes.has_socket(key)
    }
}

impl<P: Port> Pump<P> {
    /// A pump between these ports. Several may be of one interface, one for each of its queues: frames leave by the first.
    pub fn new(ports: Vec<P>) -> Pump<P> {
        let mut pump = Pump { ports: vec![], interfaces: vec![], expected: vec![], gone: Pumped::default() };
        ports.into_iter().for_each(|port| pump.add(port));
        pump
    }

    /// One more port.
    pub fn add(&mut self, port: P) {
        self.interfaces.push(port.interface());
        self.ports.push(Lane { port, leaving: vec![], pumped: Pumped::default() });
    }

    /// These interfaces, and no others, are about to have ports: what would leave by them is lost until then, for the kernel would reset its flow.
    pub fn expect(&mut self, interfaces: Vec<u32>) {
        self.expected = interfaces;
    }

    /// Closes the ports of an interface.
    pub fn remove(&mut self, interface: u32) {
        let (gone, ports) =
            std::mem::take(&mut self.ports).into_iter().partition(|one| one.port.interface() == interface);
        self.ports = ports;
        self.interfaces.retain(|one| *one != interface);
        let gone: Vec<Lane<P>> = gone;
        gone.into_iter().for_each(|lane| self.gone += lane.pumped);
    }

    /// The ports.
    pub fn ports(&self) -> impl Iterator<Item = &P> {
        self.ports.iter().map(|lane| &lane.port)
    }

    /// What each port has done by now: what came in by it, was passed and lost; and what has left by it.
    pub fn lanes(&self) -> impl Iterator<Item = (&P, Pumped)> {
        self.ports.iter().map(|lane| (&lane.port, lane.pumped))
    }

    /// What it has done by now.
    pub fn pumped(&self) -> Pumped {
        let mut sum = self.gone;
        self.ports.iter().for_each(|lane| sum += lane.pumped);
        sum
    }

    /// Forwards a burst of each port. Says how many frames came in: where that is 0, there is time to wait.
    ///
    /// # Errors
    /// When a port is gone. The others have had their turn.
    pub fn turn(&mut self, tables: &mut Tables, routes: &impl Routes, now: Time) -> io::Result<usize> {
        let (mut total, mut burst, mut fault) = (0, vec![], None);
        let interfaces = std::mem::take(&mut self.interfaces);
        let ways = Ways { routes, interfaces: &interfaces, expected: &self.expected.clone() };
        for at in 0..self.ports.len() {
            burst.clear();
            let Some(lane) = self.ports.get_mut(at) else { continue };
            match lane.port.rx_burst(&mut burst) {
                Ok(count) => total += count,
                Err(error) => fault = Some(error),
            }
            lane.pumped.received += burst.len() as u64;
            for packet in burst.drain(..) {
                self.forward(at, packet, tables, &ways, now);
            }
        }
        for lane in self.ports.iter_mut().filter(|lane| !lane.leaving.is_empty()) {
            match lane.port.tx_burst(&mut lane.leaving) {
                Ok(count) => lane.pumped.sent += count as u64,
                Err(error) => fault = Some(error),
            }
            // Who would wait for room would wait for everybody's.
            for packet in lane.leaving.drain(..) {
                lane.port.release(packet.chunk);
                lane.pumped.lost += 1;
            }
        }
        self.interfaces = interfaces;
        fault.map_or(Ok(total), Err)
    }

    fn forward(&mut self, at: usize, packet: Packet, tables: &mut Tables, routes: &impl Routes, now: Time) {
        let Some(lane) = self.ports.get_mut(at) else { return };
        let interface = lane.port.interface();
        let chunk = lane.port.chunk(packet.chunk);
        let Some(mut frame) = chunk.and_then(|chunk| Frame::new(chunk, packet.start as usize, packet.length as usize))
        else {
            return lane.port.release(packet.chunk);
        };
        let verdict = forward(&mut frame, interface, tables, routes, now);
        if let Verdict::Pass(_) = verdict {
            // As if it had come in by a wire.
            complete(&mut frame, interface, tables);
        }
        let packet = Packet { start: frame.start() as u32, length: frame.bytes().len() as u32, ..packet };
        match verdict {
            Verdict::Send { ifindex, .. } if ifindex == interface => lane.leaving.push(packet),
            Verdict::Send { ifindex, .. } => {
                if self.carry_over(at, packet, ifindex).is_none()
                    && let Some(lane) = self.ports.get_mut(at)
                {
                    lane.pumped.lost += 1;
                }
            }
            Verdict::Pass(_) if lane.port.give_back(packet) => lane.pumped.passed += 1,
            // Its chunk was given back all the same.
            Verdict::Pass(_) => lane.pumped.lost += 1,
            Verdict::Drop(_) => lane.port.release(packet.chunk),
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
