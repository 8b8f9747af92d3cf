//! What the configuration says of files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::HeaderValue;
use outwork_config::{At, ByteSize, Fault, choice, section};
use outwork_front::coding::Coding;
use outwork_front::filter::config::check_statuses;
use outwork_front::route::path::NormalPath;

use crate::assets::config::Assets;
use crate::files::glob::Glob;

section! {
    /// A folder whose files are served.
    #[required_keys]
    pub struct Files {
        /// The folder. A file is looked for by the whole path: with the path `/img/*`, in the folder `img` of this one, unless the route has
        /// `rewrite = { strip_prefix = "/img" }` beside `files`.
        pub root: PathBuf,
        /// Files that are served for a folder, the first that there is.
        pub index: Vec<String> = vec!["index.html".to_owned()],
        /// What a path is taken for, the first that there is: `$path` is the file of that name, `$path.html` one whose name has more, `$path/`
        /// the folder; a path such as `/index.html` always is that file, as for a site whose pages are made in the browser.
        pub r#try: Vec<Candidate> = vec![Candidate::File(String::new()), Candidate::Folder],
        /// Whether files and folders are served whose names begin with a dot. `.well-known` always is.
        pub hidden: bool = false,
        /// Whether symbolic links are followed. They never lead out of the folder.
        pub symlinks: bool = true,
        /// Lists of what is in folders that have no index.
        pub listing: Listing,
        /// Files below the folder that are sent where there is an error, by status: `404 = "/404.html"`, `5xx = "/sorry.html"`. The status stays.
        /// What refuses a request before files are looked for (addresses, limits, passwords, maintenance) has these pages, too.
        pub error_pages: BTreeMap<String, String>,
        /// What entity tags are made of.
        pub etag: EtagKind = EtagKind::Sha256,
        /// Whether clients are told when a file was changed.
        pub last_modified: bool = true,
        /// Whether a client that has a file is told so instead of getting it again.
        pub conditional_requests: bool = true,
        /// Files that lie beside others and hold them compressed.
        pub precompressed: Precompressed,
        /// Files up to this size are served from memory.
        pub memory_file: ByteSize [range ByteSize::bytes(0)..=ByteSize::mib(64)] = ByteSize::kib(64),
        /// Memory for files and their compressed variants, of this folder.
        pub memory: ByteSize [range ByteSize::bytes(0)..=ByteSize::gib(1024)] = ByteSize::mib(64),
        /// Whether the kernel tells of changes (inotify), so that a file in memory costs no look at the disk. Where it cannot, each request looks.
        pub watch: bool = true,
        /// Whether the kernel sends larger files by itself (sendfile) where nothing has to be encrypted.
        pub zero_copy: bool = true,
        /// Files that are mapped into memory to be sent from there. Sending by the kernel itself takes less, so there are none unless asked for.
        pub mmap: Mmap,
        /// Whether large files are read past the page cache, which then keeps what is asked for more often. Slower for each such file.
        pub direct_io: bool = false,
        /// Files from this size on are read so.
        pub direct_io_threshold: ByteSize [range ByteSize::bytes(1)..=ByteSize::gib(1024)] = ByteSize::mib(4),
        /// Media types by the end of a name, beside the usual ones: `{ gpx = "application/gpx+xml" }`.
        pub types: BTreeMap<String, String>,
        /// The charset of text; an empty one is not told.
        pub charset: String = "utf-8",
        /// The value of `Cache-Control`.
        pub cache_control: Option<String>,
        /// Other values of it for some files; the first that fits.
        pub cache_rules: Vec<CacheRule>,
        /// What is made of the files before they are served: smaller ones, several put together, names by content. Without it, nothing is.
        pub assets: Option<Assets>,
    }
    check makes_sense;
}

section! {
    /// Lists of what is in folders.
    pub struct Listing {
        /// Whether there are any.
        pub enabled: bool = false,
        /// Names that one list has at most.
        pub entries: u32 [range 1..=100_000] = 10_000,
    }
}

section! {
    /// Files that lie beside others and hold them compressed, such as `app.js.br`. One that is older than its original is not used.
    /// They are files of their own, too: who asks for one by its name gets it as it is.
    pub struct Precompressed {
        /// Whether they are looked for.
        pub enabled: bool = true,
        /// The ends of their names, the preferred one first.
        pub extensions: Vec<Extension> = vec![Extension::Zst, Extension::Br, Extension::Gz],
    }
}

section! {
    /// Files that are mapped into memory.
    pub struct Mmap {
        /// Whether there are any.
        pub enabled: bool = false,
        /// Files from this size on.
        pub threshold: ByteSize [range ByteSize::bytes(1)..=ByteSize::gib(1024)] = ByteSize::mib(1),
        /// Files up to this size.
        pub max_size: ByteSize [range ByteSize::bytes(1)..=ByteSize::gib(1024)] = ByteSize::mib(100),
    }
    check mmap;
}

section! {
    /// A value of `Cache-Control` for some files.
    #[required_keys]
    pub struct CacheRule {
        /// Which: `*.woff2` by name, `/assets/**` by path. `*` stands for anything but a slash, `**` for anything, `?` for one character.
        pub files: Vec<Glob>,
        /// The value.
        pub value: String,
    }
    check cache_rule;
}

choice! {
    /// What entity tags are made of.
    pub enum EtagKind {
        /// The content, by SHA-256. Of files above 16 MiB, as for `metadata`.
        Sha256 = "sha256",
        /// The content, by MD5, which is no protection against who makes two contents alike on purpose. Of files above 16 MiB, as for `metadata`.
        Md5 = "md5",
        /// Size, time of change and inode.
        Metadata = "metadata",
        /// There are none.
        None = "none",
    }
}

choice! {
    /// The end of the name of a file that holds another one compressed.
    pub enum Extension {
        /// Zstandard.
        Zst = ".zst",
        /// Brotli.
        Br = ".br",
        /// GZIP.
        Gz = ".gz",
    }
}

impl Extension {
    /// The coding that it stands for.
    pub const fn coding(self) -> Coding {
        match self {
            Self::Zst => Coding::Zstd,
            Self::Br => Coding::Brotli,
            Self::Gz => Coding::Gzip,
        }
    }
}

/// What a path may be taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// `$path` and what is put behind it: a file.
    File(String),
    /// `$path/`: a folder.
    Folder,
    /// A file, whatever the path.
    Fixed(String),
}

/// Why a text is no candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// Another server's word for the path that is asked for; what would be written here.
    #[error("`$uri` is `$path` here")]
    Uri(String),
    /// Another server's word for an error that ends the list.
    #[error("a status is nothing that a path could be taken for")]
    Status,
    /// Another server's word for a place that requests are sent on to.
    #[error("there are no named places")]
    Named,
    /// It begins neither with `$path` nor with a slash.
    #[error("it begins neither with `$path` nor with a slash")]
    Beginning,
    /// It is not a path of a file as it is looked up.
    #[error("it is not the path of a file below the folder")]
    Path,
}

impl FromStr for Candidate {
    type Err = CandidateError;

    fn from_str(text: &str) -> Result<Self, CandidateError> {
        if let Some(rest) = text.strip_prefix("$uri") {
            return Err(CandidateError::Uri(format!("$path{rest}")));
        }
        match text.strip_prefix("$path") {
            None if text.starts_with('=') => Err(CandidateError::Status),
            None if text.starts_with('@') => Err(CandidateError::Named),
            Some("/") => Ok(Self::Folder),
            Some(rest) if rest.contains(['$', '\0']) || rest.contains("..") => Err(CandidateError::Path),
            Some(rest) => Ok(Self::File(rest.to_owned())),
            None if !text.starts_with('/') => Err(CandidateError::Beginning),
            None if is_file(text) => Ok(Self::Fixed(text.to_owned())),
            None => Err(CandidateError::Path),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(rest) => write!(f, "$path{rest}"),
            Self::Folder => f.write_str("$path/"),
            Self::Fixed(path) => f.write_str(path),
        }
    }
}

impl CandidateError {
    /// What to write instead, where that is known.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Uri(path) => Some(format!("write \"{path}\"")),
            Self::Status => {
                Some("leave it out: what is none of the others is 404; error_pages has a page for that".into())
            }
            Self::Named => Some("leave it out, and write another route for what is to be answered elsewhere".into()),
            Self::Beginning | Self::Path => None,
        }
    }
}

outwork_config::text_setting!(Candidate, "what a path is taken for, such as", "$path.html", advice CandidateError::advice);

/// Whether a text is the path of a file in the form that paths are looked up in.
fn is_file(text: &str) -> bool {
    !text.ends_with('/') && NormalPath::new(text).is_ok_and(|normal| normal.as_str() == text)
}

fn makes_sense(files: &Files, at: &mut At<'_>) {
    for (status, page) in &files.error_pages {
        let key = format!("error_pages.{status}");
        check_statuses(&key, status, at);
        if !is_file(page) {
            let fault = Fault::new(format!("{page:?} is no path of a file"))
                .expected("a path below the folder such as \"/404.html\"");
            at.fault(&key, fault.help("begin it with a slash, and write nothing in it escaped"));
        }
    }
    for (extension, kind) in &files.types {
        let key = format!("types.{extension}");
        if extension.is_empty()
            || extension.contains(['.', '/'])
            || extension.bytes().any(|byte| byte.is_ascii_uppercase())
        {
            let fault = Fault::new(format!("{extension:?} is no end of a name")).expected("one such as \"gpx\"");
            at.fault(&key, fault.help("write it in small letters and without the dot"));
        }
        if !kind.contains('/') || HeaderValue::from_str(kind).is_err() {
            let fault =
                Fault::new(format!("{kind:?} is no media type")).expected("one such as \"application/gpx+xml\"");
            at.fault(&key, fault);
        }
    }
    if !files.charset.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte)) {
        at.fault("charset", Fault::new(format!("{:?} is no charset", files.charset)).expected("one such as \"utf-8\""));
    }
    if files.assets.is_some() && !files.charset.is_empty() && !files.charset.eq_ignore_ascii_case("utf-8") {
        let fault = Fault::new("what is made of files is UTF-8").expected("\"utf-8\", where there are assets");
        at.fault("charset", fault.help("write the files in UTF-8, or leave assets out"));
    }
    if let Some(control) = files.cache_control.as_deref() {
        is_field("cache_control", control, at);
    }
    for (index, name) in files.index.iter().enumerate() {
        if name.is_empty() || name.contains(['/', '\0']) {
            let fault = Fault::new(format!("{name:?} is no name of a file")).expected("one such as \"index.html\"");
            at.fault(&format!("index[{index}]"), fault);
        }
    }
}

fn cache_rule(rule: &CacheRule, at: &mut At<'_>) {
    is_field("value", &rule.value, at);
}

fn is_field(key: &str, value: &str, at: &mut At<'_>) {
    if HeaderValue::from_str(value).is_err() {
        let fault = Fault::new(format!("{value:?} is no field value")).expected("text without control characters");
        at.fault(key, fault);
    }
}

fn mmap(mmap: &Mmap, at: &mut At<'_>) {
    if mmap.threshold > mmap.max_size {
        let fault = Fault::new(format!("{} is above max_size, {}", mmap.threshold, mmap.max_size));
        at.fault("threshold", fault.expected("no more than max_size"));
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn read(text: &str) -> Result<Files, String> {
        let sources =
            Sources { file: Some(("a.toml".into(), format!("root = '/srv'\n{text}"))), env: vec![], set: vec![] };
        load::<Files>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false))
    }

    #[test]
    fn a_path_is_tried_as_a_file_as_a_file_with_an_end_as_a_folder_or_as_one_file_always() {
        let files = read("try = ['$path', '$path.html', '$path/', '/app/index.html']").unwrap();
        assert_eq!(
            files.r#try,
            [
                Candidate::File(String::new()),
                Candidate::File(".html".into()),
                Candidate::Folder,
                Candidate::Fixed("/app/index.html".into())
            ]
        );
        for text in ["$path", "$path.html", "$path/", "/index.html"] {
            assert_eq!(text.parse::<Candidate>().unwrap().to_string(), text);
        }
        assert_eq!("index.html".parse::<Candidate>(), Err(CandidateError::Beginning));
        for text in ["/a/../b", "/a/", "$path/../b", "/a%2eb"] {
            assert_eq!(text.parse::<Candidate>(), Err(CandidateError::Path), "{text}");
        }
    }

    #[test]
    fn who_writes_what_nginx_would_be_told_hears_what_is_written_here() {
        for (wrong, advice) in [
            ("$uri", "help: write \"$path\""),
            ("$uri/", "help: write \"$path/\""),
            ("$uri.html", "help: write \"$path.html\""),
            ("=404", "help: leave it out: what is none of the others is 404"),
            ("@app", "help: leave it out, and write another route"),
        ] {
            let faults = read(&format!("try = ['{wrong}']")).unwrap_err();
            assert!(faults.contains(advice), "{wrong}: {faults}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_key() {
        for (key, text) in [
            ("error_pages.200", "error_pages = { 200 = '/a.html' }"),
            ("error_pages.3xx", "error_pages = { 3xx = '/a.html' }"),
            ("error_pages.404", "error_pages = { 404 = 'a.html' }"),
            ("types.HTML", "types = { HTML = 'text/html' }"),
            ("types.gpx", "types = { gpx = 'gpx' }"),
            ("charset", "charset = 'a b'"),
            ("charset", "charset = 'iso-8859-1'\nassets = {}"),
            ("cache_control", "cache_control = \"a\\nb\""),
            ("cache_rules[0].value", "cache_rules = [{ files = ['*'], value = \"\\n\" }]"),
            ("cache_rules[0].files[0]", "cache_rules = [{ files = [''], value = 'a' }]"),
            ("index[0]", "index = ['a/b']"),
            ("mmap.threshold", "mmap = { threshold = '2MiB', max_size = '1MiB' }"),
            ("try[0]", "try = ['path']"),
        ] {
            let faults = read(text).unwrap_err();
            assert!(faults.contains(key), "{key}: {faults}");
        }
        assert!(read("error_pages = { 404 = '/404.html', 5xx = '/sorry.html' }").is_ok());
    }
}
