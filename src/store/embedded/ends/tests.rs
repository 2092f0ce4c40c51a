//! The log alone: its bound, what a cut or a lost file leaves, and that a start makes up for what is missing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::record::RECORD_BYTES;
use super::{Ended, Ends, Replay};
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Reason, Tries, Why};
use crate::store::embedded::ids::{self, Home};
use crate::store::embedded::journal::{Position, Settled, SettledRun, What};
use crate::store::embedded::keys::Keys;
use crate::store::{EndPlace, EndRecord, EndsRead};

const SALT: u64 = 0x5eed;
const LIMIT: u64 = 1024 * 1024;

fn ended(number: u32) -> Ended {
    let why = Some(Why { reason: Reason::Delivered, status: Some(200), limited: None });
    let index = u8::try_from(number % 256).expect("fits");
    Ended {
        lane: LaneKey::new("crm@1;~host=h:80").expect("a key"),
        block: Position { segment: 1 + number / 25_600, offset: 64 + 8 * (number / 256 % 100) },
        accepted_ms: 1_000,
        settled: Settled { index, from_due_ms: None, what: What::Delivered, why },
        tries: Some(Tries::NONE),
    }
}

fn id(number: u32) -> EventId {
    let one = ended(number);
    ids::encode(one.accepted_ms, Home { block: one.block, index: one.settled.index }, SALT)
}

fn open(dir: &Path, max_bytes: u64) -> Ends {
    Ends::open(dir, SALT, max_bytes, Timestamp::ZERO).expect("opens")
}

fn append(ends: &Ends, numbers: std::ops::Range<u32>) {
    let all: Vec<u32> = numbers.collect();
    for part in all.chunks(1_000) {
        let batch: Vec<Ended> = part.iter().map(|number| ended(*number)).collect();
        let at = Position { segment: 5, offset: part.first().map_or(0, |first| 8 * first) };
        ends.append(&batch, 2_000 + u64::from(part.first().copied().unwrap_or(0)), at);
    }
}

fn all(ends: &Ends, mut from: Option<EndPlace>) -> Option<Vec<EndRecord>> {
    let mut all = Vec::new();
    loop {
        match ends.page(from, 5_000).expect("reads") {
            EndsRead::Gone => return None,
            EndsRead::Page(page) if page.ends.is_empty() => return Some(all),
            EndsRead::Page(page) => {
                from = Some(page.next);
                all.extend(page.ends.into_iter().map(|(_, end)| end));
            }
        }
    }
}

fn bytes(dir: &Path) -> u64 {
    let files =
        fs::read_dir(dir).expect("lists").map(|entry| entry.expect("lists").metadata().expect("there"));
    files.map(|meta| meta.len()).sum()
}

#[test]
fn an_end_takes_at_most_32_bytes_and_all_of_them_stay_within_the_bound_oldest_first_out() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = temp.path();
    let ends = open(dir, LIMIT);
    append(&ends, 0..20_000);
    assert!(bytes(dir) <= 20_000 * 32, "{} bytes for 20 000 ends", bytes(dir));
    assert!(bytes(dir) >= 20_000 * RECORD_BYTES as u64, "the control: they are on the disk");
    assert_eq!(ends.kept_now().known_since, None);
    append(&ends, 20_000..200_000);
    assert!(bytes(dir) <= LIMIT, "{} bytes", bytes(dir));
    let kept = ends.kept_now();
    assert_eq!((kept.next.number, kept.bytes <= LIMIT), (200_000, true));
    // Not much less than the bound is used.
    let count = kept.next.number - kept.first.number;
    assert!(count >= LIMIT / 32 * 3 / 4, "{count} are kept");
    let since = kept.known_since.expect("some went");
    let found = all(&ends, None).expect("kept");
    assert_eq!(found.len() as u64, count);
    // Those of one millisecond may lie in two files.
    assert!(found.first().is_some_and(|first| first.ended_at.as_millis() + 1 >= since.as_millis()));
    let first = u32::try_from(kept.first.number).expect("fits");
    let numbers = first..200_000;
    assert!(found.iter().zip(numbers.clone()).all(|(end, number)| end.id == id(number)), "in order");
    for number in [first, first + 1, first + 12_345, 199_999] {
        let why = ends.why(id(number)).expect("reads");
        assert_eq!(why.and_then(|why| why.status), Some(200), "{number}");
    }
    for number in [0, first - 1] {
        assert_eq!(ends.why(id(number)).expect("reads"), None, "{number} went");
    }
    let before = EndPlace { number: kept.first.number - 1, ..kept.first };
    assert_eq!(all(&ends, Some(before)), None, "a reader is told");
    // An id that was made up from the place of another.
    let made_up = EventId::new(1_001, id(199_999).tail());
    assert_eq!(ends.why(made_up).expect("reads"), None);
    ends.sync().expect("syncs");
    drop(ends);
    let ends = open(dir, LIMIT);
    assert_eq!((ends.kept_now(), all(&ends, None)), (kept, Some(found)));
}

#[test]
fn a_torn_end_is_cut_and_the_replay_brings_each_missing_end_once() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = temp.path();
    let ends = open(dir, LIMIT);
    append(&ends, 0..10);
    ends.sync().expect("syncs");
    let whole = all(&ends, None).expect("kept");
    drop(ends);
    let path = dir.join("0000000001.ends");
    let length = fs::metadata(&path).expect("there").len();
    fs::File::options().write(true).open(&path).expect("opens").set_len(length - 40).expect("cuts");
    let ends = open(dir, LIMIT);
    assert_eq!(all(&ends, None).as_deref(), Some(&whole[..8]), "two were cut");
    let marked = ends.marked().expect("a mark");
    let replay = Replay::new(&ends, &dir.join("journal"), SALT, &Keys::default());
    let newly: Vec<Ended> = (5..10).map(ended).collect();
    let entries = newly.iter().map(|one| one.settled).collect();
    let run = SettledRun { lane_no: 1, block: newly[0].block, entries };
    let lives = |_| Ok::<_, ()>(false);
    let before = Position::default();
    replay.run(before, &run, newly.clone(), 2_000, lives).expect("ours");
    assert_eq!(all(&ends, None).map(|ends| ends.len()), Some(8), "what lies before the mark is there");
    for _ in 0..2 {
        replay.run(marked, &run, newly.clone(), 2_000, lives).expect("ours");
        let ids = |ends: &[EndRecord]| ends.iter().map(|end| end.id).collect::<Vec<_>>();
        assert_eq!(ids(&all(&ends, None).expect("kept")), ids(&whole), "each once, in order");
    }
    // What lives on was not ended, and what is known from nowhere leaves a gap.
    let other = SettledRun { block: ended(300).block, ..run };
    replay.run(marked, &other, Vec::new(), 2_000, |_| Ok::<_, ()>(true)).expect("ours");
    assert_eq!(ends.kept_now().known_since, None);
    replay.run(marked, &other, Vec::new(), 2_000, lives).expect("ours");
    assert!(ends.kept_now().known_since.is_some(), "it says that ends may be missing");
    assert_eq!(all(&ends, None), Some(Vec::new()));
    assert!(ends.why(id(3)).expect("reads").is_some(), "what is there is found");
}

#[test]
fn a_file_that_is_missing_or_damaged_is_told_and_never_passed_over() {
    for damage in ["missing", "damaged", "unreadable"] {
        let temp = tempfile::tempdir().expect("temp");
        let dir = temp.path();
        let ends = open(dir, LIMIT);
        append(&ends, 0..20_000);
        drop(ends);
        let path = dir.join("0000000003.ends");
        match damage {
            "missing" => fs::remove_file(&path).expect("removes"),
            // What is no plain file does not open.
            "unreadable" => {
                fs::remove_file(&path).expect("removes");
                fs::create_dir(&path).expect("makes");
            }
            _ => fs::write(&path, vec![7; 4096]).expect("writes"),
        }
        let ends = open(dir, LIMIT);
        let kept = ends.kept_now();
        let from = u32::try_from(kept.first.number).expect("fits");
        assert!(from > 8_000 && kept.known_since.is_some(), "{damage}: {kept:?}");
        assert_eq!(all(&ends, None).map(|ends| ends.len()), Some(20_000 - from as usize));
        assert_eq!(all(&ends, Some(EndPlace { number: 0, ..kept.first })), None, "{damage}");
        assert!(ends.why(id(1)).expect("reads").is_some(), "{damage}: the files before are read");
        assert_eq!(ends.why(id(9_000)).expect("reads"), None, "{damage}: the control");
    }
}

#[test]
fn what_the_disk_does_not_take_is_written_later_and_beyond_the_bound_a_gap_is_told() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = temp.path().join("ends");
    fs::create_dir(&dir).expect("makes");
    let ends = open(&dir, LIMIT);
    let aside = temp.path().join("aside");
    // Further files cannot be made while the directory is away; the present one takes what it has room for.
    fs::rename(&dir, &aside).expect("moves");
    append(&ends, 0..6_000);
    assert!(ends.kept_now().next.number < 6_000, "the control: not all of them fit");
    fs::rename(&aside, &dir).expect("moves");
    append(&ends, 6_000..6_001);
    assert_eq!((ends.kept_now().next.number, ends.kept_now().known_since), (6_001, None));
    fs::rename(&dir, &aside).expect("moves");
    append(&ends, 6_001..90_000);
    fs::rename(&aside, &dir).expect("moves");
    append(&ends, 90_000..90_010);
    assert!(ends.kept_now().known_since.is_some(), "it says that ends are missing");
    assert!(ends.why(id(90_005)).expect("reads").is_some());
    assert!(Duration::from_millis(ends.last_ms()) > Duration::ZERO);
}
