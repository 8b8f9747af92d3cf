//! One site's assets: a thread that makes them, now and whenever a file changes, and the generation that is served.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};

use super::config::Assets;
use super::fault::{AssetFault, said};
use super::js::STACK;
use super::metrics::AssetMetrics;
use super::notice::{Notice, Stop, Woken};
use super::plan::{Build, Entry, Memory, plan};
use super::scan::{Found, scan};
use super::shelf::{Generation, Shelf, ShelfError, write};
use crate::config::Files as Settings;
use crate::files::folder::{Folder, file_name};

/// How much less a build counts than what answers requests (`nice(2)`).
const NICE: i32 = 10;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BuildError(ShelfError);

/// Makes everything once, into a folder; gives what became of which file, and what is wrong.
///
/// # Errors
/// When the files cannot be read, or what is made of them cannot be written.
pub fn build(settings: &Settings, assets: &Assets, to: &Path) -> Result<(Vec<Entry>, Vec<AssetFault>), BuildError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ShelfError::Io { path, source }
    };
    let work = || {
        let folder = Folder::open(&settings.root, settings.symlinks).map_err(at(&settings.root))?;
        let mut notice = Notice::new(&Stop::new().map_err(at(&settings.root))?, false);
        let found = scan(&folder, settings, assets, &Found::default(), &mut notice).map_err(at(&settings.root))?;
        let mut build = plan(&found.files, assets, &mut Memory::default());
        for output in &build.outputs {
            write(&to.join(&*file_name(&output.path)), output, &folder)?;
        }
        build.faults.extend(found.faults);
        Ok((build.entries, build.faults))
    };
    // Parsers descend deep.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).map_err(at(to))?;
        thread.join().unwrap_or_else(|cause| Err(ShelfError::Failed(said(&*cause))))
    })
    .map_err(BuildError)
}

/// The assets of all sites of a process. What a reload does not change goes on as it is.
#[derive(Debug)]
pub struct Workshop {
    dir: PathBuf,
    metrics: Arc<AssetMetrics>,
    pipelines: Mutex<Vec<Weak<Pipeline>>>,
    shelves: Mutex<Vec<(PathBuf, Weak<Shelf>)>>,
}

impl Workshop {
    /// With everything that is made in this folder.
    pub fn new(dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { dir, metrics: Arc::default(), pipelines: Mutex::default(), shelves: Mutex::default() })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<AssetMetrics> {
        &self.metrics
    }

    /// The sites that have assets, by name.
    pub fn sites(&self) -> Vec<Arc<Pipeline>> {
        let mut sites: Vec<_> = self.pipelines.lock().iter().filter_map(Weak::upgrade).collect();
        sites.sort_by(|one, other| one.name.cmp(&other.name));
        sites
    }

    /// Makes nothing any longer, so that another process may. What is being made is finished first.
    pub fn close(&self) {
        for pipeline in self.sites() {
            pipeline.stop.stop();
            let thread = pipeline.thread.lock().take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!(site = pipeline.name, "the thread that makes assets has panicked");
            }
        }
    }

    /// That of a site: the one that there is, if nothing about it has changed, or a new one, which has begun.
    pub(crate) fn pipeline(&self, name: &str, settings: &Settings) -> io::Result<Arc<Pipeline>> {
        let Some(assets) = &settings.assets else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut pipelines = self.pipelines.lock();
        pipelines.retain(|pipeline| pipeline.strong_count() > 0);
        let same = |pipeline: &Arc<Pipeline>| pipeline.name == name && pipeline.settings == *settings;
        if let Some(pipeline) = pipelines.iter().filter_map(Weak::upgrade).find(same) {
            return Ok(pipeline);
        }
        let shelf = self.shelf(name, &settings.root).map_err(io::Error::other)?;
        let generation = shelf.first().map_err(io::Error::other)?;
        let stop = Stop::new()?;
        let pipeline = Arc::new(Pipeline {
            name: name.to_owned(),
            settings: settings.clone(),
            generation: Arc::new(RwLock::new(generation)),
            progress: Arc::default(),
            stop: stop.clone(),
            thread: Mutex::default(),
        });
        let worker = Worker {
            name: name.to_owned(),
            settings: settings.clone(),
            assets: assets.clone(),
            shelf,
            generation: Arc::clone(&pipeline.generation),
            progress: Arc::clone(&pipeline.progress),
            metrics: Arc::clone(&self.metrics),
            stop,
            memory: Memory::default(),
            found: Found::default(),
            told: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("assets".to_owned()).stack_size(STACK);
        *pipeline.thread.lock() = Some(thread.spawn(move || worker.run())?);
        pipelines.push(Arc::downgrade(&pipeline));
        drop(pipelines);
        pipeline.wait(assets.start_wait);
        Ok(pipeline)
    }

    /// Where the generations of a site lie. Two configurations of one site, for the moment of a reload, share it.
    fn shelf(&self, name: &str, root: &Path) -> Result<Arc<Shelf>, ShelfError> {
        let mut hash = DefaultHasher::new();
        (name, root).hash(&mut hash);
        let dir = self.dir.join(format!("{:016x}", hash.finish()));
        let mut shelves = self.shelves.lock();
        shelves.retain(|(_, shelf)| shelf.strong_count() > 0);
        if let Some(shelf) = shelves.iter().find(|(other, _)| *other == dir).and_then(|(_, shelf)| shelf.upgrade()) {
            return Ok(shelf);
        }
        let shelf = Arc::new(Shelf::open(dir.clone())?);
        shelves.push((dir, Arc::downgrade(&shelf)));
        Ok(shelf)
    }
}

/// What is made of the files of a site.
#[derive(Debug)]
pub struct Pipeline {
    name: String,
    settings: Settings,
    generation: Arc<RwLock<Arc<Generation>>>,
    progress: Arc<(Mutex<Progress>, Condvar)>,
    stop: Stop,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How far it is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Builds so far.
    pub builds: u64,
    /// Something is being made.
    pub is_building: bool,
    /// When the last was done.
    pub built: Option<SystemTime>,
    /// What it took.
    pub took: Duration,
    /// Files that were looked at.
    pub files: usize,
    /// What became of them.
    pub entries: Arc<[Entry]>,
    /// What is wrong with them.
    pub faults: Arc<[AssetFault]>,
    /// Why the last one could not be put in place. What was made before is served on.
    pub failure: Option<String>,
}

impl Pipeline {
    /// What figures call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.settings.root
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.0.lock().clone()
    }

    /// What is served.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.read())
    }

    /// Waits for the first build, so long at most.
    fn wait(&self, patience: Duration) {
        let (progress, done) = &*self.progress;
        let mut progress = progress.lock();
        let is_open = |progress: &mut Progress| progress.builds == 0 && progress.failure.is_none();
        if done.wait_while_for(&mut progress, is_open, patience).timed_out() {
            tracing::warn!(site = self.name, "assets are not made yet: files are served as they are until then");
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

struct Worker {
    name: String,
    settings: Settings,
    assets: Assets,
    shelf: Arc<Shelf>,
    generation: Arc<RwLock<Arc<Generation>>>,
    progress: Arc<(Mutex<Progress>, Condvar)>,
    metrics: Arc<AssetMetrics>,
    stop: Stop,
    memory: Memory,
    found: Found,
    told: Vec<AssetFault>,
}

impl Worker {
    fn run(mut self) {
        // Of this thread alone. Where it is refused, builds compete.
        let _ = rustix::process::nice(NICE);
        let mut woken = Woken::Changed;
        while woken != Woken::Stopped {
            let mut notice = Notice::new(&self.stop, self.settings.watch);
            let built = catch_unwind(AssertUnwindSafe(|| self.build(&mut notice)));
            let built = built.unwrap_or_else(|cause| {
                // Half of it may be of another state.
                (self.memory, self.found) = (Memory::default(), Found::default());
                Err(ShelfError::Failed(said(&*cause)))
            });
            if let Err(error) = built {
                self.failed(&error);
                notice.distrust();
            }
            woken = notice.wait(self.assets.debounce);
        }
        // Figures of a site that is no more.
        for gauge in [&self.metrics.faults, &self.metrics.before, &self.metrics.after, &self.metrics.versions] {
            gauge.cell([&self.name]).set(0);
        }
    }

    /// Looks at everything, and makes what has changed.
    fn build(&mut self, notice: &mut Notice) -> Result<(), ShelfError> {
        let begun = Instant::now();
        let at = |source| ShelfError::Io { path: self.settings.root.clone(), source };
        let folder = Folder::open(&self.settings.root, self.settings.symlinks).map_err(at)?;
        let found = scan(&folder, &self.settings, &self.assets, &self.found, notice).map_err(at)?;
        let first = self.progress.0.lock().builds == 0;
        if !first && found.is_same(&self.found) {
            return Ok(());
        }
        self.progress.0.lock().is_building = true;
        let mut build = plan(&found.files, &self.assets, &mut self.memory);
        build.faults.extend(found.faults.iter().cloned());
        let before = Arc::clone(&self.generation.read());
        let keep = self.assets.versioning.keep;
        let generation = self.shelf.put(&build, (&folder, &found), &before, keep, SystemTime::now())?;
        *self.generation.write() = generation;
        before.supersede();
        self.found = found;
        self.done(build, begun.elapsed());
        Ok(())
    }

    fn done(&mut self, build: Build, took: Duration) {
        for fault in build.faults.iter().filter(|fault| !self.told.contains(fault)) {
            tracing::warn!(site = self.name, "{fault}");
        }
        let site = [self.name.as_str()];
        let sum = |of: fn(&Entry) -> u64| build.entries.iter().map(of).sum::<u64>();
        let (before, after) = (sum(|entry| entry.before), sum(|entry| entry.after));
        self.metrics.builds.cell(site).inc();
        self.metrics.build_time.record(took);
        self.metrics.faults.cell(site).set(build.faults.len() as i64);
        self.metrics.made.cell(site).add(self.memory.made);
        self.metrics.remembered.cell(site).add(self.memory.remembered);
        self.metrics.before.cell(site).set(i64::try_from(before).unwrap_or(i64::MAX));
        self.metrics.after.cell(site).set(i64::try_from(after).unwrap_or(i64::MAX));
        self.metrics.versions.cell(site).set(self.shelf.versions() as i64);
        let (made, remembered, faults) = (self.memory.made, self.memory.remembered, build.faults.len());
        tracing::info!(site = self.name, before, after, made, remembered, faults, ?took, "assets are made");
        self.told.clone_from(&build.faults);
        let (progress, done) = &*self.progress;
        let mut progress = progress.lock();
        *progress = Progress {
            builds: progress.builds + 1,
            is_building: false,
            built: Some(SystemTime::now()),
            took,
            files: self.found.files.len(),
            entries: build.entries.into(),
            faults: build.faults.into(),
            failure: None,
        };
        done.notify_all();
    }

    fn failed(&self, error: &ShelfError) {
        self.metrics.failures.cell([self.name.as_str()]).inc();
        let (progress, done) = &*self.progress;
        let mut progress = progress.lock();
        let failure = error.to_string();
        if progress.failure.as_ref() != Some(&failure) {
            tracing::error!(site = self.name, %error, "assets are not made: what was made before is served on");
        }
        (progress.failure, progress.is_building) = (Some(failure), false);
        done.notify_all();
    }
}
