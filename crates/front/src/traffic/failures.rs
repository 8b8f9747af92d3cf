//! The latest answers that were errors. Those that blame clients have a ring of their own: who looks for what is not there does not push out what
//! went wrong here.

use std::collections::VecDeque;
use std::time::SystemTime;

use http::{HeaderValue, Method, StatusCode};
use parking_lot::Mutex;

use crate::message::Subject;

/// Failures that each ring keeps.
pub const KEPT: usize = 256;
/// Bytes of a path, and of a host, that are kept.
const LONGEST: usize = 512;

/// Whom a status blames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// 4xx.
    Client,
    /// 5xx.
    Server,
}

/// An answer that was an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// Its status.
    pub status: StatusCode,
    /// The method; what is not known is absent, as of what was no request.
    pub method: Option<Method>,
    /// The host that was asked.
    pub host: Option<String>,
    /// The path, without the query: that may hold what is nobody's business.
    pub path: Option<String>,
    /// The label of its route, where it has one.
    pub route: Option<String>,
    /// The request's id, where it has one.
    pub id: Option<String>,
    /// What went wrong, as the client was told.
    pub why: Option<String>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, about: Option<Box<Subject>>, id: Option<&HeaderValue>) -> Self {
        let text = |value: &HeaderValue| Some(cut(value.to_str().ok()?));
        let (method, host, path) = match about.map(|about| *about) {
            Some(Subject { method, uri, host }) => (Some(method), host.as_ref().and_then(text), Some(cut(uri.path()))),
            None => (None, None, None),
        };
        Self { at: SystemTime::now(), status, method, host, path, route: None, id: id.and_then(text), why: None }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// The latest failures.
#[derive(Debug, Default)]
pub struct Failures {
    clients: Mutex<VecDeque<Failure>>,
    servers: Mutex<VecDeque<Failure>>,
}

impl Failures {
    fn ring(&self, blame: Blame) -> &Mutex<VecDeque<Failure>> {
        match blame {
            Blame::Client => &self.clients,
            Blame::Server => &self.servers,
        }
    }

    pub(super) fn push(&self, failure: Failure) {
        let blame = if failure.status.is_server_error() { Blame::Server } else { Blame::Client };
        let mut ring = self.ring(blame).lock();
        let oldest = if ring.len() >= KEPT { ring.pop_front() } else { None };
        ring.push_back(failure);
        drop(ring);
        // Its memory is given back while nobody waits.
        drop(oldest);
    }

    /// The latest, newest first.
    pub fn latest(&self, blame: Blame, most: usize) -> Vec<Failure> {
        self.ring(blame).lock().iter().rev().take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_a_flood_of_clients_errors_leaves_ours() {
        let failures = Failures::default();
        let failure = |status: u16, path: String| Failure {
            path: Some(path),
            ..Failure::new(StatusCode::from_u16(status).unwrap(), None, None)
        };
        failures.push(failure(500, "/ours".to_owned()));
        (0..KEPT + 5).for_each(|n| failures.push(failure(404, format!("/{n}"))));
        let paths = |blame, most| {
            failures.latest(blame, most).into_iter().filter_map(|failure| failure.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(Blame::Server, 10), ["/ours"]);
        assert_eq!(paths(Blame::Client, 2), [format!("/{}", KEPT + 4), format!("/{}", KEPT + 3)]);
        assert_eq!(paths(Blame::Client, usize::MAX).len(), KEPT);
    }
}
