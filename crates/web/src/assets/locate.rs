//! References between files: what a URL in a file leads to below the folder, and how a file below the folder is referred to.

use outwork_front::route::path::NormalPath;

/// Where a reference leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The path below the folder, in its normal form.
    pub(crate) path: String,
    /// The query and the fragment, with their marks.
    pub(crate) suffix: String,
    /// It was written relative to where it stands.
    pub(crate) relative: bool,
}

/// How clients see the folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The path that the folder is served at, with slashes at both ends.
    pub(crate) base: &'a str,
    /// The path below the folder of what relative references are relative to; `None` where they lead elsewhere.
    pub(crate) from: Option<&'a str>,
}

impl Place<'_> {
    /// What a reference leads to; `None` where that does not lie below the folder: another host, a fragment alone, data.
    pub(crate) fn target(&self, reference: &str) -> Option<Target> {
        let reference = reference.trim_matches([' ', '\t', '\n', '\r', '\x0c']);
        let end = reference.find(['?', '#']).unwrap_or(reference.len());
        let (path, suffix) = reference.split_at(end);
        // A colon in the first segment ends a scheme (RFC 3986 section 4.2), and browsers take a backslash for a slash.
        let first = path.split('/').next().unwrap_or_default();
        if path.is_empty() || path.starts_with("//") || path.contains('\\') || first.contains(':') {
            return None;
        }
        let relative = !path.starts_with('/');
        let joined = match relative {
            true => {
                let from = self.from?;
                format!("{}{path}", &from[..=from.rfind('/')?])
            }
            false => format!("/{}", path.strip_prefix(self.base)?),
        };
        let path = NormalPath::new(&joined).ok()?.as_str().to_owned();
        Some(Target { path, suffix: suffix.to_owned(), relative })
    }
}

/// The URL of a path below the folder: from the root of the host, escaped.
pub(crate) fn url(base: &str, path: &str) -> String {
    const KEPT: &[u8] = b"-._~!$&()*+,;=:@/%";
    let mut url = base.trim_end_matches('/').to_owned();
    // A percent sign is the only one that is escaped in a normal path already.
    for byte in path.bytes() {
        match byte.is_ascii_alphanumeric() || KEPT.contains(&byte) {
            true => url.push(char::from(byte)),
            false => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// The folder of a path, with a slash at its end.
pub(crate) fn folder(path: &str) -> &str {
    path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_to_a_path_or_out_of_the_folder() {
        let place = Place { base: "/", from: Some("/css/app.css") };
        for (reference, path, suffix) in [
            ("a.png", "/css/a.png", ""),
            ("./a.png", "/css/a.png", ""),
            ("../img/a%20b.png?v=1#x", "/img/a b.png", "?v=1#x"),
            (" /img/a.png ", "/img/a.png", ""),
            ("/100%25.png", "/100%25.png", ""),
        ] {
            let target = place.target(reference).unwrap();
            assert_eq!((&*target.path, &*target.suffix), (path, suffix), "{reference}");
        }
        for reference in
            ["", "#a", "?a", "//cdn.example/a", "https://a/b", "data:,a", "mailto:a", "../../a", "\\a", "a%zz"]
        {
            assert_eq!(place.target(reference), None, "{reference}");
        }
    }

    #[test]
    fn a_folder_that_is_served_below_a_path_is_referred_to_by_it() {
        let place = Place { base: "/static/", from: Some("/app.css") };
        assert_eq!(place.target("/static/a.png").unwrap().path, "/a.png");
        assert_eq!(place.target("a.png").unwrap().path, "/a.png");
        assert_eq!(place.target("/a.png"), None);
        assert_eq!(url("/static/", "/a b%25\u{fc}'.png"), "/static/a%20b%25%C3%BC%27.png");
        assert_eq!(url("/", "/a/b.js"), "/a/b.js");
        assert_eq!([folder("/a/b.js"), folder("/b.js")], ["/a/", "/"]);
        assert_eq!(Place { base: "/", from: None }.target("a.png"), None);
    }
}
