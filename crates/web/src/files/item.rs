//! A file that is served, in all its forms, and whether it is still what it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use http::HeaderValue;
use outwork_front::coding::{Accepted, Choice, Coding};
use tokio::sync::OnceCell;

use super::folder::{Folder, Identity};
use super::representation::Representation;
use super::watch::{Ticket, Watch, Word};
use crate::assets::{Built, Generation};
use crate::metrics::WebMetrics;

/// What a file counts for beside its content: the item, its fields, its watches, an open descriptor.
const OVERHEAD: usize = 3 << 10;

/// The folder, as long as its path leads there.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) folder: Folder,
    pub(super) ticket: Ticket,
    /// What was made of its files, where anything is.
    pub(super) built: Option<Arc<Generation>>,
}

impl Root {
    /// Whether it is still what it was.
    pub(super) fn word(&self) -> Word {
        match self.built.as_ref().is_some_and(|built| built.is_superseded()) {
            true => Word::Changed,
            false => self.ticket.word(),
        }
    }
}

/// A file that is served.
#[derive(Debug)]
pub(super) struct Item {
    /// The path that it was opened by.
    pub(super) path: Box<str>,
    pub(super) identity: Identity,
    pub(super) media_type: HeaderValue,
    /// It was made of files.
    pub(super) built: Option<Built>,
    /// Its forms are worth choosing from.
    pub(super) varies: bool,
    pub(super) plain: Representation,
    /// The other forms, the preferred first.
    pub(super) coded: Vec<Coded>,
    pub(super) provenance: Provenance,
    /// Asked for since room was last made.
    pub(super) wanted: AtomicBool,
    /// Memory of forms that were made later.
    pub(super) grown: AtomicUsize,
}

/// A form that there is, or that can be made.
#[derive(Debug)]
pub(super) struct Coded {
    pub(super) coding: Coding,
    /// Worth making, or there already.
    pub(super) offered: bool,
    pub(super) made: OnceCell<Arc<Representation>>,
}

/// What an item was made of.
#[derive(Debug)]
pub(super) struct Provenance {
    pub(super) root: Arc<Root>,
    pub(super) ticket: Ticket,
    /// Paths that would have been taken before this one, had they been files.
    pub(super) before: Vec<String>,
    /// Paths beside it that would hold it compressed, and what was there.
    pub(super) siblings: Vec<(String, Option<Identity>)>,
    /// The turn that it was looked at last.
    pub(super) looked: AtomicU32,
}

impl Provenance {
    pub(super) fn new(root: &Arc<Root>, watch: &Arc<Watch>) -> Self {
        Self::with(root, watch, Ticket::new(watch))
    }

    /// Of what is only looked for.
    pub(super) fn unwatched(root: &Arc<Root>, watch: &Arc<Watch>) -> Self {
        Self::with(root, watch, Ticket::idle(watch))
    }

    fn with(root: &Arc<Root>, watch: &Watch, ticket: Ticket) -> Self {
        Self {
            root: Arc::clone(root),
            ticket,
            before: Vec::new(),
            siblings: Vec::new(),
            looked: AtomicU32::new(watch.turn()),
        }
    }
}

/// The form that a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// By its place among the coded ones. Needed is what the client does not take in any other form.
    Coded {
        index: usize,
        needed: bool,
    },
    NotAcceptable,
}

impl Item {
    /// Whether it is still what its path leads to.
    pub(super) fn is_fresh(&self, metrics: &WebMetrics) -> bool {
        let made_of = &self.provenance;
        let watch = made_of.ticket.watch();
        let turn = watch.turn();
        let due = made_of.looked.load(Ordering::Relaxed) != turn;
        let words = [made_of.ticket.word(), made_of.root.word()];
        if words.contains(&Word::Changed) {
            return false;
        }
        if !due && made_of.ticket.word() == Word::Unchanged {
            return true;
        }
        metrics.looks.inc();
        let folder = &made_of.root.folder;
        let place = self.built.as_ref().map_or(folder, |built| &built.folder);
        let source = self.built.as_ref().and_then(|built| built.source);
        let unchanged = place.is_still(&self.path, &self.identity)
            && source.is_none_or(|source| folder.is_still(&self.path, &source))
            && made_of.before.iter().all(|path| folder.state(path).is_none());
        // Once a turn is enough for what lies beside it: the original has the same content.
        let siblings = !due || made_of.siblings.iter().all(|(path, state)| folder.state(path) == *state);
        made_of.looked.store(turn, Ordering::Relaxed);
        if !(unchanged && siblings) {
            made_of.ticket.spoil();
        }
        unchanged && siblings
    }

    /// Somebody has asked for it.
    pub(super) fn want(&self) {
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether another one was made of the same, and nothing has changed since.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let unchanged = |made_of: &Provenance| made_of.ticket.word() != Word::Changed;
        (&self.path, &self.identity) == (&other.path, &other.identity)
            && self.provenance.siblings == other.provenance.siblings
            && Arc::ptr_eq(&self.provenance.root, &other.provenance.root)
            && unchanged(&self.provenance)
            && unchanged(&other.provenance)
    }

    /// Chooses among its forms.
    pub(super) fn choose(&self, accepted: Accepted) -> Form {
        let offered = self.coded.iter().filter(|coded| coded.offered).map(|coded| coded.coding);
        let (choice, needed) = match accepted.choose(offered) {
            // What is not worth compressing is compressed all the same for a client that takes nothing else.
            Choice::NotAcceptable => (accepted.choose(self.coded.iter().map(|coded| coded.coding)), true),
            choice => (choice, !accepted.takes_identity()),
        };
        let place = |coding| self.coded.iter().position(|coded| coded.coding == coding);
        match choice {
            Choice::Coded(coding) => place(coding).map_or(Form::Plain, |index| Form::Coded { index, needed }),
            Choice::Identity => Form::Plain,
            Choice::NotAcceptable => Form::NotAcceptable,
        }
    }

    /// Memory that it takes.
    pub(super) fn weight(&self) -> usize {
        OVERHEAD + self.path.len() + self.plain.weight() + self.grown.load(Ordering::Relaxed)
    }
}
