//! Dead letters that are read back: over many segments, with damage, and with a disk that fails while some are taken.

use super::account::doubted;
use super::dead::noted;
use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::journal::{Frame, Position, Scan, list, scan, segment_name};
use crate::store::{DeadLetters, LetterOrder};

/// Parks an entry for each of these records.
fn park(store: &EmbeddedStore, runtime: &tokio::runtime::Runtime, records: &[String]) -> Vec<EventId> {
    let park = async |record: &String| {
        store.append(vec![plain("a", record)]).await.expect("appends");
        let entry = store.read_ready(&lane("a"), None, ALL).await.expect("reads").remove(0);
        let settlement = Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
        let settle = SettleRequest { why: None, lane: lane("a"), id: entry.id, due_at: None, settlement };
        store.settle(store.owner(), vec![settle]).await.expect("settles");
        entry.id
    };
    records.iter().map(|record| runtime.block_on(park(record))).collect()
}

fn named(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("letter {n} marker")).collect()
}

/// The letters of all pages of this size, and how many are unreadable.
fn listed(
    store: &EmbeddedStore,
    runtime: &tokio::runtime::Runtime,
    order: LetterOrder,
    entries: usize,
) -> (Vec<EventId>, u64) {
    let (mut ids, mut unreadable, mut after) = (Vec::new(), 0, None);
    loop {
        let limit = ReadLimit { entries, ..ALL };
        let page = runtime.block_on(DeadLetters::list(store, order, after, limit)).expect("lists");
        ids.extend(page.letters.iter().map(|placed| placed.letter.id));
        unreadable += page.unreadable;
        after = page.next;
        if after.is_none() {
            return (ids, unreadable);
        }
    }
}

/// Takes the letters of these entries, and returns the ids of those that were there.
fn take(
    store: &EmbeddedStore,
    runtime: &tokio::runtime::Runtime,
    ids: &[EventId],
) -> Result<Vec<EventId>, StoreError> {
    let page =
        runtime.block_on(DeadLetters::list(store, LetterOrder::OldestFirst, None, ALL)).expect("lists");
    let found = ids.iter().filter_map(|id| page.letters.iter().find(|placed| placed.letter.id == *id));
    let (ids, places): (Vec<_>, Vec<_>) = found.map(|placed| (placed.letter.id, placed.place)).unzip();
    assert_eq!(runtime.block_on(store.take(store.owner(), places.clone()))?, places);
    Ok(ids)
}

/// Flips a bit of what a file holds at this place.
fn flip(path: &Path, at: usize) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(path).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).expect("reads");
    file.write_all_at(&[byte[0] ^ 1], at as u64).expect("writes");
}

/// The segment of the dead letters that holds this, and where.
fn place_of(dir: &Path, needle: &str) -> (PathBuf, usize) {
    let found = list(&dir.join("dead")).expect("lists").into_iter().find_map(|file| {
        let bytes = fs::read(&file.path).expect("reads");
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes())?;
        Some((file.path, at))
    });
    found.expect("it is there")
}

#[test]
fn letters_in_many_segments_are_listed_and_taken_one_by_one() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    let records: Vec<String> = (0..24).map(|n| format!("{n}").repeat(2_000)).collect();
    let all = park(&store, &runtime, &records);
    assert!(list(&dir.path().join("dead")).expect("lists").len() > 4, "the control: there are many segments");
    let check = |store: &EmbeddedStore, expected: &[EventId]| {
        for size in [1, 5, 100] {
            assert_eq!(listed(store, &runtime, LetterOrder::OldestFirst, size).0, expected, "{size}");
            let (mut back, _) = listed(store, &runtime, LetterOrder::NewestFirst, size);
            back.reverse();
            assert_eq!(back, expected, "{size}, backwards");
        }
        assert_eq!(store.health().dead_entries, expected.len() as u64);
    };
    check(&store, &all);
    let (odd, even): (Vec<EventId>, Vec<EventId>) =
        all.iter().partition(|id| all.iter().position(|one| one == *id).is_some_and(|at| at % 2 == 1));
    assert_eq!(take(&store, &runtime, &odd).expect("takes"), odd);
    check(&store, &even);
    drop(store);
    for _ in 0..2 {
        let store = open(dir.path());
        check(&store, &even);
        assert_eq!(doubted(&store, DoubtKind::Lost), (0, 0), "what is taken is not lost");
        runtime.block_on(store.close()).expect("closes");
    }
}

#[test]
fn thousands_of_letters_are_paged_and_taken_at_their_places() {
    const LETTERS: usize = 4_000;
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    let ids: Vec<EventId> = runtime.block_on(async {
        store.append((0..LETTERS).map(|n| plain("a", &format!("{n}"))).collect()).await.expect("appends");
        let entries = store.read_ready(&lane("a"), None, ALL).await.expect("reads");
        let dead = |entry: &StoredEntry| SettleRequest {
            why: None,
            lane: lane("a"),
            id: entry.id,
            due_at: None,
            settlement: Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 },
        };
        store.settle(store.owner(), entries.iter().map(dead).collect()).await.expect("settles");
        entries.iter().map(|entry| entry.id).collect()
    });
    let check = |store: &EmbeddedStore, expected: &[EventId]| {
        for size in [7, 500] {
            let (mut found, unreadable) = listed(store, &runtime, LetterOrder::OldestFirst, size);
            // Those of one settlement have no order.
            found.sort();
            assert_eq!((found.len(), unreadable), (expected.len(), 0), "pages of {size}");
            assert_eq!(found, expected, "pages of {size}");
        }
    };
    check(&store, &ids);
    let page =
        runtime.block_on(DeadLetters::list(&store, LetterOrder::OldestFirst, None, ALL)).expect("lists");
    let (gone, left): (Vec<_>, Vec<_>) =
        page.letters.iter().partition(|placed| (placed.letter.id.tail() >> 15) % 2 == 0);
    let places: Vec<_> = gone.iter().map(|placed| placed.place).collect();
    assert_eq!(runtime.block_on(store.take(store.owner(), places.clone())).expect("takes"), places);
    let mut left: Vec<EventId> = left.iter().map(|placed| placed.letter.id).collect();
    left.sort();
    assert!(!gone.is_empty() && left.len() + gone.len() == LETTERS);
    check(&store, &left);
    drop(store);
    check(&open(dir.path()), &left);
}

#[test]
fn a_letter_that_is_damaged_while_the_store_runs_is_counted_and_doubted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    let all = park(&store, &runtime, &named(4));
    let (path, at) = place_of(dir.path(), "letter 1 marker");
    flip(&path, at);
    let left = [all[0], all[2], all[3]];
    for order in [LetterOrder::OldestFirst, LetterOrder::NewestFirst] {
        for size in [1, 2, 9] {
            let (mut ids, unreadable) = listed(&store, &runtime, order, size);
            ids.sort();
            assert_eq!((&ids[..], unreadable), (&left[..], 1), "{order:?}, pages of {size}");
        }
    }
    assert_eq!(doubted(&store, DoubtKind::Files), (1, 1));
    assert_eq!(take(&store, &runtime, &all).expect("takes"), left, "the others can be taken");
    drop(store);
    let store = open(dir.path());
    assert_eq!(doubted(&store, DoubtKind::Lost), (1, 1), "the account knows of it");
    assert_eq!(listed(&store, &runtime, LetterOrder::OldestFirst, 9), (Vec::new(), 0));
}

#[test]
fn what_is_unreadable_in_many_segments_adds_up_over_pages_of_any_size() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    let records: Vec<String> = (0..18).map(|n| format!("{n:02} marker {}", "x".repeat(4_000))).collect();
    let mut left = park(&store, &runtime, &records);
    for n in [16, 9, 8, 3] {
        let (path, at) = place_of(dir.path(), &format!("{n:02} marker"));
        flip(&path, at);
        left.remove(n);
    }
    for order in [LetterOrder::OldestFirst, LetterOrder::NewestFirst] {
        for size in 1..20 {
            let (mut ids, unreadable) = listed(&store, &runtime, order, size);
            ids.sort();
            assert_eq!((&ids, unreadable), (&left, 4), "{order:?}, pages of {size}");
        }
    }
}

#[test]
fn a_segment_of_letters_that_is_gone_is_counted_and_doubted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    park(&store, &runtime, &named(3));
    fs::remove_file(place_of(dir.path(), "letter 1 marker").0).expect("deletes");
    assert_eq!(listed(&store, &runtime, LetterOrder::NewestFirst, 9), (Vec::new(), 3));
    assert_eq!(doubted(&store, DoubtKind::Files), (3, 1));
}

#[test]
fn a_damaged_record_of_what_was_taken_brings_the_letter_back_with_a_doubt() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    let all = park(&store, &runtime, &named(2));
    take(&store, &runtime, &all[..1]).expect("takes");
    runtime.block_on(store.close()).expect("closes");
    drop(store);
    let mut record = Position::default();
    scan(&dir.path().join("dead"), Scan::default(), |at, frame| {
        if let Frame::Settlements(_) = frame {
            record = at;
        }
        Ok(())
    })
    .expect("scans");
    let path = dir.path().join("dead").join(segment_name(record.segment, false));
    flip(&path, record.offset as usize + 30);
    let store = open(dir.path());
    assert_eq!(listed(&store, &runtime, LetterOrder::OldestFirst, 9), (all.clone(), 0));
    assert_eq!(doubted(&store, DoubtKind::Files), (0, 1));
    assert_eq!(doubted(&store, DoubtKind::Lost), (0, 0));
    assert_eq!(take(&store, &runtime, &all).expect("takes"), all, "it can be taken again");
    drop(store);
    let store = open(dir.path());
    assert_eq!(listed(&store, &runtime, LetterOrder::OldestFirst, 9).0, []);
}

#[test]
fn when_taking_fails_no_letter_is_lost_and_no_other_is_touched() {
    let runtime = runtime();
    for fail in ["write", "sync"] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (store, done) = noted(dir.path(), Some(fail));
        // The steps of the new segment do not count, so that the second one of each kind fails.
        done.lock().expect("not poisoned").clear();
        let all = park(&store, &runtime, &named(1));
        let taken = take(&store, &runtime, &all);
        assert!(matches!(taken, Err(StoreError::Poisoned { .. })), "{fail}: {taken:?}");
        assert!(store.health().poisoned.is_some());
        assert_eq!(listed(&store, &runtime, LetterOrder::OldestFirst, 9).0, all, "reads go on");
        drop(store);
        let store = open(dir.path());
        let (ids, unreadable) = listed(&store, &runtime, LetterOrder::OldestFirst, 9);
        // What was written and not acknowledged may be found: whoever took it has handed it in before.
        assert!(unreadable == 0 && (ids == all || (fail == "sync" && ids.is_empty())), "{fail}: {ids:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_walk_over_letters_takes_no_thread_and_does_not_wait_for_ever() {
    let temp = tempfile::tempdir().expect("temp");
    let store = open(temp.path());
    let walk = Arc::clone(&store.walk).try_acquire_owned().expect("nobody walks");
    let name = EventId::new(1, 1);
    let page = DeadLetters::list(&store, LetterOrder::OldestFirst, None, ALL);
    // Time goes on by itself only while no thread is at work.
    let (listed, found) = tokio::join!(page, DeadLetters::find(&store, name));
    assert!(matches!(listed, Err(StoreError::Slow)), "{listed:?}");
    assert!(matches!(found, Err(StoreError::Slow)), "{found:?}");
    let waiting = DeadLetters::find(&store, name);
    let (found, ()) = tokio::join!(waiting, async { drop(walk) });
    assert_eq!(found.expect("reads"), [], "the control: whoever walks makes room for the next");
}
