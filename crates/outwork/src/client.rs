//! The REST client of the commands that ask a running server.
//!
//! - `machine`: the server on this machine: where it is asked, and how it is shown who asks.

mod machine;

use std::cell::LazyCell;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use outwork_admin::LOCAL_TOKEN_FILE;
use serde_json::{Value as Json, json};
use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body, SendBody};

use self::machine::{Credential, here, is_here, local_credential};
use crate::cli::Global;
use crate::report;
use crate::settings::{self, Told};
use crate::table::printable;

/// The most that an answer may weigh, exports apart.
const ANSWER_LIMIT: u64 = 64 << 20;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a server may take to answer what it need not wait for.
const ANSWER: Duration = Duration::from_secs(60);

/// Why a server gave no answer, or refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The URL cannot be used.
    #[error("{0} is no http or https URL\n  = expected: such as http://127.0.0.1:8067")]
    Url(String),
    /// The configuration does not say where the server listens.
    #[error("admin.listen: the server chooses its port itself\n  = help: say where it is with --url")]
    NoPort,
    /// The secret of the data directory is not for this user.
    #[error(
        "cannot read {path}: {cause}\n  = help: run this as root or as the user that the server runs as, or give a token with --token or OUTWORK_TOKEN",
        path = .path.display()
    )]
    LocalToken {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file of trusted certificates cannot be used.
    #[error("cannot use the certificates in {path}: {reason}", path = .0.display(), reason = .1)]
    Ca(PathBuf, String),
    /// The server was not reached, or broke off.
    #[error(
        "cannot reach {url}: {}\n  = help: is the server running? `outwork run` starts one; --config names its configuration, --url its address", plain(.cause)
    )]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What happened.
        cause: Box<ureq::Error>,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server answered with something else than the API does.
    #[error("{0} answered with something that is not Outwork's\n  = help: check --url")]
    Foreign(String),
    /// What was sent or fetched could not be read or written here.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ClientError {
    /// Whether nobody listens there.
    pub(crate) fn is_refused(&self) -> bool {
        let Self::Unreachable { cause, .. } = self else { return false };
        matches!(&**cause, ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// What the system said, where it was the system.
fn plain(cause: &ureq::Error) -> &dyn std::fmt::Display {
    match cause {
        ureq::Error::Io(error) => error,
        other => other,
    }
}

/// What the report of a fault begins with.
const ERROR: &str = "error: ";

/// A refusal (RFC 9457).
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    status: u16,
    title: String,
    detail: String,
    key: Option<String>,
    faults: Vec<Json>,
    help: Option<String>,
}

impl Problem {
    /// Reads a problem document; an answer that is none, as of a proxy between, still says its status.
    fn read(status: u16, reason: &str, body: &[u8]) -> Self {
        let json: Json = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| json[name].as_str().map(printable);
        Self {
            status,
            title: text("title").unwrap_or_else(|| reason.to_owned()),
            detail: json["detail"].as_str().map(printable_lines).unwrap_or_default(),
            key: text("key"),
            faults: json["faults"].as_array().cloned().unwrap_or_default(),
            help: None,
        }
    }
}

impl Problem {
    /// The report of `outwork check`, where that is what the server answers with: it needs nothing before it.
    pub(crate) fn report(&self) -> Option<&str> {
        Some(self.detail.as_str()).filter(|detail| detail.starts_with(ERROR))
    }

    /// Says what to do where there is no such thing.
    pub(crate) fn where_to_look(mut self, help: &str) -> Self {
        if self.status == 404 {
            self.help = Some(help.to_owned());
        }
        self
    }

    /// The same, with why there is none in the place of what the server says of that.
    pub(crate) fn which_is_not_here(self, why: String, help: &str) -> Self {
        Self { detail: why, ..self }.where_to_look(help)
    }

    /// Whether there is no such thing.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == 404
    }

    /// Says what holds where the server refuses a configuration.
    pub(crate) fn what_holds(mut self, help: &str) -> Self {
        if self.status == 422 {
            self.help = Some(help.to_owned());
        }
        self
    }

    /// For a machine.
    pub(crate) fn to_json(&self) -> Json {
        let Self { status, title, detail, key, faults, help } = self;
        json!({
            "message": self.to_string().split("\n").next(),
            "status": status, "title": title, "detail": detail, "key": key, "faults": faults, "help": help,
        })
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.title, self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail.strip_prefix(ERROR).unwrap_or(&self.detail))?;
        }
        if let Some(key) = &self.key {
            write!(f, "\n  = key: {key}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  = help: {help}"),
            None => Ok(()),
        }
    }
}

/// A server, and who asks it.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    credential: Credential,
}

impl Client {
    /// The client that the global options describe.
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        Self::patient(global, Duration::ZERO)
    }

    /// The same, for answers that take so much longer.
    pub(crate) fn patient(global: &Global, longer: Duration) -> anyhow::Result<Self> {
        Self::of(global, longer, Told::Here)
    }

    /// The same, to have the server read its configuration: it tells of the faults.
    pub(crate) fn to_take_up(global: &Global, longer: Duration) -> anyhow::Result<Self> {
        Self::of(global, longer, Told::There)
    }

    fn of(global: &Global, longer: Duration, faults: Told) -> anyhow::Result<Self> {
        let whereabouts = LazyCell::new(|| settings::whereabouts(global, faults));
        let found = || whereabouts.as_ref().map_err(|error| anyhow!(report::text(error)));
        let base = match &global.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => here(found()?)?,
        };
        let uri: Uri = base.parse().map_err(|_| ClientError::Url(base.clone()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(ClientError::Url(base).into());
        }
        let here = is_here(&uri);
        let credential = match &global.token {
            Some(token) => Credential::Given(token.trim().to_owned()),
            None if here => local_credential(found()?.data_dir.join(LOCAL_TOKEN_FILE))?,
            None => Credential::Nobody,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        match &global.ca {
            Some(path) => tls = tls.root_certs(trusted(path)?),
            // Its certificate names the site, not the address it is asked at here; and what does not leave this machine
            // nobody can come between.
            None if here && global.url.is_none() => tls = tls.disable_verification(true),
            None => {}
        }
        let mut config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER + longer))
            .user_agent(concat!("outwork/", env!("CARGO_PKG_VERSION")));
        if here {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().into(), base, credential })
    }

    /// Asks for a JSON answer.
    pub(crate) fn get(&self, path: &str) -> Result<Json, ClientError> {
        let response = self.send(Method::GET, path, None, ())?;
        self.json(response)
    }

    /// Sends JSON, or nothing, and takes the JSON answer; `null` where there is none.
    pub(crate) fn change(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Json, ClientError> {
        let response = match body {
            Some(body) => self.send(method, path, Some("application/json"), body.to_string())?,
            None if method == Method::DELETE => self.send(method, path, None, ())?,
            None => self.send(method, path, None, "")?,
        };
        self.json(response)
    }

    /// Sends a CSV table from a reader, and takes the JSON answer.
    pub(crate) fn upload(&self, path: &str, from: &mut dyn Read) -> Result<Json, ClientError> {
        let mut from = from;
        let response = self.send(Method::POST, path, Some("text/csv"), SendBody::from_reader(&mut from))?;
        self.json(response)
    }

    /// Fetches something of this type into a writer, and gives its size in bytes.
    pub(crate) fn download(&self, path: &str, media_type: &str, to: &mut dyn Write) -> Result<u64, ClientError> {
        let response = self.send(Method::GET, path, None, ())?;
        if response.body().mime_type() != Some(media_type) {
            return Err(ClientError::Foreign(self.base.clone()));
        }
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(io::copy(&mut reader, to)?)
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, ClientError> {
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header("accept", "application/json, text/csv, application/octet-stream");
        if let Some(token) = self.credential.secret() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let unreachable = |error: ureq::Error| match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidInput => ClientError::Io(error),
            error => ClientError::Unreachable { url: self.base.clone(), cause: error.into() },
        };
        let request = request.body(body).map_err(|error| unreachable(error.into()))?;
        let mut response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.body_mut().with_config().limit(ANSWER_LIMIT).read_to_vec().map_err(unreachable)?;
        let reason = status.canonical_reason().unwrap_or("refused");
        let help = self.credential.help(status.as_u16());
        let problem = Problem { help, ..Problem::read(status.as_u16(), reason, &body) };
        Err(ClientError::Refused(problem.into()))
    }

    fn json(&self, mut response: Response<Body>) -> Result<Json, ClientError> {
        let body = response.body_mut().with_config().limit(ANSWER_LIMIT).read_to_vec();
        let body = body.map_err(|error| ClientError::Unreachable { url: self.base.clone(), cause: error.into() })?;
        if body.is_empty() {
            return Ok(Json::Null);
        }
        serde_json::from_slice(&body).map_err(|_| ClientError::Foreign(self.base.clone()))
    }
}

fn trusted(path: &Path) -> Result<RootCerts, ClientError> {
    let wrong = |reason: String| ClientError::Ca(path.to_owned(), reason);
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        match item.map_err(|error| wrong(error.to_string()))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            _ => return Err(wrong("it has something else than certificates".into())),
        }
    }
    if certificates.is_empty() { Err(wrong("there are none".into())) } else { Ok(certificates.into()) }
}

/// A text of several lines, each without what a terminal would obey.
fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// A path segment or query value with everything escaped that means something in a URL.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A query string of the values that are given.
pub(crate) fn query(values: &[(&str, Option<String>)]) -> String {
    let given = values.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_deref()?))));
    let joined = given.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_where_and_what_to_do() {
        let body =
            br#"{"title": "Cannot reload", "status": 409, "detail": "nothing was changed", "key": "dhcp.workers",
            "faults": [{"key": "dhcp.workers", "found": "cannot change while running", "help": "restart"}]}"#;
        let problem = Problem::read(409, "Conflict", body);
        assert_eq!(problem.to_string(), "Cannot reload (409): nothing was changed\n  = key: dhcp.workers");
        assert_eq!(problem.to_json()["faults"][0]["help"], "restart");
        assert_eq!(Problem::read(502, "Bad Gateway", b"<html>").to_string(), "Bad Gateway (502)");
    }

    #[test]
    fn a_query_has_what_is_given_and_escapes_it() {
        assert_eq!(query(&[("a", None)]), "");
        assert_eq!(
            query(&[("a", Some("x&y=\u{e9} /".into())), ("b", None), ("c", Some("1".into()))]),
            "?a=x%26y%3D%C3%A9%20%2F&c=1"
        );
    }
}
