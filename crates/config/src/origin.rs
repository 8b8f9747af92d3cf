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

    /// The place of a part of the string that stands at `whole`: `length` octets of its value from `offset`.
    pub(crate) fn part(&self, whole: &Place, offset: usize, length: usize) -> Option<Place> {
        let line = self.line(whole.line)?;
        let column = line.char_indices().nth(whole.column.checked_sub(1)?).map_or(line.len(), |(at, _)| at);
        let start = self.starts.get(whole.line.checked_sub(1)?)? + column;
        let raw = self.text.get(start..)?;
        let opening = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| raw.starts_with(quotes))?;
        let mut at = start + opening.len();
        if opening.len() == 3 {
            // A line that begins with the quotes ends them.
            let after = self.text.get(at..)?;
            at += after.len() - after.strip_prefix("\r\n").or(after.strip_prefix('\n')).unwrap_or(after).len();
        }
        let from = at + self.written(at, offset, opening.starts_with('"'))?;
        let octets = self.written(from, length, opening.starts_with('"'))?;
        Some(self.place(from..from + octets))
    }

    /// How many octets of the text, from `at`, write so many octets of a string's value.
    fn written(&self, at: usize, value: usize, escapes: bool) -> Option<usize> {
        let raw = self.text.get(at..)?;
        let (mut done, mut octets) = (0, 0);
        loop {
            let rest = raw.get(done..)?;
            // A line that is continued is continued before what comes next.
            let folds = escapes && rest.strip_prefix('\\').is_some_and(|rest| rest.starts_with(char::is_whitespace));
            if octets >= value && !folds {
                return Some(done);
            }
            let first = rest.chars().next()?;
            let (width, worth) = match rest.strip_prefix('\\').filter(|_| escapes).and_then(|rest| rest.chars().next())
            {
                None => (first.len_utf8(), first.len_utf8()),
                Some(code @ ('u' | 'U' | 'x')) => {
                    let digits = match code {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
                    (2 + digits, char::from_u32(code)?.len_utf8())
                }
                Some(space) if space.is_whitespace() => {
                    let after = rest.get(1..)?;
                    (1 + after.len() - after.trim_start().len(), 0)
                }
                Some(escaped) => (1 + escaped.len_utf8(), 1),
            };
            done += width;
            octets += worth;
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

    #[test]
    fn a_part_of_a_string_is_found_where_it_is_written() {
        for (written, part, place) in [
            ("x = 'a == b'", (2, 2), (1, 8, 2)),
            (r#"x = "a\"\u00e9 == b""#, (5, 2), (1, 16, 2)),
            ("x = '''\na ==\n b'''", (6, 1), (3, 2, 1)),
            ("x = \"\"\"a \\\n   == b\"\"\"", (2, 2), (2, 4, 2)),
        ] {
            let text = Text::new(Path::new("f"), written.into());
            let whole = text.place(4..written.len());
            let found = text.part(&whole, part.0, part.1).map(|place| (place.line, place.column, place.width));
            assert_eq!(found, Some(place), "{written}");
        }
        let text = Text::new(Path::new("f"), "x = 12".into());
        assert_eq!(text.part(&text.place(4..6), 0, 1), None);
    }
}
