//! Where a value came from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value came from. The order is that of a report: the file from its top, then the environment, then flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The configuration file.
    File(Place),
    /// The environment variable of this name.
    Env(Arc<str>),
    /// A `--set` flag: the key that it named.
    Set(Arc<str>),
    /// The built-in default: nobody set it.
    Default,
}

/// A place in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was named to us.
    pub file: Arc<Path>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters of that line it covers, at least 1.
    pub width: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(place) => write!(f, "{}:{}:{}", place.file.display(), place.line, place.column),
            Origin::Env(name) => write!(f, "environment variable {name}"),
            Origin::Set(key) => write!(f, "--set {key}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A configuration file's text, with where each line starts.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) file: Arc<Path>,
    pub(crate) text: String,
    /// Byte offset of each line's first character.
    starts: Vec<usize>,
}

impl Text {
    pub(crate) fn new(file: &Path, text: String) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, starts }
    }

    /// The text of a line counted from 1, without its line ending.
    pub(crate) fn line(&self, line: usize) -> Option<&str> {
        let start = *self.starts.get(line.checked_sub(1)?)?;
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        Some(self.text.get(start..end)?.trim_end_matches(['\n', '\r']))
    }

    /// The place of a span of bytes; what lies outside the text is drawn back into it.
    pub(crate) fn place(&self, span: std::ops::Range<usize>) -> Place {
        let number = self.starts.partition_point(|start| *start <= span.start).max(1);
        let start = self.starts.get(number - 1).copied().unwrap_or(0);
        let line = self.line(number).unwrap_or_default();
        let column = chars_before(line, span.start.saturating_sub(start));
        let end = chars_before(line, span.end.saturating_sub(start));
        Place {
            file: Arc::clone(&self.file),
            line: number,
            column: column + 1,
            width: end.saturating_sub(column).max(1),
        }
    }
}

fn chars_before(line: &str, byte: usize) -> usize {
    line.char_indices().take_while(|(at, _)| *at < byte).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_characters_and_stays_on_its_line() {
        let text = Text::new(Path::new("f"), "a = 1\r\nå = \"ü\"\nx".into());
        let at = |span: std::ops::Range<usize>| {
            let place = text.place(span);
            (place.line, place.column, place.width)
        };
        assert_eq!(at(4..5), (1, 5, 1));
        assert_eq!(at(12..16), (2, 5, 3));
        assert_eq!(at(4..99), (1, 5, 1));
        assert_eq!(at(17..18), (3, 1, 1));
        assert_eq!(at(500..600), (3, 2, 1));
        assert_eq!(text.line(2), Some("å = \"ü\""));
        assert_eq!((text.line(0), text.line(4)), (None, None));
    }
}
