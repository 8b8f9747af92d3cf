//! A folder as a site.
//!
//! - `folder`: opening files so that nothing leads out of the folder.
//! - `stock`: open files and small contents that are kept, with their header fields made ready.
//! - `media`: media types.
//!
//! A file that is in stock is looked up again by `stat` before it is served, so a change is seen with the next request.

mod folder;
mod media;
mod stock;

use std::io;
use std::sync::Arc;

use http::header::{ALLOW, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use outwork_front::conditional::answer;
use outwork_front::message::{Answer, Handler, Request, Response};
use outwork_front::route::path::NormalPath;

use crate::config::Files as Settings;
use folder::{Folder, Named};
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
            return answer(&head.method, &head.headers, &*item).into();
        }
        // To open, read and hash may have to wait for the disk, which is not for a thread that answers others meanwhile.
        let (inner, path) = (Arc::clone(&self.inner), path.to_owned());
        Answer::Later(Box::pin(async move {
            let target = path.clone();
            match tokio::task::spawn_blocking(move || inner.find(&target)).await {
                Ok(Ok(Found::Item(item))) => answer(&request.head.method, &request.head.headers, &*item),
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

#[cfg(test)]
mod tests;
