//! What the configuration says of the access log.

use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{ByteSize, choice, millis, mins, secs, section};

use crate::filter::log::LogField;

/// Keys of queries whose values are nobody's business.
const MASKED: [&str; 12] = [
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "code",
    "id_token",
    "key",
    "password",
    "secret",
    "sig",
    "signature",
    "token",
];

section! {
    /// The access log: a line for each request, written after its answer has been sent. Credentials are never in it. Every thread writes its lines
    /// by itself, so that lines of different threads may be out of order by as much as `flush`.
    pub struct AccessLogSettings {
        /// What lines look like.
        pub format: LogFormat = LogFormat::Json,
        /// The file. It is opened again by a reload, and when it was moved away. Unset, lines go to standard output.
        pub file: Option<PathBuf>,
        /// What a line of JSON has, in this order; none stands for the usual. A combined line has these after its own. `client_subject`,
        /// `client_issuer`, `client_serial` and `client_fingerprint` are those of the certificate that the client has shown; `pool`, `backend`, `attempts` and
        /// `backend_time` tell of a request that was passed on.
        pub fields: Vec<LogField>,
        /// What becomes of queries.
        pub query: QueryPolicy = QueryPolicy::Keep,
        /// Keys of queries, of targets and of `Referer`, whose values are masked.
        pub mask: Vec<String> = MASKED.map(str::to_owned).to_vec(),
        /// The least status that has a line; 499 stands for a client that did not wait for an answer. What was cut off has one in any case.
        pub min_status: u16 [range 0..=599] = 0,
        /// The share of answers below 400 that have a line. Errors, and what was cut off, always have one.
        pub sample: f64 [range 0.0..=1.0] = 1.0,
        /// Bytes that a thread's lines may take until they are written. Lines beyond that are dropped, and counted.
        pub buffer: ByteSize [range ByteSize::kib(16)..=ByteSize::mib(64)] = ByteSize::mib(1),
        /// How long lines may wait to be written. By so much may lines of different threads be out of order.
        pub flush: Duration [range millis(10)..=mins(1)] = secs(1),
    }
}

choice! {
    /// What lines of the access log look like.
    pub enum LogFormat {
        /// An object a line.
        Json = "json",
        /// The combined format of Apache and nginx.
        Combined = "combined",
        /// The same with the host before it, as the client has named it, its port too: `-` where it has named none.
        VhostCombined = "vhost_combined",
    }
}

choice! {
    /// What becomes of queries in the access log.
    pub enum QueryPolicy {
        /// They are kept; secrets in them are masked.
        Keep = "keep",
        /// They are left out.
        Drop = "drop",
    }
}

impl AccessLogSettings {
    /// The parts of a line that were chosen, or the usual ones.
    pub(in crate::filter) fn chosen(&self) -> Vec<LogField> {
        match self.fields.is_empty() && self.format == LogFormat::Json {
            true => LogField::usual(),
            false => self.fields.clone(),
        }
    }

    /// Whether a line never has the value of a parameter of this name.
    pub fn leaves_out(&self, parameter: &str) -> bool {
        self.query == QueryPolicy::Drop || self.mask.iter().any(|masked| masked.eq_ignore_ascii_case(parameter))
    }

    /// Whether the value of a key of a query, as it stands there, is masked.
    pub(in crate::filter) fn is_masked(&self, key: &[u8]) -> bool {
        let name = form_urlencoded::parse(key).next();
        name.is_some_and(|(name, _)| self.mask.iter().any(|masked| masked.eq_ignore_ascii_case(&name)))
    }
}
