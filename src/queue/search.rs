//! Searching what waits: pages of the store's walk, read with a bound on entries and time, so that neither dispatch nor
//! whoever asks waits for one of them.
//!
//! Must not know: what is searched for, how answers are written.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Event, EventId};
use crate::queue::QueueError;
use crate::queue::records::RecordReader;
use crate::queue::standing::{Standing, WaitingEntry};
use crate::queue::table::SharedTable;
use crate::store::{EntryStore, LanePick, ReadLimit, Scan, ScanPlace, Scanned};

/// What one page looks at: entries, and time.
const MOST_LOOKED_AT: usize = 10_000;
const LONGEST: Duration = Duration::from_millis(50);
/// What is looked at in one piece: the lock of the table is held, and a runtime thread busy, for well under a millisecond.
const AT_ONCE: ReadLimit = ReadLimit { entries: 256, bytes: 4 << 20 };

/// Whether an event is meant, wherever it stands.
pub(crate) type EventPick = Box<dyn Fn(EventId, &Event) -> bool + Send + Sync>;

/// A page to be searched.
pub(crate) struct Search {
    /// Behind which it begins.
    pub after: Option<ScanPlace>,
    /// The lanes whose events are meant.
    pub lanes: LanePick,
    /// What was accepted before is not meant.
    pub accepted_from: Timestamp,
    /// Whether an event is meant, wherever it stands.
    pub is_meant: EventPick,
    /// The state in which it is meant, as [`Standing::word`] names it; any without one.
    pub state: Option<&'static str>,
    /// The most events of the page.
    pub most: usize,
}

/// What a page has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of the store's walk, each as it stood at about this moment.
    pub events: Vec<(EventId, Standing)>,
    /// Where to go on; `None` when all was looked at.
    pub next: Option<ScanPlace>,
    /// Events that were passed over because they cannot be read at present.
    pub unread: u64,
}

/// Reads pages of what waits.
pub(super) struct Searcher {
    pub(super) store: Arc<dyn EntryStore>,
    pub(super) lanes: SharedTable,
    pub(super) records: Arc<RecordReader>,
}

impl Searcher {
    /// Searches a page: see [`Queue::search`](super::Queue::search).
    pub(super) async fn page(&self, search: &Search) -> Result<Found, QueueError> {
        let clock = &self.records.clock;
        let (begun, mut looked_at) = (clock.now(), 0);
        let mut found = Found { next: search.after, ..Found::default() };
        loop {
            let page = self.store.scan(Scan {
                after: found.next,
                lanes: search.lanes.clone(),
                accepted_from: search.accepted_from,
                limit: AT_ONCE,
            });
            let page = page.await?;
            looked_at += page.entries.len();
            found.unread += page.unread;
            if let Some(last) = self.pick(page.entries, search, &mut found) {
                // What follows on this page was not looked at.
                found.next = Some(last);
                return Ok(found);
            }
            found.next = page.next;
            let is_over = found.next.is_none() || looked_at >= MOST_LOOKED_AT;
            if is_over || clock.now().since(begun) >= LONGEST {
                return Ok(found);
            }
        }
    }

    /// Adds those that are meant. Returns the place of the last one that was looked at when the page is full before the end.
    fn pick(&self, scanned: Vec<Scanned>, search: &Search, found: &mut Found) -> Option<ScanPlace> {
        let mut meant = Vec::new();
        for Scanned { place, lane, entry } in scanned {
            // What cannot be understood is unknown, as what cannot be read.
            match self.records.event_of(&entry) {
                Ok(event) if (search.is_meant)(entry.id, &event) => meant.push((place, lane, entry, event)),
                Ok(_) => {}
                Err(_) => found.unread += 1,
            }
        }
        let held: Vec<_> = {
            let lanes = self.lanes.lock();
            let held =
                meant.iter().map(|(_, lane, entry, _)| lanes.held(lane, entry.id, entry.due_at.is_some()));
            held.collect()
        };
        let now = self.records.clock.now();
        for ((place, lane, entry, event), held) in meant.into_iter().zip(held) {
            let due_at = self.records.due_at(&entry, &event);
            let waiting = WaitingEntry {
                entry: entry.id,
                lane,
                attempts: entry.tries.attempts(),
                due_at,
                event,
                place: None,
            };
            let name = waiting.event.name(entry.id);
            let standing = Standing::of(held, waiting, now);
            if search.state.is_none_or(|state| standing.word() == Some(state)) {
                found.events.push((name, standing));
                if found.events.len() >= search.most {
                    return Some(place);
                }
            }
        }
        None
    }
}
