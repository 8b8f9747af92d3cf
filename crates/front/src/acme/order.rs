//! One order: from a name to a certificate for it (RFC 8555 section 7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType,
    Identifier, KeyAuthorization, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::AcmeError;
use super::challenge::{Challenges, Posted};
use crate::config::AcmeChallenge;

/// How the server is asked whether it has got on: a second from one question to the next at first, two minutes in all.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(120));

/// What an order has brought.
pub(super) struct Issued {
    /// The chain, PEM.
    pub(super) chain: String,
    /// The key, PEM.
    pub(super) key: String,
}

/// Orders a certificate for a name. The challenges are tried by the first of `kinds` that the server offers.
pub(super) async fn issue(
    account: &Account,
    name: &str,
    kinds: &[AcmeChallenge],
    replaces: Option<CertificateIdentifier<'static>>,
    challenges: &Arc<Challenges>,
) -> Result<Issued, AcmeError> {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let mut new = NewOrder::new(&identifiers);
    if let Some(replaces) = replaces {
        new = new.replaces(replaces);
    }
    let mut order = account.new_order(&new).await?;
    // Answered for as long as this lives: to the end of the order.
    let mut posted = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        posted.extend(answer(authorization?, name, kinds, challenges).await?);
    }
    let ready = order.poll_ready(&POLLING).await;
    if !matches!(ready, Ok(OrderStatus::Ready)) {
        return Err(refusal(&mut order, ready.err()).await);
    }
    let key = KeyPair::generate().map_err(AcmeError::Key)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(AcmeError::Key)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(AcmeError::Key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLLING).await?;
    Ok(Issued { chain, key: key.serialize_pem() })
}

/// Answers the challenge of an authorization and says that it can be looked at; `None` where the server needs none.
async fn answer(
    mut authorization: AuthorizationHandle<'_>,
    name: &str,
    kinds: &[AcmeChallenge],
    challenges: &Arc<Challenges>,
) -> Result<Option<Posted>, AcmeError> {
    match authorization.status {
        AuthorizationStatus::Valid => return Ok(None),
        AuthorizationStatus::Pending => {}
        status => return Err(AcmeError::Authorization { name: name.to_owned(), status: format!("{status:?}") }),
    }
    let offered: Vec<_> = authorization.challenges.iter().map(|challenge| challenge.r#type.clone()).collect();
    let kind = kinds.iter().find(|kind| offered.contains(&wire(**kind)));
    let Some(kind) = kind.copied() else {
        return Err(AcmeError::NoChallenge { name: name.to_owned(), offered: format!("{offered:?}") });
    };
    let Some(mut challenge) = authorization.challenge(wire(kind)) else {
        return Err(AcmeError::NoChallenge { name: name.to_owned(), offered: format!("{offered:?}") });
    };
    let key_authorization = challenge.key_authorization();
    let posted = match kind {
        AcmeChallenge::Http01 => challenges.post_http(&challenge.token, key_authorization.as_str()),
        AcmeChallenge::TlsAlpn01 => {
            let certificate = alpn_certificate(name, &key_authorization)?;
            challenges.post_alpn(name, certificate).map_err(AcmeError::Rustls)?
        }
    };
    tracing::debug!(name, challenge = kind.word(), "a challenge can be looked at");
    challenge.set_ready().await?;
    Ok(Some(posted))
}

fn wire(kind: AcmeChallenge) -> ChallengeType {
    match kind {
        AcmeChallenge::Http01 => ChallengeType::Http01,
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// The certificate that answers a TLS-ALPN-01 challenge (RFC 8737 section 3).
fn alpn_certificate(name: &str, authorization: &KeyAuthorization) -> Result<CertifiedKey, AcmeError> {
    let key = KeyPair::generate().map_err(AcmeError::Key)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(AcmeError::Key)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(authorization.digest().as_ref())];
    let certificate = params.self_signed(&key).map_err(AcmeError::Key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::new(vec![certificate.der().clone()], any_ecdsa_type(&key).map_err(AcmeError::Rustls)?))
}

/// Why the server does not go on: what it says of a challenge says most.
async fn refusal(order: &mut Order, error: Option<instant_acme::Error>) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let failed = state.challenges.iter().find(|challenge| challenge.status == ChallengeStatus::Invalid);
        if let Some(problem) = failed.and_then(|challenge| challenge.error.clone()) {
            return AcmeError::Acme(problem.into());
        }
    }
    error.map_or(AcmeError::Refused, AcmeError::Acme)
}
