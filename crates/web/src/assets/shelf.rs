//! What was made, on disk, where the file engine serves it from as it serves any file.
//!
//! `hashed/` holds contents by the names that say what is in them: none of them ever changes, those of later generations come beside them, and they
//! go when nobody has referred to them for a while. `plain-PROCESS-N/` holds what generation N of a process has in the place of files.
//! `record.json` says when each name was referred to last, for the next start.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::plan::{Build, Content, Digest, Output};
use super::scan::{Found, hash};
use crate::files::folder::{Folder, Identity, Named, file_name};

/// Names by content that are kept at most, of contents that are no more.
const KEPT: usize = 100_000;
/// In the place of a time: it is referred to now.
const CURRENT: u64 = u64::MAX;
/// This process.
static OWN: LazyLock<String> = LazyLock::new(|| std::process::id().to_string());
const HASHED: &str = "hashed";
const RECORD: &str = "record.json";

/// How long what was made may be kept by browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// Its name says what is in it.
    Forever,
    /// Until they have asked whether it is still the same.
    Now,
}

/// Something that was made, as it is looked up.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) lasting: Lasting,
    /// The folder that it lies in.
    pub(crate) folder: Arc<Folder>,
    /// The file of the same path that it was made of: once that is another, it takes its place again until something is made of it.
    pub(crate) source: Option<Identity>,
}

/// Everything that was made of one state of a folder.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    files: HashMap<Box<str>, (Lasting, Option<Identity>)>,
    folders: Option<(Arc<Folder>, Arc<Folder>)>,
    /// The content of each in the place of a file.
    plain: HashMap<String, Digest>,
    superseded: AtomicBool,
}

impl Generation {
    /// Of a folder that nothing was made of yet.
    fn none() -> Self {
        Self {
            number: 0,
            files: HashMap::new(),
            folders: None,
            plain: HashMap::new(),
            superseded: AtomicBool::new(false),
        }
    }

    /// What was made that has a path.
    pub(crate) fn find(&self, path: &str) -> Option<Built> {
        let (lasting, source) = *self.files.get(path)?;
        let (hashed, plain) = self.folders.as_ref()?;
        let folder = Arc::clone(if lasting == Lasting::Forever { hashed } else { plain });
        Some(Built { lasting, folder, source })
    }

    /// There is a later one, and it is where this one was.
    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    /// Whether there is a later one.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }
}

/// Why what was made could not be put there.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    /// A file is no longer what it was when it was looked at.
    #[error("{0} changes while it is copied")]
    Changed(Arc<str>),
    /// The disk.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// An error of ours.
    #[error("a build has failed: {0}")]
    Failed(String),
}

/// Where the generations of a site lie.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When a name by content was referred to last, in seconds since 1970.
    last: BTreeMap<String, u64>,
    next: u64,
    written: Vec<(u64, Weak<Generation>)>,
}

impl Shelf {
    /// Opens it, and clears away what an end in the middle has left.
    pub(super) fn open(dir: PathBuf) -> Result<Self, ShelfError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ShelfError::Io { path, source }
        };
        let hashed = dir.join(HASHED);
        fs::create_dir_all(&hashed).map_err(at(&hashed))?;
        let record = fs::read(dir.join(RECORD)).unwrap_or_default();
        // Without it, or with one that was never finished, all of what is there is taken for torn.
        let last: BTreeMap<String, u64> = serde_json::from_slice(&record).unwrap_or_default();
        if last.is_empty() {
            fs::remove_dir_all(&hashed).map_err(at(&hashed))?;
            fs::create_dir_all(&hashed).map_err(at(&hashed))?;
        }
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let entry = entry.map_err(at(&dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let process = name.strip_prefix("plain-").and_then(|rest| rest.split('-').next());
            // One that hands over to this one still answers out of its own.
            let another = |process: &str| process != OWN.as_str() && Path::new("/proc").join(process).exists();
            if process.is_some_and(|process| !another(process)) {
                fs::remove_dir_all(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        let last = last.into_iter().filter(|(path, _)| hashed.join(&*file_name(path)).is_file()).collect();
        Ok(Self { dir, state: Mutex::new(State { last, next: 1, written: Vec::new() }) })
    }

    /// What is there before anything is made: names by content of the last run.
    pub(super) fn first(&self) -> Result<Arc<Generation>, ShelfError> {
        let state = self.state.lock();
        if state.last.is_empty() {
            return Ok(Arc::new(Generation::none()));
        }
        let files = state.last.keys().map(|path| (path.as_str().into(), (Lasting::Forever, None))).collect();
        let hashed = self.folder(&self.dir.join(HASHED))?;
        let folders = Some((Arc::clone(&hashed), hashed));
        Ok(Arc::new(Generation { files, folders, ..Generation::none() }))
    }

    /// Writes a generation of what was found in a folder.
    pub(super) fn put(
        &self,
        build: &Build,
        (sources, found): (&Folder, &Found),
        before: &Generation,
        keep: Duration,
        now: SystemTime,
    ) -> Result<Arc<Generation>, ShelfError> {
        let mut state = self.state.lock();
        let hashed = self.dir.join(HASHED);
        let number = state.next;
        state.next += 1;
        let (plain, earlier) = (self.plain(number), self.plain(before.number));
        let mut contents: HashMap<Digest, PathBuf> = HashMap::new();
        let (versioned, in_place): (Vec<&Output>, Vec<&Output>) =
            build.outputs.iter().partition(|output| output.versioned);
        for output in versioned {
            let path = hashed.join(&*file_name(&output.path));
            // What is in the record was whole when that was written.
            if !(state.last.contains_key(&output.path) && path.is_file()) {
                write(&path, output, sources)?;
            }
            contents.insert(output.digest, path);
        }
        fs::create_dir_all(&plain).map_err(|source| ShelfError::Io { path: plain.clone(), source })?;
        for output in &in_place {
            let path = plain.join(&*file_name(&output.path));
            // What is the same stays the same file, with its time of change.
            let same = before.plain.get(&output.path) == Some(&output.digest);
            let linked = same && link(&earlier.join(&*file_name(&output.path)), &path)
                || contents.get(&output.digest).is_some_and(|content| link(content, &path));
            if !linked {
                write(&path, output, sources)?;
            }
        }
        let folders = Some((self.folder(&hashed)?, self.folder(&plain)?));
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let current = build.outputs.iter().filter(|output| output.versioned).map(|output| output.path.clone());
        // What was referred to until now.
        state.last.values_mut().filter(|last| **last == CURRENT).for_each(|last| *last = seconds);
        state.last.extend(current.map(|path| (path, CURRENT)));
        self.forget(&mut state, keep, seconds);
        self.record(&state, seconds)?;
        let mut files: HashMap<Box<str>, (Lasting, Option<Identity>)> =
            state.last.keys().map(|path| (path.as_str().into(), (Lasting::Forever, None))).collect();
        let served = in_place.iter().filter(|output| output.served);
        files.extend(served.map(|output| (output.path.as_str().into(), (Lasting::Now, found.state(&output.path)))));
        let digests = in_place.iter().map(|output| (output.path.clone(), output.digest)).collect();
        let generation =
            Arc::new(Generation { number, files, folders, plain: digests, superseded: AtomicBool::new(false) });
        // Whoever still answers out of one keeps it.
        state.written.retain(|(number, written)| {
            let gone = written.strong_count() == 0;
            if gone {
                let _ = fs::remove_dir_all(self.plain(*number));
            }
            !gone
        });
        state.written.push((number, Arc::downgrade(&generation)));
        Ok(generation)
    }

    /// Where a generation has what it has in the place of files.
    fn plain(&self, number: u64) -> PathBuf {
        self.dir.join(format!("plain-{}-{number}", *OWN))
    }

    /// Names by content that are served.
    pub(super) fn versions(&self) -> usize {
        self.state.lock().last.len()
    }

    fn folder(&self, path: &Path) -> Result<Arc<Folder>, ShelfError> {
        let folder = Folder::open(path, false).map_err(|source| ShelfError::Io { path: path.to_owned(), source })?;
        Ok(Arc::new(folder))
    }

    /// Lets go of what nobody has referred to for so long, the oldest first where there is too much.
    fn forget(&self, state: &mut State, keep: Duration, now: u64) {
        let mut old: Vec<(u64, String)> =
            state.last.iter().filter(|(_, last)| **last != CURRENT).map(|(path, last)| (*last, path.clone())).collect();
        old.sort_unstable();
        let beyond = old.len().saturating_sub(KEPT);
        for (index, (last, path)) in old.into_iter().enumerate() {
            if index < beyond || now.saturating_sub(last) >= keep.as_secs() {
                state.last.remove(&path);
                let _ = fs::remove_file(self.dir.join(HASHED).join(&*file_name(&path)));
            }
        }
    }

    /// Writes down what is there. Each name by content is on stable storage by then: what is named after its content has to have it.
    fn record(&self, state: &State, now: u64) -> Result<(), ShelfError> {
        let path = self.dir.join(RECORD);
        let at = |source| ShelfError::Io { path: path.clone(), source };
        let last: BTreeMap<&String, u64> = state.last.iter().map(|(path, last)| (path, (*last).min(now))).collect();
        let new = self.dir.join("record.new");
        let mut file = File::create(&new).map_err(at)?;
        let text = serde_json::to_vec(&last).map_err(|error| at(error.into()))?;
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(at)?;
        fs::rename(&new, &path).map_err(at)
    }
}

fn link(from: &Path, to: &Path) -> bool {
    to.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok()) && fs::hard_link(from, to).is_ok()
}

/// Writes one content, whole or not at all.
pub(super) fn write(path: &Path, output: &Output, sources: &Folder) -> Result<(), ShelfError> {
    let at = |source| ShelfError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = File::create(&new).map_err(at)?;
    match &output.content {
        Content::Text(text) => file.write_all(text.as_bytes()).map_err(at)?,
        Content::Of(source) => {
            let changed = || ShelfError::Changed(Arc::clone(source));
            let Named::File(mut content, _) = sources.named(source).map_err(at)? else { return Err(changed()) };
            io::copy(&mut content, &mut file).map_err(at)?;
            if hash(File::open(&new).map_err(at)?).map_err(at)?.1 != output.digest {
                let _ = fs::remove_file(&new);
                return Err(changed());
            }
        }
    }
    if output.versioned {
        file.sync_data().map_err(at)?;
    }
    fs::rename(&new, path).map_err(at)
}
