//! The dead-letter journal: the same segments with a retention of its own.

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
use crate::store::{DeadLetter, StoreError};
use crate::telemetry::defect;

/// Letters that are taken with one write; more take several.
const TAKEN_AT_ONCE: usize = 64 * 1024;

/// The writing end of `dead/`. Its owner is the writer thread; readers share `letters`.
pub(crate) struct DeadLog {
    dir: PathBuf,
    journal: Journal,
    group: FrameGroup,
    retention: Duration,
    letters: Letters,
}

/// The letters of a directory, as a scan with repair found them.
pub(crate) struct FoundLetters {
    stand: LetterIndex,
    report: ScanReport,
}

impl FoundLetters {
    /// Scans `dir`; `marked` is what the account says of its end.
    ///
    /// # Errors
    /// As [`scan()`].
    pub(crate) fn scan(dir: &Path, salt: u64, marked: Option<Marked>) -> Result<Self, StoreError> {
        let mut stand = LetterIndex::default();
        let salt = Some(salt);
        let report = scan(dir, Scan { repair: true, salt, marked, ..Scan::default() }, |position, frame| {
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
        Ok(Self { stand, report })
    }
}

impl DeadLog {
    /// Scans `dir` with repair and begins a new segment. Letters are kept for `retention` at least.
    ///
    /// # Errors
    /// As [`scan()`] and `Journal::open`.
    #[cfg(test)]
    pub(crate) fn open(
        dir: &Path,
        options: JournalOptions,
        retention: Duration,
        now: Timestamp,
    ) -> Result<(Self, ScanReport), StoreError> {
        let found = FoundLetters::scan(dir, options.salt, None)?;
        Self::open_on(dir, options, retention, now, found, 0, Box::new(OsDisk))
    }

    /// Begins a new segment after a scan, on this disk. The segment's number is greater than `above`.
    ///
    /// # Errors
    /// As `Journal::open`.
    pub(crate) fn open_on(
        dir: &Path,
        options: JournalOptions,
        retention: Duration,
        now: Timestamp,
        found: FoundLetters,
        above: u32,
        disk: Box<dyn Disk>,
    ) -> Result<(Self, ScanReport), StoreError> {
        let FoundLetters { mut stand, report } = found;
        cut(dir, &report)?;
        let journal = Journal::open_on(dir, options, above, now, disk)?;
        stand.end = journal.end();
        let letters = Letters::new(dir, options.salt, stand);
        let log = Self { dir: dir.to_owned(), journal, group: FrameGroup::default(), retention, letters };
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

    /// Deletes the segments whose letters have all outlived the retention after all corrections of the clock, and
    /// returns how many. `note` puts on record what will be left, before anything goes.
    ///
    /// # Errors
    /// What `note` returns, and [`StoreError::Io`] when a file cannot be deleted.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        corrections: &[Correction],
        note: impl FnOnce(BTreeMap<u32, u64>) -> Result<(), StoreError>,
    ) -> Result<usize, StoreError> {
        let current = self.journal.end().segment;
        // A segment without letters that decode is either empty or damaged; its raw bytes were set aside.
        let outlived = |kept: &SegmentLetters| {
            let newest = Timestamp::from_millis(kept.newest_ms);
            clock::corrected(corrections, newest, newest) + self.retention < now
        };
        let files: Vec<u32> = segment::list(&self.dir)?.into_iter().map(|file| file.number).collect();
        let mut stand = self.letters.stand();
        // Deleted in this order: what says that letters were taken goes after them.
        let mut left: BTreeSet<u32> = files.iter().copied().collect();
        let mut old = Vec::new();
        for number in files.into_iter().filter(|number| *number < current) {
            let is_needed = |kept: &SegmentLetters| {
                kept.takes_from.iter().any(|of| *of != number && left.contains(of)) || !outlived(kept)
            };
            if !stand.kept.get(&number).is_some_and(is_needed) {
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::event::{EventId, LaneKey};

    const KEEP: Duration = Duration::from_secs(60);

    fn letter(at_ms: u64) -> DeadLetter {
        DeadLetter {
            id: EventId::new(at_ms, 1),
            lane: LaneKey::new("a@1").expect("valid"),
            at: Timestamp::from_millis(at_ms),
            attempts: 8,
            reason: "http_404".to_owned(),
            record: Bytes::from_static(b"body"),
        }
    }

    fn letters(dir: &Path) -> Vec<DeadLetter> {
        let mut found = Vec::new();
        scan(dir, Scan::default(), |_, frame| {
            if let Frame::Dead(letter) = frame {
                found.push(letter);
            }
            Ok(())
        })
        .expect("scans");
        found
    }

    /// Fails the sync with this number, counting from 0, and counts all.
    struct FailingSync(usize, Arc<AtomicUsize>);

    impl Disk for FailingSync {
        fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
            OsDisk.write_at(file, bytes, offset)
        }

        fn sync(&mut self, file: &File) -> io::Result<()> {
            if self.1.fetch_add(1, Ordering::Relaxed) == self.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            OsDisk.sync(file)
        }
    }

    #[test]
    fn after_a_failed_sync_the_log_takes_no_letter_and_never_syncs_again() {
        let temp = tempfile::tempdir().expect("temp");
        let syncs = Arc::new(AtomicUsize::new(0));
        // The first sync is that of the new segment, the second one that of the first letter.
        let disk = Box::new(FailingSync(2, Arc::clone(&syncs)));
        let now = Timestamp::ZERO;
        let options = JournalOptions::default();
        let found = FoundLetters::scan(temp.path(), options.salt, None).expect("scans");
        let (mut log, _) = DeadLog::open_on(temp.path(), options, KEEP, now, found, 0, disk).expect("opens");
        log.append(&[letter(1)], now).expect("the control: the disk is well");
        assert_eq!(log.failure(), None);
        for at_ms in 2..5 {
            let refused = log.append(&[letter(at_ms)], now);
            assert!(matches!(refused, Err(StoreError::Poisoned { .. })), "letter {at_ms}");
        }
        assert!(log.failure().is_some());
        assert_eq!(syncs.load(Ordering::Relaxed), 3);
        drop(log);
        let found = letters(temp.path());
        assert_eq!(found[0], letter(1), "what was acknowledged is there");
        assert!(found.len() <= 2, "nothing was written after the failure");
    }

    #[test]
    fn a_letter_that_was_parked_in_doubt_is_kept_for_the_whole_retention() {
        use crate::clock::{Clock, ClockMark, Script};
        let (temp, hour) = (tempfile::tempdir().expect("temp"), Duration::from_secs(3600));
        let begun = Timestamp::from_millis(1_000_000);
        let script = Script::new("another", begun + hour * 9);
        let clock = Clock::scripted(&script);
        clock.begin(Some(&ClockMark::unknown(begun)), Timestamp::ZERO, hour);
        let options = JournalOptions { segment_age: Duration::from_secs(1), ..JournalOptions::default() };
        let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, clock.now()).expect("opens");
        script.advance(Duration::from_secs(10));
        for _ in 0..2 {
            log.append(&[letter(clock.now().as_millis())], clock.now()).expect("appends");
            script.advance(Duration::from_secs(5));
        }
        clock.trust().expect("in doubt");
        let kept = |_| Ok(());
        let mut expired =
            |corrections: &[Correction]| log.expire(clock.now(), corrections, kept).expect("expires");
        assert_eq!(expired(&clock.corrections()), 0);
        script.advance(KEEP + Duration::from_secs(1));
        assert_eq!(expired(&clock.corrections()), 1, "the control: a minute later it is over");
    }

    #[test]
    fn a_segment_lives_as_long_as_its_youngest_letter() {
        let temp = tempfile::tempdir().expect("temp");
        let options = JournalOptions { segment_age: Duration::from_secs(10), ..JournalOptions::default() };
        let at = Timestamp::from_millis;
        let kept = |_| Ok(());
        let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(0)).expect("opens");
        // Two in the first segment, one in a second one, which stays the current one.
        for ms in [1_000, 9_000, 11_000] {
            log.append(&[letter(ms)], at(ms)).expect("appends");
        }
        assert_eq!(
            log.expire(at(69_000), &[], kept).expect("expires"),
            0,
            "the younger one of the first is kept with it"
        );
        assert_eq!((log.letters().count(), log.expire(at(69_001), &[], kept).expect("expires")), (3, 1));
        assert_eq!(log.letters().count(), 1);
        assert_eq!(letters(temp.path()), [letter(11_000)]);
        assert_eq!(
            log.expire(at(1_000_000), &[], kept).expect("expires"),
            0,
            "the current segment is being written"
        );
        drop(log);
        let (mut log, report) = DeadLog::open(temp.path(), options, KEEP, at(1_000_000)).expect("opens");
        assert_eq!((report.entries, log.letters().count()), (1, 1));
        assert_eq!(log.expire(at(1_000_000), &[], kept).expect("expires"), 1, "known from the scan");
        assert_eq!(letters(temp.path()), []);
    }

    #[test]
    fn a_record_of_taken_letters_outlives_them_and_survives_an_opening() {
        let temp = tempfile::tempdir().expect("temp");
        let options = JournalOptions { segment_age: Duration::from_secs(10), ..JournalOptions::default() };
        let at = Timestamp::from_millis;
        let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(0)).expect("opens");
        let begun = log.journal.end();
        // The clock was set back between them: the older segment has the younger letter.
        for ms in [50_000, 11_000] {
            log.append(&[letter(ms)], at(if ms > 11_000 { 0 } else { ms })).expect("appends");
        }
        log.take(&[begun], at(22_000)).expect("takes");
        let marked = |log: &DeadLog| (log.letters().is_kept(begun), log.letters().count());
        assert_eq!(marked(&log), (false, 1));
        drop(log);
        let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(90_000)).expect("opens");
        assert_eq!(marked(&log), (false, 1));
        let kept = |_| Ok(());
        // The second letter is over, but what takes the first one lies behind it.
        assert_eq!(log.expire(at(90_000), &[], kept).expect("expires"), 1);
        drop(log);
        let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(90_000)).expect("opens");
        assert_eq!(marked(&log), (false, 0));
        assert_eq!(letters(temp.path()), [letter(50_000)], "what a version without such records sees");
        assert!(log.expire(at(110_001), &[], kept).expect("expires") >= 2, "the letter, then the record");
        assert_eq!(log.by_segment().values().sum::<u64>(), 0);
    }
}
