//! CONNECT (RFC 9110 section 9.3.6): a connection to a backend, for whatever a client speaks over it. Which backend that is, the pool says and not the target.

use std::sync::Arc;

use http::StatusCode;
use outwork_front::door::Buffers;
use outwork_front::message::Response;

use super::{Call, Proxied, Why, asked, pick, tunnel};
use crate::pick::Asking;
use crate::reach::{Reach, Reached, Unreached};

impl Proxied {
    /// Answers once a backend is connected to.
    pub(super) async fn connect(&self, call: &Call) -> Response {
        let first = call.announced.as_ref().map(|announced| announced.header()).unwrap_or_default();
        let reach = Reach {
            asking: Asking { pool: &self.pool, snapshot: &call.snapshot, local: &call.local },
            ask: pick::ask(call, &[]),
            source: None,
            first: &first,
            buffers: Buffers::default(),
            tries: &|_| {},
        };
        let Reached { wire, mut taken, counted, endpoint, retries, took } = match reach.connect().await {
            Ok(reached) => reached,
            Err(Unreached::Nobody(reason)) => return self.refused(call, reason),
            Err(Unreached::Failed(error, endpoint)) => return self.failed(call, &endpoint, &Why::Dial(error)),
        };
        taken.sits_at(call.seat.take());
        let mut response = Response::new(StatusCode::OK);
        let patience = call.snapshot.settings.connections.tunnel_timeout;
        let metrics = Arc::clone(self.pool.shared_metrics());
        let present = call.local.enter(taken.id());
        response.upgrade = Some(Box::new(move |client| {
            Box::pin(async move {
                let _under_way = (taken, counted);
                tunnel::run(client, Box::new(wire), bytes::Bytes::new(), (patience, present), &metrics).await;
            })
        }));
        asked(response, endpoint, retries, Some(took))
    }
}
