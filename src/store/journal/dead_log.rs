//! The dead-letter journal: the same segments with a retention of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Frame, Group, Journal, JournalOptions, Position, Scan, ScanReport, scan, segment};
use crate::clock::Timestamp;
use crate::store::StoreError;

use super::dead::DeadLetter;

/// The writing end of `dead/`.
pub struct DeadLog {
    dir: PathBuf,
    journal: Journal,
    group: Group,
    retention: Duration,
    /// When the youngest letter of each segment was parked, Unix ms.
    newest_ms: BTreeMap<u32, u64>,
}

impl DeadLog {
    /// Scans `dir` with repair and begins a new segment. Letters are kept for `retention` at least.
    ///
    /// # Errors
    /// As [`scan`] and [`Journal::open`].
    pub fn open(
        dir: &Path,
        options: JournalOptions,
        retention: Duration,
        now: Timestamp,
    ) -> Result<(Self, ScanReport), StoreError> {
        let mut newest_ms = BTreeMap::new();
        let report = scan(dir, Scan { repair: true, ..Scan::default() }, |position, frame| {
            if let Frame::Dead(letter) = frame {
                let newest = newest_ms.entry(position.segment).or_insert(0);
                *newest = letter.at_ms.max(*newest);
            }
            Ok(())
        })?;
        let journal = Journal::open(dir, options, 0, now)?;
        let log = Self { dir: dir.to_owned(), journal, group: Group::default(), retention, newest_ms };
        Ok((log, report))
    }

    /// Makes letters durable. To be called before their settlements are written.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after a failed write or sync; [`StoreError::TooLarge`] for a record that the main
    /// journal would not have taken either (those before it in the batch may be durable).
    pub fn append(&mut self, letters: &[DeadLetter], now: Timestamp) -> Result<(), StoreError> {
        let mut newest = 0;
        for letter in letters {
            if !self.group.fits(letter.record.len()) {
                self.commit(newest, now)?;
            }
            if let Err(error) = self.group.push_dead(letter) {
                self.group.clear();
                return Err(error);
            }
            newest = letter.at_ms.max(newest);
        }
        self.commit(newest, now)
    }

    /// Deletes the segments whose letters have all outlived the retention, and returns how many.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a file cannot be deleted.
    pub fn expire(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let before_ms = (now - self.retention).as_millis();
        let current = self.journal.end().segment;
        let mut removed = 0;
        for file in segment::list(&self.dir)?.iter().filter(|file| file.number < current) {
            // A segment without letters that decode is either empty or damaged; its raw bytes were set aside.
            if self.newest_ms.get(&file.number).is_none_or(|newest| *newest < before_ms) {
                segment::remove(&self.dir, file.number)?;
                self.newest_ms.remove(&file.number);
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Why the log refuses, once it does.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.journal.failure()
    }

    fn commit(&mut self, newest: u64, now: Timestamp) -> Result<(), StoreError> {
        let positions: Vec<Position> = self.journal.append(&mut self.group, now)?;
        for position in positions {
            let known = self.newest_ms.entry(position.segment).or_insert(0);
            *known = newest.max(*known);
        }
        Ok(())
    }
}
