//! Segments that come back after their entries were settled as lost: an operator has restored the file, or has mounted
//! its file system again. Their entries wait again.
//!
//! `restored` in the data directory is a sealed file of format 1 whose body is a JSON object: `{"N":M,…}` says that
//! settlements as lost of entries in segment N do not count when they stand in a segment below M. It is written before
//! the index is made anew without them, so that a later index finds the same. A settlement that stands in a segment
//! that was deleted meanwhile is gone: what it settled may be called once more.
//!
//! Must not know: how the index is made.

use std::collections::BTreeMap;
use std::path::Path;

use super::missing;
use super::recover::Recovered;
use crate::store::StoreError;
use crate::store::doubts::{Doubt, DoubtKind, Doubts};
use crate::store::embedded::account::AccountMark;
use crate::store::embedded::journal::{self, Position, SegmentFile, SettledRun, What, segment_name};
use crate::store::embedded::sealed::{self, Sealed};

/// The name in the data directory.
const NAME: &str = "restored";
const FORMAT: u32 = 1;

/// Which settlements as lost do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReturnedSegments {
    /// By segment of the entries the first segment whose settlements count.
    before: BTreeMap<u32, u32>,
    /// Segments that have come back since the last start.
    new: Vec<u32>,
}

impl ReturnedSegments {
    /// What is on record.
    ///
    /// # Errors
    /// [`StoreError`] when the record cannot be read. One that is damaged voids nothing: the account then finds that
    /// what it expects is not there.
    pub(super) fn read(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(NAME);
        for found in [sealed::read(&path)?, sealed::read_previous(&path)?] {
            if let Sealed::Whole { format: FORMAT, body, .. } = found
                && let Ok(before) = serde_json::from_slice(&body)
            {
                return Ok(Self { before, new: Vec::new() });
            }
        }
        Ok(Self::default())
    }

    /// Looks for segments that a doubt reports as lost, that the account does not expect and that are there whole, and
    /// puts them on record.
    ///
    /// # Errors
    /// [`StoreError`] when a segment cannot be read or the record cannot be written.
    pub(super) fn look(
        root: &Path,
        journal: &Path,
        mark: Option<&AccountMark>,
        doubts: &Doubts,
    ) -> Result<Self, StoreError> {
        let mut restored = Self::read(root)?;
        let lost: Vec<String> =
            doubts.list().into_iter().filter(is_loss).map(|doubt| doubt.subject).collect();
        let (Some(mark), false) = (mark, lost.is_empty()) else { return Ok(restored) };
        let files = journal::list(journal)?;
        let next = files.iter().map(|file| file.number).max().unwrap_or(0).max(mark.end.segment) + 1;
        for file in &files {
            let is_named = lost.contains(&missing::subject(file.number)) || lost.contains(&missing::all());
            // Half a segment would bring back some of its entries and hide the loss of the others.
            if is_named && !mark.segments.contains_key(&file.number) && is_whole(file)? {
                restored.before.insert(file.number, next);
                restored.new.push(file.number);
            }
        }
        if !restored.new.is_empty() {
            // Numbers always have a JSON form.
            let body = serde_json::to_vec(&restored.before).unwrap_or_default();
            // Durable before the index is made anew without these losses: the next rebuild has to find the same.
            sealed::replace(&root.join(NAME), FORMAT, next.into(), &body)?;
        }
        Ok(restored)
    }

    /// Why the index has to be made anew, if it has to.
    pub(super) fn reason(&self) -> Option<String> {
        let names: Vec<String> = self.new.iter().map(|number| segment_name(*number, false)).collect();
        (!names.is_empty()).then(|| format!("lost segments are back: {}", names.join(", ")))
    }

    /// Whether a segment has come back since the last start.
    pub(super) fn is_any_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Takes from a run that stands at `at` the settlements that do not count.
    pub(super) fn void(&self, at: Position, run: &mut SettledRun) {
        if self.before.get(&run.block.segment).is_some_and(|before| at.segment < *before) {
            run.entries.retain(|entry| entry.what != What::Lost);
        }
    }

    /// The entries that have come back are not lost any more, and the doubts about them end.
    pub(super) fn found_again(&self, recovered: &mut Recovered, doubts: &Doubts) {
        let living: BTreeMap<u32, u64> = recovered.opened.indexer.segments.living().into_iter().collect();
        for number in &self.new {
            let found = living.get(number).copied().unwrap_or(0);
            tracing::warn!(segment = number, events = found, "a lost segment is back: its events wait again");
            recovered.mark.lost = recovered.mark.lost.saturating_sub(found);
            let own = missing::subject(*number);
            let is_named = doubts.find(DoubtKind::Lost, &own).is_some();
            missing::found_again(doubts, &if is_named { own } else { missing::all() }, found);
        }
    }
}

fn is_loss(doubt: &Doubt) -> bool {
    doubt.kind == DoubtKind::Lost
}

fn is_whole(file: &SegmentFile) -> Result<bool, StoreError> {
    Ok(!file.settled && journal::is_whole(file)?)
}
