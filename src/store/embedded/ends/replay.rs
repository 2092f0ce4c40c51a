//! What a start applies from the journal, as far as it is not in the log: all ends from the mark on, each once.
//!
//! Must not know: rows of the index, how the journal is walked.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use super::log::Ends;
use super::record::Ended;
use crate::event::LaneKey;
use crate::store::StoreError;
use crate::store::embedded::ids::Home;
use crate::store::embedded::journal::{BlockReader, OsSource, Position, Settled, SettledRun, What};
use crate::store::embedded::keys::Keys;

/// Segments kept open for the blocks of ends that the index knows already.
const OPEN_SEGMENTS: usize = 4;

/// Takes ends into the log while the journal is applied.
pub(in crate::store::embedded) struct Replay<'e> {
    ends: &'e Ends,
    /// Before it all ends are in the log; `None` in a new log, which has those that the index meets.
    from: Option<Position>,
    blocks: BlockReader,
    has_gap: Cell<bool>,
}

impl<'e> Replay<'e> {
    pub(in crate::store::embedded) fn new(ends: &'e Ends, journal: &Path, salt: u64, keys: &Keys) -> Self {
        let blocks = BlockReader::over(journal, salt, Arc::new(OsSource), OPEN_SEGMENTS, keys.clone());
        Self { ends, from: ends.marked(), blocks, has_gap: Cell::new(false) }
    }

    /// Takes the ends of one run that stands at `at`. `newly` are those that it has ended in the index; of the others
    /// `lives` says whether they live on in it.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be read; `E` of `lives`.
    pub(in crate::store::embedded) fn run<E>(
        &self,
        at: Position,
        run: &SettledRun,
        newly: Vec<Ended>,
        now_ms: u64,
        lives: impl Fn(u8) -> Result<bool, E>,
    ) -> Result<Result<(), StoreError>, E> {
        if self.from.is_some_and(|from| at < from) {
            return Ok(Ok(()));
        }
        let mut taken = Vec::new();
        for settled in run.entries.iter().filter(|settled| !matches!(settled.what, What::Reschedule { .. })) {
            let home = Home { block: run.block, index: settled.index };
            let is_repeated = taken.iter().any(|one: &Ended| one.settled.index == settled.index);
            let known = newly.iter().find(|one| one.settled.index == settled.index);
            // A settlement of an earlier place ends nothing.
            if is_repeated || (known.is_none() && (self.from.is_none() || lives(settled.index)?)) {
                continue;
            }
            match self.ends.find(home) {
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(error) => return Ok(Err(StoreError::io("read", &self.ends.dir, error))),
            }
            match known.cloned().or_else(|| self.again(run.block, settled)) {
                Some(one) => taken.push(one),
                // Once for a start: what follows is complete again.
                None if !self.has_gap.replace(true) => self.ends.leave_gap(now_ms),
                None => {}
            }
        }
        if !taken.is_empty() {
            self.ends.append(&taken, now_ms.max(self.ends.last_ms()), Position::default());
        }
        Ok(Ok(()))
    }

    /// The end of an entry of which the index has no row any more: its block says the rest.
    fn again(&self, at: Position, settled: &Settled) -> Option<Ended> {
        let block = self.blocks.read_block(at).ok()?;
        let lane: LaneKey = block.lane.clone();
        Some(Ended { lane, block: at, accepted_ms: block.accepted_ms, settled: *settled, tries: None })
    }
}
