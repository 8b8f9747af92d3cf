//! The site that is served where there is no configuration: files and a database that are put into the data directory once, to be looked
//! at and changed.
//!
//! - `pool`: servers behind it, which this process serves, too.

mod pool;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rusqlite::Connection;

pub(crate) use pool::SamplePool;

/// Each file's path below the site, and its content.
const FILES: [(&str, &str); 6] = [
    ("index.html", include_str!("sample/site/index.html")),
    ("style.css", include_str!("sample/site/style.css")),
    ("site.js", include_str!("sample/site/site.js")),
    ("404.html", include_str!("sample/site/404.html")),
    ("files/numbers.txt", include_str!("sample/site/files/numbers.txt")),
    ("files/services.json", include_str!("sample/site/files/services.json")),
];

/// What makes the database.
const TABLES: &str = include_str!("sample/sample.sql");

/// The folder of the site.
pub(crate) fn site(data_dir: &Path) -> PathBuf {
    data_dir.join("site")
}

/// The file of the database.
pub(crate) fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("sample.db")
}

/// Writes the site and the database, each unless there is something in its place already: that is somebody's own by now.
pub(crate) fn write(data_dir: &Path) -> anyhow::Result<()> {
    let (site, database) = (site(data_dir), database(data_dir));
    write_site(&site).with_context(|| format!("cannot write the sample site to {}", site.display()))?;
    make_database(&database).with_context(|| format!("cannot make the sample database {}", database.display()))
}

fn write_site(site: &Path) -> io::Result<()> {
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

/// Under another name until it is whole: what has its own name is not made again.
fn make_database(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("db.unfinished");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let connection = Connection::open(&unfinished)?;
    connection.execute_batch(TABLES)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(fs::rename(unfinished, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_written_once_and_what_was_changed_stays() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let site = site(folder.path());
        for (path, content) in FILES {
            assert_eq!(fs::read_to_string(site.join(path)).unwrap(), content, "{path}");
        }
        fs::write(site.join("index.html"), "mine").unwrap();
        write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(site.join("index.html")).unwrap(), "mine");
    }

    #[test]
    fn a_database_is_made_whole_or_again_and_what_was_changed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        fs::write(folder.path().join("sample.db.unfinished"), "half").unwrap();
        write(folder.path()).unwrap();
        let count = || {
            let connection = Connection::open(&path).unwrap();
            connection.query_row("select count(*) from rfc", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(count(), 12);
        Connection::open(&path).unwrap().execute("delete from rfc where year < 2000", []).unwrap();
        write(folder.path()).unwrap();
        assert_eq!(count(), 9);
        assert!(!folder.path().join("sample.db.unfinished").exists());
    }
}
