//! A site that has come: who it is, what it is told, what it says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outwork_front::tls::Facts;
use rusqlite::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::store::documents;
use super::store::enrolments::{self, Certified, TokenRefusal};
use super::store::{Query, health};
use super::{Controller, ControllerError, Shown, Stream};
use crate::channel::frame::{self, FrameError, MOST_OF_SITES, MOST_OF_STRANGERS};
use crate::channel::message::{ALIVE, Enrol, Enrolled, FromController, FromSite, Report, Request, SILENCE, UPLINKS};
use crate::network::check::DocumentFault;

/// How long a stranger may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages of a site that wait to be looked at.
const WAITING: usize = 2;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
    #[error("{0}")]
    Denied(String),
}

impl From<outwork_store::database::DatabaseError> for SessionError {
    fn from(error: outwork_store::database::DatabaseError) -> Self {
        SessionError::Controller(error.into())
    }
}

/// Finds out who has come, and hears it.
pub(super) async fn meet(
    controller: Arc<Controller>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    room: OwnedSemaphorePermit,
    known: Arc<Semaphore>,
) {
    // Messages are short and wait for each other: an error leaves it slower.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(mut stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else {
        controller.metrics.refused.inc();
        return;
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let facts = certificate.map(|certificate| Facts::read(certificate));
    let outcome = match facts {
        None => stranger(&controller, &mut stream).await,
        Some(facts) => match (facts.ok().and_then(named), known.try_acquire_owned()) {
            (Some((site, serial)), Ok(_seat)) => {
                drop(room);
                visit(&controller, stream, &site, &serial).await
            }
            (None, _) => Err(SessionError::Denied("the certificate names no site".to_owned())),
            (_, Err(_)) => Err(SessionError::Denied("too many sites are connected".to_owned())),
        },
    };
    if let Err(error) = outcome {
        controller.metrics.refused.inc();
        tracing::info!(%error, "a connection of a site has ended");
    }
}

fn named(facts: Facts) -> Option<(String, String)> {
    let serial = facts.serial_hex();
    Some((facts.common_name?, serial))
}

/// Hears who has no certificate: it may show a token, and nothing else.
async fn stranger(controller: &Controller, stream: &mut Stream) -> Result<(), SessionError> {
    let said =
        timeout(PATIENCE, frame::read::<FromSite>(stream, MOST_OF_STRANGERS)).await.map_err(|_| FrameError::Late)??;
    let Some(FromSite::Enrol(enrol)) = said else {
        return Err(SessionError::Denied("who has no certificate can but show a token".to_owned()));
    };
    let answer = match enrolled(controller, *enrol).await {
        Ok(enrolled) => {
            controller.metrics.enrolments.of(Shown::Enrolled).inc();
            tracing::info!(site = enrolled.site, "a site was taken in");
            FromController::Enrolled(Box::new(enrolled))
        }
        Err(SessionError::Denied(why)) => {
            controller.metrics.enrolments.of(Shown::Refused).inc();
            tracing::warn!(why, "a token for enrolment was refused");
            FromController::Denied { why }
        }
        Err(error) => return Err(error),
    };
    frame::write(stream, &answer).await?;
    Ok(())
}

/// Whoever shows no good token is not told what is wrong with it.
const NO_TOKEN: &str = "the token is not good: it was used, its time is over, or it was never made";

async fn enrolled(controller: &Controller, enrol: Enrol) -> Result<Enrolled, SessionError> {
    let denied = |why: &str| SessionError::Denied(why.to_owned());
    let Enrol { token, secret, request, subnets, uplinks } = enrol;
    if uplinks.len() > UPLINKS {
        return Err(denied("it has too many uplinks"));
    }
    let Some(key) = request.key(&controller.network, &token) else {
        return Err(denied("the request for a certificate is not signed by its key"));
    };
    let octets = |text: &str| STANDARD.decode(text).map_err(|_| denied(NO_TOKEN));
    let (token, secret) = (octets(&token)?, octets(&secret)?);
    let now = SystemTime::now();
    let shown = (token.clone(), secret.clone());
    let site = move |connection: &Connection| enrolments::site_of(connection, &shown.0, &shown.1, now);
    let site = controller.store.read(Query::Enrolment, site).await?.map_err(|_| denied(NO_TOKEN))?;
    let life = controller.settings.certificate_life;
    let issued = controller.authority.issue(&site, &key, life, now).map_err(ControllerError::from)?;
    let (serial, expires) = (issued.serial, issued.expires);
    let certified = Certified { serial, site: site.clone(), issued: now, expires, revoked: None };
    let bring = move |connection: &mut Connection| {
        let edits = enrolments::brought(connection, &certified.site, &subnets, &uplinks)?;
        enrolments::enrol(connection, (&token[..], &secret[..]), &edits, &certified, now)
    };
    controller.store.write(Query::Enrolment, bring).await?.map_err(|refusal| match refusal {
        TokenRefusal::Documents(error) => SessionError::Denied(why(&error)),
        _ => denied(NO_TOKEN),
    })?;
    controller.tell();
    Ok(Enrolled {
        site,
        network: controller.network.clone(),
        certificate: issued.pem,
        authority: controller.authority.pem().to_owned(),
        verifier: controller.signer.verifier().to_string(),
    })
}

/// What is wrong with what a site says of itself.
fn why(error: &documents::EditError) -> String {
    match error {
        documents::EditError::Invalid(faults) => {
            let told = faults.iter().map(DocumentFault::to_string).collect::<Vec<_>>();
            format!("what the site says of itself makes no sense in this network: {}", told.join("; "))
        }
        _ => "somebody else has changed the same at this moment: try again".to_owned(),
    }
}

/// A site that is connected; dropped, it is so no longer.
struct Seated<'a>(&'a Controller);

impl<'a> Seated<'a> {
    fn new(controller: &'a Controller) -> Self {
        controller.metrics.sites.inc();
        Self(controller)
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.0.metrics.sites.dec();
    }
}

/// Hears a site, and tells it what changes.
async fn visit(controller: &Controller, stream: Stream, site: &str, serial: &str) -> Result<(), SessionError> {
    let (name, number) = (site.to_owned(), serial.to_owned());
    let good = controller.store.read(Query::Enrolment, move |c| enrolments::is_good(c, &number, &name)).await?;
    let (reader, mut writer) = tokio::io::split(stream);
    if !good {
        let why = "the certificate was revoked, or the site is not of the network any more".to_owned();
        frame::write(&mut writer, &FromController::Denied { why: why.clone() }).await?;
        writer.shutdown().await.map_err(FrameError::from)?;
        // What it has said already is read: a connection that is closed over that is reset, and the site may not hear why.
        let mut rest = reader.take(MOST_OF_STRANGERS.into());
        // However that ends, nothing more is done.
        let _ = timeout(PATIENCE, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        return Err(SessionError::Denied(why));
    }
    let _seated = Seated::new(controller);
    let number = controller.sit(site);
    let (say, heard) = mpsc::channel(WAITING);
    let reading = tokio::spawn(frame::hear(reader, MOST_OF_SITES, SILENCE, say));
    tracing::info!(site, number, "a site has come");
    let mut session = Session { controller, site, writer, held: None, offered: None, refused: None };
    let outcome = session.run(heard).await;
    reading.abort();
    // Not where it has come again meanwhile.
    if controller.leave(site, number) {
        seen(controller, site, false, None).await?;
    }
    tracing::info!(site, number, "a site has gone");
    outcome
}

async fn seen(controller: &Controller, site: &str, connected: bool, version: Option<u64>) -> Result<(), SessionError> {
    let site = site.to_owned();
    let note = move |c: &mut Connection| health::seen(c, &site, connected, version, SystemTime::now());
    controller.store.write(Query::Report, note).await.map_err(SessionError::from)
}

/// A site that is connected, and what is known of it.
struct Session<'a> {
    controller: &'a Controller,
    site: &'a str,
    writer: WriteHalf<Stream>,
    /// The version that it holds, once it has said that.
    held: Option<u64>,
    /// The version that it was sent last, for as long as it has not answered.
    offered: Option<u64>,
    /// The version that it would not have though it was told everything.
    refused: Option<u64>,
}

impl Session<'_> {
    async fn run(&mut self, mut heard: mpsc::Receiver<Result<FromSite, FrameError>>) -> Result<(), SessionError> {
        let mut changed = self.controller.changed.subscribe();
        let mut cut = self.controller.cut.subscribe();
        let mut alive = tokio::time::interval(ALIVE);
        loop {
            tokio::select! {
                said = heard.recv() => match said {
                    Some(said) => self.listen(said?).await?,
                    None => return Ok(()),
                },
                change = changed.changed() => match change {
                    Ok(()) => self.push().await?,
                    Err(_) => return Ok(()),
                },
                name = cut.recv() => match name {
                    Ok(name) if name != self.site => {}
                    // What was missed may have been this one: it can come again.
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        let why = "the controller parts from this site".to_owned();
                        frame::write(&mut self.writer, &FromController::Denied { why }).await?;
                        return Ok(());
                    }
                    Err(RecvError::Closed) => return Ok(()),
                },
                _ = alive.tick() => self.say(&FromController::Alive {}).await?,
            }
        }
    }

    async fn say(&mut self, message: &FromController) -> Result<(), SessionError> {
        frame::write(&mut self.writer, message).await.map_err(SessionError::from)
    }

    async fn listen(&mut self, said: FromSite) -> Result<(), SessionError> {
        match said {
            FromSite::Hello { version, uplinks } => self.greet(version, uplinks).await,
            FromSite::Taken { version } => {
                self.held = Some(version);
                self.offered = None;
                seen(self.controller, self.site, true, Some(version)).await?;
                self.push().await
            }
            FromSite::Refused { version, held, why } => {
                self.controller.metrics.pushes_refused.inc();
                tracing::warn!(site = self.site, version, held, why, "a site does not take up what it was told");
                // It is told everything, once.
                let whole = self.held == Some(0);
                self.offered = None;
                self.refused = whole.then_some(version);
                self.held = Some(0);
                self.push().await
            }
            FromSite::Report(report) => self.keep(*report).await,
            FromSite::Renew(request) => self.renew(&request).await,
            FromSite::Alive {} => Ok(()),
            FromSite::Enrol(_) => Err(SessionError::Denied("it is enrolled already".to_owned())),
        }
    }

    async fn greet(&mut self, version: u64, uplinks: Vec<serde_json::Value>) -> Result<(), SessionError> {
        if uplinks.len() > UPLINKS {
            return Err(SessionError::Denied("it has too many uplinks".to_owned()));
        }
        let site = self.site.to_owned();
        let bring = move |connection: &mut Connection| {
            let who = format!("site {site}");
            let ahead = documents::advance(connection, version, &who, SystemTime::now())?;
            let edits = enrolments::brought(connection, &site, &[], &uplinks)?;
            match edits.is_empty() {
                true => Ok(Ok(ahead)),
                false => documents::edit(connection, &edits, &who, SystemTime::now()).map(|done| done.map(|_| true)),
            }
        };
        match self.controller.store.write(Query::Change, bring).await? {
            Ok(true) => self.controller.tell(),
            Ok(false) => {}
            Err(error) => tracing::warn!(site = self.site, why = why(&error), "its uplinks stay as they were"),
        }
        seen(self.controller, self.site, true, Some(version)).await?;
        let report_ms = self.controller.settings.size.preset().report.as_millis() as u64;
        self.say(&FromController::Welcome { report_ms }).await?;
        self.held = Some(version);
        self.push().await
    }

    /// Tells the site what is other than what it holds, unless it has yet to answer.
    async fn push(&mut self) -> Result<(), SessionError> {
        let (Some(held), None) = (self.held, self.offered) else { return Ok(()) };
        let network = self.controller.network.clone();
        let delta = move |connection: &Connection| documents::delta(connection, &network, held);
        let Some(delta) = self.controller.store.read(Query::Delta, delta).await? else { return Ok(()) };
        if self.refused.is_some_and(|refused| refused >= delta.to) {
            return Ok(());
        }
        let signed = self.controller.signer.sign(&delta).map_err(ControllerError::from)?;
        self.offered = Some(delta.to);
        self.controller.metrics.pushes.inc();
        self.say(&FromController::Push(signed)).await
    }

    async fn keep(&mut self, report: Report) -> Result<(), SessionError> {
        let sequence = report.sequence;
        if let Some(excess) = report.excess() {
            return Err(SessionError::Denied(format!("a report with {excess}")));
        }
        let kept = self.controller.store.report(self.site.to_owned(), report).await;
        if let Err(error) = &kept {
            tracing::debug!(site = self.site, sequence, %error, "a report is not kept");
        }
        self.say(&match kept {
            Ok(()) => FromController::Kept { sequence },
            Err(_) => FromController::NotKept { sequence },
        })
        .await
    }

    async fn renew(&mut self, request: &Request) -> Result<(), SessionError> {
        let Some(key) = request.key(&self.controller.network, self.site) else {
            return Err(SessionError::Denied("the request for a certificate is not signed by its key".to_owned()));
        };
        let now = SystemTime::now();
        let life = self.controller.settings.certificate_life;
        let issued = self.controller.authority.issue(self.site, &key, life, now).map_err(ControllerError::from)?;
        let (serial, site) = (issued.serial, self.site.to_owned());
        let certified = Certified { serial, site, issued: now, expires: issued.expires, revoked: None };
        let certify = move |connection: &mut Connection| enrolments::certify(connection, &certified);
        self.controller.store.write(Query::Enrolment, certify).await?;
        self.say(&FromController::Certificate { certificate: issued.pem }).await
    }
}
