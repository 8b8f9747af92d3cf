//! What packets go through between the device that they come from and the tunnel that they leave by, and back: octets in, octets out.
//!
//! - [`packet`]: what is read of a packet, and the little that is changed of it; [`icmp`], what its sender is told when it is too long.
//! - [`names`]: which names flows ask for as they begin, so that policies know applications by them.
//! - [`split`]: what a device hands over in one piece cut into packets, laid out so that what they are sealed into is one run.
//! - [`fragment`]: packets of IPv4 cut into parts where their path takes less.
//! - [`join`]: packets of a run put together again, where they lie.
//! - [`frame`]: what stands before packets that go by two paths; [`streams`]: those that go twice, handed on once; [`fec`]: those that others mend; [`mending`]: how the others leave.
//! - [`tunnel`]: a tunnel as workers see it; [`view`], whose addresses are behind which; [`gauge`], what was measured of a path; [`marking`], what shaping knows datagrams by; [`shared`], what workers and
//!   control have in common.
//! - [`inside`]: what a datagram has inside, and who may say such a thing; [`quoted`]: what ICMP says of datagrams of ours.
//! - [`relay`]: what hubs pass on between sites that have no path of their own; [`passing`]: how that leaves.
//! - [`account`]: what was sent under which policy.
//! - [`lines`]: the sockets of uplinks.
//! - [`outbound`] and [`inbound`]: the two directions; [`worker`], the thread that has both.
//!
//! Those before [`tunnel`] know no devices, sockets, keys or threads. No packet costs an allocation, and only [`split`] and [`fragment`] copy one.

pub mod account;
pub mod fec;
pub mod fragment;
pub mod frame;
pub mod gauge;
pub mod icmp;
pub mod inbound;
pub mod inside;
pub mod join;
pub mod lines;
pub mod marking;
pub mod mending;
pub mod names;
pub mod outbound;
pub mod packet;
pub mod passing;
pub mod quoted;
pub mod relay;
pub mod shared;
pub mod split;
pub mod streams;
pub mod tunnel;
pub mod view;
pub mod worker;

#[cfg(test)]
mod tests;
