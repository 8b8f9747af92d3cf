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
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use outwork_cache::UnixMillis;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::config::Warming;
use super::fetch::Content;
use super::key::Target;
use super::metrics::Warmed;
use super::popular::Repeat;
use super::rules::KeyRules;
use super::status::CACHE_STATUS;
use super::{Refresh, Store};
use crate::message::{Handler, Origin, Request, RequestBody, Response};

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

    /// What asks for it, as far as it counts.
    pub(crate) fn target(&self, rules: &KeyRules) -> Target<'_> {
        Target::of(self.authority.as_str(), self.target.path(), self.target.query(), self.tls, rules)
    }

    /// The same without its query.
    pub(crate) fn without_query(&self) -> Self {
        let path = self.target.path().parse().unwrap_or_else(|_| PathAndQuery::from_static("/"));
        Self { target: path, ..self.clone() }
    }

    /// Whether it has a query.
    pub(crate) fn has_query(&self) -> bool {
        self.target.query().is_some()
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
    Warm(Vec<Address>, Sender<(usize, Fate)>),
}

/// What came of a URL that was to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The status of its answer, where there was one.
    pub status: Option<StatusCode>,
    /// Why it is not in the cache now, if it is not.
    pub unstored: Option<String>,
}

impl Fate {
    fn failed(why: impl Into<String>) -> Self {
        Self { status: None, unstored: Some(why.into()) }
    }

    /// As the answer says (RFC 9211).
    fn of(response: &Response) -> Self {
        let status = response.status;
        let said = response.headers.get(CACHE_STATUS).and_then(|value| value.to_str().ok());
        let has = |word: &str| said.is_some_and(|said| said.split("; ").any(|part| part == word));
        let detail = said.and_then(|said| said.split("; ").find_map(|part| part.strip_prefix("detail=")));
        let unstored = match (said, detail) {
            _ if has("stored") || has("collapsed") || has("hit") => None,
            (None, _) if response.route.is_none() && status == StatusCode::NOT_FOUND => {
                Some("no route is for it".to_owned())
            }
            // A folder for what no other route answers, as a rule.
            (None, _) if status == StatusCode::NOT_FOUND => {
                Some("nothing is there, and the route that says so does not cache".to_owned())
            }
            (None, _) => Some("its route does not cache".to_owned()),
            (_, Some(detail)) => Some(reason(detail).to_owned()),
            (_, None) => Some("its route has it go past the cache".to_owned()),
        };
        Self { status: Some(status), unstored }
    }
}

/// In words, what a detail of `Cache-Status` says of an answer that is not stored.
fn reason(detail: &str) -> &str {
    match detail {
        "no-store" => "it says no-store",
        "private" => "it says private",
        "set-cookie" => "it sets a cookie",
        "vary" => "it varies by more than header fields",
        "status" => "answers with such a status are kept only where `status_ttl` or they say for how long",
        "no-lifetime" => "neither it nor its route says for how long it may be kept",
        "too-large" => "it is larger than `max_entry`",
        "known-uncacheable" => "it could not be kept lately, and is not tried again before `pass_ttl` is over",
        "stale-if-error" => "its handler failed, and what was there before stands in",
        other => other,
    }
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

    /// Fetches these, soon. What came of each is told by its place in the list, to who listens.
    ///
    /// # Errors
    /// When too much waits already.
    pub fn warm(&self, addresses: Vec<Address>) -> Result<Receiver<(usize, Fate)>, Busy> {
        let (tell, told) = channel(addresses.len().max(1));
        self.orders.try_send(Order::Warm(addresses, tell)).map(|()| told).map_err(|_| Busy)
    }
}

/// What the thread works on.
struct Work {
    store: Arc<Store>,
    handler: Arc<dyn Handler>,
    settings: Warming,
    fields: HeaderMap,
    waiting: VecDeque<Due>,
    /// When each schedule is due.
    due: Vec<Option<UnixMillis>>,
}

/// A request that is to be made.
struct Due {
    cause: Warmed,
    repeat: Arc<Repeat>,
    /// Who is told what came of it, and as which of theirs.
    asked: Option<(usize, Sender<(usize, Fate)>)>,
}

impl Due {
    fn new(cause: Warmed, repeat: Arc<Repeat>) -> Self {
        Self { cause, repeat, asked: None }
    }

    fn url(&self) -> String {
        let host = self.repeat.fields.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
        let scheme = if self.repeat.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", host.unwrap_or_default(), self.repeat.target)
    }

    /// Counts what came of it, and says what was not as it was meant.
    fn done(self, store: &Store, fate: Fate) {
        let Fate { status, unstored } = &fate;
        let failed = status.is_none_or(|status| status.is_server_error());
        store.metrics.warmed.of(if failed { Warmed::Failed } else { self.cause }).inc();
        if let Some(why) = unstored {
            let (url, status) = (self.url(), status.map_or(0, |status| status.as_u16()));
            match self.cause {
                Warmed::Predicted => tracing::debug!(url, status, why, "what was to be made fresh is not in the cache"),
                _ => tracing::info!(url, status, why, "what was to be warmed is not in the cache"),
            }
        }
        if let Some((index, tell)) = self.asked {
            // Who asked may have gone away.
            _ = tell.try_send((index, fate));
        }
    }
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
                let Some(due) = self.waiting.pop_front() else { break };
                under_way.spawn_local(fetch(Arc::clone(&self.store), Arc::clone(&self.handler), due));
            }
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Serve(handler, settings)) => {
                        self.handler = handler;
                        self.take_up(*settings);
                    }
                    Some(Order::Warm(addresses, tell)) => {
                        for (index, address) in addresses.iter().enumerate() {
                            self.push(Warmed::Asked, address, Some((index, tell.clone())));
                        }
                    }
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
            due.into_iter().for_each(|repeat| self.queue(Due::new(Warmed::Predicted, repeat)));
        }
    }

    fn add(&mut self, cause: Warmed, texts: &[String]) {
        let site = self.settings.site.clone();
        for address in texts.iter().filter_map(|text| Address::resolve(text, site.as_ref()).ok()) {
            self.push(cause, &address, None);
        }
    }

    fn push(&mut self, cause: Warmed, address: &Address, asked: Option<(usize, Sender<(usize, Fate)>)>) {
        match address.repeat(&self.fields) {
            Some(repeat) => self.queue(Due { asked, ..Due::new(cause, Arc::new(repeat)) }),
            None => self.store.metrics.warmed.of(Warmed::Failed).inc(),
        }
    }

    fn queue(&mut self, due: Due) {
        match self.waiting.len() < QUEUE {
            true => self.waiting.push_back(due),
            false => due.done(&self.store, Fate::failed("too much is waiting to be fetched already")),
        }
    }
}

/// Makes a request and takes its answer.
async fn fetch(store: Arc<Store>, handler: Arc<dyn Handler>, due: Due) {
    let mut head = http::Request::new(()).into_parts().0;
    head.uri = due.repeat.target.clone();
    head.headers = due.repeat.fields.clone();
    head.extensions.insert(Refresh);
    let here = ([127, 0, 0, 1], 0).into();
    let origin = Rc::new(Origin { peer: here, local: here, to: None, tls: due.repeat.tls, session: None });
    let asked = async {
        let response = handler.handle(Request { head, body: RequestBody::Empty, origin }).response().await;
        let fate = Fate::of(&response);
        let mut content = Content::from(response.body);
        while let Some(part) = content.next().await {
            if let Err(error) = part {
                return Fate::failed(error.to_string());
            }
        }
        fate
    };
    let fate = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Fate::failed("it took too long"));
    due.done(&store, fate);
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
    fn what_no_route_of_its_own_answers_is_told_from_what_is_not_cached() {
        let why = |status: StatusCode, route: Option<u16>| {
            let mut response = Response::new(status);
            response.route = route;
            Fate::of(&response).unstored.unwrap()
        };
        assert_eq!(why(StatusCode::OK, Some(0)), "its route does not cache");
        assert!(why(StatusCode::NOT_FOUND, Some(0)).starts_with("nothing is there, and the route"));
        assert_eq!(why(StatusCode::NOT_FOUND, None), "no route is for it");
    }
}
