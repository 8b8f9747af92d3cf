//! Answers before the answer (RFC 9110 section 15.2): what a client hears while its own is made, such as 103 (Early Hints).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;

use http::{HeaderMap, StatusCode};

/// One of them.
pub(crate) type Told = (StatusCode, HeaderMap);

thread_local! {
    /// What was told since a connection last asked; `None` where none of them listens.
    static TOLD: RefCell<Option<Vec<Told>>> = const { RefCell::new(None) };
}

/// Tells the client whose answer is being made. It is heard where that is polled by a connection, which is the rule; elsewhere, as in a task of its own, this
/// says nothing to anybody. Whoever tells sees to it that it is not told much.
pub fn tell(status: StatusCode, fields: HeaderMap) {
    // A switch to another protocol is an answer.
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    TOLD.with_borrow_mut(|told| told.iter_mut().for_each(|told| told.push((status, fields.clone()))));
}

/// Polls for an answer, and adds to `heard` what is told meanwhile. What nobody tells costs next to nothing: most requests meet nothing of this.
pub(crate) fn hearing<T>(heard: &mut Vec<Told>, poll: impl FnOnce() -> T) -> T {
    let before = TOLD.replace(Some(std::mem::take(heard)));
    let polled = poll();
    *heard = TOLD.replace(before).unwrap_or_default();
    polled
}

/// Waits for an answer, and has the fields changed of what is told before it, on its way to whoever hears of that.
pub(crate) async fn changing<T>(mut answer: impl Future<Output = T> + Unpin, change: impl Fn(&mut HeaderMap)) -> T {
    poll_fn(|context| {
        let mut told = Vec::new();
        let polled = hearing(&mut told, || Pin::new(&mut answer).poll(context));
        for (status, mut fields) in told {
            change(&mut fields);
            tell(status, fields);
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_listens_hears_and_each_its_own() {
        let hint = || tell(StatusCode::EARLY_HINTS, HeaderMap::new());
        hint();
        let (mut outer, mut inner) = (Vec::new(), Vec::new());
        hearing(&mut outer, || {
            hint();
            tell(StatusCode::SWITCHING_PROTOCOLS, HeaderMap::new());
            hearing(&mut inner, || (hint(), hint()));
        });
        hint();
        assert_eq!((outer.len(), inner.len()), (1, 2));
    }
}
