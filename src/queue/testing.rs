//! For tests of the rooms above: a dispatcher that says of every entry the same.

use std::collections::HashSet;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::event::{Entry, EventId, LaneKey};
use crate::queue::ReadAhead;

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
