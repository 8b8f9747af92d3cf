//! Copies of requests for another pool, whose answers nobody gets.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use futures_util::StreamExt;
use outwork_front::message::{Body, Request};

use super::{Call, Proxied};
use crate::config::Mirror;
use crate::metrics::Mirrored;

/// Bytes of an answer that are read, so that its connection can be used again.
const READ: usize = 1 << 20;

/// Where copies go.
#[derive(Debug)]
pub(super) struct Mirroring {
    settings: Mirror,
    to: Arc<Proxied>,
    under_way: Arc<AtomicU32>,
}

/// A copy that is under way, as long as this is there.
struct UnderWay(Arc<AtomicU32>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Mirroring {
    pub(super) fn new(settings: Mirror, to: Arc<Proxied>) -> Self {
        Self { settings, to, under_way: Arc::default() }
    }

    /// Sends a copy of a request, where chance has it so. What becomes of that is nobody's to wait for.
    pub(super) fn copy(&self, call: &Call) {
        if !call.local.chance.borrow_mut().chance(self.settings.percent / 100.0) {
            return;
        }
        let mirrored = &self.to.pool.metrics().mirrored;
        let Some(body) = call.content.copy() else { return mirrored.of(Mirrored::NotWhole).inc() };
        let Some(under_way) = self.enter() else { return mirrored.of(Mirrored::Full).inc() };
        let request = Request { head: call.head.clone(), body, origin: Rc::clone(&call.origin) };
        let to = Arc::clone(&self.to);
        tokio::task::spawn_local(async move {
            let _under_way = under_way;
            let response = to.serve(request).await;
            // Answers that we have made ourselves are problems of this machine, or of who is not there.
            let outcome = if response.status.is_server_error() { Mirrored::Failed } else { Mirrored::Sent };
            to.pool.metrics().mirrored.of(outcome).inc();
            let Body::Stream(mut body) = response.body else { return };
            let mut read = 0;
            while let Some(Ok(part)) = body.parts.next().await {
                read += part.len();
                if read > READ {
                    return;
                }
            }
        });
    }

    fn enter(&self) -> Option<UnderWay> {
        let most = self.settings.most;
        let entered = self.under_way.fetch_update(Relaxed, Relaxed, |now| (now < most).then(|| now + 1));
        entered.is_ok().then(|| UnderWay(Arc::clone(&self.under_way)))
    }
}
