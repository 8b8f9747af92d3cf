//! Content codings (RFC 9110 section 8.4): what a response is compressed with, and where that work is done.
//!
//! - [`settings`]: what the configuration says.
//! - [`negotiation`]: which coding a client gets.
//! - [`encoder`]: the codings themselves, whole or as it comes.
//! - [`compressor`]: the work, off the event loop and bounded.
//! - [`compressed`]: a handler whose responses are compressed.
//! - `metrics`: what all of it counts.
//!
//! Deliberately absent: `deflate`, which clients have never agreed about, and `compress`. Files keep their compressed variants themselves: `web` has them.

pub mod compressed;
pub mod compressor;
pub mod encoder;
mod metrics;
pub mod negotiation;
pub mod settings;

use http::HeaderValue;
use outwork_config::choice;
use outwork_telemetry::{Label, Labels};

pub use compressed::Compressed;
pub use compressor::{Compressor, Patience};
pub use metrics::{CodingMetrics, Uncompressed};
pub use negotiation::{Accepted, Choice};
pub use settings::{Compression, Levels};

choice! {
    /// A way to compress content.
    pub enum Coding {
        /// Zstandard (RFC 8878).
        Zstd = "zstd",
        /// Brotli (RFC 7932).
        Brotli = "brotli",
        /// GZIP (RFC 1952).
        Gzip = "gzip",
    }
}

impl Coding {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place among them, from 0.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in `Accept-Encoding` and `Content-Encoding` (RFC 9110 section 18.6, RFC 7932, RFC 8878).
    pub const fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The end of the name of a file that holds another one in this coding.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// [`token`](Self::token) as a value.
    pub fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.token())
    }
}

impl Label for Coding {
    const COUNT: usize = Self::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn labels(index: usize) -> Labels {
        Self::ALL.get(index).map(|coding| ("coding", coding.word().into())).into_iter().collect()
    }
}
