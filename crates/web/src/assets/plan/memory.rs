//! What was made of which content, so that a change of one file does not make everything anew.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::super::fault::AssetFault;
use super::super::html::Resolved;
use super::super::js::Outline;

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// The digest of several parts, each told from the next.
pub(crate) fn digest(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A question that was asked while something was made: what does this reference from this path become?
pub(super) type Lookup = (String, String, Option<Resolved>);

/// What was made of one or several texts.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// `None` where the text stays as it is.
    pub(super) text: Option<Arc<str>>,
    /// As JSON.
    pub(super) map: Option<Arc<str>>,
    pub(super) faults: Vec<AssetFault>,
}

#[derive(Debug, Clone)]
enum Kept {
    Outline(Result<Arc<Outline>, AssetFault>),
    References(Arc<[String]>),
    Made(Arc<Made>, Vec<Lookup>),
}

/// What is remembered from one build to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: HashMap<Digest, (Kept, bool)>,
    /// What was made anew, of what could be remembered.
    pub(crate) made: u64,
    /// What was remembered.
    pub(crate) remembered: u64,
}

impl Memory {
    /// Begins a build.
    pub(super) fn begin(&mut self) {
        (self.made, self.remembered) = (0, 0);
        self.kept.values_mut().for_each(|(_, used)| *used = false);
    }

    /// Ends it: what it did not use is of files that are no more.
    pub(super) fn end(&mut self) {
        self.kept.retain(|_, (_, used)| *used);
    }

    fn get(&mut self, key: &Digest) -> Option<Kept> {
        let (kept, used) = self.kept.get_mut(key)?;
        *used = true;
        Some(kept.clone())
    }

    fn keep(&mut self, key: Digest, kept: Kept) {
        self.kept.insert(key, (kept, true));
    }

    pub(super) fn outline(
        &mut self,
        key: Digest,
        make: impl FnOnce() -> Result<Outline, AssetFault>,
    ) -> Result<Arc<Outline>, AssetFault> {
        if let Some(Kept::Outline(outline)) = self.get(&key) {
            return outline;
        }
        let outline = make().map(Arc::new);
        self.keep(key, Kept::Outline(outline.clone()));
        outline
    }

    pub(super) fn references(&mut self, key: Digest, make: impl FnOnce() -> Vec<String>) -> Arc<[String]> {
        if let Some(Kept::References(references)) = self.get(&key) {
            return references;
        }
        let references: Arc<[String]> = make().into();
        self.keep(key, Kept::References(Arc::clone(&references)));
        references
    }

    /// What was made under a key, if every question asked on the way would have the same answer.
    pub(super) fn made(
        &mut self,
        key: Digest,
        answer: &dyn Fn(&str, &str) -> Option<Resolved>,
        make: impl FnOnce(&dyn Fn(&str, &str) -> Option<Resolved>) -> Made,
    ) -> Arc<Made> {
        if let Some(Kept::Made(made, lookups)) = self.get(&key)
            && lookups.iter().all(|(from, reference, then)| answer(from, reference) == *then)
        {
            self.remembered += 1;
            return made;
        }
        let lookups = std::cell::RefCell::new(Vec::new());
        let asked = |from: &str, reference: &str| {
            let answered = answer(from, reference);
            lookups.borrow_mut().push((from.to_owned(), reference.to_owned(), answered.clone()));
            answered
        };
        let made = Arc::new(make(&asked));
        self.made += 1;
        self.keep(key, Kept::Made(Arc::clone(&made), lookups.into_inner()));
        made
    }
}
