//! What the controller has said, for who puts it over what the file says: what a site is just trying, or what it keeps on disk.
//!
//! What is tried is in memory alone: on disk is only what was taken up, so that a start never meets what a reload has refused.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::keep::{Keep, KeepError};
use crate::config::Sdwan;
use crate::config::network::{NetworkSettings, Written, clashes};
use crate::network::check::check;

/// What a site goes by: its name, and the network that it is in.
type Put = (String, NetworkSettings);

/// It, shared by the one that follows and by who reads the configuration.
#[derive(Debug)]
pub struct Said {
    keep: Keep,
    /// What is tried instead.
    tried: Mutex<Option<Put>>,
    /// What was read last of what is kept.
    last: Mutex<Option<Put>>,
}

/// A version is tried for as long as this is there.
pub(super) struct Tried<'a>(&'a Said);

impl Tried<'_> {
    /// It was taken up, and is kept from now on.
    pub(super) fn keep(self) {
        let put = self.0.tried.lock().take();
        if put.is_some() {
            *self.0.last.lock() = put;
        }
    }
}

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        *self.0.tried.lock() = None;
    }
}

impl Said {
    /// What is kept in this directory.
    pub fn new(dir: &Path) -> Arc<Said> {
        Arc::new(Said { keep: Keep::new(dir), tried: Mutex::default(), last: Mutex::default() })
    }

    /// Puts it over what the file says, where the site follows a controller and has heard of it; of what is said for all sites, what is `written` in the file stays. Where it cannot be
    /// read but was before, it stays as it was, and what stood in the way is given: a reload at a bad moment takes nobody's tunnels down. So is what of the file does not go
    /// together with it ([`KeepError::Clash`]), which is for the caller to refuse.
    ///
    /// # Errors
    /// When it cannot be read, and never was. The file counts alone then.
    pub fn overlay(&self, settings: &mut Sdwan, written: &Written) -> Result<Option<KeepError>, KeepError> {
        if settings.controller.is_none() {
            return Ok(None);
        }
        let mut unread = None;
        let tried = self.tried.lock().clone();
        let put = match tried {
            Some(tried) => Some(tried),
            None => {
                let last = &mut *self.last.lock();
                match self.read() {
                    Ok(read) => *last = read,
                    Err(error) if last.is_none() => return Err(error),
                    Err(error) => unread = Some(error),
                }
                last.clone()
            }
        };
        if let Some((site, network)) = put {
            let odd = network.put_over(&site, settings, written).err();
            let clashes = odd.into_iter().chain(clashes(settings).err()).flatten().collect::<Vec<_>>();
            if !clashes.is_empty() {
                return Ok(Some(KeepError::Clash(clashes.join("; "))));
            }
        }
        Ok(unread)
    }

    fn read(&self) -> Result<Option<Put>, KeepError> {
        let Some(identity) = self.keep.identity()? else { return Ok(None) };
        let held = self.keep.held(&identity)?;
        if held.version == 0 {
            return Ok(None);
        }
        let network = check(&held.documents).map_err(|faults| {
            let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            KeepError::Misunderstood { path: self.keep.network_file(), faults }
        })?;
        Ok(Some((identity.site, network)))
    }

    /// Where it is kept.
    pub(super) fn keep(&self) -> &Keep {
        &self.keep
    }

    /// Has a network tried by the site of this name: it counts until what comes back is dropped.
    pub(super) fn try_out(&self, site: &str, network: NetworkSettings) -> Tried<'_> {
        *self.tried.lock() = Some((site.to_owned(), network));
        Tried(self)
    }
}

/// Puts what is kept in `dir` of what the controller has said over what the file says, as a start does.
///
/// # Errors
/// When it cannot be read. The file counts alone then.
pub fn overlay(settings: &mut Sdwan, written: &Written, dir: &Path) -> Result<(), KeepError> {
    Said::new(dir).overlay(settings, written).map(drop)
}
