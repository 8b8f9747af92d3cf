//! What each route gets, and which requests failed lately: what the dashboard shows of the front door beside its totals.
//!
//! - [`failures`]: the latest error answers, in a ring.
//! - [`api`]: the routes of the admin API that tell of both.
//!
//! A route is known by its number in the configuration, which its answers bear ([`OfRoute`]); what is counted of it goes by a label that stays the
//! same when others come and go.

pub mod api;
pub mod failures;

use std::sync::Arc;
use std::time::Duration;

use outwork_telemetry::{Counter, Histogram, metrics};
use parking_lot::Mutex;

use crate::message::{Answer, Handler, Request, Response};
use failures::{Failure, Failures};

/// Routes that have figures of their own; whichever come after share theirs.
const ROUTES: usize = 256;

metrics! {
    /// Metrics of routes.
    #[derive(Debug)]
    pub struct RouteMetrics, prefix "outwork_front_route" {
        /// Time from a request's head to its answer's head, by route.
        time: Histogram in seconds by ["route"] max ROUTES => history,
        /// Answers of a route that blame the client (4xx).
        client_errors: Counter by ["route"] max ROUTES => history,
        /// Answers of a route that blame the server (5xx).
        server_errors: Counter by ["route"] max ROUTES => history,
        /// Content that a route has sent.
        sent: Counter in bytes by ["route"] max ROUTES => history,
    }
}

/// A route as it is configured.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What its figures are labelled with: hosts, path and methods.
    pub label: String,
    /// What answers: `files`, `query`, `redirect` or `respond`.
    pub answers: &'static str,
    /// With what: a folder, a statement, a target, a status.
    pub with: String,
    /// The database of a query.
    pub database: Option<String>,
    /// Whether a query changes something.
    pub writes: bool,
    /// Whether its answers are cached as responses.
    pub cached: bool,
    /// How long the results of a query are kept.
    pub kept: Option<Duration>,
}

/// The figures of one route.
#[derive(Debug)]
struct Cells {
    time: Arc<Histogram>,
    client_errors: Arc<Counter>,
    server_errors: Arc<Counter>,
    sent: Arc<Counter>,
}

impl Cells {
    fn new(metrics: &RouteMetrics, label: &str) -> Self {
        Self {
            time: metrics.time.cell([label]),
            client_errors: metrics.client_errors.cell([label]),
            server_errors: metrics.server_errors.cell([label]),
            sent: metrics.sent.cell([label]),
        }
    }
}

/// What is counted of routes and kept of failures, from one configuration to the next.
#[derive(Debug, Default)]
pub struct Traffic {
    /// What is counted.
    pub metrics: Arc<RouteMetrics>,
    /// What failed.
    pub failures: Failures,
    /// The routes in force, by their numbers.
    routes: Mutex<Routes>,
}

/// Routes by their numbers; `None` where requests are only sent on to others.
type Routes = Arc<[Option<Listed>]>;

impl Traffic {
    /// The routes in force.
    pub fn routes(&self) -> Routes {
        Arc::clone(&self.routes.lock())
    }

    /// Gets ready to count for these routes.
    pub fn count(self: &Arc<Self>, routes: Vec<Option<Listed>>) -> Counted {
        let cells = |listed: &Option<Listed>| Some(Cells::new(&self.metrics, &listed.as_ref()?.label));
        Counted { cells: routes.iter().map(cells).collect(), routes: routes.into(), traffic: Arc::clone(self) }
    }
}

/// Counts for the routes of one configuration.
#[derive(Debug, Clone)]
pub struct Counted {
    traffic: Arc<Traffic>,
    routes: Routes,
    cells: Arc<[Option<Cells>]>,
}

impl Counted {
    /// These routes are in force: what was counted of others is forgotten.
    pub fn commit(&self) {
        *self.traffic.routes.lock() = Arc::clone(&self.routes);
        let wanted = |[label]: &[String; 1]| self.routes.iter().flatten().any(|listed| listed.label == *label);
        let metrics = &self.traffic.metrics;
        metrics.time.retain(wanted);
        metrics.client_errors.retain(wanted);
        metrics.server_errors.retain(wanted);
        metrics.sent.retain(wanted);
    }

    fn cells(&self, route: Option<u16>) -> Option<&Cells> {
        self.cells.get(usize::from(route?))?.as_ref()
    }

    /// There is an answer, so long after its request's head. `id` is the request's, where it has one.
    pub(crate) fn answered(&self, response: &mut Response, took: Duration, id: Option<&http::HeaderValue>) {
        let status = response.status;
        let cells = self.cells(response.route);
        if let Some(cells) = cells {
            cells.time.record(took);
        }
        if !(status.is_client_error() || status.is_server_error()) {
            return;
        }
        if let Some(cells) = cells {
            if status.is_client_error() { &cells.client_errors } else { &cells.server_errors }.inc();
        }
        let (about, why) = response.note.as_mut().map_or((None, None), |note| (note.about.take(), note.why.take()));
        let listed = response.route.and_then(|route| self.routes.get(usize::from(route))?.as_ref());
        let route = listed.map(|listed| listed.label.clone());
        self.traffic.failures.push(Failure { route, why: why.map(String::from), ..Failure::new(status, about, id) });
    }

    /// An answer that is no error was given by heart, so long after its request's head.
    pub(crate) fn repeated(&self, route: Option<u16>, took: Duration) {
        if let Some(cells) = self.cells(route) {
            cells.time.record(took);
        }
    }

    /// So much of an answer's content was sent.
    pub(crate) fn sent(&self, route: Option<u16>, bytes: u64) {
        if let Some(cells) = self.cells(route) {
            cells.sent.add(bytes);
        }
    }
}

/// A handler whose answers bear the number of their route.
pub struct OfRoute {
    route: Option<u16>,
    inner: Arc<dyn Handler>,
}

impl OfRoute {
    /// What `inner` answers is of this route. Beyond 65536 of them, routes are not told apart.
    pub fn new(route: usize, inner: Arc<dyn Handler>) -> Self {
        Self { route: u16::try_from(route).ok(), inner }
    }
}

impl Handler for OfRoute {
    fn handle(&self, request: Request) -> Answer {
        let route = self.route;
        match self.inner.handle(request) {
            Answer::Now(mut response) => {
                response.route = route;
                Answer::Now(response)
            }
            Answer::Later(response) => Answer::Later(Box::pin(async move {
                let mut response = response.await;
                response.route = route;
                response
            })),
        }
    }

    fn answers_preflights(&self) -> bool {
        self.inner.answers_preflights()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use outwork_telemetry::{Cells as _, Value};

    use super::*;
    use crate::message::Subject;

    fn listed(label: &str) -> Option<Listed> {
        let label = label.to_owned();
        Some(Listed {
            label,
            answers: "respond",
            with: "200".to_owned(),
            database: None,
            writes: false,
            cached: false,
            kept: None,
        })
    }

    fn answer(counted: &Counted, route: Option<u16>, status: u16) {
        let mut response = Response::new(StatusCode::from_u16(status).unwrap());
        response.route = route;
        let (head, ()) = http::Request::get("/x?secret=1").header("host", "a.example").body(()).unwrap().into_parts();
        response.note_mut().about = Some(Box::new(Subject::of(&head)));
        counted.answered(&mut response, Duration::from_millis(3), None);
        counted.sent(route, 10);
    }

    fn labels(traffic: &Traffic) -> Vec<(String, u64)> {
        let samples = traffic.metrics.time.read().0.into_iter();
        let count = |value| if let Value::Histogram(snapshot) = value { snapshot.count() } else { 0 };
        samples.map(|sample| (sample.labels[0].1.to_string(), count(sample.value))).collect()
    }

    #[test]
    fn what_a_route_answers_is_counted_by_its_label_and_survives_a_new_order() {
        let traffic = Arc::new(Traffic::default());
        let counted = traffic.count(vec![listed("/a"), None, listed("/b")]);
        counted.commit();
        [(Some(0), 200), (Some(2), 404), (Some(2), 503), (None, 404)]
            .into_iter()
            .for_each(|(route, status)| answer(&counted, route, status));
        assert_eq!(labels(&traffic), [("/a".to_owned(), 1), ("/b".to_owned(), 2)]);
        let cells = traffic.metrics.client_errors.cell(["/b"]).get() + traffic.metrics.server_errors.cell(["/b"]).get();
        assert_eq!((cells, traffic.metrics.sent.cell(["/b"]).get()), (2, 20));
        let counted = traffic.count(vec![listed("/b")]);
        counted.commit();
        answer(&counted, Some(0), 200);
        assert_eq!(labels(&traffic), [("/b".to_owned(), 3)]);
    }

    #[test]
    fn what_failed_is_kept_with_its_route_and_without_its_query() {
        let traffic = Arc::new(Traffic::default());
        let counted = traffic.count(vec![listed("/x")]);
        [(Some(0), 200), (Some(0), 500), (None, 404)]
            .into_iter()
            .for_each(|(route, status)| answer(&counted, route, status));
        let theirs = traffic.failures.latest(failures::Blame::Client, 10);
        let ours = traffic.failures.latest(failures::Blame::Server, 10);
        let told = |failure: &Failure| (failure.status.as_u16(), failure.path.clone(), failure.route.clone());
        assert_eq!(theirs.iter().map(told).collect::<Vec<_>>(), [(404, Some("/x".into()), None)]);
        assert_eq!(ours.iter().map(told).collect::<Vec<_>>(), [(500, Some("/x".into()), Some("/x".into()))]);
    }
}
