//! Names with a hash in them.

use std::fmt;
use std::str::FromStr;

use outwork_front::route::path::NormalPath;

/// Hexadecimal digits of a hash in a name: a name would have to have millions of contents for two of them to share one.
const DIGITS: usize = 12;

/// How a file is named after its content: `{file}-{hash}.{ext}`, beside the file, or `/static/{file}-{hash}.{ext}`, all in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedName {
    /// With a slash at its end; none is that of the file itself.
    folder: Option<String>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    File,
    Hash,
    Extension,
}

/// Why a text is no such pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionedNameError {
    /// A content is not told from another.
    #[error("{{hash}} has to be in its name once")]
    Hash,
    /// A file is not told from another.
    #[error("{{file}} has to be in its name once")]
    File,
    /// The media type would be lost.
    #[error("its name has to end with .{{ext}}")]
    Extension,
    /// A brace begins nothing that is known.
    #[error("in braces there may be file, hash and ext")]
    Brace,
    /// Its folder is no path.
    #[error("what stands before its last slash is no path of a folder; it begins with a slash")]
    Folder,
}

impl FromStr for VersionedName {
    type Err = VersionedNameError;

    fn from_str(text: &str) -> Result<Self, VersionedNameError> {
        let (folder, name) = match text.rfind('/') {
            Some(slash) => {
                let (folder, name) = text.split_at(slash + 1);
                let normal = NormalPath::new(folder).is_ok_and(|normal| normal.as_str() == folder);
                if !normal || folder.contains(['{', '}']) {
                    return Err(VersionedNameError::Folder);
                }
                (Some(folder.to_owned()), name)
            }
            None => (None, text),
        };
        let parts = parts(name)?;
        let count = |part: &Part| parts.iter().filter(|other| *other == part).count();
        if count(&Part::Hash) != 1 {
            return Err(VersionedNameError::Hash);
        }
        if count(&Part::File) != 1 {
            return Err(VersionedNameError::File);
        }
        let ends = matches!(&*parts, [.., Part::Text(before), Part::Extension] if before.ends_with('.'));
        if !ends || count(&Part::Extension) != 1 {
            return Err(VersionedNameError::Extension);
        }
        Ok(Self { folder, parts })
    }
}

fn parts(name: &str) -> Result<Vec<Part>, VersionedNameError> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
        if text.contains(['}', '%', '\0', '?', '#', '\\']) {
            return Err(VersionedNameError::Brace);
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        if text.len() == rest.len() {
            break;
        }
        let (word, after) = after.split_once('}').ok_or(VersionedNameError::Brace)?;
        parts.push(match word {
            "file" => Part::File,
            "hash" => Part::Hash,
            "ext" => Part::Extension,
            _ => return Err(VersionedNameError::Brace),
        });
        rest = after;
    }
    Ok(parts)
}

impl fmt::Display for VersionedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder.as_deref().unwrap_or_default())?;
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::File => f.write_str("{file}"),
            Part::Hash => f.write_str("{hash}"),
            Part::Extension => f.write_str("{ext}"),
        })
    }
}

outwork_config::text_setting!(VersionedName, "a pattern of names such as", "{file}-{hash}.{ext}");

impl VersionedName {
    /// The path of a file with this digest; `None` where its name has no extension, for it could not keep its media type.
    pub fn of(&self, path: &str, digest: &[u8]) -> Option<String> {
        let (folder, name) = path.split_at(path.rfind('/')? + 1);
        let (file, extension) = name.rsplit_once('.').filter(|(file, _)| !file.is_empty())?;
        let mut named = self.folder.as_deref().unwrap_or(folder).to_owned();
        for part in &self.parts {
            match part {
                Part::Text(text) => named.push_str(text),
                Part::File => named.push_str(file),
                Part::Hash => named.extend(hex(digest).take(DIGITS)),
                Part::Extension => named.push_str(extension),
            }
        }
        Some(named)
    }

    /// Whether a file of this folder (with a slash at its end) keeps its place.
    pub fn stays_in(&self, folder: &str) -> bool {
        self.folder.as_deref().is_none_or(|other| other == folder)
    }
}

fn hex(digest: &[u8]) -> impl Iterator<Item = char> {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    digest.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_file_the_hash_and_the_extension_where_the_pattern_has_them() {
        let digest = [0xab; 32];
        for (pattern, path, named) in [
            ("{file}-{hash}.{ext}", "/css/app.css", Some("/css/app-abababababab.css")),
            ("{file}-{hash}.{ext}", "/app.js.map", Some("/app.js-abababababab.map")),
            ("/static/{hash}.{file}.{ext}", "/css/app.css", Some("/static/abababababab.app.css")),
            ("{file}-{hash}.{ext}", "/LICENSE", None),
            ("{file}-{hash}.{ext}", "/.css", None),
        ] {
            let name: VersionedName = pattern.parse().unwrap();
            assert_eq!(name.to_string(), pattern);
            assert_eq!(name.of(path, &digest).as_deref(), named, "{pattern} {path}");
        }
        let [beside, moved] = ["{file}.{hash}.{ext}", "/a/{file}.{hash}.{ext}"].map(|text| text.parse().unwrap());
        let stays = |name: &VersionedName, folder| name.stays_in(folder);
        assert_eq!([stays(&beside, "/b/"), stays(&moved, "/a/"), stays(&moved, "/b/")], [true, true, false]);
    }

    #[test]
    fn a_pattern_that_would_lose_something_is_refused() {
        use VersionedNameError as Error;
        for (pattern, error) in [
            ("{file}.{ext}", Error::Hash),
            ("{hash}-{hash}-{file}.{ext}", Error::Hash),
            ("{hash}.{ext}", Error::File),
            ("{file}-{hash}", Error::Extension),
            ("{file}{ext}-{hash}", Error::Extension),
            ("{file}-{hash}.{ext}.js", Error::Extension),
            ("{name}-{hash}.{ext}", Error::Brace),
            ("{file-{hash}.{ext}", Error::Brace),
            ("{file}?{hash}.{ext}", Error::Brace),
            ("static/{file}-{hash}.{ext}", Error::Folder),
            ("/../{file}-{hash}.{ext}", Error::Folder),
            ("/{hash}/{file}.{ext}", Error::Folder),
        ] {
            assert_eq!(pattern.parse::<VersionedName>(), Err(error), "{pattern}");
        }
    }
}
