//! What the configuration says of files.

use std::path::PathBuf;

use outwork_config::{ByteSize, choice, section};

section! {
    /// A folder whose files are served.
    #[required_keys]
    pub struct Files {
        /// The folder.
        pub root: PathBuf,
        /// Files that are served for a folder, the first that there is.
        pub index: Vec<String> = vec!["index.html".to_owned()],
        /// Served where there is no such file, as of a site whose pages are made in the browser. A path below the folder.
        pub fallback: Option<String>,
        /// Whether files and folders are served whose names begin with a dot. `.well-known` always is.
        pub hidden: bool = false,
        /// Whether symbolic links are followed. They never lead out of the folder.
        pub symlinks: bool = true,
        /// What entity tags are made of.
        pub etag: EtagKind = EtagKind::Content,
        /// Files up to this size are served from memory.
        pub memory_file: ByteSize [range ByteSize::bytes(0)..=ByteSize::mib(64)] = ByteSize::kib(64),
        /// Memory for files, of this folder.
        pub memory: ByteSize [range ByteSize::bytes(0)..=ByteSize::gib(1024)] = ByteSize::mib(64),
        /// The value of `Cache-Control`.
        pub cache_control: Option<String>,
    }
}

choice! {
    /// What entity tags are made of.
    pub enum EtagKind {
        /// The content, by SHA-256. Of files above 16 MiB, as for `metadata`.
        Content = "content",
        /// Size, time of change and inode.
        Metadata = "metadata",
        /// There are none.
        None = "none",
    }
}
