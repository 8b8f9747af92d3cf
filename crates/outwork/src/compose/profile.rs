//! Where memory and time go: profiles for the tools that read them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use outwork_admin::routes::{CpuProfile, Form, Profiler};
use outwork_front::api::Problem;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use tikv_jemalloc_ctl::raw;
use tokio::sync::Mutex;

/// Code in which a stack cannot be walked safely at any moment.
const OPAQUE: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// Makes profiles of this process, one at a time.
pub(super) struct Profiles {
    /// Where the allocator writes its own: the one file, ended with a NUL. It keeps a pointer to the name.
    heap: &'static [u8],
    at_work: Arc<Mutex<()>>,
}

impl Profiles {
    /// With a data directory, into which the allocator writes.
    pub(super) fn new(data_dir: &Path) -> Self {
        use std::os::unix::ffi::OsStringExt;
        let mut name = data_dir.join("heap.prof").into_os_string().into_vec();
        name.push(0);
        // Once for each start.
        Self { heap: name.leak(), at_work: Arc::default() }
    }
}

impl Profiler for Profiles {
    fn heap(&self) -> BoxFuture<'static, Result<Vec<u8>, Problem>> {
        let (name, at_work) = (self.heap, Arc::clone(&self.at_work));
        async move {
            let _alone = at_work.try_lock().map_err(|_| busy())?;
            let dumped = tokio::task::spawn_blocking(move || dump(name)).await;
            dumped.map_err(Problem::internal)?
        }
        .boxed()
    }

    fn cpu(&self, wanted: CpuProfile) -> BoxFuture<'static, Result<Vec<u8>, Problem>> {
        let at_work = Arc::clone(&self.at_work);
        async move {
            let _alone = at_work.try_lock().map_err(|_| busy())?;
            let guard = ProfilerGuardBuilder::default().frequency(wanted.hertz.into()).blocklist(&OPAQUE).build();
            let guard = guard.map_err(Problem::internal)?;
            tokio::time::sleep(wanted.time).await;
            let rendered = tokio::task::spawn_blocking(move || match wanted.form {
                Form::Folded => folded(&guard),
                Form::Pprof => binary(&guard, wanted.hertz),
            });
            rendered.await.map_err(Problem::internal)?
        }
        .boxed()
    }
}

fn busy() -> Problem {
    Problem::conflict(None, "another profile is being made; try again when it is done")
}

/// Has the allocator write its profile, and takes it.
fn dump(name: &'static [u8]) -> Result<Vec<u8>, Problem> {
    use std::os::unix::ffi::OsStrExt;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.strip_suffix(&[0]).unwrap_or(name)));
    raw::write_str(b"prof.dump\0", name)
        .map_err(|error| Problem::internal(format!("the allocator wrote no profile: {error}")))?;
    let profile = fs::read(&path).map_err(Problem::internal)?;
    fs::remove_file(&path).map_err(Problem::internal)?;
    Ok(profile)
}

/// `thread;outermost;…;innermost count`, a line for each stack.
fn folded(guard: &ProfilerGuard<'_>) -> Result<Vec<u8>, Problem> {
    let report = guard.report().build().map_err(Problem::internal)?;
    // Stacks that differ only in addresses are one.
    let mut stacks = BTreeMap::<String, isize>::new();
    for (stack, count) in &report.data {
        let mut line = stack.thread_name_or_id();
        for symbol in stack.frames.iter().rev().flat_map(|inlined| inlined.iter().rev()) {
            let name = symbol.to_string();
            line.push(';');
            line.extend(name.chars().map(|letter| if matches!(letter, ';' | '\n') { ':' } else { letter }));
        }
        *stacks.entry(line).or_default() += count;
    }
    let mut text = String::new();
    for (stack, count) in stacks {
        let _ = writeln!(text, "{stack} {count}");
    }
    Ok(text.into_bytes())
}

/// The form of gperftools' CPU profiles: words of the machine, then what is mapped where.
fn binary(guard: &ProfilerGuard<'_>, hertz: u16) -> Result<Vec<u8>, Problem> {
    let report = guard.report().build_unresolved().map_err(Problem::internal)?;
    let mut profile = Vec::new();
    let mut word = |value: usize| profile.extend_from_slice(&value.to_ne_bytes());
    // A header of three words: the version, microseconds between samples, and one that is not used.
    [0, 3, 0, 1_000_000 / usize::from(hertz), 0].into_iter().for_each(&mut word);
    for (stack, count) in &report.data {
        word(usize::try_from(*count).unwrap_or(0));
        word(stack.frames.len());
        stack.frames.iter().for_each(|frame| word(frame.ip().addr()));
    }
    [0, 1, 0].into_iter().for_each(&mut word);
    profile.extend(fs::read("/proc/self/maps").map_err(Problem::internal)?);
    Ok(profile)
}
