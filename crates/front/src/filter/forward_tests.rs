use std::collections::VecDeque;

use bytes::Bytes;
use http::request::Parts;
use parking_lot::Mutex;

use super::*;
use crate::filter::metrics::Refused;
use crate::filter::tests::{Behind, get, request, text};
use crate::message::{Answer, Handler, Local};

/// Answers questions in turn, and keeps them.
#[derive(Debug, Default)]
struct Oracle {
    answers: Mutex<VecDeque<Says>>,
    asked: Mutex<Vec<Question>>,
}

#[derive(Debug)]
enum Says {
    Reply(u16, Vec<(&'static str, &'static str)>, &'static str),
    Nothing,
    TooMuch,
    Unreachable,
}

impl Ask for Oracle {
    fn ask(&self, question: Question) -> Local<Result<Reply, AskError>> {
        let most = question.most;
        self.asked.lock().push(question);
        let answer = self.answers.lock().pop_front().expect("somebody asks too often");
        Box::pin(async move {
            match answer {
                Says::Reply(status, fields, content) => {
                    let (mut headers, content) = (HeaderMap::new(), Bytes::from_static(content.as_bytes()));
                    for (name, value) in fields {
                        headers.append(name, HeaderValue::from_static(value));
                    }
                    Ok(Reply { status: StatusCode::from_u16(status).unwrap(), headers, content })
                }
                Says::Nothing => std::future::pending().await,
                Says::TooMuch => Err(AskError::TooLarge(most)),
                Says::Unreachable => Err(AskError::Unreachable("nobody listens".into())),
            }
        })
    }
}

/// Keeps what comes through.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Parts>>>);

impl Handler for Kept {
    fn handle(&self, request: Request) -> Answer {
        self.0.lock().push(request.head);
        let mut response = Response::full(StatusCode::OK, "text/plain", "fine");
        response.headers.insert("set-cookie", HeaderValue::from_static("own=1"));
        response.into()
    }
}

struct Site {
    oracle: Arc<Oracle>,
    behind: Behind,
    kept: Kept,
}

impl Site {
    fn new(more: &str) -> Self {
        let (oracle, kept) = (Arc::<Oracle>::default(), Kept::default());
        let asker: Arc<dyn Ask> = Arc::clone(&oracle) as _;
        let route = format!("forward_auth = {{ url = 'http://127.0.0.1:4180/verify?x=1'{more} }}");
        Self { behind: Behind::asking("", &route, kept.clone(), Some(&asker)), oracle, kept }
    }

    fn told(&self, says: Says, request: Request) -> Response {
        self.oracle.answers.lock().push_back(says);
        self.behind.wait(request)
    }

    fn count(&self, outcome: Asked) -> u64 {
        self.behind.metrics().forward_auth.of(outcome).get()
    }
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_question_tells_of_the_request_what_the_client_cannot_have_made_up() {
    let site = Site::new("");
    let fields = [
        ("cookie", "a=b"),
        ("authorization", "Basic YTpi"),
        ("x-own", "1"),
        ("content-type", "text/plain"),
        ("content-length", "5"),
        ("range", "bytes=0-1"),
        ("if-none-match", "*"),
        ("connection", "x-own"),
        ("upgrade", "websocket"),
        ("accept-encoding", "br"),
        ("x-forwarded-uri", "/public"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-method", "GET"),
    ];
    let response = site.told(Says::Reply(200, vec![], "whatever"), request(Method::POST, "/a%20b?c=d", &fields));
    assert_eq!((response.status, text(&response)), (StatusCode::OK, "fine"));
    let [question] = &site.oracle.asked.lock()[..] else { panic!("one question") };
    assert_eq!(
        (&question.method, question.url.to_string()),
        (&Method::GET, "http://127.0.0.1:4180/verify?x=1".to_owned())
    );
    assert_eq!(question.most, 64 << 10);
    let told = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri"];
    assert_eq!(names(&question.headers), [&["authorization", "cookie"][..], &told, &["x-own"]].concat());
    let values = told.map(|name| question.headers[name].to_str().unwrap());
    assert_eq!(values, ["192.0.2.7", "a.example", "POST", "http", "/a%20b?c=d"]);
    let few = Site::new(", request_fields = ['cookie', 'host']");
    few.told(Says::Reply(200, vec![], ""), request(Method::GET, "/", &fields));
    assert_eq!(names(&few.oracle.asked.lock()[0].headers), [&["cookie"][..], &told].concat());
}

#[test]
fn who_is_let_through_brings_what_was_said_of_them_and_nothing_that_they_say_themselves() {
    let site = Site::new(", answer_fields = ['x-user', 'x-groups'], client_fields = ['set-cookie'], user = 'x-user'");
    let forged =
        [("x-user", "root"), ("x_user", "root"), ("x-groups", "admin"), ("X_Groups", "admin"), ("x-other", "stays")];
    let says = vec![("x-user", "ann"), ("x-secret", "1"), ("set-cookie", "session=2"), ("set-cookie", "more=3")];
    let mut response = site.told(Says::Reply(204, says, ""), request(Method::GET, "/", &forged));
    let cookies: Vec<_> = response.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["own=1", "session=2", "more=3"]);
    assert!(response.headers.get("x-user").is_none() && response.note_mut().user.as_deref() == Some("ann"));
    let kept = site.kept.0.lock();
    assert_eq!(names(&kept[0].headers), ["host", "x-other", "x-user"]);
    assert!(kept[0].headers["x-user"] == "ann" && kept[0].extensions.get::<Personal>().is_some());
    assert_eq!(site.count(Asked::Passed), 1);
}

#[test]
fn a_refusal_or_a_way_to_sign_in_is_given_to_the_client_as_it_is() {
    let site = Site::new("");
    let challenge = vec![
        ("www-authenticate", "Bearer"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("transfer-encoding", "chunked"),
        ("content-type", "text/plain"),
    ];
    let refused = site.told(Says::Reply(401, challenge, "sign in"), get("/"));
    assert_eq!(
        (refused.status.as_u16(), text(&refused), names(&refused.headers)),
        (401, "sign in", vec!["content-type", "www-authenticate"])
    );
    assert_eq!(site.told(Says::Reply(403, vec![], ""), get("/")).status, StatusCode::FORBIDDEN);
    let elsewhere = vec![("location", "https://login.test/?rd=x"), ("set-cookie", "csrf=1")];
    let elsewhere = site.told(Says::Reply(302, elsewhere, ""), get("/"));
    assert_eq!((elsewhere.status.as_u16(), names(&elsewhere.headers)), (302, vec!["location", "set-cookie"]));
    assert!(site.kept.0.lock().is_empty());
    assert_eq!(
        (site.count(Asked::Refused), site.count(Asked::Redirected), site.behind.refused(Refused::Asked)),
        (2, 1, 3)
    );
}

#[test]
fn who_says_neither_yes_nor_no_or_nothing_is_at_fault_and_nobody_passes() {
    let site = Site::new(", timeout = '10ms', max_answer = '16B'");
    let reply = |status| Says::Reply(status, vec![("x-internal", "1")], "internal");
    for (says, status, outcome) in [
        (reply(500), 502, Asked::Wrong),
        (reply(404), 502, Asked::Wrong),
        (reply(302), 502, Asked::Wrong),
        (Says::TooMuch, 502, Asked::Wrong),
        (Says::Unreachable, 503, Asked::Unreachable),
        (Says::Nothing, 504, Asked::Late),
    ] {
        let before = site.count(outcome);
        let response = site.told(says, get("/"));
        assert_eq!((response.status.as_u16(), site.count(outcome)), (status, before + 1));
        assert!(
            !text(&response).contains("internal") && text(&response).contains("A server behind this one is at fault."),
            "{}",
            text(&response)
        );
    }
    assert!(site.kept.0.lock().is_empty() && site.oracle.asked.lock()[0].most == 16);
}

#[test]
fn nobody_is_asked_where_that_is_off_or_a_request_is_refused_before() {
    let asker: Arc<dyn Ask> = Arc::<Oracle>::default();
    let general = "forward_auth = { url = 'http://127.0.0.1:4180/' }";
    let off = Behind::asking(general, "forward_auth = { enabled = false }", Kept::default(), Some(&asker));
    assert_eq!(off.wait(get("/")).status, StatusCode::OK);
    let denied = Behind::asking(general, "addresses = { deny = ['192.0.2.0/24'] }", Kept::default(), Some(&asker));
    assert_eq!(denied.wait(get("/")).status, StatusCode::FORBIDDEN);
}

#[test]
fn where_nobody_can_ask_the_configuration_is_refused() {
    use crate::filter::tests::{keys, of, route_of};
    let (nothing, asks) = (keys(""), keys("forward_auth = { url = 'http://127.0.0.1:4180/' }"));
    let kit = crate::filter::Kit::default();
    let refused = kit.prepare(of(&nothing)).unwrap().wrap(route_of(&asks, 3), Arc::new(Kept::default())).err().unwrap();
    assert_eq!(refused.to_string(), "route[3].forward_auth.url: nobody here sends questions about requests");
}
