//! For tests: a dispatcher that says of every entry the same, and pages with as much of one kind as of the other.

use std::collections::HashSet;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::event::{Entry, EventId, LaneKey};
use crate::queue::{LoadedPage, PageMix, Queue, QueueError, ReadAhead};
use crate::store::ReadLimit;

impl Queue {
    /// A page of which half is due at most, or with `all_due` one of whatever was put off.
    pub(crate) async fn load(
        &self,
        lane: &LaneKey,
        limit: ReadLimit,
        all_due: bool,
    ) -> Result<LoadedPage, QueueError> {
        let half = PageMix::UpTo { due: limit.entries.div_ceil(2), plain: limit.entries };
        self.load_mix(lane, limit, if all_due { PageMix::AllPutOff } else { half }).await
    }
}

/// All that was taken up stands at this place of what was read ahead; with `None` at none of them.
pub(crate) struct TakenUp(pub(crate) Option<usize>);

impl ReadAhead for TakenUp {
    fn place(&self, _: LaneKey, _: EventId) -> BoxFuture<'_, Option<usize>> {
        std::future::ready(self.0).boxed()
    }

    fn let_go(&self, _: LaneKey, _: HashSet<EventId>) -> BoxFuture<'_, Vec<Entry>> {
        std::future::ready(Vec::new()).boxed()
    }

    fn taken(&self, _: LaneKey) {}
}
