//! What the configuration says of assets.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use outwork_config::{At, ByteSize, Fault, hours, millis, secs, section};
use outwork_front::route::path::NormalPath;

use super::versioned::VersionedName;
use crate::files::glob::{Glob, GlobError};

section! {
    /// What is made of the files of a folder before they are served: style sheets, scripts and pages made smaller, put together, and named by their
    /// content, so that browsers keep them for a year. It is made at the start and whenever a file changes; the files themselves stay as they are.
    pub struct Assets {
        /// Files put together into one.
        pub concatenation: Concatenation,
        /// What is left out of files.
        pub minification: Minification,
        /// Files named by their content.
        pub versioning: Versioning,
        /// Whether what is made has source maps, which lead from it to the files that it was made of. They are kept below the data directory, and written
        /// by `outwork assets build`.
        pub source_maps: bool = true,
        /// Whether source maps are served, and what is made says where: then browsers show the files that it was made of, to anybody.
        pub serve_source_maps: bool = false,
        /// The path that the folder is served at, where that is not `/`: with slashes at both ends.
        pub base: String = "/",
        /// Where the list of what was made is served, as JSON: paths with their versioned URLs and integrity.
        pub manifest: Option<String>,
        /// How long nothing may have changed before what has changed is made anew.
        pub debounce: Duration [range millis(10)..=secs(60)] = millis(200),
        /// How long a start or a reload waits until everything is made for the first time. If it takes longer, files are served as they are until then.
        pub start_wait: Duration [range secs(0)..=secs(300)] = secs(5),
        /// Files that are looked at. What is beyond is served as it is.
        pub max_files: u32 [range 1..=1_000_000] = 20_000,
        /// Files above this size are served as they are.
        pub max_file: ByteSize [range ByteSize::kib(1)..=ByteSize::gib(1)] = ByteSize::mib(8),
        /// Bytes of all of them. What is beyond is served as it is.
        pub max_total: ByteSize [range ByteSize::mib(1)..=ByteSize::gib(1024)] = ByteSize::gib(1),
    }
    check makes_sense;
}

section! {
    /// Files put together into one.
    pub struct Concatenation {
        /// Whether any are.
        pub enabled: bool = true,
        /// What becomes of which: `/css/*.css -> /bundle.css`. Several patterns and paths stand with commas between, and are taken in that order; what
        /// fits one pattern is taken by name. Style sheets or scripts; modules cannot be put together.
        pub patterns: Vec<Bundle>,
    }
}

section! {
    /// What is left out of files: white space, comments but for licences, longer ways to say the same. Files whose names end in `.min.css` or
    /// `.min.js` stay as they are.
    pub struct Minification {
        /// Whether anything is.
        pub enabled: bool = true,
        /// Of style sheets.
        pub css: bool = true,
        /// Of scripts and modules. Their own names become shorter, those that other scripts can see do not.
        pub js: bool = true,
        /// Of pages. White space that may be seen stays: one space of it.
        pub html: bool = true,
    }
}

section! {
    /// Files named by their content, which browsers need not ask for again. Pages, style sheets and modules refer to them by those names.
    pub struct Versioning {
        /// Whether any are.
        pub enabled: bool = true,
        /// Their names: `{file}-{hash}.{ext}` lies beside the file, `/static/{file}-{hash}.{ext}` in that folder.
        pub pattern: VersionedName = default_name(),
        /// Which files.
        pub files: Vec<Glob> = globs(&["*.css", "*.js", "*.mjs", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.avif", "*.svg", "*.ico", "*.woff2", "*.woff", "*.ttf"]),
        /// Which not, though they fit above: those that are asked for by names that are put together in scripts, and service workers.
        pub except: Vec<Glob> = globs(&["sw.js", "service-worker.js", "favicon.ico"]),
        /// How long the name of a content that is no more is served: for pages that were loaded before.
        pub keep: Duration [range secs(0)..=hours(24 * 366)] = hours(24),
        /// Whether pages tell browsers what the content of style sheets and scripts has to be (Subresource Integrity).
        pub integrity: bool = false,
    }
}

fn default_name() -> VersionedName {
    #[expect(clippy::unwrap_used, reason = "a test reads it")]
    "{file}-{hash}.{ext}".parse().unwrap()
}

fn globs(texts: &[&str]) -> Vec<Glob> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Files, and the one that they become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Which files, in this order.
    pub members: Vec<Glob>,
    /// The path of what they become.
    pub path: String,
}

/// Why a text is no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// There is no arrow.
    #[error("there is no arrow in it")]
    Arrow,
    /// A pattern is none.
    #[error("a pattern is wrong: {0}")]
    Pattern(#[from] GlobError),
    /// The path is none.
    #[error("what is behind the arrow is no path of a file below the folder")]
    Path,
    /// It is neither a style sheet nor a script.
    #[error("what is behind the arrow ends neither with .css nor with .js")]
    Kind,
}

impl FromStr for Bundle {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<Self, BundleError> {
        let (members, path) = text.split_once("->").or_else(|| text.split_once('→')).ok_or(BundleError::Arrow)?;
        let path = path.trim();
        if !is_file(path) {
            return Err(BundleError::Path);
        }
        if !path.ends_with(".css") && !path.ends_with(".js") {
            return Err(BundleError::Kind);
        }
        let members = members.split(',').map(|member| member.trim().parse()).collect::<Result<_, _>>()?;
        Ok(Self { members, path: path.to_owned() })
    }
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<String> = self.members.iter().map(ToString::to_string).collect();
        write!(f, "{} -> {}", members.join(", "), self.path)
    }
}

outwork_config::text_setting!(Bundle, "files and what they become, such as", "/css/*.css -> /bundle.css");

fn is_file(text: &str) -> bool {
    !text.ends_with('/') && NormalPath::new(text).is_ok_and(|normal| normal.as_str() == text)
}

fn makes_sense(assets: &Assets, at: &mut At<'_>) {
    let base = &assets.base;
    let normal = NormalPath::new(base).is_ok_and(|normal| normal.as_str() == base) && !base.contains('%');
    if !normal || !base.ends_with('/') {
        let fault = Fault::new(format!("{base:?} is no path of a folder")).expected("one such as \"/static/\"");
        at.fault("base", fault.help("begin and end it with a slash"));
    }
    if let Some(manifest) = assets.manifest.as_deref().filter(|manifest| !is_file(manifest)) {
        let fault = Fault::new(format!("{manifest:?} is no path of a file")).expected("one such as \"/assets.json\"");
        at.fault("manifest", fault.help("begin it with a slash"));
    }
    let bundles = &assets.concatenation.patterns;
    for (index, bundle) in bundles.iter().enumerate() {
        let before = bundles.iter().take(index).any(|other| other.path == bundle.path);
        if before || assets.manifest.as_ref() == Some(&bundle.path) {
            let fault = Fault::new(format!("{} is made twice", bundle.path)).expected("a path for each");
            let help = "write all patterns before one arrow, with commas between";
            at.fault(&format!("concatenation.patterns[{index}]"), fault.help(help));
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn read(text: &str) -> Result<Assets, String> {
        let sources = Sources { file: Some(("a.toml".into(), text.to_owned())), env: vec![], set: vec![] };
        load::<Assets>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false))
    }

    #[test]
    fn a_bundle_is_patterns_in_order_and_a_path() {
        for text in ["/static/css/*.css -> /static/bundle.css", "/js/a.js, *.js -> /b.js"] {
            assert_eq!(text.parse::<Bundle>().unwrap().to_string(), text);
        }
        assert_eq!("/css/*.css → /b.css".parse::<Bundle>().unwrap().path, "/b.css");
        for (text, error) in [
            ("/a.css", BundleError::Arrow),
            ("/a.css -> b.css", BundleError::Path),
            ("/a.css -> /../b.css", BundleError::Path),
            ("/a.css -> /b.txt", BundleError::Kind),
            (" -> /b.css", BundleError::Pattern(GlobError::Empty)),
        ] {
            assert_eq!(text.parse::<Bundle>(), Err(error), "{text}");
        }
    }

    #[test]
    fn what_an_empty_table_says_is_everything_but_what_has_to_be_named() {
        let assets = read("").unwrap();
        assert!(assets.minification.enabled && assets.versioning.enabled && assets.concatenation.patterns.is_empty());
        assert_eq!(assets.versioning.pattern.to_string(), "{file}-{hash}.{ext}");
        assert_eq!(assets.versioning.files.len(), 14);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_key() {
        for (key, text) in [
            ("base", "base = 'static'"),
            ("base", "base = '/static'"),
            ("manifest", "manifest = 'a.json'"),
            ("concatenation.patterns[1]", "concatenation.patterns = ['*.css -> /a.css', '/b.css -> /a.css']"),
            ("versioning.pattern", "versioning.pattern = '{file}.{ext}'"),
            ("versioning.files[0]", "versioning.files = ['a/b']"),
        ] {
            let faults = read(text).unwrap_err();
            assert!(faults.contains(key), "{key}: {faults}");
        }
    }
}
