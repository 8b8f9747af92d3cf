//! Names of a pool's backends: when each is looked up, and what comes of it. What was last found stays while nobody answers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use outwork_engine::Time;

use super::names::Question;
use super::resolver::{Answer, ResolveError, resolve};
use super::{Pool, Snapshot};
use crate::config::Resolver;

/// The longest from a look-up that has failed to the next.
const AGAIN: Duration = Duration::from_secs(2);

/// A look-up that is under way.
type Lookup = Pin<Box<dyn Future<Output = (Question, Result<Answer, ResolveError>)>>>;

/// Look-ups of the names of one pool.
#[derive(Default)]
pub(super) struct Lookups {
    names: HashMap<Question, Known>,
    under_way: FuturesUnordered<Lookup>,
    /// Who is asked.
    resolver: Option<Arc<Resolver>>,
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    /// When it is looked up next; never, while it is being looked up.
    due: Time,
    /// It was looked up once, whatever came of that.
    is_known: bool,
    /// The last look-up has failed.
    fails: bool,
}

impl Lookups {
    /// Begins those that are due; when the next one is.
    pub(super) fn begin(&mut self, pool: &Pool, snapshot: &Snapshot, now: Time) -> Time {
        let questions = snapshot.questions();
        let resolver = pool.shared.resolver.load_full();
        if self.resolver != resolver {
            // Others may know other things.
            self.resolver.clone_from(&resolver);
            self.names.values_mut().for_each(|known| known.due = known.due.min(now));
            self.under_way.clear();
        }
        self.names.retain(|question, _| questions.contains(question));
        let mut next = Time::MAX;
        for question in questions {
            let known = self.names.entry(question.clone()).or_default();
            if known.due <= now {
                known.due = Time::MAX;
                let resolver = resolver.clone();
                self.under_way.push(Box::pin(async move {
                    let found = resolve(&question, resolver.as_deref()).await;
                    (question, found)
                }));
            }
            next = next.min(known.due);
        }
        next
    }

    /// What one has found, once one has.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Question, Result<Answer, ResolveError>)> {
        match self.under_way.poll_next_unpin(context) {
            Poll::Ready(Some(found)) => Poll::Ready(found),
            // Without any, it would be ready at once.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes in what one has found.
    pub(super) fn conclude(&mut self, pool: &Pool, question: Question, found: Result<Answer, ResolveError>) {
        let Some(known) = self.names.get_mut(&question) else { return };
        let (now, resolve) = (pool.now(), pool.snapshot().settings.resolve);
        let failed = std::mem::replace(&mut known.fails, found.is_err());
        known.is_known = true;
        let (label, name) = (&*pool.name, question.name().to_owned());
        match found {
            Ok(Answer { spots, lasts }) => {
                known.due = now + lasts.unwrap_or(resolve);
                if failed {
                    tracing::info!(pool = label, name, "the name of a backend can be looked up again");
                }
                match pool.found(question, spots) {
                    Ok(true) => tracing::info!(pool = label, name, "a name of backends stands for others"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(pool = label, %error, "the addresses of backends are not taken up"),
                }
            }
            Err(error) => {
                pool.metrics().unresolved.inc();
                known.due = now + resolve.min(AGAIN);
                if failed {
                    tracing::debug!(pool = label, name, %error, "the name of a backend still cannot be looked up");
                } else {
                    tracing::warn!(pool = label, name, %error, "the name of a backend cannot be looked up; what it stood for stays");
                }
            }
        }
        if self.names.values().all(|known| known.is_known) {
            pool.resolved();
        }
    }
}
