//! Sockets and interfaces.
