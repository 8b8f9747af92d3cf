//! The middleware of a route, as the configuration sets it up, around handlers that answer at once or later.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, HOST, SERVER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, Method};
use outwork_config::{Loaded, Sources};

use super::*;
use crate::answer::Routed;
use crate::message::{Origin, RequestBody};
use crate::route::{Conditions, Table};
use crate::tls::{ClientCertificate, Session};

mod websockets;

/// Says what it was asked for.
struct Echo {
    later: Option<Duration>,
}

impl Handler for Echo {
    fn handle(&self, request: Request) -> Answer {
        let told = format!("{} {:?}", request.head.uri, request.head.headers.get("x-added"));
        let mut response = Response::full(StatusCode::OK, "text/plain", told);
        response.headers.insert(SERVER, HeaderValue::from_static("echo"));
        match self.later {
            None => response.into(),
            Some(time) => Answer::Later(Box::pin(async move {
                tokio::time::sleep(time).await;
                response
            })),
        }
    }
}

/// Gives a hint before its answer.
struct Hinting;

impl Handler for Hinting {
    fn handle(&self, _: Request) -> Answer {
        Answer::Later(Box::pin(async {
            let fields = [(SERVER, "echo"), (http::header::LINK, "</a.css>"), (HeaderName::from_static("x-own"), "1")];
            let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
            interim::tell(StatusCode::EARLY_HINTS, HeaderMap::from_iter(fields));
            Response::new(StatusCode::OK)
        }))
    }
}

crate::filtered_section! {
    /// As a route or `[front]` has it.
    pub(super) struct Keys {
        /// Another target.
        rewrite: Option<config::Rewrite>,
        /// The largest body.
        max_body: Option<u64>,
        /// Who issues tokens.
        pub(super) jwt_issuer: BTreeMap<String, config::JwtIssuer>,
    }
}

pub(super) fn keys(text: &str) -> Keys {
    let sources = Sources { file: Some(("test.toml".into(), text.into())), ..Sources::default() };
    match outwork_config::load::<Keys>(sources) {
        Ok(Loaded { value, .. }) => value,
        Err(faults) => panic!("{}", faults.render(false)),
    }
}

/// Handlers behind what the configuration says.
pub(super) struct Behind {
    kit: Kit,
    handler: Arc<dyn Handler>,
    runtime: tokio::runtime::Runtime,
}

impl Behind {
    pub(super) fn new(general: &str, route: &str, inner: impl Handler + 'static) -> Self {
        Self::asking(general, route, inner, None)
    }

    /// One that has somebody to ask.
    pub(super) fn asking(
        general: &str,
        route: &str,
        inner: impl Handler + 'static,
        asker: Option<&Arc<dyn crate::ask::Ask>>,
    ) -> Self {
        let (general, own) = (keys(general), keys(route));
        let (kit, runtime) =
            (Kit::default(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
        let mut prepared = kit.prepare(General { asker, ..of(&general) }).unwrap();
        let inner: Arc<dyn Handler> = match &own.rewrite {
            Some(rewrite) => Arc::new(Rewritten::new(rewrite, Arc::new(inner), kit.metrics())),
            None => Arc::new(inner),
        };
        let handler = prepared.wrap(Route { max_body: own.max_body, ..route_of(&own, 0) }, inner).unwrap();
        kit.commit(prepared.taken());
        Self { kit, handler, runtime }
    }

    fn now(route: &str) -> Self {
        Self::new("", route, Echo { later: None })
    }

    /// The answer, which has to be there at once.
    fn ask(&self, request: Request) -> Response {
        match self.handler.handle(request) {
            Answer::Now(response) => response,
            Answer::Later(_) => panic!("it has nothing to wait for"),
        }
    }

    pub(super) fn wait(&self, request: Request) -> Response {
        self.runtime.block_on(async { self.handler.handle(request).response().await })
    }

    pub(super) fn metrics(&self) -> &FilterMetrics {
        self.kit.metrics()
    }

    pub(super) fn refused(&self, why: Refused) -> u64 {
        self.kit.metrics().refused.of(why).get()
    }
}

pub(super) fn of(keys: &Keys) -> General<'_> {
    General {
        trusted_proxies: &[],
        client_field: ClientField::XForwardedFor,
        request_id: None,
        access_log: None,
        redis: None,
        jwt_issuers: &keys.jwt_issuer,
        asker: None,
        shared: keys.shared(),
    }
}

pub(super) fn route_of(keys: &Keys, index: usize) -> Route<'_> {
    Route { index: Some(index), shared: keys.shared(), max_body: None, timeout: None, logged: true }
}

pub(super) fn request(method: Method, target: &str, fields: &[(&str, &str)]) -> Request {
    let mut builder = http::Request::builder().method(method).uri(target).header(HOST, "a.example");
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
    let origin = Origin { peer, local: ([127, 0, 0, 1], 80).into(), to: None, tls: false, session: None };
    Request { head, body: RequestBody::Empty, origin: Rc::new(origin) }
}

/// What was agreed on with a client that has shown a certificate with this subject and fingerprint, or none.
pub(super) fn session(client: Option<(&str, &str)>) -> Arc<Session> {
    let client = client.map(|(subject, fingerprint)| ClientCertificate {
        subject: subject.to_owned(),
        issuer: "CN=ca".to_owned(),
        common_name: None,
        names: Vec::new(),
        serial: "01".to_owned(),
        fingerprint: fingerprint.to_owned(),
    });
    Arc::new(Session { version: "TLSv1.3", cipher: "", server_name: None, resumed: false, client })
}

/// The same over TLS.
fn encrypted(mut request: Request, client: Option<(&str, &str)>) -> Request {
    let origin = Origin { tls: true, session: Some(session(client)), ..(*request.origin).clone() };
    request.origin = Rc::new(origin);
    request
}

pub(super) fn get(target: &str) -> Request {
    request(Method::GET, target, &[])
}

pub(super) fn text(response: &Response) -> &str {
    match &response.body {
        crate::message::Body::Full(body) => std::str::from_utf8(body).unwrap(),
        _ => "",
    }
}

#[test]
fn a_handler_without_middleware_stays_as_it_is() {
    let inner: Arc<dyn Handler> = Arc::new(Echo { later: None });
    let (kit, nothing) = (Kit::default(), keys(""));
    let off = keys("addresses = {}\nrate_limit = []\ncors = { enabled = false }\nresponse_headers = {}\n");
    for keys in [&nothing, &off] {
        let mut prepared = kit.prepare(of(&nothing)).unwrap();
        assert!(Arc::ptr_eq(&prepared.wrap(route_of(keys, 0), Arc::clone(&inner)).unwrap(), &inner));
    }
}

#[test]
fn addresses_that_may_not_come_and_routes_that_are_closed_are_told_so() {
    let denied = Behind::now("addresses = { deny = ['192.0.2.0/24'] }");
    assert_eq!(denied.ask(get("/")).status, StatusCode::FORBIDDEN);
    assert_eq!(denied.refused(Refused::Address), 1);
    let closed = Behind::now("maintenance = { message = 'Back at noon.', retry_after = '5m' }");
    let response = closed.ask(get("/"));
    assert!(response.status == StatusCode::SERVICE_UNAVAILABLE && response.headers[RETRY_AFTER] == "300");
    assert!(text(&response).contains("Back at noon."));
    let open = Behind::now("maintenance = { allow = ['192.0.2.7'] }");
    assert_eq!(open.ask(get("/")).status, StatusCode::OK);
}

#[test]
fn a_route_asks_for_a_certificate_and_may_say_whose() {
    let (print, other) = ("ab".repeat(32), "cd".repeat(32));
    fn ann(print: &str) -> Option<(&str, &str)> {
        Some(("CN=ann,O=Example", print))
    }
    let whose = format!(
        "client_certificate = {{ subjects = ['CN=bob,O=*', 'CN=*.a.test'], fingerprints = ['{}'] }}",
        ["AB"; 32].join(":")
    );
    for (route, client, allowed) in [
        ("client_certificate = {}", ann(&other), true),
        ("client_certificate = {}", None, false),
        (&whose, ann(&print), true),
        (&whose, ann(&other), false),
        (&whose, Some(("CN=bob,O=Example", &*other)), true),
        (&whose, Some(("CN=x.a.test", &*other)), true),
        (&whose, None, false),
    ] {
        let behind = Behind::now(route);
        let status = behind.ask(encrypted(get("/"), client)).status;
        assert_eq!(status, if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN }, "{route} {client:?}");
        assert_eq!(behind.refused(Refused::Certificate), u64::from(!allowed));
    }
    let clear = Behind::new("client_certificate = {}", "", Echo { later: None }).ask(get("/"));
    assert!(clear.status == StatusCode::FORBIDDEN && text(&clear).contains("a certificate of the client is needed"));
    let open = Behind::new("client_certificate = {}", "client_certificate = { enabled = false }", Echo { later: None });
    assert_eq!(open.ask(get("/")).status, StatusCode::OK);
    // Browsers show no certificate with a preflight.
    let shared = Behind::now("client_certificate = {}\ncors = { origins = ['https://b.example'] }");
    let preflight = [("origin", "https://b.example"), ("access-control-request-method", "POST")];
    assert!(shared.ask(request(Method::OPTIONS, "/", &preflight)).status.is_success());
}

/// Says that its answer stands wherever nobody has taken that away.
struct Standing;

impl Handler for Standing {
    fn handle(&self, request: Request) -> Answer {
        let mut response = Response::new(StatusCode::OK);
        response.note_mut().standing =
            request.head.extensions.get::<Repeated>().map(|_| crate::message::Standing::always());
        response.into()
    }
}

#[test]
fn whoever_decides_by_more_than_the_head_takes_it_away_that_an_answer_stands() {
    let stands = |response: Response| response.note.is_some_and(|note| note.standing.is_some());
    let again = || {
        let mut request = request(Method::GET, "/", &[(AUTHORIZATION.as_str(), "Basic YW5uOng=")]);
        request.head.extensions.insert(Repeated);
        encrypted(request, Some(("CN=ann", "00")))
    };
    for (route, expected) in [
        ("", true),
        ("security_headers = {}\nresponse_headers = { set = { x = '1' } }\ncors = { origins = ['*'] }", true),
        ("addresses = { deny = ['198.51.100.0/24'] }", false),
        ("maintenance = { allow = ['192.0.2.7'] }", false),
        ("rate_limit = [{ limit = 10 }]", false),
        ("client_certificate = { subjects = ['CN=*'] }", false),
        (&login(), false),
        ("jwt = { optional = true }", false),
    ] {
        let behind = Behind::new("", route, Standing);
        let response = behind.wait(again());
        assert_eq!(response.status, StatusCode::OK, "{route}");
        assert_eq!(stands(response), expected, "{route}");
    }
    let clock: outwork_cache::Clock = Arc::new(|| outwork_cache::UnixMillis(0));
    let tiers = outwork_cache::Tiers::open(&outwork_cache::Settings::default(), Arc::clone(&clock)).unwrap();
    let rules = crate::cached::Rules::new(&crate::cached::config::Cache::default(), "test", None);
    let store = crate::cached::Store::new(tiers, clock, 1 << 20, 10);
    let cached = crate::cached::Cached::new(Arc::new(Standing), rules, store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    assert!(!stands(local.block_on(&runtime, async { cached.handle(again()).response().await })));
}

#[test]
fn a_limit_refuses_what_is_beyond_it_and_tells_the_least_that_is_left() {
    let behind =
        Behind::now("rate_limit = [{ limit = 2 }, { limit = 50, key = ['route'] }, { limit = 1, dry_run = true }]");
    let (first, second, third) = (behind.ask(get("/")), behind.ask(get("/")), behind.ask(get("/")));
    let left = |response: &Response| response.headers["ratelimit-remaining"].to_str().unwrap().to_owned();
    assert_eq!(
        [first.status, second.status, third.status],
        [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]
    );
    assert_eq!([left(&first), left(&second), left(&third)], ["1", "0", "0"]);
    assert!(third.headers.contains_key(RETRY_AFTER));
    assert_eq!(behind.refused(Refused::Rate), 1);
    assert_eq!(behind.kit.metrics().rate_limited.of(metrics::Limited::DryRun).get(), 2);
}

#[test]
fn what_front_limits_is_counted_over_all_routes_and_what_a_route_limits_for_itself() {
    let (kit, general, own, none) =
        (Kit::default(), keys("rate_limit = [{ limit = 2 }]"), keys("rate_limit = [{ limit = 1 }]"), keys(""));
    let mut prepared = kit.prepare(of(&general)).unwrap();
    let mut wrap = |keys, index| prepared.wrap(route_of(keys, index), Arc::new(Echo { later: None })).unwrap();
    let (one, two, three) = (wrap(&none, 0), wrap(&none, 1), wrap(&own, 2));
    kit.commit(prepared.taken());
    let status = |handler: &Arc<dyn Handler>| match handler.handle(get("/")) {
        Answer::Now(response) => response.status.as_u16(),
        Answer::Later(_) => 0,
    };
    assert_eq!([status(&one), status(&two), status(&one), status(&three), status(&three)], [200, 200, 429, 200, 429]);
    // A reload that leaves a limit as it is leaves its counts.
    let mut again = kit.prepare(of(&general)).unwrap();
    let one = again.wrap(route_of(&none, 0), Arc::new(Echo { later: None })).unwrap();
    assert_eq!(status(&one), 429);
    let other = keys("rate_limit = [{ limit = 3 }]");
    let mut changed = kit.prepare(of(&other)).unwrap();
    let one = changed.wrap(route_of(&none, 0), Arc::new(Echo { later: None })).unwrap();
    assert_eq!(status(&one), 200);
}

const LOGIN: &str = "basic_auth = { users = { ann = 'HASH' } }\ncors = { origins = ['https://app.example'] }\n";

fn login() -> String {
    LOGIN.replace("HASH", &Hash::argon2(b"x", [7; 16]).unwrap().to_string())
}

#[test]
fn a_preflight_needs_no_password_and_a_page_may_read_that_one_is_needed() {
    let behind = Behind::now(&login());
    let preflight = [("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let response = behind.ask(request(Method::OPTIONS, "/", &preflight));
    assert!(response.status == StatusCode::NO_CONTENT && response.headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS));
    assert_eq!(response.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
    let response = behind.ask(request(Method::GET, "/", &preflight[..1]));
    assert!(response.status == StatusCode::UNAUTHORIZED && response.headers.contains_key(WWW_AUTHENTICATE));
    assert_eq!(response.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
    assert_eq!((behind.kit.metrics().preflights.get(), behind.refused(Refused::Credentials)), (1, 1));
}

#[test]
fn a_preflight_reaches_the_route_of_the_request_that_it_is_about() {
    let (kit, keys) = (Kit::default(), keys("cors = { origins = ['https://app.example'], methods = ['PUT'] }"));
    let mut prepared = kit.prepare(of(&keys)).unwrap();
    let with_cors = prepared.wrap(route_of(&keys, 0), Arc::new(Echo { later: None })).unwrap();
    let conditions = |path: &str| Conditions {
        hosts: vec![],
        path: path.parse().unwrap(),
        methods: vec![Method::PUT],
        fields: vec![],
    };
    let without = Arc::new(Echo { later: None }) as Arc<dyn Handler>;
    let routed = Routed::new(Table::new(vec![(conditions("/with"), with_cors), (conditions("/without"), without)]));
    let ask = |target: &str, fields: &[(&str, &str)]| match routed.handle(request(Method::OPTIONS, target, fields)) {
        Answer::Now(response) => response,
        Answer::Later(_) => panic!("it has nothing to wait for"),
    };
    let preflight = |method| [("origin", "https://app.example"), ("access-control-request-method", method)];
    let allowed = ask("/with", &preflight("PUT"));
    assert_eq!(
        (allowed.status, &allowed.headers[ACCESS_CONTROL_ALLOW_METHODS]),
        (StatusCode::NO_CONTENT, &HeaderValue::from_static("PUT"))
    );
    let allow = HeaderValue::from_static("PUT, OPTIONS");
    for (target, fields) in
        [("/without", &preflight("PUT")[..]), ("/with", &preflight("GET")), ("/with", &preflight("PUT")[..1])]
    {
        // It is told what the address takes, and no browser that it may.
        let answer = ask(target, fields);
        let granted = answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
        assert_eq!((answer.headers.get(ALLOW), granted), (Some(&allow), false), "{target} {fields:?}");
    }
}

#[test]
fn what_the_cache_asks_by_itself_is_nobody_s_request() {
    let closed = format!(
        "{}rate_limit = [{{ limit = 1 }}]\naddresses = {{ allow = ['10.0.0.0/8'] }}\nmaintenance = {{}}\n\
         request_headers = {{ set = {{ x-added = 'yes' }} }}\n",
        login()
    );
    let behind = Behind::now(&closed);
    assert_eq!(behind.ask(get("/a")).status, StatusCode::FORBIDDEN);
    for _ in 0..2 {
        let mut request = get("/a");
        request.head.extensions.insert(Refresh);
        let response = behind.ask(request);
        assert_eq!((response.status, text(&response)), (StatusCode::OK, "/a Some(\"yes\")"));
    }
}

#[test]
fn a_handler_does_not_say_which_pages_may_read_its_answers_where_the_configuration_does() {
    struct Open;
    impl Handler for Open {
        fn handle(&self, _: Request) -> Answer {
            let mut response = Response::new(StatusCode::OK);
            let any = HeaderMap::from_iter([(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))]);
            response.ready = Some(crate::message::ReadyHead::new(any));
            response.into()
        }
    }
    let behind = Behind::new("", "cors = { origins = ['https://app.example'] }", Open);
    let told = |origin| behind.ask(request(Method::GET, "/", &[("origin", origin)]));
    assert_eq!(told("https://app.example").field(&ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "https://app.example");
    assert_eq!(told("https://evil.example").field(&ACCESS_CONTROL_ALLOW_ORIGIN), None);
}

#[test]
fn who_signs_in_is_passed_on_with_its_name_for_the_log() {
    let behind = Behind::now(&login());
    let ask = || request(Method::GET, "/a", &[(AUTHORIZATION.as_str(), "Basic YW5uOng=")]);
    let first = behind.wait(ask());
    assert_eq!((first.status, text(&first)), (StatusCode::OK, "/a None"));
    let again = behind.ask(ask());
    assert_eq!(again.note.unwrap().user.as_deref(), Some("ann"));
    let wrong = behind.wait(request(Method::GET, "/", &[(AUTHORIZATION.as_str(), "Basic YW5uOnk=")]));
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_route_can_take_off_what_front_says() {
    let behind = Behind::new(&login(), "basic_auth = { enabled = false }", Echo { later: None });
    assert_eq!(behind.ask(get("/")).status, StatusCode::OK);
}

#[test]
fn fields_and_targets_are_changed_on_the_way_in_and_fields_on_the_way_out() {
    let behind = Behind::now(
        "request_headers = { set = { x-added = 'yes' } }\nrewrite = { strip_prefix = '/api' }\nsecurity_headers = {}\n\
         response_headers = { remove = ['server'], set = { x-frame-options = 'DENY' } }\n",
    );
    let response = behind.ask(get("/api/users?x=1"));
    assert_eq!(text(&response), "/users?x=1 Some(\"yes\")");
    let field =
        |name: &'static str| response.field(&HeaderName::from_static(name)).map(|value| value.to_str().unwrap());
    assert_eq!(field("server"), None);
    assert_eq!((field("x-frame-options"), field("x-content-type-options")), (Some("DENY"), Some("nosniff")));
    assert_eq!(behind.ask(get("/api/%zz")).status, StatusCode::BAD_REQUEST);
}

#[test]
fn what_is_told_before_an_answer_has_no_field_that_the_route_takes_out_or_says_itself() {
    let (kit, keys) = (Kit::default(), keys("response_headers = { remove = ['server'], set = { x-own = '2' } }"));
    let mut prepared = kit.prepare(of(&keys)).unwrap();
    let handler = prepared.wrap(route_of(&keys, 0), Arc::new(Hinting)).unwrap();
    let Answer::Later(mut response) = handler.handle(get("/")) else { panic!("it has to be waited for") };
    let mut told = Vec::new();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = interim::hearing(&mut told, || response.as_mut().poll(&mut context));
    assert!(polled.is_ready());
    let names = |fields: &HeaderMap| fields.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>();
    let told: Vec<_> = told.iter().map(|(status, fields)| (status.as_u16(), names(fields))).collect();
    assert_eq!(told, [(103, vec!["link".to_owned()])]);
}

#[test]
fn what_comes_later_is_changed_likewise_and_what_comes_too_late_is_not_waited_for() {
    let (kit, keys) = (Kit::default(), keys("security_headers = {}"));
    let mut prepared = kit.prepare(of(&keys)).unwrap();
    let mut wrap = |later, timeout| {
        let inner = Echo { later: Some(Duration::from_millis(later)) };
        let route = Route { timeout: Some(Duration::from_millis(timeout)), ..route_of(&keys, 0) };
        prepared.wrap(route, Arc::new(inner)).unwrap()
    };
    let (fast, slow) = (wrap(1, 60_000), wrap(60_000, 20));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |handler: &Arc<dyn Handler>| runtime.block_on(async { handler.handle(get("/")).response().await });
    let nosniff = |response: &Response| response.field(&http::header::X_CONTENT_TYPE_OPTIONS).is_some();
    let (fast, slow) = (ask(&fast), ask(&slow));
    assert!(fast.status == StatusCode::OK && nosniff(&fast));
    assert!(
        slow.status == StatusCode::GATEWAY_TIMEOUT && nosniff(&slow) && text(&slow).contains("This server is at fault")
    );
    assert_eq!(kit.metrics().refused.of(Refused::Time).get(), 1);
}

#[test]
fn a_request_is_routed_anew_and_not_for_ever() {
    let (kit, routes) = (Kit::default(), Arc::new(OnceLock::new()));
    let conditions =
        |path: &str| Conditions { hosts: vec![], path: path.parse().unwrap(), methods: vec![], fields: vec![] };
    let reroute = |text: &str| {
        let settings = keys(&format!("rewrite = {text}")).rewrite.unwrap();
        Arc::new(Reroute::new(&settings, &routes, kit.metrics())) as Arc<dyn Handler>
    };
    let table = Table::new(vec![
        (conditions("/new/*"), Arc::new(Echo { later: None }) as Arc<dyn Handler>),
        (conditions("/old/*"), reroute("{ strip_prefix = '/old', add_prefix = '/new' }")),
        (conditions("/a"), reroute("{ strip_prefix = '/a', add_prefix = '/b' }")),
        (conditions("/b/*"), reroute("{ strip_prefix = '/b', add_prefix = '/a' }")),
        (conditions("/a/"), reroute("{ query = 'again' }")),
    ]);
    let routed = Arc::new(Routed::new(table));
    assert!(routes.set(Arc::downgrade(&routed)).is_ok());
    let ask = |target| match routed.handle(get(target)) {
        Answer::Now(response) => response,
        Answer::Later(_) => panic!("it has nothing to wait for"),
    };
    assert_eq!(text(&ask("/old/x?y")), "/new/x?y None");
    assert_eq!(ask("/a").status, StatusCode::LOOP_DETECTED);
    assert_eq!(kit.metrics().refused.of(Refused::Loop).get(), 1);
}

#[test]
fn settings_that_cannot_work_are_refused_with_advice() {
    let said = |text: &str| {
        let sources = Sources { file: Some(("test.toml".into(), text.into())), ..Sources::default() };
        match outwork_config::load::<Keys>(sources) {
            Ok(_) => String::new(),
            Err(faults) => faults.render(false),
        }
    };
    for (text, words) in [
        ("cors = { origins = ['*'], credentials = true }", "list the origins"),
        ("basic_auth = {}", "nobody could sign in"),
        ("basic_auth = { users = { ann = '{SHA}x' } }", "SHA-1 can be tried out in no time"),
        ("rate_limit = [{ key = [] }]", "rate_limit[0].key"),
        ("rate_limit = [{ key = ['cookie:a'] }]", "nothing that requests could be counted by"),
        ("response_headers = { set = { content-length = '1' } }", "is what the connection says"),
        ("rewrite = { replacement = '/x' }", "there is no pattern"),
        ("rewrite = { pattern = '(' }", "regex parse error"),
        ("addresses = { deny = ['10.0.0.1/8'] }", "write \"10.0.0.0/8\""),
        ("security_headers = { frame_options = \"a\\nb\" }", "security_headers.frame_options"),
    ] {
        assert!(said(text).contains(words), "{text}: {}", said(text));
    }
    assert!(!said(&login().replace("ann", "'a:b'")).contains("argon2"), "a hash is not shown");
}

#[test]
fn redis_that_is_configured_is_asked_and_where_it_is_away_this_process_counts() {
    let redis = config::Redis {
        // Nobody listens there.
        url: "redis://127.0.0.1:1/0".to_owned(),
        user: None,
        password: None,
        ca: None,
        prefix: String::new(),
        timeout: Duration::from_secs(5),
        failures: 1,
        retry: Duration::from_secs(3600),
    };
    let (kit, keys) = (Kit::default(), keys("rate_limit = [{ limit = 1, store = 'redis' }]"));
    let mut prepared = kit.prepare(General { redis: Some(&redis), ..of(&keys) }).unwrap();
    let handler = prepared.wrap(route_of(&keys, 0), Arc::new(Echo { later: None })).unwrap();
    kit.commit(prepared.taken());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = || runtime.block_on(async { handler.handle(get("/")).response().await });
    assert_eq!([ask().status, ask().status], [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
    let headers: HeaderMap = ask().headers;
    assert_eq!(headers["ratelimit-remaining"], "0");
    let outcomes = [metrics::Shared::Failed, metrics::Shared::Paused, metrics::Shared::Answered];
    assert_eq!(outcomes.map(|outcome| kit.metrics().rate_shared.of(outcome).get()), [1, 2, 0]);
}
