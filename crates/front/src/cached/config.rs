//! What the configuration says of caching a route's answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::cron::Cron;
use super::storing::{MOST_TAGS, TAG_BYTES};
use super::warm::Address;
use http::{HeaderName, HeaderValue, StatusCode};
use outwork_config::{At, ByteSize, Fault, choice, hours, millis, mins, secs, section};

section! {
    /// How the answers of a route are cached (RFC 9111). They say themselves, by `Cache-Control`, whether and for how long; what stands here
    /// is for those that do not.
    pub struct Cache {
        /// Whether they are cached.
        pub enabled: bool = true,
        /// How long an answer is fresh that does not say so itself and is no error. With 0, a tenth of the time since its `Last-Modified`; but an answer
        /// of `files` is not kept then, for a file is looked at by itself, and a changed one is seen with the next request.
        pub default_ttl: Duration [range secs(0)..=hours(24 * 365)] = secs(0),
        /// The same by status, such as `404 = "10s"`. It comes before `default_ttl`, and is how errors are cached.
        pub status_ttl: BTreeMap<String, Duration>,
        /// How long every answer is fresh, whatever it says of it. What must not be stored is not stored all the same.
        pub ttl: Option<Duration>,
        /// The most that is guessed out of `Last-Modified`; 0 guesses nothing. Nothing is guessed of errors and of `files`.
        pub heuristic_max: Duration [range secs(0)..=hours(24 * 365)] = hours(24),
        /// How long an answer that was fresh for a time is still given after it while a new one is fetched behind it, unless the answer says so itself.
        pub stale_while_revalidate: Duration [range secs(0)..=hours(24 * 365)] = secs(0),
        /// How long a stale answer is still given when a new one cannot be had, unless the answer says so itself.
        pub stale_if_error: Duration [range secs(0)..=hours(24 * 365)] = secs(0),
        /// How long a stale answer that can be asked for again by its validators is kept for that.
        pub keep: Duration [range secs(0)..=hours(24 * 365)] = mins(10),
        /// The largest content that is cached.
        pub max_entry: ByteSize [range ByteSize::bytes(0)..=ByteSize::gib(4)] = ByteSize::mib(8),
        /// How long it is remembered that the answers to a URL cannot be cached, so that nobody waits for another's.
        pub pass_ttl: Duration [range secs(0)..=hours(24)] = mins(2),
        /// What tells one answer from another.
        pub key: Key,
        /// Tags that all of them can be purged by, beside those that they name themselves by `Surrogate-Key` or `Cache-Tag`.
        pub tags: Vec<String>,
        /// Request header fields that answers depend on, in place of what `Vary` says.
        pub vary: Option<Vec<String>>,
        /// Requests with one of these header fields go past the cache.
        pub bypass_headers: Vec<String>,
        /// Requests with one of these cookies go past the cache. `*` at the end stands for anything.
        pub bypass_cookies: Vec<String>,
        /// What clients may ask of the cache by `Cache-Control`.
        pub client_control: Obeyed = Obeyed::Lenient,
        /// What becomes of answers to requests with cookies.
        pub cookies: Cookies = Cookies::Explicit,
        /// What becomes of answers that set cookies.
        pub set_cookie: SetCookie = SetCookie::Pass,
        /// Fields that say in place of `Cache-Control` what this cache does (RFC 9213). The first that is there counts.
        pub targets: Vec<String> = vec!["outwork-cache-control".to_owned(), "surrogate-control".to_owned(), "cdn-cache-control".to_owned()],
        /// Those of them that are passed on, to the caches before this one. `surrogate-control` never is.
        pub pass_on: Vec<String> = vec!["cdn-cache-control".to_owned()],
        /// How long a fetch may take until its head is there, and between two parts of its content.
        pub fetch_timeout: Duration [range millis(10)..=hours(1)] = secs(60),
        /// Fetches under way at once. Requests beyond them go past the cache.
        pub max_fetches: u32 [range 1..=1_000_000] = 1024,
        /// Whether answers that are asked for often enough are fetched again before they are stale, as `cache.warming.predict` says.
        pub predict: bool = true,
        /// Whether `Cache-Status` (RFC 9211) tells the key, too.
        pub debug: bool = false,
    }
    check cache;
}

section! {
    /// What of a request tells one answer from another.
    pub struct Key {
        /// Whether `http` and `https` are apart.
        pub scheme: bool = true,
        /// Whether hosts are apart.
        pub host: bool = true,
        /// What counts of the query.
        pub query: Query = Query::All,
        /// The parameters that count, where `query` is `listed`. `*` at the end stands for anything.
        pub params: Vec<String>,
        /// Parameters that never count, such as `utm_*`.
        pub ignore: Vec<String>,
        /// Whether the order of parameters does not count.
        pub sort: bool = false,
        /// Header fields that count. Those that `Vary` names count without being named here.
        pub headers: Vec<String>,
        /// Cookies that count.
        pub cookies: Vec<String>,
    }
    check key;
}

choice! {
    /// What counts of a query.
    pub enum Query {
        /// All of it.
        All = "all",
        /// The parameters that are listed.
        Listed = "listed",
        /// Nothing.
        None = "none",
    }
}

choice! {
    /// What clients may ask of the cache.
    pub enum Obeyed {
        /// Everything: `no-cache`, `no-store`, `max-age` and `min-fresh`, too, with which any client can have every answer fetched.
        All = "all",
        /// What makes the handler no work: `max-stale` and `only-if-cached`.
        Lenient = "lenient",
        /// Nothing.
        None = "none",
    }
}

choice! {
    /// What becomes of answers to requests with cookies.
    pub enum Cookies {
        /// They are cached if they say themselves that they may be and for how long, depend on no cookie that does not count, or the route has a `ttl`.
        Explicit = "explicit",
        /// Requests with cookies go past the cache.
        Bypass = "bypass",
        /// Cookies make no difference.
        Ignore = "ignore",
    }
}

choice! {
    /// What becomes of answers that set cookies.
    pub enum SetCookie {
        /// They are not cached.
        Pass = "pass",
        /// They are cached without the cookies, and those are set for nobody.
        Strip = "strip",
        /// They are cached, and everybody gets the same cookies.
        Keep = "keep",
    }
}

section! {
    /// Answers that are fetched before anybody asks. What is asked for is a URL, such as `https://www.example.org/a`, or a path of `site`.
    pub struct Warming {
        /// What paths are paths of, such as `https://www.example.org`.
        pub site: Option<Address>,
        /// What is fetched when the server starts.
        pub on_start: Vec<String>,
        /// What is fetched at certain times.
        pub scheduled: Vec<Schedule>,
        /// What is fetched because it is asked for often.
        pub predict: Predict,
        /// Header fields that these requests have, such as `accept-encoding = "gzip"` where answers depend on it.
        pub headers: BTreeMap<String, String>,
        /// Fetches under way at once.
        pub concurrency: u16 [range 1..=1024] = 4,
    }
    check warming;
}

section! {
    /// Answers that are fetched at certain times.
    #[required_keys]
    pub struct Schedule {
        /// When: minute, hour, day of the month, month and day of the week, in UTC.
        pub cron: Cron,
        /// What.
        pub paths: Vec<String>,
    }
}

section! {
    /// Answers that are asked for often are fetched again before they are stale.
    pub struct Predict {
        /// Whether they are.
        pub enabled: bool = false,
        /// Requests in the last hour from which on an answer is one of them.
        pub threshold: u32 [range 1..] = 10,
        /// Answers that are kept count of at most.
        pub most: u32 [restart, range 1..=1_000_000] = 4096,
    }
}

section! {
    /// The cache before this one, as of a content delivery network.
    #[required_keys]
    pub struct Edge {
        /// Whose it is: what it is told, and how.
        pub provider: Provider,
        /// Where it takes purges. `generic`: any URL. `cloudflare`: `https://api.cloudflare.com/client/v4/zones/ZONE/purge_cache`. `fastly`:
        /// `https://api.fastly.com/service/SERVICE`.
        pub url: String [restart],
        /// A file with the token that it is shown. Read with every purge.
        pub token_file: Option<PathBuf> [restart],
        /// How long it may keep an answer that is stored here; unset, as long as the answer says.
        pub ttl: Option<Duration>,
        /// How long it may take to answer.
        pub timeout: Duration [restart, range millis(10)..=mins(5)] = secs(10),
        /// How often one purge is sent at most. Who was not told of one is told to throw out everything, as soon as that is taken; so is who was
        /// not told yet when the process ended.
        pub attempts: u32 [restart, range 1..=100] = 6,
        /// How long it waits after the first failure; twice as long after each further one.
        pub pause: Duration [restart, range millis(1)..=mins(5)] = secs(1),
        /// Purges that may wait. For those beyond them it is told to throw out everything.
        pub queue: u32 [restart, range 1..=1_000_000] = 1000,
    }
    check edge;
}

choice! {
    /// Whose cache it is.
    pub enum Provider {
        /// Anybody's: a POST with `{"urls": [..]}`, `{"prefixes": [..]}`, `{"tags": [..]}` or `{"all": true}`, and the token as `Authorization: Bearer`.
        Generic = "generic",
        /// Cloudflare's.
        Cloudflare = "cloudflare",
        /// Fastly's. It knows no prefixes.
        Fastly = "fastly",
    }
}

fn warming(warming: &Warming, at: &mut At<'_>) {
    check_addresses("on_start", &warming.on_start, warming, at);
    for (index, schedule) in warming.scheduled.iter().enumerate() {
        check_addresses(&format!("scheduled[{index}].paths"), &schedule.paths, warming, at);
    }
    for (name, value) in &warming.headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            let fault = Fault::new(format!("{name}: {value:?} is no header field"));
            at.fault(&format!("headers.{name}"), fault.expected("a field such as accept-encoding = \"gzip\""));
        }
    }
}

fn check_addresses(path: &str, texts: &[String], warming: &Warming, at: &mut At<'_>) {
    for (index, text) in texts.iter().enumerate() {
        if let Err(error) = Address::resolve(text, warming.site.as_ref()) {
            let fault = Fault::new(error.to_string())
                .expected("a URL such as \"https://www.example.org/a\", or a path of `site`");
            let fault = if error.needs_site() { fault.help("set `site` to say whose path it is") } else { fault };
            at.fault(&format!("{path}[{index}]"), fault);
        }
    }
}

fn edge(edge: &Edge, at: &mut At<'_>) {
    let uri = edge.url.parse::<http::Uri>();
    if !uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()) {
        at.fault(
            "url",
            Fault::new("it is no URL of a web server").expected("one such as \"https://api.example.org/purge\""),
        );
    }
}

fn cache(cache: &Cache, at: &mut At<'_>) {
    for (status, ttl) in &cache.status_ttl {
        let known = status.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
        if known.is_none_or(|status| status.is_informational() || matches!(status.as_u16(), 206 | 304)) {
            let fault =
                Fault::new(format!("{status:?} is no status that can be cached")).expected("a status such as \"404\"");
            at.fault(&format!("status_ttl.{status}"), fault);
        }
        if *ttl > hours(24 * 365) {
            at.fault(
                &format!("status_ttl.{status}"),
                Fault::new("it is longer than a year").expected("at most 365 days"),
            );
        }
    }
    for (index, tag) in cache.tags.iter().enumerate() {
        if tag.is_empty()
            || tag.len() > TAG_BYTES
            || tag.contains(|letter: char| !letter.is_ascii_graphic() || letter == ',')
        {
            let fault = Fault::new(format!("{tag:?} is no tag"));
            let expected =
                format!("a word such as \"products\", of {TAG_BYTES} bytes at most, without spaces and commas");
            at.fault(&format!("tags[{index}]"), fault.expected(expected));
        }
    }
    if cache.tags.len() > MOST_TAGS {
        at.fault(
            "tags",
            Fault::new(format!("there are {}", cache.tags.len())).expected(format!("at most {MOST_TAGS}")),
        );
    }
    check_names("bypass_headers", &cache.bypass_headers, at);
    check_names("vary", cache.vary.as_deref().unwrap_or_default(), at);
    check_names("targets", &cache.targets, at);
    check_names("pass_on", &cache.pass_on, at);
    for (index, field) in cache.pass_on.iter().enumerate() {
        let path = format!("pass_on[{index}]");
        if field.eq_ignore_ascii_case("surrogate-control") {
            let fault =
                Fault::new("surrogate-control is for the cache that it reaches first").expected("another field");
            at.fault(&path, fault.help("`cache.cdn` sends one of its own to the cache before this one"));
        } else if !cache.targets.iter().any(|target| target.eq_ignore_ascii_case(field)) {
            let fault = Fault::new(format!("{field:?} is none of the targets")).expected("one of `targets`");
            at.fault(&path, fault.help("fields that are no targets are passed on in any case"));
        }
    }
}

fn key(key: &Key, at: &mut At<'_>) {
    check_names("headers", &key.headers, at);
    if key.query != Query::Listed && !key.params.is_empty() {
        let fault = Fault::new("nothing reads these while `query` is not \"listed\"").expected("none");
        at.fault("params", fault.help("set `query = \"listed\"`, or name what does not count in `ignore`"));
    }
}

fn check_names(path: &str, names: &[String], at: &mut At<'_>) {
    for (index, name) in names.iter().enumerate() {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            let fault = Fault::new(format!("{name:?} is no field name")).expected("a name such as \"x-version\"");
            at.fault(&format!("{path}[{index}]"), fault);
        }
    }
}
