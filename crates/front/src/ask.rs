//! A seam: questions that middleware asks others before a request goes on. Who can send them is given in by whoever puts the parts together.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::message::Local;

/// Sends questions. Called on the thread of a connection, and waited for there.
pub trait Ask: fmt::Debug + Send + Sync {
    /// Sends one, and waits for all of its answer. Dropped, nobody waits for it any more: a deadline is the asker's to keep.
    fn ask(&self, question: Question) -> Local<Result<Reply, AskError>>;
}

/// A request of our own, without content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// Where it goes: scheme, authority and path. `Host` follows from it.
    pub url: Uri,
    /// Its other header fields. None of them is about a connection or about content.
    pub headers: HeaderMap,
    /// The most bytes of content that an answer may have.
    pub most: usize,
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its content.
    pub content: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It could not be sent, or the answer did not come to its end.
    #[error("{0}")]
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// The answer has more content than it may have.
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
}
