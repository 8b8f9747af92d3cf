//! What a request says of the backend that it is for.

use std::sync::Arc;

use http::request::Parts;
use outwork_balance::{Ask, MemberId, NoBackend, hash};

use super::{Call, head, unix_now};
use crate::config::HashKey;
use crate::metrics::Absent;
use crate::pick::{Asking, Picked, Taken};
use crate::pool::Pool;
use crate::pool::endpoint::Endpoint;

/// Picks a backend that is none of those that were tried. Where all that could be have as much as they may have, it waits.
pub(super) async fn pick(pool: &Arc<Pool>, call: &Call, tried: &[MemberId]) -> Result<Picked, Absent> {
    asking(pool, call).pick(&ask(call, tried)).await
}

/// A second backend beside the first, without waiting for it.
pub(super) fn another(pool: &Arc<Pool>, call: &Call, tried: &[MemberId]) -> Result<(Taken, Arc<Endpoint>), NoBackend> {
    asking(pool, call).attempt(&ask(call, tried))
}

fn asking<'a>(pool: &'a Arc<Pool>, call: &'a Call) -> Asking<'a> {
    Asking { pool, snapshot: &call.snapshot, local: &call.local }
}

pub(super) fn ask<'a>(call: &'a Call, tried: &'a [MemberId]) -> Ask<'a> {
    let snapshot = &call.snapshot;
    let sticky = snapshot.sticky.as_ref().filter(|_| tried.is_empty()).and_then(|sticky| {
        let value = head::cookie(&call.head.headers, &sticky.cookie)?;
        sticky.member(value, unix_now())
    });
    let (hash, client) = (hashed(&snapshot.settings.hash, &call.head, 0), Some(call.origin.peer.ip()));
    Ask { hash, client, exclude: tried, sticky, established: false }
}

/// The hash of what goes to the same place; `None` where that is the client. Another `seed` is another hash.
pub(super) fn hashed(key: &HashKey, head: &Parts, seed: u64) -> Option<u64> {
    let (uri, headers) = (&head.uri, &head.headers);
    let of = |bytes: &[u8]| Some(hash::bytes(bytes, seed));
    match key {
        HashKey::Client => None,
        HashKey::Path => of(uri.path().as_bytes()),
        HashKey::Target => of(uri.path_and_query().map_or("", |target| target.as_str()).as_bytes()),
        HashKey::Host => of(headers.get(http::header::HOST)?.as_bytes()),
        HashKey::Field(name) => of(headers.get(name)?.as_bytes()),
        HashKey::Cookie(name) => of(head::cookie(headers, name)?),
    }
}
