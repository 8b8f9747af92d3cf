//! Tokens of CSS, as CSS Syntax Level 3 section 4 parts them. Every byte of the text is in one of them.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    White,
    Comment,
    Ident,
    /// With its parenthesis.
    Function,
    /// `@media`.
    At,
    Hash,
    Str,
    BadStr,
    /// `url(...)` without quotes, whole.
    Url,
    BadUrl,
    Number,
    Percentage,
    Dimension,
    Cdo,
    Cdc,
    /// Any other character: colons, commas and the like.
    Delim(char),
    /// `(`, `[` or `{`.
    Open(char),
    /// `)`, `]` or `}`.
    Close(char),
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// The byte that it begins at.
    pub(crate) start: usize,
    /// The text ended before it did.
    pub(crate) open: bool,
}

/// The tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0 };
    let mut tokens = Vec::new();
    while scanner.at < text.len() {
        let start = scanner.at;
        let (kind, open) = scanner.next();
        // Whatever happens, it goes on, and ends between characters.
        let mut end = scanner.at.clamp(start + 1, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        scanner.at = end;
        tokens.push(Token { kind, text: text.get(start..end).unwrap_or_default(), start, open });
    }
    tokens
}

/// Whether a character is white space in CSS.
pub(crate) fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | b'\x0c')
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_name(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'-'
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// So many bytes further on; 0 behind the end.
    fn peek(&self, by: usize) -> u8 {
        self.bytes.get(self.at + by).copied().unwrap_or(0)
    }

    fn starts(&self, text: &str) -> bool {
        self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(text.as_bytes()))
    }

    fn skip(&mut self, fits: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && fits(self.peek(0)) {
            self.at += 1;
        }
    }

    /// Whether an escape begins so many bytes further on (section 4.3.8).
    fn is_escape(&self, by: usize) -> bool {
        self.peek(by) == b'\\' && self.at + by + 1 < self.bytes.len() && !is_newline(self.peek(by + 1))
    }

    /// Whether an identifier does (section 4.3.9).
    fn is_ident(&self, by: usize) -> bool {
        match self.peek(by) {
            b'-' => is_name_start(self.peek(by + 1)) || self.peek(by + 1) == b'-' || self.is_escape(by + 1),
            b'\\' => self.is_escape(by),
            byte => is_name_start(byte),
        }
    }

    /// Whether a number does (section 4.3.10).
    fn is_number(&self) -> bool {
        let by = usize::from(matches!(self.peek(0), b'+' | b'-'));
        let fraction = self.peek(by) == b'.' && self.peek(by + 1).is_ascii_digit();
        self.peek(by).is_ascii_digit() || fraction
    }

    fn next(&mut self) -> (Kind, bool) {
        let byte = self.peek(0);
        if is_white(byte) {
            self.skip(is_white);
            return (Kind::White, false);
        }
        if self.starts("/*") {
            let end = self.text.get(self.at + 2..).and_then(|rest| rest.find("*/"));
            self.at = end.map_or(self.text.len(), |end| self.at + 2 + end + 2);
            return (Kind::Comment, end.is_none());
        }
        if self.starts("<!--") {
            self.at += 4;
            return (Kind::Cdo, false);
        }
        if self.starts("-->") {
            self.at += 3;
            return (Kind::Cdc, false);
        }
        match byte {
            b'"' | b'\'' => self.string(byte),
            b'#' if is_name(self.peek(1)) || self.is_escape(1) => {
                self.at += 1;
                self.name();
                (Kind::Hash, false)
            }
            b'@' if self.is_ident(1) => {
                self.at += 1;
                self.name();
                (Kind::At, false)
            }
            _ if self.is_number() => (self.number(), false),
            _ if self.is_ident(0) => self.ident(),
            b'(' | b'[' | b'{' => (Kind::Open(self.one()), false),
            b')' | b']' | b'}' => (Kind::Close(self.one()), false),
            _ => (Kind::Delim(self.one()), false),
        }
    }

    fn one(&mut self) -> char {
        let one = self.text.get(self.at..).and_then(|rest| rest.chars().next()).unwrap_or('\0');
        self.at += one.len_utf8();
        one
    }

    fn name(&mut self) {
        loop {
            self.skip(is_name);
            if !self.is_escape(0) {
                return;
            }
            self.escape();
        }
    }

    /// An escape: up to six hexadecimal digits and one white space, or any one character (section 4.3.7).
    fn escape(&mut self) {
        self.at += 1;
        let digits = (0..6).take_while(|by| self.peek(*by).is_ascii_hexdigit()).count();
        if digits == 0 {
            self.one();
            return;
        }
        self.at += digits;
        if self.starts("\r\n") {
            self.at += 2;
        } else if is_white(self.peek(0)) {
            self.at += 1;
        }
    }

    fn string(&mut self, quote: u8) -> (Kind, bool) {
        self.at += 1;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                byte if byte == quote => {
                    self.at += 1;
                    return (Kind::Str, false);
                }
                // The line end is not part of it.
                byte if is_newline(byte) => return (Kind::BadStr, false),
                b'\\' => self.at += if self.bytes.get(self.at + 1..self.at + 3) == Some(b"\r\n") { 3 } else { 2 },
                _ => self.at += 1,
            }
        }
        (Kind::Str, true)
    }

    fn number(&mut self) -> Kind {
        if matches!(self.peek(0), b'+' | b'-') {
            self.at += 1;
        }
        self.skip(|byte| byte.is_ascii_digit());
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            self.at += 1;
            self.skip(|byte| byte.is_ascii_digit());
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if matches!(self.peek(0), b'e' | b'E') && self.peek(1 + sign).is_ascii_digit() {
            self.at += 1 + sign;
            self.skip(|byte| byte.is_ascii_digit());
        }
        if self.peek(0) == b'%' {
            self.at += 1;
            return Kind::Percentage;
        }
        if self.is_ident(0) {
            self.name();
            return Kind::Dimension;
        }
        Kind::Number
    }

    fn ident(&mut self) -> (Kind, bool) {
        let start = self.at;
        self.name();
        if self.peek(0) != b'(' {
            return (Kind::Ident, false);
        }
        let is_url = self.text.get(start..self.at).is_some_and(|name| name.eq_ignore_ascii_case("url"));
        self.at += 1;
        let white = (0..).take_while(|by| is_white(self.peek(*by))).count();
        match is_url && !matches!(self.peek(white), b'"' | b'\'') {
            true => self.url(),
            false => (Kind::Function, false),
        }
    }

    /// Section 4.3.6.
    fn url(&mut self) -> (Kind, bool) {
        self.skip(is_white);
        let mut bad = false;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b')' => {
                    self.at += 1;
                    return (if bad { Kind::BadUrl } else { Kind::Url }, false);
                }
                byte if is_white(byte) => {
                    self.skip(is_white);
                    bad |= self.at < self.bytes.len() && self.peek(0) != b')';
                }
                b'"' | b'\'' | b'(' | 0..=8 | 0x0b | 0x0e..=0x1f | 0x7f => {
                    bad = true;
                    self.at += 1;
                }
                b'\\' if self.is_escape(0) => self.escape(),
                b'\\' => {
                    bad = true;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
        (if bad { Kind::BadUrl } else { Kind::Url }, true)
    }
}

/// A text without its escapes.
pub(crate) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = rest.next_if(|next| digits.len() < 6 && next.is_ascii_hexdigit()) {
            digits.push(digit);
        }
        if digits.is_empty() {
            match rest.next() {
                // A line that goes on, in a string.
                Some('\r') => drop(rest.next_if_eq(&'\n')),
                Some('\n' | '\x0c') | None => {}
                Some(other) => out.push(other),
            }
            continue;
        }
        if rest.next_if_eq(&'\r').is_some() {
            rest.next_if_eq(&'\n');
        } else {
            rest.next_if(|next| next.is_ascii() && is_white(*next as u8));
        }
        let code = u32::from_str_radix(&digits, 16).ok().filter(|code| *code != 0).and_then(char::from_u32);
        out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    out
}

/// The text of a string or of an unquoted URL, without what stands around it.
pub(crate) fn content(token: &Token<'_>) -> String {
    let text = match token.kind {
        Kind::Url => {
            let inner = token.text.get(4..).unwrap_or_default();
            let inner = if token.open { inner } else { inner.strip_suffix(')').unwrap_or(inner) };
            inner.trim_matches([' ', '\t', '\n', '\r', '\x0c'])
        }
        _ => {
            let inner = token.text.get(1..).unwrap_or_default();
            if token.open { inner } else { inner.get(..inner.len().saturating_sub(1)).unwrap_or_default() }
        }
    };
    unescaped(text)
}

/// Whether two tokens that touch would be read as something else, so that a comment or white space has to stay between them (section 9).
pub(crate) fn would_merge(before: Kind, after: Kind) -> bool {
    use Kind::{Cdc, Delim, Dimension, Function, Hash, Ident, Number, Open, Percentage, Url};
    let word = matches!(after, Ident | Function | Url | Kind::BadUrl);
    let number = matches!(after, Number | Percentage | Dimension);
    match before {
        Ident => word || number || matches!(after, Delim('-') | Cdc | Open('(')),
        Kind::At | Hash | Dimension => word || number || matches!(after, Delim('-') | Cdc),
        Number => word || number || matches!(after, Delim('%') | Cdc),
        Delim('#' | '-') => word || number || matches!(after, Delim('-')),
        Delim('@') => word || matches!(after, Delim('-')),
        Delim('.' | '+') => number,
        Delim('/') => matches!(after, Delim('*')),
        Delim('<') => matches!(after, Delim('!')),
        Delim('\\') => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        tokens(text).into_iter().map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn text_is_parted_as_the_standard_has_it() {
        use Kind::*;
        for (text, expected) in [
            ("a-b", vec![(Ident, "a-b")]),
            ("--x:1", vec![(Ident, "--x"), (Delim(':'), ":"), (Number, "1")]),
            ("-.5em+2%", vec![(Dimension, "-.5em"), (Percentage, "+2%")]),
            ("1e3 1e", vec![(Number, "1e3"), (White, " "), (Dimension, "1e")]),
            ("#a1 #", vec![(Hash, "#a1"), (White, " "), (Delim('#'), "#")]),
            ("@media(", vec![(At, "@media"), (Open('('), "(")]),
            ("url( a.png )", vec![(Url, "url( a.png )")]),
            ("URL('a')", vec![(Function, "URL("), (Str, "'a'"), (Close(')'), ")")]),
            ("url(a b)c", vec![(BadUrl, "url(a b)"), (Ident, "c")]),
            ("'a\\'b'", vec![(Str, "'a\\'b'")]),
            ("'a\nb", vec![(BadStr, "'a"), (White, "\n"), (Ident, "b")]),
            ("/*a*/b/*c", vec![(Comment, "/*a*/"), (Ident, "b"), (Comment, "/*c")]),
            ("\\31 a\\", vec![(Ident, "\\31 a"), (Delim('\\'), "\\")]),
            ("<!--a -->", vec![(Cdo, "<!--"), (Ident, "a"), (White, " "), (Cdc, "-->")]),
            ("ü😀", vec![(Ident, "ü😀")]),
        ] {
            assert_eq!(kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_text_ends_in_is_known_to_be_open() {
        for text in ["'a", "url(a", "/*a"] {
            assert!(tokens(text).last().unwrap().open, "{text}");
        }
        assert_eq!(content(&tokens("url( a\\).png )")[0]), "a).png");
        assert_eq!(content(&tokens("'a\\\nb\\27 c\\0'")[0]), "ab'c\u{fffd}");
        assert_eq!(content(&tokens("'a")[0]), "a");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parted_into_pieces_that_make_it_up_again(text in "[ -~\n\\\\\"'()/*{}@#é😀]{0,60}") {
            let whole: String = tokens(&text).iter().map(|token| token.text).collect();
            proptest::prop_assert_eq!(whole, text);
        }
    }
}
