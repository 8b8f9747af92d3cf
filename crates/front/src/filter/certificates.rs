//! Who may come, by the certificate of the connection.

use http::StatusCode;

use super::config::Certified;
use crate::message::Origin;
use crate::problem::Problem;

/// The answer to whoever has shown none of these certificates; `None` for who has.
pub(crate) fn refusal(settings: &Certified, origin: &Origin) -> Option<Problem> {
    let refused = |why| Some(Problem::new(StatusCode::FORBIDDEN, why));
    let Some(shown) = origin.session.as_ref().and_then(|session| session.client.as_ref()) else {
        return refused("a certificate of the client is needed for this");
    };
    let by_subject = settings.subjects.iter().any(|subject| subject.is(&shown.subject));
    let by_fingerprint = settings.fingerprints.iter().any(|print| print.as_str() == shown.fingerprint);
    let any = settings.subjects.is_empty() && settings.fingerprints.is_empty();
    match any || by_subject || by_fingerprint {
        true => None,
        false => refused("the certificate of the client is not good for this"),
    }
}
