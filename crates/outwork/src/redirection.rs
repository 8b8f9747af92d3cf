//! Redirections: what the configuration says of them, and what is wrong with where they lead.

use outwork_config::{At, Fault, section};
use outwork_front::route::path::PathPattern;

section! {
    /// Sends clients elsewhere.
    #[required_keys]
    pub(crate) struct RedirectSettings {
        /// Where to: a URL, or a path that begins with a slash. `{host}`, `{path}` and `{query}` stand for those of the request: the host without its port
        /// (`{authority}` has it, too), the query with its question mark. What the path of the route has in braces stands for what the request has there:
        /// with path = "/old/{slug}", `/new/{slug}`.
        pub(crate) to: String,
        /// 301, 302, 303, 307 or 308.
        pub(crate) status: u16 [range 301..=308] = 308,
    }
    check is_a_redirection;
}

/// What a redirection may name of the request.
const NAMES: [&str; 4] = ["{host}", "{authority}", "{path}", "{query}"];

/// What others call that.
const FOREIGN: [(&str, &str); 10] = [
    ("$request_uri", "{path}{query}"),
    ("$is_args", "{query}"),
    ("$host", "{host}"),
    ("$server_name", "{host}"),
    ("$http_host", "{authority}"),
    ("$scheme", "http or https"),
    ("$args", "{query}"),
    ("$uri", "{path}"),
    ("$path", "{path}"),
    ("$query", "{query}"),
];

/// The first word that another server would replace, where it stands, and what is written here.
fn foreign_name(to: &str) -> Option<(usize, &str, Option<&'static str>)> {
    let mut named = to.match_indices('$').filter_map(|(at, _)| {
        let rest = to.get(at + 1..)?;
        let fits = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let length = match rest.strip_prefix('{') {
            Some(braced) => braced.find('}')? + 2,
            None => rest.find(|character| !fits(character)).unwrap_or(rest.len()),
        };
        let word = to.get(at..=at + length)?;
        let bare = word.replace(['{', '}'], "");
        let here = FOREIGN.iter().find(|(foreign, _)| *foreign == bare).map(|(_, here)| *here);
        let is_group = bare.len() > 1 && bare.bytes().skip(1).all(|byte| byte.is_ascii_digit());
        (here.is_some() || is_group || word.contains('{')).then_some((at, word, here))
    });
    named.next()
}

fn is_a_redirection(redirect: &RedirectSettings, at: &mut At<'_>) {
    if !matches!(redirect.status, 301..=303 | 307 | 308) {
        let fault = Fault::new(format!("{} is no redirection", redirect.status));
        at.fault("status", fault.expected("301, 302, 303, 307 or 308"));
    }
}

/// Checks where the redirection of a route with this path leads.
pub(crate) fn check_target(redirect: &RedirectSettings, path: &PathPattern, at: &mut At<'_>) {
    const KEY: &str = "redirect.to";
    let names: Vec<String> =
        NAMES.map(str::to_owned).into_iter().chain(path.names().map(|name| format!("{{{name}}}"))).collect();
    let expected = match names.split_last() {
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    };
    if let Some((offset, word, here)) = foreign_name(&redirect.to) {
        let fault = Fault::new(format!("a redirection knows no {word}")).expected(expected);
        let help = match here {
            Some(here) => format!("write {here}, or %24 for a dollar sign that is meant as such"),
            None => "there are no groups of a pattern here: a route with path = \"/old/{name}\" has {name}; write %24 for a \
                     dollar sign that is meant as such"
                .to_owned(),
        };
        return at.fault(KEY, fault.help(help).within(offset, word.len()));
    }
    if let Some((offset, name)) = unknown_name(&redirect.to, &names) {
        let fault = Fault::new(format!("a redirection knows no {name}")).expected(expected);
        let help = "the path of the route may have a part in braces, which stands for it here; write %7B for a brace that is \
                    meant as such";
        return at.fault(KEY, fault.help(help).within(offset, name.chars().count()));
    }
    if is_relative(&redirect.to) {
        let fault = Fault::new("where this leads depends on the path that was asked for");
        let help = match redirect.to.split('/').next() {
            Some(host) if host.contains('.') || host.starts_with('{') => {
                format!("write \"https://{}\", or a slash before it if it is a path", redirect.to)
            }
            _ => format!("write \"/{}\"", redirect.to),
        };
        let expected = "a URL such as \"https://www.example.org/new\", or a path that begins with a slash";
        at.fault(KEY, fault.expected(expected).help(help));
    }
}

/// Whether a reference has neither a scheme nor a slash that it begins with (RFC 3986 section 4.2), or what stands for these.
fn is_relative(to: &str) -> bool {
    let scheme = to.split_once(':').is_some_and(|(scheme, rest)| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let is_port = rest.starts_with(|first: char| first.is_ascii_digit());
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(fits) && !is_port
    });
    !scheme && !to.starts_with(['/', '?', '#']) && !to.starts_with("{path}") && !to.starts_with("{query}")
}

/// The first name in braces that stands for nothing, and where it stands. Other braces are text.
fn unknown_name<'t>(to: &'t str, names: &[String]) -> Option<(usize, &'t str)> {
    let mut named = to.match_indices('{').filter_map(|(at, _)| {
        let rest = to.get(at..)?;
        let name = rest.get(..=rest.find('}')?)?;
        let fits = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let word = name.len() > 2 && name.trim_matches(['{', '}']).chars().all(fits);
        (word && names.iter().all(|known| known != name)).then_some((at, name))
    });
    named.next()
}
