//! Requests that are shared out among pools by percent, as between what runs and a new version of it.
//!
//! It stands before what passes requests on, so that routes with one pool know nothing of it.

use std::sync::Arc;

use http::HeaderMap;
use http::header::COOKIE;
use outwork_balance::hash;
use outwork_front::message::{Answer, Handler, Request};

use super::{Passing, Proxied, head, pick, unix_now};
use crate::config::{HashKey, Split};
use crate::pool::Pool;
use crate::upstream::local::Local;

/// Backends are chosen by another hash: who goes to the same pool is not sent to the same backend by that.
const SEED: u64 = 0x5917;

/// Passes each request on to one of several pools.
#[derive(Debug)]
pub struct Splitting {
    /// Who has a part, and where in the whole it ends.
    parts: Vec<(u32, Arc<Proxied>)>,
    /// Who has what those leave.
    rest: Arc<Proxied>,
    by: Option<HashKey>,
}

impl Splitting {
    /// Parts for these pools, in the order of the settings of `rest`: with everything as it is there but the pool.
    pub fn new(rest: Arc<Proxied>, pools: Vec<Arc<Pool>>) -> Self {
        let mut parts: Vec<(u32, Arc<Proxied>)> = Vec::with_capacity(pools.len());
        let split = rest.settings.split.iter().map(Split::part).zip(pools);
        for (part, pool) in split.filter(|(part, _)| *part > 0) {
            let begins = parts.last().map_or(0, |(end, _)| *end);
            parts.push((begins.saturating_add(part), rest.with_pool(pool)));
        }
        let by = rest.settings.split_by.clone();
        Self { parts, rest, by }
    }

    /// Who gets a request.
    fn whose(&self, request: &Request) -> &Arc<Proxied> {
        if let Some(tied) = self.tied(&request.head.headers) {
            return tied;
        }
        let chance = || Local::of(&self.rest.pool).chance.borrow_mut().next_u64();
        let hash = match &self.by {
            Some(HashKey::Client) => hash::mix(hash::address(request.origin.peer.ip()) ^ SEED),
            // Not by address: all who share one would go where the first of them does.
            Some(key) => pick::hashed(key, &request.head, SEED).unwrap_or_else(chance),
            None => chance(),
        };
        at(&self.parts, hash::below(hash, Split::WHOLE)).unwrap_or(&self.rest)
    }

    /// The one that has the backend that a cookie names. Clients are tied by all of the pools, or they would gather where they are.
    fn tied(&self, headers: &HeaderMap) -> Option<&Arc<Proxied>> {
        if !headers.contains_key(COOKIE) {
            return None;
        }
        let is_left = self.parts.last().is_none_or(|(end, _)| *end < Split::WHOLE);
        let mut tied = None;
        for one in self.parts.iter().map(|(_, one)| one).chain(is_left.then_some(&self.rest)) {
            if one.ties(headers)? {
                tied = Some(one);
            }
        }
        tied
    }
}

impl Handler for Splitting {
    fn handle(&self, request: Request) -> Answer {
        let whose = Arc::clone(self.whose(&request));
        Passing(whose).handle(request)
    }
}

impl Proxied {
    /// The same for another pool. Copies go where they went.
    fn with_pool(&self, pool: Arc<Pool>) -> Arc<Self> {
        let Self { pool: _, settings, ours, is_limited, mirroring } = self;
        let (settings, mirroring) = (settings.clone(), mirroring.clone());
        Arc::new(Self { pool, settings, ours: *ours, is_limited: *is_limited, mirroring })
    }

    /// Whether a client is tied to a backend of this pool; `None` where it ties nobody.
    fn ties(&self, headers: &HeaderMap) -> Option<bool> {
        let snapshot = self.pool.snapshot();
        let sticky = snapshot.sticky.as_ref()?;
        let named = head::cookie(headers, &sticky.cookie);
        Some(named.is_some_and(|value| sticky.member(value, unix_now()).is_some()))
    }
}

/// Whose part this place of the whole is in.
fn at<T>(parts: &[(u32, T)], place: u32) -> Option<&T> {
    parts.iter().find(|(end, _)| place < *end).map(|(_, whose)| whose)
}

#[cfg(test)]
mod tests {
    use outwork_engine::Rng;

    use super::*;

    #[test]
    fn each_part_gets_as_many_as_it_has_percent_and_what_is_left_is_nobody_s() {
        let part = |percent| Split { pool: String::new(), percent }.part();
        let parts = [(part(5.0), "new"), (part(5.0) + part(0.5), "newer")];
        let mut chance = Rng::new(7);
        let places = (0..100_000).map(|_| hash::below(chance.next_u64(), Split::WHOLE));
        let drawn: Vec<Option<&str>> = places.map(|place| at(&parts, place).copied()).collect();
        let of = |whose: Option<&str>| drawn.iter().filter(|drawn| **drawn == whose).count();
        let (new, newer) = (of(Some("new")), of(Some("newer")));
        assert!((4_650..5_350).contains(&new) && (390..610).contains(&newer), "{new}, {newer}");
        assert_eq!(new + newer + of(None), 100_000);
    }

    #[test]
    fn a_part_ends_where_the_next_begins_and_a_whole_leaves_nothing() {
        let half = Split::WHOLE / 2;
        let parts = [(half, "one"), (Split::WHOLE, "two")];
        let whose = |place| at(&parts, place).copied();
        assert_eq!(
            [0, half - 1, half, Split::WHOLE - 1].map(whose),
            [Some("one"), Some("one"), Some("two"), Some("two")]
        );
        assert_eq!(at::<&str>(&[], 0), None);
    }
}
