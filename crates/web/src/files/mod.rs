//! A folder as a site.
//!
//! - `lookup`: what a path leads to, in the order that the configuration tries.
//! - `folder`: opening files so that nothing leads out of the folder.
//! - `item`: a file in all its forms, and whether it is still what it was.
//! - `representation`: one form of a file, with its header fields made ready, and how it is sent.
//! - `variant`: compressed forms, made when they are first asked for.
//! - `stock`: what is kept.
//! - `watch`: word of changes, so that what is kept needs no look at the disk.
//! - `listing`: lists of what is in folders.
//! - `glob`: patterns that files are chosen by.
//! - `media`: media types.
//! - [`api`]: what the admin API tells of folders.

pub mod api;
pub(crate) mod folder;
pub mod glob;
mod item;
mod listing;
mod lookup;
mod media;
mod representation;
mod stock;
mod variant;
pub(crate) mod watch;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outwork_front::coding::{Accepted, Choice, Compression, Compressor, Patience};
use outwork_front::conditional::{self, Validators};
use outwork_front::filter::{ErrorPages, Original, Statuses};
use outwork_front::message::{Answer, Body, Handler, ReadyHead, Repeated, Request, Response, Standing, Subject};
use outwork_front::problem::Problem;
use outwork_front::route::path::{NormalPath, on_site};
use outwork_telemetry::{By, Counter};
use parking_lot::{Mutex, RwLock};

use crate::assets::{Pipeline, Workshop};
use crate::config::Files as Settings;
use crate::metrics::{Lookup, Tier, WebMetrics};
use item::{Form, Item, Root};
use listing::{Format, Listing};
use lookup::Found;
use media::MediaTypes;
use representation::Representation;
use stock::Stock;
use watch::Watch;

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the folder {path}: {source}")]
pub struct FilesError {
    path: String,
    source: io::Error,
}

/// What the folders of a process share.
#[derive(Clone)]
pub struct Shared {
    /// Compresses.
    pub compressor: Arc<Compressor>,
    /// What is counted.
    pub metrics: Arc<WebMetrics>,
    /// Makes what is served in the place of files, or beside them.
    pub workshop: Arc<Workshop>,
    /// The folders of a configuration.
    folders: Arc<Mutex<Vec<Weak<Inner>>>>,
}

impl Shared {
    /// For folders that compress with this, count in these, and have this made of their files.
    pub fn new(compressor: Arc<Compressor>, metrics: Arc<WebMetrics>, workshop: Arc<Workshop>) -> Self {
        Self { compressor, metrics, workshop, folders: Arc::default() }
    }

    /// The same, for the folders of another configuration.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { folders: Arc::default(), ..self.clone() }
    }

    /// The folders of `other` are those in force.
    pub fn adopt(&self, other: &Self) {
        let folders = other.folders.lock().clone();
        *self.folders.lock() = folders;
    }

    /// The folders that are open, in the order in which they were opened.
    fn open_folders(&self) -> Vec<Arc<Inner>> {
        self.folders.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

/// Answers requests with the files of a folder.
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    compression: Compression,
    compressor: Arc<Compressor>,
    types: MediaTypes,
    /// The files of error pages.
    pages: Vec<(Statuses, String)>,
    watch: Arc<Watch>,
    root: RwLock<Option<Arc<Root>>>,
    /// What is made of the files, where anything is.
    pipeline: Option<Arc<Pipeline>>,
    stock: Stock,
    metrics: Arc<WebMetrics>,
    own: Counts,
}

/// What is counted of one folder, beside the metrics of all.
#[derive(Debug, Default)]
struct Counts {
    lookups: By<Lookup, Counter>,
    sent: By<Tier, Counter>,
}

impl Files {
    /// Opens the folder of a site; `name` is what figures and faults call it by. Where anything is made of the files, this waits for that as long as
    /// the settings have it.
    ///
    /// # Errors
    /// When it is not there, is no folder, or may not be read.
    pub fn open(name: &str, settings: Settings, compression: Compression, shared: &Shared) -> Result<Self, FilesError> {
        let failed = {
            let path = settings.root.display().to_string();
            move |source| FilesError { path: path.clone(), source }
        };
        let pages =
            settings.error_pages.iter().filter_map(|(statuses, page)| Some((Statuses::of(statuses)?, page.clone())));
        let metrics = Arc::clone(&shared.metrics);
        let mut inner = Inner {
            pipeline: None,
            types: MediaTypes::new(&settings.types, &settings.charset),
            pages: pages.collect(),
            watch: Watch::new(settings.root.clone(), settings.watch, Arc::clone(&metrics)),
            root: RwLock::new(None),
            stock: Stock::new(settings.memory.as_usize(), Arc::clone(&metrics)),
            compressor: Arc::clone(&shared.compressor),
            metrics,
            compression,
            settings,
            own: Counts::default(),
        };
        if inner.settings.assets.is_some() {
            // A folder that is not there is no start.
            Root::open(&inner).map_err(&failed)?;
            inner.pipeline = Some(shared.workshop.pipeline(name, &inner.settings).map_err(&failed)?);
        }
        let root = Root::open(&inner).map_err(failed)?;
        *inner.root.write() = Some(root);
        let inner = Arc::new(inner);
        shared.folders.lock().push(Arc::downgrade(&inner));
        Ok(Self { inner })
    }
}

impl Handler for Files {
    fn handle(&self, request: Request) -> Answer {
        let inner = &self.inner;
        match request.head.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return allowed(Response::new(StatusCode::NO_CONTENT)).into(),
            _ => return inner.finish(allowed(refusal(StatusCode::METHOD_NOT_ALLOWED, &request.head)), request),
        }
        let path = match NormalPath::new(request.head.uri.path()) {
            Ok(path) => path,
            Err(error) => {
                let problem = Problem::new(StatusCode::BAD_REQUEST, error.to_string());
                return inner.finish(problem.answer(&request.head), request);
            }
        };
        let path = path.as_str();
        if !inner.shows(path) {
            return inner.finish(refusal(StatusCode::NOT_FOUND, &request.head), request);
        }
        inner.watch.attend();
        if let Some(item) = inner.kept(path) {
            if let Some(mut response) = inner.at_once(&item, &request) {
                inner.stand(&item, &request, &mut response);
                return inner.finish(response, request);
            }
            let path = path.to_owned();
            return inner.respond(item, path, request);
        }
        // To open, read and hash may have to wait for the disk, which is not for a thread that answers others meanwhile.
        let path = path.to_owned();
        let inner = Arc::clone(inner);
        Answer::Later(Box::pin(async move {
            let (finder, target) = (Arc::clone(&inner), path.clone());
            let found = tokio::task::spawn_blocking(move || finder.find(&target)).await;
            let answer = match found.map_err(io::Error::other).and_then(|found| found) {
                Ok(Found::Item(item, kept_as)) => inner.respond(item, kept_as, request),
                Ok(Found::Slashless) => with_slash(&request).into(),
                Ok(Found::Listing(listing)) => inner.list(listing, &request).await.into(),
                Ok(Found::Status(code)) => inner.finish(refusal(code, &request.head), request),
                Err(error) => {
                    inner.failed(&path, &error);
                    inner.finish(refusal(StatusCode::INTERNAL_SERVER_ERROR, &request.head), request)
                }
            };
            answer.response().await
        }))
    }
}

impl ErrorPages for Files {
    fn with_page(&self, response: Response, fields: HeaderMap) -> Answer {
        self.inner.paged(response, fields)
    }
}

impl Inner {
    /// Counts what came of a look into what is kept.
    fn looked(&self, lookup: Lookup) {
        self.metrics.lookups.of(lookup).inc();
        self.own.lookups.of(lookup).inc();
    }

    /// Whether a path may be served at all.
    fn shows(&self, path: &str) -> bool {
        // An escaped slash is in no name of a file.
        !path.contains("%2F") && (self.settings.hidden || !path.split('/').any(is_hidden))
    }

    fn failed(&self, path: &str, error: &io::Error) {
        self.metrics.errors.inc();
        tracing::warn!(path, %error, "a file cannot be served");
    }

    /// Answers with a file in the form that the client gets; `None` where that has to be made.
    fn at_once(&self, item: &Item, request: &Request) -> Option<Response> {
        let (index, needed) = match form(item, &request.head.headers) {
            Form::Plain => return Some(self.answer(item, &item.plain, request)),
            Form::NotAcceptable => return Some(not_acceptable(&request.head)),
            Form::Coded { index, needed } => (index, needed),
        };
        let made = item.coded.get(index)?.made.get()?;
        let form = if needed || made.length < item.plain.length { made } else { &item.plain };
        Some(self.answer(item, form, request))
    }

    /// The same, and makes what has to be made.
    fn respond(self: &Arc<Self>, item: Arc<Item>, kept_as: String, request: Request) -> Answer {
        if let Some(response) = self.at_once(&item, &request) {
            return self.finish(response, request);
        }
        let inner = Arc::clone(self);
        Answer::Later(Box::pin(async move {
            let (made, needed) = match form(&item, &request.head.headers) {
                Form::Coded { index, needed } => (inner.variant(&kept_as, &item, index, needed).await, needed),
                Form::Plain | Form::NotAcceptable => (None, false),
            };
            let response = match &made {
                Some(made) => inner.answer(&item, made, &request),
                None if needed => not_acceptable(&request.head),
                None => inner.answer(&item, &item.plain, &request),
            };
            inner.finish(response, request).response().await
        }))
    }

    /// The answer out of one form of a file.
    fn answer(&self, item: &Item, form: &Representation, request: &Request) -> Response {
        let offered = Offered {
            form,
            modified: self.settings.last_modified.then(|| item.identity.modified()),
            is_conditional: self.settings.conditional_requests,
        };
        let response = conditional::answer(&request.head.method, &request.head.headers, &offered);
        if response.status.is_success() {
            self.count(form);
        }
        response
    }

    /// Says of an answer with a file that it stands as long as the file does, to who would keep it.
    fn stand(self: &Arc<Self>, item: &Arc<Item>, request: &Request, response: &mut Response) {
        if request.head.extensions.get::<Repeated>().is_none() || !response.status.is_success() {
            return;
        }
        let index = match form(item, &request.head.headers) {
            Form::Coded { index, .. } if response.field(&CONTENT_ENCODING).is_some() => Some(index),
            _ => None,
        };
        // What is no longer kept is let go of.
        let (inner, item) = (Arc::clone(self), Arc::downgrade(item));
        response.note_mut().standing = Some(Standing::new(move || {
            inner.watch.attend();
            let Some(item) = item.upgrade().filter(|item| item.is_fresh(&inner.metrics)) else { return false };
            item.want();
            inner.looked(Lookup::Hit);
            let coded = index.and_then(|index| item.coded.get(index)?.made.get());
            inner.count(coded.map_or(&item.plain, |made| made));
            true
        }));
    }

    fn count(&self, form: &Representation) {
        let tier = form.tier();
        self.metrics.sent.of(tier).inc();
        self.own.sent.of(tier).inc();
        if let Some(coding) = form.coding {
            self.metrics.variants_sent.of(coding).inc();
        }
    }

    /// An answer, with its page in place of its text where it is an error that has one.
    fn finish(self: &Arc<Self>, mut response: Response, request: Request) -> Answer {
        let code = response.status;
        if code.is_client_error() || code.is_server_error() {
            response.note_mut().about.get_or_insert_with(|| Box::new(Subject::of(&request.head)));
        }
        self.paged(response, request.head.headers)
    }

    /// An answer, with its page where its status has one; `fields` are those of the request.
    fn paged(self: &Arc<Self>, response: Response, fields: HeaderMap) -> Answer {
        let Some(page) = Statuses::page(&self.pages, response.status) else { return response.into() };
        let (inner, page) = (Arc::clone(self), page.clone());
        Answer::Later(Box::pin(async move { inner.with_page(response, page, &fields).await }))
    }

    async fn with_page(self: Arc<Self>, mut response: Response, page: String, fields: &HeaderMap) -> Response {
        let (finder, target) = (Arc::clone(&self), page.clone());
        let found = tokio::task::spawn_blocking(move || finder.page(&target)).await;
        let item = match found.map_err(io::Error::other).and_then(|found| found) {
            Ok(Some(item)) => item,
            Ok(None) => return response,
            Err(error) => {
                self.failed(&page, &error);
                return response;
            }
        };
        let made = match form(&item, fields) {
            Form::Coded { index, needed } => self.variant(&page, &item, index, needed).await,
            Form::Plain | Form::NotAcceptable => None,
        };
        let form = made.as_deref().unwrap_or(&item.plain);
        self.metrics.error_pages.inc();
        self.count(form);
        if let Some(problem) = &mut response.note_mut().problem {
            problem.hide();
        }
        response.headers.remove(VARY);
        // Its validators are not those of what was asked for.
        for name in [CONTENT_TYPE, CONTENT_ENCODING, VARY, CACHE_CONTROL] {
            if let Some(value) = form.ready.fields.get(&name) {
                response.headers.insert(name, value.clone());
            }
        }
        response.body = form.part(0..form.length);
        response
    }

    async fn list(&self, listing: Listing, request: &Request) -> Response {
        self.metrics.listings.inc();
        self.metrics.listings_cut.add(listing.is_cut.into());
        let fields = &request.head.headers;
        let format = Format::of(fields);
        let text = Bytes::from(listing.write(format));
        let mut response = Response::full(StatusCode::OK, format.media_type(), text.clone());
        // Names are text of others: nothing in the page may do anything.
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        response.headers.insert(CONTENT_SECURITY_POLICY, policy);
        response.headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        if !self.compression.covers(format.media_type()) || !self.compression.fits(text.len() as u64) {
            return response;
        }
        if let Choice::Coded(coding) = Accepted::of(fields).choose(self.compression.algorithms.iter().copied()) {
            let level = &self.compression.level;
            if let Ok(encoded) = self.compressor.compress(coding, level, Patience::None, move || Ok(text)).await {
                response.headers.insert(CONTENT_ENCODING, coding.value());
                response.body = Body::Full(encoded);
            }
        }
        response
    }
}

/// Whether a name is one that is not for everybody.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') && name != ".well-known"
}

/// The form of a file that a client gets.
fn form(item: &Item, fields: &HeaderMap) -> Form {
    // Only what has a weight can rule out the file as it is, which is all that there is to know where it has no other form.
    let plain = || !fields.get_all(ACCEPT_ENCODING).iter().any(|list| list.as_bytes().contains(&b';'));
    match item.varies {
        false if plain() => Form::Plain,
        _ => item.choose(Accepted::of(fields)),
    }
}

/// An error answer, which tells nothing of what lies in the folder.
fn refusal(code: StatusCode, head: &Parts) -> Response {
    let why = match code {
        StatusCode::NOT_FOUND => "nothing is at this address",
        StatusCode::FORBIDDEN => "what is at this address may not be read",
        StatusCode::METHOD_NOT_ALLOWED => "this address does not answer that method",
        StatusCode::NOT_ACCEPTABLE => "what is at this address has no coding that is accepted",
        _ => "what is at this address cannot be read now",
    };
    Problem::new(code, why).answer(head)
}

/// RFC 9110 section 15.5.7.
fn not_acceptable(head: &Parts) -> Response {
    let mut response = refusal(StatusCode::NOT_ACCEPTABLE, head);
    response.headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    response
}

fn allowed(mut response: Response) -> Response {
    response.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

/// A folder is at its path with a slash, so that relative links in its page lead into it.
fn with_slash(request: &Request) -> Response {
    // Where the client is to go is said in terms of what it asked for.
    let original = request.head.extensions.get::<Original>();
    let uri = original.map_or(&request.head.uri, |original| &original.0);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = on_site(&format!("{}/{query}", uri.path()));
    let Ok(location) = HeaderValue::from_str(&path) else {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "the path cannot stand in a redirection");
        return problem.answer(&request.head);
    };
    let code = StatusCode::MOVED_PERMANENTLY;
    let mut response = Response::full(code, "text/plain; charset=utf-8", "Moved Permanently\n");
    response.headers.insert(LOCATION, location);
    response
}

/// One form of a file, to who may get it whole or in parts.
struct Offered<'a> {
    form: &'a Representation,
    modified: Option<SystemTime>,
    is_conditional: bool,
}

impl conditional::Representation for Offered<'_> {
    fn validators(&self) -> Validators<'_> {
        Validators { etag: self.form.etag.as_ref(), modified: self.modified, length: self.form.length }
    }

    fn ready(&self) -> &Arc<ReadyHead> {
        &self.form.ready
    }

    fn again(&self) -> &Arc<ReadyHead> {
        &self.form.validators
    }

    fn part(&self, range: Range<u64>) -> Body {
        self.form.part(range)
    }

    /// Several parts of what is compressed are no compressed content: nobody could name their coding.
    fn boundary(&self) -> Option<String> {
        self.form.coding.is_none().then(|| self.form.boundary.to_string())
    }

    fn is_conditional(&self) -> bool {
        self.is_conditional
    }
}

#[cfg(test)]
mod tests;
