//! The `outwork` binary.

fn main() {}
