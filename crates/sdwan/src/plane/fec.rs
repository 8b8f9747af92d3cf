//! Packets of groups, and others that mend what was lost of them (forward error correction; RFC 6363 has the words).
//!
//! - [`field`]: what is computed with.
//! - [`encoder`]: what mends a group, summed up while its packets pass.
//! - [`decoder`]: what is missing, found when enough has come that mends.
//!
//! A code of Reed and Solomon in the form that Cauchy's matrix gives it: of `data` packets and `parity` that mend them, any `data` are enough, and the first of those that mend is the
//! exclusive or of all. Nothing waits: packets go as they come, and are handed on as they come; what is mended comes late, and out of order.
//! Both ends keep sums and no packets, so what a group costs follows from what mends it.

pub mod decoder;
pub mod encoder;
pub mod field;

/// What is summed up is a packet with its length in front.
pub const PREFIX: usize = 2;

#[cfg(test)]
mod tests;
