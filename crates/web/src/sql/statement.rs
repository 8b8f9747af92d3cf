//! Statements of a query: what each does, which tables it names, and its SQL with the database's own placeholders.

use std::fmt::Write as _;

use super::address::Dialect;
use super::tokens::{Token, TokenError, TokenKind, tokens};

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its SQL as the database gets it.
    pub sql: String,
    /// The same in the form that rules are held against: one space wherever there are any, no comments, `?` for each parameter.
    pub plain: String,
    /// The names of its parameters: the first is bound to the first placeholder.
    pub parameters: Vec<String>,
    /// What it does.
    pub kind: Kind,
    /// The tables that it names, in small letters and without their schema.
    pub tables: Vec<String>,
    /// Where it begins and ends in the text that it was read from.
    pub span: (usize, usize),
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It reads.
    Read,
    /// It changes rows.
    Write,
    /// Something that is not for routes; with its first word.
    Other(String),
}

/// The statements of a text.
///
/// # Errors
/// When it cannot be read.
pub fn statements(sql: &str, dialect: Dialect) -> Result<Vec<Statement>, TokenError> {
    let tokens = tokens(sql, dialect)?;
    let parts = tokens.split(|token| token.kind == TokenKind::Symbol && token.text == ";");
    Ok(parts.filter(|part| !part.is_empty()).map(|part| statement(sql, part, dialect)).collect())
}

fn statement(sql: &str, tokens: &[Token<'_>], dialect: Dialect) -> Statement {
    let span = (tokens.first().map_or(0, |token| token.start), tokens.last().map_or(0, |token| token.end));
    let mut parameters: Vec<String> = Vec::new();
    let (mut written, mut plain) = (String::with_capacity(sql.len()), String::with_capacity(sql.len()));
    let mut at = span.0;
    for token in tokens {
        if token.start > at {
            plain.push(' ');
        }
        written.push_str(sql.get(at..token.start).unwrap_or_default());
        at = token.end;
        if token.kind != TokenKind::Parameter {
            written.push_str(token.text);
            plain.push_str(token.text);
            continue;
        }
        plain.push('?');
        let known = parameters.iter().position(|name| name == token.text);
        let place = known.unwrap_or(parameters.len()) + 1;
        if known.is_none() {
            parameters.push(token.text.to_owned());
        }
        let mark = if dialect == Dialect::Postgres { '$' } else { '?' };
        // Spaces keep it apart from words beside it. To write to a String cannot fail.
        let _ = write!(written, " {mark}{place} ");
    }
    Statement { sql: written, plain, parameters, kind: kind(tokens), tables: tables(tokens, dialect), span }
}

fn is_word(token: Option<&Token<'_>>, words: &[&str]) -> bool {
    token.is_some_and(|token| {
        token.kind == TokenKind::Word && words.iter().any(|word| token.text.eq_ignore_ascii_case(word))
    })
}

fn is_symbol(token: Option<&Token<'_>>, symbol: &str) -> bool {
    token.is_some_and(|token| token.kind == TokenKind::Symbol && token.text == symbol)
}

fn kind(tokens: &[Token<'_>]) -> Kind {
    // A query may stand in parentheses.
    let begin = tokens.iter().position(|token| !is_symbol(Some(token), "(")).unwrap_or(0);
    let first = tokens.get(begin);
    if is_word(first, &["insert", "update", "delete", "replace", "merge", "call"]) {
        return Kind::Write;
    }
    if is_word(first, &["select", "values", "with", "table"]) {
        let changes = tokens.iter().enumerate().any(|(index, token)| {
            let next = tokens.get(index + 1);
            let before = index.checked_sub(1).and_then(|before| tokens.get(before));
            is_word(Some(token), &["insert", "replace", "merge"]) && is_word(next, &["into"])
                || is_word(Some(token), &["delete"]) && is_word(next, &["from"])
                || is_word(Some(token), &["update"])
                    && next.is_some_and(|next| matches!(next.kind, TokenKind::Word | TokenKind::Quoted))
                    && (is_symbol(before, "(") || is_symbol(before, ")"))
        });
        return if changes { Kind::Write } else { Kind::Read };
    }
    Kind::Other(first.map(|token| token.text.to_ascii_uppercase()).unwrap_or_default())
}

/// Words behind which no names of tables follow any more, though a comma does.
const ENDS: [&str; 16] = [
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "union",
    "except",
    "intersect",
    "window",
    "returning",
    "set",
    "values",
    "select",
    "fetch",
    "for",
];

/// The tables that a statement names: what follows FROM, JOIN, INTO, UPDATE and USING, and the commas behind those. Names that WITH makes are
/// among them, and do no harm.
fn tables(tokens: &[Token<'_>], dialect: Dialect) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    // For each open parenthesis: whether a comma parts tables.
    let mut lists = vec![false];
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1;
        let mut name_follows = false;
        let mut list = |is: bool| {
            if let Some(last) = lists.last_mut() {
                *last = is;
            }
        };
        if is_symbol(Some(token), "(") {
            // FROM (a, b)
            let before = index.checked_sub(2).and_then(|before| tokens.get(before));
            let is_from = is_word(before, &["from", "join"]);
            lists.push(is_from);
            name_follows = is_from;
        } else if is_symbol(Some(token), ")") {
            lists.pop();
            if lists.is_empty() {
                lists.push(false);
            }
        } else if is_symbol(Some(token), ",") {
            name_follows = lists.last() == Some(&true);
        } else if is_word(Some(token), &["from", "using"]) {
            list(true);
            name_follows = true;
        } else if is_word(Some(token), &["join", "into", "update", "table"]) {
            name_follows = true;
        } else if is_word(Some(token), &ENDS) {
            list(false);
        }
        if !name_follows {
            continue;
        }
        while is_word(tokens.get(index), &["only", "lateral", "or", "ignore", "rollback", "abort", "fail"]) {
            index += 1;
        }
        let is_into = is_word(Some(token), &["into"]);
        if let Some((name, behind)) = name(tokens, index, dialect) {
            // What has arguments is a function; but for INSERT INTO, where these are columns.
            let is_table = is_into || !is_symbol(tokens.get(behind), "(");
            index = behind;
            if is_table && !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// The last part of a name, and what stands behind it.
fn name(tokens: &[Token<'_>], mut index: usize, dialect: Dialect) -> Option<(String, usize)> {
    loop {
        let part = tokens.get(index)?;
        let name = match part.kind {
            TokenKind::Word if !is_word(Some(part), &["select", "values", "with"]) => part.text.to_lowercase(),
            TokenKind::Quoted => unquoted(part.text),
            // SQLite takes texts for names, too.
            TokenKind::Text if dialect == Dialect::Sqlite => unquoted(part.text),
            _ => return None,
        };
        match is_symbol(tokens.get(index + 1), ".") {
            true => index += 2,
            false => return Some((name, index + 1)),
        }
    }
}

fn unquoted(text: &str) -> String {
    let mut inner = text.chars();
    let (first, last) = (inner.next().unwrap_or('"'), inner.next_back().unwrap_or('"'));
    let inner = inner.as_str();
    match first == last {
        true => inner.replace(&format!("{first}{first}"), &first.to_string()).to_lowercase(),
        false => inner.to_lowercase(),
    }
}

/// The name of a table as it is compared: in small letters, without its schema and quotes.
pub fn table_name(text: &str) -> String {
    let last = text.rsplit('.').next().unwrap_or(text).trim();
    last.trim_matches('"').to_lowercase()
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
