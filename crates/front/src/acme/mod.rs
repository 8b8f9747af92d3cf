//! Certificates by ACME (RFC 8555): ordered when a listener names them, renewed before they expire.
//!
//! - `challenge`: what ACME servers look for to see that a name is ours.
//! - `directory`: the connection to an ACME server.
//! - `account`: the account there.
//! - `order`: one order, from a name to a certificate.
//! - `schedule`: when the next one is due.
//! - `storage`: what is kept.
//! - `worker`: does all that.
//!
//! Deliberately absent: DNS-01, and so wildcards: nobody here can write to the DNS.

mod account;
mod challenge;
mod directory;
mod order;
mod schedule;
mod storage;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::AcmeChallenge;
use crate::tls::TlsError;

pub use challenge::Challenges;
pub(crate) use challenge::WELL_KNOWN;
pub(crate) use storage::Storage;
pub use worker::run;

/// Which server is asked, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The URL of its directory.
    pub directory: String,
    /// Who is told of trouble.
    pub email: Option<String>,
    /// The authorities that the server itself is verified by, PEM; those of the web where there is none.
    pub root: Option<PathBuf>,
    /// The challenges that are answered, the most preferred first.
    pub challenges: Vec<AcmeChallenge>,
    /// An account elsewhere that the one here is bound to (RFC 8555 section 7.3.4): its name, and its key.
    pub external_account: Option<(String, Vec<u8>)>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The server refused, or was not reached.
    #[error("{0}")]
    Acme(#[from] instant_acme::Error),
    /// The server refused without saying why.
    #[error("the server did not accept the order and does not say why")]
    Refused,
    /// An authorization cannot be used.
    #[error("{name}: the server's authorization is {status}")]
    Authorization {
        /// The name.
        name: String,
        /// Its state.
        status: String,
    },
    /// The server offers no challenge that may be used.
    #[error("{name}: the server offers none of the challenges in front.acme.challenges; it offers {offered}")]
    NoChallenge {
        /// The name.
        name: String,
        /// What it offers.
        offered: String,
    },
    /// It took too long.
    #[error("the server did not get to an end within {} s", .0.as_secs())]
    Late(Duration),
    /// The authorities that the server is verified by cannot be used.
    #[error("front.acme.root: {path}: {reason}", path = path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is kept cannot be understood.
    #[error("{path}: {source}", path = path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// No key, or no request, could be made.
    #[error("no key could be made: {0}")]
    Key(rcgen::Error),
    /// The certificate of a challenge cannot be used.
    #[error("the certificate of a challenge cannot be used: {0}")]
    Rustls(rustls::Error),
    /// The certificate cannot be used or kept.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl AcmeError {
    /// Whether the server says that it does not know the account (RFC 8555 section 6.7).
    fn is_unknown_account(&self) -> bool {
        let Self::Acme(instant_acme::Error::Api(problem)) = self else { return false };
        problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
    }
}
