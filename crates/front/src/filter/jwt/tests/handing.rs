//! Where tokens are found, what is handed on of them, and how often they are verified.

use super::*;
use crate::message::{Answer, Handler, RequestBody};

fn hs256(more: Json) -> String {
    token("HS256", &claims(more))
}

#[test]
fn a_token_is_found_wherever_it_may_be() {
    let good = hs256(json!({}));
    let gate = Gate::secret("", "cookie = 'session'\nquery = 'token'");
    let field = |value: String| head("/", &[("authorization", &value)]);
    for mut found in [
        field(format!("Bearer {good}")),
        field(format!("bEARER   {good} ")),
        head("/", &[("cookie", &format!("a=b; session={good}")), ("cookie", "c=d")]),
        head("/", &[("cookie", &format!("session=\"{good}\"")), ("authorization", "Basic YTpi")]),
        head(&format!("/?a=b&token={good}"), &[]),
        head(&format!("/?tok%65n={good}"), &[]),
    ] {
        let passed = gate.at(&mut found, NOW).unwrap_or_else(|_| panic!("{found:?}"));
        assert_eq!((passed.user.as_deref(), passed.in_query), (Some("ann"), found.uri.query().is_some()));
        assert!(found.extensions.get::<Personal>().is_some(), "what answers it is nobody else's");
    }
    assert!(gate.at(&mut head("/", &[("cookie", &format!("xsession={good}"))]), NOW).is_err());
    let own = Gate::secret("", "header = 'x-token'");
    assert!(own.at(&mut head("/", &[("x-token", &good)]), NOW).is_ok());
    assert!(own.at(&mut head("/", &[("x-token", &format!("Bearer {good}"))]), NOW).is_ok());
    assert!(own.at(&mut bearing(&good), NOW).is_err());
}

#[test]
fn claims_become_fields_that_no_client_can_send() {
    let fields = "claim_headers = { x-user = 'sub', x-roles = 'realm.roles', x-name = 'name', x-age = 'age', x-bad = 'bad', x-none = 'none' }";
    let gate = Gate::secret("", fields);
    let more = json!({
        "realm": { "roles": ["dev", "ops"] }, "name": "Jürgen", "age": 42, "bad": "a\r\nx-evil: 1"
    });
    let mut head = bearing(&hs256(more));
    for forged in ["x-user", "X-USER", "x_user", "x-roles", "x-none", "x_bad"] {
        head.headers.append(HeaderName::from_bytes(forged.as_bytes()).unwrap(), HeaderValue::from_static("root"));
    }
    head.headers.insert("x-other", HeaderValue::from_static("stays"));
    assert!(gate.at(&mut head, NOW).is_ok());
    let texts = |name| texts(&head, name);
    assert_eq!(
        [texts("x-user"), texts("x-roles"), texts("x-name"), texts("x-age")],
        [["ann"], ["dev,ops"], ["Jürgen"], ["42"]]
    );
    for none in ["x-bad", "x-none", "x_user", "x_bad", "x-evil"] {
        assert!(texts(none).is_empty(), "{none}");
    }
    assert_eq!(texts("x-other"), ["stays"]);
    // A text with a comma in a list would be another one for whoever splits it.
    let mut head = bearing(&hs256(json!({ "realm": { "roles": ["dev", "x,admin"] } })));
    assert!(gate.at(&mut head, NOW).is_ok() && super::texts(&head, "x-roles").is_empty());
}

#[test]
fn where_a_token_is_optional_nobody_passes_for_somebody_and_bad_ones_are_still_refused() {
    let gate = Gate::secret("", "optional = true\nclaim_headers = { x-user = 'sub' }");
    let mut anonymous = head("/", &[("x-user", "root"), ("x_user", "root")]);
    assert!(gate.at(&mut anonymous, NOW).is_ok_and(|passed| passed.user.is_none()));
    assert!(texts(&anonymous, "x-user").is_empty() && texts(&anonymous, "x_user").is_empty());
    assert!(anonymous.extensions.get::<Personal>().is_none());
    assert_eq!(gate.count(Outcome::Anonymous), 1);
    assert!(gate.told(&hs256(json!({ "exp": 1 }))).is_err());
}

#[test]
fn a_token_that_is_not_handed_on_is_gone_wherever_it_was() {
    let good = hs256(json!({}));
    let gate = Gate::secret("", "forward = false\ncookie = 'session'\nquery = 'token'");
    let field = format!("Bearer {good}");
    let cookies = format!("a=b; session={good}; c=d");
    let mut all = head("/x%20y?b=%41&a", &[("authorization", &field), ("cookie", &cookies)]);
    assert!(gate.at(&mut all, NOW).is_ok());
    assert_eq!((texts(&all, "authorization"), texts(&all, "cookie")), (vec![], vec!["a=b; c=d".to_owned()]));
    assert_eq!(all.uri, "/x%20y?b=%41&a");
    assert!(all.extensions.get::<Personal>().is_some(), "caches see no Authorization, and know all the same");
    let mut query = head(
        &format!("/x?b=%41&token={good}&a"),
        &[("cookie", &format!("session={good}")), ("authorization", "Basic YTpi")],
    );
    assert!(gate.at(&mut query, NOW).is_ok());
    assert_eq!(
        (query.uri.to_string(), texts(&query, "cookie"), texts(&query, "authorization")),
        ("/x?b=%41&a".into(), vec![], vec!["Basic YTpi".to_owned()])
    );
    let mut only = head(&format!("/x?token={good}"), &[]);
    assert!(gate.at(&mut only, NOW).is_ok() && only.uri == "/x");
}

#[test]
fn a_token_is_verified_once_and_then_known_for_a_while_but_never_beyond_its_end() {
    let gate = Gate::secret("remember = '1m'\nleeway = '0s'", "");
    let long = hs256(json!({ "exp": NOW + 3600 }));
    let counts = |gate: &Gate| (gate.count(Outcome::Verified), gate.count(Outcome::Remembered));
    for (unix, counted) in [(NOW, (1, 0)), (NOW + 59, (1, 1)), (NOW + 60, (2, 1)), (NOW + 61, (2, 2))] {
        assert!(gate.told_at(&long, unix).is_ok());
        assert_eq!(counts(&gate), counted, "{unix}");
    }
    let short = hs256(json!({ "exp": NOW + 10 }));
    assert!(gate.told_at(&short, NOW).is_ok() && gate.told_at(&short, NOW + 9).is_ok());
    assert_eq!(counts(&gate), (3, 3));
    assert!(gate.told_at(&short, NOW + 10).unwrap_err().1.ends_with("the token has expired\""));
    let never = Gate::secret("remember = '0s'", "");
    assert!(never.told(&long).is_ok() && never.told(&long).is_ok());
    assert_eq!(counts(&never), (2, 0));
}

#[test]
fn what_a_route_wants_is_asked_of_a_known_token_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), SECRET).unwrap();
    let metrics: Arc<FilterMetrics> = Arc::default();
    let text = format!("[jwt_issuer.a]\nsecret_file = '{}/secret'\n", dir.path().display());
    let issuer = keys(&text).jwt_issuer.remove("a").unwrap();
    let issuer = Issuer::new("a", issuer, &metrics).unwrap();
    let of = |text: &str| Bearer::new(keys(text).jwt.unwrap(), vec![Arc::clone(&issuer)], &metrics);
    let (all, admins) = (of("jwt = {}"), of("jwt = { claims = { role = 'admin' } }"));
    let good = hs256(json!({}));
    let now = Moment { clock: 0, unix: NOW };
    assert!(all.check_again(&mut bearing(&good), now).is_ok());
    assert!(admins.check_again(&mut bearing(&good), now).is_err_and(|refusal| refusal.why == Refused::Claims));
    assert!(all.check_again(&mut bearing(&good), now).is_ok());
    assert_eq!((metrics.tokens.of(Outcome::Verified).get(), metrics.tokens.of(Outcome::Remembered).get()), (1, 1));
}

#[test]
fn a_route_behind_a_token_answers_who_has_one_and_lets_nobody_else_keep_an_answer_to_one_in_the_query() {
    use crate::filter::tests::{Behind, get, request};
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), SECRET).unwrap();
    let issuer = format!("[jwt_issuer.a]\nsecret_file = '{}/secret'\n", dir.path().display());
    let behind = Behind::new(&issuer, "jwt = { query = 'token' }", Fields);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let good = token("HS256", &json!({ "sub": "ann", "exp": unix + 600 }));
    let none = behind.wait(get("/"));
    assert_eq!((none.status, behind.refused(Refused::Token)), (StatusCode::UNAUTHORIZED, 1));
    let field = format!("Bearer {good}");
    let mut by_field = behind.wait(request(http::Method::GET, "/", &[("authorization", &field)]));
    assert!(by_field.status == StatusCode::OK && by_field.headers.get("cache-control").is_none());
    assert_eq!(by_field.note_mut().user.as_deref(), Some("ann"));
    let by_query = behind.wait(get(&format!("/?token={good}")));
    assert_eq!(by_query.headers["cache-control"], "private");
}

/// Answers nothing.
struct Fields;

impl Handler for Fields {
    fn handle(&self, request: crate::message::Request) -> Answer {
        assert!(matches!(request.body, RequestBody::Empty));
        Response::new(StatusCode::OK).into()
    }
}
