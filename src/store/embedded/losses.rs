//! Losses: entries that ended as lost are counted, reported as a doubt, and kept until the queue takes them off its
//! lanes.
//!
//! Called by the indexer alone, when the settlement is durable and takes effect: so each entry counts once, however
//! many reads met the damage, and one that was delivered meanwhile does not count.
//!
//! Must not know: how damage is met, what callers do with losses.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ids::{self, Home};
use super::shared::{Shared, segment_name};
use crate::clock::Timestamp;
use crate::store::Loss;
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::embedded::index::lost::LostEntry;
use crate::store::embedded::journal::Position;

/// Losses that nobody has taken yet.
#[derive(Default)]
pub(super) struct UnreportedLosses(Mutex<Vec<Loss>>);

impl UnreportedLosses {
    fn lock(&self) -> MutexGuard<'_, Vec<Loss>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Vec<Loss> {
        std::mem::take(&mut *self.lock())
    }

    /// Counts and reports entries, which are in the order of their blocks.
    pub(super) fn report(&self, lost: &[LostEntry], shared: &Shared) {
        shared.figures.lost_entries.fetch_add(lost.len() as u64, Ordering::Relaxed);
        let loss = |entry: &LostEntry| Loss {
            lane: entry.lane.clone(),
            id: ids::encode(entry.accepted_ms, Home { block: entry.block, index: entry.index }, shared.salt),
            due_at: entry.from_due_ms.map(Timestamp::from_millis),
        };
        self.lock().extend(lost.iter().map(loss));
        for block in lost.chunk_by(|a, b| a.block == b.block) {
            let Some(LostEntry { block: at, .. }) = block.first() else { continue };
            // An operator knows what he gave up: no doubt is raised about it.
            if let Some(reason) = shared.damaged.reason(*at) {
                raise(*at, block.len() as u64, &reason, shared);
            }
        }
    }
}

fn raise(at: Position, events: u64, reason: &str, shared: &Shared) {
    let Position { segment, offset } = at;
    let doubt = NewDoubt {
        kind: DoubtKind::Lost,
        subject: segment_name(segment),
        detail: format!("events are lost: last the block at offset {offset}: {reason}"),
        way_out: "what is left of the bytes is in journal/quarantine; acknowledge to silence this report"
            .to_owned(),
        events,
    };
    shared.doubts.add(doubt, shared.clock.now());
}
