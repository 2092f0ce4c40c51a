//! Dead letters: the records of entries that are parked for a person are read back from their blocks.
//!
//! Must not know: when letters are written.

use std::collections::{HashMap, HashSet};

use super::commit::PlacedSettlement;
use super::fetch::Unreadable;
use super::ids::{self, Home};
use super::reads::Reads;
use crate::clock::Timestamp;
use crate::event::Settlement;
use crate::store::embedded::journal::What;
use crate::store::{DeadLetter, Lookup, SettleRequest, StoreError};

/// What was found for settlements that need a letter.
pub(super) struct NewLetters {
    pub letters: Vec<DeadLetter>,
    /// Entries whose blocks are damaged: nothing is left of them that could be parked.
    lost: HashSet<Home>,
}

impl NewLetters {
    /// The dead letters with their records; those of entries that no longer stand at the given place are left out.
    pub(super) fn read(reads: &Reads, dead: Vec<SettleRequest>) -> Result<Self, StoreError> {
        let at = Timestamp::from_millis(reads.shared.clock.now().as_millis());
        let (mut letters, mut lost) = (HashMap::with_capacity(dead.len()), HashSet::new());
        for settle in dead {
            let SettleRequest { lane, id, due_at, settlement: Settlement::Dead { reason, attempts }, .. } =
                settle
            else {
                continue;
            };
            match reads.lookup(id)? {
                Lookup::Waiting(lane, entry) => {
                    let place = due_at.map(Timestamp::ceil_millis);
                    // At another place it was rescheduled since: this settlement is void, and a letter for it would be
                    // one too many.
                    if entry.due_at.map(Timestamp::ceil_millis) == place {
                        let letter = DeadLetter { id, lane, at, attempts, reason, record: entry.record };
                        // An entry that is settled twice in one batch is parked once.
                        letters.entry(id).or_insert(letter);
                    }
                }
                Lookup::Unknown => {
                    let (lane, home) = (reads.shared.lanes.number(&lane), ids::decode(id, reads.shared.salt));
                    if let (Some(lane), Some(home)) = (lane, home) {
                        match reads.fetcher().block(lane, home.block) {
                            Err(Unreadable::Lost) => drop(lost.insert(home)),
                            Err(Unreadable::Failed(error)) => return Err(error),
                            Err(Unreadable::Settled) | Ok(_) => {}
                        }
                    }
                }
                Lookup::Settled(_) | Lookup::Lost => {}
            }
        }
        Ok(Self { letters: letters.into_values().collect(), lost })
    }

    /// Turns the settlements of entries that cannot be parked into losses.
    pub(super) fn amend(&self, decisions: &mut [PlacedSettlement]) {
        for (_, block, settled) in decisions {
            if settled.what == What::Dead && self.lost.contains(&Home { block: *block, index: settled.index })
            {
                settled.what = What::Lost;
            }
        }
    }
}
