//! From a request to an answer.

use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use outwork_cache::{Key, Role};
use outwork_front::cached::Changing;
use outwork_front::conditional;
use outwork_front::message::{Answer, Body, Handler, Request, RequestBody, Response, Subject};
use outwork_front::problem::Problem;

use super::Shared;
use super::cache::{Answered, Landed, key};
use super::error::QueryError;
use super::metrics::{Cause, Lookup, Outcome, StatementCells};
use super::parameter::Value;
use super::query::{Kept, Prepared};
use super::render::Form;
use super::request::{Content, content, form, values};
use super::source::{Output, Source};

/// Answers requests out of a database.
pub struct Queried {
    query: Arc<Prepared>,
    source: Arc<Source>,
    shared: Arc<Shared>,
    cells: Arc<StatementCells>,
}

/// What is kept of a request until its answer is there.
struct Asked {
    method: Method,
    uri: Uri,
    fields: HeaderMap,
}

impl Asked {
    fn subject(&self) -> Subject {
        let host = self.fields.get(HOST).cloned();
        Subject { method: self.method.clone(), uri: self.uri.clone(), host }
    }
}

impl Queried {
    /// With this query of this database, for a route of this label.
    pub fn new(query: Prepared, route: &str, source: Arc<Source>, shared: Arc<Shared>) -> Self {
        let cells = StatementCells::new(&shared.metrics, route, source.name());
        Self { query: Arc::new(query), source, shared, cells: Arc::new(cells) }
    }

    fn fail(&self, error: &QueryError, about: Subject) -> Response {
        let outcome = error.outcome();
        self.shared.metrics.queries.of(outcome).inc();
        match outcome {
            Outcome::Full | Outcome::Unavailable => self.cells.turned_away.inc(),
            Outcome::Timeout => self.cells.timeouts.inc(),
            _ => {}
        }
        let mut response = error.response();
        if response.status.is_server_error() {
            self.cells.failures.inc();
        }
        response.note_mut().about = Some(Box::new(about));
        response
    }

    /// Runs the query, and counts how long that took.
    async fn run(&self, values: Vec<Value>, form: Form) -> Result<Output, QueryError> {
        let begun = Instant::now();
        let output = self.source.run(&self.query, values, form).await;
        self.cells.time.record(begun.elapsed());
        output
    }

    /// What came of a look for a result that is kept.
    fn looked(&self, lookup: Lookup) {
        self.shared.metrics.lookups.of(lookup).inc();
        if lookup != Lookup::Miss {
            self.cells.hits.inc();
        }
    }

    fn give(&self, answered: &Answered, asked: &Asked) -> Response {
        if answered.is_none() {
            return self.fail(&QueryError::None, asked.subject());
        }
        self.shared.metrics.queries.of(Outcome::Answered).inc();
        conditional::answer(&asked.method, &asked.fields, answered)
    }

    fn read(&self, request: Request) -> Answer {
        let head = request.head;
        let said =
            form(self.query.format, &head).and_then(|form| Ok((form, values(&self.query, &head, &Content::None)?)));
        let asked = Asked { method: head.method, uri: head.uri, fields: head.headers };
        let (form, values) = match said {
            Ok(said) => said,
            Err(error) => return self.fail(&error, asked.subject()).into(),
        };
        let own = self.own();
        let Some(kept) = self.query.kept else {
            return Answer::Later(Box::pin(async move {
                let output = own.run(values, form).await;
                match output.map(|output| Answered::new(&own.query, form, output)) {
                    Ok(answered) => own.give(&answered, &asked),
                    Err(error) => own.fail(&error, asked.subject()),
                }
            }));
        };
        let cache = &self.shared.cache;
        let key = key(&self.query, form, &values);
        let is_look_due = self.source.is_look_due(cache.now());
        if !is_look_due && let Some(answered) = cache.get(&key) {
            self.looked(Lookup::Hit);
            return self.give(&answered, &asked).into();
        }
        Answer::Later(Box::pin(async move {
            if is_look_due
                && own.look().await
                && let Some(answered) = own.shared.cache.get(&key)
            {
                own.looked(Lookup::Hit);
                return own.give(&answered, &asked);
            }
            match own.fetch(key, kept, values, form).await {
                Ok(answered) => own.give(&answered, &asked),
                Err(error) => own.fail(&error, asked.subject()),
            }
        }))
    }

    /// Looks whether others have changed something. Who was told so has to have it forgotten, for nobody is told twice.
    async fn look(&self) -> bool {
        let own = self.own();
        self.beside(async move { Ok(own.source.look(&own.shared).await) }).await.unwrap_or(false)
    }

    /// The same, for a future.
    fn own(&self) -> Self {
        Self {
            query: Arc::clone(&self.query),
            source: Arc::clone(&self.source),
            shared: Arc::clone(&self.shared),
            cells: Arc::clone(&self.cells),
        }
    }

    /// Has one run the query for all who want the same.
    async fn fetch(&self, key: Key, kept: Kept, values: Vec<Value>, form: Form) -> Landed {
        let shared = &self.shared;
        loop {
            match shared.cache.flights.join(key) {
                Role::Follow(follower) => {
                    if let Some(landed) = follower.await {
                        self.looked(Lookup::Collapsed);
                        return landed;
                    }
                }
                Role::Lead(lead) => {
                    self.looked(Lookup::Miss);
                    let own = self.own();
                    let run = async move {
                        let landed = own.run_and_keep(key, kept, values, form).await;
                        lead.land(landed.clone());
                        landed
                    };
                    return self.beside(run).await;
                }
            }
        }
    }

    async fn run_and_keep(&self, key: Key, kept: Kept, values: Vec<Value>, form: Form) -> Landed {
        let cache = &self.shared.cache;
        let era = cache.era();
        let mut output = self.run(values, form).await?;
        let tables = std::mem::take(&mut output.tables);
        let answered = Arc::new(Answered::new(&self.query, form, output));
        cache.put(key, &self.query, kept, &answered, &tables, era);
        Ok(answered)
    }

    /// Forgets what was made of what a change has changed, or may have.
    async fn forget(&self, outcome: &Result<Output, QueryError>) {
        let (cache, database) = (&self.shared.cache, self.source.name());
        match outcome {
            Ok(output) => {
                let tables: Vec<String> = output.tables.iter().chain(&self.query.tables).cloned().collect();
                cache.forget_tables(database, &tables, Cause::Route).await;
            }
            Err(QueryError::Unsettled) => drop(cache.forget_database(database, Cause::Route).await),
            Err(_) => {}
        }
    }

    /// Does something to its end, whoever leaves meanwhile.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<T, QueryError> {
        let runtime = self.shared.runtime().map_err(|error| {
            tracing::error!(error, "a query cannot run");
            QueryError::Failed
        })?;
        runtime.spawn(work).await.unwrap_or(Err(QueryError::Failed))
    }

    async fn change(self, head: http::request::Parts, body: RequestBody) -> Response {
        let changed = async {
            let form = form(self.query.format, &head)?;
            let content = content(&head, body, &self.query).await?;
            let values = values(&self.query, &head, &content)?;
            let (own, changing) = (self.own(), head.extensions.get::<Changing>().cloned());
            // It goes on though its client has gone: whatever it changes has to be forgotten.
            let output = self.beside(async move {
                let outcome = own.run(values, form).await;
                own.forget(&outcome).await;
                drop(changing);
                outcome
            });
            Ok((output.await?.body.ok_or(QueryError::None)?, form))
        };
        match changed.await {
            Ok((content, form)) => {
                self.shared.metrics.queries.of(Outcome::Answered).inc();
                let mut response = Response::new(StatusCode::OK);
                response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
                response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response.body = Body::Full(content);
                response
            }
            Err(error) => self.fail(&error, Subject::of(&head)),
        }
    }
}

impl Handler for Queried {
    fn handle(&self, request: Request) -> Answer {
        let is_read = matches!(request.head.method, Method::GET | Method::HEAD);
        match (&request.head.method, self.query.write) {
            (_, false) if is_read => self.read(request),
            (&Method::POST | &Method::PUT | &Method::PATCH | &Method::DELETE, true) => {
                let own = self.own();
                Answer::Later(Box::pin(own.change(request.head, request.body)))
            }
            (&Method::OPTIONS, _) => self.allowed(Response::new(StatusCode::NO_CONTENT)).into(),
            _ => {
                let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not answer that method");
                self.allowed(problem.answer(&request.head)).into()
            }
        }
    }
}

impl Queried {
    fn allowed(&self, mut response: Response) -> Response {
        let methods = if self.query.write { "POST, PUT, PATCH, DELETE, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        response.headers.insert(ALLOW, HeaderValue::from_static(methods));
        response
    }
}
