//! Media types by the end of a file's name.

use std::collections::BTreeMap;

use http::HeaderValue;

/// The types that a folder has.
#[derive(Debug)]
pub(super) struct MediaTypes {
    own: BTreeMap<String, String>,
    charset: String,
}

impl MediaTypes {
    /// With these beside the usual ones, and this charset for text.
    pub(super) fn new(own: &BTreeMap<String, String>, charset: &str) -> Self {
        Self { own: own.clone(), charset: charset.to_owned() }
    }

    /// The type of a file, with the charset where it is text and has none.
    pub(super) fn of(&self, path: &str) -> HeaderValue {
        let kind = self.essence(path);
        let value = match kind.starts_with("text/") && !self.charset.is_empty() && !kind.contains(';') {
            true => HeaderValue::try_from(format!("{kind}; charset={}", self.charset)),
            false => HeaderValue::from_str(kind),
        };
        value.unwrap_or(HeaderValue::from_static(DEFAULT))
    }

    fn essence(&self, path: &str) -> &str {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((_, extension)) = name.rsplit_once('.') else { return DEFAULT };
        let small = extension.to_ascii_lowercase();
        if let Some(kind) = self.own.get(&small) {
            return kind;
        }
        let usual = TYPES.iter().find(|(extensions, _)| extensions.split(' ').any(|one| one == small));
        usual.map_or(DEFAULT, |(_, kind)| kind)
    }
}

const DEFAULT: &str = "application/octet-stream";

/// Ends of names, and the types registered for them (IANA media types).
const TYPES: &[(&str, &str)] = &[
    ("html htm", "text/html"),
    ("css", "text/css"),
    ("js mjs", "text/javascript"),
    ("json map", "application/json"),
    ("svg svgz", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("ico", "image/vnd.microsoft.icon"),
    ("woff2", "font/woff2"),
    ("woff", "font/woff"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("txt text log", "text/plain"),
    ("md markdown", "text/markdown"),
    ("csv", "text/csv"),
    ("xml", "application/xml"),
    ("xhtml", "application/xhtml+xml"),
    ("atom", "application/atom+xml"),
    ("rss", "application/rss+xml"),
    ("webmanifest", "application/manifest+json"),
    ("jsonld", "application/ld+json"),
    ("geojson", "application/geo+json"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("zst", "application/zstd"),
    ("tar", "application/x-tar"),
    ("7z", "application/x-7z-compressed"),
    ("bmp", "image/bmp"),
    ("tif tiff", "image/tiff"),
    ("mp4 m4v", "video/mp4"),
    ("webm", "video/webm"),
    ("mov", "video/quicktime"),
    ("mkv", "video/matroska"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg oga", "audio/ogg"),
    ("opus", "audio/opus"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("ts", "video/mp2t"),
    ("vtt", "text/vtt"),
    ("ics", "text/calendar"),
    ("yaml yml", "application/yaml"),
    ("toml", "application/toml"),
    ("rtf", "application/rtf"),
    ("epub", "application/epub+zip"),
    ("doc", "application/msword"),
    ("xls", "application/vnd.ms-excel"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("eot", "application/vnd.ms-fontobject"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("stl", "model/stl"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_tells_its_type_and_text_its_charset() {
        let types = MediaTypes::new(&BTreeMap::new(), "utf-8");
        for (path, kind) in [
            ("/a/b.HTML", "text/html; charset=utf-8"),
            ("/app.min.js", "text/javascript; charset=utf-8"),
            ("/a.b/c", DEFAULT),
            ("/archive.tar.gz", "application/gzip"),
            ("/noend.", DEFAULT),
            ("/a.json", "application/json"),
        ] {
            assert_eq!(types.of(path), kind, "{path}");
        }
    }

    #[test]
    fn a_folder_may_have_types_and_a_charset_of_its_own() {
        let own = [("gpx", "application/gpx+xml"), ("txt", "text/plain; charset=us-ascii"), ("html", "text/x-html")];
        let own = own.map(|(extension, kind)| (extension.to_owned(), kind.to_owned())).into();
        let types = MediaTypes::new(&own, "iso-8859-1");
        assert_eq!(types.of("/a.GPX"), "application/gpx+xml");
        assert_eq!(types.of("/a.txt"), "text/plain; charset=us-ascii");
        assert_eq!(types.of("/a.html"), "text/x-html; charset=iso-8859-1");
        assert_eq!(types.of("/a.css"), "text/css; charset=iso-8859-1");
        assert_eq!(MediaTypes::new(&BTreeMap::new(), "").of("/a.css"), "text/css");
    }

    #[test]
    fn no_end_of_a_name_stands_for_two_types() {
        let mut all: Vec<&str> = TYPES.iter().flat_map(|(extensions, _)| extensions.split(' ')).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
