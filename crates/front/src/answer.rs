//! Handlers that need nothing but their configuration: by route, a redirect, a fixed answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::cached::Changes;
use crate::filter::cors::preflighted;
use crate::message::{Answer, Body, Handler, ReadyHead, Repeated, Request, Response, Standing};
use crate::problem::Problem;
use crate::route::path::{NormalPath, PathError, on_site};
use crate::route::{Found, Miss, Table, add};

/// Passes each request to the route that fits it best.
pub struct Routed {
    table: Table<Arc<dyn Handler>>,
    unrouted: Arc<dyn Handler>,
    changes: Arc<Changes>,
}

/// What stood in the path of a request where the pattern of its route has names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures(pub Vec<(String, String)>);

impl Routed {
    /// With these routes.
    pub fn new(table: Table<Arc<dyn Handler>>) -> Self {
        Self { table, unrouted: Arc::new(Unrouted), changes: Arc::default() }
    }

    /// Has requests that no route answers pass through `unrouted`, which is an [`Unrouted`] behind middleware.
    #[must_use]
    pub fn unrouted_by(self, unrouted: Arc<dyn Handler>) -> Self {
        Self { unrouted, ..self }
    }

    /// Has routes that cache know what others may have changed.
    #[must_use]
    pub fn telling(self, changes: Changes) -> Self {
        Self { changes: Arc::new(changes), ..self }
    }
}

impl Routed {
    /// Who answers a preflight: the route of the request that it is about, if that speaks CORS.
    fn preflighted(&self, head: &Parts, path: &NormalPath<'_>) -> Option<Arc<dyn Handler>> {
        let method = Method::from_bytes(preflighted(head)?.as_bytes()).ok()?;
        let found = self.table.find_for(&method, head, path).ok()?;
        found.route.answers_preflights().then(|| Arc::clone(found.route))
    }
}

impl Handler for Routed {
    fn handle(&self, mut request: Request) -> Answer {
        let head = &request.head;
        let path = if is_connect(head) { "/" } else { head.uri.path() };
        let why = match NormalPath::new(path) {
            Ok(path) => match self.table.find(head, &path) {
                Ok(Found { route, captures, others }) => {
                    let handler = Arc::clone(route);
                    if !captures.is_empty() {
                        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                        let captures = Captures(captures.iter().map(owned).collect());
                        request.head.extensions.insert(captures);
                    }
                    let answer = self.changes.watch(request, &*handler);
                    return if others.is_empty() { answer } else { with_methods(answer, others) };
                }
                Err(_) if is_connect(head) => Why::Connect,
                Err(Miss::Path) => Why::Path,
                Err(Miss::Method(methods)) => match self.preflighted(head, &path) {
                    Some(handler) => return handler.handle(request),
                    // What an address allows is known without asking who answers there (RFC 9110 section 9.3.7).
                    None if head.method == Method::OPTIONS => Why::Options(methods),
                    None => Why::Method(methods),
                },
            },
            // `OPTIONS *` asks for the server as a whole (RFC 9110 section 9.3.7).
            Err(_) if head.method == Method::OPTIONS && head.uri.path() == "*" => Why::Server,
            Err(error) => Why::Malformed(error),
        };
        request.head.extensions.insert(why);
        self.unrouted.handle(request)
    }
}

/// Whether a request asks for a connection: its target is a host and a port, and has no path.
fn is_connect(head: &Parts) -> bool {
    head.method == Method::CONNECT
}

/// The answer of a route, where others with the same path take other methods: an `Allow` is of the address, and names theirs, too (RFC 9110
/// section 10.2.1).
fn with_methods(answer: Answer, others: Vec<Method>) -> Answer {
    let with = move |mut response: Response| {
        if let Some(allowed) = response.headers.get(ALLOW).and_then(|allowed| allowed.to_str().ok()) {
            let named = allowed.split(',').filter_map(|method| Method::from_bytes(method.trim().as_bytes()).ok());
            let mut methods = others;
            named.for_each(|method| add(&mut methods, &method));
            if let Some(list) = list(&methods) {
                response.headers.insert(ALLOW, list);
            }
        }
        response
    };
    match answer {
        Answer::Now(response) => with(response).into(),
        Answer::Later(response) => Answer::Later(Box::pin(async { with(response.await) })),
    }
}

/// Methods as a field has them.
fn list(methods: &[Method]) -> Option<HeaderValue> {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

/// Why no route answers a request.
#[derive(Debug, Clone)]
enum Why {
    Path,
    Method(Vec<Method>),
    /// It asks what the address allows: these, and that question.
    Options(Vec<Method>),
    Server,
    /// It asks for a connection to somebody.
    Connect,
    Malformed(PathError),
}

/// Answers what no route answers.
#[derive(Debug, Clone, Copy)]
pub struct Unrouted;

impl Handler for Unrouted {
    fn handle(&self, mut request: Request) -> Answer {
        let why = request.head.extensions.remove().unwrap_or(Why::Path);
        let problem = |status, detail: &'static str| Problem::new(status, detail).answer(&request.head);
        match why {
            Why::Path => problem(StatusCode::NOT_FOUND, "nothing is at this address"),
            // The method is known, and it is this target that nobody may be connected to by it (RFC 9110 sections 9.3.6 and 15.5.4).
            Why::Connect => problem(StatusCode::FORBIDDEN, "no route connects clients to what they ask for"),
            Why::Malformed(error) => Problem::new(StatusCode::BAD_REQUEST, error.to_string()).answer(&request.head),
            Why::Server => Response::new(StatusCode::NO_CONTENT),
            Why::Options(mut methods) => {
                add(&mut methods, &Method::OPTIONS);
                let mut response = Response::new(StatusCode::NO_CONTENT);
                response.headers.extend(list(&methods).map(|list| (ALLOW, list)));
                response
            }
            Why::Method(methods) => {
                let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "this address does not answer that method");
                response.headers.extend(list(&methods).map(|list| (ALLOW, list)));
                response
            }
        }
        .into()
    }
}

/// Sends clients elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// Where to. `{host}`, `{authority}`, `{path}` and `{query}` stand for those of the request; the host comes without its port, the authority with it, the
    /// query with its question mark. What the path of the route has in braces stands for what the request has there.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

impl Handler for Redirect {
    fn handle(&self, request: Request) -> Answer {
        let uri = &request.head.uri;
        let authority = request.head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let host = port.map_or(authority, |(name, _)| name);
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let of_request =
            [("{host}", host), ("{authority}", authority), ("{path}", uri.path()), ("{query}", query.as_str())];
        let captures: Vec<(String, String)> =
            request.head.extensions.get::<Captures>().map(escaped).unwrap_or_default();
        let captures = captures.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let values: Vec<(&str, &str)> = of_request.into_iter().chain(captures).collect();
        let target = fill(&self.to, &values);
        let is_path = self.to.starts_with("{path}") || (self.to.starts_with('/') && !self.to.starts_with("//"));
        let target = if is_path { on_site(&target) } else { target };
        match HeaderValue::try_from(target) {
            Ok(target) => {
                let mut response = plain(self.status);
                response.headers.insert(LOCATION, target);
                response.into()
            }
            Err(_) => Problem::new(StatusCode::BAD_REQUEST, "the target cannot stand in a redirection")
                .answer(&request.head)
                .into(),
        }
    }
}

/// What stood where the pattern of the route has names: each name in braces, and the text as URLs have it.
fn escaped(Captures(captures): &Captures) -> Vec<(String, String)> {
    let escaped = |(name, value): &(String, String)| {
        let path = format!("/{value}");
        // It is a part of a path that was brought into this form, and that is its own.
        let value = NormalPath::new(&path).map(|path| path.escaped().trim_start_matches('/').to_owned());
        (format!("{{{name}}}"), value.unwrap_or_default())
    };
    captures.iter().map(escaped).collect()
}

/// Puts values in for names, once: what is put in is not looked through again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(brace) = rest.find('{') {
        let (before, from) = rest.split_at(brace);
        filled.push_str(before);
        let value = values.iter().find_map(|(name, value)| Some((*value, from.strip_prefix(name)?)));
        let (text, after) = value.unwrap_or_else(|| from.split_at(1));
        filled.push_str(text);
        rest = after;
    }
    filled + rest
}

/// Answers every request alike.
#[derive(Debug, Clone)]
pub struct Respond {
    /// The status.
    pub status: StatusCode,
    ready: Arc<ReadyHead>,
    body: Bytes,
}

impl Respond {
    /// With these header fields and this content, whose type is `text/plain` where the fields do not say otherwise.
    pub fn new(status: StatusCode, mut fields: HeaderMap, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        if !body.is_empty() && !fields.contains_key(CONTENT_TYPE) {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        Self { status, ready: ReadyHead::new(fields), body }
    }
}

impl Handler for Respond {
    fn handle(&self, request: Request) -> Answer {
        let mut response = Response::new(self.status);
        if request.head.extensions.get::<Repeated>().is_some() {
            response.note_mut().standing = Some(Standing::always());
        }
        response.ready = Some(Arc::clone(&self.ready));
        response.body = Body::Full(self.body.clone());
        response.into()
    }
}

/// A status and its name.
fn plain(status: StatusCode) -> Response {
    let text = format!("{}\n", status.canonical_reason().unwrap_or("error"));
    Response::full(status, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::message::{Origin, RequestBody};
    use crate::route::Conditions;

    fn ask(handler: &dyn Handler, method: Method, uri: &str) -> Response {
        let (head, ()) = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, "a.example:80")
            .body(())
            .unwrap()
            .into_parts();
        let end = ([127, 0, 0, 1], 1).into();
        let origin = Rc::new(Origin { peer: end, local: end, to: None, tls: false, session: None });
        match handler.handle(Request { head, body: RequestBody::Empty, origin }) {
            Answer::Now(response) => response,
            Answer::Later(_) => panic!("it has nothing to wait for"),
        }
    }

    fn field<'r>(response: &'r Response, name: &str) -> &'r str {
        response.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    struct Tell;

    impl Handler for Tell {
        fn handle(&self, request: Request) -> Answer {
            let captures = request.head.extensions.get::<Captures>().cloned();
            Response::full(StatusCode::OK, "text/plain", format!("{captures:?}")).into()
        }
    }

    #[test]
    fn a_request_goes_to_its_route_with_what_its_path_says() {
        let path = "/users/{id}".parse().unwrap();
        let conditions = Conditions { hosts: vec![], path, methods: vec![Method::GET], fields: vec![] };
        let routed = Routed::new(Table::new(vec![(conditions, Arc::new(Tell) as Arc<dyn Handler>)]));
        let Body::Full(body) = ask(&routed, Method::GET, "/users/7").body else { panic!("it has a body") };
        assert!(std::str::from_utf8(&body).unwrap().contains("(\"id\", \"7\")"), "{body:?}");
        assert_eq!(ask(&routed, Method::GET, "/users").status, StatusCode::NOT_FOUND);
        assert_eq!(ask(&routed, Method::GET, "/%zz").status, StatusCode::BAD_REQUEST);
        assert_eq!(ask(&routed, Method::OPTIONS, "*").status, StatusCode::NO_CONTENT);
        let refused = ask(&routed, Method::DELETE, "/users/7");
        assert_eq!((refused.status, field(&refused, "allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
    }

    #[test]
    fn who_asks_what_an_address_allows_is_told_whatever_methods_its_routes_name() {
        let route = |path: &str, method| {
            let conditions =
                Conditions { hosts: vec![], path: path.parse().unwrap(), methods: vec![method], fields: vec![] };
            (conditions, Arc::new(Tell) as Arc<dyn Handler>)
        };
        let routed = Routed::new(Table::new(vec![route("/x/{id}", Method::GET), route("/x/{id}", Method::DELETE)]));
        let answer = ask(&routed, Method::OPTIONS, "/x/7");
        assert_eq!((answer.status, field(&answer, "allow")), (StatusCode::NO_CONTENT, "GET, HEAD, DELETE, OPTIONS"));
        assert_eq!(ask(&routed, Method::OPTIONS, "/y").status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_redirect_keeps_what_its_route_has_a_name_for() {
        let redirect = Redirect { to: "https://{authority}/new/{slug}".to_owned(), status: StatusCode::FOUND };
        let path = "/old/{slug}".parse().unwrap();
        let conditions = Conditions { hosts: vec![], path, methods: vec![], fields: vec![] };
        let routed = Routed::new(Table::new(vec![(conditions, Arc::new(redirect) as Arc<dyn Handler>)]));
        let to = |uri| field(&ask(&routed, Method::GET, uri), "location").to_owned();
        assert_eq!(to("/old/a"), "https://a.example:80/new/a");
        assert_eq!(to("/old/%7Bauthority%7D%2F%5C%20"), "https://a.example:80/new/%7Bauthority%7D%2F%5C%20");
    }

    #[test]
    fn a_redirection_to_a_path_stays_on_its_site_whatever_is_asked_for() {
        let to = |template: &str, uri: &'static str| {
            let redirect = Redirect { to: template.to_owned(), status: StatusCode::FOUND };
            let everything = Conditions { hosts: vec![], path: "/*".parse().unwrap(), methods: vec![], fields: vec![] };
            let routed = Routed::new(Table::new(vec![(everything, Arc::new(redirect) as Arc<dyn Handler>)]));
            field(&ask(&routed, Method::GET, uri), "location").to_owned()
        };
        for uri in ["//evil.example/a?b", "/\\evil.example/a?b", "/\\/evil.example/a?b"] {
            assert_eq!(to("{path}{query}", uri), "/evil.example/a?b", "{uri}");
            assert_eq!(to("/{path}{query}", uri), "/evil.example/a?b", "{uri}");
        }
        assert_eq!(to("//other.example{path}", "/a"), "//other.example/a", "what the configuration says is meant");
    }

    #[test]
    fn what_an_address_allows_is_what_all_of_its_routes_take() {
        /// Refuses every method but these.
        struct Only(&'static str);

        impl Handler for Only {
            fn handle(&self, _: Request) -> Answer {
                let mut response = Response::new(StatusCode::METHOD_NOT_ALLOWED);
                response.headers.insert(ALLOW, HeaderValue::from_static(self.0));
                response.into()
            }
        }

        let route = |path: &str, methods: &[Method], handler: Arc<dyn Handler>| {
            let path = path.parse().unwrap();
            (Conditions { hosts: vec![], path, methods: methods.to_vec(), fields: vec![] }, handler)
        };
        let routed = Routed::new(Table::new(vec![
            route("/x", &[Method::PUT], Arc::new(Tell)),
            route("/x", &[Method::POST], Arc::new(Tell)),
            route("/*", &[], Arc::new(Only("GET, HEAD, OPTIONS"))),
        ]));
        let allowed = |path| field(&ask(&routed, Method::DELETE, path), "allow").to_owned();
        assert_eq!(allowed("/x"), "PUT, POST, GET, HEAD, OPTIONS");
        assert_eq!(allowed("/y"), "GET, HEAD, OPTIONS");
    }

    #[test]
    fn a_redirect_keeps_of_the_request_what_it_names_and_reads_it_once() {
        let redirect = |to: &str| Redirect { to: to.to_owned(), status: StatusCode::PERMANENT_REDIRECT };
        let to = |to: &str, uri| field(&ask(&redirect(to), Method::GET, uri), "location").to_owned();
        assert_eq!(to("https://{host}{path}{query}", "/x?y=1"), "https://a.example/x?y=1");
        assert_eq!(to("https://{host}{path}{query}", "/x"), "https://a.example/x");
        assert_eq!(to("/new{other}", "/x"), "/new{other}");
        assert_eq!(to("{path}", "/%7Bhost%7D?{host}"), "/%7Bhost%7D");
        assert_eq!(to("{query}", "/?{host}"), "?{host}");
    }
}
