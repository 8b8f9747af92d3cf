//! The `[front]` section: where the front door listens, and the routes to every handler there is.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use outwork_config::{At, ByteSize, Fault, hours, millis, section};
use outwork_front::answer::{Redirect, Respond, Routed, Unrouted};
use outwork_front::config::{Limits, Listener};
use outwork_front::door::{Options, Serving};
use outwork_front::filter::config::{AccessLogSettings, RateStore, Redis, RequestId, Rewrite, Shared, Trust};
use outwork_front::filter::{ClientField, General, Kit, Network, Reroute, Route as Middleware, Taken};
use outwork_front::filtered_section;
use outwork_front::message::Handler;
use outwork_front::route::path::PathPattern;
use outwork_front::route::{Conditions, HostPattern, Table};
use outwork_web::config::Files as FilesSettings;
use outwork_web::files::Files;

filtered_section! {
    /// The front door: HTTP/1.1 and HTTP/2, and the routes to what answers. What it says of middleware holds for every route that does
    /// not say otherwise.
    pub(crate) struct FrontSettings {
        /// Threads that serve connections, each with listening sockets of its own; 0 means one a core.
        pub(crate) workers: u16 [restart, range 0..=1024] = 0,
        /// Where to listen. Without any there is no front door.
        pub(crate) listener: Vec<Listener> [restart],
        /// What connections may do.
        pub(crate) limits: Limits,
        /// The routes. The most specific one that fits answers, wherever it stands.
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
    }
    check whole;
}

filtered_section! {
    /// Requests, and what answers them: exactly one of `files`, `redirect`, `respond` and `reroute`.
    #[required_keys]
    pub(crate) struct Route {
        /// Hosts, such as `www.example.org` or `*.example.org`; none stands for any.
        pub(crate) host: Vec<HostPattern>,
        /// The path. `{name}` stands for one segment, and `*` at the end for whatever follows.
        pub(crate) path: PathPattern,
        /// Methods; none stands for any. GET brings HEAD along.
        pub(crate) methods: Vec<String>,
        /// Header fields that the request has to have, with their values; `*` stands for any.
        pub(crate) headers: BTreeMap<String, String>,
        /// Files of a folder.
        pub(crate) files: Option<FilesSettings>,
        /// Another address.
        pub(crate) redirect: Option<RedirectSettings>,
        /// The same answer always.
        pub(crate) respond: Option<RespondSettings>,
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
}

section! {
    /// Sends clients elsewhere.
    #[required_keys]
    pub(crate) struct RedirectSettings {
        /// Where to; `{host}`, `{path}` and `{query}` stand for those of the request.
        pub(crate) to: String,
        /// 301, 302, 303, 307 or 308.
        pub(crate) status: u16 [range 301..=308] = 308,
    }
    check is_a_redirection;
}

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

fn one_answer(route: &Route, at: &mut At<'_>) {
    const ANSWERS: &str = "one of files, redirect, respond, reroute";
    let answers = [
        ("files", route.files.is_some()),
        ("redirect", route.redirect.is_some()),
        ("respond", route.respond.is_some()),
        ("reroute", route.reroute.is_some()),
    ];
    let given: Vec<&str> = answers.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    match *given {
        [_] => {}
        [] => at.fault("", Fault::new("nothing answers").expected(ANSWERS)),
        [_, second, ..] => {
            let fault = Fault::new(format!("{} answer", given.join(" and "))).expected(ANSWERS);
            at.fault(second, fault.help("make a route of each, with a path of its own"));
        }
    }
    let own = [
        ("rewrite", route.rewrite.is_some()),
        ("max_body", route.max_body.is_some()),
        ("timeout", route.timeout.is_some()),
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
    check_fields("headers", &route.headers, at);
}

fn whole(front: &FrontSettings, at: &mut At<'_>) {
    let limits = |shared: Shared<'_>| shared.rate_limit.unwrap_or_default().to_vec();
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
    check_fields("headers", &respond.headers, at);
}

fn check_fields(key: &str, fields: &BTreeMap<String, String>, at: &mut At<'_>) {
    for (name, value) in fields {
        let fault = match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Err(_), _) => Fault::new(format!("{name:?} is no field name")).expected("a name such as \"x-version\""),
            (_, Err(_)) => {
                Fault::new(format!("{value:?} is no field value")).expected("text without control characters")
            }
            _ => continue,
        };
        at.fault(&format!("{key}.{name}"), fault);
    }
}

fn is_a_redirection(redirect: &RedirectSettings, at: &mut At<'_>) {
    if !matches!(redirect.status, 301..=303 | 307 | 308) {
        let fault = Fault::new(format!("{} is no redirection", redirect.status));
        at.fault("status", fault.expected("301, 302, 303, 307 or 308"));
    }
}

impl FrontSettings {
    /// Threads that serve connections.
    pub(crate) fn threads(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers.into(),
        }
    }

    /// Makes everything ready that is served.
    ///
    /// # Errors
    /// The key of what cannot be used, and why.
    pub(crate) fn serving(&self, kit: &Kit) -> Result<(Serving, Taken), String> {
        let in_front = |error| format!("front.{error}");
        let mut prepared = kit.prepare(self.general()).map_err(|error| in_front(error.to_string()))?;
        let options = self.options();
        let anew = Arc::new(OnceLock::new());
        let mut routes = Vec::with_capacity(self.route.len());
        for (index, route) in self.route.iter().enumerate() {
            let handler = match &route.reroute {
                Some(rewrite) => Arc::new(Reroute::new(rewrite, &anew, kit.metrics())),
                None => {
                    let inner = route.handler().map_err(|error| format!("front.route[{index}].{error}"))?;
                    let most = route.max_body.unwrap_or(self.limits.max_body).get();
                    let middleware = Middleware {
                        index: Some(index),
                        shared: route.shared(),
                        rewrite: route.rewrite.as_ref(),
                        max_body: Some(most).filter(|most| *most < options.max_body),
                        timeout: route.timeout,
                        logged: route.logged,
                    };
                    prepared.wrap(middleware, inner).map_err(|error| in_front(error.to_string()))?
                }
            };
            routes.push((route.conditions(), handler));
        }
        let none = Middleware {
            index: None,
            shared: self.shared(),
            rewrite: None,
            max_body: None,
            timeout: None,
            logged: true,
        };
        let unrouted = prepared.wrap(none, Arc::new(Unrouted)).map_err(|error| in_front(error.to_string()))?;
        let routed = Arc::new(Routed::new(Table::new(routes)).unrouted_by(unrouted));
        // It was made for these routes alone.
        let _ = anew.set(Arc::downgrade(&routed));
        let entry = prepared.entry();
        Ok((Serving { options, handler: Box::new(routed), entry }, prepared.taken()))
    }

    fn general(&self) -> General<'_> {
        General {
            trusted_proxies: &self.trusted_proxies,
            client_field: self.client_field,
            request_id: self.request_id.as_ref(),
            access_log: self.access_log.as_ref(),
            redis: self.redis.as_ref(),
            shared: self.shared(),
        }
    }

    /// What connections may do. A route that takes more than others has them let more through.
    fn options(&self) -> Options {
        let options = self.limits.options();
        let most = self.route.iter().filter_map(|route| route.max_body).map(ByteSize::get);
        Options { max_body: most.fold(options.max_body, u64::max), ..options }
    }
}

impl Route {
    fn conditions(&self) -> Conditions {
        let field = |(name, value): (&String, &String)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = Some(value).filter(|value| *value != "*").map(|value| HeaderValue::from_str(value)).transpose();
            Some((name, value.ok()?))
        };
        Conditions {
            hosts: self.host.clone(),
            path: self.path.clone(),
            methods: self.methods.iter().filter_map(|method| Method::from_bytes(method.as_bytes()).ok()).collect(),
            fields: self.headers.iter().filter_map(field).collect(),
        }
    }

    fn handler(&self) -> Result<Arc<dyn Handler>, String> {
        if let Some(settings) = &self.files {
            let files = Files::open(settings.clone()).map_err(|error| format!("files.root: {error}"))?;
            return Ok(Arc::new(files));
        }
        let code = |code: u16| StatusCode::from_u16(code).map_err(|error| format!("status: {error}"));
        if let Some(redirect) = &self.redirect {
            return Ok(Arc::new(Redirect { to: redirect.to.clone(), status: code(redirect.status)? }));
        }
        let Some(respond) = &self.respond else { return Err("files: nothing answers".to_owned()) };
        let field = |(name, value): (&String, &String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        };
        let fields: HeaderMap = respond.headers.iter().filter_map(field).collect();
        Ok(Arc::new(Respond::new(code(respond.status)?, fields, respond.body.clone())))
    }
}
