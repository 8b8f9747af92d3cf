//! What the configuration says of who is asked about requests.

use std::time::Duration;

use http::Uri;
use outwork_config::{At, ByteSize, Fault, millis, mins, secs, section};

use super::FieldName;

section! {
    /// Somebody who is asked about each request before it is answered, as nginx does with `auth_request`. The question is a GET with the fields of the request, and
    /// with `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`. A status of 2xx lets it through; 401, 403 and redirects, as to a page for signing
    /// in, are what the client gets. With anything else, or nothing, the request is answered 502, 503 or 504.
    pub struct ForwardAuth {
        /// False in a route that everybody may ask, though `[front]` says otherwise.
        pub enabled: bool = true,
        /// Whom to ask: `http://127.0.0.1:4180/verify`.
        pub url: String = "",
        /// How long that may take.
        pub timeout: Duration [range millis(10)..=mins(1)] = secs(5),
        /// Fields of the request that go along. None stands for all but those about content, ranges and conditions.
        pub request_fields: Vec<FieldName>,
        /// Fields of the answer that whoever answers the request gets. Clients cannot send them.
        pub answer_fields: Vec<FieldName>,
        /// Fields of the answer that the client gets with what answers the request: `set-cookie`, say.
        pub client_fields: Vec<FieldName>,
        /// The field of the answer that names who asks, for the access log.
        pub user: Option<FieldName>,
        /// The most bytes of content that an answer may have.
        pub max_answer: ByteSize [range ByteSize::bytes(0)..=ByteSize::mib(16)] = ByteSize::kib(64),
    }
    check can_be_asked;
}

impl ForwardAuth {
    /// Whom to ask, where that is a URL of HTTP.
    pub fn target(&self) -> Option<Uri> {
        let url: Uri = self.url.parse().ok()?;
        let is_http =
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty());
        is_http.then_some(url)
    }
}

fn can_be_asked(forward: &ForwardAuth, at: &mut At<'_>) {
    if forward.enabled && forward.target().is_none() {
        let found = if forward.url.is_empty() {
            "nobody is asked".to_owned()
        } else {
            format!("{:?} is no URL of HTTP", forward.url)
        };
        at.fault("url", Fault::new(found).expected("a URL such as \"http://127.0.0.1:4180/verify\""));
    }
}
