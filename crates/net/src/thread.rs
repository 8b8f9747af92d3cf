//! Which processors a thread runs on. Names are given by `std::thread::Builder`.

use crate::{Context, Result, sys};

/// The processors that the calling thread may run on, by number.
pub fn processors() -> Result<Vec<usize>> {
    sys::process::affinity().context(|| "ask for the processors of this thread".to_owned())
}

/// Keeps the calling thread on one processor.
pub fn pin(processor: usize) -> Result<()> {
    sys::process::pin(processor).context(|| format!("keep a thread on processor {processor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_processor_that_does_not_exist_is_refused_by_number() {
        for processor in [1000, 100_000] {
            let error = std::thread::spawn(move || pin(processor).unwrap_err()).join().unwrap();
            assert!(error.to_string().contains(&format!("processor {processor}")), "{error}");
        }
    }
}
