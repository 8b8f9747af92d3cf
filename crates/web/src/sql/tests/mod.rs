//! Queries as a route asks them, of real databases.

mod leaving;
mod listening;
mod postgres;
mod server;
mod sharing;
mod sqlite;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use outwork_config::{Sources, load, section};
use outwork_front::answer::Routed;
use outwork_front::message::{Body, BodyError, BodySource, Handler, Origin, Request, RequestBody};
use outwork_front::route::{Conditions, Table};

use super::config::{Query, Web};
use super::examine::{Finding, examine};
use super::query::{Around, prepare};
use super::{Databases, Queried, Shared};

section! {
    /// A site.
    struct Site {
        /// Its databases.
        web: Web,
        /// Its routes.
        route: std::collections::BTreeMap<String, Query>,
    }
}

/// What a client gets.
#[derive(Debug)]
struct Told {
    status: u16,
    fields: http::HeaderMap,
    body: String,
}

impl Told {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A server without sockets.
struct Asked {
    databases: Databases,
    routed: Routed,
}

impl Asked {
    /// Routes are called by their method, where it is not GET, and their path: `'POST /users'`.
    fn new(text: &str) -> Self {
        let site = read(text);
        let databases = Databases::open(&site.web, Shared::new(&site.web).unwrap()).unwrap();
        let routed = routed(&site, &databases);
        Self { databases, routed }
    }

    /// Takes another configuration up.
    fn reload(&mut self, text: &str) {
        let site = read(text);
        self.databases = self.databases.with(&site.web).unwrap();
        self.routed = routed(&site, &self.databases);
    }

    fn shared(&self) -> &Shared {
        self.databases.shared()
    }

    async fn get(&self, uri: &str) -> Told {
        self.ask(Method::GET, uri, &[], "").await
    }

    async fn post(&self, uri: &str, kind: &str, body: &str) -> Told {
        self.ask(Method::POST, uri, &[("content-type", kind)], body).await
    }

    async fn ask(&self, method: Method, uri: &str, fields: &[(&str, &str)], body: &str) -> Told {
        let mut builder = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (head, ()) = builder.body(()).unwrap().into_parts();
        let body = match body.is_empty() {
            true => RequestBody::Empty,
            false => RequestBody::Source(Rc::new(Once(RefCell::new(Some(Bytes::copy_from_slice(body.as_bytes())))))),
        };
        let end = ([127, 0, 0, 1], 1).into();
        let origin = Rc::new(Origin { peer: end, local: end, to: None, tls: false, session: None });
        let response = self.routed.handle(Request { head, body, origin }).response().await;
        let mut fields = response.headers;
        for (name, value) in response.ready.iter().flat_map(|ready| &ready.fields) {
            fields.insert(name.clone(), value.clone());
        }
        let body = match response.body {
            Body::Empty => String::new(),
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => panic!("answers of queries are in memory"),
        };
        Told { status: response.status.as_u16(), fields, body }
    }
}

fn read(text: &str) -> Site {
    let sources = Sources { file: Some(("a.toml".into(), text.to_owned())), env: vec![], set: vec![] };
    load::<Site>(sources).unwrap_or_else(|faults| panic!("{}", faults.render(false))).value
}

/// What databases say of the queries of a site, by their places among its routes.
fn examined(text: &str) -> Vec<Finding> {
    let site = read(text);
    let prepared = |(name, query): (&String, &Query)| {
        let (method, path) = name.split_once(' ').unwrap_or(("", name));
        let (path, methods) = (path.parse().unwrap(), [method.to_owned()]);
        let dialect = site.web.database[&query.database].url.dialect();
        let methods: &[String] = if method.is_empty() { &[] } else { &methods };
        prepare(query, Around { path: &path, methods, dialect, cache: &site.web.query_cache }).unwrap()
    };
    let mut queries: Vec<_> = site.route.iter().map(prepared).collect();
    // Those without a method first.
    queries.sort_by_key(|query| query.write);
    examine(&site.web, &queries)
}

fn routed(site: &Site, databases: &Databases) -> Routed {
    let routes = site.route.iter().map(|(name, query)| {
        let (method, path) = name.split_once(' ').unwrap_or(("", name));
        let path = path.parse().unwrap();
        let methods: Vec<String> = Some(method.to_owned()).filter(|method| !method.is_empty()).into_iter().collect();
        let source = databases.get(&query.database).unwrap();
        let around = Around { path: &path, methods: &methods, dialect: source.dialect(), cache: &site.web.query_cache };
        let prepared = prepare(query, around).unwrap_or_else(|faults| panic!("{faults:?}"));
        let methods = methods.iter().map(|method| method.parse().unwrap()).collect();
        let queried = Queried::new(prepared, "/test", Arc::clone(source), Arc::clone(databases.shared()));
        (Conditions { hosts: vec![], path, methods, fields: vec![] }, Arc::new(queried) as Arc<dyn Handler>)
    });
    Routed::new(Table::new(routes.collect()))
}

/// A content that is there at once.
struct Once(RefCell<Option<Bytes>>);

impl BodySource for Once {
    fn poll_part(&self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        Poll::Ready(self.0.take().map(Ok))
    }

    fn remaining(&self) -> Option<u64> {
        None
    }
}

/// Waits until something is so. Whoever waits in vain is stopped by who runs the tests.
async fn until(mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Routes of the database `main`: each one's method, where it is not GET, and path; its statement; and its other keys.
fn routes<const N: usize>(routes: [(&str, &str, &str); N]) -> String {
    routes.map(|(name, sql, keys)| format!("[route.'{name}']\ndatabase = 'main'\nsql = \"{sql}\"\n{keys}\n")).concat()
}

/// One that gives a value back, and one that keeps it as a name. `echo` is how the database says that the value is a text.
fn values(echo: &str) -> String {
    let value = "params = { v = { type = 'text' } }";
    routes([
        ("/echo", &format!("select {echo} as v"), value),
        (
            "POST /users",
            "insert into users (name) values (:v) returning name",
            &format!("write = true\nrows = 'one'\n{value}"),
        ),
    ])
}

/// Sends a site of these routes a text that no database may take for SQL, and looks for what came of it.
async fn is_a_value(site: &Asked, text: &str) {
    let users = format!("/users?name={}", escaped(text));
    assert_eq!(site.get(&format!("/echo?v={}", escaped(text))).await.json()[0]["v"], text);
    assert_eq!(site.get(&users).await.body, "[]\n", "{text}");
    let body = serde_json::json!({ "v": text }).to_string();
    assert_eq!(site.post("/users", "application/json", &body).await.json()["name"], text);
    assert_eq!(site.get(&users).await.json().as_array().unwrap().len(), 1, "{text}");
}

/// What no database may take for SQL.
const INJECTIONS: [&str; 9] = [
    "' or '1'='1",
    "'; drop table users; --",
    "\" or \"\"=\"",
    "\\'; drop table users; --",
    "1); delete from users; --",
    "$1 :name ?1 $$",
    "/* */ union select 1 -- \n",
    "\u{2019} or 1=1 -- \u{ff07}",
    "%' escape '\\",
];

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
