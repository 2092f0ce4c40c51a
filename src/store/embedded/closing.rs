//! The closing list of an orderly stop: written from the index, and held against the journal when the index is rebuilt.
//!
//! Must not know: the form of the list, who opens and closes the store.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::store::StoreError;
use crate::store::embedded::account::living::{self, Living};
use crate::store::embedded::account::{AccountDefect, AccountMark};
use crate::store::embedded::bits::Bits;
use crate::store::embedded::index::read::IndexReader;
use crate::store::embedded::journal::Position;

/// Leaves a list of what lives; `end` is that of the closing mark, before which it is to be called. A stop without room
/// for the list is in good order all the same.
pub(super) fn leave(reader: &IndexReader, root: &Path, salt: u64, end: Position) {
    if let Err(error) = write(reader, root, salt, end) {
        tracing::warn!(%error, "there is no closing list: what a damage costs may be told by bounds alone");
    }
}

fn write(reader: &IndexReader, root: &Path, salt: u64, end: Position) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("write", &root.join(living::NAME), error);
    living::write(root, salt, end, |list| {
        let mut written = Ok(());
        let walked = reader.living(|at, living| {
            written = list.add(at, living);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        walked.map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        written.map_err(failed)
    })
}

/// The list against the blocks of the journal, both in ascending order.
pub(super) struct ListComparison {
    list: Living,
    next: Option<(Position, Bits)>,
    missing: BTreeMap<u32, u64>,
}

impl ListComparison {
    /// The list of the stop whose closing mark was found. `None` when there is none, or it is damaged: `defects` says
    /// so.
    ///
    /// # Errors
    /// As [`living::open`].
    pub(super) fn open(
        root: &Path,
        mark: Option<&AccountMark>,
        defects: &mut Vec<AccountDefect>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(mark) = mark.filter(|mark| mark.closed) else { return Ok(None) };
        match living::open(root, mark.salt, mark.end)? {
            living::StoredList::Missing => Ok(None),
            living::StoredList::Damaged { reason } => {
                defects.push(AccountDefect { file: living::NAME, reason });
                Ok(None)
            }
            living::StoredList::Whole(mut list) => {
                let next = list.next()?;
                Ok(Some(Self { list, next, missing: BTreeMap::new() }))
            }
        }
    }

    /// Which entries of the block at `at` live. Listed blocks below are missing.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the list cannot be read on.
    pub(super) fn living(&mut self, at: Position) -> Result<Bits, StoreError> {
        self.pass(at)?;
        match self.next {
            Some((listed, living)) if listed == at => {
                self.next = self.list.next()?;
                Ok(living)
            }
            // Not listed: everything in it had ended.
            _ => Ok(Bits::default()),
        }
    }

    /// After the last block: the entries of missing blocks, by segment.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the list cannot be read on.
    pub(super) fn missing(mut self) -> Result<BTreeMap<u32, u64>, StoreError> {
        self.pass(Position::MAX)?;
        Ok(self.missing)
    }

    fn pass(&mut self, to: Position) -> Result<(), StoreError> {
        while let Some((at, living)) = self.next.filter(|(at, _)| *at < to) {
            // The journal has passed its place without showing it.
            *self.missing.entry(at.segment).or_default() += u64::from(living.count());
            self.next = self.list.next()?;
        }
        Ok(())
    }
}
