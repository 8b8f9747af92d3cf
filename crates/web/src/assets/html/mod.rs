//! Pages: what they refer to replaced, and made smaller.
//!
//! - `pieces`: a page in pieces.
//! - `tag`: start tags, and which of their attributes refer to files.
//!
//! A page says the same afterwards: what stands in `pre` and `textarea`, in SVG and MathML stays as it is, white space that may be seen becomes one
//! space and never none, and no tag goes. Comments go where they are prose; those that a browser or a script reads stay.

mod pieces;
mod tag;

use serde_json::Value as Json;

use super::css;
use super::fault::AssetFault;
use super::js::{self, Kind};
use super::locate::Place;
use pieces::{Piece, Tag};

/// A page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    /// Its path below the folder.
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
}

/// What a reference is replaced with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The same where only the content is another.
    pub(crate) url: String,
    /// What its content has to be.
    pub(crate) integrity: Option<String>,
}

/// What is asked for.
pub(crate) struct Order<'a> {
    /// Make it smaller; and of what stands in it, style sheets and scripts.
    pub(crate) minify: bool,
    pub(crate) css: bool,
    pub(crate) js: bool,
    /// Tell browsers what contents have to be.
    pub(crate) integrity: bool,
    /// The path that the folder is served at.
    pub(crate) base: &'a str,
    /// What a reference from a path is replaced with; `None` leaves it.
    pub(crate) resolve: &'a dyn Fn(&str, &str) -> Option<Resolved>,
}

/// Makes a page.
///
/// # Errors
/// When it cannot be parted into pieces.
pub(crate) fn page(page: &Page<'_>, order: &Order<'_>) -> Result<(String, Vec<AssetFault>), AssetFault> {
    // As every browser reads it (HTML section 13.2.3.5).
    let text = page.text.replace("\r\n", "\n");
    let pieces = pieces::of(&text).map_err(|at| {
        AssetFault::new(
            page.path,
            "it ends in the middle of a tag or a comment",
            "the page is served as it is; close it",
        )
        .at(&text, at)
    })?;
    let hashes = pieces.iter().any(|piece| matches!(piece, Piece::Start(tag) if allows_by_hash(tag)));
    let mut writer = Writer {
        path: page.path,
        text: &text,
        order,
        from: Some(page.path.to_owned()),
        fixed: hashes,
        out: String::with_capacity(text.len()),
        faults: Vec::new(),
    };
    writer.write(&pieces);
    Ok((writer.out, writer.faults))
}

/// Whether a page allows scripts or styles by hashes of what stands in it (CSP Level 3 section 2.3.1): then that has to stay as it is.
fn allows_by_hash(tag: &Tag) -> bool {
    let named = tag.get("http-equiv").is_some_and(|name| name.eq_ignore_ascii_case("content-security-policy"));
    tag.name == "meta" && named && tag.get("content").is_some_and(|policy| policy.contains("'sha"))
}

struct Writer<'a> {
    path: &'a str,
    text: &'a str,
    order: &'a Order<'a>,
    /// What relative references are relative to; `None` where none leads into the folder.
    from: Option<String>,
    /// What stands in the page stays as it is.
    fixed: bool,
    out: String,
    faults: Vec<AssetFault>,
}

/// Where in a page it is.
#[derive(Default)]
struct Inside {
    /// Levels of SVG or MathML.
    foreign: usize,
    /// Levels of `pre`.
    verbatim: usize,
    /// Something that is shown has begun.
    body: bool,
}

impl Writer<'_> {
    fn write(&mut self, pieces: &[Piece]) {
        let mut inside = Inside::default();
        let mut opened: Option<&Tag> = None;
        for piece in pieces {
            match piece {
                Piece::Start(tag) => {
                    inside.body |= !is_head(&tag.name);
                    match tag.name.as_str() {
                        "svg" | "math" if !tag.closed => inside.foreign += 1,
                        "pre" | "listing" => inside.verbatim += 1,
                        "base" if opened.is_none() => self.rebase(tag),
                        _ => {}
                    }
                    self.tag(tag, inside.foreign > 0);
                }
                Piece::End { name, place } => {
                    match name.as_str() {
                        "svg" | "math" => inside.foreign = inside.foreign.saturating_sub(1),
                        "pre" | "listing" => inside.verbatim = inside.verbatim.saturating_sub(1),
                        _ => {}
                    }
                    self.copy(place.clone());
                }
                Piece::Other(place) => {
                    let written = self.text.get(place.clone()).unwrap_or_default();
                    if !self.order.minify || inside.foreign > 0 || !is_prose(written) {
                        self.copy(place.clone());
                    }
                }
                Piece::Text(place) => {
                    let written = self.text.get(place.clone()).unwrap_or_default();
                    match opened.map(|tag| (tag, tag.name.as_str())) {
                        Some((tag, "script")) if inside.foreign == 0 => self.script(tag, written, place.start),
                        Some((_, "style")) if inside.foreign == 0 => self.style(written, place.start),
                        Some((_, "textarea" | "title" | "iframe" | "xmp" | "noembed" | "noscript" | "plaintext")) => {
                            self.copy(place.clone());
                        }
                        _ if !self.order.minify || inside.foreign > 0 || inside.verbatim > 0 => {
                            self.copy(place.clone())
                        }
                        _ => {
                            let blank = written.trim_ascii().is_empty();
                            inside.body |= !blank;
                            if inside.body {
                                collapse(written, &mut self.out);
                            }
                        }
                    }
                }
            }
            opened = match piece {
                Piece::Start(tag) => Some(tag),
                _ => None,
            };
        }
    }

    fn copy(&mut self, place: std::ops::Range<usize>) {
        self.out.push_str(self.text.get(place).unwrap_or_default());
    }

    /// `base` says what references are relative to, and which host they are at.
    fn rebase(&mut self, tag: &Tag) {
        if let Some(href) = tag.get("href") {
            let place = Place { base: self.order.base, from: Some(self.path) };
            self.from = place.target(href).map(|target| target.path);
        }
    }

    fn resolve(&self, reference: &str) -> Option<Resolved> {
        (self.order.resolve)(self.from.as_deref()?, reference)
    }

    fn tag(&mut self, tag: &Tag, foreign: bool) {
        let mut attributes = Vec::with_capacity(tag.attributes.len());
        let mut integrity = None;
        let minify = self.order.minify && !foreign;
        for (name, value) in &tag.attributes {
            let value = if tag::refers(tag, name) {
                let resolved = self.resolve(value);
                if tag::integral(tag) == Some(name) {
                    integrity = resolved.as_ref().and_then(|resolved| resolved.integrity.clone());
                }
                resolved.map_or_else(|| value.clone(), |resolved| resolved.url)
            } else if tag::is_set(tag, name) {
                tag::set(value, &mut |url| Some(self.resolve(url)?.url))
            } else if name == "style" && !self.fixed {
                self.attribute_style(value, minify)
            } else {
                value.clone()
            };
            if !(minify && tag::is_default(tag, name, &value)) {
                attributes.push((name.clone(), value));
            }
        }
        if let Some(integrity) = integrity {
            match attributes.iter_mut().find(|(name, _)| name == "integrity") {
                // What is there is of the content as it was.
                Some((_, value)) => *value = integrity,
                None if self.order.integrity => attributes.push(("integrity".to_owned(), integrity)),
                None => {}
            }
        }
        match minify || attributes != tag.attributes {
            true => tag::write(tag, &attributes, minify, &mut self.out),
            false => self.copy(tag.place.clone()),
        }
    }

    fn sheet<'t>(&'t self, text: &'t str) -> css::Sheet<'t> {
        css::Sheet { path: self.path, name: self.path, text }
    }

    fn attribute_style(&self, value: &str, minify: bool) -> String {
        let resolve = |_: &str, reference: &str| self.resolve(reference).map(|resolved| resolved.url);
        let minify = minify && self.order.css;
        if !minify && css::references(&self.sheet(value)).iter().all(|reference| resolve("", reference).is_none()) {
            return value.to_owned();
        }
        css::declarations(&self.sheet(value), &css::Order { minify, map: false, resolve: &resolve })
    }

    fn style(&mut self, text: &str, at: usize) {
        if self.fixed {
            return self.out.push_str(text);
        }
        let resolve = |_: &str, reference: &str| self.resolve(reference).map(|resolved| resolved.url);
        let order = css::Order { minify: self.order.minify && self.order.css, map: false, resolve: &resolve };
        let made = css::sheet(&self.sheet(text), &order);
        self.tell(made.faults, at);
        self.out.push_str(&made.text);
    }

    fn script(&mut self, tag: &Tag, text: &str, at: usize) {
        let made = match tag.get("type").unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            _ if self.fixed => None,
            "importmap" => self.import_map(text, at),
            "module" => self.code(text, Kind::Module, at),
            "" | "text/javascript" | "application/javascript" => self.code(text, Kind::Script, at),
            _ => None,
        };
        // Nothing that would end it before its end.
        let made = made.filter(|made| {
            let small = made.to_ascii_lowercase();
            !small.contains("</script") && !small.contains("<!--")
        });
        self.out.push_str(made.as_deref().unwrap_or(text));
    }

    fn code(&mut self, text: &str, kind: Kind, at: usize) -> Option<String> {
        let script = js::Script { path: self.path, name: self.path, text, kind };
        let resolve = |name: &str| is_path(name).then(|| self.resolve(name).map(|resolved| resolved.url)).flatten();
        let order =
            js::Order { minify: self.order.minify && self.order.js, map: false, inner: None, resolve: &resolve };
        let made = js::outline(&script).and_then(|outline| js::made(&script, &outline, &order));
        match made {
            Ok(made) => Some(made.text),
            Err(fault) => {
                self.tell(vec![fault], at);
                None
            }
        }
    }

    /// Import maps (HTML section 8.1.5.2): every address in `imports`, in each of `scopes`, and the keys of `integrity`.
    fn import_map(&mut self, text: &str, at: usize) -> Option<String> {
        let mut map: Json = match serde_json::from_str(text) {
            Ok(map) => map,
            Err(error) => {
                let found = format!("the import map is no JSON: {error}");
                self.tell(vec![AssetFault::new(self.path, found, "it is served as it is; mend it").at(text, 0)], at);
                return None;
            }
        };
        let addresses = |map: &mut Json| {
            for address in map.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
                let resolved =
                    address.as_str().filter(|address| is_path(address)).and_then(|address| self.resolve(address));
                if let Some(resolved) = resolved {
                    *address = Json::from(resolved.url);
                }
            }
        };
        map.get_mut("imports").into_iter().for_each(addresses);
        let scopes = map.get_mut("scopes").and_then(Json::as_object_mut);
        scopes.into_iter().flat_map(|scopes| scopes.values_mut()).for_each(addresses);
        if let Some(integrity) = map.get_mut("integrity").and_then(Json::as_object_mut) {
            let renamed = std::mem::take(integrity).into_iter().map(|(address, value)| match self.resolve(&address) {
                Some(resolved) => (resolved.url, resolved.integrity.map_or(value, Json::from)),
                None => (address, value),
            });
            integrity.extend(renamed);
        }
        Some(map.to_string())
    }

    /// Faults of a part of the page that begins at this byte.
    fn tell(&mut self, faults: Vec<AssetFault>, at: usize) {
        let begin = AssetFault::new(self.path, "", "").at(self.text, at).at.unwrap_or((1, 1));
        self.faults.extend(faults.into_iter().map(|fault| fault.within(begin)));
    }
}

/// Whether the name of a module is a URL, and not one for an import map.
pub(super) fn is_path(name: &str) -> bool {
    ["/", "./", "../"].iter().any(|start| name.starts_with(start))
}

/// Elements that are not shown, and do not end the head (HTML section 13.2.6.4.4).
fn is_head(name: &str) -> bool {
    const HEAD: [&str; 13] = [
        "html", "head", "base", "basefont", "bgsound", "link", "meta", "title", "script", "style", "template",
        "noframes", "noscript",
    ];
    HEAD.contains(&name)
}

/// Whether a comment speaks to people alone. Frameworks and browsers mark places with comments that have no words, or begin without a space.
fn is_prose(written: &str) -> bool {
    let Some(body) = written.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) else { return false };
    let words = body.trim_ascii();
    body.starts_with(|c: char| c.is_ascii_whitespace())
        && words.len() > 1
        && !words.starts_with(['[', '#', '!', '$', '/'])
        && !["ko", "google", "noindex", "esi", "sse", "htmlmin"]
            .iter()
            .any(|mark| words.to_ascii_lowercase().starts_with(mark))
        && !words.contains("@license")
}

/// White space as it may be seen: one for many, a line end where there was one.
fn collapse(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_whitespace()) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_whitespace()).unwrap_or(after.len());
        out.push(if after.get(..end).unwrap_or_default().contains('\n') { '\n' } else { ' ' });
        rest = after.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests;
