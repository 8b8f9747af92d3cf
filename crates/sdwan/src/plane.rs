//! What packets go through between the device that they come from and the tunnel that they leave by, and back: octets in, octets out.
//!
//! - [`packet`]: what is read of a packet, and the little that is changed of it; [`icmp`], what its sender is told when it is too long.
//! - [`vnet`]: what stands in front of packets that a TUN device hands over in one piece.
//! - [`split`]: such a piece cut into packets, laid out so that what they are sealed into is one run.
//! - [`join`]: packets of a run put together again, where they lie.
//!
//! Absent on purpose: devices, sockets, keys, threads. No packet costs an allocation here, and only [`split`] copies one.

pub mod icmp;
pub mod join;
pub mod packet;
pub mod split;
pub mod vnet;

#[cfg(test)]
mod tests;
