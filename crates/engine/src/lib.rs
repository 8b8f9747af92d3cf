//! The sans-IO kit.
