//! What is made of a folder: a plain function of its files and the settings.
//!
//! - `bundle`: which files are put together into which.
//! - `node`: one style sheet or script, made.
//! - `graph`: the order in which files are made.
//! - `memory`: what was made before, of the same.

mod bundle;
mod graph;
mod memory;
mod node;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha384};

use super::config::Assets;
use super::fault::{self, AssetFault};
use super::html::{self, Page, Resolved};
use super::locate::{self, Place};
use memory::Made;
pub(crate) use memory::{Digest, Memory, digest};
use node::{Kind, Node};

/// Faults that are told of one build. There may be one in each file.
const FAULTS: usize = 200;

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its path below the folder, in its normal form.
    pub(crate) path: Arc<str>,
    /// Bytes.
    pub(crate) length: u64,
    /// SHA-256 of its content.
    pub(crate) digest: Digest,
    /// What it says, where that is looked at.
    pub(crate) text: Option<Arc<str>>,
}

/// What was made.
#[derive(Debug, Default)]
pub(crate) struct Build {
    /// By path, one each.
    pub(crate) outputs: Vec<Output>,
    /// What became of which file, by path.
    pub(crate) entries: Vec<Entry>,
    /// What could not be made, and why.
    pub(crate) faults: Vec<AssetFault>,
}

/// A file that is served in the place of another, or beside the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its path below the folder.
    pub(crate) path: String,
    /// Its name says what is in it, so that never changes.
    pub(crate) versioned: bool,
    /// Whether anybody gets it. What is not is for who has the disk.
    pub(crate) served: bool,
    /// SHA-256 of its content.
    pub(crate) digest: Digest,
    /// What is in it.
    pub(crate) content: Content,
}

/// What is in an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// What was made.
    Text(Arc<str>),
    /// What is in the file of this path.
    Of(Arc<str>),
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the folder.
    pub path: String,
    /// The URL that has its content in its name.
    pub url: Option<String>,
    /// What its content has to be, as browsers are told.
    pub integrity: Option<String>,
    /// Its bytes, or those of the files that it was put together from.
    pub before: u64,
    /// The bytes of what was made of it.
    pub after: u64,
}

/// How a file is referred to by others.
#[derive(Debug, Clone, Default)]
struct Known {
    url: Option<String>,
    integrity: Option<String>,
}

struct Planner<'a> {
    settings: &'a Assets,
    files: &'a BTreeMap<&'a str, &'a File>,
    known: HashMap<String, Known>,
    build: Build,
}

/// Makes everything.
pub(crate) fn plan(files: &[File], settings: &Assets, memory: &mut Memory) -> Build {
    let files: BTreeMap<&str, &File> = files.iter().map(|file| (&*file.path, file)).collect();
    memory.begin();
    let mut planner = Planner { settings, files: &files, known: HashMap::new(), build: Build::default() };
    let mut nodes = bundle::nodes(&files, settings, memory, &mut planner.build.faults);
    nodes.extend(node::single(&files, settings, &nodes, memory, &mut planner.build.faults));
    planner.nodes(&nodes, memory);
    for file in files.values() {
        planner.page(file, memory);
    }
    memory.end();
    planner.done()
}

impl Planner<'_> {
    fn nodes(&mut self, nodes: &[Node<'_>], memory: &mut Memory) {
        let places: HashMap<&str, usize> = nodes.iter().enumerate().map(|(index, node)| (&*node.path, index)).collect();
        let edges: Vec<Vec<usize>> = nodes
            .iter()
            .map(|node| node.targets.iter().filter_map(|target| places.get(&**target).copied()).collect())
            .collect();
        let found = graph::order(&edges);
        for index in found.order {
            let (Some(node), Some(circular)) = (nodes.get(index), found.circular.get(index)) else { continue };
            let versioned = self.is_versioned(&node.path);
            if *circular && versioned {
                let told = "files that refer to each other cannot have each other's content in their names";
                self.fault(AssetFault::new(&node.path, told, "it keeps its own name; browsers ask for it each time"));
            }
            self.node(node, versioned && !circular, memory);
        }
    }

    /// Whether a file is to be named by its content.
    fn is_versioned(&self, path: &str) -> bool {
        let versioning = &self.settings.versioning;
        let fits = |globs: &[crate::files::glob::Glob]| globs.iter().any(|glob| glob.fits(path));
        versioning.enabled && fits(&versioning.files) && !fits(&versioning.except)
    }

    fn node(&mut self, node: &Node<'_>, versioned: bool, memory: &mut Memory) {
        let made = match node.kind {
            Kind::Opaque => Arc::new(Made { text: None, map: None, faults: Vec::new() }),
            Kind::Css | Kind::Js => {
                let folder = locate::folder(&node.path);
                let moves = versioned && !self.settings.versioning.pattern.stays_in(folder);
                let answer =
                    |from: &str, reference: &str| self.answer(from, reference, moves || locate::folder(from) != folder);
                node.made(self.settings, self.files, memory, &answer)
            }
        };
        made.faults.iter().for_each(|fault| self.fault(fault.clone()));
        let source = node.members.first().copied();
        let text = match (&made.text, source) {
            (Some(text), _) => self.with_map(node, text, made.map.as_deref()),
            (None, Some(file)) => {
                return self.unchanged(node, file, versioned);
            }
            (None, None) => return,
        };
        let bytes: Digest = Sha256::digest(text.as_bytes()).into();
        let integrity = Some(integrity(text.as_bytes()));
        let content = Content::Text(text.as_str().into());
        let url = self.version(&node.path, versioned, &bytes, &content);
        let (before, after) = (node.members.iter().map(|file| file.length).sum(), text.len() as u64);
        self.known.insert(node.path.clone(), Known { url: url.clone(), integrity: integrity.clone() });
        self.build.entries.push(Entry { path: node.path.clone(), url, integrity, before, after });
        self.build.outputs.push(Output {
            path: node.path.clone(),
            versioned: false,
            served: true,
            digest: bytes,
            content,
        });
    }

    /// A file that is what it was, but for its name.
    fn unchanged(&mut self, node: &Node<'_>, file: &File, versioned: bool) {
        let integrity = match node.kind {
            Kind::Opaque => None,
            Kind::Css | Kind::Js => file.text.as_deref().map(|text| integrity(text.as_bytes())),
        };
        let Some(url) = self.version(&node.path, versioned, &file.digest, &Content::Of(Arc::clone(&file.path))) else {
            return;
        };
        self.known.insert(node.path.clone(), Known { url: Some(url.clone()), integrity: integrity.clone() });
        let (before, after) = (file.length, file.length);
        self.build.entries.push(Entry { path: node.path.clone(), url: Some(url), integrity, before, after });
    }

    /// Gives a content its name, and the URL of that.
    fn version(&mut self, path: &str, versioned: bool, digest: &Digest, content: &Content) -> Option<String> {
        let named = self.settings.versioning.pattern.of(path, digest).filter(|_| versioned)?;
        if self.files.get(&*named).is_some_and(|file| file.digest != *digest) {
            let fault = AssetFault::new(
                path,
                format!("{named} is the name of another file"),
                "it keeps its own name; rename one",
            );
            self.fault(fault);
            return None;
        }
        let url = locate::url(&self.settings.base, &named);
        self.build.outputs.push(Output {
            path: named,
            versioned: true,
            served: true,
            digest: *digest,
            content: content.clone(),
        });
        Some(url)
    }

    /// A text with the comment that leads to its map, which is put beside it; without one where the map is not for everybody.
    fn with_map(&mut self, node: &Node<'_>, text: &Arc<str>, map: Option<&str>) -> String {
        let Some(map) = map else { return text.to_string() };
        let path = format!("{}.map", node.path);
        let digest: Digest = Sha256::digest(map.as_bytes()).into();
        let content = Content::Text(map.into());
        let served = self.settings.serve_source_maps;
        let versioned = served && self.settings.versioning.enabled;
        let url = self.version(&path, versioned, &digest, &content).unwrap_or_else(|| {
            self.build.outputs.push(Output { path: path.clone(), versioned: false, served, digest, content });
            locate::url(&self.settings.base, &path)
        });
        if !served {
            return text.to_string();
        }
        match node.kind {
            Kind::Css => format!("{text}\n/*# sourceMappingURL={url} */\n"),
            _ => format!("{text}\n//# sourceMappingURL={url}\n"),
        }
    }

    /// What a reference in a file becomes; `None` where it stays. What is put elsewhere can no longer be relative to where it was.
    fn answer(&self, from: &str, reference: &str, moved: bool) -> Option<Resolved> {
        let base = &self.settings.base;
        let target = Place { base, from: Some(from) }.target(reference)?;
        let known = self.known.get(&target.path).cloned().unwrap_or_default();
        let url = match known.url {
            Some(url) => format!("{url}{}", target.suffix),
            None if moved && target.relative => format!("{}{}", locate::url(base, &target.path), target.suffix),
            None if known.integrity.is_some() => reference.to_owned(),
            None => return None,
        };
        Some(Resolved { url, integrity: known.integrity })
    }

    fn page(&mut self, file: &File, memory: &mut Memory) {
        let Some(text) = file.text.as_deref().filter(|_| is_page(&file.path)) else { return };
        let settings = self.settings;
        let minification = &settings.minification;
        let minify = |kind: bool| minification.enabled && kind;
        let [html, css, js] = [minification.html, minification.css, minification.js].map(minify);
        let flags = [html, css, js, settings.versioning.integrity].map(u8::from);
        let key = digest(&[b"page", file.path.as_bytes(), &file.digest, &flags, settings.base.as_bytes()]);
        let answer = |from: &str, reference: &str| self.answer(from, reference, false);
        let made = memory.made(key, &answer, |resolve| {
            let integrity = settings.versioning.integrity;
            let order = html::Order { minify: html, css, js, integrity, base: &settings.base, resolve };
            match fault::guarded(&file.path, || html::page(&Page { path: &file.path, text }, &order)) {
                Ok((page, faults)) => Made { text: (page != text).then(|| page.into()), map: None, faults },
                Err(fault) => Made { text: None, map: None, faults: vec![fault] },
            }
        });
        made.faults.iter().for_each(|fault| self.fault(fault.clone()));
        let Some(text) = &made.text else { return };
        let path = file.path.to_string();
        let (before, after) = (file.length, text.len() as u64);
        let digest = Sha256::digest(text.as_bytes()).into();
        self.build.outputs.push(Output {
            path: path.clone(),
            versioned: false,
            served: true,
            digest,
            content: Content::Text(Arc::clone(text)),
        });
        self.build.entries.push(Entry { path, url: None, integrity: None, before, after });
    }

    fn fault(&mut self, fault: AssetFault) {
        self.build.faults.push(fault);
    }

    fn done(mut self) -> Build {
        let entries = &mut self.build.entries;
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        if let Some(path) = &self.settings.manifest {
            let text = manifest(&self.settings.base, entries);
            if self.files.contains_key(&**path) {
                let fault = AssetFault::new(
                    path,
                    "the manifest takes the place of a file",
                    "give assets.manifest another path",
                );
                self.build.faults.push(fault);
            }
            let digest = Sha256::digest(text.as_bytes()).into();
            let content = Content::Text(text.into());
            self.build.outputs.push(Output { path: path.clone(), versioned: false, served: true, digest, content });
        }
        // The same content may come by the same name from several files: a folder for all of them.
        self.build.outputs.sort_by(|one, other| one.path.cmp(&other.path));
        self.build.outputs.dedup_by(|one, other| one.path == other.path);
        self.build.faults.sort();
        self.build.faults.dedup();
        self.build.faults.truncate(FAULTS);
        self.build
    }
}

/// The list of what was made, for programs.
fn manifest(base: &str, entries: &[Entry]) -> String {
    let named = entries.iter().filter_map(|entry| {
        let mut about = serde_json::Map::new();
        about.insert("url".to_owned(), json!(entry.url.as_ref()?));
        about.extend(entry.integrity.as_ref().map(|integrity| ("integrity".to_owned(), json!(integrity))));
        Some((locate::url(base, &entry.path), about.into()))
    });
    let table: serde_json::Map<String, serde_json::Value> = named.collect();
    format!("{}\n", serde_json::Value::from(table))
}

/// What a content has to be (Subresource Integrity section 3.1).
fn integrity(content: &[u8]) -> String {
    format!("sha384-{}", STANDARD.encode(Sha384::digest(content)))
}

/// Whether a file is a page.
pub(crate) fn is_page(path: &str) -> bool {
    [".html", ".htm"].iter().any(|end| path.ends_with(end))
}

/// Whether the text of a file is looked at.
pub(crate) fn is_text(path: &str) -> bool {
    is_page(path) || [".css", ".js", ".mjs", ".map"].iter().any(|end| path.ends_with(end))
}

/// Whether a file has any part in what is made.
pub(crate) fn concerns(settings: &Assets, path: &str) -> bool {
    let versioning = &settings.versioning;
    let versioned = versioning.enabled && versioning.files.iter().any(|glob| glob.fits(path));
    is_text(path) || versioned
}

#[cfg(test)]
mod tests;
