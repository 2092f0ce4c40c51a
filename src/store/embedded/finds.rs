//! Questions that the writer answers between two commits, since it owns what is asked: keys on record, and the last redrives.
//! What it notes of them when a commit is durable.
//!
//! Must not know: how commits are formed and written.

use tokio::sync::oneshot;

use super::commit::Draft;
use super::ids::{self, Home};
use super::index::dedup::DedupIndex;
use super::index::redrives::once_each;
use super::index::{IndexError, guarded};
use super::journal::{Block, BlockHead, Position, segment_name};
use super::keys::Keys;
use super::shared::Shared;
use crate::event::EventId;
use crate::store::{Appended, Dedup, LastRedrive, StoreError};
use crate::telemetry::defect;

/// A question, and where the answer goes. The caller may have gone away.
pub(super) enum Find {
    Keys { keys: Vec<Dedup>, reply: oneshot::Sender<Result<Vec<Option<Appended>>, StoreError>> },
    Redrives { names: Vec<EventId>, reply: oneshot::Sender<Result<Vec<Option<LastRedrive>>, StoreError>> },
}

impl Find {
    pub(super) fn answer(self, known: &DedupIndex) {
        match self {
            Self::Keys { keys, reply } => drop(reply.send(each(&keys, |key| known.find(key)))),
            Self::Redrives { names, reply } => {
                drop(reply.send(each(&names, |name| known.redrives.find(*name))))
            }
        }
    }
}

fn each<Q, A>(asked: &[Q], find: impl Fn(&Q) -> Result<A, IndexError>) -> Result<Vec<A>, StoreError> {
    let found: Result<Vec<_>, _> = asked.iter().map(|one| guarded(|| find(one))).collect();
    found.map_err(|error| StoreError::Io {
        operation: "read",
        place: "index".to_owned(),
        reason: error.to_string(),
    })
}

/// Notes the keys of entries that are durable, and what their records say of redrives.
pub(super) fn note(
    draft: &Draft,
    positions: &[Position],
    accepted_ms: u64,
    shared: &Shared,
    known: &mut DedupIndex,
) -> Result<(), IndexError> {
    let (salt, journal) = (shared.salt, shared.dir.journal());
    let bare = shared.options.keys.first().is_some();
    let mut is_there = once_each(|segment| {
        [false, true].into_iter().any(|settled| journal.join(segment_name(segment, settled)).exists())
    });
    for (block, at) in draft.blocks.iter().zip(positions) {
        for row in &block.dedup {
            let Ok(index) = u8::try_from(row.index) else {
                defect!("a key of an entry that no id can name");
                continue;
            };
            let id = ids::encode(accepted_ms, Home { block: *at, index }, salt);
            let record = block.records.get(usize::from(index)).filter(|_| row.dedup.is_of_redrive());
            if let Some(record) = record {
                // First: where the key is on record, so is the redrive.
                guarded(|| {
                    known.redrives.note(id, (record, bare), |entry| {
                        ids::decode(entry, salt).is_some_and(|home| is_there(home.block.segment))
                    })
                })?;
            }
            guarded(|| known.insert(&row.dedup, id))?;
        }
    }
    Ok(())
}

/// The same of a block that the journal has, as far as it is not noted.
pub(super) fn replay(
    head: &BlockHead<'_>,
    at: Position,
    (salt, keys): (u64, &Keys),
    known: &mut DedupIndex,
) -> Result<(), IndexError> {
    let mut unpacked = None;
    for row in head.dedup() {
        let Ok(index) = u8::try_from(row.index) else { continue };
        let is_known = known.find(&row.dedup)?.is_some();
        // A redrive is looked at also when its key is known: without the key of its block only that could be noted, which says
        // that the event was handed in. A replay that has the key makes up for the rest.
        if is_known && !row.dedup.is_of_redrive() {
            continue;
        }
        let id = ids::encode(head.accepted_ms, Home { block: at, index }, salt);
        if row.dedup.is_of_redrive() {
            // What does not unpack is damaged or lacks its key: whoever reads it finds that out and says so.
            let block: &Option<Block> = unpacked.get_or_insert_with(|| head.unpack_at(at, salt, keys).ok());
            let record = block.as_ref().and_then(|block| block.record(usize::from(index)));
            if let Some(record) = record {
                let bare = head.key().is_some() || keys.first().is_some();
                known.redrives.note(id, (&record, bare), |_| true)?;
            }
        }
        if !is_known {
            known.insert(&row.dedup, id)?;
        }
    }
    Ok(())
}
