//! Which processors a thread runs on, and how soon. Names are given by `std::thread::Builder`.

use crate::{Context, Result, sys};

/// The processors that the calling thread may run on, by number.
pub fn processors() -> Result<Vec<usize>> {
    sys::process::affinity(0).context(|| "ask for the processors of this thread".to_owned())
}

/// The processors that the process may use, by number, as its first thread has them: nothing here keeps that one anywhere.
pub fn all_processors() -> Result<Vec<usize>> {
    // The first thread has the number of the process.
    let first = i32::try_from(std::process::id()).unwrap_or(0);
    sys::process::affinity(first).context(|| "ask for the processors of this process".to_owned())
}

/// Keeps the calling thread on one processor.
pub fn pin(processor: usize) -> Result<()> {
    sys::process::keep_on(&[processor]).context(|| format!("keep a thread on processor {processor}"))
}

/// Keeps the calling thread on these processors.
pub fn keep_on(processors: &[usize]) -> Result<()> {
    sys::process::keep_on(processors).context(|| format!("keep a thread on processors {processors:?}"))
}

/// Does something with all processors of the process, and then stays where it was. What is started meanwhile, threads and programs, would
/// have no more processors than the calling thread.
pub fn everywhere<T>(body: impl FnOnce() -> T) -> T {
    let own = processors().ok().zip(all_processors().ok()).filter(|(own, all)| own != all);
    // Where it is refused, it is done all the same.
    let widened = own.filter(|(_, all)| keep_on(all).is_ok());
    let done = body();
    if let Some((own, _)) = widened
        && let Err(error) = keep_on(&own)
    {
        tracing::warn!(%error, "a thread stays on no processors any longer");
    }
    done
}

/// A turn of a thread that others wait for: enough for a batch, and a fraction of the usual few milliseconds.
const SHORT_TURN: std::time::Duration = std::time::Duration::from_micros(500);

/// Asks for short turns for the calling thread, and those it starts from here on: it gets no more of a busy processor than before, but
/// gets it sooner once it has something to do. Kernels before 6.12 know no such wish.
pub fn take_short_turns() -> Result<()> {
    sys::process::slice(SHORT_TURN.as_nanos() as u64).context(|| "ask for short turns on a processor".to_owned())
}

/// How soon a thread that asked for precedence runs once it has something to do.
#[derive(Debug)]
pub enum Precedence {
    /// Before all usual threads of this machine.
    RealTime,
    /// As one of them that counts for more: by its niceness.
    Nice(i32),
    /// As any other, as the kernel refuses more.
    Usual(crate::Error),
}

/// How nice a thread is that runs for moments only, and may not run before all others.
const NICE: i32 = -10;

/// Has the calling thread, which runs for moments and must not be late, run before others, as far as this process may (CAP_SYS_NICE, or the limits RLIMIT_RTPRIO
/// and RLIMIT_NICE). Threads that it starts do not.
pub fn take_precedence() -> Precedence {
    if sys::process::real_time().is_ok() {
        return Precedence::RealTime;
    }
    let asked = sys::process::nice(NICE).context(|| format!("ask for a niceness of {NICE}"));
    asked.map_or_else(Precedence::Usual, |()| Precedence::Nice(NICE))
}

/// Starts a thread without which the process must not go on: a panic in it is reported, and ends the process. What was serving
/// comes back from its log in a consistent state; half a server would keep clients waiting, and nobody would know why.
pub fn spawn_vital(
    builder: std::thread::Builder,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    builder.spawn(move || {
        let _vital = Vital;
        body();
    })
}

/// Held by what the process must not go on without, be it a thread or a task of one: a panic while it is held ends the process.
#[must_use = "it has to be held"]
#[derive(Debug)]
pub struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            tracing::error!(thread = name, "a thread has panicked that nothing works without: the process ends");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_are_asked_for_and_passed_on_to_threads_started_later() {
        std::thread::spawn(|| {
            let usual = sys::process::slice_now().unwrap();
            take_short_turns().unwrap();
            let own = sys::process::slice_now().unwrap();
            let inherited = std::thread::spawn(|| sys::process::slice_now().unwrap()).join().unwrap();
            assert_eq!(own, inherited);
            // A kernel that knows of them tells how long turns are.
            assert!(usual == 0 || own == SHORT_TURN.as_nanos() as u64, "{usual} {own}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_takes_as_much_precedence_as_it_may_and_those_it_starts_have_none_in_real_time() {
        std::thread::spawn(|| {
            let taken = take_precedence();
            let (is_real_time, nice) = sys::process::scheduled().unwrap();
            match taken {
                Precedence::RealTime => {
                    assert!(is_real_time);
                    let (inherited, _) = std::thread::spawn(|| sys::process::scheduled().unwrap()).join().unwrap();
                    assert!(!inherited);
                }
                Precedence::Nice(taken) => assert_eq!((is_real_time, nice), (false, taken)),
                Precedence::Usual(error) => {
                    assert!(!is_real_time && error.to_string().contains("niceness"), "{error}");
                }
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_pinned_thread_runs_on_its_processor_only() {
        let allowed = processors().unwrap();
        std::thread::spawn(move || {
            let last = *allowed.last().unwrap();
            pin(last).unwrap();
            assert_eq!(processors().unwrap(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_a_pinned_thread_does_everywhere_it_does_on_all_processors() {
        std::thread::spawn(|| {
            let all = all_processors().unwrap();
            let first = *all.first().unwrap();
            keep_on(&[first]).unwrap();
            let begun = || std::thread::spawn(|| processors().unwrap()).join().unwrap();
            assert_eq!(begun(), [first]);
            assert_eq!(everywhere(begun), all);
            assert_eq!(processors().unwrap(), [first]);
            keep_on(&all).unwrap();
            assert_eq!(processors().unwrap(), all);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_panic_of_a_vital_thread_ends_the_process() {
        use std::os::unix::process::ExitStatusExt;
        const MARK: &str = "OUTWORK_TEST_PANICS";
        if std::env::var_os(MARK).is_some() {
            let _ = spawn_vital(std::thread::Builder::new().name("vital".to_owned()), || panic!("as the test wants"))
                .unwrap()
                .join();
            return;
        }
        let mut itself = std::process::Command::new(std::env::current_exe().unwrap());
        itself.args(["--exact", "thread::tests::a_panic_of_a_vital_thread_ends_the_process", "--nocapture"]);
        let output = itself.env(MARK, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("as the test wants"), "{output:?}");
    }

    #[test]
    fn a_processor_that_does_not_exist_is_refused_by_number() {
        for processor in [1000, 100_000] {
            let error = std::thread::spawn(move || pin(processor).unwrap_err()).join().unwrap();
            assert!(error.to_string().contains(&format!("processor {processor}")), "{error}");
        }
    }
}
