//! The closing list: what is written is found, in order, and every damage is recognised.

use std::fs;
use std::path::Path;

use super::writer::ListWriter;
use super::*;
use crate::store::embedded::bits::Bits;

const SALT: u64 = 0x5a17;
const END: Position = Position { segment: 900, offset: 4096 };

fn written(root: &Path, blocks: &[(Position, Bits)]) {
    let fill = |writer: &mut ListWriter| {
        blocks.iter().for_each(|(at, living)| writer.add(*at, *living).expect("writes"));
        Ok(())
    };
    write(root, SALT, END, fill).expect("writes");
}

/// All blocks of the list; what is wrong with it otherwise.
fn read(root: &Path, salt: u64, end: Position) -> Result<Vec<(Position, Bits)>, String> {
    match open(root, salt, end).expect("no error of the system") {
        StoredList::Missing => Err("missing".to_owned()),
        StoredList::Damaged { reason } => Err(reason),
        StoredList::Whole(mut living) => {
            Ok(std::iter::from_fn(|| living.next().expect("no error of the system")).collect())
        }
    }
}

fn set(indexes: &[u8]) -> Bits {
    let mut bits = Bits::default();
    indexes.iter().for_each(|index| bits.set(*index));
    bits
}

fn at(segment: u32, offset: u32) -> Position {
    Position { segment, offset }
}

#[test]
fn every_form_of_a_block_reads_back_and_damage_of_any_byte_is_noticed() {
    let temp = tempfile::tempdir().expect("temp");
    let blocks = vec![
        (at(1, 64), Bits::first(1)),
        (at(1, 128), Bits::first(256)),
        (at(1, 1 << 26), set(&[255])),
        (at(2, 64), set(&[0, 7, 8, 100])),
        (at((1 << 24) - 1, (1 << 26) + 64), Bits::first(200).without(&set(&[3]))),
    ];
    written(temp.path(), &blocks);
    assert_eq!(read(temp.path(), SALT, END), Ok(blocks), "the control");
    assert_eq!(fs::read_dir(temp.path()).expect("lists").count(), 1, "nothing else is left behind");
    let path = temp.path().join(NAME);
    let sound = fs::read(&path).expect("reads");
    for byte in 0..sound.len() {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[byte] ^= 1 << bit;
            fs::write(&path, bytes).expect("writes");
            assert!(read(temp.path(), SALT, END).is_err(), "byte {byte} bit {bit}");
        }
        fs::write(&path, &sound[..byte]).expect("writes");
        assert!(read(temp.path(), SALT, END).is_err(), "cut at {byte}");
    }
    fs::write(&path, [&sound[..], &[0]].concat()).expect("writes");
    assert!(read(temp.path(), SALT, END).is_err(), "longer than it was");
}

#[test]
fn a_list_of_another_stop_or_directory_is_none() {
    let temp = tempfile::tempdir().expect("temp");
    assert_eq!(read(temp.path(), SALT, END), Err("missing".to_owned()));
    written(temp.path(), &[(at(1, 64), Bits::first(3))]);
    assert_eq!(read(temp.path(), SALT, END).map(|blocks| blocks.len()), Ok(1), "the control");
    assert_eq!(read(temp.path(), SALT + 1, END), Err("missing".to_owned()));
    assert_eq!(read(temp.path(), SALT, at(END.segment, END.offset + 8)), Err("missing".to_owned()));
    remove(temp.path()).expect("removes");
    remove(temp.path()).expect("there is none");
    assert_eq!(read(temp.path(), SALT, END), Err("missing".to_owned()));
}

#[test]
fn an_empty_list_says_that_nothing_lives() {
    let temp = tempfile::tempdir().expect("temp");
    written(temp.path(), &[]);
    assert_eq!(read(temp.path(), SALT, END), Ok(Vec::new()));
}

#[test]
fn runs_of_several_lanes_are_merged_and_a_block_costs_few_bytes() {
    let temp = tempfile::tempdir().expect("temp");
    let lanes = 7_u32;
    let of_lane = |lane: u32| (0..30_000).map(move |n| n * lanes + lane);
    // One segment holds a thousand blocks.
    let block = |n: u32| (at(1 + n / 1000, 64 + n % 1000 * 96), Bits::first(1 + (n % 256) as u16));
    let walked: Vec<(Position, Bits)> = (0..lanes).flat_map(of_lane).map(block).collect();
    assert!(walked.len() > 3 * RUN_BLOCKS);
    written(temp.path(), &walked);
    let mut sorted = walked;
    sorted.sort_unstable_by_key(|(at, _)| *at);
    let bytes = fs::metadata(temp.path().join(NAME)).expect("there").len();
    assert!(bytes < 8 * sorted.len() as u64, "{bytes} bytes for {} blocks", sorted.len());
    assert!(read(temp.path(), SALT, END) == Ok(sorted));
}

#[test]
fn a_list_that_cannot_be_filled_leaves_nothing_behind() {
    let temp = tempfile::tempdir().expect("temp");
    let full = |writer: &mut ListWriter| {
        writer.add(at(1, 64), Bits::first(1)).expect("writes");
        Err(StoreError::Closed)
    };
    assert!(write(temp.path(), SALT, END, full).is_err());
    assert_eq!(fs::read_dir(temp.path()).expect("lists").count(), 0);
}
