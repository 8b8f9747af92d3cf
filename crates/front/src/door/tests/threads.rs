//! Threads, and what they have beside them.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex as Plain};
use std::thread::ThreadId;

use super::*;

/// Work that waits for a disk, as far as the door can tell: it goes on once the gate is open.
#[derive(Default)]
struct Waiting {
    asked: AtomicUsize,
    on: Plain<HashSet<ThreadId>>,
    open: Plain<bool>,
    opened: Condvar,
}

struct Works(Arc<Waiting>);

impl Handler for Works {
    fn handle(&self, _: Request) -> Answer {
        let waiting = Arc::clone(&self.0);
        let work = tokio::task::spawn_blocking(move || {
            waiting.on.lock().unwrap().insert(std::thread::current().id());
            drop(waiting.opened.wait_while(waiting.open.lock().unwrap(), |open| !*open).unwrap());
        });
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        Answer::Later(Box::pin(async move {
            work.await.unwrap();
            Response::full(StatusCode::OK, "text/plain", "done")
        }))
    }
}

#[test]
fn a_thread_has_as_many_others_for_what_waits_as_it_may_have() {
    // Clients end their side, and wait.
    let options = Options { abort_on_close: false, ..Options::default() };
    for io in [1, 3] {
        let waiting = Arc::new(Waiting::default());
        let bound = Bound::bind(&[place()], Threads { io, ..Threads::of(1) }, Vec::new()).unwrap();
        let metrics = Arc::default();
        let door = bound.serve(serving(options.clone(), Works(Arc::clone(&waiting))), &metrics).unwrap();
        let running = Running { door: Some(door), metrics };
        let mut clients: Vec<_> = (0..8).map(|_| running.connect()).collect();
        for client in &mut clients {
            client.write_all(get("/").as_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        }
        let on = || waiting.on.lock().unwrap().len();
        while waiting.asked.load(Ordering::SeqCst) < clients.len() || on() < io {
            std::thread::yield_now();
        }
        *waiting.open.lock().unwrap() = true;
        waiting.opened.notify_all();
        assert!(clients.iter_mut().all(|client| body(&read(client)) == "done"));
        assert_eq!(on(), io);
    }
}
