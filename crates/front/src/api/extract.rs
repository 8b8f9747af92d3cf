//! What a request brings, taken apart; a [`Problem`] names the field that is wrong.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Problem;

/// The whole body has to come within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body, asked or answered.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type("expected a body of content-type application/json"));
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| Problem::timeout(format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs())))?
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large("the body is over the limit of this listener"),
                _ => Problem::invalid("", rejection.body_text()),
            })?;
        let mut json = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| blame(&error))?;
        json.end().map_err(|error| Problem::invalid("", error))?;
        Ok(Self(value))
    }
}

/// The field that an error is about. A missing or unknown field is named by the message, not by the path.
fn blame<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> Problem {
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    // A question mark stands for what broken JSON left unsaid.
    let path = path.trim_end_matches('?').trim_end_matches('.');
    let named = ["missing field `", "unknown field `"].iter().find_map(|start| message.strip_prefix(start));
    let named = named.and_then(|rest| rest.split('`').next());
    let key = match (path, named) {
        ("", named) => named.unwrap_or_default().to_owned(),
        (path, Some(named)) if !path.ends_with(named) => format!("{path}.{named}"),
        (path, _) => path.to_owned(),
    };
    Problem::invalid(key, message)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The query, as `T`; for parameters that repeat, read the raw query.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let fields = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(fields).map(Self).map_err(|error| blame(&error))
    }
}

/// One segment of the path, or a tuple of them.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::invalid("", rejection.body_text())),
        }
    }
}
