//! Sources to settings, and what is asked of them afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::fault::{Fault, Faults, Kind};
use crate::layers::{Document, Sources};
use crate::node::Node;
use crate::origin::Origin;
use crate::path;
use crate::setting::{Change, Effective, Section, Setting};

/// A configuration with the document that it was read from.
#[derive(Debug)]
pub struct Loaded<R> {
    /// The settings.
    pub value: R,
    warnings: Vec<Fault>,
    document: Arc<Document>,
}

/// How often what could not be read is taken out before the checks are given up.
const ROUNDS: usize = 8;

/// Reads a configuration: every layer, every key, every check. The error has all the faults. Relative paths that a flag or
/// a variable gives begin where the process runs, all others at the folder of the file.
pub fn load<R: Section>(sources: Sources) -> Result<Loaded<R>, Faults> {
    let (document, list) = Document::lay(sources);
    let document = Arc::new(document);
    let mut faults = Faults::new(Arc::clone(&document));
    list.into_iter().for_each(|fault| faults.push(fault));
    let read = R::read(&document.root, &mut faults);
    if !faults.is_empty() {
        faults.tell_homes(&R::schema());
    }
    match read {
        Some(mut value) if faults.is_empty() => {
            value.place(Some(&document.root), &document.folder());
            Ok(Loaded { value, warnings: faults.into_warnings(), document })
        }
        Some(_) => {
            faults.settle();
            Err(faults)
        }
        None => {
            if !faults.in_syntax() {
                check_rest::<R>(&document, &mut faults);
            }
            faults.settle();
            Err(faults)
        }
    }
}

/// One value of a configuration that may have faults elsewhere, and who wrote it; `None` where nobody did, or it cannot
/// be read.
pub fn salvage<T: Setting>(sources: Sources, path: &str) -> Option<(T, Origin)> {
    let (document, _) = Document::lay(sources);
    let document = Arc::new(document);
    let segments = path::parse(path).ok()?;
    let (node, true) = document.root.nearest(&segments) else { return None };
    let mut value = T::read(node, &mut Faults::new(Arc::clone(&document)))?;
    value.place(Some(node), &document.folder());
    Some((value, node.pointed().clone()))
}

/// Checks what is left without what could not be read: the faults between values are told in the same run. What is read
/// then is used for nothing else.
fn check_rest<R: Section>(document: &Document, faults: &mut Faults) {
    let mut root = document.root.clone();
    let mut left_out = BTreeSet::new();
    let mut broken: Vec<String> = faults.of_form().map(|fault| fault.key().to_owned()).collect();
    for _ in 0..ROUNDS {
        for key in broken {
            // A key that is not there, or that was taken out and is required: the table cannot be read.
            let there = path::parse(&key).is_ok_and(|segments| document.root.nearest(&segments).1);
            match there && !left_out.contains(&key) {
                true => left_out.insert(key),
                false => left_out.insert(path::parent(&key).to_owned()),
            };
        }
        if left_out.contains("") {
            return;
        }
        root.leave_out(&left_out);
        let rest = Arc::new(Document { text: document.text.clone(), root: root.clone() });
        let mut found = Faults::on_rest(Arc::clone(&rest), left_out.iter().cloned().collect());
        if R::read(&rest.root, &mut found).is_some() {
            return faults.add_checks(found);
        }
        broken = found.of_form().map(|fault| fault.key().to_owned()).collect();
    }
}

impl<R: Section> Loaded<R> {
    /// What should be looked at, and is no fault, in the order of the file.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// Adds a warning at a key path, of what the settings lead to: a file that they name, say. It points at that key, or at the
    /// nearest key above it that was written.
    pub fn warn(&mut self, path: &str, warning: Fault) {
        let segments = path::parse(path).unwrap_or_default();
        let (node, _) = self.document.root.nearest(&segments);
        self.warnings.push(warning.from(path, node.pointed().clone(), Kind::Warning));
        self.warnings.sort_by(|a, b| a.origin().cmp(b.origin()));
    }

    /// An empty report that knows this document, for the checks of what is built from the settings; end it with
    /// [`Faults::or`].
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.document))
    }

    /// Where the value of a key came from; [`Origin::Default`] for a key that nobody set.
    pub fn origin(&self, path: &str) -> Origin {
        match path::parse(path).map(|segments| self.document.root.nearest(&segments)) {
            Ok((node, true)) => node.pointed().clone(),
            _ => Origin::Default,
        }
    }

    /// Every key with its value and where that came from, in the order of the declarations.
    pub fn effective(&self) -> Vec<Effective> {
        let mut out = Vec::new();
        self.value.list("", Some(&self.document.root), &mut out);
        out
    }

    /// What was written, before anyone said what it means.
    pub fn root(&self) -> &Node {
        &self.document.root
    }
}

/// The JSON Schema (draft 2020-12) of a configuration.
pub fn schema<R: Section>() -> Json {
    let mut schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema"});
    if let (Json::Object(out), Json::Object(own)) = (&mut schema, R::schema()) {
        out.extend(own);
    }
    schema
}

/// Every difference between two configurations, and whether it can be taken up live.
pub fn diff<R: Section>(old: &R, new: &R) -> Vec<Change> {
    let mut out = Vec::new();
    old.changes(new, "", true, &mut out);
    out
}
