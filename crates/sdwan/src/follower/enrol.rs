//! The first time: the site makes its key, shows the token, and gets a certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outwork_config::HostPort;
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::keep::{Identity, Keep, KeepError};
use crate::channel::frame::{self, FrameError, MOST_OF_STRANGERS};
use crate::channel::message::{Enrol, FromController, FromSite, Request};
use crate::channel::tls::{self, TlsError};
use crate::channel::token::Token;
use crate::config::Sdwan;
use crate::keys::Published;
use crate::network::signed::Verifier;
use crate::resolve::look_up;

/// How long each address may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a site is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The controller says no.
    #[error("the controller at {address} refuses: {why}")]
    Denied {
        /// Where it is.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// Nobody answers.
    #[error("the controller at {address} does not answer: {why}")]
    Unreached {
        /// Where it was looked for.
        address: SocketAddr,
        /// What went wrong.
        why: String,
    },
    /// Nobody knows its name.
    #[error("the controller is not found: {0}")]
    Unknown(String),
    /// There is no place to look for it.
    #[error("nothing says where the controller is: set sdwan.controller.address")]
    Nowhere,
    /// It answers what makes no sense.
    #[error("the controller at {address} answers what makes no sense")]
    Odd {
        /// Where it is.
        address: SocketAddr,
    },
    /// A key cannot be made.
    #[error("no key can be made: {0}")]
    Key(#[from] rcgen::Error),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It cannot be kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// The uplinks of a site as its controller is to know them, each with its key, and with the one that takes over from it.
pub fn uplinks(settings: &Sdwan, keys: &[Published]) -> Vec<Json> {
    let of = |Published { uplink, key, next, first }: &Published| {
        let own = settings.uplink.iter().find(|own| own.name == *uplink)?;
        let mut body = json!({ "name": uplink, "public_key": key.to_string() });
        for (field, key) in [("next_public_key", next), ("first_public_key", first)] {
            if let Some(key) = key {
                body[field] = json!(key.to_string());
            }
        }
        if let Some(endpoint) = &own.endpoint {
            body["endpoint"] = json!(endpoint.to_string());
        }
        for (field, value, usual) in [
            ("cost", json!(own.cost), json!(0)),
            ("bandwidth", json!(own.bandwidth), json!(0)),
            ("metered", json!(own.metered), json!(false)),
            ("backup", json!(own.backup), json!(false)),
        ] {
            if value != usual {
                body[field] = value;
            }
        }
        Some(body)
    };
    keys.iter().filter_map(of).collect()
}

/// Shows a token to the controller at the first place that answers, and keeps what it gives. What this site was told before stays in force where it is of the same network.
///
/// # Errors
/// When no controller answers that the token was made by, it refuses, or what it gives cannot be kept.
pub async fn enrol(
    places: &[HostPort],
    token: &Token,
    settings: &Sdwan,
    uplinks: Vec<Json>,
    keep: &Keep,
) -> Result<Identity, EnrolError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let network: String = token.authority.iter().map(|octet| format!("{octet:02x}")).collect();
    let shown = STANDARD.encode(token.key);
    let enrol = Enrol {
        request: Request::new(&key, &network, &shown)?,
        token: shown,
        secret: STANDARD.encode(token.secret),
        subnets: settings.subnets.iter().map(ToString::to_string).collect(),
        uplinks,
    };
    let said = FromSite::Enrol(Box::new(enrol));
    let mut last = EnrolError::Nowhere;
    let mut addresses = vec![];
    for place in places {
        match look_up(place).await {
            Ok(found) => addresses.extend(found),
            Err(why) => last = EnrolError::Unknown(why),
        }
    }
    for address in addresses {
        let unreached = |why: String| EnrolError::Unreached { address, why };
        let answer = match timeout(PATIENCE, ask(address, token, &said)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                last = unreached(why);
                continue;
            }
            Err(_) => {
                last = unreached(format!("it takes longer than {} s", PATIENCE.as_secs()));
                continue;
            }
        };
        let enrolled = match answer {
            Some(FromController::Enrolled(enrolled)) => *enrolled,
            Some(FromController::Denied { why }) => return Err(EnrolError::Denied { address, why }),
            _ => return Err(EnrolError::Odd { address }),
        };
        if enrolled.network != network || Verifier::parse(&enrolled.verifier).is_none() {
            return Err(EnrolError::Odd { address });
        }
        let identity = Identity {
            site: enrolled.site,
            network: enrolled.network,
            verifier: enrolled.verifier,
            authority: enrolled.authority,
            certificate: enrolled.certificate,
            key: key.serialize_pem(),
        };
        // Whether it can be used is found out now, and not by a server that comes up.
        identity.client()?;
        keep.keep_identity(&identity)?;
        return Ok(identity);
    }
    Err(last)
}

async fn ask(address: SocketAddr, token: &Token, said: &FromSite) -> Result<Option<FromController>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let config = tls::stranger(token.authority).map_err(|error| text(&error))?;
    let name = tls::name().map_err(|error| text(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| text(&error))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = stream.map_err(|error| text(&error))?;
    let answer: Result<_, FrameError> = async {
        frame::write(&mut stream, said).await?;
        frame::read(&mut stream, MOST_OF_STRANGERS).await
    }
    .await;
    answer.map_err(|error| text(&error))
}
