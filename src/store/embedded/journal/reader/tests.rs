//! Reading blocks: files that come and go, reads that fail, bytes that are wrong.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::Timestamp;
use crate::event::LaneKey;
use crate::store::embedded::journal::{FrameGroup, Journal, JournalOptions, NewBlock};

/// One block in each of `count` segments.
fn segments(dir: &Path, count: usize) -> Vec<Position> {
    let options = JournalOptions { segment_bytes: 4096, segment_age: Duration::ZERO, salt: 1 };
    let mut journal = Journal::open(dir, options, 0, Timestamp::ZERO).expect("opens");
    let (lane, mut group) = (LaneKey::new("a@1").expect("valid"), FrameGroup::default());
    let mut positions = Vec::new();
    for at in 0..count {
        let records = [Bytes::from(at.to_string())];
        let block =
            NewBlock { lane_no: 1, lane: &lane, accepted_ms: 1, records: &records, due_ms: &[], dedup: &[] };
        group.push_block(&block).expect("fits");
        positions.extend(journal.append(&mut group, Timestamp::ZERO).expect("appends"));
    }
    positions
}

fn open(reader: &BlockReader) -> Vec<u32> {
    reader.cache().iter().map(|open| open.number).collect()
}

#[test]
fn the_file_not_used_for_longest_is_closed_and_opened_again_when_asked_for() {
    let temp = tempfile::tempdir().expect("temp");
    let at = segments(temp.path(), OPEN_FILES + 2);
    let reader = BlockReader::new(temp.path(), 1);
    for (number, position) in at.iter().enumerate().take(OPEN_FILES) {
        let record = reader.read_block(*position).expect("reads").record(0);
        assert_eq!(record, Some(Bytes::from(number.to_string())));
    }
    assert_eq!(open(&reader).len(), OPEN_FILES);
    reader.read_block(at[0]).expect("reads");
    reader.read_block(at[OPEN_FILES]).expect("reads");
    assert_eq!(open(&reader).len(), OPEN_FILES);
    let used = |number: u32| open(&reader).contains(&number);
    assert!(used(at[0].segment) && !used(at[1].segment), "the second one was the oldest in use");
    let again = reader.read_block(at[1]).expect("reads").record(0);
    assert_eq!(again, Some(Bytes::from_static(b"1")));
    assert!(!used(at[2].segment));
}

#[test]
fn a_deleted_segment_reads_until_it_is_forgotten() {
    let temp = tempfile::tempdir().expect("temp");
    let at = segments(temp.path(), 2);
    let reader = BlockReader::new(temp.path(), 1);
    reader.read_block(at[0]).expect("reads");
    segment::remove(temp.path(), at[0].segment).expect("deletes");
    reader.clone().read_block(at[0]).expect("the open file holds it, and its space");
    reader.forget(at[0].segment);
    assert!(matches!(reader.read_block(at[0]), Err(ReadError::Gone { segment: 1 })));
    reader.read_block(at[1]).expect("reads");
}
