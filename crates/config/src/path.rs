//! Key paths: `dhcp.subnet[2].pool[0]`, with keys that are not bare words quoted as TOML quotes them.

use std::iter::Peekable;
use std::str::CharIndices;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A key of a table.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// The path of `key` in the table at `path`.
pub fn join_key(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let quoted;
    let key = if bare {
        key
    } else {
        quoted = quote(key);
        &quoted
    };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A TOML basic string: a JSON string, but that DEL must be escaped.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The path of element `index` in the array at `path`.
pub(crate) fn join_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The path of the table that a path ends in; an element of an array of tables is a table.
pub(crate) fn parent(path: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    let mut end = 0;
    for (at, c) in path.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' => quote = Some(c),
            None if c == '.' => end = at,
            None => {}
        }
    }
    path.get(..end).unwrap_or_default()
}

/// A path as the header of a table has it: without places in arrays, for a header is of the last table of each.
pub(crate) fn header(path: &str) -> String {
    let keys = parse(path).unwrap_or_default().into_iter().filter_map(|segment| match segment {
        Segment::Key(key) => Some(key),
        Segment::Index(_) => None,
    });
    keys.fold(String::new(), |path, key| join_key(&path, &key))
}

/// The last key of a path, as it is written.
pub(crate) fn last_key(path: &str) -> String {
    match parse(path).unwrap_or_default().last() {
        Some(Segment::Key(key)) => join_key("", key),
        Some(Segment::Index(_)) | None => String::new(),
    }
}

/// Reads a whole path. The error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<Segment>, &'static str> {
    match parse_prefix(text)? {
        (segments, "") => Ok(segments),
        _ => Err("a key does not end where it should"),
    }
}

/// Reads the path that `text` starts with, and gives back what follows it.
pub(crate) fn parse_prefix(text: &str) -> Result<(Vec<Segment>, &str), &'static str> {
    let mut segments = Vec::new();
    let mut chars = text.char_indices().peekable();
    let mut wants_key = true;
    loop {
        match chars.peek().copied() {
            Some((_, '[')) if !segments.is_empty() && !wants_key => segments.push(index(text, &mut chars)?),
            Some((_, '.')) if !wants_key => {
                chars.next();
                wants_key = true;
            }
            Some((start, quote @ ('"' | '\''))) if wants_key => {
                segments.push(Segment::Key(quoted(text, start, quote, &mut chars)?));
                wants_key = false;
            }
            Some((start, c)) if wants_key && is_bare(c) => {
                while chars.next_if(|(_, c)| is_bare(*c)).is_some() {}
                let end = chars.peek().map_or(text.len(), |(end, _)| *end);
                segments.push(Segment::Key(text.get(start..end).unwrap_or_default().to_owned()));
                wants_key = false;
            }
            _ if wants_key => return Err("a key is empty"),
            Some((end, _)) => return Ok((segments, text.get(end..).unwrap_or_default())),
            None => return Ok((segments, "")),
        }
    }
}

fn is_bare(c: char) -> bool {
    !matches!(c, '.' | '[' | ']' | '=' | '"' | '\'') && !c.is_whitespace() && !c.is_control()
}

fn index(text: &str, chars: &mut Peekable<CharIndices<'_>>) -> Result<Segment, &'static str> {
    chars.next();
    let start = chars.peek().map_or(text.len(), |(at, _)| *at);
    while chars.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
    let end = chars.peek().map_or(text.len(), |(at, _)| *at);
    let number = text.get(start..end).unwrap_or_default().parse().map_err(|_| "an index is not a number")?;
    match chars.next() {
        Some((_, ']')) => Ok(Segment::Index(number)),
        _ => Err("an index has no closing bracket"),
    }
}

fn quoted(
    text: &str,
    start: usize,
    quote: char,
    chars: &mut Peekable<CharIndices<'_>>,
) -> Result<String, &'static str> {
    chars.next();
    let mut escaped = false;
    for (at, c) in chars.by_ref() {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if c == quote {
            let whole = text.get(start..=at).unwrap_or_default();
            return match quote {
                '"' => serde_json::from_str(whole).map_err(|_| "a quoted key has an escape that means nothing"),
                _ => Ok(whole.trim_matches('\'').to_owned()),
            };
        }
    }
    Err("a quoted key has no closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_it_was_joined() {
        for key in ["plain", "with space", "quote\"inside", "dot.inside", "brack[et]", "", "back\\slash", "new\nline"] {
            let path = join_index(&join_key("dhcp", key), 3);
            assert_eq!(
                parse(&path),
                Ok(vec![Segment::Key("dhcp".into()), Segment::Key(key.into()), Segment::Index(3)]),
                "{path}"
            );
        }
    }

    #[test]
    fn a_broken_path_says_what_is_broken() {
        for path in ["", ".", "a.", "a..b", "a[", "a[x]", "a[1", "[1]", "a\"b", "\"a", "\"\\q\"", "a]"] {
            assert!(parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_rest_after_a_path_is_given_back() {
        assert_eq!(
            parse_prefix("a.'b=c'=1=2"),
            Ok((vec![Segment::Key("a".into()), Segment::Key("b=c".into())], "=1=2"))
        );
    }
}
