//! What the configuration says of middleware: in `[front]` for every route, and with the same keys in a route instead of that.

mod certified;
mod forward;
mod jwt;
mod log;
mod names;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method};
use outwork_cache::server::Server;
use outwork_config::expansion::join_key;
use outwork_config::{At, Fault, Secret, choice, hours, millis, mins, secs, section};

pub use certified::{Certified, CertifiedError, Fingerprint, Subject};
pub use forward::ForwardAuth;
pub use jwt::{ClaimValues, Jwt, JwtAlgorithm, JwtIssuer, check_issuers};
pub use log::{AccessLogSettings, LogFormat, QueryPolicy};
pub use names::{CorsOrigin, FieldName, NameError, Pattern, RateKey};

use super::networks::Network;
use super::pages::{Statuses, media};
use super::users::Hash;

section! {
    /// Ids of requests, in a header field of request and answer, in the access log and in error answers.
    pub struct RequestId {
        /// The header field.
        pub header: FieldName = FieldName::of(http::HeaderName::from_static("x-request-id")),
        /// Whose ids are taken over. A request without one, or whose id is none that a log should have, gets a new one.
        pub trust: Trust = Trust::Proxies,
    }
}

choice! {
    /// Whose word is taken.
    pub enum Trust {
        /// Nobody's.
        Nobody = "nobody",
        /// That of `trusted_proxies`.
        Proxies = "proxies",
        /// Everybody's.
        Everybody = "everybody",
    }
}

section! {
    /// Who may come, by address. Of entries that have an address the narrowest counts. Where some are allowed, others are refused. An IPv4
    /// address that comes translated (64:ff9b::/96, RFC 6052) is meant by entries of either form.
    pub struct Addresses {
        /// Networks that may come.
        pub allow: Vec<Network>,
        /// Networks that may not.
        pub deny: Vec<Network>,
        /// Files with networks that may come, one a line. A reload reads them again.
        pub allow_files: Vec<PathBuf>,
        /// Files with networks that may not.
        pub deny_files: Vec<PathBuf>,
    }
}

section! {
    /// A limit on requests: so many in a window of time. It is a generic cell rate: what was used comes back evenly over the window.
    pub struct RateLimit {
        /// What is counted together: `client` (an IPv4 address, translated or not, or an IPv6 /64), `host`, `route`, `header:NAME`, or several of them.
        /// A request without the header field counts for its client.
        pub key: Vec<RateKey> = vec![RateKey::Client],
        /// Requests in a window.
        pub limit: u32 [range 1..=1_000_000_000] = 100,
        /// The window.
        pub window: Duration [range millis(100)..=hours(24)] = secs(60),
        /// Requests that may come at once after a time without any. Unset, as many as the limit.
        pub burst: Option<u32> [range 1..=1_000_000_000],
        /// Keys that are remembered at a time, 16 bytes each. Of more, those that have used least are forgotten.
        pub keys: u32 [range 64..=67_108_864] = 65_536,
        /// Where is counted.
        pub store: RateStore = RateStore::Local,
        /// Counts and tells, and refuses nobody.
        pub dry_run: bool = false,
        /// How answers tell what is left.
        pub fields: RateFields = RateFields::Three,
    }
    check rate_limit;
}

choice! {
    /// Where requests are counted.
    pub enum RateStore {
        /// In this process.
        Local = "local",
        /// In Redis (`[front.redis]`), together with other servers; in this process while Redis is away.
        Redis = "redis",
    }
}

choice! {
    /// How answers tell what is left of a limit.
    pub enum RateFields {
        /// `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset` (draft-ietf-httpapi-ratelimit-headers up to 07).
        Three = "three",
        /// `RateLimit` and `RateLimit-Policy` (that draft from 08 on).
        Structured = "structured",
        /// Not at all, but for `Retry-After` where it is used up.
        Off = "off",
    }
}

fn rate_limit(limit: &RateLimit, at: &mut At<'_>) {
    if limit.key.is_empty() {
        let fault = Fault::new("nothing is counted together").expected("one of client, host, route, header:NAME");
        at.fault("key", fault.help("for one count of all requests write key = [\"route\"]"));
    }
}

section! {
    /// A Redis server that several servers count in.
    #[required_keys]
    pub struct Redis {
        /// Where it is: `redis://host:6379/0`, `rediss://` for TLS, `unix:///run/redis.sock`. User and password have keys of their own.
        pub url: String,
        /// The user, where Redis has users.
        pub user: Option<String>,
        /// The password.
        pub password: Option<Secret>,
        /// Certificates (PEM) of who may vouch for the server; unset, those of the operating system.
        pub ca: Option<PathBuf>,
        /// What every key there begins with. Servers with the same prefix count together.
        pub prefix: String = "outwork:rate:",
        /// How long a request waits for Redis before it is counted in this process alone.
        pub timeout: Duration [range millis(1)..=secs(10)] = millis(50),
        /// Failures in a row after which nobody waits for it any more.
        pub failures: u32 [range 1..=1_000_000] = 5,
        /// How long it is left alone then, until it is tried again.
        pub retry: Duration [range millis(10)..=mins(60)] = secs(1),
    }
    check redis;
}

impl Redis {
    /// The server.
    pub(in crate::filter) fn server(&self) -> Server<'_> {
        Server {
            url: &self.url,
            user: self.user.as_deref(),
            password: self.password.as_ref(),
            ca: self.ca.as_deref(),
            prefix: &self.prefix,
        }
    }
}

fn redis(redis: &Redis, at: &mut At<'_>) {
    redis.server().check("front.redis", at);
}

section! {
    /// Names and passwords (RFC 7617).
    pub struct BasicAuth {
        /// False in a route that everybody may ask, though `[front]` says otherwise.
        pub enabled: bool = true,
        /// What browsers call what is protected.
        pub realm: String = "Restricted",
        /// Users, with a hash of each one's password: Argon2 or bcrypt. `outwork hash-password` makes one.
        pub users: BTreeMap<String, Secret>,
        /// More users: a file of `htpasswd -B`, `NAME:HASH` on each line. It is read again when it changes.
        pub file: Option<PathBuf>,
        /// Wrong passwords that an address may send in a minute. Those whose answer it does not wait for count, too.
        pub failures: u32 [range 1..=10_000] = 10,
        /// How long a password that was right is known without being hashed again.
        pub remember: Duration [range secs(0)..=hours(24)] = mins(5),
    }
    check basic_auth;
}

fn basic_auth(auth: &BasicAuth, at: &mut At<'_>) {
    if auth.enabled && auth.users.is_empty() && auth.file.is_none() {
        let fault = Fault::new("nobody could sign in").expected("users, or a file of them");
        at.fault(
            "",
            fault.help("add users = { NAME = \"HASH\" } with a hash from `outwork hash-password`, or file = \"PATH\""),
        );
    }
    for (name, hash) in &auth.users {
        let fault = match hash.expose().parse::<Hash>() {
            _ if name.contains(':') || name.is_empty() => {
                Fault::new(format!("{name:?} is no name: it may not be empty or have a colon"))
            }
            Ok(_) => continue,
            Err(error) => Fault::new(error.to_string()).expected("a hash of Argon2 or bcrypt"),
        };
        at.fault(&join_key("users", name), fault.help("`outwork hash-password` makes one").secret());
    }
    if HeaderValue::from_str(&auth.realm).is_err() || auth.realm.contains(['"', '\\']) {
        at.fault("realm", Fault::new("a realm has no quotes, backslashes or control characters"));
    }
}

section! {
    /// Which pages of other origins may read answers (the CORS protocol of the Fetch standard).
    pub struct Cors {
        /// False in a route without it, though `[front]` says otherwise.
        pub enabled: bool = true,
        /// Origins: `https://app.example.org`, `https://*.example.org`, or `*` for any.
        pub origins: Vec<CorsOrigin>,
        /// Methods.
        pub methods: Vec<String> = ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
        /// Header fields that requests may have; `*` for whatever is asked for.
        pub headers: Vec<String>,
        /// Header fields of answers that pages may read.
        pub expose: Vec<String>,
        /// Whether cookies and passwords may come along.
        pub credentials: bool = false,
        /// How long browsers remember what they were told.
        pub max_age: Duration [range secs(0)..=hours(24)] = mins(10),
        /// Whether public pages may ask this server where it is in a private network.
        pub private_network: bool = false,
    }
    check cors;
}

fn cors(cors: &Cors, at: &mut At<'_>) {
    if cors.credentials && cors.origins.contains(&CorsOrigin::Any) {
        let fault = Fault::new("any page could act as whoever is signed in")
            .expected("origins by name where credentials may come along");
        at.fault("credentials", fault.help("list the origins, or leave credentials out"));
    }
    for (index, method) in cors.methods.iter().enumerate() {
        if Method::from_bytes(method.as_bytes()).is_err() {
            at.fault(
                &format!("methods[{index}]"),
                Fault::new(format!("{method:?} is no method")).expected("a method such as \"PUT\""),
            );
        }
    }
    for (key, names) in [("headers", &cors.headers), ("expose", &cors.expose)] {
        for (index, name) in names.iter().enumerate() {
            let any = key == "headers" && name == "*";
            if !any && http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                let fault =
                    Fault::new(format!("{name:?} is no field name")).expected("a name such as \"content-type\"");
                at.fault(&format!("{key}[{index}]"), fault);
            }
        }
    }
}

section! {
    /// Header fields that tell browsers to be careful. A handler that sets one itself has its way. An empty text leaves one out.
    pub struct SecurityHeaders {
        /// False in a route without them, though `[front]` says otherwise.
        pub enabled: bool = true,
        /// `X-Content-Type-Options: nosniff`: a type is what we say that it is.
        pub nosniff: bool = true,
        /// `X-Frame-Options`: who may show our pages in its own.
        pub frame_options: String = "SAMEORIGIN",
        /// `Referrer-Policy`: what other sites hear of where a visitor comes from.
        pub referrer_policy: String = "strict-origin-when-cross-origin",
        /// `Cross-Origin-Opener-Policy`: whether pages of others that open ours get hold of it.
        pub opener_policy: String = "same-origin",
        /// `Permissions-Policy`: what pages may ask of the device.
        pub permissions_policy: String = "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        /// `Content-Security-Policy`: where pages may load from. It depends on the pages, so there is none by default.
        pub content_security_policy: String = "",
        /// Has browsers report what that policy would refuse, and refuse nothing.
        pub report_only: bool = false,
    }
    check security_headers;
}

fn security_headers(headers: &SecurityHeaders, at: &mut At<'_>) {
    let values = [
        ("frame_options", &headers.frame_options),
        ("referrer_policy", &headers.referrer_policy),
        ("opener_policy", &headers.opener_policy),
        ("permissions_policy", &headers.permissions_policy),
        ("content_security_policy", &headers.content_security_policy),
    ];
    for (key, value) in values {
        if HeaderValue::from_str(value).is_err() {
            at.fault(key, Fault::new("this is no field value").expected("text without control characters"));
        }
    }
}

section! {
    /// Changes to header fields: what is removed first, then what is set, then what is added.
    pub struct FieldRules {
        /// Fields taken out.
        pub remove: Vec<FieldName>,
        /// Fields that get this value, in place of what they have.
        pub set: BTreeMap<String, String>,
        /// Fields that get this value beside what they have.
        pub add: BTreeMap<String, String>,
    }
    check field_rules;
}

fn field_rules(rules: &FieldRules, at: &mut At<'_>) {
    check_fields("set", &rules.set, at);
    check_fields("add", &rules.add, at);
}

/// Checks header fields that messages are to get.
pub fn check_fields(key: &str, fields: &BTreeMap<String, String>, at: &mut At<'_>) {
    for (name, value) in fields {
        let fault = match (name.parse::<FieldName>(), HeaderValue::from_str(value)) {
            (Err(error), _) => Fault::new(error.to_string()).expected("a name such as \"x-version\""),
            (_, Err(_)) => {
                Fault::new(format!("{value:?} is no field value")).expected("text without control characters")
            }
            _ => continue,
        };
        at.fault(&join_key(key, name), fault);
    }
}

/// Says of what has a page for errors and is no status of an error.
pub fn check_statuses(key: &str, statuses: &str, at: &mut At<'_>) {
    if Statuses::of(statuses).is_none() {
        let fault = Fault::new(format!("{statuses:?} is no status of an error"));
        at.fault(key, fault.expected("one such as 404, or \"4xx\" or \"5xx\""));
    }
}

/// Checks pages for errors.
pub fn check_error_pages(pages: Option<&BTreeMap<String, PathBuf>>, at: &mut At<'_>) {
    for (statuses, page) in pages.into_iter().flatten() {
        let key = join_key("error_pages", statuses);
        check_statuses(&key, statuses, at);
        if media(page).is_none() {
            let fault = Fault::new(format!("{} is no page", page.display()));
            let fault = fault.expected("a file whose name ends in .html, .htm, .txt or .json");
            at.fault(&key, fault.help("paths begin at the folder of the configuration file"));
        }
    }
}

section! {
    /// Closes routes for a while: everybody gets the same error but those who work on them.
    pub struct Maintenance {
        /// Whether they are closed.
        pub enabled: bool = true,
        /// The status.
        pub status: u16 [range 400..=599] = 503,
        /// What is said.
        pub message: String = "This site is being worked on.",
        /// When to come again.
        pub retry_after: Option<Duration> [range secs(1)..],
        /// Networks for which nothing is closed.
        pub allow: Vec<Network>,
    }
}

section! {
    /// Another target for the request, before it is answered: the prefix is stripped first, then the pattern replaced, then the new
    /// prefix put in front.
    pub struct Rewrite {
        /// What the path has to begin with, and loses. Whole segments; where it does not begin with them, it stays as it is.
        pub strip_prefix: Option<String>,
        /// A regular expression that is looked for in the path.
        pub pattern: Option<Pattern>,
        /// What stands in the place of its first match; `$1` and `${name}` stand for its groups.
        pub replacement: String = "",
        /// What the path gets in front.
        pub add_prefix: Option<String>,
        /// The query, without its question mark; `{query}` stands for the one there was. Empty for none; unset, it stays.
        pub query: Option<String>,
        /// The host.
        pub host: Option<String>,
    }
    check rewrite;
}

fn rewrite(rewrite: &Rewrite, at: &mut At<'_>) {
    for (key, prefix) in [("strip_prefix", &rewrite.strip_prefix), ("add_prefix", &rewrite.add_prefix)] {
        let Some(prefix) = prefix else { continue };
        if !prefix.starts_with('/') || prefix.contains(['?', '#']) || prefix.chars().any(char::is_control) {
            at.fault(key, Fault::new(format!("{prefix:?} is no path")).expected("a path such as \"/v1\""));
        }
    }
    if let Some(pattern) = &rewrite.pattern
        && let Some((offset, group)) = pattern.unknown_group(&rewrite.replacement)
    {
        let fault = Fault::new(format!("the pattern has no group {group}")).expected(pattern.groups());
        let help = "put what is meant in parentheses in the pattern, or write $$ for a dollar sign";
        at.fault("replacement", fault.help(help).within(offset, group.len()));
    }
    if rewrite.pattern.is_none() && !rewrite.replacement.is_empty() {
        at.fault("replacement", Fault::new("there is no pattern whose match it could replace").help("add a pattern"));
    }
    if rewrite
        .query
        .as_ref()
        .is_some_and(|query| query.contains(['#', '?', ' ']) || query.chars().any(char::is_control))
    {
        at.fault("query", Fault::new("this is no query").expected("text such as \"page=1&{query}\""));
    }
    if rewrite.host.as_ref().is_some_and(|host| host.parse::<http::uri::Authority>().is_err()) {
        at.fault("host", Fault::new("this is no host").expected("a host such as \"app.internal:8080\""));
    }
}

/// What routes share, as one of them or `[front]` says it.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// Who may come.
    pub addresses: Option<&'a Addresses>,
    /// How many requests.
    pub rate_limit: Option<&'a [RateLimit]>,
    /// Whose certificates are good for it.
    pub client_certificate: Option<&'a Certified>,
    /// Who is asked for a password.
    pub basic_auth: Option<&'a BasicAuth>,
    /// Who is asked for a token.
    pub jwt: Option<&'a Jwt>,
    /// Who is asked about requests.
    pub forward_auth: Option<&'a ForwardAuth>,
    /// Whose pages may read answers.
    pub cors: Option<&'a Cors>,
    /// What browsers are told.
    pub security_headers: Option<&'a SecurityHeaders>,
    /// Changes to the header fields of requests.
    pub request_headers: Option<&'a FieldRules>,
    /// Changes to those of answers.
    pub response_headers: Option<&'a FieldRules>,
    /// Whether there is anything to ask for.
    pub maintenance: Option<&'a Maintenance>,
    /// Pages for errors.
    pub error_pages: Option<&'a BTreeMap<String, PathBuf>>,
}

impl<'a> Shared<'a> {
    /// Each of its keys, and whether it is there.
    pub fn named(&self) -> [(&'static str, bool); 12] {
        [
            ("addresses", self.addresses.is_some()),
            ("rate_limit", self.rate_limit.is_some()),
            ("client_certificate", self.client_certificate.is_some()),
            ("basic_auth", self.basic_auth.is_some()),
            ("jwt", self.jwt.is_some()),
            ("forward_auth", self.forward_auth.is_some()),
            ("cors", self.cors.is_some()),
            ("security_headers", self.security_headers.is_some()),
            ("request_headers", self.request_headers.is_some()),
            ("response_headers", self.response_headers.is_some()),
            ("maintenance", self.maintenance.is_some()),
            ("error_pages", self.error_pages.is_some()),
        ]
    }

    /// What holds for a route that says this, where `general` says that.
    #[must_use]
    pub fn over(self, general: Self) -> Self {
        Self {
            addresses: self.addresses.or(general.addresses),
            rate_limit: self.rate_limit.or(general.rate_limit),
            client_certificate: self.client_certificate.or(general.client_certificate),
            basic_auth: self.basic_auth.or(general.basic_auth),
            jwt: self.jwt.or(general.jwt),
            forward_auth: self.forward_auth.or(general.forward_auth),
            cors: self.cors.or(general.cors),
            security_headers: self.security_headers.or(general.security_headers),
            request_headers: self.request_headers.or(general.request_headers),
            response_headers: self.response_headers.or(general.response_headers),
            maintenance: self.maintenance.or(general.maintenance),
            error_pages: self.error_pages.or(general.error_pages),
        }
    }
}

/// Declares a section with the keys of middleware beside its own.
#[macro_export]
macro_rules! filtered_section {
    ($(#[doc = $doc:literal])+ #[required_keys] $vis:vis struct $name:ident { $($fields:tt)* } $($tail:tt)*) => {
        $crate::__filtered_section! { [$(#[doc = $doc])+ #[required_keys]] $vis $name { $($fields)* } $($tail)* }
    };
    ($(#[doc = $doc:literal])+ $vis:vis struct $name:ident { $($fields:tt)* } $($tail:tt)*) => {
        $crate::__filtered_section! { [$(#[doc = $doc])+] $vis $name { $($fields)* } $($tail)* }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __filtered_section {
    ([$($meta:tt)+] $vis:vis $name:ident { $($fields:tt)* } $($tail:tt)*) => {
        ::outwork_config::section! {
            $($meta)+
            $vis struct $name {
                $($fields)*
                /// Who may come, by address.
                pub(crate) addresses: Option<$crate::filter::config::Addresses>,
                /// Limits on requests. Several may hold at once; an empty list is none.
                pub(crate) rate_limit: Option<Vec<$crate::filter::config::RateLimit>>,
                /// Whose requests are answered, by the certificate that the client has shown.
                pub(crate) client_certificate: Option<$crate::filter::config::Certified>,
                /// Names and passwords.
                pub(crate) basic_auth: Option<$crate::filter::config::BasicAuth>,
                /// Tokens that requests have to bring along (RFC 6750).
                pub(crate) jwt: Option<$crate::filter::config::Jwt>,
                /// Somebody who is asked about each request before it is answered.
                pub(crate) forward_auth: Option<$crate::filter::config::ForwardAuth>,
                /// Which pages of other origins may read answers.
                pub(crate) cors: Option<$crate::filter::config::Cors>,
                /// Header fields that tell browsers to be careful.
                pub(crate) security_headers: Option<$crate::filter::config::SecurityHeaders>,
                /// Changes to the header fields of requests.
                pub(crate) request_headers: Option<$crate::filter::config::FieldRules>,
                /// Changes to the header fields of answers.
                pub(crate) response_headers: Option<$crate::filter::config::FieldRules>,
                /// Closes it for a while.
                pub(crate) maintenance: Option<$crate::filter::config::Maintenance>,
                /// Files that are sent where there is an error, by status: `404 = "errors/404.html"`, `5xx = "errors/sorry.html"`; .html, .txt
                /// or .json, and read when the configuration is. The status stays, and programs that ask for JSON get that. Where files are
                /// served, their own `error_pages` come before these.
                pub(crate) error_pages: Option<::std::collections::BTreeMap<String, ::std::path::PathBuf>>,
            }
            $($tail)*
        }

        impl $name {
            /// What it says of middleware.
            pub(crate) fn shared(&self) -> $crate::filter::config::Shared<'_> {
                $crate::filter::config::Shared {
                    addresses: self.addresses.as_ref(),
                    rate_limit: self.rate_limit.as_deref(),
                    client_certificate: self.client_certificate.as_ref(),
                    basic_auth: self.basic_auth.as_ref(),
                    jwt: self.jwt.as_ref(),
                    forward_auth: self.forward_auth.as_ref(),
                    cors: self.cors.as_ref(),
                    security_headers: self.security_headers.as_ref(),
                    request_headers: self.request_headers.as_ref(),
                    response_headers: self.response_headers.as_ref(),
                    maintenance: self.maintenance.as_ref(),
                    error_pages: self.error_pages.as_ref(),
                }
            }
        }
    };
}
