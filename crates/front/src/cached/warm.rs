//! Filling the cache before anybody asks: at the start, at certain times, and with what is asked for often.
//!
//! A thread of its own asks the handler of the front door, as a client would, with what marks the request as one that wants things fresh.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use outwork_cache::UnixMillis;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::config::Warming;
use super::fetch::Content;
use super::metrics::Warmed;
use super::popular::Repeat;
use super::{Refresh, Store};
use crate::message::{Answer, Handler, Origin, Request, RequestBody};

/// Requests that may wait to be made.
const QUEUE: usize = 100_000;
/// Lists of them that may wait to be taken.
const ORDERS: usize = 64;
/// How often is looked for what is due.
const BEAT: Duration = Duration::from_secs(1);
/// How long one may take with everything.
const PATIENCE: Duration = Duration::from_secs(300);

/// A URL of a site that is served here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    authority: Authority,
    target: PathAndQuery,
}

/// A text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is nothing that could be asked for.
    #[error("{0:?} is no http or https URL")]
    Malformed(String),
    /// It is a path, and nothing says of what.
    #[error("{0:?} is a path, and there is no site")]
    NoSite(String),
}

impl AddressError {
    pub(crate) fn needs_site(&self) -> bool {
        matches!(self, Self::NoSite(_))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(malformed()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(malformed)?;
        let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { tls, authority: authority.clone(), target })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority, self.target)
    }
}

outwork_config::text_setting!(Address, "a site such as", "https://www.example.org");

impl Address {
    /// A URL, or a path of this site.
    ///
    /// # Errors
    /// When it is neither.
    pub fn resolve(text: &str, site: Option<&Self>) -> Result<Self, AddressError> {
        if !text.starts_with('/') {
            return text.parse();
        }
        let site = site.ok_or_else(|| AddressError::NoSite(text.to_owned()))?;
        let target = text.parse().map_err(|_| AddressError::Malformed(text.to_owned()))?;
        Ok(Self { target, ..site.clone() })
    }

    /// What answers to it are purged by: small letters, no port that the scheme means anyway.
    pub fn name(&self) -> String {
        let host = self.authority.as_str().to_ascii_lowercase();
        let host = host.strip_suffix(if self.tls { ":443" } else { ":80" }).unwrap_or(&host);
        format!("{}://{host}{}", if self.tls { "https" } else { "http" }, self.target)
    }

    fn repeat(&self, fields: &HeaderMap) -> Option<Repeat> {
        let mut fields = fields.clone();
        fields.insert(HOST, HeaderValue::from_str(self.authority.as_str()).ok()?);
        Some(Repeat { target: Uri::from(self.target.clone()), tls: self.tls, fields })
    }
}

/// What the thread is told.
enum Order {
    /// Who answers from now on, and what is to be fetched.
    Serve(Arc<dyn Handler>, Box<Warming>),
    Warm(Vec<Address>),
}

/// The thread that fills the cache. It ends with this.
pub struct Warmer {
    orders: Sender<Order>,
}

/// Too much waits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much is waiting to be fetched already")]
pub struct Busy;

impl Warmer {
    /// Begins to fill what this handler keeps in `store`, as the settings say.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(store: Arc<Store>, handler: Arc<dyn Handler>, settings: Warming) -> io::Result<Self> {
        let (orders, told) = channel(ORDERS);
        std::thread::Builder::new().name("cache-warm".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    tokio::task::LocalSet::new().block_on(&runtime, Work::new(store, handler, settings).run(told))
                }
                Err(error) => tracing::error!(%error, "the cache is not warmed"),
            }
        })?;
        Ok(Self { orders })
    }

    /// Asks another handler from now on, for what other settings say. What was due at the start is not due again.
    pub fn replace(&self, handler: Arc<dyn Handler>, settings: Warming) {
        if self.orders.try_send(Order::Serve(handler, Box::new(settings))).is_err() {
            tracing::warn!("the cache is warmed as before: it has too much to do");
        }
    }

    /// Fetches these, soon.
    ///
    /// # Errors
    /// When too much waits already.
    pub fn warm(&self, addresses: Vec<Address>) -> Result<(), Busy> {
        self.orders.try_send(Order::Warm(addresses)).map_err(|_| Busy)
    }
}

/// What the thread works on.
struct Work {
    store: Arc<Store>,
    handler: Arc<dyn Handler>,
    settings: Warming,
    fields: HeaderMap,
    waiting: VecDeque<(Warmed, Arc<Repeat>)>,
    /// When each schedule is due.
    due: Vec<Option<UnixMillis>>,
}

impl Work {
    fn new(store: Arc<Store>, handler: Arc<dyn Handler>, settings: Warming) -> Self {
        let waiting = VecDeque::new();
        let mut work =
            Self { store, handler, settings: Warming::default(), fields: HeaderMap::new(), waiting, due: Vec::new() };
        work.take_up(settings);
        work.add(Warmed::Start, &work.settings.on_start.clone());
        work
    }

    fn now(&self) -> UnixMillis {
        (self.store.clock)()
    }

    fn take_up(&mut self, settings: Warming) {
        let now = self.now();
        self.due = settings.scheduled.iter().map(|schedule| schedule.cron.next(now)).collect();
        let field = |(name, value): (&String, &String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        };
        self.fields = settings.headers.iter().filter_map(field).collect();
        self.store.predicting.store(settings.predict.enabled, Ordering::Relaxed);
        self.settings = settings;
    }

    async fn run(mut self, mut orders: Receiver<Order>) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < usize::from(self.settings.concurrency) {
                let Some((cause, repeat)) = self.waiting.pop_front() else { break };
                under_way.spawn_local(fetch(Arc::clone(&self.store), Arc::clone(&self.handler), cause, repeat));
            }
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Serve(handler, settings)) => {
                        self.handler = handler;
                        self.take_up(*settings);
                    }
                    Some(Order::Warm(addresses)) => addresses.iter().for_each(|address| self.push(Warmed::Asked, address)),
                    None => return,
                },
                _ = beat.tick() => self.look(),
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            }
        }
    }

    /// Looks for what is due.
    fn look(&mut self) {
        let now = self.now();
        let passed = self.due.iter().map(|due| due.is_some_and(|due| due <= now));
        for index in passed.enumerate().filter_map(|(index, passed)| passed.then_some(index)).collect::<Vec<_>>() {
            let Some(schedule) = self.settings.scheduled.get(index) else { continue };
            let (next, paths) = (schedule.cron.next(now), schedule.paths.clone());
            if let Some(due) = self.due.get_mut(index) {
                *due = next;
            }
            self.add(Warmed::Schedule, &paths);
        }
        if self.settings.predict.enabled {
            let due = self.store.popular.lock().due(self.settings.predict.threshold, now);
            due.into_iter().for_each(|repeat| self.queue(Warmed::Predicted, repeat));
        }
    }

    fn add(&mut self, cause: Warmed, texts: &[String]) {
        let site = self.settings.site.clone();
        for address in texts.iter().filter_map(|text| Address::resolve(text, site.as_ref()).ok()) {
            self.push(cause, &address);
        }
    }

    fn push(&mut self, cause: Warmed, address: &Address) {
        match address.repeat(&self.fields) {
            Some(repeat) => self.queue(cause, Arc::new(repeat)),
            None => self.store.metrics.warmed.of(Warmed::Failed).inc(),
        }
    }

    fn queue(&mut self, cause: Warmed, repeat: Arc<Repeat>) {
        match self.waiting.len() < QUEUE {
            true => self.waiting.push_back((cause, repeat)),
            false => self.store.metrics.warmed.of(Warmed::Failed).inc(),
        }
    }
}

/// Makes a request and takes its answer.
async fn fetch(store: Arc<Store>, handler: Arc<dyn Handler>, cause: Warmed, repeat: Arc<Repeat>) {
    let mut head = http::Request::new(()).into_parts().0;
    head.uri = repeat.target.clone();
    head.headers = repeat.fields.clone();
    head.extensions.insert(Refresh);
    let here = ([127, 0, 0, 1], 0).into();
    let origin = Rc::new(Origin { peer: here, local: here, tls: repeat.tls, session: None });
    let asked = async {
        let response = match handler.handle(Request { head, body: RequestBody::Empty, origin }) {
            Answer::Now(response) => response,
            Answer::Later(response) => response.await,
        };
        let mut content = Content::from(response.body);
        while let Some(part) = content.next().await {
            part.map_err(|error| error.to_string())?;
        }
        match response.status.is_server_error() {
            true => Err(response.status.to_string()),
            false => Ok(()),
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it took too long".to_owned()));
    match outcome {
        Ok(()) => store.metrics.warmed.of(cause).inc(),
        Err(error) => {
            store.metrics.warmed.of(Warmed::Failed).inc();
            tracing::debug!(target = %repeat.target, error, "an answer could not be fetched before anybody asked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_the_site_and_a_url_of_its_own() {
        let site: Address = "https://www.example.org".parse().unwrap();
        let of = |text: &str| Address::resolve(text, Some(&site)).map(|address| address.to_string());
        assert_eq!(of("/a?b").as_deref(), Ok("https://www.example.org/a?b"));
        assert_eq!(of("http://b.example:8080/c").as_deref(), Ok("http://b.example:8080/c"));
        for text in ["a", "ftp://a/", "http://", "https://user@a/", "/a b", ""] {
            assert!(of(text).is_err(), "{text}");
        }
        assert_eq!(Address::resolve("/a", None), Err(AddressError::NoSite("/a".into())));
    }

    #[test]
    fn an_address_is_purged_by_the_name_that_its_answer_has() {
        let name = |text: &str| text.parse::<Address>().unwrap().name();
        assert_eq!(name("https://WWW.example.org:443/A?b"), "https://www.example.org/A?b");
        assert_eq!(name("http://www.example.org:443"), "http://www.example.org:443/");
    }
}
