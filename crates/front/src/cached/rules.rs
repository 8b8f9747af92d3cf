//! The rules of a route, made ready from its settings.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use outwork_cache::Key;

use super::config::{Cache, Cookies, Obeyed, Query, SetCookie};
use super::edge::EdgeFields;

/// How the answers of a route are cached.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What tells this route's answers from those of others to the same URL.
    pub(crate) space: Box<str>,
    /// What tells these settings from others: word that something cannot be stored holds for them alone.
    pub(crate) stamp: Key,
    pub(crate) default_ttl: Duration,
    pub(crate) status_ttl: BTreeMap<StatusCode, Duration>,
    pub(crate) ttl: Option<Duration>,
    /// Whether anything is guessed out of `Last-Modified`.
    pub(crate) guesses: bool,
    pub(crate) heuristic_max: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) keep: Duration,
    pub(crate) max_entry: usize,
    pub(crate) pass_ttl: Duration,
    pub(crate) key: KeyRules,
    pub(crate) vary: Option<Vec<HeaderName>>,
    pub(crate) bypass_headers: Vec<HeaderName>,
    pub(crate) bypass_cookies: Vec<Pattern>,
    pub(crate) client_control: Obeyed,
    pub(crate) cookies: Cookies,
    pub(crate) set_cookie: SetCookie,
    pub(crate) targets: Vec<HeaderName>,
    /// Tags of every answer.
    pub(crate) tags: Box<[Box<str>]>,
    /// Targets and tags that no client sees.
    pub(crate) consumed: Vec<HeaderName>,
    /// What the cache before this one is told of every answer that is stored here.
    pub(crate) edge: Option<EdgeFields>,
    pub(crate) fetch_timeout: Duration,
    pub(crate) max_fetches: usize,
    pub(crate) predict: bool,
    pub(crate) debug: bool,
}

/// What counts of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRules {
    pub(crate) scheme: bool,
    pub(crate) host: bool,
    pub(crate) query: Query,
    pub(crate) params: Vec<Pattern>,
    pub(crate) ignore: Vec<Pattern>,
    pub(crate) sort: bool,
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) cookies: Vec<Box<str>>,
}

impl KeyRules {
    /// All of a URL counts.
    pub(crate) const URL: Self = Self {
        scheme: true,
        host: true,
        query: Query::All,
        params: Vec::new(),
        ignore: Vec::new(),
        sort: false,
        headers: Vec::new(),
        cookies: Vec::new(),
    };
}

/// A name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    open: bool,
}

impl Pattern {
    fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(beginning) => Self { text: beginning.into(), open: true },
            None => Self { text: text.into(), open: false },
        }
    }

    pub(crate) fn fits(&self, name: &[u8]) -> bool {
        match self.open {
            true => name.starts_with(self.text.as_bytes()),
            false => name == self.text.as_bytes(),
        }
    }
}

/// Fields that name the tags of a response: `Surrogate-Key` parts them by spaces, `Cache-Tag` by commas.
pub(crate) const TAGS: [HeaderName; 2] =
    [HeaderName::from_static("surrogate-key"), HeaderName::from_static("cache-tag")];

impl Rules {
    /// Of settings that were checked. `space` tells this route's answers from those of others to the same URL, in every process that shares a cache. `edge`
    /// is what the cache before this one is told; without any, tags go no further than here.
    pub fn new(settings: &Cache, space: &str, edge: Option<EdgeFields>) -> Self {
        let names = |names: &[String]| -> Vec<HeaderName> {
            names.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
        };
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let status_ttl = settings.status_ttl.iter();
        let targets = names(&settings.targets);
        let passed = names(&settings.pass_on);
        let tags = TAGS.into_iter().filter(|_| edge.is_none());
        let mut consumed: Vec<_> =
            targets.iter().filter(|target| !passed.contains(target)).cloned().chain(tags).collect();
        let surrogate = HeaderName::from_static("surrogate-control");
        if !consumed.contains(&surrogate) {
            consumed.push(surrogate);
        }
        let key = &settings.key;
        Self {
            space: space.into(),
            stamp: Key::of(&[format!("{settings:?}").as_bytes()]),
            default_ttl: settings.default_ttl,
            status_ttl: status_ttl.filter_map(|(status, ttl)| Some((status.parse().ok()?, *ttl))).collect(),
            ttl: settings.ttl,
            guesses: true,
            heuristic_max: settings.heuristic_max,
            stale_while_revalidate: settings.stale_while_revalidate,
            stale_if_error: settings.stale_if_error,
            keep: settings.keep,
            max_entry: settings.max_entry.as_usize(),
            pass_ttl: settings.pass_ttl,
            key: KeyRules {
                scheme: key.scheme,
                host: key.host,
                query: key.query,
                params: patterns(&key.params),
                ignore: patterns(&key.ignore),
                sort: key.sort,
                headers: names(&key.headers),
                cookies: key.cookies.iter().map(|name| name.as_str().into()).collect(),
            },
            vary: settings.vary.as_deref().map(names),
            bypass_headers: names(&settings.bypass_headers),
            bypass_cookies: patterns(&settings.bypass_cookies),
            client_control: settings.client_control,
            cookies: settings.cookies,
            set_cookie: settings.set_cookie,
            targets,
            tags: settings.tags.iter().map(|tag| tag.as_str().into()).collect(),
            consumed,
            edge,
            fetch_timeout: settings.fetch_timeout,
            max_fetches: settings.max_fetches as usize,
            predict: settings.predict,
            debug: settings.debug,
        }
    }

    /// For a handler that sees by itself when what it answers with has changed, such as one of files: a lifetime is what the answer or the settings
    /// say, and never a guess. What has none is not stored, for the handler gives it as well, and knows better.
    #[must_use]
    pub fn without_guesses(self) -> Self {
        Self { guesses: false, ..self }
    }
}
