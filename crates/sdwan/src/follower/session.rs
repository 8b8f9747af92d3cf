//! A connection to the controller: what it says is weighed, kept and taken up; what this site has to say is said.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outwork_front::api::Timestamp;
use rcgen::{KeyPair, PKCS_ED25519};
use tokio::io::WriteHalf;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::keep::{Identity, KeepError};
use super::{Follower, LOOK, RELEASE};
use crate::channel::frame::{self, FrameError, MOST};
use crate::channel::message::{ALIVE, FromController, FromSite, Request, SILENCE};
use crate::channel::tls;
use crate::config::network::NetworkSettings;
use crate::network::check::check;
use crate::network::delta::Held;
use crate::network::signed::{SignatureError, Signed, Verifier};

/// How long it may take to be connected.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages that wait to be looked at.
const WAITING: usize = 2;

/// Why a connection ends, or there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("it takes longer than {} s to be connected", PATIENCE.as_secs())]
    Late,
    #[error("the controller says: {0}")]
    Denied(String),
    #[error("what the controller says is not believed: {0}; was its key for signatures lost, enrol this site again")]
    Signature(#[from] SignatureError),
    #[error("the key of the controller is none: enrol this site again")]
    Verifier,
    #[error("no key can be made: {0}")]
    Key(#[from] rcgen::Error),
    #[error("the controller has closed the connection")]
    Closed,
    #[error(
        "the certificate of this site was good until {0}, and it is now {now}: where the clock is right, `outwork sdwan enrol` with a new token lets it in again",
        now = Timestamp::now()
    )]
    Over(Timestamp),
    #[error("this site was enrolled anew")]
    Anew,
}

impl SessionError {
    /// Whether it is so until somebody does something about it.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Keep(_) | Self::Verifier | Self::Over(_))
    }
}

/// What becomes of what the controller says.
#[derive(Debug, PartialEq)]
pub(super) enum Weighed {
    /// It is what the network is to be, and what that says.
    Next(Held, Box<NetworkSettings>),
    /// It leads nowhere, and why.
    Refused {
        /// The version that it leads to.
        version: u64,
        /// Why.
        why: String,
    },
}

/// Weighs what the controller says: whose word it is, whether it follows what is held, and whether it makes sense.
pub(super) fn weigh(held: &Held, verifier: &Verifier, signed: &Signed) -> Result<Weighed, SignatureError> {
    let delta = verifier.open(signed)?;
    let version = delta.to;
    let next = match held.with(delta) {
        Ok(next) => next,
        Err(refusal) => return Ok(Weighed::Refused { version, why: refusal.to_string() }),
    };
    Ok(match check(&next.documents) {
        Ok(network) => Weighed::Next(next, Box::new(network)),
        Err(faults) => {
            let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Weighed::Refused { version, why: format!("outwork {RELEASE} does not understand it: {faults}") }
        }
    })
}

/// A connection.
struct Session<'a> {
    follower: &'a Arc<Follower>,
    identity: Identity,
    verifier: Verifier,
    held: Arc<Held>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    /// The report that was sent, for as long as there is no answer.
    reported: Option<u64>,
    /// The key of the certificate that was asked for.
    renewing: Option<KeyPair>,
}

/// Connects to the controller at an address, and follows it until the connection ends.
pub(super) async fn follow(
    follower: &Arc<Follower>,
    identity: &Identity,
    address: SocketAddr,
) -> Result<(), SessionError> {
    let verifier = Verifier::parse(&identity.verifier).ok_or(SessionError::Verifier)?;
    if let Some(over) = identity.expires().filter(|expires| *expires <= SystemTime::now()) {
        return Err(SessionError::Over(over.into()));
    }
    let connector = TlsConnector::from(Arc::new(identity.client()?));
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, SessionError>(connector.connect(tls::name()?, stream).await?)
    };
    let stream = timeout(PATIENCE, connect).await.map_err(|_| SessionError::Late)??;
    let (keep, own) = (follower.said.keep().clone(), identity.clone());
    let held = Arc::new(blocking(move || keep.held(&own)).await?);
    let (reader, writer) = tokio::io::split(stream);
    let (say, heard) = mpsc::channel(WAITING);
    let reading = tokio::spawn(frame::hear(reader, MOST, SILENCE, say));
    let identity = identity.clone();
    let mut session = Session { follower, identity, verifier, held, writer, reported: None, renewing: None };
    let outcome = session.run(heard, address).await;
    reading.abort();
    outcome
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeepError> + Send + 'static,
) -> Result<T, SessionError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?;
    done.map_err(SessionError::from)
}

impl Session<'_> {
    async fn run(
        &mut self,
        mut heard: mpsc::Receiver<Result<FromController, FrameError>>,
        address: SocketAddr,
    ) -> Result<(), SessionError> {
        let follower = Arc::clone(self.follower);
        self.greet().await?;
        let (mut alive, mut look) = (tokio::time::interval(ALIVE), tokio::time::interval(LOOK));
        loop {
            tokio::select! {
                _ = look.tick() => self.is_still_who_it_is().await?,
                said = heard.recv() => match said {
                    Some(said) => self.listen(said?, address).await?,
                    None => return Err(SessionError::Closed),
                },
                () = follower.renewed.notified() => self.greet().await?,
                () = follower.reporter.wait() => self.report().await?,
                _ = alive.tick() => {
                    self.say(&FromSite::Alive {}).await?;
                    self.renew().await?;
                    // One that was not kept is said again.
                    self.report().await?;
                }
            }
        }
    }

    /// Ends the connection where the site was enrolled anew: what is heard by it counts no longer. What cannot be read now is looked at again in a moment.
    async fn is_still_who_it_is(&self) -> Result<(), SessionError> {
        let keep = self.follower.said.keep().clone();
        match blocking(move || keep.identity()).await {
            Ok(identity) if identity.as_ref() != Some(&self.identity) => Err(SessionError::Anew),
            _ => Ok(()),
        }
    }

    async fn say(&mut self, message: &FromSite) -> Result<(), SessionError> {
        frame::write(&mut self.writer, message).await.map_err(SessionError::from)
    }

    /// Says what this site holds, and which uplinks it has by now.
    async fn greet(&mut self) -> Result<(), SessionError> {
        let (version, uplinks) = (self.held.version, self.follower.uplinks.lock().clone());
        let keep = self.follower.said.keep().clone();
        let proof = blocking(move || Ok(keep.proof(version))).await?;
        self.say(&FromSite::Hello { version, uplinks, release: RELEASE.to_owned(), proof }).await
    }

    async fn listen(&mut self, said: FromController, address: SocketAddr) -> Result<(), SessionError> {
        match said {
            FromController::Welcome { report_ms } => {
                tracing::info!(%address, site = self.identity.site, "the controller is there");
                self.follower.reporter.no_more_often(Duration::from_millis(report_ms));
                let version = self.held.version;
                self.follower.tell(|told| {
                    told.connected = Some(address);
                    told.connected_since = Some(SystemTime::now());
                    told.version = version;
                    told.error = None;
                });
                self.report().await
            }
            FromController::Push { signed, proof } => self.take(signed, proof).await,
            FromController::Kept { sequence } => {
                self.follower.reporter.kept(sequence);
                self.reported = None;
                self.report().await
            }
            FromController::NotKept { .. } => {
                self.reported = None;
                Ok(())
            }
            FromController::Certificate { certificate } => self.certified(certificate).await,
            FromController::Denied { why } => Err(SessionError::Denied(why)),
            FromController::Alive {} => Ok(()),
            // Nobody has asked for that.
            FromController::Enrolled(_) => Ok(()),
        }
    }

    /// Takes up what the network is to be, or says why not. What is on disk was taken up.
    async fn take(&mut self, signed: Signed, proof: String) -> Result<(), SessionError> {
        self.is_still_who_it_is().await?;
        let (held, verifier) = (Arc::clone(&self.held), self.verifier.clone());
        // Of a large network that is work, and nobody else of this runtime is to wait for it.
        let weighed = tokio::task::spawn_blocking(move || weigh(&held, &verifier, &signed));
        let (version, why) = match weighed.await.map_err(std::io::Error::other)?? {
            Weighed::Refused { version, why } => (version, why),
            Weighed::Next(next, network) => {
                let version = next.version;
                match self.take_up(next, *network, proof).await {
                    Ok(()) => {
                        self.follower.metrics.taken_up.inc();
                        tracing::info!(version, "the network is as the controller says from now on");
                        self.follower.tell(|told| {
                            told.version = version;
                            told.since = Some(SystemTime::now());
                            told.error = None;
                        });
                        return self.say(&FromSite::Taken { version }).await;
                    }
                    Err(why) => (version, why),
                }
            }
        };
        self.follower.metrics.refused.inc();
        tracing::warn!(version, held = self.held.version, why, "what the controller says is not taken up");
        self.follower.tell(|told| told.error = Some(why.clone()));
        self.say(&FromSite::Refused { version, held: self.held.version, why }).await
    }

    /// Tries a version, and keeps it once it is in force: a crash in between has the site begin anew with the one before, and the controller says this one again.
    async fn take_up(&mut self, next: Held, network: NetworkSettings, proof: String) -> Result<(), String> {
        let next = Arc::new(next);
        let said = Arc::clone(&self.follower.said);
        let tried = said.try_out(&self.identity.site, network);
        (self.follower.take_up)().await?;
        let (keep, written) = (said.keep().clone(), Arc::clone(&next));
        let keep = move || {
            keep.keep_proof(written.version, proof)?;
            keep.keep_held(&written)
        };
        if let Err(error) = blocking(keep).await {
            // What cannot be kept does not stay in force either.
            drop(tried);
            let back = (self.follower.take_up)().await;
            return Err(back.err().map_or_else(
                || error.to_string(),
                |why| format!("{error}; and it stays in force until the next reload: {why}"),
            ));
        }
        tried.keep();
        self.held = next;
        Ok(())
    }

    /// Says the oldest report that waits, one at a time.
    async fn report(&mut self) -> Result<(), SessionError> {
        if self.reported.is_some() {
            return Ok(());
        }
        let Some(report) = self.follower.reporter.first() else { return Ok(()) };
        self.reported = Some(report.sequence);
        self.say(&FromSite::Report(Box::new(report))).await
    }

    /// Asks for another certificate, where the one that is there grows old.
    async fn renew(&mut self) -> Result<(), SessionError> {
        if self.renewing.is_some() || !self.identity.is_old(SystemTime::now()) {
            return Ok(());
        }
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let request = Request::new(&key, &self.identity.network, &self.identity.site)?;
        self.renewing = Some(key);
        self.say(&FromSite::Renew(request)).await
    }

    /// Keeps another certificate with its key, for the next connection.
    async fn certified(&mut self, certificate: String) -> Result<(), SessionError> {
        let Some(key) = self.renewing.take() else { return Ok(()) };
        let identity = Identity { certificate, key: key.serialize_pem(), ..self.identity.clone() };
        identity.client()?;
        let (keep, before, next) = (self.follower.said.keep().clone(), self.identity.clone(), identity.clone());
        if !blocking(move || keep.replace_identity(&before, &next)).await? {
            return Err(SessionError::Anew);
        }
        self.follower.tell(|told| {
            told.certificate_expires = identity.expires();
            told.certificate_late = identity.late();
        });
        self.identity = identity;
        tracing::info!("this site has a new certificate for its controller");
        Ok(())
    }
}
