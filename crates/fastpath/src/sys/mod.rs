//! All of this crate that the compiler cannot check.
#![allow(unsafe_code)]

pub(crate) mod bpf;
#[cfg(feature = "dpdk")]
pub(crate) mod dpdk;
pub(crate) mod ethtool;
pub(crate) mod mapped;
pub(crate) mod plain;
pub(crate) mod ring;
