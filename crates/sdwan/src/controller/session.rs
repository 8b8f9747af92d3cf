//! A site that has come: who it is, what it is told, what it says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outwork_front::api::Timestamp;
use outwork_front::tls::Facts;
use rusqlite::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::allowance::{Allowance, Spent};
use super::rooms::Room;
use super::seats::{Of, ended};
use super::store::enrolments::{self, Certified, Standing, TokenRefusal};
use super::store::health::{Note, presence};
use super::store::{Query, documents};
use super::{Controller, ControllerError, Excess, Shown, Stream, Turned};
use crate::channel::frame::{self, FrameError, MOST_OF_SITES, MOST_OF_STRANGERS};
use crate::channel::message::{
    ALIVE, Enrol, Enrolled, FromController, FromSite, PARTS, Report, Request, SILENCE, UPLINKS,
};
use crate::network::Kind;
use crate::network::check::DocumentFault;

/// How long it may take until somebody has said who it is, and for each answer to who is to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to tell a site what it would not have.
const AGAIN: Duration = Duration::from_secs(300);
/// Messages of a site that wait to be looked at.
const WAITING: usize = 2;
/// Messages of a site: so often, and after a rest so many at once. What comes faster waits in the connection.
const MESSAGES: (Duration, u32) = (Duration::from_millis(20), 512);

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
    #[error("no handshake: {0}")]
    Handshake(std::io::Error),
    #[error("it has not said for too long who it is, and others want in")]
    Full,
    #[error("{1}")]
    Denied(Turned, String),
}

impl From<outwork_store::database::DatabaseError> for SessionError {
    fn from(error: outwork_store::database::DatabaseError) -> Self {
        SessionError::Controller(error.into())
    }
}

impl SessionError {
    /// As what it counts; none where a connection was lost.
    fn turned(&self) -> Option<Turned> {
        match self {
            SessionError::Frame(FrameError::Io(_)) => None,
            SessionError::Frame(FrameError::Late) => Some(Turned::Late),
            SessionError::Frame(FrameError::TooLong { .. } | FrameError::Unreadable(_)) => Some(Turned::Words),
            SessionError::Controller(_) => Some(Turned::Database),
            SessionError::Handshake(_) => Some(Turned::Handshake),
            SessionError::Full => Some(Turned::Full),
            SessionError::Denied(turned, _) => Some(*turned),
        }
    }
}

fn denied(turned: Turned, why: &str) -> SessionError {
    SessionError::Denied(turned, why.to_owned())
}

/// Who has come.
enum Known {
    /// Nobody knows it: what it has said first.
    Stranger(Option<FromSite>),
    /// A site, by the serial number of its certificate.
    Site(String, String),
}

/// Finds out who has come, and hears it.
pub(super) async fn meet(
    controller: Arc<Controller>,
    (stream, from): (TcpStream, SocketAddr),
    acceptor: TlsAcceptor,
    room: Room,
) {
    // Messages are short and wait for each other: an error leaves it slower.
    let _ = stream.set_nodelay(true);
    let outcome = tokio::select! {
        () = room.wanted() => Err(SessionError::Full),
        known = timeout(PATIENCE, recognise(stream, acceptor)) => match known {
            Err(_) => Err(FrameError::Late.into()),
            Ok(Err(error)) => Err(error),
            Ok(Ok((mut stream, Known::Stranger(said)))) => stranger(&controller, &mut stream, said).await,
            Ok(Ok((stream, Known::Site(site, serial)))) => {
                visit(&controller, (stream, from), room, &site, &serial).await
            }
        },
    };
    if let Err(error) = outcome {
        if let Some(turned) = error.turned() {
            controller.metrics.refused.of(turned).inc();
        }
        tracing::info!(%from, %error, "a connection of a site has ended");
    }
}

async fn recognise(stream: TcpStream, acceptor: TlsAcceptor) -> Result<(Stream, Known), SessionError> {
    let mut stream = acceptor.accept(stream).await.map_err(SessionError::Handshake)?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let known = match certificate.map(|certificate| Facts::read(certificate).ok().and_then(named)) {
        Some(Some((site, serial))) => Known::Site(site, serial),
        Some(None) => return Err(denied(Turned::Certificate, "the certificate names no site")),
        None => Known::Stranger(frame::read(&mut stream, MOST_OF_STRANGERS).await?),
    };
    Ok((stream, known))
}

fn named(facts: Facts) -> Option<(String, String)> {
    let serial = facts.serial_hex();
    Some((facts.common_name?, serial))
}

/// Hears who has no certificate: it may show a token, and nothing else.
async fn stranger(controller: &Controller, stream: &mut Stream, said: Option<FromSite>) -> Result<(), SessionError> {
    let Some(FromSite::Enrol(enrol)) = said else {
        return Err(denied(Turned::Words, "who has no certificate can but show a token"));
    };
    let answer = match enrolled(controller, *enrol).await {
        Ok(enrolled) => {
            controller.metrics.enrolments.of(Shown::Enrolled).inc();
            tracing::info!(site = enrolled.site, "a site was taken in");
            FromController::Enrolled(Box::new(enrolled))
        }
        Err(SessionError::Denied(_, why)) => {
            controller.metrics.enrolments.of(Shown::Refused).inc();
            tracing::warn!(why, "a token for enrolment was refused");
            FromController::Denied { why }
        }
        Err(error) => return Err(error),
    };
    timeout(PATIENCE, frame::write(stream, &answer)).await.map_err(|_| FrameError::Late)??;
    Ok(())
}

/// Whoever shows no good token is not told what is wrong with it.
const NO_TOKEN: &str = "the token is not good: it was used or withdrawn, its time is over, or it was never made";

async fn enrolled(controller: &Controller, enrol: Enrol) -> Result<Enrolled, SessionError> {
    let denied = |why: &str| denied(Turned::Words, why);
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
        let edits = enrolments::brought_by(connection, &token, &certified.site, &subnets, &uplinks)?;
        let edits = match edits {
            Ok(edits) => edits,
            Err(refusal) => return Ok(Err(refusal)),
        };
        enrolments::enrol(connection, (&token[..], &secret[..]), &edits, &certified, now)
    };
    controller.store.write(Query::Enrolment, bring).await?.map_err(|refusal| match refusal {
        TokenRefusal::Documents(error) => denied(&why(&error)),
        TokenRefusal::Networks(why) => denied(&why),
        _ => denied(NO_TOKEN),
    })?;
    controller.tell();
    controller.seats.end(&site, "this site was enrolled anew: its certificate of before is good no longer");
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

/// What is wrong with a certificate, for who has it.
async fn standing(controller: &Controller, site: &str, serial: &str) -> Result<Result<(), String>, SessionError> {
    let (name, number) = (site.to_owned(), serial.to_owned());
    let standing = controller.store.read(Query::Enrolment, move |c| enrolments::standing(c, &number, &name)).await?;
    Ok(match standing {
        Standing::Good(..) => Ok(()),
        Standing::Revoked(at, by) => Err(format!(
            "the certificate of {site} was revoked at {} by {by}: `outwork sdwan enrol` with a new token lets it in again",
            Timestamp::from(at)
        )),
        Standing::Removed => {
            Err(format!("{site} was removed from the network: `outwork sdwan enrol` with a new token lets it in again"))
        }
        Standing::Unknown => Err(format!("this controller knows of no such certificate of {site}")),
    })
}

/// Hears a site, and tells it what changes.
async fn visit(
    controller: &Controller,
    (stream, from): (Stream, SocketAddr),
    room: Room,
    site: &str,
    serial: &str,
) -> Result<(), SessionError> {
    let (reader, mut writer) = tokio::io::split(stream);
    // Who is believed no longer takes nobody's seat.
    if let Err(why) = standing(controller, site, serial).await? {
        return refuse(reader, writer, Turned::Certificate, why).await;
    }
    let seated = controller.seats.sit(site, &from.to_string());
    let Some(seat) = seated else {
        return refuse(reader, writer, Turned::Sites, "too many sites are connected".to_owned()).await;
    };
    // What has changed since it was looked at has ended nobody yet that sits here.
    if let Err(why) = standing(controller, site, serial).await? {
        return refuse(reader, writer, Turned::Certificate, why).await;
    }
    drop(room);
    let (say, heard) = mpsc::channel(WAITING);
    let reading = tokio::spawn(frame::hear(reader, MOST_OF_SITES, SILENCE, say));
    let (number, mut watched) = (seat.number, seat.watched());
    tracing::info!(site, number, %from, "a site has come");
    let mut session = Session {
        controller,
        site,
        serial,
        writer: &mut writer,
        held: None,
        offered: None,
        refused: None,
        parts: None,
    };
    let outcome = tokio::select! {
        outcome = session.run(heard, seat.watched()) => outcome,
        // What is being said to who does not listen is waited for no longer.
        why = late(&mut watched) => Err(SessionError::Denied(Turned::Parted, why.to_string())),
    };
    reading.abort();
    let counts = controller.seats.counts(&seat);
    drop(seat);
    // Not where it has come again meanwhile.
    if counts {
        note(controller, site, Note::Seen { connected: false, version: None }).await;
    }
    tracing::info!(site, number, "a site has gone");
    outcome
}

/// Why a site is to go, some time after it has heard of that.
async fn late(watched: &mut watch::Receiver<Option<Arc<str>>>) -> Arc<str> {
    let why = ended(watched).await;
    tokio::time::sleep(PATIENCE).await;
    why
}

/// Says why somebody is not heard.
async fn refuse(
    reader: ReadHalf<Stream>,
    mut writer: WriteHalf<Stream>,
    turned: Turned,
    why: String,
) -> Result<(), SessionError> {
    let told = async {
        frame::write(&mut writer, &FromController::Denied { why: why.clone() }).await?;
        writer.shutdown().await?;
        // What it has said already is read: a connection that is closed over that is reset, and the site may not hear why.
        let mut rest = reader.take(MOST_OF_STRANGERS.into());
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        Ok::<_, FrameError>(())
    };
    // However that ends, nothing more is done.
    let _ = timeout(PATIENCE, told).await;
    Err(SessionError::Denied(turned, why))
}

/// Keeps that a site has come or gone, or what it would not have. Where that cannot be kept, it is said the next time that it is heard of.
async fn note(controller: &Controller, site: &str, note: Note) {
    if let Err(error) = controller.store.keep(site, note).await {
        tracing::debug!(site, %error, "that a site was seen is not kept");
    }
}

/// A site that is connected, and what is known of it.
struct Session<'a> {
    controller: &'a Controller,
    site: &'a str,
    serial: &'a str,
    writer: &'a mut WriteHalf<Stream>,
    /// The version that it holds, once it has said that.
    held: Option<u64>,
    /// The version that it was sent last, for as long as it has not answered.
    offered: Option<u64>,
    /// The version that it would not have though it was told everything.
    refused: Option<u64>,
    /// The moment that its last report was of, and how many there were of that, where more are to come.
    parts: Option<(u64, usize)>,
}

impl Session<'_> {
    async fn run(
        &mut self,
        mut heard: mpsc::Receiver<Result<FromSite, FrameError>>,
        mut watched: watch::Receiver<Option<Arc<str>>>,
    ) -> Result<(), SessionError> {
        let mut changed = self.controller.changed.subscribe();
        let (mut alive, mut again) = (tokio::time::interval(ALIVE), tokio::time::interval(AGAIN));
        let (allowance, mut spent) = (Allowance::new(MESSAGES.0, MESSAGES.1), Spent::default());
        loop {
            let wait = allowance.wait(&spent, Instant::now());
            tokio::select! {
                why = ended(&mut watched) => {
                    let why = why.to_string();
                    frame::write(self.writer, &FromController::Denied { why: why.clone() }).await?;
                    return Err(SessionError::Denied(Turned::Parted, why));
                }
                said = heard.recv(), if wait.is_zero() => match said {
                    Some(said) => {
                        allowance.take_some(&mut spent, 1, Instant::now());
                        self.listen(said?).await?;
                    }
                    None => return Ok(()),
                },
                () = tokio::time::sleep(wait), if !wait.is_zero() => {}
                change = changed.changed() => match change {
                    Ok(()) => self.push().await?,
                    Err(_) => return Ok(()),
                },
                _ = alive.tick() => self.say(&FromController::Alive {}).await?,
                // What stood in the way may be gone.
                _ = again.tick() => if self.refused.take().is_some() {
                    self.push().await?;
                },
            }
        }
    }

    async fn note(&self, what: Note) {
        note(self.controller, self.site, what).await;
    }

    async fn say(&mut self, message: &FromController) -> Result<(), SessionError> {
        frame::write(self.writer, message).await.map_err(SessionError::from)
    }

    async fn listen(&mut self, said: FromSite) -> Result<(), SessionError> {
        let words = |why: &str| Err(denied(Turned::Words, why));
        match (said, self.held) {
            (FromSite::Alive {}, _) => Ok(()),
            (FromSite::Hello { version, uplinks, release, proof }, None) => {
                self.runs(frame::brief(&release)).await?;
                self.greet(version, &proof, uplinks).await
            }
            (FromSite::Hello { .. }, Some(_)) => words("it has said hello already"),
            (_, None) => words("it has not said hello yet"),
            (FromSite::Taken { version }, Some(_)) if self.offered == Some(version) => {
                self.held = Some(version);
                self.offered = None;
                self.note(Note::Seen { connected: true, version: Some(version) }).await;
                self.push().await
            }
            (FromSite::Refused { version, held, why }, Some(_)) if self.offered == Some(version) => {
                self.controller.metrics.pushes_refused.inc();
                let why = frame::brief(&why);
                tracing::warn!(site = self.site, version, held, why, "a site does not take up what it was told");
                self.note(Note::Refused(why)).await;
                // It is told everything, once.
                let whole = self.held == Some(0);
                self.offered = None;
                self.refused = whole.then_some(version);
                self.held = Some(0);
                self.push().await
            }
            (FromSite::Taken { .. } | FromSite::Refused { .. }, _) => words("it answers what it was not told"),
            (FromSite::Report(report), _) => self.keep(*report).await,
            (FromSite::Renew(request), _) => self.renew(&request).await,
            (FromSite::Enrol(_), _) => words("it is enrolled already"),
        }
    }

    async fn greet(&mut self, version: u64, proof: &str, uplinks: Vec<serde_json::Value>) -> Result<(), SessionError> {
        if uplinks.len() > UPLINKS {
            return Err(denied(Turned::Words, "it has too many uplinks"));
        }
        let odd = self.is_ahead(version, proof).await?;
        if self.brings(&uplinks).await? {
            let one = self.controller.seats.take(self.site, Of::Changes, 1, Instant::now());
            match one {
                0 => {
                    self.controller.metrics.excess.of(Excess::Changes).inc();
                    tracing::warn!(site = self.site, "its uplinks stay as they were: they change too often");
                }
                _ => self.bring(uplinks).await?,
            }
        }
        self.note(Note::Seen { connected: true, version: Some(version) }).await;
        if let Some(why) = odd {
            tracing::warn!(site = self.site, why, "a site is told nothing");
            self.note(Note::Refused(why)).await;
        }
        let report_ms = self.controller.settings.size.preset().report.as_millis() as u64;
        self.say(&FromController::Welcome { report_ms }).await?;
        self.held = Some(version);
        self.push().await
    }

    /// Keeps which release it runs, where that is another than before: mostly it is not, and then nobody waits for the writer.
    async fn runs(&self, release: String) -> Result<(), SessionError> {
        let site = self.site.to_owned();
        let known = self.controller.store.read(Query::Documents, move |c| presence(c, &site)).await?;
        if known.release != release {
            self.note(Note::Runs(release)).await;
        }
        Ok(())
    }

    /// Whether anything changes with what a site says of itself: mostly nothing does, and then nobody waits for the writer.
    async fn brings(&self, uplinks: &[serde_json::Value]) -> Result<bool, SessionError> {
        let (site, uplinks) = (self.site.to_owned(), uplinks.to_vec());
        let look =
            move |connection: &Connection| Ok(!enrolments::brought(connection, &site, &[], &uplinks)?.is_empty());
        Ok(self.controller.store.read(Query::Documents, look).await?)
    }

    /// Looks whether a site holds a version that is not known here, later than there is or another one of the same number. Where it can show that it was told that, this controller
    /// came out of a backup; where it cannot, nobody else hears of it, and what it is to hear itself is what this gives.
    async fn is_ahead(&self, version: u64, proof: &str) -> Result<Option<String>, SessionError> {
        let told = self.controller.signer.verifier().has_told(&self.controller.network, version, proof);
        let look = move |connection: &Connection| {
            let is_unknown = documents::is_unknown(connection, version, told.unwrap_or(0))?;
            Ok((is_unknown, documents::revision(connection)?.0))
        };
        let (is_unknown, latest) = self.controller.store.read(Query::Documents, look).await?;
        if !is_unknown {
            return Ok(None);
        }
        if let Some(mark) = told {
            self.controller.hold_back(self.site, version, mark).await?;
            return Ok(None);
        }
        Ok(Some(format!(
            "it holds version {version}, this controller is at {latest}, and nothing shows that it was told that: `outwork sdwan accept --beyond {version}` has it told all the same"
        )))
    }

    async fn bring(&self, uplinks: Vec<serde_json::Value>) -> Result<(), SessionError> {
        let site = self.site.to_owned();
        let bring = move |connection: &mut Connection| {
            let who = enrolments::known_as(&site);
            // Removed meanwhile, it does not come back by that.
            if documents::get(connection, Kind::Site, &site)?.is_none() {
                return Ok(Ok(false));
            }
            let edits = enrolments::brought(connection, &site, &[], &uplinks)?;
            match edits.is_empty() {
                true => Ok(Ok(false)),
                false => enrolments::bring(connection, &edits, &who, SystemTime::now()).map(|done| done.map(|()| true)),
            }
        };
        match self.controller.store.write(Query::Change, bring).await? {
            Ok(true) => self.controller.tell(),
            Ok(false) => {}
            Err(error) => {
                let why = frame::brief(&why(&error));
                tracing::warn!(site = self.site, why, "its uplinks stay as they were");
            }
        }
        Ok(())
    }

    /// Tells the site what is other than what it holds, unless it has yet to answer.
    async fn push(&mut self) -> Result<(), SessionError> {
        let (Some(held), None) = (self.held, self.offered) else { return Ok(()) };
        let Some(push) = self.controller.pushes.from(self.controller, held).await? else { return Ok(()) };
        if self.refused.is_some_and(|refused| refused >= push.to) {
            return Ok(());
        }
        self.offered = Some(push.to);
        self.controller.metrics.pushes.inc();
        frame::send(self.writer, &push.frame).await.map_err(SessionError::from)
    }

    async fn keep(&mut self, mut report: Report) -> Result<(), SessionError> {
        let (sequence, seats, now) = (report.sequence, &self.controller.seats, Instant::now());
        if let Some(excess) = report.excess() {
            return Err(denied(Turned::Words, &format!("a report with {excess}")));
        }
        // Parts of one count as one.
        let part = self.parts.filter(|(at_ms, _)| *at_ms == report.at_ms).map_or(0, |(_, part)| part);
        if part >= PARTS {
            return Err(denied(Turned::Words, "a report in too many parts"));
        }
        self.parts = report.more.then_some((report.at_ms, part + 1));
        if part == 0 && seats.take(self.site, Of::Reports, 1, now) == 0 {
            self.parts = None;
            self.controller.metrics.excess.of(Excess::Reports).inc();
            return self.say(&FromController::NotKept { sequence }).await;
        }
        let events = seats.take(self.site, Of::Events, report.events.len(), now);
        self.controller.metrics.excess.of(Excess::Events).add((report.events.len() - events) as u64);
        report.events.truncate(events);
        let kept = self.controller.store.keep(self.site, Note::Report(report)).await;
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
            return Err(denied(Turned::Words, "the request for a certificate is not signed by its key"));
        };
        let now = SystemTime::now();
        let life = self.controller.settings.certificate_life;
        let issued = self.controller.authority.issue(self.site, &key, life, now).map_err(ControllerError::from)?;
        let (serial, site) = (issued.serial, self.site.to_owned());
        let certified = Certified { serial, site, issued: now, expires: issued.expires, revoked: None };
        let before = self.serial.to_owned();
        let certify = move |connection: &mut Connection| enrolments::renew(connection, &before, &certified, now);
        if !self.controller.store.write(Query::Enrolment, certify).await? {
            self.controller.metrics.excess.of(Excess::Certificates).inc();
            tracing::warn!(site = self.site, "it is given no other certificate: it is too early, or it has too many");
            return Ok(());
        }
        tracing::info!(site = self.site, "it is given another certificate");
        self.say(&FromController::Certificate { certificate: issued.pem }).await
    }
}
