//! Names of a pool's backends: when each is looked up, and what comes of it. What was last found stays while nobody answers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use outwork_engine::Time;

use super::names::{Question, Said};
use super::resolver::{Answer, ResolveError, asked, resolve};
use super::{Pool, Snapshot};
use crate::config::Resolver;

/// The longest from a look-up that has failed to the next.
const AGAIN: Duration = Duration::from_secs(2);

/// Failures of one look-up that are named; the others are counted.
const NAMED: usize = 3;

/// How it goes with a name, for who looks on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// Who is asked.
    pub(crate) whom: String,
    /// When an answer, or none, last came.
    pub(crate) tried: Option<Time>,
    /// When it is looked up next; `None` while that is under way.
    pub(crate) due: Option<Time>,
    /// Why what it stands for is not known, or not all of it.
    pub(crate) problem: Option<String>,
}

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
    /// The last look-up has failed, or a part of it.
    fails: bool,
    /// What was last said of it.
    said: Option<Said>,
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
        let mut looks = pool.looks.lock();
        looks.retain(|question, _| questions.contains(question));
        let mut next = Time::MAX;
        for question in questions {
            let known = self.names.entry(question.clone()).or_default();
            if known.due <= now {
                known.due = Time::MAX;
                let look = looks.entry(question.clone()).or_default();
                (look.whom, look.due) = (asked(&question, resolver.as_deref()), None);
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
        known.is_known = true;
        let (label, name) = (&*pool.name, question.name().to_owned());
        let (mut failed, mut lasts, mut spots) = (Vec::new(), resolve, None);
        match found {
            Ok(answer) => {
                let said = answer.said.or(known.said.as_ref());
                (failed, lasts) = (answer.failed, answer.lasts.unwrap_or(resolve));
                let known_spots = said.spots();
                if !known_spots.is_empty() || said.is_given_by_nobody() {
                    known.said = Some(said);
                    spots = Some(known_spots);
                } else if failed.is_empty() {
                    failed.push("it has no address".to_owned());
                }
            }
            Err(error) => failed.push(error.to_string()),
        }
        let problem = (!failed.is_empty()).then(|| listed(&failed));
        known.due = now + if problem.is_some() { lasts.min(resolve).min(AGAIN) } else { lasts };
        let failed_before = std::mem::replace(&mut known.fails, problem.is_some());
        if let Some(look) = pool.looks.lock().get_mut(&question) {
            (look.tried, look.due, look.problem) = (Some(now), Some(known.due), problem.clone());
        }
        if let Some(error) = problem {
            pool.metrics().unresolved.inc();
            if failed_before {
                tracing::debug!(pool = label, name, %error, "the name of a backend still cannot be looked up");
            } else {
                tracing::warn!(pool = label, name, %error, "the name of a backend cannot be looked up; what it stood for stays");
            }
        } else if failed_before {
            tracing::info!(pool = label, name, "the name of a backend can be looked up again");
        }
        match spots.map(|spots| pool.found(question, spots)) {
            Some(Ok(true)) => tracing::info!(pool = label, name, "a name of backends stands for others"),
            Some(Ok(false)) | None => {}
            Some(Err(error)) => tracing::warn!(pool = label, %error, "the addresses of backends are not taken up"),
        }
        if self.names.values().all(|known| known.is_known) {
            pool.resolved();
        }
    }
}

/// What has failed, as far as one wants to read it.
fn listed(failed: &[String]) -> String {
    let named = failed.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match failed.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}
