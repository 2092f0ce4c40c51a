//! The dead-letter journal: the same segments with a retention of its own.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
use super::OsDisk;
use super::letters::{LetterIndex, Letters, SegmentLetters};
use super::{
    Disk, Frame, FrameGroup, Journal, JournalOptions, Marked, Position, Scan, ScanReport, Settled,
    SettledRun, What, cut, scan, segment,
};
use crate::clock::{self, Correction, Timestamp};
use crate::store::embedded::keys::Keys;
use crate::store::{DeadLetter, StoreError};
use crate::telemetry::defect;

/// Letters that are taken with one write; more take several.
const TAKEN_AT_ONCE: usize = 64 * 1024;

/// How long letters are kept, and how many. What goes first is the oldest file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LetterRetention {
    /// How long a letter is kept.
    pub age: Duration,
    /// How many letters are kept; the file that is being written does not go.
    pub letters: u64,
    /// How many bytes their files may take on the disk; the one that is being written counts with what was written.
    pub bytes: u64,
}

/// The writing end of `dead/`. Its owner is the writer thread; readers share `letters`.
pub(crate) struct DeadLog {
    dir: PathBuf,
    journal: Journal,
    group: FrameGroup,
    retention: LetterRetention,
    letters: Letters,
}

/// The letters of a directory, as a scan with repair found them.
pub(crate) struct FoundLetters {
    stand: LetterIndex,
    report: ScanReport,
    keys: Keys,
}

impl FoundLetters {
    /// Scans `dir`; `marked` is what the account says of its end.
    ///
    /// # Errors
    /// As [`scan()`].
    pub(crate) fn scan(dir: &Path, salt: u64, marked: Option<Marked>) -> Result<Self, StoreError> {
        Self::find(dir, Scan { repair: true, salt: Some(salt), marked, ..Scan::default() })
    }

    /// Records are read, and those of further letters written, with these keys.
    #[must_use]
    pub(crate) fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The letters of `dir`, which nobody writes to: nothing is changed.
    ///
    /// # Errors
    /// As [`scan()`].
    pub(crate) fn at_rest(dir: &Path, salt: u64, keys: Keys) -> Result<Letters, StoreError> {
        let found = Self::find(dir, Scan { salt: Some(salt), ..Scan::default() })?;
        Ok(Letters::new(dir, salt, keys, LetterIndex { end: Position::MAX, ..found.stand }))
    }

    fn find(dir: &Path, how: Scan) -> Result<Self, StoreError> {
        let mut stand = LetterIndex::default();
        let report = scan(dir, how, |position, frame| {
            match frame {
                Frame::Dead(letter) => {
                    stand.kept.entry(position.segment).or_default().add(letter.at.as_millis());
                }
                // A letter lies before the record that takes it.
                Frame::Settlements(runs) => runs.for_each(|run| stand.take(run.block, position.segment)),
                Frame::Block(_) => {}
            }
            Ok(())
        })?;
        Ok(Self { stand, report, keys: Keys::default() })
    }
}

impl DeadLog {
    /// Scans `dir` with repair and begins a new segment. Letters are kept for `age` at least.
    ///
    /// # Errors
    /// As [`scan()`] and `Journal::open`.
    #[cfg(test)]
    pub(crate) fn open(
        dir: &Path,
        options: JournalOptions,
        age: Duration,
        now: Timestamp,
    ) -> Result<(Self, ScanReport), StoreError> {
        let found = FoundLetters::scan(dir, options.salt, None)?;
        let retention = LetterRetention { age, letters: u64::MAX, bytes: u64::MAX };
        Self::open_on(dir, options, retention, now, found, 0, Box::new(OsDisk))
    }

    /// Begins a new segment after a scan, on this disk. The segment's number is greater than `above`.
    ///
    /// # Errors
    /// As `Journal::open`.
    pub(crate) fn open_on(
        dir: &Path,
        options: JournalOptions,
        retention: LetterRetention,
        now: Timestamp,
        found: FoundLetters,
        above: u32,
        disk: Box<dyn Disk>,
    ) -> Result<(Self, ScanReport), StoreError> {
        let FoundLetters { mut stand, report, keys } = found;
        cut(dir, &report)?;
        let group = FrameGroup::of(keys.first().is_some());
        let journal = Journal::open_on(dir, options, above, now, disk, keys.clone())?;
        stand.end = journal.end();
        let letters = Letters::new(dir, options.salt, keys, stand);
        let log = Self { dir: dir.to_owned(), journal, group, retention, letters };
        Ok((log, report))
    }

    /// The letters, for those who list them.
    #[must_use]
    pub(crate) fn letters(&self) -> Letters {
        self.letters.clone()
    }

    /// The letters in each segment, with those that were taken, also in the one that is being written: what the account
    /// is given, so that damage is found whatever was taken.
    #[must_use]
    pub(crate) fn by_segment(&self) -> BTreeMap<u32, u64> {
        let current = (self.journal.end().segment, 0);
        let stand = self.letters.stand();
        let kept = stand.kept.iter().map(|(number, kept)| (*number, kept.letters));
        std::iter::once(current).chain(kept).collect()
    }

    /// Makes letters durable. To be called before their settlements are written.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after a failed write or sync; [`StoreError::TooLarge`] for a record that the main
    /// journal would not have taken either (those before it in the batch may be durable).
    pub(crate) fn append(&mut self, letters: &[DeadLetter], now: Timestamp) -> Result<(), StoreError> {
        let mut newest = 0;
        for letter in letters {
            // A batch may be larger than a group; each group is durable before the next is begun.
            if !self.group.fits(letter.record.len()) {
                self.commit(newest, now)?;
            }
            if let Err(error) = self.group.push_dead(letter) {
                // An error leaves earlier letters of the batch in the group; the next call must not write them.
                self.group.clear();
                return Err(error);
            }
            newest = letter.at.as_millis().max(newest);
        }
        self.commit(newest, now)
    }

    /// Puts on record that the letters at these places were taken.
    ///
    /// # Errors
    /// As [`DeadLog::append`]; some of them may have been taken.
    pub(crate) fn take(&mut self, places: &[Position], now: Timestamp) -> Result<(), StoreError> {
        // The form that versions without such records pass over: see the head of the journal.
        let what = Settled { why: None, index: 0, from_due_ms: None, what: What::Cancelled };
        for places in places.chunks(TAKEN_AT_ONCE) {
            let runs: Vec<SettledRun> = places
                .iter()
                .map(|place| SettledRun { lane_no: 0, block: *place, entries: vec![what] })
                .collect();
            let written = self
                .group
                .push_settlements(&runs)
                .and_then(|()| self.journal.append(&mut self.group, now).map(|_| ()));
            self.group.clear();
            written?;
            // After the sync: a letter counts as taken only when the record of it is durable.
            let mut stand = self.letters.stand();
            stand.end = self.journal.end();
            let by = stand.end.segment;
            places.iter().for_each(|place| stand.take(*place, by));
        }
        Ok(())
    }

    /// Deletes the segments whose letters were all taken, or have all outlived their time after all corrections of the
    /// clock, and the oldest ones while there are more letters or bytes than are kept; returns how many. `note` puts on record what will be left, before anything goes.
    ///
    /// # Errors
    /// What `note` returns, and [`StoreError::Io`] when a file cannot be deleted.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        corrections: &[Correction],
        note: impl FnOnce(BTreeMap<u32, u64>) -> Result<(), StoreError>,
    ) -> Result<usize, StoreError> {
        let end = self.journal.end();
        let current = end.segment;
        // A segment without letters that decode is either empty or damaged; its raw bytes were set aside.
        let outlived = |kept: &SegmentLetters| {
            let newest = Timestamp::from_millis(kept.newest_ms);
            kept.left() == 0 || clock::corrected(corrections, newest, newest) + self.retention.age < now
        };
        let listed = segment::list(&self.dir)?;
        let files: Vec<u32> = listed.iter().map(|file| file.number).collect();
        let mut stand = self.letters.stand();
        // Deleted in this order: what says that letters were taken goes after them.
        let mut left: BTreeSet<u32> = files.iter().copied().collect();
        let mut old = Vec::new();
        // What is left when those before have gone.
        let mut count: u64 = stand.kept.values().map(SegmentLetters::left).sum();
        // Of the file that is being written only what was written: it takes the room of a full one from the beginning.
        let taken = |file: &segment::SegmentFile| {
            if file.number == current { file.disk_bytes.min(end.offset.into()) } else { file.disk_bytes }
        };
        let mut bytes: u64 = listed.iter().map(taken).sum();
        for (number, disk_bytes) in listed.iter().map(|file| (file.number, file.disk_bytes)) {
            if number >= current {
                continue;
            }
            let is_beyond = count > self.retention.letters || bytes > self.retention.bytes;
            let is_needed = |kept: &SegmentLetters| {
                kept.takes_from.iter().any(|of| *of != number && left.contains(of))
                    || !outlived(kept) && !is_beyond
            };
            if !stand.kept.get(&number).is_some_and(is_needed) {
                count = count.saturating_sub(stand.kept.get(&number).map_or(0, SegmentLetters::left));
                bytes = bytes.saturating_sub(disk_bytes);
                left.remove(&number);
                old.push(number);
            }
        }
        if old.is_empty() {
            return Ok(0);
        }
        stand.kept.retain(|number, _| !old.contains(number));
        // `by_segment` takes the same lock.
        drop(stand);
        // Before any file goes: letters that the account still expected would count as lost.
        note(self.by_segment())?;
        for number in &old {
            segment::remove(&self.dir, *number)?;
        }
        Ok(old.len())
    }

    /// Why the log refuses, once it does.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn failure(&self) -> Option<&str> {
        self.journal.failure()
    }

    /// As [`Journal::close`].
    pub(crate) fn close(self) {
        self.journal.close();
    }

    fn commit(&mut self, newest: u64, now: Timestamp) -> Result<(), StoreError> {
        let appended = self.journal.append(&mut self.group, now);
        self.group.clear();
        let positions: Vec<Position> = appended?;
        let mut stand = self.letters.stand();
        defect!(unless stand.end <= self.journal.end(), "dead letters that end before an earlier end");
        stand.end = self.journal.end();
        for position in positions {
            // The newest time of the group for each: a letter may be kept a little longer, never less long.
            stand.kept.entry(position.segment).or_default().add(newest);
        }
        Ok(())
    }
}
