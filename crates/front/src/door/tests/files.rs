//! Files on a real disk, as far as the machine has one: next to the test's program.

use std::fs::File;

use rustix::fs::Advice;

use super::*;
use crate::file::FileTransfer;

/// Sends a file whole.
struct Sends(Arc<File>);

impl Handler for Sends {
    fn handle(&self, _: Request) -> Answer {
        let mut response = Response::new(StatusCode::OK);
        let part = FilePart { file: Arc::clone(&self.0), offset: 0, length: FILE, transfer: Transfer::Kernel };
        response.body = Body::File(part);
        response.into()
    }
}

#[test]
fn a_file_of_which_only_the_end_is_in_memory_is_waited_for_by_another_thread() {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let named = tempfile::NamedTempFile::new_in(folder).unwrap();
    named.as_file().write_all_at(&vec![b'x'; FILE as usize], 0).unwrap();
    named.as_file().sync_all().unwrap();
    let running = Running::open(Options::default(), Sends(Arc::new(named.reopen().unwrap())), 1, Vec::new());
    // Somebody has asked for the ends of the pieces that are sent in one turn each.
    let poked = named.reopen().unwrap();
    rustix::fs::fadvise(&poked, 0, None, Advice::DontNeed).unwrap();
    rustix::fs::fadvise(&poked, 0, None, Advice::Random).unwrap();
    for turn in 1..=FILE >> 20 {
        poked.read_exact_at(&mut [0], (turn << 20) - 1).unwrap();
    }
    let answer = running.ask(&get("/"));
    assert_eq!(body(&answer).len() as u64, FILE);
    let metrics = &running.metrics;
    assert!(metrics.file_waits.get() > 0, "what is not there is not waited for by the thread that serves others");
    assert_eq!(metrics.file_parts.of(FileTransfer::Sendfile).get(), 1);
}
