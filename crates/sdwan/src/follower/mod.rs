//! A site's side of the channel: it takes up what the controller says, keeps that, and reports how it fares.
//!
//! - [`keep`]: what is kept on disk: who the site is, and what it was told last.
//! - [`enrol`]: the first time.
//! - [`reports`]: what is reported, and kept until the controller has it.
//! - [`said`]: what was said, as it is put over what the file says.
//! - `session`: a connection.
//!
//! Without the controller all goes on as it was told last, after a restart as well. What it says is taken up as the configuration file is: [`overlay`] puts it over what the
//! file says, and a reload compares.

pub mod enrol;
pub mod keep;
pub mod reports;
pub mod said;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand;
use outwork_config::HostPort;
use outwork_telemetry::metrics;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::config::FollowSettings;
use crate::resolve::look_up;
use crate::service::Service;
use keep::{Identity, KeepError};
use reports::Reporter;
use said::Said;
pub use said::overlay;
use session::SessionError;

/// Between two looks at whether the site was enrolled meanwhile, or enrolled anew.
const LOOK: Duration = Duration::from_secs(2);
/// Between two attempts to reach the controller: at first, and at most.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// What this site runs, as its controller is told.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

metrics! {
    /// What a site measures of its controller.
    #[derive(Debug)]
    pub struct FollowerMetrics, prefix "outwork_sdwan_follower" {
        /// Whether the controller of this site is there: 1 or 0.
        connected: Gauge => history,
        /// Attempts to reach the controller of this site that came to nothing, or to a connection that has ended.
        connections_ended: Counter,
        /// The version of the network that is in force; 0 where the controller has said nothing yet.
        version: Gauge => history,
        /// Versions of the network that were taken up.
        taken_up: Counter,
        /// Versions of the network that were not taken up: the file of this site contradicts them, or this release does not understand them.
        refused: Counter,
        /// Until when the certificate of this site is good, in seconds since 1970; 0 where it has none.
        certificate_expires_timestamp: Gauge in seconds,
        /// Reports that the controller does not have yet, in as many parts as they have.
        reports_waiting: Gauge => history,
        /// Reports that went before the controller had them, as too many waited.
        reports_dropped: Counter,
        /// Paths of this site that the controller is not told of, as there are too many.
        paths_unreported: Gauge,
    }
}

/// What a new version of the network is taken up by: as a changed file is. The error says why it was not.
pub type TakeUp = Box<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The site's side at work.
pub struct Follower {
    settings: FollowSettings,
    said: Arc<Said>,
    /// Its uplinks, as the controller is to know them.
    uplinks: Mutex<Vec<Json>>,
    /// They are others than the controller was told.
    renewed: Notify,
    take_up: TakeUp,
    reporter: Arc<Reporter>,
    told: Mutex<Told>,
    metrics: Arc<FollowerMetrics>,
}

/// How it stands with the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What the site is called; none where it is not enrolled.
    pub site: Option<String>,
    /// Where the controller is that it is connected to.
    pub connected: Option<SocketAddr>,
    /// Since when.
    pub connected_since: Option<SystemTime>,
    /// The version of the network that is in force; 0 where nothing was said yet.
    pub version: u64,
    /// Since when.
    pub since: Option<SystemTime>,
    /// Until when its certificate is good.
    pub certificate_expires: Option<SystemTime>,
    /// From when on it is late for another one.
    pub certificate_late: Option<SystemTime>,
    /// Why it is not connected, or did not take something up.
    pub error: Option<String>,
}

impl Follower {
    /// One that follows the controller of `settings`; `dir` is where what it says is kept.
    pub fn new(settings: FollowSettings, dir: PathBuf, uplinks: Vec<Json>, take_up: TakeUp) -> Arc<Follower> {
        Follower::sharing(settings, Said::new(&dir), uplinks, take_up)
    }

    /// [`new`](Self::new), whose `take_up` reads by `said` what there is to be taken up.
    pub fn sharing(settings: FollowSettings, said: Arc<Said>, uplinks: Vec<Json>, take_up: TakeUp) -> Arc<Follower> {
        let metrics = Arc::<FollowerMetrics>::default();
        let (most, octets) = (settings.backlog as usize, settings.backlog_size.as_usize());
        let reporter = Arc::new(Reporter::counted(most, octets, Arc::clone(&metrics)));
        let (uplinks, renewed, told) = (Mutex::new(uplinks), Notify::new(), Mutex::default());
        Arc::new(Follower { settings, said, uplinks, renewed, take_up, reporter, told, metrics })
    }

    /// The controller is to know the uplinks of this site as these from now on.
    pub fn renew(&self, uplinks: Vec<Json>) {
        let before = std::mem::replace(&mut *self.uplinks.lock(), uplinks.clone());
        if before != uplinks {
            self.renewed.notify_one();
        }
    }

    /// How it stands.
    pub fn told(&self) -> Told {
        self.told.lock().clone()
    }

    /// Where its controller is looked for.
    pub fn addresses(&self) -> &[HostPort] {
        &self.settings.address
    }

    /// Reports that the controller does not have yet.
    pub fn waiting(&self) -> usize {
        self.reporter.waiting()
    }

    /// Octets that these take, about.
    pub fn memory(&self) -> usize {
        self.reporter.octets()
    }

    /// What it measures, to be registered.
    pub fn metrics(&self) -> &Arc<FollowerMetrics> {
        &self.metrics
    }

    fn tell<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        let told = &mut *self.told.lock();
        let done = change(told);
        let unix = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.metrics.connected.set(told.connected.is_some().into());
        self.metrics.version.set(told.version.cast_signed());
        self.metrics.certificate_expires_timestamp.set(told.certificate_expires.map_or(0, unix).cast_signed());
        done
    }

    /// Gathers reports of `service`, for as long as it is awaited.
    pub async fn gather(self: Arc<Self>, service: Arc<Service>) {
        self.reporter.gather(self.settings.report, &service).await;
    }

    /// Follows, for as long as it is awaited.
    pub async fn run(self: Arc<Self>) {
        let mut pause = RETRY;
        loop {
            let identity = match self.identity().await {
                Ok(Some(identity)) => identity,
                Ok(None) => {
                    let why = "this site is not enrolled: `outwork sdwan enrol` does that".to_owned();
                    self.tell(|told| told.error = Some(why));
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "the controller cannot be followed");
                    self.tell(|told| told.error = Some(error.to_string()));
                    tokio::time::sleep(RETRY_MOST).await;
                    continue;
                }
            };
            self.is(&identity).await;
            let (mut longest, mut is_anew) = (Duration::ZERO, false);
            for address in self.places().await {
                let begun = Instant::now();
                let outcome = session::follow(&self, &identity, address).await;
                let was = self.tell(|told| {
                    told.connected_since = None;
                    told.connected.take()
                });
                self.metrics.connections_ended.inc();
                longest = was.map_or(longest, |_| longest.max(begun.elapsed()));
                if matches!(outcome, Err(SessionError::Anew)) {
                    tracing::info!("this site was enrolled anew: it goes by that from now on");
                    is_anew = true;
                    break;
                }
                if let Err(error) = outcome {
                    self.tell(|told| told.error = Some(error.to_string()));
                    match was {
                        Some(_) => {
                            tracing::warn!(%address, %error, "the controller is gone; all goes on as it said last")
                        }
                        // What the controller itself says, somebody has to look at.
                        None if error.is_lasting() => tracing::warn!(%address, %error, "the controller lets nobody in"),
                        None => tracing::debug!(%address, %error, "the controller is not to be reached"),
                    }
                }
            }
            if is_anew {
                continue;
            }
            // Who was connected for a while begins anew.
            pause = if longest > RETRY_MOST { RETRY } else { (pause * 2).min(RETRY_MOST) };
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    /// Where the controller may be, as far as its names are known just now.
    async fn places(&self) -> Vec<SocketAddr> {
        let mut all = vec![];
        for place in &self.settings.address {
            match look_up(place).await {
                Ok(found) => all.extend(found),
                Err(why) => {
                    tracing::debug!(%place, why, "the controller is not found");
                    self.tell(|told| told.error = Some(why));
                }
            }
        }
        all
    }

    /// Says who the site is, and what is in force before the controller has said anything.
    async fn is(&self, identity: &Identity) {
        let (keep, own) = (self.said.keep().clone(), identity.clone());
        let read = move || (keep.held(&own).map_or(0, |held| held.version), keep.since());
        let (version, since) = tokio::task::spawn_blocking(read).await.unwrap_or_default();
        self.tell(|told| {
            told.site = Some(identity.site.clone());
            told.certificate_expires = identity.expires();
            told.certificate_late = identity.late();
            told.version = version;
            told.since = since.filter(|_| version > 0);
        });
    }

    async fn identity(&self) -> Result<Option<Identity>, KeepError> {
        let keep = self.said.keep().clone();
        tokio::task::spawn_blocking(move || keep.identity()).await.unwrap_or(Ok(None))
    }
}

fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness all wait the same.
    let _ = rand::fill(&mut random);
    spread(pause, u16::from_ne_bytes(random))
}

/// Between a quarter of it and all: sites whose controller comes back do not come all at once.
fn spread(pause: Duration, random: u16) -> Duration {
    pause / 4 + pause * 3 / 4 * u32::from(random) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests;
