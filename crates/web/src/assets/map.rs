//! Source maps (ECMA-426): made while text is made, carried through what is done to it, composed with those that a file came with.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxc_sourcemap::{SourceMap, SourceMapParts, Token};

use super::locate::Place;

/// A map that owns its texts.
pub(crate) type Map = SourceMap<'static>;

/// Text that is being made, and where its pieces come from.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    text: String,
    line: u32,
    /// In UTF-16 units, as maps count.
    column: u32,
    marks: Vec<Token>,
}

impl Sink {
    /// Puts text behind what is there.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        (self.line, self.column) = moved((self.line, self.column), text);
    }

    /// What follows comes from this line and column of a source.
    pub(crate) fn mark(&mut self, source: u32, (line, column): (u32, u32)) {
        let mark = Token::new(self.line, self.column, line, column, Some(source), None);
        // Of two that begin at one place, the later begins something.
        if self.marks.last().is_some_and(|last| (last.get_dst_line(), last.get_dst_col()) == (self.line, self.column)) {
            self.marks.pop();
        }
        self.marks.push(mark);
    }

    /// The text so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text, and its marks.
    pub(crate) fn done(self) -> (String, Vec<Token>) {
        (self.text, self.marks)
    }
}

/// The place behind a text that begins at one.
fn moved((mut line, mut column): (u32, u32), text: &str) -> (u32, u32) {
    for character in text.chars() {
        match character {
            '\n' => (line, column) = (line + 1, 0),
            _ => column += character.len_utf16() as u32,
        }
    }
    (line, column)
}

/// Finds lines and columns of a text, from front to back.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    offset: usize,
    at: (u32, u32),
}

impl<'a> Lines<'a> {
    /// Of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, offset: 0, at: (0, 0) }
    }

    /// The line and the column of a byte, from 0, columns in UTF-16 units.
    pub(crate) fn at(&mut self, offset: usize) -> (u32, u32) {
        if offset < self.offset {
            (self.offset, self.at) = (0, (0, 0));
        }
        self.at = moved(self.at, self.text.get(self.offset..offset).unwrap_or_default());
        self.offset = offset;
        self.at
    }
}

/// A map of these sources, by name and content.
pub(crate) fn new(sources: &[(&str, &str)], marks: Vec<Token>) -> Map {
    let owned = |text: &str| Cow::Owned(text.to_owned());
    SourceMap::new(
        None,
        Vec::new(),
        None,
        sources.iter().map(|(name, _)| owned(name)).collect(),
        sources.iter().map(|(_, content)| Some(owned(content))).collect(),
        marks.into(),
        None,
    )
}

/// The map of a text that is as it was, line by line.
pub(crate) fn identity(name: &str, content: &str) -> Map {
    let lines = u32::try_from(content.split('\n').count()).unwrap_or(u32::MAX);
    new(&[(name, content)], (0..lines).map(|line| Token::new(line, 0, line, 0, Some(0), None)).collect())
}

/// Pieces one below the other, each with the line that it begins at.
pub(crate) fn stacked(pieces: Vec<(Map, u32)>) -> Map {
    let mut whole = SourceMapParts::default();
    let mut marks = Vec::new();
    for (piece, line) in pieces {
        let piece = piece.into_parts();
        let (sources, names) = (whole.sources.len() as u32, whole.names.len() as u32);
        marks.extend(piece.tokens.iter().map(|mark| {
            let shift = |id: Option<u32>, by: u32| id.map(|id| id + by);
            Token::new(
                mark.get_dst_line() + line,
                mark.get_dst_col(),
                mark.get_src_line(),
                mark.get_src_col(),
                shift(mark.get_source_id(), sources),
                shift(mark.get_name_id(), names),
            )
        }));
        whole.sources.extend(piece.sources);
        whole.source_contents.extend(piece.source_contents);
        whole.names.extend(piece.names);
    }
    whole.tokens = marks.into();
    SourceMap::from_parts(whole)
}

/// The map of what was made of a text, `outer`, led on through the map that the text came with.
pub(crate) fn composed(outer: &Map, inner: &Map) -> Map {
    let table = inner.generate_lookup_table();
    let mut names: Vec<Cow<'static, str>> = inner.get_names().map(|name| Cow::Owned(name.to_owned())).collect();
    let own = names.len() as u32;
    names.extend(outer.get_names().map(|name| Cow::Owned(name.to_owned())));
    let mark = |mark: Token| {
        let from = inner.lookup_token(&table, mark.get_src_line(), mark.get_src_col())?;
        let name = from.get_name_id().or(mark.get_name_id().map(|name| name + own));
        let (line, column) = (from.get_src_line(), from.get_src_col());
        Some(Token::new(mark.get_dst_line(), mark.get_dst_col(), line, column, Some(from.get_source_id()?), name))
    };
    let marks: Vec<Token> = outer.get_tokens().filter_map(mark).collect();
    let parts = inner.clone().into_parts();
    SourceMap::from_parts(SourceMapParts { names, tokens: marks.into(), file: None, token_chunks: None, ..parts })
}

/// A map as a file has it, its sources named from the root of the host. `at` is where the map lies.
///
/// # Errors
/// When it is no map.
pub(crate) fn read(text: &str, at: &Place<'_>) -> Result<Map, String> {
    // Sections (an index map) are written by few, and read by none of the readers that there are.
    let map = SourceMap::from_json_string(text).map_err(|error| error.to_string())?.into_owned();
    let mut parts = map.into_parts();
    if !parts.tokens.iter().all(|mark| mark.get_source_id().is_none_or(|id| (id as usize) < parts.sources.len())) {
        return Err("it names sources that it does not have".to_owned());
    }
    let root = parts.source_root.take().map(Cow::into_owned).unwrap_or_default();
    let root = if root.is_empty() || root.ends_with('/') { root } else { format!("{root}/") };
    for source in &mut parts.sources {
        let rooted = if source.contains("://") { source.to_string() } else { format!("{root}{source}") };
        *source = match at.target(&rooted) {
            Some(target) => super::locate::url(at.base, &target.path).into(),
            None => rooted.into(),
        };
    }
    parts.source_contents.resize(parts.sources.len(), None);
    parts.file = None;
    parts.token_chunks = None;
    Ok(SourceMap::from_parts(parts))
}

/// The content of a `data:` URL.
pub(crate) fn inline(reference: &str) -> Option<String> {
    let (kind, content) = reference.strip_prefix("data:")?.split_once(',')?;
    let bytes = STANDARD.decode(kind.strip_suffix(";base64").map(|_| content)?).ok()?;
    String::from_utf8(bytes).ok()
}

/// What the last comment of a file names as its map (ECMA-426 section 11.1.2.1), and where in the text the comment begins and ends.
pub(crate) fn mentioned(text: &str) -> Option<(&str, std::ops::Range<usize>)> {
    const MARKS: [&str; 2] = ["# sourceMappingURL=", "@ sourceMappingURL="];
    let (at, mark) = MARKS.iter().filter_map(|mark| Some((text.rfind(mark)?, mark))).max()?;
    let opened = text.get(..at)?;
    let begin = opened.strip_suffix("//").or_else(|| opened.strip_suffix("/*"))?.len();
    let is_block = opened.ends_with("/*");
    let rest = text.get(at + mark.len()..)?;
    let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
    let (reference, end) = match is_block {
        true => {
            let close = rest.find("*/")?;
            (rest.get(..close)?, close + 2)
        }
        false => (rest.get(..line)?, line),
    };
    let end = at + mark.len() + end;
    // Whatever comes behind it is not code.
    let reference = reference.trim();
    let last = text.get(end..)?.trim().is_empty();
    (last && !reference.is_empty() && !reference.contains([' ', '"', '\''])).then_some((reference, begin..end))
}

/// A place in a text, and what is put there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// The bytes that go.
    pub(crate) place: std::ops::Range<usize>,
    /// What comes; neither has a line end in it.
    pub(crate) text: String,
}

/// A text with edits, which are in order and do not meet.
pub(crate) fn edited(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(text.get(at..edit.place.start).unwrap_or_default());
        out.push_str(&edit.text);
        at = edit.place.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// How edits have moved the columns of a text.
#[derive(Debug)]
pub(crate) struct Moves {
    /// Line, columns before and after of the end of what was edited.
    ends: Vec<(u32, u32, u32)>,
}

impl Moves {
    /// By these edits of a text.
    pub(crate) fn new(text: &str, edits: &[Edit]) -> Self {
        let mut lines = Lines::new(text);
        let mut ends: Vec<(u32, u32, u32)> = Vec::new();
        for edit in edits {
            let (line, start) = lines.at(edit.place.start);
            let (_, end) = lines.at(edit.place.end);
            let before =
                ends.last().filter(|last| last.0 == line).map_or(0, |last| i64::from(last.2) - i64::from(last.1));
            let width = edit.text.chars().map(char::len_utf16).sum::<usize>();
            let after = i64::from(start) + before + width as i64;
            ends.push((line, end, u32::try_from(after).unwrap_or(0)));
        }
        Self { ends }
    }

    /// By so many columns that were put in front.
    pub(crate) fn begins_with(columns: u32) -> Self {
        Self { ends: vec![(0, 0, columns)] }
    }

    /// The column after the edits of one before.
    pub(crate) fn after(&self, line: u32, column: u32) -> u32 {
        let last = self.ends.iter().rev().find(|end| end.0 == line && end.1 <= column);
        last.map_or(column, |(_, before, after)| after + (column - before))
    }

    /// The column before the edits of one after.
    pub(crate) fn before(&self, line: u32, column: u32) -> u32 {
        let last = self.ends.iter().rev().find(|end| end.0 == line && end.2 <= column);
        last.map_or(column, |(_, before, after)| before + (column - after))
    }
}

/// The map of a text whose source was edited before: back to what it was before.
pub(crate) fn unedited(map: Map, moves: &Moves, original: &str) -> Map {
    let mut parts = map.into_parts();
    let back = |mark: &Token| {
        let column = moves.before(mark.get_src_line(), mark.get_src_col());
        let (line, at) = (mark.get_dst_line(), mark.get_dst_col());
        Token::new(line, at, mark.get_src_line(), column, mark.get_source_id(), mark.get_name_id())
    };
    parts.tokens = parts.tokens.iter().map(back).collect();
    parts.source_contents = vec![Some(Cow::Owned(original.to_owned()))];
    SourceMap::from_parts(parts)
}

/// The map of a text that was edited after.
pub(crate) fn followed(map: Map, moves: &Moves) -> Map {
    let mut parts = map.into_parts();
    let forth = |mark: &Token| {
        let (line, column) = (mark.get_dst_line(), moves.after(mark.get_dst_line(), mark.get_dst_col()));
        Token::new(line, column, mark.get_src_line(), mark.get_src_col(), mark.get_source_id(), mark.get_name_id())
    };
    parts.tokens = parts.tokens.iter().map(forth).collect();
    SourceMap::from_parts(parts)
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
