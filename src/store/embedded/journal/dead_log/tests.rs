//! The journal of dead letters: failing disks, how long letters are kept, what was taken.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::event::{EventId, LaneKey};

const KEEP: Duration = Duration::from_secs(60);
const KEPT: LetterRetention = LetterRetention { age: KEEP, letters: u64::MAX, bytes: u64::MAX };

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
    let (mut log, _) = DeadLog::open_on(temp.path(), options, KEPT, now, found, 0, disk).expect("opens");
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
    for ms in [50_000, 50_001, 11_000] {
        log.append(&[letter(ms)], at(if ms > 11_000 { 0 } else { ms })).expect("appends");
    }
    log.take(&[begun], at(22_000)).expect("takes");
    let marked = |log: &DeadLog| (log.letters().is_kept(begun), log.letters().count());
    assert_eq!(marked(&log), (false, 2));
    drop(log);
    let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(90_000)).expect("opens");
    assert_eq!(marked(&log), (false, 2));
    let kept = |_| Ok(());
    // The last letter is over, but what takes the first one lies behind it.
    assert_eq!(log.expire(at(90_000), &[], kept).expect("expires"), 1);
    drop(log);
    let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(90_000)).expect("opens");
    assert_eq!(marked(&log), (false, 1));
    assert_eq!(
        letters(temp.path()),
        [letter(50_000), letter(50_001)],
        "what a version without such records sees"
    );
    assert!(log.expire(at(110_002), &[], kept).expect("expires") >= 2, "the letter, then the record");
    assert_eq!(log.by_segment().values().sum::<u64>(), 0);
}
#[test]
fn a_segment_goes_when_its_last_letter_is_taken() {
    let temp = tempfile::tempdir().expect("temp");
    let options = JournalOptions { segment_age: Duration::from_secs(10), ..JournalOptions::default() };
    let at = Timestamp::from_millis;
    let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(0)).expect("opens");
    let mut places = Vec::new();
    for ms in [1_000, 2_000, 20_000] {
        places.push(log.journal.end());
        log.append(&[letter(ms)], at(ms)).expect("appends");
    }
    let kept = |_| Ok(());
    log.take(&places[..1], at(21_000)).expect("takes");
    assert_eq!(log.expire(at(22_000), &[], kept).expect("expires"), 0, "the control: one is left");
    log.take(&places[1..2], at(23_000)).expect("takes");
    assert_eq!(log.expire(at(24_000), &[], kept).expect("expires"), 1);
    assert_eq!(letters(temp.path()), [letter(20_000)]);
    drop(log);
    let (log, _) = DeadLog::open(temp.path(), options, KEEP, at(25_000)).expect("opens");
    assert_eq!(log.letters().count(), 1);
}
#[test]
fn the_oldest_files_go_while_there_are_more_letters_or_bytes_than_are_kept() {
    let temp = tempfile::tempdir().expect("temp");
    let options = JournalOptions { segment_age: Duration::from_secs(10), ..JournalOptions::default() };
    let at = Timestamp::from_millis;
    let (mut log, _) = DeadLog::open(temp.path(), options, KEEP, at(0)).expect("opens");
    // Two letters in each of three files; the last one is being written.
    for ms in [1_000, 2_000, 21_000, 22_000, 41_000, 42_000] {
        log.append(&[letter(ms)], at(ms)).expect("appends");
    }
    let kept = |_| Ok(());
    log.retention.letters = 6;
    assert_eq!(log.expire(at(43_000), &[], kept).expect("expires"), 0, "the control: as many as are kept");
    log.retention.letters = 5;
    assert_eq!(log.expire(at(43_000), &[], kept).expect("expires"), 1);
    assert_eq!(log.letters().count(), 4);
    // The file that is being written has the room of a full one, and does not count with it.
    let file_bytes = u64::from(log.journal.end().offset);
    let room = segment::list(temp.path()).expect("lists").last().expect("a file").disk_bytes;
    assert!(room > 64 * file_bytes, "the control: {room} bytes for {file_bytes}");
    (log.retention.letters, log.retention.bytes) = (u64::MAX, room / 2);
    assert_eq!(log.expire(at(43_000), &[], kept).expect("expires"), 0);
    log.retention.bytes = 0;
    assert_eq!(log.expire(at(43_000), &[], kept).expect("expires"), 1);
    assert_eq!(letters(temp.path()), [letter(41_000), letter(42_000)], "the last file stays");
}
