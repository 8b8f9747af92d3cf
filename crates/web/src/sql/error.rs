//! Why a query has no answer, and what its client is told: whose fault it is and what to do, and nothing of the SQL or the database but the
//! constraint that a change does not keep to.

use std::time::Duration;

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use outwork_front::api::Fault;
use outwork_front::message::Response;
use outwork_front::problem::Problem;

use super::constraint::Constraint;
use super::metrics::Outcome;
use super::parameter::Unfit;
use super::render::RenderError;

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// A parameter is none.
    #[error("the parameter {name:?} is not valid: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// Why.
        reason: Unfit,
    },
    /// The request cannot be read.
    #[error("{0}")]
    Request(String),
    /// The content is of another type.
    #[error("the content has to be application/json or application/x-www-form-urlencoded")]
    MediaType,
    /// The content is too large.
    #[error("the content is larger than {0} bytes")]
    Content(u64),
    /// The client takes neither form.
    #[error("there are application/json and text/csv, and the client accepts neither")]
    NotAcceptable,
    /// The database does not take a value, such as a number that is too great for its column.
    #[error("the database does not take a value that was given")]
    Value,
    /// There is no such row.
    #[error("there is no such row")]
    None,
    /// What is to be written contradicts what is there: a duplicate, or something that others refer to.
    #[error("it contradicts what is there already: {0}")]
    Conflict(Constraint),
    /// What is to be written is not allowed by a rule of the database.
    #[error("a rule of the database does not allow it{}", .0.as_ref().map(|constraint| format!(": {constraint}")).unwrap_or_default())]
    Rule(Option<Constraint>),
    /// As many wait for a connection as may.
    #[error("too many requests wait for the database")]
    Full,
    /// There is no way to the server of the database.
    #[error("the database cannot be reached now")]
    Unreachable,
    /// The file of the database cannot be opened.
    #[error("the database cannot be opened now")]
    Unopened,
    /// No connection was free in time, or somebody else's change is in the way.
    #[error("the database is busy")]
    Busy,
    /// It took too long.
    #[error("the database took too long")]
    Timeout,
    /// It was lost sight of while it changed something.
    #[error("the database was lost sight of during the change: it may have been made, or not")]
    Unsettled,
    /// The answer is larger than it may be.
    #[error("the answer is larger than it may be")]
    TooLarge,
    /// Something else, which the log tells.
    #[error("the query failed")]
    Failed,
}

/// How long clients are asked to wait before they try again.
const RETRY: Duration = Duration::from_secs(1);

impl QueryError {
    /// What it is counted as.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Parameter { .. }
            | Self::Request(_)
            | Self::MediaType
            | Self::Content(_)
            | Self::NotAcceptable
            | Self::Value => Outcome::Invalid,
            Self::None => Outcome::Empty,
            Self::Conflict(_) | Self::Rule(_) => Outcome::Refused,
            Self::Full => Outcome::Full,
            Self::Unreachable | Self::Unopened | Self::Busy => Outcome::Unavailable,
            Self::Timeout | Self::Unsettled => Outcome::Timeout,
            Self::TooLarge => Outcome::TooLarge,
            Self::Failed => Outcome::Failed,
        }
    }

    /// That a change does not keep to a constraint, as far as it is known.
    pub(super) fn refused_by(constraint: Option<Constraint>) -> Self {
        match constraint {
            Some(constraint) if constraint.kind.is_about_others() => Self::Conflict(constraint),
            rule => Self::Rule(rule),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. } | Self::Request(_) | Self::Value => StatusCode::BAD_REQUEST,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Content(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::None => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Rule(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Full | Self::Unreachable | Self::Unopened | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout | Self::Unsettled => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge | Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Parameter { .. } | Self::Request(_) | Self::Value => "invalid",
            Self::MediaType => "unsupported-media-type",
            Self::Content(_) => "too-large",
            Self::NotAcceptable => "not-acceptable",
            Self::None => "not-found",
            Self::Conflict(_) => "conflict",
            Self::Rule(_) => "refused",
            Self::Full | Self::Unreachable | Self::Unopened | Self::Busy => "unavailable",
            Self::Timeout => "timeout",
            Self::Unsettled => "unsettled",
            Self::TooLarge | Self::Failed => "internal",
        }
    }

    /// The answer: problem details (RFC 9457), which no cache keeps.
    pub fn response(&self) -> Response {
        let status = self.status();
        let wait = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY.as_secs());
        let mut problem = Problem::new(status, self.to_string()).details(self.kind());
        if let Self::Parameter { name, .. } = self {
            problem = problem.member("key", name.as_str());
        }
        if let Self::Conflict(constraint) | Self::Rule(Some(constraint)) = self {
            problem = problem.member("constraint", constraint.to_json());
        }
        if matches!(self, Self::Unreachable | Self::Unsettled) {
            problem = problem.fault(Fault::Upstream);
        }
        if let Some(wait) = wait {
            problem = problem.member("retry_after", wait);
        }
        let mut response = problem.into_response();
        response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers.extend(wait.map(|wait| (RETRY_AFTER, wait.into())));
        response
    }
}

impl From<RenderError> for QueryError {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Rows(_) | RenderError::Size(_) => Self::TooLarge,
            RenderError::Twice(_) => Self::Failed,
        }
    }
}
