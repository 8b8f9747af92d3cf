//! Paths: of requests, in the one form that is matched and looked up; and of routes.

use std::borrow::Cow;

/// A path without escapes, doubled slashes and dot segments (RFC 3986 section 6.2.2): it begins with a slash and stays below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'a>(Cow<'a, str>);

/// Why a path is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// An escape is not a percent sign and two hexadecimal digits.
    #[error("an escape in the path is malformed")]
    Escape,
    /// Unescaped, it is not UTF-8 or holds a control character.
    #[error("the path holds what is no text")]
    Text,
    /// It leads above the root.
    #[error("the path leads above its root")]
    AboveRoot,
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
}

impl<'a> NormalPath<'a> {
    /// Brings a path as a request has it, without the query, into this form. An escaped slash stays escaped, for it parts no
    /// segments; so does an escaped percent sign before anything that would read as one.
    ///
    /// # Errors
    /// When it is not a path that could be looked up.
    pub fn new(raw: &'a str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if raw.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(PathError::Text);
        }
        let plain = memchr::memchr2(b'%', b'\\', raw.as_bytes()).is_none()
            && !raw.as_bytes().windows(2).any(|pair| matches!(pair, b"//" | b"/."));
        if plain {
            return Ok(Self(Cow::Borrowed(raw)));
        }
        normalised(raw).map(|text| Self(Cow::Owned(text)))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As URLs have it (RFC 3986 section 3.3): whatever spelling it came in, the same path is the same text.
    pub fn escaped(&self) -> Cow<'_, str> {
        // A percent sign in it is that of an escape already.
        let stands = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(byte);
        if self.0.bytes().all(|byte| stands(&byte)) {
            return Cow::Borrowed(&self.0);
        }
        let mut text = String::with_capacity(self.0.len() + 8);
        for byte in self.0.bytes() {
            match stands(&byte) {
                true => text.push(char::from(byte)),
                false => text.push_str(&format!("%{byte:02X}")),
            }
        }
        Cow::Owned(text)
    }

    /// Its segments; the last is empty where it ends in a slash.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

fn normalised(raw: &str) -> Result<String, PathError> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut segments = raw.split('/').skip(1).peekable();
    let mut open_end = false;
    while let Some(segment) = segments.next() {
        let segment = unescaped(segment)?;
        let last = segments.peek().is_none();
        open_end = last && matches!(&*segment, b"" | b"." | b"..");
        match &*segment {
            b"" | b"." => {}
            b".." => {
                kept.pop().ok_or(PathError::AboveRoot)?;
            }
            _ => kept.push(segment),
        }
    }
    let mut text = Vec::with_capacity(raw.len());
    for segment in &kept {
        text.push(b'/');
        text.extend_from_slice(segment);
    }
    if open_end || kept.is_empty() {
        text.push(b'/');
    }
    String::from_utf8(text).map_err(|_| PathError::Text)
}

fn unescaped(segment: &str) -> Result<Vec<u8>, PathError> {
    let mut bytes = segment.bytes();
    let mut out = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| (byte as char).to_digit(16)).ok_or(PathError::Escape);
        match (digit()? << 4 | digit()?) as u8 {
            b'/' => out.extend_from_slice(b"%2F"),
            b'%' => out.extend_from_slice(b"%25"),
            control if control < b' ' || control == 0x7f => return Err(PathError::Text),
            byte => out.push(byte),
        }
    }
    Ok(out)
}

/// A path, with what may follow it, as a reference that stays on its site (RFC 3986 section 4.2): of two slashes at the beginning, what comes next would be
/// read as a host, and browsers take backslashes for slashes.
pub fn on_site(path: &str) -> String {
    format!("/{}", path.trim_start_matches(['/', '\\']))
}

/// The path of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    pub(super) segments: Vec<Segment>,
    /// Whatever follows these segments fits, too.
    pub(super) open: bool,
}

impl PathPattern {
    /// The names of its captures.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Capture(name) => Some(&**name),
            Segment::Literal(_) => None,
        })
    }

    /// The folder that all of its paths lie in, without a slash before it: what it begins with, where it goes on with anything and says more than that.
    pub fn folder(&self) -> Option<String> {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(text.to_string()),
            Segment::Capture(_) => None,
        };
        let segments: Vec<String> = self.segments.iter().map_while(literal).collect();
        (self.open && !segments.is_empty()).then(|| segments.join("/"))
    }

    /// All that lies below it, where it is one path alone.
    pub fn below(&self) -> Option<Self> {
        if self.open || self.names().next().is_some() {
            return None;
        }
        let mut segments = self.segments.clone();
        // The slash that it ends with is theirs.
        if segments.last() == Some(&Segment::Literal("".into())) {
            segments.pop();
        }
        Some(Self { segments, open: true })
    }

    /// Whether there is a path that fits both.
    pub fn meets(&self, other: &Self) -> bool {
        let alike = |(one, other): (&Segment, &Segment)| match (one, other) {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            _ => true,
        };
        let (own, others) = (self.segments.len(), other.segments.len());
        let reaches = match (self.open, other.open) {
            (true, true) => true,
            (true, false) => own < others,
            (false, true) => others < own,
            (false, false) => own == others,
        };
        reaches && self.segments.iter().zip(&other.segments).all(alike)
    }

    /// A path that fits.
    pub(super) fn sample(&self) -> String {
        let segment = |segment: &Segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Capture(_) => "/-".to_owned(),
        };
        let path: String = self.segments.iter().map(segment).collect();
        if self.open { format!("{path}/-") } else { path }
    }

    /// Its text without the names of its captures: patterns that fit the same paths have the same.
    pub(super) fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Literal(text) => shape.push_str(text),
                Segment::Capture(_) => shape.push_str("{}"),
            }
        }
        if self.open {
            shape.push_str("/*");
        }
        shape
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Capture(name) => write!(f, "/{{{name}}}")?,
            }
        }
        f.write_str(if self.open { "/*" } else { "" })
    }
}

outwork_config::text_setting!(PathPattern, "a path such as", "/users/{id}/files/*", advice PatternError::advice);

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text.
    Literal(Box<str>),
    /// Anything that is not empty, known by this name.
    Capture(Box<str>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with a slash.
    #[error("a path begins with a slash")]
    NotAbsolute,
    /// A star stands elsewhere than alone at the end.
    #[error("`*` stands alone after the last slash")]
    Star,
    /// A segment has a brace where it is no capture.
    #[error("`{0}` is neither text nor a name in braces")]
    Brace(String),
    /// Two captures have one name.
    #[error("two parts are called {0:?}")]
    Twice(String),
    /// It has what no path has: a query or a fragment.
    #[error("a path ends before `{0}`")]
    Beyond(char),
    /// It is not in the form that paths are matched in.
    #[error("no path looks like this when it is matched: {0}")]
    NotNormal(PathError),
}

impl PatternError {
    /// What to write instead, where that is known.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Beyond('?') => Some("leave the query out: a route answers its path whatever the query is".to_owned()),
            Self::Beyond(_) => Some("leave the fragment out: clients keep it to themselves".to_owned()),
            _ => None,
        }
    }
}

impl std::str::FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix('/').ok_or(PatternError::NotAbsolute)?;
        if let Some(beyond) = rest.chars().find(|character| matches!(character, '?' | '#')) {
            return Err(PatternError::Beyond(beyond));
        }
        let mut pattern = Self { segments: Vec::new(), open: false };
        let mut parts = rest.split('/').peekable();
        while let Some(part) = parts.next() {
            if part == "*" && parts.peek().is_none() {
                pattern.open = true;
                break;
            }
            pattern.segments.push(segment(part, &pattern.segments)?);
        }
        let literal = text.trim_end_matches('*');
        match NormalPath::new(literal) {
            Ok(normal) if normal.as_str() == literal => Ok(pattern),
            Ok(_) => Err(PatternError::NotNormal(PathError::Escape)),
            Err(error) => Err(PatternError::NotNormal(error)),
        }
    }
}

fn segment(part: &str, before: &[Segment]) -> Result<Segment, PatternError> {
    if part.contains('*') {
        return Err(PatternError::Star);
    }
    let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
        return match part.contains(['{', '}']) {
            true => Err(PatternError::Brace(part.to_owned())),
            false => Ok(Segment::Literal(part.into())),
        };
    };
    let fits = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(PatternError::Brace(part.to_owned()));
    }
    let capture = Segment::Capture(name.into());
    match before.contains(&capture) {
        true => Err(PatternError::Twice(name.to_owned())),
        false => Ok(capture),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(raw: &str) -> Result<String, PathError> {
        NormalPath::new(raw).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn paths_that_name_one_thing_have_one_form() {
        for (raw, form) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61/%62%2e", "/a/b."),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/.", "/a/"),
            ("/..a/.b", "/..a/.b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%252fb", "/a%252fb"),
            ("/%C3%A4", "/ä"),
            ("/a\\b", "/a\\b"),
        ] {
            assert_eq!(normal(raw), Ok(form.to_owned()), "{raw}");
            assert_eq!(normal(form), Ok(form.to_owned()), "the form of {raw} is its own form");
        }
    }

    #[test]
    fn what_leads_out_or_is_no_text_is_no_path() {
        for (raw, error) in [
            ("a", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
            ("/..", PathError::AboveRoot),
            ("/a/../../b", PathError::AboveRoot),
            ("/%2e%2e/%2e%2e/etc/passwd", PathError::AboveRoot),
            ("/%", PathError::Escape),
            ("/%4", PathError::Escape),
            ("/%zz", PathError::Escape),
            ("/%00", PathError::Text),
            ("/a%0d%0ab", PathError::Text),
            ("/%ff", PathError::Text),
            ("/a\tb", PathError::Text),
        ] {
            assert_eq!(normal(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn below_one_path_lies_what_goes_on_behind_a_slash() {
        let pattern = |text: &str| text.parse::<PathPattern>().unwrap();
        for (path, below) in [("/api", "/api/*"), ("/api/", "/api/*"), ("/", "/*"), ("/a/b", "/a/b/*")] {
            assert_eq!(pattern(path).below(), Some(pattern(below)), "{path}");
        }
        assert_eq!(["/api/*", "/{id}", "/*"].map(|path| pattern(path).below()), [None, None, None]);
        let below = pattern("/api/*");
        for meets in ["/*", "/api/*", "/{any}/*", "/api/users", "/api/", "/api/users/{id}/*"] {
            assert!(pattern(meets).meets(&below) && below.meets(&pattern(meets)), "{meets}");
        }
        for other in ["/api", "/", "/app/*", "/app/api", "/{any}"] {
            assert!(!pattern(other).meets(&below) && !below.meets(&pattern(other)), "{other}");
        }
        assert!(pattern("/a/{b}").meets(&pattern("/a/c")) && !pattern("/a/{b}").meets(&pattern("/a/c/d")));
    }

    #[test]
    fn a_pattern_is_text_names_in_braces_and_a_star_at_the_end() {
        let pattern: PathPattern = "/users/{id}/files/*".parse().unwrap();
        let literal = |text: &str| Segment::Literal(text.into());
        assert_eq!(pattern.segments, [literal("users"), Segment::Capture("id".into()), literal("files")]);
        assert!(pattern.open);
        let of = |text: &str| text.parse::<PathPattern>();
        assert_eq!(of("users"), Err(PatternError::NotAbsolute));
        assert_eq!(of("/a*"), Err(PatternError::Star));
        assert_eq!(of("/*/a"), Err(PatternError::Star));
        assert_eq!(of("/a{b}"), Err(PatternError::Brace("a{b}".into())));
        assert_eq!(of("/{}"), Err(PatternError::Brace("{}".into())));
        assert_eq!(of("/{a}/{a}"), Err(PatternError::Twice("a".into())));
        assert_eq!(of("/a?b={c}"), Err(PatternError::Beyond('?')));
        assert_eq!(of("/*#a"), Err(PatternError::Beyond('#')));
        assert!(matches!(of("/a/../b"), Err(PatternError::NotNormal(_))));
        assert!(matches!(of("/%61"), Err(PatternError::NotNormal(_))));
        for text in ["/", "/*", "/a/", "/a/{b}/*"] {
            assert_eq!(of(text).unwrap().to_string(), text);
        }
        assert!(of("/").unwrap().segments == [literal("")] && of("/*").unwrap().segments.is_empty());
    }
}
