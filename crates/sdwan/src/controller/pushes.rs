//! What sites are sent is made once for all that hold the same: who reads slowly keeps nobody waiting, and costs no copy.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::Mutex;

use super::session::SessionError;
use super::store::{Query, documents};
use super::{Controller, ControllerError};
use crate::channel::frame;
use crate::channel::message::FromController;

/// Deltas that are kept: sites hold the version of now, that before, or nothing.
const KEPT: usize = 4;

/// A delta as it stands in the stream.
#[derive(Debug, Clone)]
pub(super) struct Push {
    held: u64,
    /// The version that it leads to.
    pub(super) to: u64,
    /// It, signed.
    pub(super) frame: Arc<[u8]>,
}

/// Those that were made of late.
#[derive(Debug, Default)]
pub(super) struct Pushes(Mutex<VecDeque<Push>>);

impl Pushes {
    /// What leads from a version to that of now; none where it is that, or a later one, and as long as what there is now is held back.
    pub(super) async fn from(&self, controller: &Controller, held: u64) -> Result<Option<Push>, SessionError> {
        // Whoever comes while it is made waits for that.
        let mut made = self.0.lock().await;
        let look =
            |connection: &Connection| Ok((documents::revision(connection)?.0, documents::is_held_back(connection)?));
        let (latest, is_held_back) = controller.store.read(Query::Delta, look).await?;
        // Nothing leads back.
        if held >= latest || is_held_back {
            return Ok(None);
        }
        if let Some(push) = made.iter().find(|push| push.held == held && push.to == latest) {
            return Ok(Some(push.clone()));
        }
        let network = controller.network.clone();
        let look = move |connection: &Connection| {
            let delta = documents::delta(connection, &network, held)?;
            // The mark of a version never changes.
            delta.map(|delta| Ok((documents::mark(connection, delta.to)?, delta))).transpose()
        };
        let Some((mark, delta)) = controller.store.read(Query::Delta, look).await? else { return Ok(None) };
        let signed = controller.signer.sign(&delta).map_err(ControllerError::from)?;
        let proof = controller.signer.prove(&controller.network, delta.to, mark).map_err(ControllerError::from)?;
        let push = Push { held, to: delta.to, frame: frame::encode(&FromController::Push { signed, proof })?.into() };
        made.push_back(push.clone());
        while made.len() > KEPT {
            made.pop_front();
        }
        Ok(Some(push))
    }
}
