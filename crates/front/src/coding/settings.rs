//! What the configuration says of compression.

use outwork_config::{At, ByteSize, Fault, section};

use super::Coding;

section! {
    /// Compression of responses.
    pub struct Compression {
        /// Whether responses are compressed.
        pub enabled: bool = true,
        /// The codings, the preferred one first. What a client prefers comes before that.
        pub algorithms: Vec<Coding> = vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
        /// How hard each of them tries.
        pub level: Levels,
        /// Smaller contents are sent as they are.
        pub min_size: ByteSize [range ByteSize::bytes(1)..=ByteSize::mib(64)] = ByteSize::kib(1),
        /// Larger contents are sent as they are, unless their size is not known before.
        pub max_size: ByteSize [range ByteSize::bytes(1)..=ByteSize::mib(256)] = ByteSize::mib(10),
        /// The media types that are compressed, such as `text/html` or `text/*`. By default those of texts, and of what shrinks like them; images, films
        /// and archives mostly are compressed already.
        pub types: Vec<String> = TYPES.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>(),
    }
    check is_possible;
}

section! {
    /// How hard each coding tries: more makes less to send, and takes longer.
    pub struct Levels {
        /// Of Zstandard.
        pub zstd: i32 [range 1..=19] = 6,
        /// Of Brotli.
        pub brotli: u32 [range 0..=11] = 6,
        /// Of GZIP.
        pub gzip: u32 [range 1..=9] = 6,
    }
}

const TYPES: &[&str] = &[
    "text/html",
    "text/css",
    "text/javascript",
    "text/plain",
    "text/csv",
    "text/markdown",
    "text/xml",
    "text/calendar",
    "text/vcard",
    "text/vtt",
    "application/javascript",
    "application/json",
    "application/geo+json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/xml",
    "application/atom+xml",
    "application/rss+xml",
    "application/xhtml+xml",
    "application/rtf",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "image/x-icon",
    "model/gltf+json",
];

fn is_possible(compression: &Compression, at: &mut At<'_>) {
    for (index, coding) in compression.algorithms.iter().enumerate() {
        if compression.algorithms.iter().take(index).any(|other| other == coding) {
            at.fault(&format!("algorithms[{index}]"), Fault::new(format!("{coding} stands here a second time")));
        }
    }
    if compression.enabled && compression.algorithms.is_empty() {
        let fault = Fault::new("there is nothing to compress with").expected("one of zstd, brotli, gzip at least");
        at.fault("algorithms", fault.help("for no compression write enabled = false"));
    }
    if compression.min_size > compression.max_size {
        let fault = Fault::new(format!("{} is above max_size, {}", compression.min_size, compression.max_size));
        at.fault("min_size", fault.expected("no more than max_size"));
    }
    for (index, kind) in compression.types.iter().enumerate() {
        let parts =
            kind.split_once('/').filter(|(kind, subtype)| is_token(kind) && (*subtype == "*" || is_token(subtype)));
        if parts.is_none() {
            let fault =
                Fault::new(format!("{kind:?} is no media type")).expected("one such as \"text/html\" or \"text/*\"");
            at.fault(&format!("types[{index}]"), fault.help("leave out parameters such as the charset"));
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

impl Compression {
    /// Whether contents of this media type are compressed; its parameters do not matter.
    pub fn covers(&self, media_type: &str) -> bool {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        self.enabled
            && self.types.iter().any(|kind| match kind.strip_suffix("/*") {
                Some(top) => essence.split('/').next().is_some_and(|of| of.eq_ignore_ascii_case(top)),
                None => essence.eq_ignore_ascii_case(kind),
            })
    }

    /// Whether contents of this size are compressed.
    pub fn fits(&self, length: u64) -> bool {
        length >= self.min_size.get() && length <= self.max_size.get()
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    #[test]
    fn a_media_type_is_covered_whatever_its_case_and_parameters() {
        let settings = Compression { types: vec!["text/html".into(), "font/*".into()], ..Compression::default() };
        for covered in ["text/html", "Text/HTML; charset=utf-8", "font/ttf"] {
            assert!(settings.covers(covered), "{covered}");
        }
        for other in ["text/htmlx", "text/plain", "fonts/ttf", ""] {
            assert!(!settings.covers(other), "{other}");
        }
        assert!(!Compression { enabled: false, ..settings }.covers("text/html"));
    }

    #[test]
    fn what_shrinks_is_compressed_by_default_and_what_is_compressed_is_not() {
        let settings = Compression::default();
        for covered in [
            "text/plain",
            "text/csv",
            "application/rss+xml",
            "application/wasm",
            "application/manifest+json",
            "image/svg+xml",
        ] {
            assert!(settings.covers(covered), "{covered}");
        }
        for other in ["image/png", "font/woff2", "video/mp4", "application/zip", "text/event-stream"] {
            assert!(!settings.covers(other), "{other}");
        }
    }

    #[test]
    fn sizes_and_types_that_make_no_sense_are_refused_by_key() {
        let file = "algorithms = ['gzip', 'gzip']\nmin_size = '2MiB'\nmax_size = '1MiB'\ntypes = ['html', 'a/b;c']\nlevel = { brotli = 12 }\n";
        let sources = Sources { file: Some(("a.toml".into(), file.into())), env: vec![], set: vec![] };
        let faults = load::<Compression>(sources).unwrap_err().render(false);
        assert!(faults.contains("level.brotli"), "{faults}");
        let file = file.replace("12", "11");
        let sources = Sources { file: Some(("a.toml".into(), file)), env: vec![], set: vec![] };
        let faults = load::<Compression>(sources).unwrap_err().render(false);
        for key in ["algorithms[1]", "min_size", "types[0]", "types[1]"] {
            assert!(faults.contains(key), "{key}: {faults}");
        }
    }
}
