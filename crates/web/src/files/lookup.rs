//! What a path leads to.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use http::StatusCode;
use outwork_front::coding::Coding;
use tokio::sync::OnceCell;

use super::Inner;
use super::folder::{Folder, Identity, Named, file_name};
use super::item::{Coded, Item, Provenance, Root};
use super::listing::{self, Listing};
use super::representation::{Common, Representation};
use super::watch::Ticket;
use crate::assets::Built;
use crate::config::Candidate;
use crate::metrics::{Lookup, Sibling};

/// What a path leads to.
pub(super) enum Found {
    /// A file, and the path that it is kept under.
    Item(Arc<Item>, String),
    /// A folder whose path has no slash at its end.
    Slashless,
    Listing(Listing),
    Status(StatusCode),
}

/// What one name leads to.
enum Opened {
    Item(Arc<Item>),
    /// A file, which was not made ready.
    There,
    Forbidden,
    Nothing,
}

impl Root {
    /// Opens the folder that a path leads to now.
    pub(super) fn open(inner: &Inner) -> io::Result<Arc<Self>> {
        let path = &inner.settings.root;
        let mut ticket = Ticket::new(&inner.watch);
        ticket.follow_way(&std::path::absolute(path)?);
        let folder = Folder::open(path, inner.settings.symlinks)?;
        ticket.leads_to(folder.identity()?);
        let built = inner.pipeline.as_ref().map(|pipeline| pipeline.generation());
        Ok(Arc::new(Self { folder, ticket, built }))
    }
}

impl Inner {
    /// What is kept under a path and is still what it was.
    pub(super) fn kept(&self, path: &str) -> Option<Arc<Item>> {
        let Some(item) = self.stock.get(path) else {
            self.looked(Lookup::Miss);
            return None;
        };
        let fresh = item.is_fresh(&self.metrics);
        self.looked(if fresh { Lookup::Hit } else { Lookup::Changed });
        fresh.then_some(item)
    }

    /// The folder, opened anew where its path leads elsewhere by now.
    fn root(&self) -> io::Result<Arc<Root>> {
        let moved = |root: &Root| root.word() == super::watch::Word::Changed;
        if let Some(root) = self.root.read().as_ref().filter(|root| !moved(root)) {
            return Ok(Arc::clone(root));
        }
        let mut current = self.root.write();
        if let Some(root) = current.as_ref().filter(|root| !moved(root)) {
            return Ok(Arc::clone(root));
        }
        let root = Root::open(self)?;
        *current = Some(Arc::clone(&root));
        drop(current);
        self.stock.clear();
        Ok(root)
    }

    /// What a path leads to. It waits for the disk.
    pub(super) fn find(&self, path: &str) -> io::Result<Found> {
        let root = match self.root() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Status(StatusCode::NOT_FOUND)),
            root => root?,
        };
        // Whoever asks for what is not there shall not have anything watched: only what is kept needs that.
        match self.attempt(path, &root, Provenance::unwatched(&root, &self.watch))? {
            Some(found) => Ok(found),
            None => {
                let found = self.attempt(path, &root, Provenance::new(&root, &self.watch))?;
                Ok(found.unwrap_or(Found::Status(StatusCode::NOT_FOUND)))
            }
        }
    }

    /// Tries what a path may be taken for, in the order of the configuration; `None` where that is a file which was not made ready.
    fn attempt(&self, path: &str, root: &Arc<Root>, mut made_of: Provenance) -> io::Result<Option<Found>> {
        for candidate in &self.settings.r#try {
            let found = match candidate {
                // A path with a slash at its end is a folder's.
                Candidate::File(rest) if path.ends_with('/') && !rest.starts_with('/') => continue,
                Candidate::File(rest) => {
                    let name =
                        format!("{}{rest}", if rest.starts_with('/') { path.trim_end_matches('/') } else { path });
                    self.open(path, &name, &mut made_of)?
                }
                Candidate::Folder => match self.folder(path, root, &mut made_of)? {
                    Ok(found) => return Ok(Some(found)),
                    Err(opened) => opened,
                },
                // Not kept under the path that was asked for: there are as many of those as anybody likes.
                Candidate::Fixed(file) => match self.fixed(file, root)? {
                    Some(item) => return Ok(Some(Found::Item(item, file.clone()))),
                    None => continue,
                },
            };
            match found {
                Opened::Item(item) => return Ok(Some(Found::Item(item, path.to_owned()))),
                Opened::There => return Ok(None),
                Opened::Forbidden => return Ok(Some(Found::Status(StatusCode::FORBIDDEN))),
                Opened::Nothing => {}
            }
        }
        Ok(Some(Found::Status(StatusCode::NOT_FOUND)))
    }

    /// One file, whatever was asked for.
    fn fixed(&self, file: &str, root: &Arc<Root>) -> io::Result<Option<Arc<Item>>> {
        if let Some(item) = self.kept(file) {
            return Ok(Some(item));
        }
        match self.open(file, file, &mut Provenance::new(root, &self.watch))? {
            Opened::Item(item) => Ok(Some(item)),
            Opened::Forbidden | Opened::Nothing | Opened::There => Ok(None),
        }
    }

    /// The file of an error page; `None` where it is not there.
    pub(super) fn page(&self, file: &str) -> io::Result<Option<Arc<Item>>> {
        self.fixed(file, &self.root()?)
    }

    /// A folder's index, its list, or where it is; an `Err` where it has none of these.
    fn folder(&self, path: &str, root: &Arc<Root>, made_of: &mut Provenance) -> io::Result<Result<Found, Opened>> {
        made_of.ticket.follow(root.folder.descriptor(), &file_name(path));
        let folder = match root.folder.named(path)? {
            Named::Folder(folder) => folder,
            Named::Forbidden => return Ok(Err(Opened::Forbidden)),
            Named::File(..) | Named::Nothing => return Ok(Err(Opened::Nothing)),
        };
        if !path.ends_with('/') {
            return Ok(Ok(Found::Slashless));
        }
        for index in &self.settings.index {
            match self.open(path, &format!("{path}{index}"), made_of)? {
                Opened::Nothing => {}
                opened => return Ok(Err(opened)),
            }
        }
        if !self.settings.listing.enabled {
            return Ok(Err(Opened::Nothing));
        }
        listing::read(&root.folder, folder, path, &self.settings).map(|listing| Ok(Found::Listing(listing)))
    }

    /// Opens a name, makes the file ready and keeps it under the path that was asked for.
    fn open(&self, asked: &str, name: &str, made_of: &mut Provenance) -> io::Result<Opened> {
        let root = Arc::clone(&made_of.root);
        if let Some(built) = root.built.as_ref().and_then(|built| built.find(name)) {
            if built.source.is_some() {
                made_of.ticket.follow(root.folder.descriptor(), &file_name(name));
            }
            if built.source.is_none_or(|source| root.folder.state(name) == Some(source))
                && let Named::File(file, identity) = built.folder.named(name)?
            {
                if made_of.ticket.is_idle() {
                    return Ok(Opened::There);
                }
                let made_of = std::mem::replace(made_of, Provenance::new(&root, &self.watch));
                let item = Arc::new(self.make(name, file, identity, Some(built), Vec::new(), made_of)?);
                return Ok(Opened::Item(self.stock.keep(asked, item)));
            }
        }
        let beside = made_of.ticket.follow(root.folder.descriptor(), &file_name(name));
        let (file, identity) = match root.folder.named(name)? {
            Named::File(file, identity) => (file, identity),
            Named::Forbidden => return Ok(Opened::Forbidden),
            Named::Folder(_) | Named::Nothing => {
                made_of.before.push(name.to_owned());
                return Ok(Opened::Nothing);
            }
        };
        if made_of.ticket.is_idle() {
            return Ok(Opened::There);
        }
        let mut prepared: Vec<(Coding, File, Identity)> = Vec::new();
        let precompressed = &self.settings.precompressed;
        for extension in precompressed.extensions.iter().filter(|_| precompressed.enabled) {
            let sibling = format!("{name}{}", extension.word());
            made_of.ticket.follow_beside(&beside, file_name(&sibling).rsplit('/').next().unwrap_or_default());
            let found = match root.folder.named(&sibling)? {
                Named::File(file, identity) => Some((file, identity)),
                _ => None,
            };
            made_of.siblings.push((sibling, found.as_ref().map(|(_, state)| *state)));
            let Some((compressed, state)) = found else { continue };
            // Older than its original, it holds what that was before.
            let stale = state.modified < identity.modified;
            self.metrics.siblings.of(if stale { Sibling::Stale } else { Sibling::Used }).inc();
            if !stale && prepared.iter().all(|(coding, ..)| *coding != extension.coding()) {
                prepared.push((extension.coding(), compressed, state));
            }
        }
        let made_of = std::mem::replace(made_of, Provenance::new(&root, &self.watch));
        let item = Arc::new(self.make(name, file, identity, None, prepared, made_of)?);
        Ok(Opened::Item(self.stock.keep(asked, item)))
    }

    fn make(
        &self,
        path: &str,
        file: File,
        identity: Identity,
        built: Option<Built>,
        prepared: Vec<(Coding, File, Identity)>,
        provenance: Provenance,
    ) -> io::Result<Item> {
        let media_type = self.types.of(path);
        let worthwhile = self.compression.fits(identity.length)
            && media_type.to_str().is_ok_and(|kind| self.compression.covers(kind))
            && !self.compression.algorithms.is_empty();
        let common = Common {
            settings: &self.settings,
            metrics: &self.metrics,
            path,
            identity: &identity,
            media_type: media_type.clone(),
            varies: worthwhile || !prepared.is_empty(),
            lasting: built.as_ref().map(|built| built.lasting),
        };
        let mut coded = Vec::new();
        for (coding, file, state) in prepared {
            let made = Representation::of_file(&common, Some(coding), file, &state)?;
            coded.push(Coded { coding, offered: true, made: OnceCell::new_with(Some(Arc::new(made))) });
        }
        let possible = self.compression.enabled && (1..=self.compression.max_size.get()).contains(&identity.length);
        for coding in self.compression.algorithms.iter().copied().filter(|_| possible) {
            if coded.iter().all(|other: &Coded| other.coding != coding) {
                coded.push(Coded { coding, offered: worthwhile, made: OnceCell::new() });
            }
        }
        let plain = Representation::of_file(&common, None, file, &identity)?;
        let grown = coded.iter().filter_map(|coded| coded.made.get()).map(|made| made.weight()).sum();
        let varies = common.varies;
        Ok(Item {
            path: path.into(),
            identity,
            media_type,
            built,
            varies,
            plain,
            coded,
            provenance,
            wanted: AtomicBool::new(true),
            grown: AtomicUsize::new(grown),
        })
    }
}
