//! How much a request may bring along to its route.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use crate::message::{BodyError, BodySource, RequestBody};

/// Holds a body to `limit` bytes.
///
/// # Errors
/// When it is known to be larger.
pub(crate) fn limited(body: RequestBody, limit: u64) -> Result<RequestBody, RequestBody> {
    let RequestBody::Source(source) = body else { return Ok(body) };
    match source.remaining() {
        Some(remaining) if remaining > limit => Err(RequestBody::Source(source)),
        // The connection sees to it that no more comes.
        Some(_) => Ok(RequestBody::Source(source)),
        None => Ok(RequestBody::Source(Rc::new(Limited { source, limit, received: Cell::new(0) }))),
    }
}

/// A body whose length nobody knows.
struct Limited {
    source: Rc<dyn BodySource>,
    limit: u64,
    received: Cell<u64>,
}

impl BodySource for Limited {
    fn poll_part(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.received.get() > self.limit {
            return Poll::Ready(None);
        }
        let part = ready!(self.source.poll_part(context));
        if let Some(Ok(part)) = &part {
            self.received.set(self.received.get().saturating_add(part.len() as u64));
            if self.received.get() > self.limit {
                return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
            }
        }
        Poll::Ready(part)
    }

    fn remaining(&self) -> Option<u64> {
        self.source.remaining()
    }

    fn trailers(&self) -> Option<HeaderMap> {
        self.source.trailers()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::task::Waker;

    use super::*;

    struct Parts(RefCell<Vec<&'static [u8]>>, Option<u64>);

    impl BodySource for Parts {
        fn poll_part(&self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
            Poll::Ready(self.0.borrow_mut().pop().map(|part| Ok(Bytes::from_static(part))))
        }

        fn remaining(&self) -> Option<u64> {
            self.1
        }
    }

    fn body(length: Option<u64>) -> RequestBody {
        RequestBody::Source(Rc::new(Parts(RefCell::new(vec![b"cc", b"bb", b"aa"]), length)))
    }

    #[test]
    fn what_says_that_it_is_too_large_is_refused_at_once() {
        assert!(limited(body(Some(7)), 6).is_err() && limited(body(Some(6)), 6).is_ok());
        assert!(matches!(limited(RequestBody::Empty, 0), Ok(RequestBody::Empty)));
    }

    #[test]
    fn what_turns_out_to_be_too_large_ends_in_an_error() {
        let Ok(RequestBody::Source(source)) = limited(body(None), 3) else { panic!("nobody knows yet") };
        let mut context = Context::from_waker(Waker::noop());
        let mut next = || source.poll_part(&mut context);
        assert!(matches!(next(), Poll::Ready(Some(Ok(part))) if &*part == b"aa"));
        assert!(matches!(next(), Poll::Ready(Some(Err(BodyError::TooLarge { limit: 3 })))));
        assert!(matches!(next(), Poll::Ready(None)));
    }
}
