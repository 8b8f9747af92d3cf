//! The content of a request, which may have to be sent more than once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use outwork_front::message::{BodyError, BodySource, RequestBody};

use super::head::Length;
use crate::upstream::BodyParts;

/// Content that remembers what was sent of it, as far as it may.
pub(super) struct Content(Rc<RefCell<Inner>>);

struct Inner {
    body: RequestBody,
    /// What came of it, as long as that is within the limit.
    kept: Option<Vec<Bytes>>,
    held: usize,
    limit: usize,
    ended: bool,
    trailers: Option<HeaderMap>,
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
    pub(super) fn new(body: RequestBody, limit: usize) -> Self {
        let kept = Some(Vec::new());
        Self(Rc::new(RefCell::new(Inner { body, kept, held: 0, limit, ended: false, trailers: None, attempt: 0 })))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self.0.borrow().body, RequestBody::Empty)
    }

    /// How long it is, before anything of it was read.
    pub(super) fn length(&self) -> Length {
        match &self.0.borrow().body {
            RequestBody::Empty => Length::None,
            RequestBody::Source(source) => source.remaining().map_or(Length::Unknown, Length::Known),
        }
    }

    /// Whether it can be sent from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.0.borrow().kept.is_some()
    }

    /// Whether all of it is here, and none is on its way.
    pub(super) fn is_complete(&self) -> bool {
        let inner = self.0.borrow();
        matches!(inner.body, RequestBody::Empty) || inner.ended && inner.kept.is_some()
    }

    /// Another one that has the same in it; `None` where not all of it is here.
    pub(super) fn copy(&self) -> Option<RequestBody> {
        if self.is_empty() {
            return Some(RequestBody::Empty);
        }
        let inner = self.0.borrow();
        let parts = inner.kept.clone().filter(|_| inner.ended)?;
        Some(RequestBody::Source(Rc::new(Copied(RefCell::new(parts.into())))))
    }

    /// Whether nothing of it was read yet.
    pub(super) fn is_untouched(&self) -> bool {
        let inner = self.0.borrow();
        inner.kept.as_ref().is_some_and(Vec::is_empty) && !inner.ended
    }

    /// All of it, for an attempt. What attempts before it had not read yet, they do not get any more.
    pub(super) fn reading(&self) -> Box<dyn BodyParts> {
        let mut inner = self.0.borrow_mut();
        inner.attempt += 1;
        Box::new(Reading { inner: Rc::clone(&self.0), attempt: inner.attempt, next: 0 })
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
        if inner.attempt != self.attempt {
            return Poll::Ready(None);
        }
        if let Some(part) = inner.kept.as_ref().and_then(|kept| kept.get(self.next)) {
            self.next += 1;
            return Poll::Ready(Some(Ok(part.clone())));
        }
        if inner.ended {
            return Poll::Ready(None);
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
            Some(Err(_)) | None => inner.ended = true,
        }
        Poll::Ready(part)
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        let mut inner = self.inner.borrow_mut();
        if inner.attempt != self.attempt {
            return None;
        }
        if inner.trailers.is_none() {
            inner.trailers = inner.body.trailers();
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
            Some(u64::from(self.1) * 10)
        }
    }

    fn content(parts: u8, limit: usize) -> Content {
        Content::new(RequestBody::Source(Rc::new(Counting(Cell::new(0), parts))), limit)
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
        assert_eq!(next(&mut first), None, "an attempt that was given up takes nothing from the next");
        assert_eq!(next(&mut content.reading()), Some(0));
    }

    #[test]
    fn a_copy_has_all_of_it_or_there_is_none() {
        let content = content(2, 30);
        let mut first = content.reading();
        assert_eq!(next(&mut first), Some(0));
        assert!(content.copy().is_none() && !content.is_complete(), "there may be more");
        assert_eq!([next(&mut first), next(&mut first)], [Some(1), None]);
        assert!(content.is_complete());
        let copy = Content::new(content.copy().unwrap(), 30);
        assert_eq!(copy.length(), Length::Known(20));
        let mut second = copy.reading();
        assert_eq!([next(&mut second), next(&mut second), next(&mut second)], [Some(0), Some(1), None]);
        let empty = Content::new(RequestBody::Empty, 0);
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
