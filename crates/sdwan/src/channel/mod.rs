//! What a site and its controller say to each other, and how: over TLS that both have certificates for (RFC 8446), in frames of JSON.
//!
//! - [`message`]: what is said.
//! - [`frame`]: how it stands in the stream.
//! - [`token`]: what a site shows the first time.
//! - [`request`]: what a certificate is asked for with.
//! - [`tls`]: who is believed to be who.

pub mod frame;
pub mod message;
pub mod request;
pub mod tls;
pub mod token;
