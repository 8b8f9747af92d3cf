//! The `[front]` section: where the front door listens, and the routes to every handler there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use outwork_config::{At, Fault, section};
use outwork_front::acme;
use outwork_front::answer::{Redirect, Respond, Routed};
use outwork_front::cached::config::{Cache as CacheRules, Edge};
use outwork_front::cached::edge::EdgeFields;
use outwork_front::cached::{Cached, Rules, Store};
use outwork_front::coding::{Compressed, Compression};
use outwork_front::config::{AcmeChallenge, AcmeSettings, Limits, Listener};
use outwork_front::message::Handler;
use outwork_front::route::path::PathPattern;
use outwork_front::route::{Conditions, HostPattern, Table};
use outwork_web::config::Files as FilesSettings;
use outwork_web::files::{Files, Shared};

section! {
    /// The front door: HTTP/1.1, HTTP/2 and HTTP/3, and the routes to what answers.
    pub(crate) struct FrontSettings {
        /// Threads that serve connections, each with listening sockets of its own; 0 means one a core.
        pub(crate) workers: u16 [restart, range 0..=1024] = 0,
        /// Where to listen. Without any there is no front door.
        pub(crate) listener: Vec<Listener>,
        /// Certificates by ACME.
        pub(crate) acme: AcmeSettings,
        /// What connections may do.
        pub(crate) limits: Limits,
        /// Compression of responses, for routes that do not say otherwise.
        pub(crate) compression: Compression,
        /// The routes. The most specific one that fits answers, wherever it stands.
        pub(crate) route: Vec<Route>,
    }
    check acme_can_work;
}

section! {
    /// Requests, and what answers them: exactly one of `files`, `redirect` and `respond`.
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
        /// Compression of its responses.
        pub(crate) compression: Option<Compression>,
        /// Files of a folder.
        pub(crate) files: Option<FilesSettings>,
        /// Another address.
        pub(crate) redirect: Option<RedirectSettings>,
        /// The same answer always.
        pub(crate) respond: Option<RespondSettings>,
        /// Whether and how its answers are cached.
        pub(crate) cache: Option<CacheRules>,
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
    let answers = [
        ("files", route.files.is_some()),
        ("redirect", route.redirect.is_some()),
        ("respond", route.respond.is_some()),
    ];
    let given: Vec<&str> = answers.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    match *given {
        [_] => {}
        [] => at.fault("", Fault::new("nothing answers").expected("one of files, redirect, respond")),
        [_, second, ..] => {
            let fault =
                Fault::new(format!("{} answer", given.join(" and "))).expected("one of files, redirect, respond");
            at.fault(second, fault.help("make a route of each, with a path of its own"));
        }
    }
    for (index, method) in route.methods.iter().enumerate() {
        if Method::from_bytes(method.as_bytes()).is_err() || method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let fault = Fault::new(format!("{method:?} is no method")).expected("a method such as \"GET\"");
            at.fault(&format!("methods[{index}]"), fault.help("methods are in capital letters"));
        }
    }
    check_fields("headers", &route.headers, at);
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

/// What handlers are made of beside their settings.
pub(crate) struct MadeOf<'a> {
    /// What folders share.
    pub(crate) files: &'a Shared,
    /// Where answers are kept.
    pub(crate) store: &'a Arc<Store>,
    /// A cache before this one.
    pub(crate) edge: Option<&'a Edge>,
}

impl FrontSettings {
    /// Threads that serve connections.
    pub(crate) fn threads(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers.into(),
        }
    }

    /// Where certificates by ACME come from; `None` where no listener has any.
    pub(crate) fn acme(&self) -> Option<acme::Settings> {
        let wanted = self.listener.iter().any(|listener| listener.tls.as_ref().is_some_and(|tls| !tls.acme.is_empty()));
        wanted.then(|| self.acme.settings())
    }

    /// Makes every handler ready.
    ///
    /// # Errors
    /// The key of what cannot be used, and why.
    pub(crate) fn handler(&self, made_of: &MadeOf<'_>) -> Result<Arc<dyn Handler>, String> {
        let routes = self.route.iter().enumerate().map(|(index, route)| {
            let compression = route.compression.as_ref().unwrap_or(&self.compression);
            let handler = route.handler(compression, made_of.files);
            let handler = handler.map_err(|error| format!("front.route[{index}].{error}"))?;
            let handler = route.cached(handler, made_of);
            Ok((route.conditions(), handler))
        });
        Ok(Arc::new(Routed::new(Table::new(routes.collect::<Result<_, String>>()?))))
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

    /// The handler, or what caches its answers.
    fn cached(&self, handler: Arc<dyn Handler>, made_of: &MadeOf<'_>) -> Arc<dyn Handler> {
        let Some(settings) = self.cache.as_ref().filter(|cache| cache.enabled) else { return handler };
        // Routes may share a URL and part by method or field; each has its own answers.
        let hosts: Vec<String> = self.host.iter().map(ToString::to_string).collect();
        let space = format!("{} {} {} {:?}", hosts.join(","), self.path, self.methods.join(","), self.headers);
        let rules = Rules::new(settings, &space, made_of.edge.map(EdgeFields::from));
        Arc::new(Cached::new(handler, rules, Arc::clone(made_of.store)))
    }

    fn handler(&self, compression: &Compression, shared: &Shared) -> Result<Arc<dyn Handler>, String> {
        if let Some(settings) = &self.files {
            let files = Files::open(settings.clone(), compression.clone(), shared)
                .map_err(|error| format!("files.root: {error}"))?;
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
        let worthwhile = compression.enabled && compression.fits(respond.body.len() as u64);
        let respond = Arc::new(Respond::new(code(respond.status)?, fields, respond.body.clone()));
        match worthwhile {
            true => Ok(Arc::new(Compressed::new(respond, compression.clone(), Arc::clone(&shared.compressor)))),
            false => Ok(respond),
        }
    }
}
