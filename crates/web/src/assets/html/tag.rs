//! Start tags written again, and which of their attributes refer to files.

use super::pieces::Tag;

/// Whether an attribute refers to a file that the page needs: not where a reader is led to, for what is led to by name has to stay.
pub(super) fn refers(tag: &Tag, attribute: &str) -> bool {
    match (tag.name.as_str(), attribute) {
        ("link", "href") => !has_word(tag.get("rel"), &["canonical", "alternate", "next", "prev", "search"]),
        ("script" | "img" | "source" | "video" | "audio" | "track" | "input" | "embed" | "iframe", "src") => true,
        ("video", "poster") | ("object", "data") => true,
        ("image" | "use" | "feimage", "href" | "xlink:href") => true,
        _ => false,
    }
}

/// Whether an attribute is a list of images to choose from.
pub(super) fn is_set(tag: &Tag, attribute: &str) -> bool {
    matches!((tag.name.as_str(), attribute), ("img" | "source", "srcset") | ("link", "imagesrcset"))
}

/// The attribute whose content the browser can be told (Subresource Integrity section 3.4).
pub(super) fn integral(tag: &Tag) -> Option<&'static str> {
    match tag.name.as_str() {
        "script" => Some("src"),
        "link" if has_word(tag.get("rel"), &["stylesheet", "preload", "modulepreload"]) => Some("href"),
        _ => None,
    }
}

fn has_word(list: Option<&str>, words: &[&str]) -> bool {
    list.unwrap_or_default().split_ascii_whitespace().any(|word| words.iter().any(|one| word.eq_ignore_ascii_case(one)))
}

/// A list of images with their URLs replaced (HTML section 4.8.4.2.1).
pub(super) fn set(list: &str, resolve: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(list.len());
    let mut rest = list;
    let is_gap = |c: char| c.is_ascii_whitespace() || c == ',';
    while !rest.is_empty() {
        let gap = rest.find(|c| !is_gap(c)).unwrap_or(rest.len());
        out.push_str(rest.get(..gap).unwrap_or_default());
        rest = rest.get(gap..).unwrap_or_default();
        let (url, after) = rest.split_at(rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len()));
        let plain = url.trim_end_matches(',');
        out.push_str(&resolve(plain).unwrap_or_else(|| plain.to_owned()));
        out.push_str(url.get(plain.len()..).unwrap_or_default());
        // What describes it, up to a comma outside parentheses.
        let mut depth = 0_usize;
        let described = url.len() > plain.len();
        let end = after.find(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        let end = if described { 0 } else { end.unwrap_or(after.len()) };
        out.push_str(after.get(..end).unwrap_or_default());
        rest = after.get(end..).unwrap_or_default();
    }
    out
}

/// Whether an attribute says what is so without it.
pub(super) fn is_default(tag: &Tag, attribute: &str, value: &str) -> bool {
    let kind = match tag.name.as_str() {
        "script" => "text/javascript",
        "style" => "text/css",
        "link" if has_word(tag.get("rel"), &["stylesheet"]) => "text/css",
        _ => return false,
    };
    attribute == "type" && value.eq_ignore_ascii_case(kind)
}

/// A tag with these attributes.
pub(super) fn write(tag: &Tag, attributes: &[(String, String)], minify: bool, out: &mut String) {
    out.push('<');
    out.push_str(&tag.name);
    let mut bare = false;
    for (name, value) in attributes {
        out.push(' ');
        out.push_str(name);
        bare = minify
            && !value.is_empty()
            && !value.contains([' ', '\t', '\n', '\r', '\x0c', '"', '\'', '=', '<', '>', '`']);
        if value.is_empty() {
            continue;
        }
        out.push('=');
        // The quote that is not in it.
        let quote = if value.contains('"') && !value.contains('\'') { '\'' } else { '"' };
        if !bare {
            out.push(quote);
        }
        let mut characters = value.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied().unwrap_or(' ');
            match character {
                // Anything else does not begin a character reference.
                '&' if next.is_ascii_alphanumeric() || next == '#' => out.push_str("&amp;"),
                '\r' => out.push_str("&#13;"),
                '"' if quote == '"' => out.push_str("&quot;"),
                other => out.push(other),
            }
        }
        if !bare {
            out.push(quote);
        }
    }
    if tag.closed {
        out.push_str(if bare { " /" } else { "/" });
    }
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urls_of_a_list_of_images_are_replaced() {
        let mut resolve = |url: &str| url.ends_with(".png").then(|| url.to_uppercase());
        for (list, replaced) in [
            ("a.png", "A.PNG"),
            ("a.png 1x, b.jpg 2x,c.png 3x", "A.PNG 1x, b.jpg 2x,C.PNG 3x"),
            (" a.png, b.png 100w ", " A.PNG, B.PNG 100w "),
            ("data:image/png;a,b 1x, c.png", "data:image/png;a,b 1x, C.PNG"),
            ("a.png f(1, 2), c.png", "A.PNG f(1, 2), C.PNG"),
            ("", ""),
        ] {
            assert_eq!(set(list, &mut resolve), replaced, "{list}");
        }
    }
}
