//! The controller of a network: keeps what it is to be, says that to sites, and hears how they fare.
//!
//! - [`config`]: what the configuration says.
//! - [`store`]: what is kept.
//! - [`authority`]: who is certified.
//! - `rooms`: who has come and has not said yet who it is. `session`: a site that has. `seats`: all of them, and what each may do (`allowance`).
//! - `pushes`: what sites are sent.
//! - [`api`]: the routes under `/api/v1/controller`.
//!
//! Absent: whatever packets need. Sites go on without it.

mod allowance;
pub mod api;
pub mod authority;
pub mod config;
mod pushes;
mod rooms;
mod seats;
mod session;
pub mod store;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use outwork_store::database::DatabaseError;
use outwork_telemetry::{labels, metrics};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::channel::token::Token;
use crate::network::signed::{SignatureError, Signer};
use authority::{Authority, AuthorityError};
use config::ControllerSettings;
use pushes::Pushes;
use rooms::Rooms;
use seats::Seats;
use store::changes::UndoError;
use store::documents::{Differs, Edit, EditError, Stored};
use store::enrolments::{Enrolment, TooMany};
use store::health::Standing;
use store::retention::Aged;
use store::{Query, Store};

/// Sites that may be connected at once.
const SITES: usize = 16_384;
/// Connections that may not have said yet who they are: in all, and from one network. Sites that come back all at once come a few at a time.
const STRANGERS: usize = 256;
const STRANGERS_OF_ONE: usize = 64;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Between two looks at what is to be rolled up and what is over.
const ROUND: Duration = Duration::from_secs(60);
/// Rounds between two looks at what the file can give back.
const TIDY: u32 = 60;
/// How long a site may be away until it counts as that, and how many such are named.
const AWAY: Duration = Duration::from_secs(300);
const NAMED: u32 = 5;
/// What is said where sites are told nothing.
const HELD_BACK: &str = "sites were told a later version of the network than this controller has: it came out of an older backup, and tells them nothing until somebody has looked at \
     what the network is (`outwork sdwan changes`) and says so (`outwork sdwan accept`)";
/// How long is waited after an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

labels! {
    /// What became of who has shown a token.
    pub enum Shown as "outcome" { Enrolled = "enrolled", Refused = "refused" }
}

labels! {
    /// Why somebody was turned away.
    pub enum Turned as "reason" {
        /// All rooms were taken, and it had had one for longest.
        Full = "full",
        /// Too many were there from its network.
        Address = "address",
        /// It said nothing for too long, or did not listen.
        Late = "late",
        /// No handshake of TLS came about.
        Handshake = "handshake",
        /// Its certificate was revoked, or its site is not of the network.
        Certificate = "certificate",
        /// It said what makes no sense.
        Words = "words",
        /// It was told to go: its site was removed or revoked, or has come again.
        Parted = "parted",
        /// Too many sites are connected.
        Sites = "sites",
        /// The database did not do what it had to.
        Database = "database",
    }
}

labels! {
    /// What there was too much of.
    pub enum Excess as "what" {
        /// Reports: they may come again.
        Reports = "reports",
        /// Events, which are not kept.
        Events = "events",
        /// Changes of its uplinks, which are not made.
        Changes = "changes",
        /// Certificates, which are not made.
        Certificates = "certificates",
    }
}

metrics! {
    /// What the controller measures of its sites.
    pub struct ControllerMetrics, prefix "outwork_sdwan_controller" {
        /// Sites that are connected.
        sites: Gauge => history,
        /// Sites that were connected once, and have not been for five minutes.
        sites_away: Gauge => history,
        /// Sites that are connected, and do not take up what they are told.
        sites_behind: Gauge => history,
        /// Deltas that were sent to sites.
        pushes: Counter => history,
        /// Deltas that sites did not take up.
        pushes_refused: Counter,
        /// Connections that came to nothing, or ended for what was said.
        refused: Counter by Turned => history,
        /// What sites had too much of, and what was therefore not done.
        excess: Counter by Excess,
        /// Tokens that were shown.
        enrolments: Counter by Shown,
    }
}

/// Why the controller does not start.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Its database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Its authority.
    #[error("the controller's authority: {0}")]
    Authority(#[from] AuthorityError),
    /// Its signatures.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its directory.
    #[error("cannot make {path}: {source}")]
    Directory {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Where it listens.
    #[error("controller.listen: cannot listen at {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No randomness.
    #[error("the system gives no randomness")]
    Random,
    /// Tokens.
    #[error(transparent)]
    Tokens(#[from] TooMany),
}

/// The controller at work.
pub struct Controller {
    settings: ControllerSettings,
    addresses: Vec<SocketAddr>,
    store: Store,
    authority: Authority,
    network: String,
    signer: Signer,
    metrics: Arc<ControllerMetrics>,
    /// Grows whenever documents have changed.
    changed: watch::Sender<u64>,
    seats: Seats,
    /// Whether sites are told nothing, as this controller came out of a backup that is older than what they were told: for who looks at it. What counts is in the database.
    held_back: AtomicBool,
    /// Held while that is decided.
    deciding: tokio::sync::Mutex<()>,
    /// Which sites are not as they should be, by the last look.
    standing: Mutex<Standing>,
    pushes: Pushes,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Controller {
    /// Opens what is kept in `dir`, and listens.
    ///
    /// # Errors
    /// When something of it cannot be had.
    pub async fn start(settings: &ControllerSettings, dir: &Path) -> Result<Arc<Controller>, ControllerError> {
        let made = |source| ControllerError::Directory { path: dir.to_owned(), source };
        match outwork_store::file::create_private_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(made(error)),
            _ => {}
        }
        let now = SystemTime::now();
        let signer = dir.join("signer.key");
        // Sites believe the one whose word they have had, and no other.
        if dir.join("authority.pem").exists() && !signer.exists() {
            return Err(AuthorityError::Half { path: dir.join("authority.pem"), missing: signer }.into());
        }
        let signer = Signer::open(&signer)?;
        let authority = Authority::open(dir, now)?;
        let network = authority.network();
        let store = Store::open(&settings.database(dir))?;
        store.write(Query::Maintenance, |connection| store::health::none_seen(connection)).await?;
        let held_back = store.read(Query::Documents, store::documents::is_held_back).await?;
        if held_back {
            tracing::warn!("{HELD_BACK}");
        }
        let mut listeners = vec![];
        for address in &settings.listen {
            let failed = |source| ControllerError::Listen { address: *address, source };
            let listener = listen(*address).map_err(failed)?;
            listeners.push((listener.local_addr().map_err(failed)?, listener));
        }
        let metrics = Arc::<ControllerMetrics>::default();
        let controller = Arc::new(Controller {
            addresses: listeners.iter().map(|(address, _)| *address).collect(),
            settings: settings.clone(),
            network,
            signer,
            store,
            seats: Seats::new(SITES, settings.size.preset().report, Arc::clone(&metrics)),
            metrics,
            changed: watch::Sender::new(0),
            held_back: held_back.into(),
            deciding: tokio::sync::Mutex::default(),
            standing: Mutex::default(),
            pushes: Pushes::default(),
            tasks: Mutex::default(),
            authority,
        });
        let acceptor = TlsAcceptor::from(Arc::new(controller.authority.server(now)?));
        let rooms = Rooms::new(STRANGERS, STRANGERS_OF_ONE);
        for (_, listener) in listeners {
            let (own, acceptor, rooms) = (Arc::clone(&controller), acceptor.clone(), Arc::clone(&rooms));
            controller.tasks.lock().push(tokio::spawn(own.accept(listener, acceptor, rooms)));
        }
        let ((say, rounds), own) = (mpsc::channel(1), Arc::clone(&controller));
        controller.tasks.lock().extend([tokio::spawn(go_round(say)), tokio::spawn(own.keep_house(rounds))]);
        Ok(controller)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor, rooms: Arc<Rooms>) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "no site can be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Who has not said yet who it is counts as a stranger.
            let Some(room) = rooms.enter(from.ip()) else {
                self.metrics.refused.of(Turned::Address).inc();
                continue;
            };
            let (own, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move { session::meet(own, (stream, from), acceptor, room).await });
        }
    }

    /// Rolls up and deletes, by and by: a round each time that it hears what time it is.
    async fn keep_house(self: Arc<Self>, mut rounds: mpsc::Receiver<SystemTime>) {
        let mut round = 0_u32;
        while let Some(now) = rounds.recv().await {
            if let Err(error) = self.round(round, now).await {
                tracing::warn!(%error, "the controller's database was not looked after");
            }
            round = round.wrapping_add(1);
        }
    }

    async fn round(&self, round: u32, now: SystemTime) -> Result<(), DatabaseError> {
        let before = |kept: Duration| now.checked_sub(kept).unwrap_or(SystemTime::UNIX_EPOCH);
        let (reports, spans) = self.settings.kept();
        let ends = [
            (Aged::Reports, before(reports)),
            (Aged::Spans, before(spans)),
            (Aged::Log, before(self.settings.audit_retention)),
        ];
        while self.store.maintain(now, self.settings.span(), ends).await? {}
        let shed = self.store.shed(self.settings.most()).await?;
        if shed > 0 {
            let most = self.settings.most();
            tracing::warn!(
                rows = shed,
                most,
                "the oldest reports of sites went before their time: controller.max_size is reached"
            );
        }
        let away = before(AWAY);
        let look = move |connection: &rusqlite::Connection| store::health::standing(connection, away, NAMED);
        let standing = self.store.read(Query::Maintenance, look).await?;
        self.metrics.sites_away.set(standing.away.cast_signed());
        self.metrics.sites_behind.set(standing.behind.cast_signed());
        *self.standing.lock() = standing;
        let sites = self.store.read(Query::Documents, store::documents::sites).await?;
        let sites: BTreeSet<_> = sites.into_iter().collect();
        self.seats.retain(|site| sites.contains(site));
        if round % TIDY == TIDY - 1 {
            self.store.tidy().await?;
        }
        Ok(())
    }

    /// What is kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How long the spans are that reports are rolled up into; none where they are not.
    pub fn span(&self) -> Option<Duration> {
        self.settings.span()
    }

    /// What it measures.
    pub fn metrics(&self) -> &Arc<ControllerMetrics> {
        &self.metrics
    }

    /// What its network is called.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Which sites are not as they should be, as of a minute ago.
    pub fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// Whether sites are told nothing, as this controller came out of a backup that is older than what they were told.
    pub fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::SeqCst)
    }

    /// A site was told a version, by its mark, that is not known here: nobody is told anything until [`bring_into_force`](Self::bring_into_force).
    async fn hold_back(&self, site: &str, version: u64, mark: i64) -> Result<(), DatabaseError> {
        let name = site.to_owned();
        let hold = move |connection: &mut rusqlite::Connection| {
            store::documents::hold_back(connection, &name, (version, mark), SystemTime::now())
        };
        // What is said of it is what the database has, whoever decides otherwise at the same time.
        let _one = self.deciding.lock().await;
        if self.store.write(Query::Change, hold).await? {
            self.held_back.store(true, Ordering::SeqCst);
            tracing::error!(site, version, "{HELD_BACK}");
        }
        Ok(())
    }

    /// Has sites told what the network is though they were told another before, which was held back, or though one of them holds a version up to `beyond` without a proof that it
    /// was told that. Gives the version from then on; none where nothing is held back, or `beyond` is less than the version that there is, or far more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn bring_into_force(&self, beyond: Option<u64>, who: &str) -> Result<Option<u64>, DatabaseError> {
        let who = who.to_owned();
        let accept = move |connection: &mut rusqlite::Connection| {
            store::documents::accept(connection, beyond, &who, SystemTime::now())
        };
        let _one = self.deciding.lock().await;
        let version = self.store.write(Query::Change, accept).await?;
        if version.is_some() {
            self.held_back.store(false, Ordering::SeqCst);
            self.tell();
        }
        Ok(version)
    }

    /// Sites that are connected.
    pub fn connected(&self) -> usize {
        self.seats.len()
    }

    /// Makes changes, all or none, and has all sites told.
    ///
    /// # Errors
    /// When the database refuses; why the changes make no sense is in what it gives else.
    pub async fn edit(
        &self,
        edits: Vec<Edit>,
        who: &str,
    ) -> Result<Result<Vec<Option<Stored>>, EditError>, DatabaseError> {
        let (who, gone) = (who.to_owned(), gone(&edits));
        let change = move |connection: &mut rusqlite::Connection| {
            store::documents::edit(connection, &edits, &who, SystemTime::now())
        };
        let done = self.store.write(Query::Change, change).await?;
        if done.is_ok() {
            self.has_changed(&gone);
        }
        Ok(done)
    }

    /// What would come of changes, were they made.
    ///
    /// # Errors
    /// When the database refuses; why the changes make no sense is in what it gives else.
    pub async fn try_out(&self, edits: Vec<Edit>) -> Result<Result<Vec<Differs>, EditError>, DatabaseError> {
        self.store.read(Query::Documents, move |connection| store::documents::try_out(connection, &edits)).await
    }

    /// Takes a change back, or the latest one, with all that was made at once, and has all sites told. Says what has changed by that.
    ///
    /// # Errors
    /// When the database refuses; why the change is not taken back is in what it gives else.
    pub async fn undo(&self, change: Option<i64>, who: &str) -> Result<Undone, DatabaseError> {
        let who = who.to_owned();
        let undo = move |connection: &mut rusqlite::Connection| {
            let edits = match store::changes::undo(connection, change)? {
                Ok(edits) => edits,
                Err(error) => return Ok((Err(error), vec![])),
            };
            let differs = match store::documents::try_out(connection, &edits)? {
                Ok(differs) => differs,
                Err(error) => return Ok((Ok(Err(error)), vec![])),
            };
            let made = store::documents::edit(connection, &edits, &who, SystemTime::now())?;
            Ok((Ok(made.map(|_| differs)), gone(&edits)))
        };
        let (undone, gone) = self.store.write(Query::Change, undo).await?;
        if matches!(undone, Ok(Ok(_))) {
            self.has_changed(&gone);
        }
        Ok(undone)
    }

    /// What would change, were a change taken back.
    ///
    /// # Errors
    /// As [`undo`](Self::undo).
    pub async fn try_undo(&self, change: Option<i64>) -> Result<Undone, DatabaseError> {
        let look = move |connection: &rusqlite::Connection| match store::changes::undo(connection, change)? {
            Ok(edits) => store::documents::try_out(connection, &edits).map(Ok),
            Err(error) => Ok(Err(error)),
        };
        self.store.read(Query::Documents, look).await
    }

    /// Has all sites told, and parts from those that are gone by that.
    fn has_changed(&self, gone: &[String]) {
        self.tell();
        gone.iter().for_each(|site| self.seats.end(site, &format!("{site} was removed from the network")));
    }

    /// Has all sites told that something has changed.
    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Makes a token for a site, and for the networks that it may come with where these are said. It is told here and never again.
    ///
    /// # Errors
    /// When the database refuses, too many tokens are good already, or there is no randomness.
    pub async fn invite(
        &self,
        site: &str,
        subnets: Option<Vec<String>>,
        life: Duration,
        who: &str,
    ) -> Result<(Token, Enrolment), ControllerError> {
        let token = Token::random(self.authority.fingerprint()).map_err(|_| ControllerError::Random)?;
        let (kept, site, who) = (token.clone(), site.to_owned(), who.to_owned());
        let add = move |connection: &mut rusqlite::Connection| {
            store::enrolments::add(connection, &kept, (&site, subnets), life, &who, SystemTime::now())
        };
        let enrolment = self.store.write(Query::Enrolment, add).await??;
        Ok((token, enrolment))
    }

    /// Believes a site no longer: its certificates and tokens are good for nothing, and its connection ends. Says how many certificates those were.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn revoke(&self, site: &str, who: &str) -> Result<usize, DatabaseError> {
        let (name, who) = (site.to_owned(), who.to_owned());
        let revoke = move |connection: &mut rusqlite::Connection| {
            store::enrolments::revoke(connection, &name, &who, SystemTime::now())
        };
        let revoked = self.store.write(Query::Enrolment, revoke).await?;
        self.seats.end(site, "its certificates were revoked");
        Ok(revoked)
    }

    /// Hears nobody any more, and closes what is kept.
    pub fn stop(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        self.store.close();
    }
}

/// Says what time it is, once a round.
async fn go_round(say: mpsc::Sender<SystemTime>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while let Ok(room) = say.reserve().await {
        rounds.tick().await;
        room.send(SystemTime::now());
    }
}

/// What has changed as a change was taken back: why that was not done, or why it makes no sense any more.
pub type Undone = Result<Result<Vec<Differs>, EditError>, UndoError>;

/// Sites that go with these changes.
fn gone(edits: &[Edit]) -> Vec<String> {
    let sites = edits.iter().filter(|edit| edit.kind == crate::network::Kind::Site && edit.body.is_none());
    sites.map(|edit| edit.id.clone()).collect()
}

/// Another process of ours may listen there as well, while it takes the place of this one.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The stream of a site.
type Stream = tokio_rustls::server::TlsStream<TcpStream>;

#[cfg(test)]
#[path = "house_tests.rs"]
mod tests;
