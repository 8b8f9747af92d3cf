//! One style sheet or script: a file, or several that become one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::config::Assets;
use super::super::css::{self, Sheet};
use super::super::fault::AssetFault;
use super::super::html::{Resolved, is_path};
use super::super::js::{self, Outline, Script};
use super::super::locate::{self, Place};
use super::super::map::{self, Map};
use super::memory::{Digest, Made, Memory, digest};
use super::{File, is_page};

/// What something is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Css,
    Js,
    /// Nothing but its name changes.
    Opaque,
}

/// What a file is, by its name.
pub(super) fn kind(path: &str) -> Kind {
    match path.rsplit_once('.') {
        Some((_, "css")) => Kind::Css,
        Some((_, "js" | "mjs")) => Kind::Js,
        _ => Kind::Opaque,
    }
}

/// What is made.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    pub(super) kind: Kind,
    /// It is put together, if only from one file.
    pub(super) bundle: bool,
    pub(super) members: Vec<&'a File>,
    /// What was read of each, of scripts.
    pub(super) outlines: Vec<Arc<Outline>>,
    /// The paths that it refers to.
    pub(super) targets: Vec<String>,
}

/// All files of a folder.
pub(super) type Files<'a> = BTreeMap<&'a str, &'a File>;

/// Files that are made each for itself.
pub(super) fn single<'a>(
    files: &Files<'a>,
    settings: &Assets,
    bundles: &[Node<'a>],
    memory: &mut Memory,
    faults: &mut Vec<AssetFault>,
) -> Vec<Node<'a>> {
    let mut nodes = Vec::new();
    for file in files.values().copied() {
        if bundles.iter().any(|bundle| bundle.path == *file.path) {
            let told = AssetFault::new(&file.path, "what is put together takes the place of this file", "remove one");
            faults.push(told);
            continue;
        }
        if is_page(&file.path) || file.path.ends_with(".map") {
            continue;
        }
        let mut kind = kind(&file.path);
        if file.text.is_none() {
            kind = Kind::Opaque;
        }
        let mut node = Node {
            path: file.path.to_string(),
            kind,
            bundle: false,
            members: vec![file],
            outlines: vec![],
            targets: vec![],
        };
        if kind == Kind::Js {
            match outline(file, memory) {
                Ok(outline) => node.outlines.push(outline),
                // What cannot be read is served as it is, by a name of its content all the same.
                Err(fault) => {
                    faults.push(fault);
                    node.kind = Kind::Opaque;
                }
            }
        }
        node.targets = targets(&node, files, settings, memory);
        nodes.push(node);
    }
    nodes
}

/// What a script is.
pub(super) fn outline(file: &File, memory: &mut Memory) -> Result<Arc<Outline>, AssetFault> {
    let key = digest(&[b"outline", file.path.as_bytes(), &file.digest]);
    memory.outline(key, || js::outline(&script(file, &file.path, "")))
}

fn script<'s>(file: &'s File, path: &'s str, name: &'s str) -> Script<'s> {
    Script { path, name, text: code(file), kind: js::Kind::of(path) }
}

/// The text of a file without the comment that leads to its map.
fn code(file: &File) -> &str {
    let text = file.text.as_deref().unwrap_or_default();
    map::mentioned(text).and_then(|(_, place)| text.get(..place.start)).unwrap_or(text)
}

/// The paths that a node refers to; of style sheets that are put together, what they import, too.
pub(super) fn targets(node: &Node<'_>, files: &Files<'_>, settings: &Assets, memory: &mut Memory) -> Vec<String> {
    let base = settings.base.as_str();
    let target = |from: &str, reference: &str| Some(Place { base, from: Some(from) }.target(reference)?.path);
    if node.kind == Kind::Js {
        let pairs = node.members.iter().zip(&node.outlines);
        let imports =
            pairs.flat_map(|(file, outline)| outline.imports.iter().map(move |import| (&*file.path, &*import.name)));
        return imports.filter(|(_, name)| is_path(name)).filter_map(|(from, name)| target(from, name)).collect();
    }
    let mut found: Vec<String> = Vec::new();
    let mut open: Vec<&File> = if node.kind == Kind::Css { node.members.clone() } else { Vec::new() };
    let mut seen: Vec<Arc<str>> = open.iter().map(|file| Arc::clone(&file.path)).collect();
    while let Some(file) = open.pop() {
        let key = digest(&[b"references", &file.digest]);
        let references = memory.references(key, || css::references(&sheet(file, "")));
        for path in references.iter().filter_map(|reference| target(&file.path, reference)) {
            let inner = files.get(&*path).filter(|inner| node.bundle && kind(&inner.path) == Kind::Css);
            if let Some(inner) = inner
                && !seen.contains(&inner.path)
            {
                seen.push(Arc::clone(&inner.path));
                open.push(inner);
            } else if inner.is_none() {
                found.push(path);
            }
        }
    }
    found
}

fn sheet<'s>(file: &'s File, name: &'s str) -> Sheet<'s> {
    Sheet { path: &file.path, name, text: code(file) }
}

/// The map that a file came with.
fn inner_map(file: &File, files: &Files<'_>, base: &str, faults: &mut Vec<AssetFault>) -> Option<Map> {
    let (reference, place) = map::mentioned(file.text.as_deref()?)?;
    let inline = map::inline(reference);
    let target = Place { base, from: Some(&file.path) }.target(reference).map(|target| target.path);
    let text = match (&inline, &target) {
        (Some(text), _) => text.as_str(),
        // Left out of what was uploaded, which is usual.
        (None, target) => files.get(target.as_deref()?)?.text.as_deref()?,
    };
    let at = Place { base, from: Some(target.as_deref().unwrap_or(&file.path)) };
    match map::read(text, &at) {
        Ok(map) => Some(map),
        Err(error) => {
            let found = format!("its source map cannot be read: {error}");
            let help = "the one that is made leads to this file, and no further";
            let text = file.text.as_deref().unwrap_or_default();
            faults.push(AssetFault::new(&file.path, found, help).at(text, place.start));
            None
        }
    }
}

/// A question what a reference becomes.
type Answer<'a> = &'a dyn Fn(&str, &str) -> Option<Resolved>;

/// What a reference becomes, where that is something else.
fn another(answer: Answer<'_>, from: &str, reference: &str) -> Option<String> {
    answer(from, reference).map(|found| found.url).filter(|url| url != reference)
}

impl Node<'_> {
    /// Makes it, unless that has been done.
    pub(super) fn made(
        &self,
        settings: &Assets,
        files: &Files<'_>,
        memory: &mut Memory,
        answer: Answer<'_>,
    ) -> Arc<Made> {
        let minification = &settings.minification;
        let minify = minification.enabled && if self.kind == Kind::Css { minification.css } else { minification.js };
        let flags = [minify, settings.source_maps, self.bundle].map(u8::from);
        let mut parts: Vec<&[u8]> = vec![b"node", self.path.as_bytes(), settings.base.as_bytes(), &flags];
        let inner: Vec<(Digest, Option<Map>)> = self.inner(settings, files, &mut Vec::new());
        for (file, (map, _)) in self.members.iter().zip(&inner) {
            parts.extend([file.path.as_bytes(), &file.digest, map]);
        }
        let imported = self.imported(files);
        parts.extend(imported.iter().flat_map(|file| [file.path.as_bytes(), &file.digest]));
        memory.made(digest(&parts), answer, |answer| {
            let mut faults = Vec::new();
            let maps: Vec<Option<Map>> =
                self.inner(settings, files, &mut faults).into_iter().map(|(_, map)| map).collect();
            let mut made = match self.kind {
                Kind::Css => self.css(settings, files, minify, &maps, answer),
                _ => self.js(settings, minify, &maps, answer),
            };
            made.faults.extend(faults);
            made
        })
    }

    /// The maps that its members came with, and their digests.
    fn inner(&self, settings: &Assets, files: &Files<'_>, faults: &mut Vec<AssetFault>) -> Vec<(Digest, Option<Map>)> {
        let of = |file: &&File| {
            let map = inner_map(file, files, &settings.base, faults).filter(|_| settings.source_maps);
            let text = map.as_ref().map(Map::to_json_string).unwrap_or_default();
            (digest(&[text.as_bytes()]), map)
        };
        self.members.iter().map(of).collect()
    }

    /// Style sheets that its members may import: all that there are, where they are put together.
    fn imported<'f>(&self, files: &Files<'f>) -> Vec<&'f File> {
        let wanted = self.bundle && self.kind == Kind::Css;
        files.values().copied().filter(|file| wanted && kind(&file.path) == Kind::Css).collect()
    }

    fn css(
        &self,
        settings: &Assets,
        files: &Files<'_>,
        minify: bool,
        maps: &[Option<Map>],
        answer: Answer<'_>,
    ) -> Made {
        let base = settings.base.as_str();
        let resolve = |from: &str, reference: &str| another(answer, from, reference);
        let minify = minify && (self.bundle || !self.path.ends_with(".min.css"));
        let names: BTreeMap<&str, String> = files.keys().map(|path| (*path, locate::url(base, path))).collect();
        let named = |file: &&File| names.get(&*file.path).map(String::as_str).unwrap_or_default();
        let order = css::Order { minify, map: settings.source_maps, resolve: &resolve };
        let find = |from: &str, reference: &str| {
            let target = Place { base, from: Some(from) }.target(reference)?;
            let file = files.get(&*target.path).filter(|file| kind(&file.path) == Kind::Css && file.text.is_some())?;
            Some(sheet(file, named(file)))
        };
        let sheets: Vec<Sheet<'_>> = self.members.iter().map(|file| sheet(file, named(file))).collect();
        let made = match (self.bundle, &*sheets) {
            (true, sheets) => css::joined(sheets, &find, &order),
            (false, [one, ..]) => css::sheet(one, &order),
            (false, []) => return Made { text: None, map: None, faults: Vec::new() },
        };
        // The map of a single file, or of one that is put together from one alone, may be led on.
        let map = made.map.map(|map| match maps {
            [Some(inner)] if map.get_sources().len() == 1 => map::composed(&map, inner),
            _ => map,
        });
        self.finished(made.text, map, made.faults)
    }

    fn js(&self, settings: &Assets, minify: bool, maps: &[Option<Map>], answer: Answer<'_>) -> Made {
        let base = settings.base.as_str();
        let mut faults = Vec::new();
        let mut pieces = Vec::new();
        for ((file, outline), inner) in self.members.iter().zip(&self.outlines).zip(maps) {
            let name = locate::url(base, &file.path);
            let script = script(file, &file.path, &name);
            let resolve = |name: &str| is_path(name).then(|| another(answer, &file.path, name)).flatten();
            let minify = minify && !file.path.ends_with(".min.js");
            let order = js::Order { minify, map: settings.source_maps, inner: inner.as_ref(), resolve: &resolve };
            let plain = js::Order { minify: false, ..order };
            let made = js::made(&script, outline, &order).or_else(|fault| {
                faults.push(fault);
                js::made(&script, outline, &plain)
            });
            pieces.extend(made.map_err(|fault| faults.push(fault)));
        }
        if !self.bundle {
            let Some(made) = pieces.pop() else { return Made { text: None, map: None, faults } };
            return self.finished(made.text, made.map, faults);
        }
        let strict = self.outlines.iter().filter(|outline| outline.is_strict).count();
        // Its first statement would make all of them strict.
        let lead = strict > 0 && strict < self.outlines.len();
        if lead && let Some(first) = pieces.first_mut() {
            first.text.insert(0, ';');
            first.map = first.map.take().map(|map| map::followed(map, &map::Moves::begins_with(1)));
        }
        let (whole, fault) = js::joined(&self.path, pieces);
        faults.extend(fault);
        self.finished(whole.text, whole.map, faults)
    }

    /// What was made, unless that is what was there.
    fn finished(&self, text: String, map: Option<Map>, faults: Vec<AssetFault>) -> Made {
        let same = !self.bundle && self.members.first().is_some_and(|file| code(file) == text);
        Made {
            text: (!same).then(|| text.trim_end_matches('\n').into()),
            map: map.filter(|_| !same).map(|map| map.to_json_string().into()),
            faults,
        }
    }
}
