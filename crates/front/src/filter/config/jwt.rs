//! What the configuration says of tokens: who issues them, and which routes ask for one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue, Uri};
use outwork_config::expansion::join_key;
use outwork_config::{
    At, Fault, Faults, Node, Setting, Value, choice, days, hours, millis, mins, secs, section, toml_text,
};
use serde_json::{Value as Json, json};

use super::FieldName;

/// Stands for any value.
const ANY: &str = "*";

choice! {
    /// How tokens are signed (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub enum JwtAlgorithm {
        /// A secret, with SHA-256.
        Hs256 = "HS256",
        /// A secret, with SHA-384.
        Hs384 = "HS384",
        /// A secret, with SHA-512.
        Hs512 = "HS512",
        /// RSA (PKCS #1 v1.5), with SHA-256.
        Rs256 = "RS256",
        /// RSA (PKCS #1 v1.5), with SHA-384.
        Rs384 = "RS384",
        /// RSA (PKCS #1 v1.5), with SHA-512.
        Rs512 = "RS512",
        /// RSA (PSS), with SHA-256.
        Ps256 = "PS256",
        /// RSA (PSS), with SHA-384.
        Ps384 = "PS384",
        /// RSA (PSS), with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256, with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384, with SHA-384.
        Es384 = "ES384",
        /// ECDSA on P-521, with SHA-512.
        Es512 = "ES512",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

section! {
    /// Who issues tokens (JSON Web Tokens, RFC 7519), and how they are verified: with public keys or with a secret that it shares. A key
    /// is good for the algorithms of its kind and no other.
    pub struct JwtIssuer {
        /// Its name, as `iss` has it in its tokens. Unset, that is not looked at: then it is the only issuer of its routes.
        pub issuer: Option<String>,
        /// Whom tokens are for: `aud` has to have one of these. Where none is named, tokens are refused that name somebody. `*` takes any, and
        /// those that name nobody.
        pub audiences: Vec<String>,
        /// Algorithms that are taken. None stands for all that its keys are good for.
        pub algorithms: Vec<JwtAlgorithm>,
        /// Where its public keys are: the URL of a JSON Web Key Set (RFC 7517). They are fetched at the start, every `refresh`, and when a
        /// token has a key id that is not among them. While that fails, those that there were stay good.
        pub jwks_url: Option<String>,
        /// A file with such a set; keys in it may be secret ones. It is read again when it changes, as all files here.
        pub jwks_file: Option<PathBuf>,
        /// Files with public keys or certificates (PEM).
        pub public_keys: Vec<PathBuf>,
        /// A file with a secret: its bytes, but for a newline at their end.
        pub secret_file: Option<PathBuf>,
        /// Certificates (PEM) of who may vouch for the server of `jwks_url`; unset, those that browsers trust.
        pub ca: Option<PathBuf>,
        /// How often keys are fetched.
        pub refresh: Duration [range secs(10)..=days(7)] = mins(15),
        /// How soon after another they are fetched again for a token with an unknown key id.
        pub refetch: Duration [range secs(1)..=hours(1)] = secs(30),
        /// How long a fetch may take, and a token wait for one.
        pub timeout: Duration [range millis(100)..=mins(1)] = secs(5),
        /// How far its clock and ours may be apart.
        pub leeway: Duration [range secs(0)..=mins(10)] = secs(30),
        /// How long ago tokens may have been issued (`iat`), whatever they say of their end.
        pub max_age: Option<Duration> [range secs(1)..],
        /// Whether tokens are taken that never end (without `exp`).
        pub endless: bool = false,
        /// Types of tokens (`typ`) that are taken, such as `at+jwt`, which tells access tokens from others (RFC 9068). None stands for any.
        pub types: Vec<String>,
        /// How long a token that was verified is known without being verified again.
        pub remember: Duration [range secs(0)..=hours(1)] = mins(1),
    }
    check verifies;
}

section! {
    /// Tokens that requests have to bring along (RFC 6750).
    pub struct Jwt {
        /// False in a route that everybody may ask, though `[front]` says otherwise.
        pub enabled: bool = true,
        /// Whose tokens are taken, by their names in `front.jwt_issuer`. Where there is only one, it needs no name here.
        pub issuers: Vec<String>,
        /// Whether requests without a token are let through. They have none of the fields of `claim_headers`.
        pub optional: bool = false,
        /// What clients are told is protected.
        pub realm: Option<String>,
        /// The header field that has the token: after `Bearer` in `Authorization`, alone in any other.
        pub header: FieldName = FieldName::of(AUTHORIZATION),
        /// A cookie that may have it in its place.
        pub cookie: Option<String>,
        /// A parameter of the query that may. It is seen in logs and histories: list it in `access_log.mask`.
        pub query: Option<String>,
        /// Scopes that a token has to have, all of them, in `scope` or `scp`.
        pub scopes: Vec<String>,
        /// Claims that a token has to have, each with this value or one of several; `*` stands for any. A list has to contain one of them, and
        /// so have the words of `scope`. Names lead into objects by dots: `"realm_access.roles" = ["admin"]`.
        pub claims: BTreeMap<String, ClaimValues>,
        /// The claim that names who asks in the access log.
        pub user: String = "sub",
        /// Whether what answers gets the token, too.
        pub forward: bool = true,
        /// Header fields that what answers gets, and the claims that they have: `x-user = "sub"`. Clients cannot send them.
        pub claim_headers: BTreeMap<String, String>,
    }
    check jwt;
}

/// Values of which a claim has to have one; without any, it has to be there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimValues(Vec<Json>);

impl ClaimValues {
    /// The values; none where any will do.
    pub(in crate::filter) fn values(&self) -> &[Json] {
        &self.0
    }

    fn one(node: &Node) -> Option<Json> {
        match node.value() {
            Value::Text(text) => Some(text.as_str().into()),
            Value::Bool(value) => Some((*value).into()),
            Value::Int(value) => i64::try_from(*value).ok().map(Json::from),
            _ => None,
        }
    }
}

impl Setting for ClaimValues {
    fn expected() -> String {
        "a string, a whole number, true or false, or several of them".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        if node.table().is_some() {
            let name = node.path().rsplit('.').next().unwrap_or_default();
            let fault = Fault::new("found a table").expected(Self::expected());
            faults.on(node, fault.help(format!("put a name with dots into quotes: \"{name}.NAME\" = ...")));
            return None;
        }
        let values = match node.items() {
            Some([]) => return faults.wrong(node),
            Some(items) => items.iter().map(Self::one).collect::<Option<Vec<_>>>(),
            None => Self::one(node).map(|value| vec![value]),
        };
        let Some(values) = values else { return faults.wrong(node) };
        let any = values.iter().any(|value| value == ANY);
        Some(Self(if any { Vec::new() } else { values }))
    }

    fn write(&self) -> Json {
        match &*self.0 {
            [] => ANY.into(),
            [value] => value.clone(),
            values => values.into(),
        }
    }

    fn schema() -> Json {
        let one = json!({"type": ["string", "integer", "boolean"]});
        json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
    }
}

impl JwtIssuer {
    /// Whether any audience will do.
    pub(in crate::filter) fn takes_any_audience(&self) -> bool {
        self.audiences.iter().any(|audience| audience == ANY)
    }
}

fn verifies(issuer: &JwtIssuer, at: &mut At<'_>) {
    let from_files = issuer.jwks_file.is_some() || !issuer.public_keys.is_empty() || issuer.secret_file.is_some();
    if issuer.jwks_url.is_none() && !from_files {
        let fault =
            Fault::new("no token could be verified").expected("jwks_url, jwks_file, public_keys or secret_file");
        at.fault("", fault.help("say where its keys are, such as jwks_url = \"https://login.example.org/jwks.json\""));
    }
    if let Some(url) = &issuer.jwks_url {
        jwks_url(url, at);
        if issuer.audiences.is_empty() {
            let warning =
                Fault::new("tokens that say whom they are for (`aud`), as most do, are refused: nobody is named");
            let help = "name those that stand for this site, or write audiences = [\"*\"] if it may be anybody";
            at.warn("jwks_url", warning.expected("audiences").help(help));
        }
    }
    if issuer.jwks_url.is_none() && issuer.ca.is_some() {
        let fault = Fault::new("nothing is fetched that they could vouch for").expected("a jwks_url");
        at.fault("ca", fault.help("take it out, or add the URL"));
    }
    let secret = |algorithm: &JwtAlgorithm| matches!(algorithm.word(), "HS256" | "HS384" | "HS512");
    let has_secrets = issuer.secret_file.is_some() || issuer.jwks_file.is_some();
    if let Some(index) = issuer.algorithms.iter().position(secret).filter(|_| !has_secrets) {
        let fault = Fault::new("a secret verifies this, and there is none").expected("algorithms of public keys");
        at.fault(&format!("algorithms[{index}]"), fault.help("take it out, or name the secret_file"));
    }
}

fn jwks_url(url: &str, at: &mut At<'_>) {
    let parsed = url.parse::<Uri>().ok();
    let host = parsed.as_ref().and_then(Uri::host);
    match (parsed.as_ref().and_then(Uri::scheme_str), host) {
        (Some("https"), Some(_)) => {}
        (Some("http"), Some(host)) if is_loopback(host) => {}
        (Some("http"), Some(_)) => {
            let warning =
                Fault::new("whoever is on the way to it can make keys of its own: it is fetched in clear text");
            at.warn(
                "jwks_url",
                warning.expected("https://").help("write https://; for a CA of your own there is `ca`"),
            );
        }
        _ => {
            let fault = Fault::new(format!("{url:?} is no URL of HTTP"));
            at.fault("jwks_url", fault.expected("a URL such as \"https://login.example.org/jwks.json\""));
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn jwt(jwt: &Jwt, at: &mut At<'_>) {
    let quotable = |text: &str| HeaderValue::from_str(text).is_ok() && !text.contains(['"', '\\']);
    if jwt.realm.as_ref().is_some_and(|realm| !quotable(realm)) {
        at.fault("realm", Fault::new("a realm has no quotes, backslashes or control characters"));
    }
    if *jwt.header.name() == COOKIE {
        let fault = Fault::new("this field has cookies").expected("cookie = \"NAME\" for one of them");
        at.fault("header", fault.help("take it out, and write cookie = \"NAME\""));
    }
    // RFC 6265 section 4.1.1: the name of a cookie is a token, as that of a field is.
    if let Some(cookie) = jwt.cookie.as_ref().filter(|cookie| HeaderName::from_bytes(cookie.as_bytes()).is_err()) {
        at.fault(
            "cookie",
            Fault::new(format!("{cookie:?} is no name of a cookie")).expected("a name such as \"token\""),
        );
    }
    if jwt.query.as_ref().is_some_and(String::is_empty) {
        at.fault("query", Fault::new("a parameter has a name").expected("a name such as \"access_token\""));
    }
    for (index, scope) in jwt.scopes.iter().enumerate() {
        if scope.is_empty() || scope.contains(' ') || !quotable(scope) {
            let fault = Fault::new(format!("{scope:?} is no scope")).expected("a word such as \"read:orders\"");
            at.fault(
                &format!("scopes[{index}]"),
                fault.help("write each scope by itself: scopes = [\"read\", \"write\"]"),
            );
        }
    }
    for (name, claim) in &jwt.claim_headers {
        let key = join_key("claim_headers", name);
        match name.parse::<FieldName>() {
            Ok(name) if *name.name() == AUTHORIZATION => {
                let fault = Fault::new("this field has credentials").expected("a name such as \"x-user\"");
                at.fault(&key, fault.help("give the claim a field of its own"));
            }
            Ok(_) if claim.is_empty() => {
                at.fault(&key, Fault::new("a claim has a name").expected("a name such as \"sub\""));
            }
            Ok(_) => {}
            Err(error) => at.fault(&key, Fault::new(error.to_string()).expected("a name such as \"x-user\"")),
        }
    }
}

/// Checks that a section's issuers are there, and that each token can be told whose it is. `key` is where the section stands.
pub fn check_issuers(key: &str, jwt: &Jwt, issuers: &BTreeMap<String, JwtIssuer>, at: &mut At<'_>) {
    let names = || issuers.keys().map(|name| toml_text(&name.as_str().into())).collect::<Vec<_>>().join(", ");
    let a_name =
        || if issuers.is_empty() { "a [front.jwt_issuer.NAME]".to_owned() } else { format!("some of {}", names()) };
    for (index, name) in jwt.issuers.iter().enumerate().filter(|(_, name)| !issuers.contains_key(*name)) {
        let fault = Fault::new(format!("there is no issuer {name:?} in front.jwt_issuer")).expected(a_name());
        at.fault(&format!("{key}.issuers[{index}]"), fault.help("name one that is there, or add it"));
    }
    if jwt.issuers.is_empty() && issuers.len() != 1 {
        let found = if issuers.is_empty() { "nobody issues tokens" } else { "it does not say whose tokens are taken" };
        let help = match issuers.is_empty() {
            true => "add a [front.jwt_issuer.NAME] that says where its keys are".to_owned(),
            false => format!("write issuers = [{}], or some of them", names()),
        };
        at.fault(key, Fault::new(found).expected(a_name()).help(help));
    }
    let nameless = |name: &&String| issuers.get(*name).is_some_and(|issuer| issuer.issuer.is_none());
    if let Some(name) = jwt.issuers.iter().find(nameless).filter(|_| jwt.issuers.len() > 1) {
        let fault =
            Fault::new(format!("tokens are told apart by their issuer, and front.jwt_issuer.{name} has no name"));
        at.fault(
            &format!("{key}.issuers"),
            fault.expected("issuers with an `issuer`").help("say what `iss` its tokens have"),
        );
    }
}
