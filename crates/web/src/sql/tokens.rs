//! SQL as its words: enough of a reader to know, beyond doubt, what is a parameter and what is not.
//!
//! It knows what both databases take for one piece: texts with their escapes, quoted names, comments, dollar quotes, casts. What it would have
//! to guess it refuses.

use super::address::Dialect;

/// A piece of SQL. White space and comments are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its text; of a parameter, its name.
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or a plain name.
    Word,
    /// A quoted name, with its quotes.
    Quoted,
    /// A text, with its quotes.
    Text,
    /// A number.
    Number,
    /// A parameter: `:name`.
    Parameter,
    /// A character or two of something else.
    Symbol,
}

/// What cannot be read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct TokenError {
    /// What.
    pub kind: TokenErrorKind,
    /// Where it begins, in bytes.
    pub at: usize,
}

/// What cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenErrorKind {
    /// A text has no end.
    #[error("this text has no closing quote")]
    Text,
    /// A quoted name has no end.
    #[error("this quoted name has no end")]
    Quoted,
    /// A comment has no end.
    #[error("this comment has no end")]
    Comment,
    /// A parameter is written in another way.
    #[error("parameters are written :name")]
    Parameter,
    /// A text with backslashes goes on in another line.
    #[error("a text with backslashes cannot go on in another one")]
    Continued,
    /// The character that ends texts in C.
    #[error("there is a NUL character")]
    Nul,
}

impl TokenErrorKind {
    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Text => "write ' twice where it is part of the text",
            Self::Quoted => "close it",
            Self::Comment => "close it with */",
            Self::Parameter => "give each parameter a name, and declare it in params",
            Self::Continued => "write it as one text",
            Self::Nul => "take it out",
        }
    }
}

/// Takes SQL apart.
///
/// # Errors
/// Where something has no end, or a parameter is written otherwise than `:name`.
pub fn tokens(sql: &str, dialect: Dialect) -> Result<Vec<Token<'_>>, TokenError> {
    let mut reader = Reader { sql, bytes: sql.as_bytes(), at: 0, dialect };
    let mut tokens = Vec::new();
    while let Some(token) = reader.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Reader<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_in_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// The tag of a dollar quote is a word without dollars.
fn is_in_tag(byte: u8) -> bool {
    is_in_word(byte) && byte != b'$'
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn error(kind: TokenErrorKind, at: usize) -> TokenError {
        TokenError { kind, at }
    }

    /// Goes on while bytes fit.
    fn skip(&mut self, fits: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&fits) {
            self.at += 1;
        }
    }

    /// Goes behind white space and comments.
    fn skip_blank(&mut self) -> Result<(), TokenError> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => match self.dialect {
                    Dialect::Sqlite => self.skip(|byte| byte != b'\n'),
                    Dialect::Postgres => self.skip(|byte| byte != b'\n' && byte != b'\r'),
                },
                (Some(b'/'), Some(b'*')) => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// PostgreSQL's comments may have comments in them.
    fn skip_comment(&mut self) -> Result<(), TokenError> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) if depth == 0 || self.dialect == Dialect::Postgres => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err(Self::error(TokenErrorKind::Comment, start)),
            }
        }
    }

    fn token(&mut self) -> Result<Option<Token<'a>>, TokenError> {
        self.skip_blank()?;
        let start = self.at;
        let Some(byte) = self.peek(0) else { return Ok(None) };
        let next = self.peek(1);
        let kind = match byte {
            0 => return Err(Self::error(TokenErrorKind::Nul, start)),
            b'\'' => self.text(start, false)?,
            b'"' => self.quoted(b'"')?,
            b'`' if self.dialect == Dialect::Sqlite => self.quoted(b'`')?,
            b'[' if self.dialect == Dialect::Sqlite => {
                self.skip(|byte| byte != b']');
                self.close(start)?
            }
            b'$' if self.dialect == Dialect::Postgres => self.dollar(start)?,
            b'$' | b'@' | b'?' | b'#' if self.dialect == Dialect::Sqlite => {
                return Err(Self::error(TokenErrorKind::Parameter, start));
            }
            b':' => match next {
                Some(b':' | b'=') => self.symbol(2),
                Some(byte) if begins_word(byte) => {
                    self.at += 1;
                    self.skip(is_in_word);
                    TokenKind::Parameter
                }
                Some(byte) if byte.is_ascii_digit() && self.dialect == Dialect::Sqlite => {
                    return Err(Self::error(TokenErrorKind::Parameter, start));
                }
                _ => self.symbol(1),
            },
            byte if byte.is_ascii_digit() || byte == b'.' && next.is_some_and(|next| next.is_ascii_digit()) => {
                self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_');
                TokenKind::Number
            }
            byte if begins_word(byte) => {
                self.skip(is_in_word);
                let word = self.bytes.get(start..self.at).unwrap_or_default();
                match self.dialect == Dialect::Postgres && self.peek(0) == Some(b'\'') && matches!(word, b"e" | b"E") {
                    true => self.text(start, true)?,
                    false => TokenKind::Word,
                }
            }
            _ => self.symbol(1),
        };
        let from = if kind == TokenKind::Parameter { start + 1 } else { start };
        let text = self.sql.get(from..self.at).unwrap_or_default();
        Ok(Some(Token { kind, text, start, end: self.at }))
    }

    fn symbol(&mut self, length: usize) -> TokenKind {
        self.at += length;
        TokenKind::Symbol
    }

    /// A text, from its first quote. A quote that is doubled is part of it; so is one behind a backslash where those escape.
    fn text(&mut self, start: usize, escapes: bool) -> Result<TokenKind, TokenError> {
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(0), _) => return Err(Self::error(TokenErrorKind::Nul, self.at)),
                (Some(b'\\'), Some(_)) if escapes => self.at += 2,
                (Some(b'\''), Some(b'\'')) => self.at += 2,
                (Some(b'\''), _) => break,
                (Some(_), _) => self.at += 1,
                (None, _) => return Err(Self::error(TokenErrorKind::Text, start)),
            }
        }
        self.at += 1;
        if escapes {
            // PostgreSQL would read what follows in another line as part of this one, backslashes included.
            let end = self.at;
            self.skip_blank()?;
            if self.peek(0) == Some(b'\'') {
                return Err(Self::error(TokenErrorKind::Continued, self.at));
            }
            self.at = end;
        }
        Ok(TokenKind::Text)
    }

    /// A quoted name, whose quote is part of it where it is doubled.
    fn quoted(&mut self, quote: u8) -> Result<TokenKind, TokenError> {
        let start = self.at;
        self.at += 1;
        loop {
            self.skip(|byte| byte != quote);
            if self.peek(1) == Some(quote) {
                self.at += 2;
                continue;
            }
            return self.close(start);
        }
    }

    /// The end of a quoted name.
    fn close(&mut self, start: usize) -> Result<TokenKind, TokenError> {
        match self.peek(0) {
            Some(_) => {
                self.at += 1;
                Ok(TokenKind::Quoted)
            }
            None => Err(Self::error(TokenErrorKind::Quoted, start)),
        }
    }

    /// A text between dollars: `$tag$ ... $tag$`.
    fn dollar(&mut self, start: usize) -> Result<TokenKind, TokenError> {
        self.at += 1;
        if self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(Self::error(TokenErrorKind::Parameter, start));
        }
        self.skip(is_in_tag);
        if self.peek(0) != Some(b'$') {
            self.at = start + 1;
            return Ok(TokenKind::Symbol);
        }
        self.at += 1;
        let tag = self.sql.get(start..self.at).unwrap_or_default();
        match self.sql.get(self.at..).and_then(|rest| rest.find(tag)) {
            Some(length) => {
                self.at += length + tag.len();
                Ok(TokenKind::Text)
            }
            None => Err(Self::error(TokenErrorKind::Text, start)),
        }
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
