//! What is wrong with a file, for who can mend it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is wrong with a file, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssetFault {
    /// The path below the folder.
    pub path: String,
    /// Its line and column, from 1, where that is known. Columns are characters.
    pub at: Option<(u32, u32)>,
    /// What is wrong.
    pub found: String,
    /// What came of it, and what to do.
    pub help: String,
}

impl AssetFault {
    /// Of a whole file.
    pub(super) fn new(path: &str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { path: path.to_owned(), at: None, found: found.into(), help: help.into() }
    }

    /// At a byte of its text.
    pub(super) fn at(mut self, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.at = Some((u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX)));
        self
    }

    /// The same, found in a part of a file that begins at this line and column of it.
    pub(super) fn within(mut self, (line, column): (u32, u32)) -> Self {
        self.at = self.at.map(|(inner, at)| match inner {
            1 => (line, column.saturating_add(at).saturating_sub(1)),
            _ => (line.saturating_add(inner).saturating_sub(1), at),
        });
        self
    }
}

impl fmt::Display for AssetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}; {}", self.found, self.help)
    }
}

/// Does something with a text that others wrote: a panic in it is a fault of that file, and ends no more than that.
///
/// # Errors
/// Those of the work, and that it has failed.
pub(super) fn guarded<T>(path: &str, work: impl FnOnce() -> Result<T, AssetFault>) -> Result<T, AssetFault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|cause| {
        let found = format!("what makes it smaller has failed: {}", said(&*cause));
        Err(AssetFault::new(path, found, "it is served as it is; tell those who make Outwork"))
    })
}

/// What a panic has said.
pub(super) fn said(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|&text| text.to_owned());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_the_line_and_the_column_by_characters() {
        let fault = AssetFault::new("/a.css", "what", "do").at("a\nüb{", 5);
        assert_eq!(fault.to_string(), "/a.css:2:3: what; do");
        assert_eq!(fault.clone().within((10, 5)).at, Some((11, 3)));
        assert_eq!(AssetFault::new("/a", "", "").at("ab", 1).within((10, 5)).at, Some((10, 6)));
    }
}
