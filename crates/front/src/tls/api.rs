//! What the admin API tells of certificates, under `/api/v1/front`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Certificates, Entry};
use crate::api::{Json, Problem, Timestamp, Viewer};

/// The routes over the certificates, to be nested under `/api/v1/front`.
pub fn router(certificates: Arc<Certificates>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(authority)).with_state(certificates)
}

/// A certificate in use.
#[derive(Debug, Serialize, ToSchema)]
pub struct CertificateView {
    /// Its first name.
    pub name: String,
    /// The DNS names that it is for.
    pub names: Vec<String>,
    /// The addresses that it is for.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<std::net::IpAddr>,
    /// Where it comes from: `files`, `acme` or `local`.
    pub kind: &'static str,
    /// Whose it is, as RFC 4514 writes it.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Seconds until then; below 0 once it has expired.
    pub expires_in_seconds: i64,
    /// Whether it only stands in for one that has yet to come: clients do not accept it.
    pub provisional: bool,
    /// When the next one is tried for; null for files, which are read when they change.
    pub next_renewal: Option<Timestamp>,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What someone should look at.
    pub warnings: Vec<String>,
}

impl CertificateView {
    fn new(entry: &Entry, now: SystemTime) -> Self {
        let (certificate, renewal) = (entry.certificate(), entry.renewal());
        let facts = &certificate.facts;
        let signed = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        Self {
            name: entry.name(),
            names: facts.names.clone(),
            addresses: facts.addresses.clone(),
            kind: entry.source.issuer().as_str(),
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            serial: facts.serial_hex(),
            fingerprint: facts.fingerprint_hex(),
            not_before: facts.not_before.into(),
            not_after: facts.not_after.into(),
            expires_in_seconds: match facts.not_after.duration_since(now) {
                Ok(left) => signed(left),
                Err(past) => -signed(past.duration()),
            },
            provisional: certificate.provisional,
            next_renewal: renewal.next.map(Timestamp::from),
            failures: renewal.failures,
            last_error: renewal.error,
            warnings: certificate.remarks(now).iter().map(ToString::to_string).collect(),
        }
    }
}

/// The certificates in use.
#[derive(Debug, Serialize, ToSchema)]
struct CertificateList {
    /// In the order of the listeners.
    items: Vec<CertificateView>,
}

/// The certificates in use.
#[utoipa::path(get, path = "/certificates", tag = "front",
    responses((status = 200, body = CertificateList), (status = 401, body = Problem)))]
async fn list(_: Viewer, State(certificates): State<Arc<Certificates>>) -> Json<CertificateList> {
    let now = SystemTime::now();
    let entries = certificates.entries();
    Json(CertificateList { items: entries.iter().map(|entry| CertificateView::new(entry, now)).collect() })
}

/// The root of the local authority.
#[derive(Debug, Serialize, ToSchema)]
struct AuthorityView {
    /// Its file on the server.
    path: String,
    /// The certificate, PEM.
    pem: String,
    /// Whose it is.
    subject: String,
    /// SHA-256 of it, in hexadecimal.
    fingerprint: String,
    /// Until when it is good.
    not_after: Timestamp,
}

/// The root of the local authority, for clients that are to trust it.
#[utoipa::path(get, path = "/certificates/authority", tag = "front",
    responses((status = 200, body = AuthorityView), (status = 401, body = Problem),
        (status = 404, description = "No certificate is made by it", body = Problem)))]
async fn authority(_: Viewer, State(certificates): State<Arc<Certificates>>) -> Result<Json<AuthorityView>, Problem> {
    let read = tokio::task::spawn_blocking(move || certificates.root()).await.map_err(Problem::internal)?;
    let Some((path, pem, facts)) = read.map_err(Problem::internal)? else {
        let detail = "there is no local authority; it is made when a listener first has tls = { local = [...] }";
        return Err(Problem::not_found(detail));
    };
    Ok(Json(AuthorityView {
        path: path.display().to_string(),
        pem,
        fingerprint: facts.fingerprint_hex(),
        not_after: facts.not_after.into(),
        subject: facts.subject,
    }))
}
