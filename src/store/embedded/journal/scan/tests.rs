//! What a scan sets aside, cuts and counts.

use bytes::Bytes;

use super::super::{FRAME_HEADER_BYTES, FrameGroup, Journal, NewBlock, cut};
use super::*;
use crate::clock::Timestamp;
use crate::event::LaneKey;

/// Two groups in a first segment and one in a second one; the bytes of the first and where its groups begin.
fn written(dir: &Path) -> (Vec<u8>, Vec<usize>) {
    let mut at = Vec::new();
    for groups in [2, 1] {
        let options = JournalOptions { segment_bytes: 4096, ..JournalOptions::default() };
        let mut journal = Journal::open(dir, options, 0, Timestamp::ZERO).expect("opens");
        let (lane, mut group) = (LaneKey::new("a@1").expect("valid"), FrameGroup::default());
        for _ in 0..groups {
            let records = [Bytes::from_static(b"what was accepted")];
            let block = NewBlock {
                lane_no: 1,
                lane: &lane,
                accepted_ms: 1,
                records: &records,
                due_ms: &[],
                dedup: &[],
            };
            group.push_block(&block).expect("fits");
            at.extend(journal.append(&mut group, Timestamp::ZERO).expect("appends"));
        }
    }
    let bytes = fs::read(dir.join("0000000001.seg")).expect("reads");
    (bytes, at.iter().map(|position| position.offset as usize).collect())
}

fn repair(dir: &Path) -> ScanReport {
    scan(dir, Scan { repair: true, ..Scan::default() }, |_, _| Ok(())).expect("scans")
}

fn repair_and_cut(dir: &Path) -> ScanReport {
    let report = repair(dir);
    cut(dir, &report).expect("cuts");
    report
}

fn quarantine(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(dir.join("quarantine")) else { return Vec::new() };
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("text");
        (name, fs::read(entry.path()).expect("reads"))
    };
    let mut found: Vec<_> = entries.flatten().map(read).collect();
    found.sort();
    found
}

#[test]
fn damaged_bytes_are_set_aside_as_they_were_and_once() {
    let temp = tempfile::tempdir().expect("temp");
    let (mut bytes, at) = written(temp.path());
    assert_eq!((repair(temp.path()).damaged, quarantine(temp.path())), (0, vec![]), "the control");
    bytes[at[0] + FRAME_HEADER_BYTES + 2] ^= 0x10;
    fs::write(temp.path().join("0000000001.seg"), &bytes).expect("writes");
    let kept = [("0000000001-64.bin".to_owned(), bytes[at[0]..at[1]].to_vec())];
    for _ in 0..2 {
        let report = repair(temp.path());
        assert_eq!((report.damaged, report.set_aside_failures, report.entries), (1, 0, 2));
        assert_eq!(quarantine(temp.path()), kept);
    }
    assert_eq!(fs::read(temp.path().join("0000000001.seg")).expect("reads"), bytes, "damage is not cut");
}

#[test]
fn a_torn_end_is_set_aside_and_cut() {
    let temp = tempfile::tempdir().expect("temp");
    let (bytes, at) = written(temp.path());
    segment::remove(temp.path(), 2).expect("deletes");
    let torn = &bytes[..at[1] + FRAME_HEADER_BYTES + 3];
    fs::write(temp.path().join("0000000001.seg"), torn).expect("writes");
    assert_eq!(repair(temp.path()), repair(temp.path()), "the torn end stays until it is cut");
    assert_eq!(fs::metadata(temp.path().join("0000000001.seg")).expect("there").len(), torn.len() as u64);
    let report = repair_and_cut(temp.path());
    assert_eq!((report.damaged, report.entries), (0, 1));
    let kept = quarantine(temp.path());
    assert_eq!(kept.len(), 1);
    assert!(kept[0].1.starts_with(&torn[at[1]..]) && kept[0].0 == format!("0000000001-{}.bin", at[1]));
    assert_eq!(fs::read(temp.path().join("0000000001.seg")).expect("reads"), bytes[..at[1]]);
}

#[test]
fn a_quarantine_that_cannot_be_written_is_counted_and_stops_nothing() {
    let temp = tempfile::tempdir().expect("temp");
    let (mut bytes, at) = written(temp.path());
    bytes[at[0] + FRAME_HEADER_BYTES] ^= 1;
    fs::write(temp.path().join("0000000001.seg"), &bytes).expect("writes");
    fs::write(temp.path().join("quarantine"), "in the way").expect("writes");
    let report = repair(temp.path());
    assert_eq!((report.damaged, report.set_aside_failures, report.entries), (1, 1, 2));
}
