//! Error answers of the front door, in one shape: whose fault it is, what is wrong, and the request's id to ask about.
//! As RFC 9457 problem details, a page or plain text, whichever the client likes best.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use crate::api::Fault;
use crate::message::{Body, Response, Subject};

/// What is wrong with a request, or with us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    fault: Fault,
    media: Media,
    /// What kind of problem it is, where there is a name for it.
    kind: Option<&'static str>,
    /// What else is known of it.
    members: Vec<(&'static str, serde_json::Value)>,
    /// Whether something else is sent in the place of its content.
    behind_page: bool,
}

/// What an error answer is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Html,
    #[default]
    Text,
}

impl Problem {
    /// A problem with this status; `detail` says what is wrong, and what to do about it where that is known. It is shown to the client.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let (detail, fault) = (detail.into(), Fault::of(status));
        Self { status, detail, fault, media: Media::Text, kind: None, members: Vec::new(), behind_page: false }
    }

    /// The body of a request has more bytes than it may.
    pub(crate) fn too_large(limit: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the request's body is larger than {limit} bytes"))
    }

    /// The handler takes longer than it may.
    pub(crate) fn late() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "the answer takes longer than it may").fault(Fault::Us)
    }

    /// Blames somebody else than the status does.
    #[must_use]
    pub fn fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    /// As problem details whatever the client likes, of this kind: for programs that ask.
    #[must_use]
    pub fn details(self, kind: &'static str) -> Self {
        Self { media: Media::Json, kind: Some(kind), ..self }
    }

    /// Says something more in the problem details.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// The answer to a request with this head.
    pub fn answer(self, head: &Parts) -> Response {
        let mut response = self.answer_to(&head.headers);
        response.note_mut().about = Some(Box::new(Subject::of(head)));
        response
    }

    /// The answer to a request with these fields, as its client likes it best. Another client may get it otherwise.
    pub(crate) fn answer_to(self, fields: &HeaderMap) -> Response {
        let mut response = self.written_for(fields).into_response();
        response.headers.insert(VARY, HeaderValue::from_static("accept"));
        response
    }

    /// To be written as whoever sent a request with these fields likes best.
    pub(crate) fn written_for(self, fields: &HeaderMap) -> Self {
        Self { media: Media::preferred(fields), ..self }
    }

    /// Something else is sent in the place of its content, such as a page of the site's own. The answer has the request's id all the same.
    pub fn hide(&mut self) {
        self.behind_page = true;
    }

    /// Whether a page may take the place of its content for a client that likes this best: programs get what they ask for, and problem
    /// details that are for programs go to whoever asks for no page.
    pub(crate) fn gives_way(&self, likes: Media) -> bool {
        match likes {
            Media::Html => true,
            Media::Text => self.media != Media::Json,
            Media::Json => false,
        }
    }

    /// Whether its content is what is sent.
    pub(crate) fn is_shown(&self) -> bool {
        !self.behind_page
    }

    /// The answer; where nothing is known of what the client likes, plain text.
    pub fn into_response(self) -> Response {
        let mut response = Response::new(self.status);
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media.name()));
        response.body = Body::Full(self.content(None));
        let note = response.note_mut();
        note.why = Some(self.detail.clone());
        note.problem = Some(self);
        response
    }

    /// The content, with the request's id where it is known.
    pub(crate) fn content(&self, id: Option<&str>) -> Bytes {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let (status, detail) = (self.status.as_u16(), &*self.detail);
        match self.media {
            Media::Json => {
                let kind = self.kind.map_or("about:blank".to_owned(), |kind| format!("urn:outwork:problem:{kind}"));
                let mut problem =
                    json!({ "type": kind, "title": title, "status": status, "detail": detail, "fault": self.fault });
                if let Some(fields) = problem.as_object_mut() {
                    fields.extend(self.members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
                    fields.extend(id.map(|id| ("request_id".to_owned(), id.into())));
                }
                format!("{problem}\n").into()
            }
            Media::Html => {
                let id = id.map(|id| format!("<p>Request <code>{}</code></p>\n", escaped(id))).unwrap_or_default();
                format!(
                    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
                     <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status} {title}</title>\n\
                     <h1>{status} {title}</h1>\n<p>{}</p>\n<p>{}</p>\n{id}",
                    escaped(detail),
                    self.blame(),
                )
                .into()
            }
            Media::Text => {
                let id = id.map(|id| format!("Request {id}\n")).unwrap_or_default();
                format!("{status} {title}\n{detail}\n{}\n{id}", self.blame()).into()
            }
        }
    }

    fn blame(&self) -> &'static str {
        match self.fault {
            Fault::Client => "The request is at fault.",
            Fault::Upstream => "A server behind this one is at fault.",
            Fault::Us => "This server is at fault.",
        }
    }
}

impl Media {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/problem+json",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// What a client likes best (RFC 9110 section 12.5.1); of several that it likes as well, the one that it names first.
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let ranges =
            headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let mut best = (Self::Text, 0.0);
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let quality = quality.map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0));
            let media = match &*name {
                "application/json" | "application/problem+json" | "application/*" => Self::Json,
                "text/html" | "application/xhtml+xml" => Self::Html,
                "text/plain" | "text/*" | "*/*" => Self::Text,
                name if name.ends_with("+json") => Self::Json,
                _ => continue,
            };
            if quality > best.1 {
                best = (media, quality);
            }
        }
        best.0
    }
}

/// Text that HTML shows as it is.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(accept: &str) -> (String, String) {
        let (head, ()) = http::Request::builder().header(ACCEPT, accept).body(()).unwrap().into_parts();
        let problem = Problem::new(StatusCode::NOT_FOUND, "nothing is at <here>");
        let response = problem.answer(&head);
        let kind = response.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
        let problem = response.note.unwrap().problem.unwrap();
        (kind, String::from_utf8(problem.content(Some("7")).to_vec()).unwrap())
    }

    #[test]
    fn an_error_is_written_as_the_client_likes_it_and_names_who_is_at_fault_and_the_request() {
        let (kind, text) = answered("application/json, text/html;q=0.9");
        assert_eq!(kind, "application/problem+json");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&json["status"], &json["fault"], &json["request_id"]),
            (&json!(404), &json!("client"), &json!("7"))
        );
        let (kind, page) = answered("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        assert!(
            kind.starts_with("text/html") && page.contains("&lt;here&gt;") && page.contains("<code>7</code>"),
            "{page}"
        );
        let (kind, text) = answered("*/*");
        assert!(kind.starts_with("text/plain"), "{kind}");
        assert_eq!(text, "404 Not Found\nnothing is at <here>\nThe request is at fault.\nRequest 7\n");
        assert!(answered("text/html;q=0.1, application/json;q=0.5").0.ends_with("json"));
        assert!(answered("image/png").0.starts_with("text/plain"));
    }
}
