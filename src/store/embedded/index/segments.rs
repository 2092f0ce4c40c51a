//! How many living entries each segment holds, and which older segments it settles: when a segment may go.
//!
//! Must not know: files, rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::embedded::journal::Position;
use crate::telemetry::defect;

/// The use of each segment that exists. Shared by the indexer, which counts, and the sweeper, which deletes files.
#[derive(Default)]
pub(in crate::store::embedded) struct Segments(Mutex<BTreeMap<u32, Use>>);

#[derive(Default)]
struct Use {
    live: u64,
    /// The furthest offset of a block that was added.
    furthest: u32,
    refers: BTreeSet<u32>,
}

/// What may be done with a segment none of whose entries is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::embedded) enum SegmentFate {
    /// It settles entries of segments that are still alive: only its settlements count.
    Settled,
    /// Nothing needs it: its file may be deleted.
    Gone,
}

impl Segments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Use>> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that there is such a segment.
    pub(in crate::store::embedded) fn begin(&self, segment: u32) {
        self.lock().entry(segment).or_default();
    }

    /// Adds the living entries of a block.
    pub(in crate::store::embedded) fn add(&self, at: Position, entries: u64) {
        let mut table = self.lock();
        let usage = table.entry(at.segment).or_default();
        usage.live += entries;
        usage.furthest = usage.furthest.max(at.offset);
    }

    /// The segments with living entries that do not reach as far as their blocks, by what `lies_within` says of a
    /// place.
    pub(in crate::store::embedded) fn too_short(&self, lies_within: impl Fn(Position) -> bool) -> Vec<u32> {
        let table = self.lock();
        let living = table.iter().filter(|(_, usage)| usage.live > 0);
        let last = living.map(|(segment, usage)| Position { segment: *segment, offset: usage.furthest });
        last.filter(|at| !lies_within(*at)).map(|at| at.segment).collect()
    }

    /// The living entries of every segment.
    pub(in crate::store::embedded) fn living(&self) -> Vec<(u32, u64)> {
        self.lock().iter().map(|(segment, usage)| (*segment, usage.live)).collect()
    }

    pub(in crate::store::embedded) fn settle(&self, segment: u32, entries: u64) {
        if let Some(usage) = self.lock().get_mut(&segment) {
            defect!(unless entries <= usage.live, "more settled entries of a segment than live in it");
            usage.live = usage.live.saturating_sub(entries);
        }
    }

    /// Notes that `segment` settles entries of `older`; whether that is news.
    pub(in crate::store::embedded) fn refer(&self, segment: u32, older: u32) -> bool {
        // A segment needs no reference to itself: it goes with its own settlements.
        segment != older && self.lock().entry(segment).or_default().refers.insert(older)
    }

    pub(in crate::store::embedded) fn exists(&self, segment: u32) -> bool {
        self.lock().contains_key(&segment)
    }

    /// The segments below `active` without living entries, oldest first.
    pub(in crate::store::embedded) fn fates(&self, active: u32) -> Vec<(u32, SegmentFate)> {
        let table = self.lock();
        let mut fates = Vec::new();
        // A segment that is kept for its settlements keeps those that settle entries in it dispensable: its
        // own entries are all settled and it is read for settlements alone.
        for (segment, usage) in table.range(..active).filter(|(_, usage)| usage.live == 0) {
            let needed =
                usage.refers.iter().any(|older| table.get(older).is_some_and(|older| older.live > 0));
            fates.push((*segment, if needed { SegmentFate::Settled } else { SegmentFate::Gone }));
        }
        fates
    }

    /// Takes a segment off; answers with what it referred to.
    pub(in crate::store::embedded) fn remove(&self, segment: u32) -> BTreeSet<u32> {
        self.lock().remove(&segment).map(|usage| usage.refers).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_goes_when_it_is_settled_and_settles_nothing_alive() {
        let segments = Segments::default();
        segments.add(Position { segment: 1, offset: 64 }, 2);
        segments.add(Position { segment: 2, offset: 64 }, 1);
        segments.settle(2, 1);
        assert!(segments.refer(2, 1));
        assert!(!segments.refer(2, 1));
        assert_eq!(segments.fates(3), [(2, SegmentFate::Settled)]);
        assert_eq!(segments.fates(2), []);
        segments.settle(1, 2);
        assert_eq!(segments.fates(3), [(1, SegmentFate::Gone), (2, SegmentFate::Gone)]);
        segments.remove(1);
        assert_eq!(segments.fates(3), [(2, SegmentFate::Gone)]);
    }
}
