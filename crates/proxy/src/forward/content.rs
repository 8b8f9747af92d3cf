//! The content of a request, which may have to be sent more than once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use outwork_front::message::{BodyError, BodySource, RequestBody};

use super::head::Length;
use super::trailers::Passage;
use crate::upstream::BodyParts;

/// Content that remembers what was sent of it, as far as it may.
pub(super) struct Content {
    inner: Rc<RefCell<Inner>>,
    /// How long it is, as its head says: what is still to come of it gets less.
    length: Length,
}

struct Inner {
    body: RequestBody,
    /// What came of it, as long as that is within the limit.
    kept: Option<Vec<Bytes>>,
    held: usize,
    limit: usize,
    /// There is no more of it.
    ended: bool,
    /// It broke off.
    broken: bool,
    trailers: Option<HeaderMap>,
    /// Which fields after it go on; `None` where none do.
    passage: Option<Passage>,
    /// The attempt that reads it.
    attempt: u32,
}

/// The content, from its beginning, for one attempt.
struct Reading {
    inner: Rc<RefCell<Inner>>,
    attempt: u32,
    next: usize,
}

impl Content {
    /// Of a body of which nothing was read yet, and what goes on of the fields after it.
    pub(super) fn new(body: RequestBody, limit: usize, passage: Option<Passage>) -> Self {
        let length = match &body {
            RequestBody::Empty => Length::None,
            RequestBody::Source(source) => source.remaining().map_or(Length::Unknown, Length::Known),
        };
        let kept = Some(Vec::new());
        let (ended, broken, trailers) = (false, false, None);
        let inner = Inner { body, kept, held: 0, limit, ended, broken, trailers, passage, attempt: 0 };
        Self { inner: Rc::new(RefCell::new(inner)), length }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == Length::None
    }

    /// How long all of it is, whatever was read of it.
    pub(super) fn length(&self) -> Length {
        self.length
    }

    /// Whether it can be sent from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.inner.borrow().kept.is_some()
    }

    /// Whether all of it is here, and none is on its way.
    pub(super) fn is_complete(&self) -> bool {
        let inner = self.inner.borrow();
        matches!(inner.body, RequestBody::Empty) || inner.ended && inner.kept.is_some()
    }

    /// Another one that has the same in it; `None` where not all of it is here.
    pub(super) fn copy(&self) -> Option<RequestBody> {
        if self.is_empty() {
            return Some(RequestBody::Empty);
        }
        let inner = self.inner.borrow();
        let parts = inner.kept.clone().filter(|_| inner.ended)?;
        Some(RequestBody::Source(Rc::new(Copied(RefCell::new(parts.into())))))
    }

    /// Whether nothing of it was read yet.
    pub(super) fn is_untouched(&self) -> bool {
        let inner = self.inner.borrow();
        inner.kept.as_ref().is_some_and(Vec::is_empty) && !inner.ended
    }

    /// All of it, for an attempt. Attempts before it get what is here already, and fail where they want more.
    pub(super) fn reading(&self) -> Box<dyn BodyParts> {
        let mut inner = self.inner.borrow_mut();
        inner.attempt += 1;
        Box::new(Reading { inner: Rc::clone(&self.inner), attempt: inner.attempt, next: 0 })
    }
}

/// What came of a body, once more.
struct Copied(RefCell<VecDeque<Bytes>>);

impl BodySource for Copied {
    fn poll_part(&self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        Poll::Ready(self.0.borrow_mut().pop_front().map(Ok))
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.0.borrow().iter().map(|part| part.len() as u64).sum())
    }
}

impl BodyParts for Reading {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut inner = self.inner.borrow_mut();
        if let Some(part) = inner.kept.as_ref().and_then(|kept| kept.get(self.next)) {
            self.next += 1;
            return Poll::Ready(Some(Ok(part.clone())));
        }
        let is_current = inner.attempt == self.attempt;
        if inner.ended && (is_current || inner.kept.is_some()) {
            return Poll::Ready(None);
        }
        // What it has not seen, it must not take for the end: that would make a part of the content look like all of it.
        if !is_current || inner.broken {
            let why = "there is no more of the content for this attempt";
            return Poll::Ready(Some(Err(BodyError::Cut(std::io::Error::other(why)))));
        }
        let part = ready!(BodyParts::poll_part(&mut inner.body, context));
        match &part {
            Some(Ok(part)) => {
                inner.held += part.len();
                let fits = inner.held <= inner.limit;
                match inner.kept.as_mut().filter(|_| fits) {
                    Some(kept) => {
                        kept.push(part.clone());
                        self.next += 1;
                    }
                    None => inner.kept = None,
                }
            }
            Some(Err(_)) => inner.broken = true,
            None => inner.ended = true,
        }
        Poll::Ready(part)
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        let mut inner = self.inner.borrow_mut();
        if inner.attempt != self.attempt {
            return None;
        }
        if inner.trailers.is_none() {
            let came = inner.body.trailers().zip(inner.passage.as_ref());
            let left = came.map(|(fields, passage)| passage.of_request(fields)).filter(|fields| !fields.is_empty());
            inner.trailers = left;
        }
        inner.trailers.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Waker;

    use super::*;

    struct Counting(Cell<u8>, u8);

    impl BodySource for Counting {
        fn poll_part(&self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
            let next = self.0.get();
            self.0.set(next + 1);
            Poll::Ready((next < self.1).then(|| Ok(Bytes::from(vec![next; 10]))))
        }

        fn remaining(&self) -> Option<u64> {
            Some(u64::from(self.1.saturating_sub(self.0.get())) * 10)
        }
    }

    fn content(parts: u8, limit: usize) -> Content {
        Content::new(RequestBody::Source(Rc::new(Counting(Cell::new(0), parts))), limit, None)
    }

    fn next(reading: &mut Box<dyn BodyParts>) -> Option<u8> {
        match reading.poll_part(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(part) => part.map(|part| part.unwrap()[0]),
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn content_is_sent_again_from_its_beginning() {
        let content = content(3, 30);
        assert_eq!(content.length(), Length::Known(30));
        let mut first = content.reading();
        assert!(content.is_untouched());
        assert_eq!((next(&mut first), next(&mut first)), (Some(0), Some(1)));
        let mut second = content.reading();
        assert!(!content.is_untouched() && content.is_whole());
        assert_eq!(
            [next(&mut second), next(&mut second), next(&mut second), next(&mut second)],
            [Some(0), Some(1), Some(2), None]
        );
        assert_eq!(next(&mut first), Some(2), "what is here, every attempt may have");
        assert_eq!(content.length(), Length::Known(30), "whatever was read of it");
        assert_eq!(next(&mut content.reading()), Some(0));
    }

    #[test]
    fn an_attempt_that_was_given_up_takes_no_part_of_the_content_for_all_of_it() {
        let content = content(3, 30);
        let mut first = content.reading();
        assert_eq!(next(&mut first), Some(0));
        let mut second = content.reading();
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(first.poll_part(&mut context), Poll::Ready(Some(Err(_)))), "the rest is for the other");
        let all: Vec<_> = std::iter::from_fn(|| next(&mut second)).collect();
        assert_eq!(all, [0, 1, 2]);
    }

    #[test]
    fn a_copy_has_all_of_it_or_there_is_none() {
        let content = content(2, 30);
        let mut first = content.reading();
        assert_eq!(next(&mut first), Some(0));
        assert!(content.copy().is_none() && !content.is_complete(), "there may be more");
        assert_eq!([next(&mut first), next(&mut first)], [Some(1), None]);
        assert!(content.is_complete());
        let copy = Content::new(content.copy().unwrap(), 30, None);
        assert_eq!(copy.length(), Length::Known(20));
        let mut second = copy.reading();
        assert_eq!([next(&mut second), next(&mut second), next(&mut second)], [Some(0), Some(1), None]);
        let empty = Content::new(RequestBody::Empty, 0, None);
        assert!(empty.is_complete() && matches!(empty.copy(), Some(RequestBody::Empty)));
    }

    #[test]
    fn of_what_is_too_large_nothing_is_kept() {
        let content = content(3, 15);
        let mut first = content.reading();
        assert_eq!([next(&mut first), next(&mut first), next(&mut first)], [Some(0), Some(1), Some(2)]);
        assert!(!content.is_whole() && !content.is_complete() && content.copy().is_none());
    }
}
