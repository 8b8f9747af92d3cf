//! Compressed forms of files, made when they are first asked for.

use std::sync::Arc;

use outwork_front::coding::compressor::CompressError;
use outwork_front::coding::{Patience, Uncompressed};

use super::Inner;
use super::item::Item;
use super::representation::{Common, Representation};

impl Inner {
    /// A form of a file that is to be made, unless it is there by now; `None` where the client gets the file as it is.
    ///
    /// Who asks first waits for it, and so does everybody else who asks meanwhile: a file is compressed once, and a page is compressed the first
    /// time that it is looked at. Only where the queue is full is it sent as it is. One that the client needs is waited for in any case.
    pub(super) async fn variant(
        &self,
        asked: &str,
        item: &Arc<Item>,
        index: usize,
        needed: bool,
    ) -> Option<Arc<Representation>> {
        let coded = item.coded.get(index)?;
        let patience = if needed { Patience::Endless } else { Patience::Queue };
        let make = || async {
            let level = &self.compression.level;
            let encoded = self.compressor.compress(coded.coding, level, patience, item.plain.whole()).await?;
            let made = Representation::of_encoded(&self.common_of(item), &item.plain, coded.coding, encoded);
            self.metrics.variants_made.of(coded.coding).inc();
            if made.length >= item.plain.length {
                self.compressor.metrics().uncompressed.of(Uncompressed::Larger).inc();
            }
            self.stock.grow(asked, item, made.weight());
            Ok::<_, CompressError>(Arc::new(made))
        };
        let made = match coded.made.get_or_try_init(make).await {
            Ok(made) => made,
            Err(error) => {
                tracing::debug!(path = %item.path, %error, "a file is sent as it is");
                return None;
            }
        };
        (needed || made.length < item.plain.length).then(|| Arc::clone(made))
    }

    pub(super) fn common_of<'a>(&'a self, item: &'a Item) -> Common<'a> {
        Common {
            settings: &self.settings,
            metrics: &self.metrics,
            path: &item.path,
            identity: &item.identity,
            media_type: item.media_type.clone(),
            varies: item.varies,
            lasting: item.built.as_ref().map(|built| built.lasting),
        }
    }
}
