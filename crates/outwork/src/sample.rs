//! The site that is served where there is no configuration: files that are put into the data directory once, to be looked at and changed.

use std::fs;
use std::io;
use std::path::Path;

/// Each file's path below the site, and its content.
const FILES: [(&str, &str); 6] = [
    ("index.html", include_str!("sample/site/index.html")),
    ("style.css", include_str!("sample/site/style.css")),
    ("site.js", include_str!("sample/site/site.js")),
    ("404.html", include_str!("sample/site/404.html")),
    ("files/numbers.txt", include_str!("sample/site/files/numbers.txt")),
    ("files/services.json", include_str!("sample/site/files/services.json")),
];

/// Writes the site, unless there is something in its place already: that is somebody's own by now.
pub(crate) fn write(site: &Path) -> io::Result<()> {
    if site.exists() {
        return Ok(());
    }
    for (path, content) in FILES {
        let path = site.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_written_once_and_what_was_changed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        write(&site).unwrap();
        for (path, content) in FILES {
            assert_eq!(fs::read_to_string(site.join(path)).unwrap(), content, "{path}");
        }
        fs::write(site.join("index.html"), "mine").unwrap();
        write(&site).unwrap();
        assert_eq!(fs::read_to_string(site.join("index.html")).unwrap(), "mine");
    }
}
