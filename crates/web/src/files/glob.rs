//! Patterns that files are chosen by.

use std::fmt;
use std::str::FromStr;

/// A pattern: `*` stands for anything but a slash, `**` for anything, `?` for one character that is no slash. Without a slash in it, it is of
/// the name alone; with one, of the path from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

/// A pattern that nothing could fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// There is nothing in it.
    #[error("there is nothing in it")]
    Empty,
    /// It has a slash, and does not begin with one.
    #[error("a pattern with a slash begins with one")]
    NotAbsolute,
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        match text {
            "" => Err(GlobError::Empty),
            _ if text.contains('/') && !text.starts_with('/') => Err(GlobError::NotAbsolute),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

outwork_config::text_setting!(Glob, "a pattern such as", "/assets/**");

impl Glob {
    /// Whether the path of a file, with its slash at the beginning, fits.
    pub fn fits(&self, path: &str) -> bool {
        let text = match self.0.contains('/') {
            true => path,
            false => path.rsplit('/').next().unwrap_or(path),
        };
        fits(self.0.as_bytes(), text.as_bytes())
    }
}

/// Matches in time that grows with the product of both lengths at most: of two stars, what the first stands for need never be looked at again,
/// but for a star that stops at a slash, which falls back to the last double one.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when nothing fits: behind the star, with one more character for it.
    let mut single: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        let here = pattern.get(p..).unwrap_or_default();
        match (here, text.get(t)) {
            ([], None) => return true,
            ([b'*', b'*', ..], _) => {
                p += 2;
                (double, single) = (Some((p, t)), None);
                continue;
            }
            ([b'*', ..], _) => {
                p += 1;
                single = Some((p, t));
                continue;
            }
            ([b'?', ..], Some(byte)) if *byte != b'/' => {
                // One character is all of its bytes.
                p += 1;
                t += 1;
                while text.get(t).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    t += 1;
                }
                continue;
            }
            ([wanted, ..], Some(byte)) if wanted == byte && *wanted != b'?' => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        match (single, double) {
            (Some((after, from)), _) if text.get(from).is_some_and(|byte| *byte != b'/') => {
                (p, t) = (after, from + 1);
                single = Some((p, t));
            }
            (_, Some((after, from))) if from < text.len() => {
                (p, t) = (after, from + 1);
                (double, single) = (Some((p, t)), None);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_a_name_or_a_whole_path() {
        for (pattern, fitting, others) in [
            ("*.css", &["/a.css", "/b/c.css", "/.css"][..], &["/a.css.map", "/css"][..]),
            ("/assets/**", &["/assets/a", "/assets/b/c.js"], &["/asset/a", "/x/assets/a"]),
            ("/assets/*", &["/assets/a.js"], &["/assets/b/c.js"]),
            ("/*/app.?s", &["/v1/app.js", "/v2/app.ts", "/v/app.ös"], &["/v1/b/app.js", "/v1/app.jss", "/app.js"]),
            ("/**/*.min.js", &["/a/b/c.min.js", "/a/x.min.min.js"], &["/c.min.js", "/a/c.min.jsx"]),
            ("app.js", &["/app.js", "/b/app.js"], &["/app.jsx", "/myapp.js"]),
            ("**", &["/", "/a/b"], &[]),
            ("/a*b*c", &["/abc", "/aXbYbZc"], &["/ab", "/abcd", "/a/bc"]),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert_eq!(glob.to_string(), pattern);
            for path in fitting {
                assert!(glob.fits(path), "{pattern} fits {path}");
            }
            for path in others {
                assert!(!glob.fits(path), "{pattern} does not fit {path}");
            }
        }
        assert_eq!("a/b".parse::<Glob>(), Err(GlobError::NotAbsolute));
        assert_eq!("".parse::<Glob>(), Err(GlobError::Empty));
    }

    #[test]
    fn a_pattern_that_is_made_to_take_long_does_not() {
        let glob: Glob = format!("/{}b", "*a".repeat(30)).parse().unwrap();
        assert!(!glob.fits(&format!("/{}", "a".repeat(10_000))));
    }
}
