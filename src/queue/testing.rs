//! For tests: a dispatcher that says of every entry the same, and pages with as much of one kind as of the other.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};

use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Entry, Event, EventId, Labels, LaneKey, Tries};
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

/// An entry of the lane `p@1` that was handed out for its first call.
pub(crate) fn entry(id: EventId) -> Entry {
    let event = Event {
        method: Method::POST,
        url: CanonicalUrl::parse("http://h.org/").expect("valid"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        labels: Labels::default(),
        due_at: None,
        is_dated: false,
        expires_at: Timestamp::MAX,
        redriven: None,
    };
    Entry { id, lane: LaneKey::new("p@1").expect("short"), tries: Tries::NONE, due_at: None, event }
}
