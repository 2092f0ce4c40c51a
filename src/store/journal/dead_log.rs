//! The dead-letter journal: the same segments with a retention of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
use super::OsDisk;
use super::{
    Disk, Frame, Group, Journal, JournalOptions, Marked, Position, Scan, ScanReport, cut, scan, segment,
};
use crate::clock::{self, Correction, Timestamp};
use crate::store::StoreError;

use super::dead::DeadLetter;

/// The writing end of `dead/`.
pub struct DeadLog {
    dir: PathBuf,
    journal: Journal,
    group: Group,
    retention: Duration,
    kept: BTreeMap<u32, Kept>,
}

/// What a segment holds.
#[derive(Default)]
struct Kept {
    letters: u64,
    /// When the youngest was parked, Unix ms.
    newest_ms: u64,
}

impl Kept {
    fn add(&mut self, at_ms: u64) {
        self.letters += 1;
        self.newest_ms = at_ms.max(self.newest_ms);
    }
}

/// The letters of a directory, as a scan with repair found them.
pub struct FoundLetters {
    kept: BTreeMap<u32, Kept>,
    report: ScanReport,
}

impl FoundLetters {
    /// Scans `dir`; `marked` is what the account says of its end.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn scan(dir: &Path, salt: u64, marked: Option<Marked>) -> Result<Self, StoreError> {
        let mut kept: BTreeMap<u32, Kept> = BTreeMap::new();
        let salt = Some(salt);
        let report = scan(dir, Scan { repair: true, salt, marked, ..Scan::default() }, |position, frame| {
            if let Frame::Dead(letter) = frame {
                kept.entry(position.segment).or_default().add(letter.at_ms);
            }
            Ok(())
        })?;
        Ok(Self { kept, report })
    }
}

impl DeadLog {
    /// Scans `dir` with repair and begins a new segment. Letters are kept for `retention` at least.
    ///
    /// # Errors
    /// As [`scan`] and [`Journal::open`].
    #[cfg(test)]
    pub fn open(
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
    /// As [`Journal::open`].
    pub fn open_on(
        dir: &Path,
        options: JournalOptions,
        retention: Duration,
        now: Timestamp,
        found: FoundLetters,
        above: u32,
        disk: Box<dyn Disk>,
    ) -> Result<(Self, ScanReport), StoreError> {
        let FoundLetters { kept, report } = found;
        cut(dir, &report)?;
        let journal = Journal::open_on(dir, options, above, now, disk)?;
        let log = Self { dir: dir.to_owned(), journal, group: Group::default(), retention, kept };
        Ok((log, report))
    }

    /// How many letters are kept.
    #[must_use]
    pub fn letters(&self) -> u64 {
        self.kept.values().map(|kept| kept.letters).sum()
    }

    /// The letters in each segment, also in the one that is being written.
    #[must_use]
    pub fn by_segment(&self) -> BTreeMap<u32, u64> {
        let current = (self.journal.end().segment, 0);
        let kept = self.kept.iter().map(|(number, kept)| (*number, kept.letters));
        std::iter::once(current).chain(kept).collect()
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

    /// Deletes the segments whose letters have all outlived the retention after all corrections of the clock, and returns how many. What will be left is
    /// put on record by `note` before anything goes.
    ///
    /// # Errors
    /// What `note` returns, and [`StoreError::Io`] when a file cannot be deleted.
    pub fn expire(
        &mut self,
        now: Timestamp,
        corrections: &[Correction],
        note: impl FnOnce(BTreeMap<u32, u64>) -> Result<(), StoreError>,
    ) -> Result<usize, StoreError> {
        let current = self.journal.end().segment;
        // A segment without letters that decode is either empty or damaged; its raw bytes were set aside.
        let outlived = |kept: &Kept| {
            let newest = Timestamp::from_millis(kept.newest_ms);
            clock::corrected(corrections, newest, newest) + self.retention < now
        };
        let is_old = |number: &u32| self.kept.get(number).is_none_or(outlived);
        let files = segment::list(&self.dir)?.into_iter().map(|file| file.number);
        let old: Vec<u32> = files.filter(|number| *number < current).filter(is_old).collect();
        if old.is_empty() {
            return Ok(0);
        }
        self.kept.retain(|number, _| !old.contains(number));
        note(self.by_segment())?;
        for number in &old {
            segment::remove(&self.dir, *number)?;
        }
        Ok(old.len())
    }

    /// Why the log refuses, once it does.
    #[cfg(test)]
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.journal.failure()
    }

    /// As [`Journal::close`].
    pub fn close(self) {
        self.journal.close();
    }

    fn commit(&mut self, newest: u64, now: Timestamp) -> Result<(), StoreError> {
        let appended = self.journal.append(&mut self.group, now);
        self.group.clear();
        let positions: Vec<Position> = appended?;
        for position in positions {
            self.kept.entry(position.segment).or_default().add(newest);
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
            at_ms,
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
        use crate::clock::{Clock, Mark, Script};
        let (temp, hour) = (tempfile::tempdir().expect("temp"), Duration::from_secs(3600));
        let begun = Timestamp::from_millis(1_000_000);
        let script = Script::new("another", begun + hour * 9);
        let clock = Clock::scripted(&script);
        clock.begin(Some(&Mark::unknown(begun)), Timestamp::ZERO, hour);
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
        assert_eq!((log.letters(), log.expire(at(69_001), &[], kept).expect("expires")), (3, 1));
        assert_eq!(log.letters(), 1);
        assert_eq!(letters(temp.path()), [letter(11_000)]);
        assert_eq!(
            log.expire(at(1_000_000), &[], kept).expect("expires"),
            0,
            "the current segment is being written"
        );
        drop(log);
        let (mut log, report) = DeadLog::open(temp.path(), options, KEEP, at(1_000_000)).expect("opens");
        assert_eq!((report.entries, log.letters()), (1, 1));
        assert_eq!(log.expire(at(1_000_000), &[], kept).expect("expires"), 1, "known from the scan");
        assert_eq!(letters(temp.path()), []);
    }
}
