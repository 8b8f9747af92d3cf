//! From a request to an answer.

use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use outwork_cache::{Key, Role};
use outwork_front::conditional;
use outwork_front::message::{Answer, Body, Handler, Request, RequestBody, Response};

use super::Shared;
use super::cache::{Answered, Landed, key};
use super::error::QueryError;
use super::metrics::{Cause, Lookup, Outcome};
use super::parameter::Value;
use super::query::{Kept, Prepared};
use super::render::Form;
use super::request::{Content, content, form, values};
use super::source::Source;

/// Answers requests out of a database.
pub struct Queried {
    query: Arc<Prepared>,
    source: Arc<Source>,
    shared: Arc<Shared>,
}

/// What is kept of a request until its answer is there.
struct Asked {
    method: Method,
    fields: http::HeaderMap,
}

impl Queried {
    /// With this query of this database.
    pub fn new(query: Prepared, source: Arc<Source>, shared: Arc<Shared>) -> Self {
        Self { query: Arc::new(query), source, shared }
    }

    fn fail(&self, error: &QueryError) -> Response {
        self.shared.metrics.queries.of(error.outcome()).inc();
        error.response()
    }

    fn give(&self, answered: &Answered, asked: &Asked) -> Response {
        if answered.is_none() {
            return self.fail(&QueryError::None);
        }
        self.shared.metrics.queries.of(Outcome::Answered).inc();
        conditional::answer(&asked.method, &asked.fields, answered)
    }

    fn read(&self, request: Request) -> Result<Answer, QueryError> {
        let form = form(self.query.format, &request.head)?;
        let values = values(&self.query, &request.head, &Content::None)?;
        let asked = Asked { method: request.head.method, fields: request.head.headers };
        let own = self.own();
        let Some(kept) = self.query.kept else {
            return Ok(Answer::Later(Box::pin(async move {
                let output = own.source.run(&own.query, values, form).await;
                match output.map(|output| Answered::new(&own.query, form, output.body)) {
                    Ok(answered) => own.give(&answered, &asked),
                    Err(error) => own.fail(&error),
                }
            })));
        };
        let cache = &self.shared.cache;
        let key = key(&self.query, form, &values);
        let is_look_due = self.source.is_look_due(cache.now());
        if !is_look_due && let Some(answered) = cache.get(&key) {
            self.shared.metrics.lookups.of(Lookup::Hit).inc();
            return Ok(self.give(&answered, &asked).into());
        }
        Ok(Answer::Later(Box::pin(async move {
            if is_look_due
                && own.source.look(&own.shared).await
                && let Some(answered) = own.shared.cache.get(&key)
            {
                own.shared.metrics.lookups.of(Lookup::Hit).inc();
                return own.give(&answered, &asked);
            }
            match own.fetch(key, kept, values, form).await {
                Ok(answered) => own.give(&answered, &asked),
                Err(error) => own.fail(&error),
            }
        })))
    }

    /// The same, for a future.
    fn own(&self) -> Self {
        Self { query: Arc::clone(&self.query), source: Arc::clone(&self.source), shared: Arc::clone(&self.shared) }
    }

    /// Has one run the query for all who want the same.
    async fn fetch(&self, key: Key, kept: Kept, values: Vec<Value>, form: Form) -> Landed {
        let shared = &self.shared;
        loop {
            match shared.cache.flights.join(key) {
                Role::Follow(follower) => {
                    if let Some(landed) = follower.await {
                        shared.metrics.lookups.of(Lookup::Collapsed).inc();
                        return landed;
                    }
                }
                Role::Lead(lead) => {
                    shared.metrics.lookups.of(Lookup::Miss).inc();
                    let own = self.own();
                    let run = async move {
                        let landed = own.run_and_keep(key, kept, values, form).await;
                        lead.land(landed.clone());
                        landed
                    };
                    // It belongs to nobody's connection: whoever goes takes nothing from the others.
                    let runtime = shared.runtime().map_err(|error| {
                        tracing::error!(error, "a query cannot run");
                        QueryError::Failed
                    })?;
                    return runtime.spawn(run).await.unwrap_or(Err(QueryError::Failed));
                }
            }
        }
    }

    async fn run_and_keep(&self, key: Key, kept: Kept, values: Vec<Value>, form: Form) -> Landed {
        let cache = &self.shared.cache;
        let era = cache.era();
        let output = self.source.run(&self.query, values, form).await?;
        let answered = Arc::new(Answered::new(&self.query, form, output.body));
        cache.put(key, &self.query, kept, &answered, &output.tables, era);
        Ok(answered)
    }

    async fn change(self, head: http::request::Parts, body: RequestBody) -> Response {
        let changed = async {
            let form = form(self.query.format, &head)?;
            let content = content(&head, body, &self.query).await?;
            let values = values(&self.query, &head, &content)?;
            let output = self.source.run(&self.query, values, form).await?;
            let tables: Vec<String> = output.tables.iter().chain(&self.query.tables).cloned().collect();
            self.shared.cache.forget_tables(self.source.name(), &tables, Cause::Route).await;
            Ok((output.body.ok_or(QueryError::None)?, form))
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
            Err(error) => self.fail(&error),
        }
    }
}

impl Handler for Queried {
    fn handle(&self, request: Request) -> Answer {
        let is_read = matches!(request.head.method, Method::GET | Method::HEAD);
        match (&request.head.method, self.query.write) {
            (_, false) if is_read => self.read(request).unwrap_or_else(|error| self.fail(&error).into()),
            (&Method::POST | &Method::PUT | &Method::PATCH | &Method::DELETE, true) => {
                let own = self.own();
                Answer::Later(Box::pin(own.change(request.head, request.body)))
            }
            (&Method::OPTIONS, _) => self.allowed(StatusCode::NO_CONTENT).into(),
            _ => self.allowed(StatusCode::METHOD_NOT_ALLOWED).into(),
        }
    }
}

impl Queried {
    fn allowed(&self, status: StatusCode) -> Response {
        let methods = if self.query.write { "POST, PUT, PATCH, DELETE, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        let mut response = Response::new(status);
        response.headers.insert(ALLOW, HeaderValue::from_static(methods));
        response
    }
}
