//! Which lane has which number, and how many living entries it holds. Lanes that became empty are forgotten;
//! their numbers are not used again.
//!
//! Must not know: rows, blocks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::LaneKey;
use crate::telemetry::defect;

/// Shared by the writer, which hands out numbers, the indexer, which counts, and readers.
#[derive(Default)]
pub(in crate::store::embedded) struct LaneNumbers(Mutex<LaneNumberTable>);

#[derive(Default)]
struct LaneNumberTable {
    by_key: HashMap<LaneKey, NumberedLane>,
    /// Also numbers that stand for a lane which already has one: after damage, a lane that became empty and
    /// came back under a new number may find its old entries alive.
    by_no: HashMap<u32, LaneKey>,
    next: u32,
}

struct NumberedLane {
    no: u32,
    live: u64,
    /// Further numbers that stand for the same lane.
    others: Vec<u32>,
}

impl LaneNumbers {
    fn lock(&self) -> MutexGuard<'_, LaneNumberTable> {
        // Every change below is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of `lane`, a new one if it has none; it is not forgotten before `entries` more are settled.
    pub(in crate::store::embedded) fn assign(&self, lane: &LaneKey, entries: u64) -> u32 {
        let mut table = self.lock();
        if let Some(slot) = table.by_key.get_mut(lane) {
            slot.live += entries;
            return slot.no;
        }
        // Never used again, so that rows of an empty lane can never be taken for another's.
        let no = table.next;
        table.next += 1;
        table.by_key.insert(lane.clone(), NumberedLane { no, live: entries, others: Vec::new() });
        let before = table.by_no.insert(no, lane.clone());
        defect!(unless before.is_none(), "a lane number that is given twice");
        no
    }

    /// Takes over a lane that is on record and returns the number under which its rows stand.
    pub(in crate::store::embedded) fn adopt(&self, no: u32, lane: &LaneKey) -> u32 {
        let mut table = self.lock();
        table.next = table.next.max(no.saturating_add(1));
        let news = table.by_no.insert(no, lane.clone()).is_none();
        let slot =
            table.by_key.entry(lane.clone()).or_insert(NumberedLane { no, live: 0, others: Vec::new() });
        // The same lane under another number: rows of both have to be found.
        if news && slot.no != no {
            slot.others.push(no);
        }
        slot.no
    }

    /// The rows of the lane of `no`, which was adopted, stand under `no`. False when others of them stand under another
    /// number already.
    pub(in crate::store::embedded) fn stands_under(&self, no: u32) -> bool {
        let mut table = self.lock();
        let LaneNumberTable { by_key, by_no, .. } = &mut *table;
        let Some(slot) = by_no.get(&no).and_then(|lane| by_key.get_mut(lane)) else { return false };
        // No row stands under the number before: this one may take its place.
        if slot.no != no && slot.live == 0 {
            slot.others.retain(|other| *other != no);
            slot.others.push(std::mem::replace(&mut slot.no, no));
        }
        slot.no == no
    }

    /// Adds living entries to a lane that was adopted. An unknown lane is left alone.
    pub(in crate::store::embedded) fn add(&self, lane: &LaneKey, entries: u64) {
        if let Some(slot) = self.lock().by_key.get_mut(lane) {
            slot.live += entries;
        }
    }

    /// The number under which the rows of lane `no` stand.
    pub(in crate::store::embedded) fn canonical(&self, no: u32) -> Option<u32> {
        let table = self.lock();
        table.by_no.get(&no).and_then(|lane| table.by_key.get(lane)).map(|slot| slot.no)
    }

    pub(in crate::store::embedded) fn number(&self, lane: &LaneKey) -> Option<u32> {
        self.lock().by_key.get(lane).map(|slot| slot.no)
    }

    pub(in crate::store::embedded) fn key(&self, no: u32) -> Option<LaneKey> {
        self.lock().by_no.get(&no).cloned()
    }

    /// Takes settled entries off; answers with all numbers of the lane when that emptied it.
    pub(in crate::store::embedded) fn settle(&self, no: u32, entries: u64) -> Vec<u32> {
        let mut table = self.lock();
        let Some(lane) = table.by_no.get(&no).cloned() else { return Vec::new() };
        if let Some(slot) = table.by_key.get_mut(&lane) {
            slot.live = slot.live.saturating_sub(entries);
            if slot.live > 0 {
                return Vec::new();
            }
        }
        let Some(NumberedLane { no, others: mut numbers, .. }) = table.by_key.remove(&lane) else {
            return Vec::new();
        };
        numbers.push(no);
        for no in &numbers {
            // All numbers go together with the lane: rows of none of them are left.
            table.by_no.remove(no);
        }
        numbers
    }

    /// How many lanes there are, and how many living entries in all.
    pub(in crate::store::embedded) fn totals(&self) -> (u64, u64) {
        let table = self.lock();
        let lanes = u64::try_from(table.by_key.len()).unwrap_or(u64::MAX);
        (lanes, table.by_key.values().map(|slot| slot.live).sum())
    }

    pub(in crate::store::embedded) fn start_at(&self, next: u32) {
        let mut table = self.lock();
        table.next = table.next.max(next);
    }
}
