//! Unsafe requests: what they may have changed is not given out of the cache any more, whichever routes keep it (RFC 9111 section 4.4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONTENT_LOCATION, HOST, LOCATION};
use http::request::Parts;
use http::{Method, StatusCode, Uri};

use super::key::Target;
use super::{Rules, Store};
use crate::message::{Answer, Handler, Request, Response};
use crate::route::path::NormalPath;
use crate::route::{Conditions, Table};

/// Routes that cache, by the addresses that they answer. What one route changes may be in the answers of another, as where one reads by GET and
/// one writes by POST.
#[derive(Default)]
pub struct Changes(Vec<Kept>);

/// Where the answers to some addresses are kept.
struct Kept {
    addresses: Table<()>,
    rules: Rules,
    store: Arc<Store>,
}

/// A request that may be changing something. Who goes on with it though its client has gone keeps this until it is done: where nobody has seen an
/// answer, what is kept of its address goes with the last of these.
#[derive(Clone)]
pub struct Changing(Arc<Change>);

/// A request as far as it tells what it may have changed.
struct Change {
    changes: Arc<Changes>,
    head: Parts,
    tls: bool,
    /// Whether it is known what has come of it.
    settled: AtomicBool,
}

impl Drop for Change {
    fn drop(&mut self) {
        if !*self.settled.get_mut() {
            self.changes.forget(self, &self.head.uri);
        }
    }
}

impl Changes {
    /// A route that caches.
    pub fn add(&mut self, route: &Conditions, rules: Rules, store: Arc<Store>) {
        // Another method and other fields ask for the same address.
        let addresses = Conditions { methods: Vec::new(), fields: Vec::new(), ..route.clone() };
        self.0.push(Kept { addresses: Table::new(vec![(addresses, ())]), rules, store });
    }

    /// Has a handler answer. Where that may have changed something, what is kept of it goes before the client knows.
    pub(crate) fn watch(self: &Arc<Self>, mut request: Request, handler: &dyn Handler) -> Answer {
        let head = &request.head;
        let is_safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        if is_safe || self.0.is_empty() || head.method == Method::CONNECT {
            return handler.handle(request);
        }
        let (head, tls) = (head.clone(), request.origin.tls);
        let changing =
            Changing(Arc::new(Change { changes: Arc::clone(self), head, tls, settled: AtomicBool::new(false) }));
        request.head.extensions.insert(changing.clone());
        match handler.handle(request) {
            Answer::Now(response) => {
                self.answered(&changing.0, &response);
                Answer::Now(response)
            }
            Answer::Later(response) => Answer::Later(Box::pin(async move {
                let response = response.await;
                changing.0.changes.answered(&changing.0, &response);
                response
            })),
        }
    }

    fn answered(&self, change: &Change, response: &Response) {
        change.settled.store(true, Ordering::Relaxed);
        let status = response.status;
        // Where whoever makes the change was lost sight of, nobody knows whether it did.
        let is_open = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
        if !(status.is_success() || status.is_redirection() || is_open) {
            return;
        }
        self.forget(change, &change.head.uri);
        for name in [LOCATION, CONTENT_LOCATION] {
            if let Some(uri) = response.field(&name).and_then(|value| Uri::try_from(value.as_bytes()).ok()) {
                self.forget(change, &uri);
            }
        }
    }

    fn forget(&self, change: &Change, uri: &Uri) {
        let Ok(path) = NormalPath::new(uri.path()) else { return };
        let head = &change.head;
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        for Kept { addresses, rules, store } in &self.0 {
            let own = Target::new(head, change.tls, &rules.key);
            let named = uri.authority().map_or(host, |authority| authority.as_str());
            let tls = uri.scheme_str().map_or(change.tls, |scheme| scheme == "https");
            let target = Target::of(named, uri.path(), uri.query(), tls, &rules.key);
            // What another site says of ours is no reason.
            if target.is_of_origin(&own) && addresses.find_for(&Method::GET, head, &path).is_ok() {
                store.invalidate(&target.key(&head.headers, rules));
                // As nearly all spell it, should this one have spelled it otherwise.
                let usual = path.escaped();
                if usual != uri.path() {
                    let target = Target::of(named, &usual, uri.query(), tls, &rules.key);
                    store.invalidate(&target.key(&head.headers, rules));
                }
            }
        }
    }
}
