//! Media types by the end of a file's name.

/// The type, with the charset where it is text.
pub(crate) fn media_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((_, extension)) = name.rsplit_once('.') else { return DEFAULT };
    let small = extension.to_ascii_lowercase();
    TYPES.iter().find(|(extensions, _)| extensions.split(' ').any(|one| one == small)).map_or(DEFAULT, |(_, kind)| kind)
}

const DEFAULT: &str = "application/octet-stream";

/// Ends of names, and the types registered for them (IANA media types).
const TYPES: &[(&str, &str)] = &[
    ("html htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js mjs", "text/javascript; charset=utf-8"),
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
    ("txt text log", "text/plain; charset=utf-8"),
    ("md markdown", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
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
    ("vtt", "text/vtt; charset=utf-8"),
    ("ics", "text/calendar; charset=utf-8"),
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
        assert_eq!(media_type("/a/b.HTML"), "text/html; charset=utf-8");
        assert_eq!(media_type("/app.min.js"), "text/javascript; charset=utf-8");
        assert_eq!(media_type("/a.b/c"), DEFAULT);
        assert_eq!(media_type("/archive.tar.gz"), "application/gzip");
        assert_eq!(media_type("/noend."), DEFAULT);
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
