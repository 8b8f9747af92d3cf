//! What went wrong, as RFC 9457 problem details that say whose fault it is.

use std::fmt::Display;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use outwork_store::database::DatabaseError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whose fault a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The request is wrong: sending it again will not help.
    Client,
    /// Something that Outwork asked did not answer as it should.
    Upstream,
    /// Outwork itself.
    Us,
}

impl Fault {
    /// Whose fault it is where nothing but the status is known.
    pub fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Self::Upstream,
            status if status.is_server_error() => Self::Us,
            _ => Self::Client,
        }
    }
}

/// Problem details (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem: `urn:outwork:problem:` and a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and what to do about it.
    pub detail: String,
    /// Whose fault it is.
    pub fault: Fault,
    /// The setting, field or parameter that is to blame, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of a configuration that is refused: everything that is wrong with it, as `outwork check --json` tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub faults: Option<Box<serde_json::Value>>,
    /// Seconds to wait before another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Display) -> Self {
        Self {
            kind: format!("urn:outwork:problem:{kind}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.to_string(),
            fault: Fault::of(status),
            key: None,
            faults: None,
            retry_after: None,
        }
    }

    /// 400: a field or parameter is wrong. An empty key blames the request as a whole.
    pub fn invalid(key: impl Into<String>, detail: impl Display) -> Self {
        let key = Some(key.into()).filter(|key| !key.is_empty());
        Self { key, ..Self::new(StatusCode::BAD_REQUEST, "invalid", "The request is not valid", detail) }
    }

    /// 401: who are you?
    pub fn unauthorized(detail: impl Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not signed in", detail)
    }

    /// 403: you may not.
    pub fn forbidden(detail: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let detail = "this path does not have that method; /api/v1/openapi.json lists what it has";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 408: the body did not come in time.
    pub fn timeout(detail: impl Display) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long", detail)
    }

    /// 409: the request and the state of things contradict each other.
    pub fn conflict(key: Option<String>, detail: impl Display) -> Self {
        Self { key, ..Self::new(StatusCode::CONFLICT, "conflict", "In conflict with what is there", detail) }
    }

    /// 412: what the request takes for granted, by `If-Match`, is not so.
    pub fn unmatched(key: Option<String>, detail: impl Display) -> Self {
        let title = "It is not as the request takes for granted";
        Self { key, ..Self::new(StatusCode::PRECONDITION_FAILED, "unmatched", title, detail) }
    }

    /// 413.
    pub fn too_large(detail: impl Display) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large", detail)
    }

    /// 415.
    pub fn unsupported_media_type(detail: impl Display) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported content type", detail)
    }

    /// 422: a new configuration is refused for these faults, a list; `key` names the setting.
    pub fn refused(key: Option<String>, faults: serde_json::Value, detail: impl Display) -> Self {
        let faults = Some(Box::new(faults));
        Self {
            key,
            faults,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "The configuration is refused", detail)
        }
    }

    /// 429.
    pub fn too_many(wait: Duration, detail: impl Display) -> Self {
        let retry_after = Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1));
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many requests", detail) }
    }

    /// 500: we failed. The error is logged here.
    pub fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Outwork failed", error)
    }

    /// 502: something we asked failed.
    pub fn upstream(detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream", "An upstream failed", detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail)
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Busy { .. } => Self::unavailable(error),
            error => Self::internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
