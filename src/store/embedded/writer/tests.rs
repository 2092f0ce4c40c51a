//! The bounds of a commit.

use bytes::Bytes;

use super::*;
use crate::event::{LaneKey, Tries};
use crate::store::embedded::index::lanes::LaneNumbers;
use crate::store::embedded::journal::{Settled, What};
use crate::store::embedded::{PART_ENTRIES, SETTLED_PART};

/// The dearest settlements: each in a block of its own, from one due place to another.
fn settle(segment: u32, count: usize) -> Request {
    let settled = Settled {
        why: None,
        index: 0,
        from_due_ms: Some(u64::MAX),
        what: What::Reschedule { due_ms: u64::MAX, tries: Tries::from_bits(u16::MAX), doubted_ms: None },
    };
    let offsets = (0..u32::MAX).step_by(8).take(count);
    let decisions = offsets.map(|offset| (7, Position { segment, offset }, settled)).collect();
    Request::Settle { decisions, letters: Vec::new(), reply: oneshot::channel().0 }
}

/// The dearest entries: each in a lane of its own with the longest key, as many bytes as a part may have.
fn append(part: usize) -> Request {
    let record = Bytes::from(vec![7; super::super::PART_BYTES / PART_ENTRIES]);
    let entry = |n: usize| NewEntry {
        lane: LaneKey::new(&format!("{part}-{n}-{}", "x".repeat(1000))).expect("valid"),
        due_at: None,
        record: record.clone(),
        dedup: None,
    };
    let entries = (0..PART_ENTRIES).map(entry).collect();
    Request::Append { entries, turn: Arc::default(), reply: oneshot::channel().0, room: None }
}

#[test]
fn the_fullest_commit_fits_into_a_group() {
    let mut pending = PendingRequests::default();
    for (segment, count) in [(1, SETTLED_PART), (2, SETTLEMENTS - SETTLED_PART - 1)] {
        pending.take(settle(segment, count), Timestamp::ZERO);
    }
    for part in 0.. {
        if pending.is_full() {
            break;
        }
        pending.take(append(part), Timestamp::ZERO);
    }
    let (lanes, mut draft) = (LaneNumbers::default(), Draft::default());
    for request in pending.appends {
        let Request::Append { entries, .. } = request else { continue };
        for entry in entries {
            draft.add(entry, &lanes, |_| Ok::<_, StoreError>(None)).expect("drafts");
        }
    }
    let runs = commit::runs(pending.decisions);
    assert_eq!(runs.len(), SETTLEMENTS - 1);
    let mut group = FrameGroup::default();
    draft.encode(&mut group, &runs, u64::MAX).expect("fits");
    let again = (0..3).map(|_| draft.encode(&mut group, &runs, u64::MAX));
    assert!(again.last().is_some_and(|full| full.is_err()), "the control: a group has a bound");
}
