//! A segment of format version 1 reads for ever. The fixture was written by the code of the first release;
//! when this fails, the code is wrong, not the fixture.

use tidegate::testkit::event::Tries;
use tidegate::testkit::store::embedded::journal::{
    BlockReader, Frame, Position, Scan, Settled, SettledRun, What, scan,
};

#[test]
fn a_segment_of_format_1_reads() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_v1/journal");
    let mut runs = Vec::new();
    let mut due = Vec::new();
    let mut rows = Vec::new();
    let mut blocks = Vec::new();
    let report = scan(&dir, Scan::default(), |position, frame| {
        match frame {
            Frame::Block(head) => {
                blocks.push(position);
                due.extend(head.due_ms());
                rows.extend(head.dedup().map(|row| (row.index, row.dedup.key, row.dedup.fingerprint)));
            }
            Frame::Settlements(reader) => runs.extend(reader),
            Frame::Dead(letter) => assert_eq!(letter.reason, "http_404"),
        }
        Ok(())
    })
    .expect("scans");
    assert_eq!((report.frames, report.entries, report.settlements, report.damaged), (4, 4, 2, 0));
    assert_eq!((due, rows), (vec![1_700_000_060_000], vec![(0, [7; 16], 99)]));
    let reader = BlockReader::new(&dir, 0x0123_4567_89ab_cdef);
    let plain = reader.read_block(blocks[0]).expect("reads");
    assert_eq!((plain.lane.as_str(), plain.accepted_ms, plain.count()), ("a@1+b@2", 1_700_000_000_000, 2));
    assert_eq!(plain.record(0).as_deref(), Some(&b"first"[..]));
    assert_eq!(plain.record(1).as_deref(), Some(&[b'z'; 300][..]));
    let delayed = reader.read_block(blocks[1]).expect("reads");
    assert_eq!(delayed.record(0).as_deref(), Some(&b"later"[..]));
    let settled = |index, from_due_ms, what| Settled { why: None, index, from_due_ms, what };
    let entries = vec![
        settled(0, None, What::Delivered),
        settled(
            1,
            Some(5),
            What::Reschedule { due_ms: 1_700_000_009_000, tries: Tries::of(2), doubted_ms: None },
        ),
    ];
    assert_eq!(runs, [SettledRun { lane_no: 1, block: Position { segment: 1, offset: 64 }, entries }]);
}
