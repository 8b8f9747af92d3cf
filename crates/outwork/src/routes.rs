//! The `[front]` section: where the front door listens, and the routes to every handler there is.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use outwork_cache::Key;
use outwork_config::expansion::{Foreign, join_key};
use outwork_config::{Affinity, At, ByteSize, Fault, hours, millis, section};

use outwork_front::answer::{Redirect, Respond, Routed, Unrouted};
use outwork_front::ask::Ask;
use outwork_front::cached::config::{Cache as CacheRules, Edge};
use outwork_front::cached::edge::EdgeFields;
use outwork_front::cached::{Changes, Rules, Store};
use outwork_front::coding::Compression;
use outwork_front::config::{AcmeChallenge, AcmeSettings, Limits, Listener};
use outwork_front::door::{Options, Threads};
use outwork_front::filter::config::{
    self as filters, AccessLogSettings, ForwardAuth, JwtIssuer, RateStore, Redis, RequestId, Rewrite, Trust,
};
use outwork_front::filter::{
    ClientField, Entry, ErrorPages, General, Kit, KitError, Layers, Network, Reroute, Route as Middleware, Taken,
};
use outwork_front::filtered_section;
use outwork_front::message::Handler;
use outwork_front::route::path::PathPattern;
use outwork_front::route::{Conditions, HostPattern, Table};
use outwork_front::traffic::Listed;
use outwork_net::descriptors;
use outwork_proxy::acceleration::rules::{Obstacle, Rule};
use outwork_proxy::address::{BackendUrl, Cargo};
use outwork_proxy::ask::{self, Asker};
use outwork_proxy::config::{Forward, Proxy};
use outwork_proxy::forward::{Passing, Proxied, Splitting};
use outwork_proxy::pool::PreparedPools;
use outwork_web::config::Files as FilesSettings;
use outwork_web::files::{Files, Shared};
use outwork_web::sql::address::Dialect;
use outwork_web::sql::config::{Query as QuerySettings, Web};
use outwork_web::sql::query::{Around, Prepared, prepare};
use outwork_web::sql::{Databases, Queried};

use crate::redirection::RedirectSettings;
use crate::settings::is_below;
use crate::{redirection, remarks};

filtered_section! {
    /// The front door: HTTP/1.1, HTTP/2 and HTTP/3, and the routes to what answers. What it says of middleware holds for every route that does
    /// not say otherwise.
    pub(crate) struct FrontSettings {
        /// Threads that serve connections, each with listening sockets of its own; 0 means one a core, of those that `affinity` names if it names any.
        pub(crate) workers: u16 [restart, range 0..=1024] = 0,
        /// Whether each of them stays on a core of its own, or processors that they stay on in turn, such as "4-7".
        pub(crate) affinity: Affinity [restart] = Affinity::Anywhere,
        /// The stack of each.
        pub(crate) stack_size: ByteSize [restart, range ByteSize::kib(256)..=ByteSize::mib(64)] = ByteSize::mib(2),
        /// Threads that each of them may have beside it for what waits for disks: large files, directories, lists.
        pub(crate) io_threads: u16 [restart, range 1..=512] = 16,
        /// Where to listen. Without any there is no front door.
        pub(crate) listener: Vec<Listener>,
        /// Certificates by ACME.
        pub(crate) acme: AcmeSettings,
        /// What connections may do.
        pub(crate) limits: Limits,
        /// Compression of responses, for routes that do not say otherwise.
        pub(crate) compression: Compression,
        /// The routes. The most specific one that fits answers, wherever it stands: one whose host is named comes before one with a wildcard, and that before
        /// one without hosts; among these the most specific path, text before `{name}` before `*`; then the one with more methods and header fields. A route
        /// without hosts guards nothing that a route with the host of the request answers, not even with a path that says less.
        pub(crate) route: Vec<Route>,
        /// Networks of proxies whose word is taken for whose request it is.
        pub(crate) trusted_proxies: Vec<Network>,
        /// The field in which they tell it.
        pub(crate) client_field: ClientField = ClientField::XForwardedFor,
        /// Ids of requests. Error answers have one in any case.
        pub(crate) request_id: Option<RequestId>,
        /// The access log. Without it there is none.
        pub(crate) access_log: Option<AccessLogSettings>,
        /// Where rate limits are counted together with other servers.
        pub(crate) redis: Option<Redis>,
        /// Who issues tokens, by a name that routes know them by.
        pub(crate) jwt_issuer: BTreeMap<String, JwtIssuer>,
    }
    check whole;
    foreign OF_THE_DOOR;
}

filtered_section! {
    /// Requests, and what answers them: exactly one of `files`, `proxy`, `query`, `redirect`, `respond` and `reroute`.
    #[required_keys]
    pub(crate) struct Route {
        /// Hosts, such as `www.example.org` or `*.example.org`, without scheme and port; none stands for any. A route whose host is named comes before one
        /// with a wildcard, and that before one without hosts, whatever their paths are.
        pub(crate) host: Vec<HostPattern>,
        /// The path. `{name}` stands for one segment, and `*` at the end for whatever follows; without it the path is this one alone: `/admin/` is not
        /// `/admin/index.html`. Of routes with the same host the most specific path answers.
        pub(crate) path: PathPattern,
        /// Methods; none stands for any. GET brings HEAD along.
        pub(crate) methods: Vec<String>,
        /// Header fields that the request has to have, with their values; `*` stands for any.
        pub(crate) headers: BTreeMap<String, String>,
        /// Compression of its responses.
        pub(crate) compression: Option<Compression>,
        /// Files of a folder.
        pub(crate) files: Option<FilesSettings>,
        /// A pool of backends, to which requests are passed on.
        pub(crate) proxy: Option<Forward>,
        /// Rows of a database.
        pub(crate) query: Option<QuerySettings>,
        /// Another address.
        pub(crate) redirect: Option<RedirectSettings>,
        /// The same answer always.
        pub(crate) respond: Option<RespondSettings>,
        /// Whether and how its answers are cached. What a `query` answers is forgotten with its URL here, and not with its tables: for what changes there is
        /// the cache of results (`query.cache`), which knows.
        pub(crate) cache: Option<CacheRules>,
        /// Another target, for which the routes are asked again. The route that is found then says what middleware there is.
        pub(crate) reroute: Option<Rewrite>,
        /// Another target, for what answers here.
        pub(crate) rewrite: Option<Rewrite>,
        /// The largest body of a request, in place of that of `front.limits`.
        pub(crate) max_body: Option<ByteSize>,
        /// How long it may take to answer. What takes longer is answered with an error.
        pub(crate) timeout: Option<Duration> [range millis(10)..=hours(24)],
        /// Whether its requests have a line in the access log.
        pub(crate) logged: bool = true,
    }
    check one_answer;
    foreign OF_A_ROUTE;
}

const AS_PROXY: &str =
    "write proxy = { pool = \"NAME\" }, and a [proxy.pool.NAME] with backend = [{ url = \"http://HOST:PORT\" }]";
const NO_FASTCGI: &str =
    "Outwork speaks HTTP with backends, not FastCGI; write proxy = { pool = \"NAME\" } for one that does";
const AS_POOL: &str = "write a [proxy.pool.NAME] with backend = [{ url = \"http://HOST:PORT\" }], and proxy = { pool = \"NAME\" } in a [[front.route]]";
const AS_FILES: &str = "write files = { root = \"FOLDER\" }";
const AS_TRY: &str = "write files = { root = \"FOLDER\", try = [\"$path\", \"/index.html\"] }";
const AS_HOST: &str = "write host = [\"www.example.org\"]";
const AS_PATH: &str = "write path = \"/PREFIX/*\", or path = \"/PATH\" for that path alone";
const AS_LISTENER: &str = "write address = \"0.0.0.0:8080\" in a [[front.listener]]; a route answers at every listener";
const AS_CERTIFICATE: &str = "write tls = { certificate = \"FILE\", key = \"FILE\" } in a [[front.listener]]";
const AS_ERROR_PAGES: &str = "write error_pages = { 404 = \"404.html\", 5xx = \"sorry.html\" }";

/// What nginx, Caddy and Apache have where a route is meant.
const OF_A_ROUTE: Foreign = &[
    ("proxy_pass", AS_PROXY),
    ("reverse_proxy", AS_PROXY),
    ("upstream", AS_PROXY),
    ("backend", AS_PROXY),
    ("fastcgi_pass", NO_FASTCGI),
    ("location", AS_PATH),
    ("root", AS_FILES),
    ("file_server", AS_FILES),
    ("alias", "write files = { root = \"FOLDER\" }, and rewrite = { strip_prefix = \"/PREFIX\" } beside it"),
    ("index", "write files = { root = \"FOLDER\", index = [\"index.html\"] }"),
    ("autoindex", "write files = { root = \"FOLDER\", listing = { enabled = true } }"),
    ("try_files", AS_TRY),
    ("server_name", AS_HOST),
    ("hosts", AS_HOST),
    ("listen", AS_LISTENER),
    ("return", "write redirect = { to = \"/new\", status = 301 }, or respond = { status = 200, body = \"TEXT\" }"),
    ("redir", "write redirect = { to = \"/new\" }"),
    ("error_page", AS_ERROR_PAGES),
    ("gzip", "write compression = { enabled = true }"),
    ("encode", "write compression = { enabled = true }"),
    ("expires", "write response_headers = { set = { cache-control = \"max-age=3600\" } }"),
    ("add_header", "write response_headers = { set = { x-name = \"VALUE\" } }"),
    ("auth_basic", "write basic_auth = { users = { NAME = \"HASH\" } }; `outwork hash-password` makes a hash"),
    ("auth_jwt", "write jwt = {}, and a [front.jwt_issuer.NAME] with the jwks_url of who issues tokens"),
    ("allow", "write addresses = { allow = [\"192.0.2.0/24\"] }"),
    ("deny", "write addresses = { deny = [\"192.0.2.0/24\"] }"),
    ("ssl_certificate", AS_CERTIFICATE),
    ("ssl_certificate_key", AS_CERTIFICATE),
];

/// What they have where the front door is meant.
const OF_THE_DOOR: Foreign = &[
    ("server", "write a [[front.listener]] with its address, and a [[front.route]] with its host and path"),
    ("routes", "write [[front.route]] once for each"),
    ("location", "write a [[front.route]] with its path"),
    ("upstream", AS_POOL),
    ("proxy_pass", AS_POOL),
    ("reverse_proxy", AS_POOL),
    ("listen", "write a [[front.listener]] with address = \"0.0.0.0:8080\""),
    ("listeners", "write [[front.listener]] once for each"),
    ("server_name", "write host in a [[front.route]]"),
    ("host", "write it in a [[front.route]]"),
    ("root", "write a [[front.route]] with path = \"/*\" and files = { root = \"FOLDER\" }"),
    ("gzip", "write compression = { enabled = true }"),
    ("error_page", AS_ERROR_PAGES),
    ("ssl_certificate", AS_CERTIFICATE),
    ("ssl_certificate_key", AS_CERTIFICATE),
];

section! {
    /// Answers every request alike.
    pub(crate) struct RespondSettings {
        /// The status.
        pub(crate) status: u16 [range 200..=599] = 200,
        /// The content.
        pub(crate) body: String = "",
        /// Header fields.
        pub(crate) headers: BTreeMap<String, String>,
    }
    check fields;
}

fn acme_can_work(front: &FrontSettings, at: &mut At<'_>) {
    let wanted = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| !tls.acme.is_empty());
    let Some(index) = front.listener.iter().position(wanted) else { return };
    if !front.acme.accept_terms {
        let fault = Fault::new("the terms of service of the certificate authority are not accepted");
        let help = "read them, and set front.acme.accept_terms = true; for development there is tls.local";
        at.fault(&format!("listener[{index}].tls.acme"), fault.expected("front.acme.accept_terms = true").help(help));
    }
    let clear = front.listener.iter().any(|listener| listener.tls.is_none());
    if front.acme.challenges == [AcmeChallenge::Http01] && !clear {
        let fault = Fault::new("http-01 alone needs a listener that speaks clear text, and there is none");
        at.fault("acme.challenges", fault.expected("tls-alpn-01, or a [[front.listener]] without tls at port 80"));
    }
}

fn one_answer(route: &Route, at: &mut At<'_>) {
    const ANSWERS: &str = "files, proxy, query, redirect, respond, reroute";
    let answers = [
        ("files", route.files.is_some()),
        ("proxy", route.proxy.is_some()),
        ("query", route.query.is_some()),
        ("redirect", route.redirect.is_some()),
        ("respond", route.respond.is_some()),
        ("reroute", route.reroute.is_some()),
    ];
    let given: Vec<&str> = answers.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    match *given {
        [_] => {}
        // What was to answer may be there, and not be readable.
        [] if at.left_out().any(|key| ANSWERS.split(", ").any(|answer| is_below(key, answer))) => {}
        [] => {
            let help = "say what answers: files = { root = \"FOLDER\" }, proxy = { pool = \"NAME\" }, query, redirect = { to = \"/new\" }, or respond = { body = \"TEXT\" }";
            at.fault("", Fault::new("nothing answers").expected(format!("one of {ANSWERS}")).help(help));
        }
        [_, second, ..] => {
            let fault = Fault::new(format!("{} answer", given.join(" and "))).expected(format!("one of {ANSWERS}"));
            at.fault(second, fault.help("make a route of each, with a path of its own"));
        }
    }
    let own = [
        ("compression", route.compression.is_some()),
        ("cache", route.cache.is_some()),
        ("rewrite", route.rewrite.is_some()),
        ("max_body", route.max_body.is_some()),
        ("timeout", route.timeout.is_some()),
        ("logged", !route.logged),
    ];
    let shared = route.shared().named();
    for (key, _) in own.into_iter().chain(shared).filter(|(_, given)| *given && route.reroute.is_some()) {
        let fault = Fault::new("the route that a request is sent on to says this").expected("nothing beside reroute");
        at.fault(key, fault.help("write it in that route, or in [front]"));
    }
    for (index, method) in route.methods.iter().enumerate() {
        if Method::from_bytes(method.as_bytes()).is_err() || method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let fault = Fault::new(format!("{method:?} is no method")).expected("a method such as \"GET\"");
            at.fault(&format!("methods[{index}]"), fault.help("methods are in capital letters"));
        }
    }
    if let Some(redirect) = &route.redirect {
        redirection::check_target(redirect, &route.path, at);
    }
    connections(route, at);
    check_conditions(&route.headers, at);
    filters::check_error_pages(route.error_pages.as_ref(), at);
}

/// CONNECT is answered by routes that pass connections on, and they answer nothing else.
fn connections(route: &Route, at: &mut At<'_>) {
    let connects = route.connects();
    for (index, method) in route.methods.iter().enumerate().filter(|(_, method)| (*method == "CONNECT") != connects) {
        let fault = match connects {
            true => Fault::new(format!("connections are asked for by CONNECT, and not by {method}")),
            false => Fault::new("what CONNECT asks for is a connection, and nothing here gives one"),
        };
        let expected = if connects { "no methods" } else { "proxy = { pool = \"NAME\", connect = true }" };
        at.fault(&format!("methods[{index}]"), fault.expected(expected));
    }
    let of_content = [
        ("cache", route.cache.is_some()),
        ("compression", route.compression.is_some()),
        ("max_body", route.max_body.is_some()),
        ("rewrite", route.rewrite.is_some()),
    ];
    for (key, _) in of_content.into_iter().filter(|(_, given)| *given && connects) {
        let fault = Fault::new("this is about requests, and the route passes on connections that CONNECT asks for");
        at.fault(key, fault.expected("connect = false in proxy"));
    }
    if connects && !matches!(&*route.path.to_string(), "/" | "/*") {
        at.fault("path", Fault::new("CONNECT asks for a host and a port, and for no path").expected("path = \"/*\""));
    }
}

fn whole(front: &FrontSettings, at: &mut At<'_>) {
    acme_can_work(front, at);
    remarks::of_front(front, at);
    filters::check_error_pages(front.error_pages.as_ref(), at);
    let limits = |shared: filters::Shared<'_>| shared.rate_limit.unwrap_or_default().to_vec();
    let general = [(String::new(), limits(front.shared()))];
    let routes = front.route.iter().enumerate();
    let routes = routes.map(|(index, route)| (format!("route[{index}]."), limits(route.shared())));
    for (place, limits) in general.into_iter().chain(routes).filter(|_| front.redis.is_none()) {
        let shared = limits.iter().position(|limit| limit.store == RateStore::Redis);
        if let Some(index) = shared {
            let fault = Fault::new("there is no Redis to count in").expected("a [front.redis] with its url");
            at.fault(
                &format!("{place}rate_limit[{index}].store"),
                fault.help("add [front.redis], or count with store = \"local\""),
            );
        }
    }
    let routes = front.route.iter().enumerate();
    let routes = routes.map(|(index, route)| (format!("route[{index}].jwt"), route.shared()));
    // Of issuers that could not be read nobody knows more than that.
    let known = !at.left_out().any(|key| key.starts_with("jwt_issuer"));
    for (key, shared) in [("jwt".to_owned(), front.shared())].into_iter().chain(routes).filter(|_| known) {
        if let Some(jwt) = shared.jwt.filter(|jwt| jwt.enabled) {
            filters::check_issuers(&key, jwt, &front.jwt_issuer, at);
        }
    }
    let ids = front.request_id.as_ref().is_some_and(|ids| ids.trust == Trust::Proxies);
    if ids && front.trusted_proxies.is_empty() && at.is_set("request_id.trust") {
        let fault = Fault::new("there are no trusted proxies whose ids could be taken over");
        at.fault(
            "request_id.trust",
            fault
                .expected("trusted_proxies with a network")
                .help("name them in trusted_proxies, or write trust = \"nobody\""),
        );
    }
}

fn fields(respond: &RespondSettings, at: &mut At<'_>) {
    filters::check_fields("headers", &respond.headers, at);
    // What nginx does with it is no answer.
    if respond.status == 444 {
        let warning = Fault::new("clients get an answer with the status 444: no connection is closed without one");
        at.warn("status", warning.help("write 403 or 404; `addresses` refuses clients by their address"));
    }
}

/// Checks header fields that requests are told apart by, which may be any.
fn check_conditions(fields: &BTreeMap<String, String>, at: &mut At<'_>) {
    for (name, value) in fields {
        let fault = match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Err(_), _) => Fault::new(format!("{name:?} is no field name")).expected("a name such as \"x-version\""),
            (_, Err(_)) => {
                Fault::new(format!("{value:?} is no field value")).expected("text without control characters")
            }
            _ => continue,
        };
        at.fault(&join_key("headers", name), fault);
    }
}

/// What is wrong with the queries of routes, seen together with their databases.
pub(crate) fn check_queries(front: &FrontSettings, web: &Web, at: &mut At<'_>) {
    for (index, route) in front.route.iter().enumerate() {
        let Some(query) = &route.query else { continue };
        let key = format!("front.route[{index}]");
        let Some(database) = web.database.get(&query.database) else {
            // It may be there, and not be readable.
            let own = join_key("web.database", &query.database);
            let is_it = |key: &str| match key.starts_with("web.database.") {
                true => key == own,
                false => key == "web" || key.starts_with("web.database"),
            };
            if !at.left_out().any(is_it) {
                let names: Vec<&str> = web.database.keys().map(String::as_str).collect();
                let expected = if names.is_empty() { "a [web.database.NAME]".to_owned() } else { names.join(" or ") };
                let fault = Fault::new(format!("there is no database {:?}", query.database)).expected(expected);
                at.certain(&format!("{key}.query.database"), fault);
            }
            continue;
        };
        for (below, fault) in prepare(query, route.around(database.url.dialect(), web)).err().into_iter().flatten() {
            at.fault(&format!("{key}.{below}"), fault);
        }
    }
}

/// Whether there are the pools that routes name, and servers that can be asked.
pub(crate) fn check_pools(front: &FrontSettings, proxy: &Proxy, at: &mut At<'_>) {
    let everywhere = [("front".to_owned(), front.shared())].into_iter();
    let routes = front.route.iter().enumerate();
    for (key, shared) in
        everywhere.chain(routes.map(|(index, route)| (format!("front.route[{index}]"), route.shared())))
    {
        let url = shared.forward_auth.filter(|forward| forward.enabled).and_then(ForwardAuth::target);
        if let Some(url) = url.filter(|url| ask::server(url).is_none()) {
            let fault =
                Fault::new(format!("{url} names no server")).expected("a host, or an address, and no credentials");
            at.fault(&format!("{key}.forward_auth.url"), fault);
        }
    }
    for (index, route) in front.route.iter().enumerate() {
        let Some(forward) = &route.proxy else { continue };
        let mirror = forward.mirror.iter().map(|mirror| ("mirror.pool".to_owned(), &mirror.pool));
        let split = forward.split.iter().enumerate();
        let split = split.map(|(index, split)| (format!("split[{index}].pool"), &split.pool));
        let cargo = if forward.connect { Cargo::Connections } else { Cargo::Requests };
        // Of none the route has heard already.
        let own = Some(("pool".to_owned(), &forward.pool)).filter(|(_, pool)| !pool.is_empty());
        for (key, pool) in own.into_iter().chain(mirror).chain(split) {
            proxy.check_pool((&format!("front.route[{index}].proxy.{key}"), pool), cargo, "proxy", at);
        }
    }
}

/// What is served: the routes, and what is done with every request before and after.
pub(crate) struct Site {
    /// The routes, each behind its middleware.
    pub(crate) routes: Arc<dyn Handler>,
    pub(crate) entry: Entry,
    /// What the middleware's kit is to keep once this is in force.
    pub(crate) taken: Taken,
    /// The folders that are served.
    pub(crate) folders: Shared,
}

/// What handlers are made of beside their settings.
#[derive(Clone, Copy)]
pub(crate) struct MadeOf<'a> {
    /// What middleware keeps from one configuration to the next.
    pub(crate) kit: &'a Kit,
    /// What folders share.
    pub(crate) files: &'a Shared,
    /// Where answers are kept.
    pub(crate) store: &'a Arc<Store>,
    /// A cache before this one.
    pub(crate) edge: Option<&'a Edge>,
    /// What queries ask.
    pub(crate) databases: &'a Databases,
    /// What the configuration says of databases.
    pub(crate) web: &'a Web,
    /// What requests are passed on to.
    pub(crate) pools: &'a PreparedPools,
}

impl FrontSettings {
    /// Threads that serve connections.
    pub(crate) fn threads(&self) -> Threads {
        let count = match self.workers {
            0 => self.affinity.count(std::thread::available_parallelism().map_or(1, usize::from)),
            workers => workers.into(),
        };
        let affinity = self.affinity.clone();
        Threads { count, affinity, stack: self.stack_size.as_usize(), io: self.io_threads.into() }
    }

    /// Makes everything ready that is served.
    ///
    /// # Errors
    /// The key of what cannot be used, and why.
    pub(crate) fn site(&self, made_of: &MadeOf<'_>) -> Result<Site, String> {
        let in_front = |error: KitError| format!("front.{error}");
        let asker: Arc<dyn Ask> = Arc::new(Asker::new(made_of.pools));
        let mut prepared = made_of.kit.prepare(self.general(&asker)).map_err(in_front)?;
        let folders = made_of.files.anew();
        let made_of = &MadeOf { files: &folders, ..*made_of };
        let anew = Arc::new(OnceLock::new());
        let mut routes = Vec::with_capacity(self.route.len());
        let mut listed = Vec::with_capacity(self.route.len());
        let mut changes = Changes::default();
        for (index, route) in self.route.iter().enumerate() {
            let handler: Arc<dyn Handler> = match &route.reroute {
                Some(rewrite) => Arc::new(Reroute::new(rewrite, &anew, made_of.kit.metrics())),
                None => {
                    let compression = route.compression.as_ref().unwrap_or(&self.compression);
                    let handler = route.handler(compression, made_of);
                    let (handler, pages) = handler.map_err(|error| format!("front.route[{index}].{error}"))?;
                    let compressor = || Arc::clone(&made_of.files.compressor);
                    let cache = route.cached(made_of, self.shared());
                    if let Some((rules, store)) = &cache {
                        changes.add(&route.conditions(), rules.clone(), Arc::clone(store));
                    }
                    let layers = Layers {
                        middleware: self.middleware(Some((index, route))),
                        cache,
                        rewrite: route.rewrite.as_ref(),
                        pages,
                        compression: route.compresses(compression).then(|| (compression.clone(), compressor())),
                    };
                    layers.before(handler, &mut prepared).map_err(in_front)?
                }
            };
            listed.push(route.listed(made_of));
            routes.push((route.conditions(), handler));
        }
        prepared.count(listed);
        let unrouted = prepared.wrap(self.middleware(None), Arc::new(Unrouted)).map_err(in_front)?;
        let routed = Arc::new(Routed::new(Table::new(routes)).unrouted_by(unrouted).telling(changes));
        // It was made for these routes alone.
        let _ = anew.set(Arc::downgrade(&routed));
        Ok(Site { routes: routed, entry: prepared.entry(), taken: prepared.taken(), folders })
    }

    /// Routes that pass requests on, as rules beside listeners of layer 4. None of them is for the kernel, and this is why.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let encrypted = self.listener.iter().any(|listener| listener.tls.is_some());
        const WHO: [&str; 4] = ["client_certificate", "basic_auth", "jwt", "forward_auth"];
        let rule = |route: &Route| {
            let forward = route.proxy.as_ref()?;
            let shared = route.shared().over(self.shared());
            let asks_who = shared.named().iter().any(|(key, is_there)| *is_there && WHO.contains(key));
            let obstacles = [
                (true, "http", "requests are read, and written anew for the backend"),
                (encrypted, "tls", "TLS ends at a listener of the front door"),
                (asks_who, "auth", "requests have to show whose they are"),
                (route.cache.as_ref().is_some_and(|cache| cache.enabled), "cache", "answers are kept"),
            ];
            let obstacles = obstacles.into_iter().filter(|(is_so, ..)| *is_so);
            Some(Rule {
                name: route.label(),
                is_listener: false,
                protocol: "http",
                addresses: Vec::new(),
                pools: forward.pools().cloned().collect(),
                obstacles: obstacles.map(|(_, word, text)| Obstacle::new(word, text)).collect(),
            })
        };
        self.route.iter().filter_map(rule).collect()
    }

    /// Servers that are asked about requests.
    pub(crate) fn asked(&self) -> Vec<BackendUrl> {
        let shared = self.route.iter().map(Route::shared).chain([self.shared()]);
        let urls = shared.filter_map(|shared| shared.forward_auth.filter(|forward| forward.enabled)?.target());
        // One that is no URL of a server is refused where it stands.
        let mut servers: Vec<_> = urls.filter_map(|url| ask::server(&url)).collect();
        servers.sort_by_key(ToString::to_string);
        servers.dedup();
        servers
    }

    /// The middleware of a route; without one, that of requests that have none.
    fn middleware<'a>(&'a self, route: Option<(usize, &'a Route)>) -> Middleware<'a> {
        let own = route.map(|(_, route)| route);
        let most = own.and_then(|route| route.max_body).unwrap_or(self.limits.max_body).get();
        Middleware {
            index: route.map(|(index, _)| index),
            shared: own.map_or(self.shared(), Route::shared),
            max_body: Some(most).filter(|most| *most < self.options().max_body),
            timeout: own.and_then(|route| route.timeout),
            logged: own.is_none_or(|route| route.logged),
        }
    }

    fn general<'a>(&'a self, asker: &'a Arc<dyn Ask>) -> General<'a> {
        General {
            trusted_proxies: &self.trusted_proxies,
            client_field: self.client_field,
            request_id: self.request_id.as_ref(),
            access_log: self.access_log.as_ref(),
            redis: self.redis.as_ref(),
            jwt_issuers: &self.jwt_issuer,
            asker: Some(asker),
            shared: self.shared(),
        }
    }

    /// What connections may do. A route that takes more than others has them let more through. Of connections there are no more than there may be files
    /// open: beyond that, services would find none for what they need besides.
    pub(crate) fn options(&self) -> Options {
        let options = self.limits.options();
        let most = self.route.iter().filter_map(|route| route.max_body).map(ByteSize::get);
        let connections = options.connections.min(descriptors::room_for_connections());
        Options { max_body: most.fold(options.max_body, u64::max), connections, ..options }
    }
}

/// A handler, and the pages that it has for errors.
type Answering = (Arc<dyn Handler>, Option<Arc<dyn ErrorPages>>);

impl Route {
    /// Its query, made ready, where it has one that can be.
    pub(crate) fn prepared(&self, web: &Web) -> Option<Prepared> {
        let query = self.query.as_ref()?;
        let dialect = web.database.get(&query.database)?.url.dialect();
        prepare(query, self.around(dialect, web)).ok()
    }

    fn queried(&self, query: &QuerySettings, made_of: &MadeOf<'_>) -> Result<Queried, String> {
        let Some(source) = made_of.databases.get(&query.database) else {
            return Err(format!("query.database: there is no database {:?} in web.database", query.database));
        };
        let prepared = prepare(query, self.around(source.dialect(), made_of.web)).map_err(|faults| {
            let told = faults.iter().map(|(key, fault)| format!("{key}: {}", fault.found()));
            told.collect::<Vec<_>>().join("; ")
        })?;
        Ok(Queried::new(prepared, &self.label(), Arc::clone(source), Arc::clone(made_of.databases.shared())))
    }

    /// What its figures are labelled with: hosts, path, methods and fields, as far as it has any.
    fn label(&self) -> String {
        let hosts: Vec<String> = self.host.iter().map(ToString::to_string).collect();
        let mut label = format!("{}{}", hosts.join(","), self.path);
        if !self.methods.is_empty() {
            label = format!("{} {label}", self.methods.join(","));
        }
        for (name, value) in &self.headers {
            label.push_str(&format!(" {name}={value}"));
        }
        label
    }

    /// What the admin API tells of it; `None` where requests are only sent on.
    fn listed(&self, made_of: &MadeOf<'_>) -> Option<Listed> {
        let (answers, with) = match self {
            Self { query: Some(query), .. } => ("query", query.sql.trim().to_owned()),
            Self { proxy: Some(forward), .. } => ("proxy", forward.whom()),
            Self { files: Some(files), .. } => ("files", files.root.display().to_string()),
            Self { redirect: Some(redirect), .. } => ("redirect", redirect.to.clone()),
            Self { respond: Some(respond), .. } => ("respond", respond.status.to_string()),
            _ => return None,
        };
        let query = self.query.as_ref();
        let kept = |query: &QuerySettings| {
            let dialect = made_of.databases.get(&query.database)?.dialect();
            Some(prepare(query, self.around(dialect, made_of.web)).ok()?.kept?.ttl)
        };
        Some(Listed {
            label: self.label(),
            answers,
            with,
            database: query.map(|query| query.database.clone()),
            writes: query.is_some_and(|query| query.write),
            cached: self.cache.as_ref().is_some_and(|cache| cache.enabled),
            kept: query.and_then(kept),
        })
    }

    fn around<'a>(&'a self, dialect: Dialect, web: &'a Web) -> Around<'a> {
        Around { path: &self.path, methods: &self.methods, dialect, cache: &web.query_cache }
    }

    /// Whether it passes on connections that CONNECT asks for.
    fn connects(&self) -> bool {
        self.proxy.as_ref().is_some_and(|forward| forward.connect)
    }

    /// What a request has to be for it.
    pub(crate) fn conditions(&self) -> Conditions {
        let field = |(name, value): (&String, &String)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = Some(value).filter(|value| *value != "*").map(|value| HeaderValue::from_str(value)).transpose();
            Some((name, value.ok()?))
        };
        Conditions {
            hosts: self.host.clone(),
            path: self.path.clone(),
            methods: match self.connects() {
                true => vec![Method::CONNECT],
                false => self.methods.iter().filter_map(|method| Method::from_bytes(method.as_bytes()).ok()).collect(),
            },
            fields: self.headers.iter().filter_map(field).collect(),
        }
    }

    /// What people call it: its hosts and its path.
    pub(crate) fn name(&self) -> String {
        let hosts: Vec<String> = self.host.iter().map(ToString::to_string).collect();
        format!("{}{}", hosts.join(","), self.path)
    }

    /// How its answers are cached, and where.
    fn cached(&self, made_of: &MadeOf<'_>, general: filters::Shared<'_>) -> Option<(Rules, Arc<Store>)> {
        let settings = self.cache.as_ref().filter(|cache| cache.enabled)?;
        // Routes may share a URL and part by method or field; each has its own answers.
        let hosts: Vec<String> = self.host.iter().map(ToString::to_string).collect();
        let database = self.query.as_ref().and_then(|query| made_of.web.database.get(&query.database));
        // What answers has a part in it, for what another gave is not its answer.
        let pages = self.shared().over(general).error_pages;
        let answers = format!(
            "{:?}",
            (&self.files, &self.query, database, &self.respond, &self.redirect, &self.rewrite, pages, &self.proxy)
        );
        let answers = Key::of(&[answers.as_bytes()]);
        let (methods, fields) = (self.methods.join(","), &self.headers);
        let space = format!("{} {} {methods} {fields:?} {answers}", hosts.join(","), self.path);
        let rules = Rules::new(settings, &space, made_of.edge.map(EdgeFields::from));
        let rules = if self.files.is_some() { rules.without_guesses() } else { rules };
        Some((rules, Arc::clone(made_of.store)))
    }

    /// Whether what it answers is to be compressed on its way. Files see to that themselves.
    fn compresses(&self, compression: &Compression) -> bool {
        let fits = |respond: &RespondSettings| compression.fits(respond.body.len() as u64);
        // Backends see to that themselves, unless the route says that it is to be done here.
        let passed_on = self.proxy.is_some() && self.compression.is_some();
        compression.enabled && (passed_on || self.query.is_some() || self.respond.as_ref().is_some_and(fits))
    }

    /// What answers, and the pages that it has for errors.
    fn handler(&self, compression: &Compression, made_of: &MadeOf<'_>) -> Result<Answering, String> {
        let shared = made_of.files;
        if let Some(query) = &self.query {
            return Ok((Arc::new(self.queried(query, made_of)?), None));
        }
        if let Some(forward) = &self.proxy {
            let pool =
                |name: &str| made_of.pools.get(name).cloned().ok_or_else(|| format!("there is no pool {name:?}"));
            let to = pool(&forward.pool).map_err(|error| format!("proxy.pool: {error}"))?;
            let mirror = forward.mirror.as_ref().map(|mirror| pool(&mirror.pool)).transpose();
            let mirror = mirror.map_err(|error| format!("proxy.mirror.pool: {error}"))?;
            let passing = Proxied::new(to, forward.clone(), mirror);
            if forward.split.is_empty() {
                return Ok((Arc::new(Passing(passing)), None));
            }
            let split = forward.split.iter().map(|split| pool(&split.pool)).collect::<Result<Vec<_>, _>>();
            let split = split.map_err(|error| format!("proxy.split: {error}"))?;
            return Ok((Arc::new(Splitting::new(passing, split)), None));
        }
        if let Some(settings) = &self.files {
            let has_pages = !settings.error_pages.is_empty();
            let files = Files::open(&self.name(), settings.clone(), compression.clone(), shared)
                .map_err(|error| format!("files.root: {error}"))?;
            let files = Arc::new(files);
            let pages = has_pages.then(|| Arc::clone(&files) as Arc<dyn ErrorPages>);
            return Ok((files, pages));
        }
        let code = |code: u16| StatusCode::from_u16(code).map_err(|error| format!("status: {error}"));
        if let Some(redirect) = &self.redirect {
            return Ok((Arc::new(Redirect { to: redirect.to.clone(), status: code(redirect.status)? }), None));
        }
        let Some(respond) = &self.respond else { return Err("files: nothing answers".to_owned()) };
        let field = |(name, value): (&String, &String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        };
        let fields: HeaderMap = respond.headers.iter().filter_map(field).collect();
        Ok((Arc::new(Respond::new(code(respond.status)?, fields, respond.body.clone())), None))
    }
}
