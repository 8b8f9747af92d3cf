//! What is wrong with a token that somebody has signed, and what they are told.

use super::*;

fn hs256(more: Json) -> String {
    token("HS256", &claims(more))
}

#[test]
fn a_token_is_good_from_its_beginning_to_its_end_and_a_little_longer_for_clocks() {
    let gate = Gate::secret("leeway = '30s'\nremember = '0s'", "");
    let token = hs256(json!({ "nbf": NOW, "iat": NOW }));
    let at = |unix| gate.told_at(&token, unix).map_err(|(_, told)| told);
    assert!(at(NOW).is_ok() && at(NOW - 30).is_ok() && at(NOW + 89).is_ok());
    assert!(
        at(NOW - 31).unwrap_err().ends_with("error=\"invalid_token\", error_description=\"the token is not good yet\"")
    );
    assert!(at(NOW + 90).unwrap_err().ends_with("the token has expired\""));
    assert_eq!(gate.count(Outcome::Expired) + gate.count(Outcome::Early), 2);
    // Fractions of seconds are allowed (RFC 7519 section 2); what is no number is no time.
    let half = hs256(json!({ "exp": NOW as f64 + 0.5 }));
    assert!(gate.told_at(&half, NOW + 29).is_ok() && gate.told_at(&half, NOW + 31).is_err());
    for wrong in [json!("tomorrow"), json!([NOW]), json!(null), json!(true)] {
        assert_eq!(gate.refused(&hs256(json!({ "exp": wrong }))), "the token is malformed");
    }
    assert_eq!(gate.refused(&hs256(json!({ "exp": -1 }))), "the token has expired");
    assert!(gate.told(&hs256(json!({ "exp": 1e300 }))).is_ok());
}

#[test]
fn a_token_that_never_ends_is_taken_only_where_that_is_allowed() {
    let mut endless = claims(json!({}));
    endless.as_object_mut().unwrap().remove("exp");
    let token = token("HS256", &endless);
    assert_eq!(Gate::secret("", "").refused(&token), "the token does not say how long it is good");
    assert!(Gate::secret("endless = true", "").told(&token).is_ok());
}

#[test]
fn the_age_of_a_token_may_be_bounded_whatever_it_says_of_its_end() {
    let gate = Gate::secret("max_age = '10m'\nleeway = '0s'\nremember = '0s'", "");
    let issued = |ago| hs256(json!({ "iat": NOW - ago, "exp": NOW + 86_400 }));
    assert!(gate.told(&issued(599)).is_ok());
    assert_eq!(gate.refused(&issued(600)), "the token has expired");
    assert_eq!(gate.refused(&hs256(json!({}))), "the token does not say how long it is good", "nobody knows its age");
}

#[test]
fn a_token_is_taken_from_its_issuer_and_for_whom_it_is() {
    let gate = Gate::secret("issuer = 'https://login.test'\naudiences = ['api', 'shop']", "");
    for (audience, good) in
        [(json!("api"), true), (json!(["x", "shop"]), true), (json!("x"), false), (json!([]), false)]
    {
        assert_eq!(gate.told(&hs256(json!({ "aud": audience }))).is_ok(), good, "{audience}");
    }
    assert_eq!(gate.refused(&hs256(json!({}))), "the token is not for this site");
    for issuer in [json!("https://evil.test"), json!(["https://login.test"]), json!(null)] {
        assert_eq!(gate.refused(&hs256(json!({ "iss": issuer, "aud": "api" }))), "the token is from another issuer");
    }
    // RFC 7519 section 4.1.3: who is not named where somebody is has to refuse.
    let nobody = Gate::secret("", "");
    assert!(nobody.told(&hs256(json!({}))).is_ok() && nobody.told(&hs256(json!({ "aud": "api" }))).is_err());
    let anybody = Gate::secret("audiences = ['*']", "");
    assert!(anybody.told(&hs256(json!({}))).is_ok() && anybody.told(&hs256(json!({ "aud": "api" }))).is_ok());
}

#[test]
fn of_several_issuers_a_token_is_held_against_the_keys_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), SECRET).unwrap();
    std::fs::write(dir.path().join("b"), rsa_pem()).unwrap();
    let gate = Gate::new(
        dir.path(),
        "[jwt_issuer.a]\nissuer = 'a'\nsecret_file = 'DIR/a'\n[jwt_issuer.b]\nissuer = 'b'\npublic_keys = ['DIR/b']\n",
    );
    let of = |issuer: &str, algorithm| token(algorithm, &claims(json!({ "iss": issuer })));
    assert!(gate.told(&of("a", "HS256")).is_ok() && gate.told(&of("b", "RS256")).is_ok());
    for (issuer, algorithm) in [("a", "RS256"), ("b", "HS256")] {
        assert_eq!(gate.refused(&of(issuer, algorithm)), "the token is signed in a way that is not taken");
    }
    assert_eq!(gate.refused(&of("c", "HS256")), "the token is from another issuer");
}

#[test]
fn tokens_of_other_types_and_with_extensions_that_are_not_known_are_refused() {
    let gate = Gate::secret("types = ['at+jwt']", "");
    let typed = |typ: Json| token_with(&json!({ "alg": "HS256", "typ": typ }), &claims(json!({})));
    assert!(gate.told(&typed(json!("at+jwt"))).is_ok() && gate.told(&typed(json!("application/AT+JWT"))).is_ok());
    assert_eq!(gate.refused(&typed(json!("JWT"))), "the token is of another type");
    assert_eq!(gate.refused(&typed(json!(null))), "the token is of another type");
    let critical = json!({ "alg": "HS256", "typ": "at+jwt", "crit": ["b64"], "b64": false });
    assert_eq!(gate.refused(&token_with(&critical, &claims(json!({})))), "the token is malformed");
}

#[test]
fn what_is_no_token_is_told_so() {
    let gate = Gate::secret("", "");
    let good = hs256(json!({}));
    let [header, payload, signature] = *good.split('.').collect::<Vec<_>>() else { panic!("three parts") };
    let deep = format!("{}1{}", "[".repeat(4000), "]".repeat(4000));
    for wrong in [
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{good}."),
        format!("{good}.x"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.+{}", &signature[1..]),
        format!("{}.{payload}.{signature}", base64url(b"{}")),
        format!("{}.{payload}.{signature}", base64url(b"{\"alg\":256}")),
        format!("{header}.{}.{signature}", base64url(b"[]")),
        format!("{header}.{}.{signature}", base64url(deep.as_bytes())),
        "x".repeat(20_000),
    ] {
        assert_eq!(gate.refused(&wrong), "the token is malformed", "{:.100}", wrong);
    }
    assert_eq!(gate.count(Outcome::Malformed), 13);
}

#[test]
fn who_has_no_token_is_asked_for_one_and_who_has_several_for_one_of_them() {
    let gate = Gate::secret("", "realm = 'The shop'\nquery = 'access_token'");
    let told = |mut head: Parts| {
        let refusal = gate.at(&mut head, NOW).unwrap_err();
        let challenge = refusal.response.headers[WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        (refusal.response.status.as_u16(), challenge)
    };
    // Nothing but the challenge, for there is no error yet (RFC 6750 section 3).
    assert_eq!(told(head("/", &[])), (401, "Bearer realm=\"The shop\"".to_owned()));
    assert_eq!(told(head("/", &[("authorization", "Basic YTpi")])).1, "Bearer realm=\"The shop\"");
    assert_eq!(gate.count(Outcome::Missing), 2);
    let good = hs256(json!({}));
    let field = format!("Bearer {good}");
    for several in [
        head("/", &[("authorization", &field), ("authorization", &field)]),
        head(&format!("/?access_token={good}"), &[("authorization", &field)]),
        head(&format!("/?access_token={good}&access_token={good}"), &[]),
    ] {
        let (status, challenge) = told(several);
        assert_eq!(status, 400);
        assert!(
            challenge.starts_with("Bearer realm=\"The shop\", error=\"invalid_request\", error_description="),
            "{challenge}"
        );
    }
}

#[test]
fn a_good_token_without_what_a_route_wants_is_forbidden_and_told_which_scopes() {
    let gate = Gate::secret("", "scopes = ['read', 'write']");
    let scope = |scope: Json| gate.told(&hs256(scope));
    assert!(
        scope(json!({ "scope": "write openid read" })).is_ok() && scope(json!({ "scp": ["read", "write"] })).is_ok()
    );
    for lacking in
        [json!({ "scope": "read" }), json!({ "scope": "reads write" }), json!({}), json!({ "scope": ["read"] })]
    {
        let (status, challenge) = scope(lacking).unwrap_err();
        assert_eq!(status, 403);
        assert_eq!(
            challenge,
            "Bearer error=\"insufficient_scope\", error_description=\"the token does not allow this\", scope=\"read write\""
        );
    }
    assert_eq!(gate.count(Outcome::Lacking), 4);
    let refusal = gate.at(&mut bearing(&hs256(json!({}))), NOW).unwrap_err();
    assert_eq!((refusal.user.as_deref(), refusal.why == Refused::Claims), (Some("ann"), true));
}

#[test]
fn a_claim_has_to_have_one_of_the_values_that_are_listed_wherever_it_stands() {
    let has =
        |wanted: &str, given: Json| Gate::secret("", &format!("claims = {{ {wanted} }}")).told(&hs256(given)).is_ok();
    for (wanted, given, good) in [
        ("roles = ['admin', 'ops']", json!({ "roles": ["dev", "ops"] }), true),
        ("roles = ['admin', 'ops']", json!({ "roles": "ops" }), true),
        ("roles = ['admin', 'ops']", json!({ "roles": ["dev"] }), false),
        ("roles = 'ops'", json!({ "roles": "dev ops" }), false),
        ("scope = 'write'", json!({ "scope": "read write" }), true),
        ("scope = 'write'", json!({ "scope": "read writer" }), false),
        ("email_verified = true", json!({ "email_verified": true }), true),
        ("email_verified = true", json!({ "email_verified": "true" }), false),
        ("level = [2, 3]", json!({ "level": 3 }), true),
        ("level = [2, 3]", json!({ "level": "3" }), false),
        ("tenant = '*'", json!({ "tenant": 0 }), true),
        ("tenant = '*'", json!({ "tenant": null }), false),
        ("tenant = '*'", json!({}), false),
        ("'realm_access.roles' = 'admin'", json!({ "realm_access": { "roles": ["admin"] } }), true),
        ("'realm_access.roles' = 'admin'", json!({ "realm_access": ["roles"], "roles": ["admin"] }), false),
        ("'a.b.c' = 1", json!({ "a.b": { "c": 1 } }), true),
        ("'a.b.c' = 1", json!({ "a": { "b": { "c": 2 } }, "a.b": { "c": 1 } }), false),
        ("'https://a.test/roles' = 'admin'", json!({ "https://a.test/roles": ["admin"] }), true),
        ("'resource.scope' = 'x'", json!({ "resource": { "scope": "w x" } }), true),
        ("sub = 'ann'\n, tenant = 'a'", json!({ "tenant": "b" }), false),
    ] {
        assert_eq!(has(&wanted.replace('\n', ""), given.clone()), good, "{wanted}: {given}");
    }
}
