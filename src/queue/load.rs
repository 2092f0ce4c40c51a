//! Handing out: a bounded page of a lane, as many due entries as are asked for, then the plain order after the lane's cursor.
//!
//! Must not know: how entries come in, what becomes of them.

use std::sync::Arc;

use tracing::error;

use crate::clock::Timestamp;
use crate::event::{Entry, EventId, Facts, LaneKey, Reason, Settlement, Why};
use crate::queue::QueueError;
use crate::queue::lost::Losses;
use crate::queue::records::RecordReader;
use crate::queue::settle::Settler;
use crate::queue::table::{LoadEnd, LoadStart, SharedTable};
use crate::store::{DuePage, EntryStore, ReadLimit, SettleRequest, StoreError, StoredEntry};
use crate::telemetry::{Defect, defect};

/// Of what a page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageMix {
    /// What was put off first, whenever it is due: it is to be dropped. Then plain entries.
    AllPutOff,
    /// Due entries first, then plain ones, up to so many of each: what is due must not keep from the dispatcher what was
    /// never tried, nor the other way round.
    UpTo {
        /// Most due entries; with none they are not looked for.
        due: usize,
        /// Most entries that were not put off.
        plain: usize,
    },
}

/// A page of a lane, handed out to the dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LoadedPage {
    /// Due entries in order of their due time, then plain ones in order of acceptance.
    pub entries: Vec<Entry>,
    /// The plain order was not read to its end: asking again brings more. Otherwise a signal announces more.
    pub more: bool,
    /// When an entry that is put off becomes due next.
    pub next_due: Option<Timestamp>,
}

/// Hands out entries: each once, until it is settled.
pub(super) struct HandOut {
    pub(super) store: Arc<dyn EntryStore>,
    pub(super) lanes: SharedTable,
    pub(super) records: Arc<RecordReader>,
    pub(super) losses: Arc<Losses>,
    pub(super) settler: Arc<Settler>,
}

impl HandOut {
    /// Hands out a page of a lane: see [`Queue::load_mix`](super::Queue::load_mix).
    pub(super) async fn load(
        &self,
        lane: &LaneKey,
        limit: ReadLimit,
        mix: PageMix,
    ) -> Result<LoadedPage, QueueError> {
        let Some(start) = self.lanes.lock().begin_load(lane) else { return Ok(LoadedPage::default()) };
        let (until, due, plain) = match mix {
            PageMix::AllPutOff => (Timestamp::MAX, limit.entries, limit.entries),
            PageMix::UpTo { due, plain } => (self.records.clock.now(), due.min(limit.entries), plain),
        };
        // Nearly always nothing is due: the read of due entries is left out then.
        let asked_due = due > 0 && start.next_due.is_some_and(|due| due <= until);
        let read = self.read(lane, &start, asked_due.then_some((until, due)), plain, limit).await;
        let mut lanes = self.lanes.lock();
        // What was lost while the page was read must not be handed out, and is known only now.
        self.losses.take_in(&mut lanes);
        let gone = lanes.end_reading(lane);
        // Not before `end_reading`, which a read that failed needs as well.
        let (mut due, mut plain, exhausted) = read?;
        let read_to = plain.last().map(|entry| entry.id);
        due.entries.retain(|entry| !gone.contains(&entry.id));
        plain.retain(|entry| !gone.contains(&entry.id));
        lanes.sized(lane, due.entries.iter().chain(&plain).map(|entry| entry.record.len()));
        let put_off_ids: Vec<EventId> = due.entries.iter().map(|entry| entry.id).collect();
        let plain_ids: Vec<EventId> = plain.iter().map(|entry| entry.id).collect();
        let next_due = lanes.end_load(
            lane,
            &LoadEnd {
                plain: &plain_ids,
                put_off: &put_off_ids,
                read_to,
                next_due: asked_due.then_some(due.next_due),
                exhausted,
                changed: start.changed,
            },
        );
        drop(lanes);
        let decoded = due.entries.into_iter().chain(plain).filter_map(|stored| self.decode(lane, stored));
        let (later, entries): (Vec<_>, Vec<_>) = decoded.partition(|(_, due_at)| due_at.is_some());
        // These entries are put off by settlements that are still to become durable: the queue does not name their
        // times yet.
        let next_due = later.iter().filter_map(|(_, due_at)| *due_at).chain(next_due).min();
        for (entry, due_at) in later {
            self.put_off_again(&entry, due_at);
        }
        let entries = entries.into_iter().map(|(entry, _)| entry).collect();
        Ok(LoadedPage { entries, more: !exhausted, next_due })
    }

    /// So many of what is due until then, what follows in plain order, and whether that was read to its end.
    async fn read(
        &self,
        lane: &LaneKey,
        start: &LoadStart,
        due: Option<(Timestamp, usize)>,
        plain: usize,
        limit: ReadLimit,
    ) -> Result<(DuePage, Vec<StoredEntry>, bool), StoreError> {
        let due = match due {
            Some((until, most)) => {
                self.store.read_due(lane, until, &start.skip, ReadLimit { entries: most, ..limit }).await?
            }
            None => DuePage::default(),
        };
        defect!(unless due.entries.len() <= limit.entries, "a page of due entries that is longer than asked for");
        let room = limit.entries.saturating_sub(due.entries.len()).min(plain);
        if room == 0 {
            return Ok((due, Vec::new(), false));
        }
        let limit = ReadLimit { entries: room, ..limit };
        let plain = self.store.read_ready(lane, start.cursor, limit).await?;
        defect!(unless plain.len() <= room, "a page that is longer than asked for");
        // A page that stops early was stopped by its byte bound or by a block that cannot be read; an empty one means
        // the end.
        let exhausted = plain.is_empty();
        Ok((due, plain, exhausted))
    }

    /// A delay, or the wait before a retry, that began while the clock was in doubt lasts as long as it was to last.
    fn put_off_again(&self, entry: &Entry, due_at: Option<Timestamp>) {
        let Some(due_at) = due_at else { return };
        let again = Settlement::Reschedule { due_at, tries: entry.tries, doubted_at: None };
        self.settler.settle(entry, again, Facts::default());
    }

    /// The entry, and its due time when a correction of the clock has moved that. A record that does not decode is
    /// parked for a person with its raw bytes; the others go on.
    fn decode(&self, lane: &LaneKey, stored: StoredEntry) -> Option<(Entry, Option<Timestamp>)> {
        match self.records.event_of(&stored) {
            Ok(event) => {
                let moved = self.records.due_at(&stored, &event);
                let moved = moved
                    .filter(|due_at| stored.due_at < Some(*due_at) && *due_at > self.records.clock.now());
                let StoredEntry { id, tries, due_at, .. } = stored;
                Some((Entry { id, lane: lane.clone(), tries, due_at, event }, moved))
            }
            Err(error) => {
                Defect { place: "a record that does not decode" }.emit();
                error!(event_id = %stored.id, %lane, %error, "event set aside: its record does not decode");
                self.settler.settle_stored(SettleRequest {
                    lane: lane.clone(),
                    id: stored.id,
                    due_at: stored.due_at,
                    settlement: Settlement::Dead {
                        reason: "undecodable".to_owned(),
                        attempts: stored.tries.attempts(),
                    },
                    why: Some(Why { reason: Reason::Undecodable, status: None, limited: None }),
                });
                None
            }
        }
    }
}
