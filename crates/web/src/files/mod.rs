//! A folder as a site.
//!
//! - `plan`: what a request gets, out of its conditions and ranges.
//! - `folder`: opening files so that nothing leads out of the folder.
//! - `stock`: open files and small contents that are kept, with their header fields made ready.
//! - `media`: media types.
//!
//! A file that is in stock is looked up again by `stat` before it is served, so a change is seen with the next request.

mod folder;
mod media;
mod plan;
mod stock;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use outwork_front::message::{Answer, Body, Handler, Request, Response};
use outwork_front::route::path::NormalPath;

use crate::config::Files as Settings;
use folder::{Folder, Named};
use plan::{Plan, Validators, plan};
use stock::{Item, Stock};

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the folder {path}: {source}")]
pub struct FilesError {
    path: String,
    source: io::Error,
}

/// Answers requests with the files of a folder.
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Folder,
    stock: Stock,
    settings: Settings,
}

impl Files {
    /// Opens the folder.
    ///
    /// # Errors
    /// When it is not there, is no folder, or may not be read.
    pub fn open(settings: Settings) -> Result<Self, FilesError> {
        let failed = |source| FilesError { path: settings.root.display().to_string(), source };
        let folder = Folder::open(&settings.root, settings.symlinks).map_err(failed)?;
        Ok(Self { inner: Arc::new(Inner { folder, stock: Stock::new(&settings), settings }) })
    }
}

/// What a path leads to.
enum Found {
    Item(Arc<Item>),
    /// A folder whose path has no slash at its end.
    Slashless,
    Status(StatusCode),
}

impl Handler for Files {
    fn handle(&self, request: Request) -> Answer {
        let head = &request.head;
        match head.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return allowed(StatusCode::NO_CONTENT).into(),
            _ => return allowed(StatusCode::METHOD_NOT_ALLOWED).into(),
        }
        let Ok(path) = NormalPath::new(head.uri.path()) else {
            return status(StatusCode::BAD_REQUEST).into();
        };
        let path = path.as_str();
        if !self.inner.shows(path) {
            return status(StatusCode::NOT_FOUND).into();
        }
        if let Some(item) =
            self.inner.stock.get(path).filter(|item| self.inner.folder.is_still(&item.path, &item.identity))
        {
            return answer(&item, &request).into();
        }
        // To open, read and hash may have to wait for the disk, which is not for a thread that answers others meanwhile.
        let (inner, path) = (Arc::clone(&self.inner), path.to_owned());
        Answer::Later(Box::pin(async move {
            let target = path.clone();
            match tokio::task::spawn_blocking(move || inner.find(&target)).await {
                Ok(Ok(Found::Item(item))) => answer(&item, &request),
                Ok(Ok(Found::Slashless)) => with_slash(&request),
                Ok(Ok(Found::Status(code))) => status(code),
                Ok(Err(error)) => {
                    tracing::warn!(path, %error, "a file cannot be served");
                    status(StatusCode::INTERNAL_SERVER_ERROR)
                }
                Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
            }
        }))
    }
}

impl Inner {
    /// Whether a path may be served at all.
    fn shows(&self, path: &str) -> bool {
        let hidden = |segment: &str| segment.starts_with('.') && segment != ".well-known";
        // An escaped slash is in no name of a file.
        !path.contains("%2F") && (self.settings.hidden || !path.split('/').any(hidden))
    }

    /// Opens what a path names, and keeps it.
    fn find(&self, path: &str) -> io::Result<Found> {
        match self.folder.named(path)? {
            Named::File(..) if path.ends_with('/') => {}
            Named::File(file, identity) => return self.stock.add(path, path, file, identity).map(Found::Item),
            Named::Folder if !path.ends_with('/') => return Ok(Found::Slashless),
            Named::Folder => {
                for index in &self.settings.index {
                    let inside = format!("{path}{index}");
                    if let Named::File(file, identity) = self.folder.named(&inside)? {
                        return self.stock.add(path, &inside, file, identity).map(Found::Item);
                    }
                }
            }
            Named::Forbidden => return Ok(Found::Status(StatusCode::FORBIDDEN)),
            Named::Nothing => {}
        }
        let Some(fallback) = &self.settings.fallback else { return Ok(Found::Status(StatusCode::NOT_FOUND)) };
        let kept = self.stock.get(fallback).filter(|item| self.folder.is_still(&item.path, &item.identity));
        if let Some(item) = kept {
            return Ok(Found::Item(item));
        }
        match self.folder.named(fallback)? {
            // Not kept under the path that was asked for: there are as many of those as anybody likes.
            Named::File(file, identity) => self.stock.add(fallback, fallback, file, identity).map(Found::Item),
            _ => Ok(Found::Status(StatusCode::NOT_FOUND)),
        }
    }
}

fn status(code: StatusCode) -> Response {
    let text = format!("{}\n", code.canonical_reason().unwrap_or("error"));
    Response::full(code, "text/plain; charset=utf-8", text)
}

fn allowed(code: StatusCode) -> Response {
    let mut response = Response::new(code);
    response.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

/// A folder is at its path with a slash, so that relative links in its page lead into it.
fn with_slash(request: &Request) -> Response {
    let uri = &request.head.uri;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // A path that begins with two slashes would be read as a host.
    let path = format!("/{}/{query}", uri.path().trim_start_matches('/'));
    let Ok(location) = HeaderValue::from_str(&path) else { return status(StatusCode::BAD_REQUEST) };
    let mut response = status(StatusCode::MOVED_PERMANENTLY);
    response.headers.insert(LOCATION, location);
    response
}

/// The answer out of a file.
fn answer(item: &Arc<Item>, request: &Request) -> Response {
    let validators =
        Validators { etag: item.etag.as_ref(), modified: Some(item.identity.modified()), length: item.identity.length };
    let length = item.identity.length;
    let mut response = Response::new(StatusCode::OK);
    match plan(&request.head.method, &request.head.headers, validators) {
        Plan::Whole => {
            response.ready = Some(Arc::clone(&item.ready));
            response.body = item.part(0..length);
        }
        Plan::NotModified => {
            response.status = StatusCode::NOT_MODIFIED;
            response.ready = Some(Arc::clone(&item.validators));
        }
        Plan::PreconditionFailed => response = status(StatusCode::PRECONDITION_FAILED),
        Plan::Unsatisfiable => {
            response = status(StatusCode::RANGE_NOT_SATISFIABLE);
            insert(&mut response, CONTENT_RANGE, format!("bytes */{length}"));
        }
        Plan::Parts(parts) => {
            response.status = StatusCode::PARTIAL_CONTENT;
            match &*parts {
                [part] => {
                    response.ready = Some(Arc::clone(&item.ready));
                    insert(&mut response, CONTENT_RANGE, content_range(part, length));
                    response.body = item.part(part.clone());
                }
                parts => several(item, parts, &mut response),
            }
        }
    }
    response
}

/// Several parts in one answer (RFC 9110 section 14.6).
fn several(item: &Arc<Item>, parts: &[Range<u64>], response: &mut Response) {
    let boundary = item.boundary();
    let kind = item.ready.fields.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for (index, part) in parts.iter().enumerate() {
        let line = if index == 0 { "" } else { "\r\n" };
        let range = content_range(part, item.identity.length);
        let head = format!("{line}--{boundary}\r\ncontent-type: {kind}\r\ncontent-range: {range}\r\n\r\n");
        pieces.push(Body::Full(head.into()));
        pieces.push(item.part(part.clone()));
    }
    pieces.push(Body::Full(format!("\r\n--{boundary}--\r\n").into()));
    response.ready = Some(Arc::clone(&item.validators));
    insert(response, CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
    response.body = Body::Pieces(pieces);
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1))
}

fn insert(response: &mut Response, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
