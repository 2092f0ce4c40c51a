//! The walk finds the same whatever the size of its windows.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::super::{FrameGroup, HEAD_BYTES, Journal, JournalOptions, NewBlock};
use super::*;
use crate::clock::Timestamp;
use crate::event::LaneKey;

const SALT: u64 = 7;
/// Larger than any segment here.
const WHOLE: usize = 1 << 20;

/// The bytes of a segment with groups of one to three blocks of some entries each, and zeros behind them.
fn written(dir: &Path, rng: &mut fastrand::Rng) -> Vec<u8> {
    let options = JournalOptions { segment_bytes: 16 * 1024, salt: SALT, ..JournalOptions::default() };
    let mut journal = Journal::open(dir, options, 0, Timestamp::ZERO).expect("opens");
    let (lane, mut group) = (LaneKey::new("a@1").expect("valid"), FrameGroup::default());
    for _ in 0..rng.usize(1..12) {
        for _ in 0..rng.usize(1..4) {
            let records: Vec<Bytes> = (0..rng.usize(1..4))
                .map(|_| {
                    let length = rng.usize(1..300);
                    // Noise, or zeros, which look like what was never written.
                    let noise = rng.bool();
                    (0..length).map(|_| if noise { rng.u8(..) } else { 0 }).collect::<Vec<_>>().into()
                })
                .collect();
            let (lane, records) = (&lane, &records[..]);
            let block = NewBlock { lane_no: 1, lane, accepted_ms: 1, records, due_ms: &[], dedup: &[] };
            group.push_block(&block).expect("fits");
        }
        journal.append(&mut group, Timestamp::ZERO).expect("appends");
    }
    let bytes = fs::read(dir.join("0000000001.seg")).expect("reads");
    fs::remove_dir_all(dir).expect("deletes");
    bytes
}

/// Damages some places: bits, zeros, noise, marks that begin no frame, frames that were copied elsewhere, a cut.
fn damage(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    for _ in 0..rng.usize(0..5) {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let at = rng.usize(0..used);
        let range = at..(at + rng.usize(1..400)).min(bytes.len());
        match rng.u8(0..6) {
            0 => bytes[at] ^= 1 << rng.u8(0..8),
            1 => bytes[range].fill(0),
            2 => bytes[range].iter_mut().for_each(|byte| *byte = rng.u8(..)),
            3 => {
                let at = (at / ALIGN * ALIGN).min(bytes.len() - MARK.len());
                bytes[at..at + MARK.len()].copy_from_slice(&MARK);
            }
            4 => {
                let copied = bytes[range].to_vec();
                let to = rng.usize(0..=bytes.len() - copied.len()) / ALIGN * ALIGN;
                bytes[to..to + copied.len()].copy_from_slice(&copied);
            }
            _ => bytes.truncate(at.max(ALIGN)),
        }
    }
}

/// All that a walk says of a file, in windows of this many bytes.
fn walked(file: &File, window_bytes: usize, start: usize) -> Vec<String> {
    let walk = |at| {
        let window = FileWindow::of(file, MAX_FILE_BYTES, window_bytes).expect("asks");
        Walk::over(window, at, SALT, 1).expect("reads")
    };
    let counted = walk(HEAD_BYTES).count_before(start).expect("reads");
    let has_frames = walk(HEAD_BYTES).has_frames().expect("reads");
    let length = usize::try_from(file.metadata().expect("asks").len()).expect("short");
    let mut walk = walk(start.min(length)).counted(counted);
    let mut said = vec![format!("{counted:?} {has_frames} {} {}", walk.used_end(), walk.starts_beyond_end())];
    while let Some(step) = walk.next().expect("reads") {
        said.push(format!("{step:?}"));
    }
    said
}

#[test]
fn the_size_of_the_windows_changes_nothing_of_what_is_found() {
    let temp = tempfile::tempdir().expect("temp");
    let (mut with_damage, mut with_frames) = (0, 0);
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = written(&temp.path().join("journal"), &mut rng);
        damage(&mut bytes, &mut rng);
        let path = temp.path().join("segment");
        fs::write(&path, &bytes).expect("writes");
        let file = File::open(&path).expect("opens");
        let frames = walked(&file, WHOLE, HEAD_BYTES);
        with_damage += usize::from(frames.iter().any(|step| step.starts_with("Bad")));
        with_frames += usize::from(frames.iter().any(|step| step.starts_with("Frame")));
        let any = rng.usize(0..bytes.len() + 100) / ALIGN * ALIGN;
        for start in [HEAD_BYTES, any] {
            let whole = walked(&file, WHOLE, start);
            for window_bytes in [64, 1000] {
                assert_eq!(
                    walked(&file, window_bytes, start),
                    whole,
                    "seed {seed}, {window_bytes} bytes from {start}"
                );
            }
        }
    }
    assert!(with_damage > 100 && with_frames > 100, "the control: {with_damage} {with_frames}");
}

#[test]
fn a_frame_of_a_newer_version_ends_the_walk() {
    let temp = tempfile::tempdir().expect("temp");
    let mut bytes = vec![0; 4096];
    let header = [&MARK[..], &[9, 1, 1, 0], &[0; 12]].concat();
    let mut sum = crc32c::crc32c(&header[4..]);
    let place = [&SALT.to_le_bytes()[..], &1_u32.to_le_bytes(), &64_u32.to_le_bytes()].concat();
    sum = crc32c::crc32c_append(sum, &place);
    bytes[64..84].copy_from_slice(&header);
    bytes[84..88].copy_from_slice(&sum.to_le_bytes());
    let file = File::create_new(temp.path().join("segment"))
        .and_then(|_| File::options().read(true).write(true).open(temp.path().join("segment")));
    let file = file.expect("creates");
    file.write_all_at(&bytes, 0).expect("writes");
    let said = walked(&file, WHOLE, 2048);
    assert!(said[0].starts_with("None true"), "{said:?}");
    assert_eq!(walked(&file, WHOLE, HEAD_BYTES)[1..], ["Newer(9)"]);
}
