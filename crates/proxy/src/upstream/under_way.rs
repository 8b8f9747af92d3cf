//! What is under way on a thread, of one pool, and takes longer than a moment. It ends where its backend may not go on with it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use outwork_balance::MemberId;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::sleep;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    entries: RefCell<Slab<Entry>>,
    /// Tells who looks after it that there is something.
    begun: Notify,
}

#[derive(Debug)]
struct Entry {
    member: MemberId,
    /// It is to end.
    over: bool,
    /// Who hears of that.
    waker: Option<Waker>,
}

/// Being a part of it, for as long as this is there.
#[derive(Debug)]
pub(crate) struct Present {
    all: Rc<UnderWay>,
    key: usize,
}

impl UnderWay {
    /// One more that this member has.
    pub(crate) fn enter(self: &Rc<Self>, member: MemberId) -> Present {
        let mut entries = self.entries.borrow_mut();
        if entries.is_empty() {
            self.begun.notify_one();
        }
        let key = entries.insert(Entry { member, over: false, waker: None });
        drop(entries);
        Present { all: Rc::clone(self), key }
    }

    /// Waits for so long, and at least until there is something.
    pub(crate) async fn beat(&self, pause: Duration) {
        while self.entries.borrow().is_empty() {
            self.begun.notified().await;
        }
        sleep(pause).await;
    }

    /// Ends what those members have that do not stay.
    pub(crate) fn end(&self, stays: impl Fn(MemberId) -> bool) {
        let mut told = Vec::new();
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if !entry.over && !stays(entry.member) {
                entry.over = true;
                told.extend(entry.waker.take());
            }
        }
        // Who hears of it may leave at once.
        told.into_iter().for_each(Waker::wake);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.borrow().len()
    }
}

impl Present {
    /// Ready once it is to end.
    pub(crate) fn poll_over(&self, context: &Context<'_>) -> Poll<()> {
        let mut entries = self.all.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key) else { return Poll::Pending };
        if entry.over {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let gone = self.all.entries.borrow_mut().try_remove(self.key);
        // Not while the others are held: nobody knows what goes with it.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Told(AtomicUsize);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn what_a_member_has_that_does_not_stay_hears_of_its_end_once_and_the_rest_goes_on() {
        let all = Rc::<UnderWay>::default();
        let [stays, goes, goes_too] = [1, 2, 2].map(|id| all.enter(MemberId(id)));
        let told = Arc::<Told>::default();
        let waker = Waker::from(Arc::clone(&told));
        let context = Context::from_waker(&waker);
        // The last has not waited for anything yet.
        assert!(stays.poll_over(&context).is_pending() && goes.poll_over(&context).is_pending());
        for _ in 0..2 {
            all.end(|id| id == MemberId(1));
            assert_eq!(told.0.load(Relaxed), 1);
        }
        assert!(goes.poll_over(&context).is_ready() && goes_too.poll_over(&context).is_ready());
        assert!(stays.poll_over(&context).is_pending());
        drop((goes, goes_too));
        assert_eq!(all.len(), 1);
        let next = all.enter(MemberId(3));
        assert!(next.poll_over(&context).is_pending(), "a place is nobody's once it was left");
    }
}
