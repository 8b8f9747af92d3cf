//! Lists of what is in folders, for people and for programs.

use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::ACCEPT;
use rustix::fs::{AtFlags, Dir, FileType};
use serde_json::json;

use super::folder::{Folder, Identity};
use super::is_hidden;
use crate::config::Files as Settings;

/// What is in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// The path of the folder, with a slash at its end.
    path: String,
    /// Folders first, each kind by name.
    entries: Vec<Entry>,
    /// There is more than a list may have.
    pub(super) is_cut: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    is_file: bool,
    name: String,
    size: u64,
    modified: SystemTime,
}

/// What a list is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Html,
    Json,
}

impl Format {
    /// What a client wants (RFC 9110 section 12.5.1): JSON where it names that and does not like HTML better.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        let lists = fields.get_all(ACCEPT).into_iter().filter_map(|list| list.to_str().ok());
        let (mut html, mut json) = (None, None);
        for member in lists.flat_map(|list| list.split(',')) {
            let mut parts = member.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            match range {
                "application/json" => json = Some(weight),
                "text/html" | "application/xhtml+xml" => html = Some(weight),
                _ => {}
            }
        }
        match json {
            Some(json) if json > 0.0 && html.is_none_or(|html| json > html) => Self::Json,
            _ => Self::Html,
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// Reads what is in a folder and would be served. It waits for the disk.
pub(super) fn read(root: &Folder, folder: OwnedFd, path: &str, settings: &Settings) -> io::Result<Listing> {
    let limit = settings.listing.entries as usize;
    let mut listing = Listing { path: path.to_owned(), entries: Vec::new(), is_cut: false };
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        // A name that is no text cannot be asked for.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..")
            || (!settings.hidden && is_hidden(name))
            || name.bytes().any(|byte| byte < b' ' || byte == 0x7f)
        {
            continue;
        }
        let Ok(mut stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            // One that leads out, or nowhere, is not served.
            let Some(target) = root.stat(&format!("{path}{}", name.replace('%', "%25"))) else { continue };
            stat = target;
        }
        let is_file = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => true,
            FileType::Directory => false,
            _ => continue,
        };
        if listing.entries.len() >= limit {
            listing.is_cut = true;
            break;
        }
        let state = Identity::of(&stat);
        listing.entries.push(Entry { is_file, name: name.to_owned(), size: state.length, modified: state.modified() });
    }
    listing.entries.sort_unstable_by(|one, other| (one.is_file, &one.name).cmp(&(other.is_file, &other.name)));
    Ok(listing)
}

impl Listing {
    pub(super) fn write(&self, format: Format) -> String {
        match format {
            Format::Html => self.html(),
            Format::Json => self.json(),
        }
    }

    fn json(&self) -> String {
        let entries: Vec<_> = self.entries.iter().map(Entry::json).collect();
        json!({ "path": self.path.replace("%25", "%"), "entries": entries, "truncated": self.is_cut }).to_string()
    }

    fn html(&self) -> String {
        let shown = self.path.replace("%25", "%");
        let mut page = String::with_capacity(2048 + self.entries.len() * 160);
        page.push_str("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
        page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
        escape(&mut page, &shown);
        page.push_str("</title>\n<style>");
        page.push_str(STYLE);
        page.push_str("</style>\n<main>\n<h1>");
        self.trail(&mut page);
        page.push_str("</h1>\n<table>\n<thead><tr><th>Name<th>Size<th>Changed</thead>\n<tbody>\n");
        if self.path != "/" {
            page.push_str("<tr class=\"folder\"><td><a href=\"../\">..</a><td><td>\n");
        }
        for entry in &self.entries {
            entry.html(&mut page);
        }
        page.push_str("</tbody>\n</table>\n");
        // Writing to memory does not fail.
        let _ = match (self.entries.len(), self.is_cut) {
            (count, true) => writeln!(page, "<p>Only {count} names are shown; there are more."),
            (0, false) => writeln!(page, "<p>There is nothing in this folder."),
            _ => Ok(()),
        };
        page.push_str("</main>\n</html>\n");
        page
    }

    /// The path, each folder of it a link.
    fn trail(&self, page: &mut String) {
        let names: Vec<&str> = self.path.split('/').filter(|name| !name.is_empty()).collect();
        let up = |page: &mut String, levels: usize, name: &str| {
            let here = if levels == 0 { "./".to_owned() } else { "../".repeat(levels) };
            let _ = write!(page, "<a href=\"{here}\">");
            escape(page, name);
            page.push_str("</a>");
        };
        up(page, names.len(), "/");
        for (index, name) in names.iter().enumerate() {
            up(page, names.len() - index - 1, &name.replace("%25", "%"));
            page.push_str("<i>/</i>");
        }
    }
}

impl Entry {
    fn json(&self) -> serde_json::Value {
        let kind = if self.is_file { "file" } else { "folder" };
        let mut entry = json!({ "name": self.name, "type": kind, "modified": date(self.modified) });
        if let (true, Some(fields)) = (self.is_file, entry.as_object_mut()) {
            fields.insert("size".to_owned(), self.size.into());
        }
        entry
    }

    fn html(&self, page: &mut String) {
        let (class, slash) = if self.is_file { ("file", "") } else { ("folder", "/") };
        // The dot keeps a colon in the name from making it another scheme.
        let _ = write!(page, "<tr class=\"{class}\"><td><a href=\"./{}{slash}\">", Escaped(&self.name));
        escape(page, &self.name);
        let size = if self.is_file { size(self.size) } else { String::new() };
        let date = date(self.modified);
        let (day, time) = date.split_once('T').unwrap_or((&date, ""));
        let time = time.get(..5).unwrap_or_default();
        let _ = writeln!(page, "{slash}</a><td>{size}<td><time datetime=\"{date}\">{day} {time}</time>");
    }
}

/// A name as a segment of a path: what is not unreserved is escaped (RFC 3986 section 2.3).
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => f.write_char(byte.into())?,
                byte => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

fn escape(page: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            character => page.push(character),
        }
    }
}

fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// In UTC, by RFC 3339: `1994-11-06T08:49:37Z`.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from the first of March of year 0, in eras of 400 years, so that a leap day is a year's last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8883 }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem }
h1 { font-size: 1.25rem; font-weight: 600; overflow-wrap: anywhere }
h1 i { font-style: normal; color: GrayText; margin: 0 .15em }
h1 a { padding: 0 .1em }
table { width: 100%; border-collapse: collapse }
th { text-align: left; font-size: .8rem; font-weight: 500; color: GrayText }
th, td { padding: .45rem .5rem; border-bottom: 1px solid var(--line) }
td:first-child { overflow-wrap: anywhere }
td + td, th + th { text-align: right; white-space: nowrap; color: GrayText; font-variant-numeric: tabular-nums }
tbody tr:hover { background: #8881 }
a { color: LinkText; text-decoration: none }
a:hover { text-decoration: underline }
.folder a { font-weight: 600 }
@media (max-width: 36rem) { td:nth-child(3), th:nth-child(3) { display: none } td { padding: .65rem .25rem } }
";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    fn listing() -> Listing {
        let entry = |is_file, name: &str, size| Entry {
            is_file,
            name: name.to_owned(),
            size,
            modified: UNIX_EPOCH + Duration::from_secs(784_111_777),
        };
        Listing {
            path: "/a %25/b&c/".into(),
            entries: vec![
                entry(false, "sub", 0),
                entry(true, "<script>.txt", 1536),
                entry(true, "javascript:x?#%41", 7),
            ],
            is_cut: false,
        }
    }

    #[test]
    fn names_are_escaped_as_text_and_as_links() {
        let page = listing().write(Format::Html);
        assert!(page.contains("<a href=\"./%3Cscript%3E.txt\">&lt;script&gt;.txt</a><td>1.5 KiB"), "{page}");
        assert!(page.contains("<a href=\"./javascript%3Ax%3F%23%2541\">javascript:x?#%41</a>"), "{page}");
        assert!(page.contains("<a href=\"./sub/\">sub/</a><td><td>"), "{page}");
        assert!(page.contains("<title>/a %/b&amp;c/</title>") && !page.contains("<script>"), "{page}");
        assert!(page.contains("<time datetime=\"1994-11-06T08:49:37Z\">1994-11-06 08:49</time>"), "{page}");
        assert!(
            page.contains("<a href=\"../../\">/</a><a href=\"../\">a %</a><i>/</i><a href=\"./\">b&amp;c</a>"),
            "{page}"
        );
    }

    #[test]
    fn a_program_gets_the_same_as_json() {
        let json: serde_json::Value = serde_json::from_str(&listing().write(Format::Json)).unwrap();
        assert_eq!(json["path"], "/a %/b&c/");
        assert_eq!(json["entries"][0], json!({ "name": "sub", "type": "folder", "modified": "1994-11-06T08:49:37Z" }));
        assert_eq!(json["entries"][1]["size"], 1536);
        assert_eq!(json["truncated"], false);
    }

    #[test]
    fn who_names_json_and_does_not_like_html_better_gets_it() {
        let of = |accept| Format::of(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]));
        for accept in ["application/json", "application/json, text/html;q=0.9", "application/json, */*"] {
            assert_eq!(of(accept), Format::Json, "{accept}");
        }
        for accept in [
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/html, application/json",
            "application/json;q=0",
            "",
        ] {
            assert_eq!(of(accept), Format::Html, "{accept}");
        }
        assert_eq!(Format::of(&HeaderMap::new()), Format::Html);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
