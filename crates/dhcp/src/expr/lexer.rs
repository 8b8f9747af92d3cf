//! Text to tokens, each with where it stands.
use super::ExprError;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword or a name.
    Word(String),
    /// Between quotes.
    Text(String),
    /// After `0x`.
    Hex(Vec<u8>),
    Number(i64),
    Address(Ipv4Addr),
    /// `(`, `)`, `[`, `]`, `,`, `.`, `+`, `*`, `==` or `!=`.
    Mark(&'static str),
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Hex(_) => f.write_str("a hex literal"),
            Self::Number(number) => write!(f, "`{number}`"),
            Self::Address(address) => write!(f, "`{address}`"),
            Self::Mark(mark) => write!(f, "`{mark}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

const MARKS: [&str; 10] = ["==", "!=", "(", ")", "[", "]", ",", ".", "+", "*"];

/// All tokens with their offsets, `End` last.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ExprError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let Some(first) = trimmed.chars().next() else {
            tokens.push((at, Token::End));
            return Ok(tokens);
        };
        let (token, length) = token(trimmed, first).map_err(|reason| ExprError::new(text, at, reason))?;
        tokens.push((at, token));
        at += length;
    }
}

/// How many octets of `text` are as `wanted`.
fn run(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|symbol| !wanted(symbol)).unwrap_or(text.len())
}

fn token(text: &str, first: char) -> Result<(Token, usize), String> {
    if let Some(mark) = MARKS.iter().find(|mark| text.starts_with(**mark)) {
        return Ok((Token::Mark(mark), mark.len()));
    }
    let after = text.get(first.len_utf8()..).unwrap_or_default();
    match first {
        '\'' | '"' => match after.split_once(first) {
            Some((inner, _)) => Ok((Token::Text(inner.to_owned()), inner.len() + 2)),
            None => Err(format!("this text has no closing {first}")),
        },
        '0' if after.starts_with(['x', 'X']) => hex(text),
        '-' | '0'..='9' => number(text),
        'a'..='z' | 'A'..='Z' | '_' => {
            let length = run(text, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            Ok((Token::Word(text.get(..length).unwrap_or_default().to_owned()), length))
        }
        '=' => Err("`=` compares nothing: write `==`".to_owned()),
        '!' => Err("`!` means nothing alone: write `!=` or `not`".to_owned()),
        '&' | '|' => Err("conditions are joined by the words `and` and `or`".to_owned()),
        other => Err(format!("`{}` has no meaning here", other.escape_default())),
    }
}

fn hex(text: &str) -> Result<(Token, usize), String> {
    let digits = text.get(2..).unwrap_or_default();
    let length = run(digits, |c| c.is_ascii_alphanumeric());
    let digits = digits.get(..length).unwrap_or_default();
    // An odd number of digits lacks a leading zero, as in Kea.
    let padded = if length % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    match crate::options::parse_hex(&padded) {
        Some(octets) => Ok((Token::Hex(octets), length + 2)),
        None => Err(format!("`0x{digits}` has something that is no hex digit")),
    }
}

fn number(text: &str) -> Result<(Token, usize), String> {
    let sign = usize::from(text.starts_with('-'));
    let length = sign + run(text.get(sign..).unwrap_or_default(), |c| c.is_ascii_alphanumeric() || c == '.');
    let word = text.get(..length).unwrap_or_default();
    if word.contains('.') {
        let address = word.parse().map_err(|_| format!("`{word}` is no IPv4 address"))?;
        return Ok((Token::Address(address), length));
    }
    let number = word.parse().map_err(|_| format!("`{word}` is no number"))?;
    Ok((Token::Number(number), length))
}
