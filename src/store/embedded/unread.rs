//! Blocks that the system did not let us read: reported as one doubt for each segment, which ends by itself when they
//! are read after all.
//!
//! Must not know: how blocks are read, what is held because of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shared::segment_name;
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::doubts::{DoubtKind, Doubts, NewDoubt};
use crate::store::embedded::journal::Position;

/// Grows with the blocks whose last read failed.
pub(super) struct Unread {
    state: Mutex<UnreadBlocks>,
    /// Whether there are any: nearly always not, and a read then costs no lock.
    any: AtomicBool,
}

#[derive(Default)]
struct UnreadBlocks {
    /// The lane of each, and how many entries were owed when it could not be read.
    blocks: BTreeMap<Position, (u32, u64)>,
    /// Segments with a doubt of an earlier process.
    inherited: BTreeSet<u32>,
}

impl UnreadBlocks {
    fn of(&self, segment: u32) -> impl Iterator<Item = u64> {
        let at = |offset| Position { segment, offset };
        self.blocks.range(at(0)..=at(u32::MAX)).map(|(_, (_, events))| *events)
    }

    /// Brings the doubt about a segment in line with what is left of it.
    fn report(&self, segment: u32, doubts: &Doubts) {
        let subject = segment_name(segment);
        if self.of(segment).next().is_none() {
            doubts.clear(DoubtKind::Unread, &subject);
        } else {
            doubts.recount(DoubtKind::Unread, &subject, self.of(segment).sum());
        }
    }
}

impl Unread {
    /// Takes over the doubts of an earlier process: the first read of their segment that succeeds ends them.
    pub(super) fn new(doubts: &Doubts) -> Self {
        let unread = doubts.list().into_iter().filter(|doubt| doubt.kind == DoubtKind::Unread);
        let inherited: BTreeSet<u32> = unread.filter_map(|doubt| segment_of(&doubt.subject)).collect();
        let any = AtomicBool::new(!inherited.is_empty());
        Self { state: Mutex::new(UnreadBlocks { inherited, ..UnreadBlocks::default() }), any }
    }

    fn lock(&self) -> MutexGuard<'_, UnreadBlocks> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of a lane, with this many entries that are owed, could not be read.
    pub(super) fn failed(
        &self,
        (at, lane): (Position, u32),
        events: u64,
        error: &StoreError,
        doubts: &Doubts,
        now: Timestamp,
    ) {
        let mut state = self.lock();
        state.blocks.insert(at, (lane, events));
        // From here on the blocks themselves say when the doubt ends.
        state.inherited.remove(&at.segment);
        self.any.store(true, Ordering::Release);
        let (blocks, events) = (state.of(at.segment).count(), state.of(at.segment).sum());
        let doubt = NewDoubt {
            kind: DoubtKind::Unread,
            subject: segment_name(at.segment),
            detail: format!("{blocks} blocks of waiting events cannot be read: {error}"),
            way_out: "the lanes wait and the reads are repeated; when the device is in order or the key back this ends by itself; \
                      :retry repeats them now, :give-up settles the events as lost"
                .to_owned(),
            events,
        };
        doubts.raise(doubt, now);
    }

    /// A block was read, or nothing in it is owed any more.
    pub(super) fn ended(&self, at: Position, doubts: &Doubts) {
        if self.any.load(Ordering::Acquire) {
            self.remove(at.segment, |block| block == at, doubts);
        }
    }

    /// The segment is gone: nothing in it is owed any more.
    pub(super) fn forget(&self, segment: u32, doubts: &Doubts) {
        if self.any.load(Ordering::Acquire) {
            self.remove(segment, |_| true, doubts);
        }
    }

    /// Whether the last read of a block failed.
    pub(super) fn holds(&self, at: Position) -> bool {
        self.any.load(Ordering::Acquire) && self.lock().blocks.contains_key(&at)
    }

    /// The blocks whose last read failed, with their lanes.
    pub(super) fn blocks(&self) -> Vec<(Position, u32)> {
        self.lock().blocks.iter().map(|(at, (lane, _))| (*at, *lane)).collect()
    }

    fn remove(&self, segment: u32, is_ended: impl Fn(Position) -> bool, doubts: &Doubts) {
        let mut state = self.lock();
        let before = state.blocks.len();
        state.blocks.retain(|at, _| at.segment != segment || !is_ended(*at));
        // Any successful read of the segment ends an inherited doubt: which blocks it was about is not on record.
        if state.blocks.len() < before || state.inherited.remove(&segment) {
            state.report(segment, doubts);
        }
        self.any.store(!state.blocks.is_empty() || !state.inherited.is_empty(), Ordering::Release);
    }

    /// Counts again what is held: `owed` says how many entries a block of a lane still owes, `None` when that is
    /// unknown. A block that owes nothing is no longer in doubt.
    pub(super) fn recount(&self, owed: impl Fn(Position, u32) -> Option<u64>, doubts: &Doubts) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.lock();
        let mut changed = BTreeSet::new();
        state.blocks.retain(|at, (lane, events)| {
            // Unknown is not none: the doubt stays as it was.
            let now = owed(*at, *lane).unwrap_or(*events);
            if now != *events {
                changed.insert(at.segment);
                *events = now;
            }
            now > 0
        });
        for segment in changed {
            state.report(segment, doubts);
        }
        self.any.store(!state.blocks.is_empty() || !state.inherited.is_empty(), Ordering::Release);
    }
}

/// The segment that a doubt is about.
pub(super) fn segment_of(subject: &str) -> Option<u32> {
    subject.strip_prefix("journal/")?.strip_suffix(".seg")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> StoreError {
        StoreError::Io { operation: "read", place: "f".to_owned(), reason: "EIO".to_owned() }
    }

    #[test]
    fn a_segment_has_one_doubt_until_its_last_block_is_read() {
        let doubts = Doubts::default();
        let unread = Unread::new(&doubts);
        let at = |segment, offset| Position { segment, offset };
        let now = Timestamp::from_millis(1);
        for (place, events) in [(at(3, 64), 5), (at(3, 512), 7), (at(3, 64), 4), (at(4, 64), 1)] {
            unread.failed((place, 1), events, &error(), &doubts, now);
        }
        let events =
            |segment| doubts.find(DoubtKind::Unread, &segment_name(segment)).map(|doubt| doubt.events);
        assert_eq!((events(3), events(4)), (Some(11), Some(1)));
        unread.ended(at(3, 64), &doubts);
        unread.ended(at(3, 4096), &doubts);
        assert_eq!((events(3), events(4)), (Some(7), Some(1)), "what was read is no longer held");
        unread.recount(|at, _| if at.segment == 3 { Some(2) } else { None }, &doubts);
        assert_eq!((events(3), events(4)), (Some(2), Some(1)), "what has ended neither");
        unread.ended(at(3, 512), &doubts);
        unread.forget(4, &doubts);
        assert_eq!((events(3), events(4)), (None, None));
    }

    #[test]
    fn a_doubt_of_an_earlier_process_ends_with_the_first_read_that_succeeds() {
        let doubts = Doubts::default();
        Unread::new(&doubts).failed(
            (Position { segment: 9, offset: 64 }, 1),
            2,
            &error(),
            &doubts,
            Timestamp::from_millis(1),
        );
        let unread = Unread::new(&doubts);
        unread.ended(Position { segment: 8, offset: 64 }, &doubts);
        assert_eq!(doubts.list().len(), 1);
        unread.ended(Position { segment: 9, offset: 128 }, &doubts);
        assert_eq!(doubts.list(), []);
    }
}
