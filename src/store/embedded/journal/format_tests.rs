//! The bytes themselves: codecs against arbitrary input, and the fixture of format version 1.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::frame::FrameError;
use super::*;
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Tries};
use crate::store::embedded::keys::Keys;
use crate::store::{DeadLetter, Dedup, StoreError};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn opener(keys: &Keys) -> sealing::Opener<'_> {
    sealing::Opener { keys, place: frame::FramePlace { salt: 0, segment: 1, offset: 64 } }
}

fn lane() -> LaneKey {
    LaneKey::new("a@1").expect("valid")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = BlockHead::decode(&bytes).and_then(|head| head.unpack(opener(&Keys::default())));
        let _ = RunReader::decode(&bytes);
        let _ = dead::without_keys(&bytes, false);
        let _ = dead::without_keys(&bytes, true);
        let opened = frame::open(&bytes, frame::FramePlace { salt: 0, segment: 1, offset: 0 });
        prop_assert!(matches!(opened, Err(FrameError::Mark | FrameError::Short | FrameError::Length | FrameError::Checksum)));
    }

    #[test]
    fn blocks_round_trip(records in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..90), 1..256)) {
        let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
        let due: Vec<u64> = (0..records.len() as u64).collect();
        let mut payload = Vec::new();
        let block = NewBlock { lane_no: 1, lane: &lane(), accepted_ms: 1, records: &records, due_ms: &due, dedup: &[] };
        block::encode(&block, false, &mut block::Packer::default(), &mut payload).expect("encodes");
        let read = BlockHead::decode(&payload).expect("decodes").unpack(opener(&Keys::default())).expect("unpacks");
        prop_assert_eq!(&read.due_ms, &due);
        let back: Vec<Bytes> = (0..read.count()).filter_map(|at| read.record(at)).collect();
        prop_assert_eq!(back, records);
        for cut in (0..payload.len()).step_by(61) {
            let cut = BlockHead::decode(&payload[..cut]).and_then(|head| head.unpack(opener(&Keys::default())));
            prop_assert!(cut.is_err() || payload[6] & 2 != 0);
        }
    }
}

/// The segment of `tests/fixtures/format_v1`, as this code writes it.
#[test]
fn this_version_writes_the_fixture_byte_for_byte() {
    let temp = tempfile::tempdir().expect("temp");
    let options =
        JournalOptions { segment_bytes: 4096, salt: 0x0123_4567_89ab_cdef, ..JournalOptions::default() };
    let mut journal = Journal::open(temp.path(), options, 0, NOW).expect("opens");
    let mut group = FrameGroup::default();
    let lane = LaneKey::new("a@1+b@2").expect("valid");
    let records = [Bytes::from_static(b"first"), Bytes::from(vec![b'z'; 300])];
    let plain = NewBlock {
        lane_no: 1,
        lane: &lane,
        accepted_ms: 1_700_000_000_000,
        records: &records,
        due_ms: &[],
        dedup: &[],
    };
    group.push_block(&plain).expect("fits");
    let rows = [DedupRow { index: 0, dedup: Dedup { key: [7; 16], fingerprint: 99 } }];
    let later = [Bytes::from_static(b"later")];
    let delayed = NewBlock { records: &later, due_ms: &[1_700_000_060_000], dedup: &rows, ..plain };
    group.push_block(&delayed).expect("fits");
    journal.append(&mut group, NOW).expect("appends");
    let what = What::Reschedule { due_ms: 1_700_000_009_000, tries: Tries::of(2), doubted_ms: None };
    let entries = vec![
        Settled { why: None, index: 0, from_due_ms: None, what: What::Delivered },
        Settled { why: None, index: 1, from_due_ms: Some(5), what },
    ];
    let run = SettledRun { lane_no: 1, block: Position { segment: 1, offset: 64 }, entries };
    group.push_settlements(&[run]).expect("fits");
    // Format 1 does not forbid a dead letter here; the fixture so shows all kinds in one file.
    let reason = "http_404".to_owned();
    let record = Bytes::from_static(b"gone");
    let id = EventId::new(1_700_000_000_000, 1);
    group
        .push_dead(&DeadLetter {
            id,
            lane,
            at: Timestamp::from_millis(1_700_000_000_500),
            attempts: 1,
            reason,
            record,
        })
        .expect("fits");
    journal.append(&mut group, NOW).expect("appends");
    journal.close();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_v1/journal/0000000001.seg");
    let written = fs::read(temp.path().join("0000000001.seg")).expect("reads");
    assert_eq!(written, fs::read(&fixture).expect("the fixture"));
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let temp = tempfile::tempdir().expect("temp");
    let mut head = head::HeadFields { segment: 1, salt: 0, key: None }.encode();
    for copy in head.chunks_exact_mut(32) {
        copy[8] = 3;
        let crc = crc32c::crc32c(&copy[..28]);
        copy[28..].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(temp.path().join("0000000001.seg"), head).expect("writes");
    let newer = scan(temp.path(), Scan { repair: true, ..Scan::default() }, |_, _| Ok(()));
    assert!(matches!(newer, Err(StoreError::Format { found: 3, known: 2, .. })));
}
