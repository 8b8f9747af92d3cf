//! Pages of a site's own in the place of error answers, however these are made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use outwork_config::expansion::join_key;

use crate::message::{Answer, Body, Handler, Request, Response};
use crate::problem::Media;

/// The largest page.
const LARGEST: u64 = 1 << 20;

/// Which statuses have an error page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// This one.
    One(StatusCode),
    /// All with this first digit.
    Class(u16),
}

impl Statuses {
    /// Those of a setting: `404`, `4xx`; `None` where that is no status of an error.
    pub fn of(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| matches!(class, 4 | 5)).map(Self::Class);
        }
        let code: StatusCode = text.parse().ok()?;
        (code.is_client_error() || code.is_server_error()).then_some(Self::One(code))
    }

    /// The page of a status; one for it alone comes before one for its class.
    pub fn page<P>(pages: &[(Self, P)], code: StatusCode) -> Option<&P> {
        let find = |wanted: Self| pages.iter().find(|(statuses, _)| *statuses == wanted);
        find(Self::One(code)).or_else(|| find(Self::Class(code.as_u16() / 100))).map(|(_, page)| page)
    }
}

/// What answers with files, and has pages for errors among them.
pub trait ErrorPages: Send + Sync {
    /// An answer that was made elsewhere, with its page where its status has one; `fields` are those of the request.
    fn with_page(&self, response: Response, fields: HeaderMap) -> Answer;
}

/// Pages that were read when the configuration was.
#[derive(Debug)]
pub(crate) struct Pages(Vec<(Statuses, Page)>);

#[derive(Debug)]
struct Page {
    media: HeaderValue,
    content: Bytes,
}

/// Why a page cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot read {path}: {source}", join_key("error_pages", .statuses))]
pub struct PageError {
    statuses: String,
    path: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl Pages {
    /// Reads them; `None` where there are none.
    pub(crate) fn read(settings: &BTreeMap<String, PathBuf>) -> Result<Option<Self>, PageError> {
        let read = |(statuses, path): (&String, &PathBuf)| {
            let failed = |source| PageError { statuses: statuses.clone(), path: path.display().to_string(), source };
            // Checked when the configuration was read.
            let (Some(of), Some(media)) = (Statuses::of(statuses), media(path)) else { return Ok(None) };
            let content = content(path).map_err(failed)?;
            Ok(Some((of, Page { media: HeaderValue::from_static(media), content: content.into() })))
        };
        let pages = settings.iter().filter_map(|page| read(page).transpose()).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self(pages)).filter(|Self(pages)| !pages.is_empty()))
    }

    /// Gives an error its page, to a client that likes this best. What a handler has written itself stays, and so does what programs ask for.
    pub(crate) fn put(&self, response: &mut Response, likes: Media) {
        let Some(page) = Statuses::page(&self.0, response.status) else { return };
        let problem = response.note.as_mut().and_then(|note| note.problem.as_mut());
        let Some(problem) = problem.filter(|problem| problem.is_shown()) else { return };
        let gives_way = problem.gives_way(likes);
        let varies = |value: &HeaderValue| {
            let names = value.to_str().unwrap_or_default().split(',');
            names.map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case("accept"))
        };
        if !response.headers.get_all(VARY).iter().any(varies) {
            response.headers.append(VARY, HeaderValue::from_static("accept"));
        }
        if !gives_way {
            return;
        }
        problem.hide();
        response.headers.remove(CONTENT_ENCODING);
        response.headers.insert(CONTENT_TYPE, page.media.clone());
        response.body = Body::Full(page.content.clone());
    }
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut content)?;
    match content.len() as u64 > LARGEST {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(content),
    }
}

/// What a page is, by the end of its name.
pub(in crate::filter) fn media(path: &Path) -> Option<&'static str> {
    Some(match path.extension()?.to_str()? {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "json" => "application/json",
        _ => return None,
    })
}

/// A handler whose errors have pages: before a cache, which then keeps the page.
pub(crate) struct Paged {
    pub(crate) inner: Arc<dyn Handler>,
    pub(crate) pages: Arc<Pages>,
}

impl Handler for Paged {
    fn handle(&self, request: Request) -> Answer {
        let likes = Media::preferred(&request.head.headers);
        match self.inner.handle(request) {
            Answer::Now(mut response) => {
                self.pages.put(&mut response, likes);
                response.into()
            }
            Answer::Later(response) => {
                let pages = Arc::clone(&self.pages);
                Answer::Later(Box::pin(async move {
                    let mut response = response.await;
                    pages.put(&mut response, likes);
                    response
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;
    use crate::problem::Problem;

    fn pages(dir: &Path) -> Pages {
        std::fs::write(dir.join("404.html"), "<p>gone").unwrap();
        std::fs::write(dir.join("4xx.txt"), "no").unwrap();
        let settings = [("404", "404.html"), ("4xx", "4xx.txt")];
        let settings = settings.map(|(statuses, name)| (statuses.to_owned(), dir.join(name)));
        Pages::read(&settings.into()).unwrap().unwrap()
    }

    fn answered(pages: &Pages, code: u16, accept: &str) -> (String, String) {
        let (head, ()) = http::Request::builder().header(ACCEPT, accept).body(()).unwrap().into_parts();
        let mut response = Problem::new(StatusCode::from_u16(code).unwrap(), "no such thing").answer(&head);
        pages.put(&mut response, Media::preferred(&head.headers));
        assert_eq!(response.headers[VARY], "accept");
        let Body::Full(body) = &response.body else { panic!("it has a body") };
        (response.headers[CONTENT_TYPE].to_str().unwrap().to_owned(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn an_error_has_the_page_of_its_status_before_that_of_its_class() {
        let dir = tempfile::tempdir().unwrap();
        let pages = pages(dir.path());
        assert_eq!(answered(&pages, 404, "*/*"), ("text/html; charset=utf-8".into(), "<p>gone".into()));
        assert_eq!(answered(&pages, 403, "text/html"), ("text/plain; charset=utf-8".into(), "no".into()));
        assert!(answered(&pages, 500, "*/*").1.starts_with("500 "));
        assert_eq!(answered(&pages, 404, "application/json").0, "application/problem+json");
    }

    #[test]
    fn problem_details_for_programs_give_way_to_who_asks_for_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let pages = pages(dir.path());
        for (likes, kind) in [(Media::Text, "application/problem+json"), (Media::Html, "text/html; charset=utf-8")] {
            let mut response = Problem::new(StatusCode::NOT_FOUND, "no row").details("no-row").into_response();
            pages.put(&mut response, likes);
            assert_eq!(
                (&response.headers[CONTENT_TYPE], &response.headers[VARY]),
                (&kind.parse().unwrap(), &"accept".parse().unwrap())
            );
        }
    }

    #[test]
    fn what_a_handler_has_written_itself_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut own = Response::full(StatusCode::NOT_FOUND, "text/plain", "mine");
        pages(dir.path()).put(&mut own, Media::Html);
        assert!(matches!(&own.body, Body::Full(body) if body == "mine"));
    }

    #[test]
    fn a_page_that_cannot_be_read_is_named_with_its_setting() {
        let settings = BTreeMap::from([("5xx".to_owned(), PathBuf::from("/nowhere/5xx.html"))]);
        let error = Pages::read(&settings).unwrap_err().to_string();
        assert!(error.starts_with("error_pages.5xx: cannot read /nowhere/5xx.html: "), "{error}");
        assert!(Pages::read(&BTreeMap::new()).unwrap().is_none());
    }
}
