//! Every metric of certificates, declared once.

use outwork_telemetry::{labels, metrics};

labels! {
    /// Where a certificate comes from.
    pub enum Issuer as "issuer" { Files = "files", Acme = "acme", Local = "local" }
}

labels! {
    /// What became of a certificate that was to take the place of another.
    pub enum Replacement as "outcome" { Replaced = "replaced", Failed = "failed" }
}

metrics! {
    /// Metrics of certificates.
    pub struct TlsMetrics, prefix "outwork_front" {
        /// Time until the certificate expires; below 0 when it has.
        certificate_expiry: Gauge in seconds by ["certificate", "issuer"] max 256,
        /// Certificates renewed or read again, and failures to.
        certificates_replaced: Counter by (Issuer, Replacement),
    }
}
