//! What a start applies from the journal, as far as it is not in the log: all ends from the mark on, each once.
//!
//! Must not know: rows of the index, how the journal is walked.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use super::log::Ends;
use super::record::Ended;
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
    /// `E` of `lives`. Where the log cannot be read, it leaves a gap.
    pub(in crate::store::embedded) fn run<E>(
        &self,
        at: Position,
        run: &SettledRun,
        newly: Vec<Ended>,
        now_ms: u64,
        lives: impl Fn(u8) -> Result<bool, E>,
    ) -> Result<(), E> {
        if self.from.is_some_and(|from| at < from) {
            return Ok(());
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
                // Whether it is there already is unknown: it is left out, and readers are told.
                Err(error) => {
                    tracing::warn!(%error, "a file of ends cannot be read");
                    self.leave_gap(now_ms);
                    continue;
                }
            }
            match known.cloned().or_else(|| self.again(run.block, settled)) {
                Some(one) => taken.push(one),
                None => self.leave_gap(now_ms),
            }
        }
        if !taken.is_empty() {
            self.ends.append(&taken, now_ms.max(self.ends.last_ms()), Position::default());
        }
        Ok(())
    }

    /// Once for a start: what follows is complete again.
    fn leave_gap(&self, now_ms: u64) {
        if !self.has_gap.replace(true) {
            self.ends.leave_gap(now_ms);
        }
    }

    /// The end of an entry of which the index has no row any more: its block says the rest.
    fn again(&self, at: Position, settled: &Settled) -> Option<Ended> {
        // Its head is in the clear: no key is needed.
        let (lane, accepted_ms) = self.blocks.read_head(at).ok()?;
        Some(Ended { lane, block: at, accepted_ms, settled: *settled, tries: None })
    }
}
