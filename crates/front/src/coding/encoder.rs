//! The codings themselves.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::write::GzEncoder;

use super::{Coding, Levels};

/// The window of a content that comes in parts, as a power of two: each response under way holds a few times that in memory.
const STREAM_WINDOW: u32 = 17;
/// Bytes that Brotli writes out at once.
const BROTLI_BUFFER: usize = 8 << 10;
/// The largest window that Brotli has for everybody (RFC 7932 section 9.1), and the smallest that is worth having.
const BROTLI_WINDOW: std::ops::RangeInclusive<u32> = 12..=22;

/// Encodes a content that is whole.
///
/// # Errors
/// When the coding's library does.
pub fn encode(coding: Coding, levels: &Levels, content: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Zstd => zstd::bulk::compress(content, levels.zstd),
        Coding::Brotli => {
            let bits = usize::BITS - content.len().leading_zeros();
            let params = BrotliEncoderParams {
                quality: i32::try_from(levels.brotli).unwrap_or(11),
                lgwin: bits.clamp(*BROTLI_WINDOW.start(), *BROTLI_WINDOW.end()) as i32,
                size_hint: content.len(),
                ..BrotliEncoderParams::default()
            };
            let mut encoded = Vec::with_capacity(content.len() / 4);
            brotli::BrotliCompress(&mut &*content, &mut encoded, &params)?;
            Ok(encoded)
        }
        Coding::Gzip => {
            let mut encoder =
                GzEncoder::new(Vec::with_capacity(content.len() / 4), flate2::Compression::new(levels.gzip));
            encoder.write_all(content)?;
            encoder.finish()
        }
    }
}

/// Encodes a content as it comes.
pub struct Encoder(Kind);

enum Kind {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// One that has seen nothing yet.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(coding: Coding, levels: &Levels) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), levels.zstd)?;
                encoder.window_log(STREAM_WINDOW)?;
                Kind::Zstd(encoder)
            }
            Coding::Brotli => {
                let encoder = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, levels.brotli, STREAM_WINDOW);
                Kind::Brotli(Box::new(encoder))
            }
            Coding::Gzip => Kind::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(levels.gzip))),
        }))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.0 {
            Kind::Zstd(encoder) => encoder,
            Kind::Brotli(encoder) => encoder,
            Kind::Gzip(encoder) => encoder,
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match &mut self.0 {
            Kind::Zstd(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Gzip(encoder) => encoder.get_mut(),
        }
    }

    /// Takes the next part of the content.
    ///
    /// # Errors
    /// When the coding's library does.
    pub fn write(&mut self, part: &[u8]) -> io::Result<()> {
        self.writer().write_all(part)
    }

    /// Has everything that was taken come out, so that the other end can decode all of it. That costs some bytes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    /// What has come out since the last time.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(self.output()).into()
    }

    /// Bytes that [`take`](Self::take) would give.
    pub fn ready(&mut self) -> usize {
        self.output().len()
    }

    /// Ends the content, and gives what is left of it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(self) -> io::Result<Bytes> {
        Ok(match self.0 {
            Kind::Zstd(encoder) => encoder.finish()?,
            // It writes to memory, which does not fail.
            Kind::Brotli(encoder) => encoder.into_inner(),
            Kind::Gzip(encoder) => encoder.finish()?,
        }
        .into())
    }
}

/// Decodes a content, for tests.
#[cfg(test)]
pub(crate) fn decode(coding: Coding, content: &[u8]) -> io::Result<Vec<u8>> {
    use std::io::Read;

    let mut decoded = Vec::new();
    match coding {
        Coding::Zstd => return zstd::stream::decode_all(content),
        Coding::Brotli => brotli::Decompressor::new(content, 4096).read_to_end(&mut decoded)?,
        Coding::Gzip => flate2::read::GzDecoder::new(content).read_to_end(&mut decoded)?,
    };
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Vec<u8> {
        (0..4000).flat_map(|line| format!("<li class=entry>{line}</li>\n").into_bytes()).collect()
    }

    #[test]
    fn what_was_encoded_whole_decodes_to_what_it_was_and_is_smaller() {
        for coding in Coding::ALL {
            let encoded = encode(*coding, &Levels::default(), &page()).unwrap();
            assert!(encoded.len() < page().len() / 3, "{coding}: {}", encoded.len());
            assert_eq!(decode(*coding, &encoded).unwrap(), page(), "{coding}");
            assert_eq!(decode(*coding, &encode(*coding, &Levels::default(), b"").unwrap()).unwrap(), b"", "{coding}");
        }
    }

    #[test]
    fn what_is_flushed_can_be_decoded_before_the_rest_has_come() {
        use std::io::Read;

        for coding in Coding::ALL {
            let mut encoder = Encoder::new(*coding, &Levels::default()).unwrap();
            encoder.write(b"first ").unwrap();
            encoder.flush().unwrap();
            let mut sent = encoder.take().to_vec();
            let mut first = [0; 6];
            match coding {
                Coding::Zstd => zstd::stream::read::Decoder::new(&*sent).unwrap().read_exact(&mut first).unwrap(),
                Coding::Brotli => brotli::Decompressor::new(&*sent, 4096).read_exact(&mut first).unwrap(),
                Coding::Gzip => flate2::read::GzDecoder::new(&*sent).read_exact(&mut first).unwrap(),
            }
            assert_eq!(&first, b"first ", "{coding}");
            encoder.write(b"second").unwrap();
            sent.extend(encoder.finish().unwrap());
            assert_eq!(decode(*coding, &sent).unwrap(), b"first second", "{coding}");
        }
    }

    #[test]
    fn a_higher_level_makes_less_to_send() {
        let least = Levels { zstd: 1, brotli: 0, gzip: 1 };
        let most = Levels { zstd: 19, brotli: 11, gzip: 9 };
        for coding in Coding::ALL {
            let of = |levels| encode(*coding, levels, &page()).unwrap().len();
            assert!(of(&most) < of(&least), "{coding}");
        }
    }
}
