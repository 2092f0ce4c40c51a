//! The journal's promises, against every cut, every flip and every failing call.

mod full;
mod sealed;
mod shortage;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Tries};
use crate::store::embedded::keys::Keys;
use crate::store::{DeadLetter, Dedup, StoreError};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 4096, salt: 0x0123_4567_89ab_cdef, ..JournalOptions::default() }
}

fn lane() -> LaneKey {
    LaneKey::new("a@1").expect("valid")
}

fn push(group: &mut FrameGroup, records: &[Bytes]) {
    let block = NewBlock { lane_no: 7, lane: &lane(), accepted_ms: 42, records, due_ms: &[], dedup: &[] };
    group.push_block(&block).expect("fits");
}

/// A record that LZ4 cannot shorten, told apart by its seed.
fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

/// Every record of a directory in order, with the report.
fn contents(dir: &Path, repair: bool) -> (Vec<Bytes>, ScanReport) {
    let mut positions = Vec::new();
    let report = scan(dir, Scan { repair, ..Scan::default() }, |position, frame| {
        if matches!(frame, Frame::Block(_)) {
            positions.push(position);
        }
        Ok(())
    })
    .expect("scans");
    cut(dir, &report).expect("cuts");
    let reader = BlockReader::new(dir, options().salt);
    let read = |position| reader.read_block(position).expect("what a scan shows reads");
    let records = positions
        .into_iter()
        .map(read)
        .flat_map(|block| (0..block.count()).map(move |at| block.record(at).expect("in range")));
    (records.collect(), report)
}

/// Three groups of one block with two records each, in one segment.
fn three_groups(dir: &Path) -> Vec<Position> {
    let mut journal = Journal::open(dir, options(), 0, NOW).expect("opens");
    let mut group = FrameGroup::default();
    let mut positions = Vec::new();
    for seed in 0..3 {
        push(&mut group, &[noise(seed * 2, 40), noise(seed * 2 + 1, 33)]);
        positions.extend(journal.append(&mut group, NOW).expect("appends"));
    }
    positions
}

fn six() -> Vec<Bytes> {
    (0..6).map(|seed| noise(seed, if seed % 2 == 0 { 40 } else { 33 })).collect()
}

#[test]
fn what_was_appended_is_read_and_scanned() {
    let temp = tempfile::tempdir().expect("temp");
    let positions = three_groups(temp.path());
    assert!(positions.is_sorted() && positions.iter().all(|position| position.offset % 8 == 0));
    let (records, report) = contents(temp.path(), false);
    assert_eq!(records, six());
    assert_eq!((report.frames, report.entries, report.damaged, report.newest_ms), (3, 6, 0, 42));
}

#[test]
fn a_scan_can_begin_where_an_index_left_off() {
    let temp = tempfile::tempdir().expect("temp");
    let positions = three_groups(temp.path());
    let mut seen = Vec::new();
    let from = Scan { from: positions[1], ..Scan::default() };
    let report = scan(temp.path(), from, |position, _| {
        seen.push(position);
        Ok(())
    })
    .expect("scans");
    assert_eq!(seen, positions[1..]);
    assert_eq!(report.start_beyond, None);
    assert_eq!(report.walked[&1].before, Some(2));
    let beyond = Position { segment: 1, offset: 60_000 };
    let report = scan(temp.path(), Scan { from: beyond, ..Scan::default() }, |_, _| Ok(())).expect("scans");
    assert_eq!(
        report.start_beyond.map(|beyond| beyond.0),
        Some(1),
        "an older copy of the segment was put in its place"
    );
}

#[test]
fn settlements_and_dedup_rows_and_due_times_come_back() {
    let temp = tempfile::tempdir().expect("temp");
    let mut journal = Journal::open(temp.path(), options(), 0, NOW).expect("opens");
    let mut group = FrameGroup::default();
    let rows = [DedupRow { index: 1, dedup: Dedup { key: [9; 16], fingerprint: 5 } }];
    let records = [Bytes::from_static(b"x"), Bytes::from(vec![b'y'; 5000])];
    let block = NewBlock {
        lane_no: 3,
        lane: &lane(),
        accepted_ms: 1,
        records: &records,
        due_ms: &[10, 20],
        dedup: &rows,
    };
    group.push_block(&block).expect("fits");
    let whats = [
        What::Delivered,
        What::Reschedule { due_ms: 77, tries: Tries::of(3), doubted_ms: None },
        What::Reschedule { due_ms: 78, tries: Tries::of(3).and_free(), doubted_ms: Some(76) },
        What::Lost,
        What::Dead,
        What::Expired,
        What::Drained,
        What::Cancelled,
    ];
    let due = |index| (index == 1).then_some(8);
    let settled = |(index, what)| Settled { why: None, index: index as u8, from_due_ms: due(index), what };
    let entries = whats.into_iter().enumerate().map(settled).collect();
    let run = SettledRun { lane_no: 3, block: Position { segment: 1, offset: 64 }, entries };
    group.push_settlements(&[run.clone(), run.clone()]).expect("fits");
    assert!(group.len() < 700, "the long record is packed");
    journal.append(&mut group, NOW).expect("appends");
    let mut runs = Vec::new();
    let report = scan(temp.path(), Scan::default(), |_, frame| {
        match frame {
            Frame::Block(head) => {
                assert_eq!((head.lane_no, head.lane, head.count, head.is_delayed()), (3, "a@1", 2, true));
                assert_eq!(head.due_ms().collect::<Vec<_>>(), [10, 20]);
                assert_eq!(head.dedup().collect::<Vec<_>>(), rows);
            }
            Frame::Settlements(reader) => runs.extend(reader),
            Frame::Dead(_) => panic!("none was written"),
        }
        Ok(())
    });
    assert_eq!(runs, [run.clone(), run]);
    assert_eq!(report.expect("scans").settlements, 16);
    mark_settled(temp.path(), 1).expect("renames");
    let mut kinds = 0;
    scan(temp.path(), Scan::default(), |_, frame| {
        assert!(matches!(frame, Frame::Settlements(_)));
        kinds += 1;
        Ok(())
    })
    .expect("scans");
    assert_eq!(kinds, 1);
}

#[test]
fn segments_change_by_size_and_age_and_never_reuse_a_number() {
    let temp = tempfile::tempdir().expect("temp");
    let mut journal = Journal::open(temp.path(), options(), 4, NOW).expect("opens");
    let mut group = FrameGroup::default();
    let mut segments = Vec::new();
    for (seed, now) in [(0, NOW), (1, NOW), (2, NOW), (3, NOW + Duration::from_secs(300))] {
        push(&mut group, &[noise(seed, 1500)]);
        segments.extend(journal.append(&mut group, now).expect("appends").iter().map(|at| at.segment));
    }
    assert_eq!(segments, [5, 5, 6, 7]);
    drop(journal);
    let (records, report) = contents(temp.path(), true);
    assert_eq!((records.len(), report.damaged, report.torn_bytes), (4, 0, 0));
    let journal = Journal::open(temp.path(), options(), 0, NOW).expect("opens");
    assert_eq!(journal.end().segment, 8);
    let reader = journal.reader();
    remove(temp.path(), 5).expect("deletes");
    let gone = reader.read_block(Position { segment: 5, offset: 64 });
    assert!(matches!(gone, Err(ReadError::Gone { segment: 5 })));
}

#[test]
fn every_cut_of_the_last_segment_leaves_the_groups_before_it() {
    let temp = tempfile::tempdir().expect("temp");
    let positions = three_groups(temp.path());
    let path = temp.path().join("0000000001.seg");
    let whole = fs::read(&path).expect("reads");
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).expect("writes");
        // Repairs are synced: not at each of the cuts, but at some inside each part of each frame.
        let repair = cut % 7 == 0;
        let (records, report) = contents(temp.path(), repair);
        let ends = positions[1..].iter().map(|next| next.offset as usize).chain([whole.len() - 3]);
        let whole_groups = ends.filter(|end| *end <= cut).count();
        // The last bytes are padding: its frame may be whole without them.
        assert!(records.len() / 2 >= whole_groups.min(2), "cut at {cut}");
        assert_eq!(records, six()[..records.len()], "cut at {cut}");
        if cut >= 64 {
            assert_eq!(report.damaged, 0, "cut at {cut}");
        }
        if !repair {
            continue;
        }
        let (again, report) = contents(temp.path(), false);
        assert_eq!((again, report.torn_bytes), (records, 0), "repaired at {cut}");
        let _ = fs::remove_dir_all(temp.path().join("quarantine"));
    }
}

#[test]
fn every_flipped_byte_is_found_and_costs_its_own_block_alone() {
    let temp = tempfile::tempdir().expect("temp");
    let positions = three_groups(temp.path());
    let path = temp.path().join("0000000001.seg");
    let whole = fs::read(&path).expect("reads");
    // A later segment: nothing in the first one can be a torn end.
    drop(Journal::open(temp.path(), options(), 0, NOW).expect("opens"));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).expect("writes");
        let (records, report) = contents(temp.path(), false);
        let hit = positions.iter().rposition(|position| position.offset as usize <= at);
        let of_others = |(n, _): &(usize, Bytes)| hit.is_some_and(|hit| n / 2 != hit);
        let expected: Vec<Bytes> = match records.len() {
            6 => six(),
            _ => six().into_iter().enumerate().filter(of_others).map(|(_, record)| record).collect(),
        };
        // The last block has none after it to count by, and its own claim may be what was hit.
        let counted = records.len() == 6 || hit == Some(2) || report.lost_entries == 2;
        assert!(counted, "flip at {at}: {report:?}");
        assert_eq!(records, expected, "flip at {at}");
        let padding = records.len() == 6 && at >= 64;
        assert!(report.damaged == 1 || padding, "flip at {at} went unseen");
    }
}

#[test]
fn without_the_checksum_a_flip_would_pass_for_data() {
    // The control of the test above: below the checksum layer a flipped record byte is simply another record.
    let mut payload = Vec::new();
    let records = [noise(1, 40)];
    let block =
        NewBlock { lane_no: 1, lane: &lane(), accepted_ms: 1, records: &records, due_ms: &[], dedup: &[] };
    block::encode(&block, false, &mut block::Packer::default(), &mut payload).expect("encodes");
    *payload.last_mut().expect("a byte") ^= 1;
    let place = frame::FramePlace { salt: 0, segment: 1, offset: 64 };
    let opener = sealing::Opener { keys: &Keys::default(), place };
    let wrong = BlockHead::decode(&payload).expect("decodes").unpack(opener).expect("unpacks").record(0);
    assert!(wrong.is_some_and(|record| record != records[0]));
}

#[test]
fn a_frame_inside_a_record_does_not_pass_for_one() {
    let temp = tempfile::tempdir().expect("temp");
    three_groups(temp.path());
    let stolen = fs::read(temp.path().join("0000000001.seg")).expect("reads");
    let mut journal = Journal::open(temp.path(), options(), 0, NOW).expect("opens");
    let mut group = FrameGroup::default();
    let shifted = |by: usize| Bytes::from([&vec![1; by][..], &stolen[64..200]].concat());
    push(&mut group, &(0..8).map(shifted).collect::<Vec<_>>());
    let at = journal.append(&mut group, NOW).expect("appends")[0];
    drop(journal);
    let path = temp.path().join("0000000002.seg");
    let mut bytes = fs::read(&path).expect("reads");
    bytes[at.offset as usize + 5] ^= 1;
    fs::write(&path, bytes).expect("writes");
    let (records, _) = contents(temp.path(), false);
    assert_eq!(records, six());
}

#[derive(Clone, Default)]
struct Failing {
    fail_write: Option<usize>,
    fail_sync: Option<usize>,
    /// EIO, ENOSPC or ENOMEM.
    write_errno: i32,
    writes: Arc<AtomicUsize>,
    syncs: Arc<AtomicUsize>,
}

impl Disk for Failing {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.fail_write == Some(self.writes.fetch_add(1, Ordering::Relaxed)) {
            OsDisk.write_at(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::from_raw_os_error(self.write_errno));
        }
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        if self.fail_sync == Some(self.syncs.fetch_add(1, Ordering::Relaxed)) {
            return Err(io::Error::from_raw_os_error(5));
        }
        OsDisk.sync(file)
    }
}

#[test]
fn a_group_is_one_write_and_one_sync() {
    let temp = tempfile::tempdir().expect("temp");
    let disk = Failing::default();
    let mut journal =
        Journal::open_on(temp.path(), options(), 0, NOW, Box::new(disk.clone()), Keys::default())
            .expect("opens");
    let before = (disk.writes.load(Ordering::Relaxed), disk.syncs.load(Ordering::Relaxed));
    let mut group = FrameGroup::default();
    (0..5).for_each(|seed| push(&mut group, &[noise(seed, 50)]));
    assert_eq!(journal.append(&mut group, NOW).expect("appends").len(), 5);
    let after = (disk.writes.load(Ordering::Relaxed), disk.syncs.load(Ordering::Relaxed));
    assert_eq!(after, (before.0 + 1, before.1 + 1));
    assert!(journal.append(&mut group, NOW).expect("nothing to do").is_empty());
    assert_eq!(disk.syncs.load(Ordering::Relaxed), after.1);
}

#[test]
fn after_any_failing_call_nothing_more_is_written_and_what_was_acknowledged_stays() {
    for nth in 0..8 {
        for fail_sync in [false, true] {
            let temp = tempfile::tempdir().expect("temp");
            let mut disk = Failing { write_errno: 5, ..Failing::default() };
            *(if fail_sync { &mut disk.fail_sync } else { &mut disk.fail_write }) = Some(nth);
            let Ok(mut journal) =
                Journal::open_on(temp.path(), options(), 0, NOW, Box::new(disk.clone()), Keys::default())
            else {
                assert_eq!(nth, 0);
                continue;
            };
            let mut group = FrameGroup::default();
            let mut acknowledged = Vec::new();
            let mut calls = None;
            for seed in 0..8 {
                let record = noise(seed, 1500);
                push(&mut group, std::slice::from_ref(&record));
                match journal.append(&mut group, NOW) {
                    Ok(_) => {
                        assert!(calls.is_none(), "acknowledged after a failure");
                        acknowledged.push(record);
                    }
                    Err(StoreError::Poisoned { .. }) => {
                        let now = (disk.writes.load(Ordering::Relaxed), disk.syncs.load(Ordering::Relaxed));
                        assert_eq!(*calls.get_or_insert(now), now, "touched the disk after a failure");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(calls.is_some() && journal.failure().is_some());
            drop(journal);
            let (found, report) = contents(temp.path(), true);
            assert_eq!(found[..acknowledged.len()], acknowledged, "{nth}");
            assert_eq!(report.damaged, 0, "{nth}");
        }
    }
}

#[test]
fn a_group_without_room_or_memory_is_taken_back_and_may_be_appended_again() {
    for (again, write_errno) in [(true, 28), (false, 28), (true, 12), (false, 12)] {
        let temp = tempfile::tempdir().expect("temp");
        // The first write is that of the head.
        let disk = Failing { fail_write: Some(2), write_errno, ..Failing::default() };
        let mut journal =
            Journal::open_on(temp.path(), options(), 0, NOW, Box::new(disk.clone()), Keys::default())
                .expect("opens");
        let mut group = FrameGroup::default();
        push(&mut group, &[noise(0, 300)]);
        journal.append(&mut group, NOW).expect("appends");
        // Its first half is written: the first of its two frames is whole.
        (1..3).for_each(|seed| push(&mut group, &[noise(seed, 300)]));
        let refused = journal.append(&mut group, NOW);
        assert!(refused.as_ref().is_err_and(StoreError::is_refusal), "{refused:?}");
        assert!(journal.failure().is_none());
        if again {
            assert_eq!(journal.append(&mut group, NOW).expect("there is room").len(), 2);
        } else {
            group.clear();
        }
        // As after a crash: nothing is tidied up.
        std::mem::forget(journal);
        let (found, report) = contents(temp.path(), true);
        assert_eq!(found.len(), if again { 3 } else { 1 });
        assert_eq!((report.damaged, report.torn_bytes), (0, 0), "nothing is left of it");
    }
}

#[test]
fn bounds_are_refused_and_leave_the_group_as_it_was() {
    let mut group = FrameGroup::default();
    let long = [Bytes::from(vec![0; crate::store::MAX_RECORD_BYTES + 1])];
    let whole = vec![Bytes::from(vec![0; crate::store::MAX_RECORD_BYTES]); 8];
    for records in [&long[..], &whole[..], &[], &vec![Bytes::new(); 257]] {
        let block = NewBlock { lane_no: 1, lane: &lane(), accepted_ms: 1, records, due_ms: &[], dedup: &[] };
        assert!(matches!(group.push_block(&block), Err(StoreError::TooLarge { .. })));
        assert!(group.is_empty());
    }
    push(&mut group, &whole[..7]);
    push(&mut group, &vec![Bytes::new(); 256]);
}

#[test]
fn dead_letters_are_kept_for_their_retention() {
    let temp = tempfile::tempdir().expect("temp");
    let keep = Duration::from_secs(60);
    let id = EventId::new(5, 6);
    let record = noise(1, 3000);
    let letter = DeadLetter {
        id,
        lane: lane(),
        at: Timestamp::from_millis(1_000),
        attempts: 8,
        reason: "http_404".into(),
        record,
    };
    let (mut log, _) = DeadLog::open(temp.path(), options(), keep, NOW).expect("opens");
    log.append(std::slice::from_ref(&letter), NOW).expect("appends");
    let late = DeadLetter { at: Timestamp::from_millis(70_000), ..letter.clone() };
    log.append(std::slice::from_ref(&late), NOW).expect("appends");
    drop(log);
    let (mut log, report) = DeadLog::open(temp.path(), options(), keep, NOW).expect("opens");
    assert_eq!(report.entries, 2);
    assert_eq!(log.expire(Timestamp::from_millis(61_000), &[], |_| Ok(())).expect("expires"), 0);
    assert_eq!(log.expire(Timestamp::from_millis(61_001), &[], |_| Ok(())).expect("expires"), 1);
    let mut left = Vec::new();
    scan(temp.path(), Scan::default(), |_, frame| {
        if let Frame::Dead(letter) = frame {
            left.push(letter);
        }
        Ok(())
    })
    .expect("scans");
    assert_eq!(left, [late]);
}
