//! What stands before the handler of a route, in the one order that there is.

use std::sync::Arc;

use super::config::Rewrite;
use super::kit::{KitError, Prepared, Route};
use super::pages::{ErrorPages, Paged};
use super::rewrite::Rewritten;
use crate::cached::{Cached, Rules, Store};
use crate::coding::{Compressed, Compression, Compressor};
use crate::message::Handler;
use crate::traffic::OfRoute;

/// What a route has of it, from outside in.
pub struct Layers<'a> {
    /// What the settings say of middleware.
    pub middleware: Route<'a>,
    /// How answers are cached, and where.
    pub cache: Option<(Rules, Arc<Store>)>,
    /// Another target.
    pub rewrite: Option<&'a Rewrite>,
    /// The pages for errors that whoever answers has itself.
    pub pages: Option<Arc<dyn ErrorPages>>,
    /// How answers are compressed that come as they are.
    pub compression: Option<(Compression, Arc<Compressor>)>,
}

impl Layers<'_> {
    /// Puts them before a handler. What the route does not have costs nothing.
    ///
    /// # Errors
    /// When a file that the middleware needs cannot be read.
    pub fn before(
        self,
        mut handler: Arc<dyn Handler>,
        prepared: &mut Prepared<'_>,
    ) -> Result<Arc<dyn Handler>, KitError> {
        if let Some((compression, compressor)) = self.compression {
            handler = Arc::new(Compressed::new(handler, compression, compressor));
        }
        if let Some(rewrite) = self.rewrite {
            handler = Arc::new(Rewritten::new(rewrite, handler, prepared.metrics()));
        }
        if let Some((rules, store)) = self.cache {
            if let Some(pages) = prepared.pages(&self.middleware)? {
                handler = Arc::new(Paged { inner: handler, pages });
            }
            handler = Arc::new(Cached::new(handler, rules, store));
        }
        let index = self.middleware.index;
        let handler = prepared.wrap_with(self.middleware, self.pages, handler)?;
        Ok(match index {
            Some(index) => Arc::new(OfRoute::new(index, handler)),
            None => handler,
        })
    }
}
