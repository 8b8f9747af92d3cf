//! The routes of a configuration, and the one that fits a request best.

use std::collections::HashMap;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};

use super::path::{NormalPath, PathPattern, Segment};

/// A name or address that a client asks for, without its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This one, in small letters.
    Name(Box<str>),
    /// One with more labels before this one: `*.example.org`, kept as `.example.org`.
    Below(Box<str>),
}

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// It is an address of something.
    #[error("a host has no scheme and no path")]
    Url,
    /// A port follows.
    #[error("a host has no port")]
    Port,
    /// What other servers call any host.
    #[error("no client asks for a host of this name")]
    Any,
    /// Something else.
    #[error("this is no name and no address")]
    Other,
}

impl HostPatternError {
    /// What to write instead, where that is known.
    fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::Url => "write the name alone: a route answers whatever the scheme is, and `path` says which paths",
            Self::Port => "leave the port out: a route answers at every listener",
            Self::Any => {
                "leave `host` out: a route without it answers every host, as `pool` of a listener of layer 4 is for every other name"
            }
            Self::Other => return None,
        };
        Some(advice.to_owned())
    }
}

impl std::str::FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let small = text.to_ascii_lowercase();
        let (below, name) = match small.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, small.as_str()),
        };
        let fits = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        let address = name.starts_with('[') && name.ends_with(']') && !below;
        if matches!(name, "_" | "*" | "") {
            return Err(HostPatternError::Any);
        }
        if name.contains('/') {
            return Err(HostPatternError::Url);
        }
        if name
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_port(port) && (!host.contains(':') || host.ends_with(']')))
        {
            return Err(HostPatternError::Port);
        }
        if name.starts_with('.') || (!address && !name.chars().all(fits)) {
            return Err(HostPatternError::Other);
        }
        Ok(match below {
            true => Self::Below(format!(".{name}").into()),
            false => Self::Name(name.into()),
        })
    }
}

impl HostPattern {
    /// Whether a host in small letters, without its port, is one of these.
    pub(super) fn fits(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => **name == *host,
            Self::Below(suffix) => is_below(host, suffix),
        }
    }

    /// Whether a name of a certificate, which may begin with `*.`, is good for some of these.
    pub fn is_covered_by(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match self {
            Self::Name(own) => {
                let one_label = |suffix: &str| own.split_once('.').is_some_and(|(_, rest)| rest == suffix);
                *name == **own || name.strip_prefix("*.").is_some_and(one_label)
            }
            Self::Below(suffix) => is_below(&name, suffix),
        }
    }
}

/// Whether a host has more labels before a suffix that begins with a dot.
fn is_below(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

outwork_config::text_setting!(HostPattern, "a host such as", "www.example.org", advice HostPatternError::advice);

/// What a request has to be for a route to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// Hosts; none stands for any.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Methods; none stands for any. GET brings HEAD along.
    pub methods: Vec<Method>,
    /// Header fields, and the value that one of them has to have; without a value it has to be there.
    pub fields: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// Routes by what they answer.
#[derive(Debug)]
pub struct Table<T> {
    routes: Vec<(Conditions, T)>,
    named: HashMap<Box<str>, Node>,
    /// Longest first.
    below: Vec<(Box<str>, Node)>,
    any: Node,
}

/// The routes whose paths begin alike.
#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, Node>,
    capture: Option<Box<Node>>,
    /// Routes that end here, the one to be asked first in front.
    exact: Vec<usize>,
    /// Routes that go on with anything.
    open: Vec<usize>,
}

/// A route that answers a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'t, 'p, T> {
    /// The route.
    pub route: &'t T,
    /// What stands in the path where the pattern has names.
    pub captures: Vec<(&'t str, &'p str)>,
    /// Methods of other routes with this host and path, which were asked before and do not answer this one.
    pub others: Vec<Method>,
}

/// Why no route answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// None has this host and path.
    Path,
    /// Those that have it answer these methods.
    Method(Vec<Method>),
}

impl<T> Table<T> {
    /// Puts routes in their order.
    pub fn new(routes: Vec<(Conditions, T)>) -> Self {
        let mut table = Self { routes, named: HashMap::new(), below: Vec::new(), any: Node::default() };
        for (index, (conditions, _)) in table.routes.iter().enumerate() {
            if conditions.hosts.is_empty() {
                table.any.insert(&conditions.path, index);
            }
            for host in &conditions.hosts {
                let node = match host {
                    HostPattern::Name(name) => table.named.entry(name.clone()).or_default(),
                    HostPattern::Below(suffix) => {
                        let known = table.below.iter().position(|(known, _)| known == suffix);
                        let at = known.unwrap_or_else(|| {
                            table.below.push((suffix.clone(), Node::default()));
                            table.below.len() - 1
                        });
                        match table.below.get_mut(at) {
                            Some((_, node)) => node,
                            None => continue,
                        }
                    }
                };
                node.insert(&conditions.path, index);
            }
        }
        table.below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let weight = |index: &usize| {
            let conditions = table.routes.get(*index).map(|(conditions, _)| conditions);
            let count = conditions.map_or(0, |of| of.fields.len() * 2 + usize::from(!of.methods.is_empty()));
            (std::cmp::Reverse(count), *index)
        };
        let below = table.below.iter_mut().map(|(_, node)| node);
        for node in table.named.values_mut().chain(below).chain([&mut table.any]) {
            node.order(&weight);
        }
        table
    }

    /// The route that answers a request with this path.
    ///
    /// # Errors
    /// When there is none.
    pub fn find<'t, 'p>(&'t self, head: &Parts, path: &'p NormalPath<'_>) -> Result<Found<'t, 'p, T>, Miss> {
        self.find_for(&head.method, head, path)
    }

    /// The route that would answer such a request with this method.
    ///
    /// # Errors
    /// When there is none.
    pub fn find_for<'t, 'p>(
        &'t self,
        method: &Method,
        head: &Parts,
        path: &'p NormalPath<'_>,
    ) -> Result<Found<'t, 'p, T>, Miss> {
        let host = head.headers.get(HOST).map_or("", |host| without_port(host.to_str().unwrap_or_default()));
        let small;
        let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => {
                small = host.to_ascii_lowercase();
                small.as_str()
            }
            false => host,
        };
        let mut methods = Vec::new();
        let below = self.below.iter().filter(|(suffix, _)| is_below(host, suffix));
        let nodes = self.named.get(host).into_iter().chain(below.map(|(_, node)| node)).chain([&self.any]);
        for node in nodes {
            let fits = &mut |index: usize| self.fits(index, method, head, &mut methods);
            if let Some(index) = node.find(path.as_str().get(1..), fits) {
                let Some((conditions, route)) = self.routes.get(index) else { continue };
                return Ok(Found { route, captures: captures(&conditions.path, path), others: methods });
            }
        }
        match methods.is_empty() {
            true => Err(Miss::Path),
            false => Err(Miss::Method(methods)),
        }
    }

    fn fits(&self, index: usize, asked: &Method, head: &Parts, methods: &mut Vec<Method>) -> bool {
        let Some((conditions, _)) = self.routes.get(index) else { return false };
        let has = |(name, wanted): &(HeaderName, Option<HeaderValue>)| match wanted {
            None => head.headers.contains_key(name),
            Some(wanted) => head.headers.get_all(name).iter().any(|value| value == wanted),
        };
        if !conditions.fields.iter().all(has) {
            return false;
        }
        // What a success to CONNECT opens is no answer: only who means it is asked for it.
        if *asked == Method::CONNECT && !conditions.methods.contains(asked) {
            return false;
        }
        let answers = |method: &Method| method == asked || (method == Method::GET && asked == Method::HEAD);
        if conditions.methods.is_empty() || conditions.methods.iter().any(answers) {
            return true;
        }
        for method in &conditions.methods {
            add(methods, method);
            if *method == Method::GET {
                add(methods, &Method::HEAD);
            }
        }
        false
    }
}

/// Adds a method to a list that does not have it yet.
pub(crate) fn add(methods: &mut Vec<Method>, method: &Method) {
    if !methods.contains(method) {
        methods.push(method.clone());
    }
}

/// A host without its port; an address in brackets keeps them.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host.get(colon..).unwrap_or_default().contains(']') => host.get(..colon).unwrap_or(host),
        _ => host,
    }
}

fn captures<'t, 'p>(pattern: &'t PathPattern, path: &'p NormalPath<'_>) -> Vec<(&'t str, &'p str)> {
    let named = |(segment, text): (&'t Segment, &'p str)| match segment {
        Segment::Capture(name) => Some((&**name, text)),
        Segment::Literal(_) => None,
    };
    pattern.segments.iter().zip(path.segments()).filter_map(named).collect()
}

impl Node {
    fn insert(&mut self, pattern: &PathPattern, index: usize) {
        let mut node = self;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(text) => node.literal.entry(text.clone()).or_default(),
                Segment::Capture(_) => node.capture.get_or_insert_default(),
            };
        }
        match pattern.open {
            true => node.open.push(index),
            false => node.exact.push(index),
        }
    }

    fn order<K: Ord>(&mut self, weight: &impl Fn(&usize) -> K) {
        self.exact.sort_by_key(weight);
        self.open.sort_by_key(weight);
        let below = self.literal.values_mut().chain(self.capture.as_deref_mut());
        below.for_each(|node| node.order(weight));
    }

    /// The best route for what is left of a path, without the slash before it; `None` where nothing is. Every node is looked at once at most.
    fn find(&self, rest: Option<&str>, fits: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        let Some(rest) = rest else {
            return self.exact.iter().copied().find(|index| fits(*index));
        };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let Some(found) = self.literal.get(segment).and_then(|node| node.find(after, fits)) {
            return Some(found);
        }
        let capture = self.capture.as_deref().filter(|_| !segment.is_empty());
        if let Some(found) = capture.and_then(|node| node.find(after, fits)) {
            return Some(found);
        }
        self.open.iter().copied().find(|index| fits(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(
        host: &str,
        path: &str,
        methods: &[Method],
        fields: &[(&'static str, Option<&'static str>)],
    ) -> Conditions {
        Conditions {
            hosts: host.split_whitespace().map(|host| host.parse().unwrap()).collect(),
            path: path.parse().unwrap(),
            methods: methods.to_vec(),
            fields: fields
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.map(HeaderValue::from_static)))
                .collect(),
        }
    }

    fn table(routes: Vec<Conditions>) -> Table<usize> {
        Table::new(routes.into_iter().enumerate().map(|(index, conditions)| (conditions, index)).collect())
    }

    fn find(table: &Table<usize>, method: &Method, host: &str, path: &str) -> Result<usize, Miss> {
        let request = http::Request::builder().method(method).uri(path).header(HOST, host).body(()).unwrap();
        let (head, ()) = request.into_parts();
        table.find(&head, &NormalPath::new(path).unwrap()).map(|found| *found.route)
    }

    #[test]
    fn the_most_specific_path_wins_wherever_it_stands() {
        let paths = ["/*", "/a/*", "/a/{x}", "/a/b", "/a/{x}/c", "/a/b/*", "/"];
        let table = table(paths.map(|path| route("", path, &[], &[])).into());
        for (path, wanted) in [
            ("/", 6),
            ("/z", 0),
            ("/a", 0),
            ("/a/", 1),
            ("/a/b", 3),
            ("/a/z", 2),
            ("/a/z/c", 4),
            ("/a/z/d", 1),
            ("/a/b/c", 5),
            ("/a/b/", 5),
        ] {
            assert_eq!(find(&table, &Method::GET, "h", path), Ok(wanted), "{path}");
        }
    }

    #[test]
    fn a_host_by_name_comes_before_a_wildcard_and_that_before_any() {
        let hosts = ["", "*.example.org", "www.example.org", "*.a.example.org", "[2001:db8::1]"];
        let table = table(hosts.map(|host| route(host, "/x", &[], &[])).into());
        for (host, wanted) in [
            ("www.example.org", 2),
            ("WWW.Example.ORG:8080", 2),
            ("b.example.org", 1),
            ("b.a.example.org", 3),
            ("example.org", 0),
            ("badexample.org", 0),
            ("[2001:db8::1]:443", 4),
            ("[2001:db8::1]", 4),
            ("", 0),
        ] {
            assert_eq!(find(&table, &Method::GET, host, "/x"), Ok(wanted), "{host}");
        }
        assert_eq!(find(&table, &Method::GET, "www.example.org", "/y"), Err(Miss::Path));
    }

    #[test]
    fn where_the_host_has_no_route_for_a_path_those_of_any_host_are_asked() {
        let table = table(vec![route("a.example", "/x", &[], &[]), route("", "/*", &[], &[])]);
        assert_eq!(find(&table, &Method::GET, "a.example", "/y"), Ok(1));
    }

    #[test]
    fn methods_and_fields_narrow_a_route_and_the_narrower_is_asked_first() {
        let table = table(vec![
            route("", "/x", &[], &[("x-beta", Some("1"))]),
            route("", "/x", &[Method::GET], &[]),
            route("", "/x", &[Method::POST], &[("authorization", None)]),
        ]);
        let ask = |method: &str, name: &'static str, value: &str| {
            let request = http::Request::builder().method(method).uri("/x").header(name, value).body(()).unwrap();
            let (head, ()) = request.into_parts();
            table.find(&head, &NormalPath::new("/x").unwrap()).map(|found| *found.route)
        };
        assert_eq!(ask("GET", "x-beta", "1"), Ok(0));
        assert_eq!(ask("GET", "x-beta", "2"), Ok(1));
        assert_eq!(ask("HEAD", "x-other", ""), Ok(1));
        assert_eq!(ask("POST", "authorization", "any"), Ok(2));
        assert_eq!(ask("DELETE", "x-other", ""), Err(Miss::Method(vec![Method::GET, Method::HEAD])));
    }

    #[test]
    fn the_methods_of_routes_that_were_passed_over_are_told() {
        let table = table(vec![
            route("", "/x", &[Method::GET], &[]),
            route("", "/x", &[Method::POST], &[]),
            route("", "/*", &[], &[]),
        ]);
        let path = NormalPath::new("/x").unwrap();
        let others = |method: &str| {
            let (head, ()) = http::Request::builder().method(method).uri("/x").body(()).unwrap().into_parts();
            table.find(&head, &path).map(|found| (*found.route, found.others)).unwrap()
        };
        assert_eq!(others("DELETE"), (2, vec![Method::GET, Method::HEAD, Method::POST]));
        assert_eq!(others("GET"), (0, vec![]));
    }

    #[test]
    fn what_stands_where_a_pattern_has_a_name_is_told() {
        let table = table(vec![route("", "/users/{id}/files/*", &[], &[])]);
        let (head, ()) = http::Request::get("/users/7/files/a/b").body(()).unwrap().into_parts();
        let path = NormalPath::new("/users/7/files/a/b").unwrap();
        assert_eq!(table.find(&head, &path).unwrap().captures, [("id", "7")]);
        let nobody = NormalPath::new("/users//files/a").unwrap();
        assert!(table.find(&head, &nobody).is_err());
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "*", "*.", ".a", "a b", "a/b", "a:80", "*.*.a"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
