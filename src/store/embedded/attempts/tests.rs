//! The files of attempts: what was noted is found as it was noted, over restarts, bounds and damage.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::event::{AnswerExcerpt, Follows, NamedTime, Noticed};
use crate::store::attempts::ATTEMPTS_TOLD;

fn id(number: u128) -> EventId {
    EventId::new(1_700_000_000_000, number)
}

fn attempt(event: u128, number: u16) -> AttemptDetail {
    AttemptDetail {
        event: id(event),
        number,
        started_at: Timestamp::from_nanos(u64::from(number) * 1_000_003),
        took: Duration::from_micros(7),
        result: "http_503".into(),
        status: Some(503),
        then: Follows {
            what: "retried".into(),
            why: "backoff".into(),
            next_at: Some(Timestamp::from_millis(9)),
        },
        noticed: None,
    }
}

/// As much as an attempt can say.
fn long(event: u128, number: u16) -> AttemptDetail {
    let answer =
        AnswerExcerpt { status: 503, head: "h".repeat(1024), body: Some("b".repeat(1024)), is_cut: true };
    let named = NamedTime {
        by: "Retry-After".into(),
        asked: Some(Duration::from_secs(9)),
        obeyed: None,
        why: Some(NamedTime::OTHER_STATUS),
    };
    let noticed = Noticed { named: Some(named), broken_lines: 2, surplus_lines: 1, answer: Some(answer) };
    AttemptDetail { noticed: Some(Box::new(noticed)), ..attempt(event, number) }
}

const PLENTY: u64 = 1 << 30;

#[tokio::test]
async fn what_was_noted_is_found_after_a_restart_and_a_kill() {
    let temp = tempfile::tempdir().expect("temp");
    let first = Attempts::new(temp.path(), PLENTY, 0);
    assert!(first.last(id(1)).await.is_empty());
    assert!(!temp.path().join(NAME).exists(), "nothing is made before something is noted");
    for number in 1..=7 {
        first.note(attempt(1, number));
    }
    first.note(long(2, 1));
    let newest: Vec<AttemptDetail> = (3..=7).rev().map(|number| attempt(1, number)).collect();
    assert_eq!(first.last(id(1)).await, newest);
    // What was answered for was handed to the system: a kill loses nothing of it.
    std::mem::forget(first);
    let second = Attempts::new(temp.path(), PLENTY, 0);
    assert_eq!(second.last(id(1)).await, newest);
    assert_eq!(second.last(id(2)).await, [long(2, 1)]);
    second.note(attempt(1, 8));
    second.close().await;
    second.note(attempt(1, 9));
    let third = Attempts::new(temp.path(), PLENTY, 0);
    assert_eq!(third.last(id(1)).await.first(), Some(&attempt(1, 8)), "nothing is kept after the end");
    assert!(third.last(id(3)).await.is_empty());
}

#[tokio::test]
async fn with_no_bytes_none_are_kept() {
    let temp = tempfile::tempdir().expect("temp");
    let none = Attempts::new(temp.path(), 0, 0);
    none.note(attempt(1, 1));
    assert!(none.last(id(1)).await.is_empty());
    assert_eq!(fs::read_dir(temp.path()).expect("lists").count(), 0);
}

#[tokio::test]
async fn while_the_disk_is_nearly_full_none_are_kept() {
    let temp = tempfile::tempdir().expect("temp");
    let full = Attempts::new(temp.path(), PLENTY, u64::MAX);
    full.note(attempt(1, 1));
    assert!(full.last(id(1)).await.is_empty());
}

#[test]
fn the_oldest_go_when_there_are_too_many_bytes() {
    const BOUND: u64 = 2 * 1024 * 1024;
    let temp = tempfile::tempdir().expect("temp");
    let dir = temp.path().join("attempts");
    let mut log = AttemptLog::open(&dir, BOUND).expect("opens");
    for event in 0..2_000 {
        log.add(&long(event, 1)).expect("adds");
        log.add(&attempt(event, 2)).expect("adds");
        if event % 100 == 0 {
            log.write().expect("writes");
        }
    }
    log.write().expect("writes");
    let used = || -> u64 {
        let files = fs::read_dir(&dir).expect("lists");
        files.map(|file| file.expect("an entry").metadata().expect("there").len()).sum()
    };
    assert!(used() <= BOUND, "{}", used());
    assert!(log.last(id(0)).is_empty(), "the first went");
    let found = |log: &AttemptLog| (0..2_000).filter(|event| log.last(id(*event)).len() == 2).count();
    let kept = found(&log);
    assert!(kept > 500, "{kept}");
    assert_eq!(log.last(id(1_999)), [attempt(1_999, 2), long(1_999, 1)]);
    drop(log);
    let again = AttemptLog::open(&dir, BOUND).expect("opens");
    assert_eq!(found(&again), kept, "the same after a restart");
    assert!(used() <= BOUND);
}

#[test]
fn attempts_of_one_event_are_found_over_several_files() {
    let temp = tempfile::tempdir().expect("temp");
    let mut log = AttemptLog::open(temp.path(), 2 * 1024 * 1024).expect("opens");
    for number in 1..=6 {
        log.add(&attempt(7, number)).expect("adds");
        (0..60).for_each(|other| log.add(&long(100 + other, number)).expect("adds"));
    }
    log.write().expect("writes");
    let numbers: Vec<u16> = log.last(id(7)).iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [6, 5, 4, 3, 2]);
    assert_eq!(numbers.len(), ATTEMPTS_TOLD);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_damaged_nothing_is_shown_that_was_not_noted(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(), full in any::<bool>(),
    ) {
        let temp = tempfile::tempdir().expect("temp");
        let mut log = AttemptLog::open(temp.path(), 1024 * 1024).expect("opens");
        let noted: Vec<AttemptDetail> = (0..120_u16)
            .map(|n| if n % 3 == 0 { long(u128::from(n % 10), n) } else { attempt(u128::from(n % 10), n) })
            .collect();
        noted.iter().for_each(|attempt| log.add(attempt).expect("adds"));
        log.write().expect("writes");
        drop(log);
        for file in fs::read_dir(temp.path()).expect("lists") {
            let path = file.expect("an entry").path();
            let mut bytes = fs::read(&path).expect("reads");
            for (at, to) in &flips {
                let at = at.index(bytes.len());
                bytes[at] = *to;
            }
            if !full {
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            fs::write(&path, bytes).expect("writes");
        }
        let mut again = AttemptLog::open(temp.path(), 1024 * 1024).expect("opens");
        for event in 0..10 {
            for shown in again.last(id(event)) {
                prop_assert!(noted.contains(&shown), "{:?}", shown);
            }
        }
        // It goes on.
        again.add(&attempt(77, 1)).expect("adds");
        again.write().expect("writes");
        prop_assert_eq!(again.last(id(77)), [attempt(77, 1)]);
    }
}

#[tokio::test]
async fn beside_encrypted_records_no_answer_is_kept() {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let keys = Keys::new(crate::store::embedded::KeyRing::parse(key).expect("a key"));
    for keys in [Keys::default(), keys] {
        let temp = tempfile::tempdir().expect("temp");
        let attempts = Attempts::new(temp.path(), PLENTY, 0).beside(&keys);
        attempts.note(long(1, 1));
        let found = attempts.last(id(1)).await;
        let noticed = found.first().and_then(|one| one.noticed.clone()).expect("noticed");
        // The control: without a key it is there.
        assert_eq!(noticed.answer.is_some(), keys.first().is_none());
        assert!(noticed.named.is_some(), "the time that was named is kept");
    }
}

#[test]
fn a_file_that_does_not_open_is_passed_over_and_a_name_that_is_taken_is_not_tried_again() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = temp.path().join(NAME);
    fs::create_dir_all(dir.join("0000000001.att")).expect("makes");
    let mut log = AttemptLog::open(&dir, PLENTY).expect("opens");
    fs::create_dir(dir.join("0000000002.att")).expect("makes");
    log.add(&attempt(1, 1)).expect_err("the name is taken");
    log.add(&attempt(1, 2)).expect("the next is not");
    log.write().expect("writes");
    assert_eq!(log.last(id(1)), [attempt(1, 2)]);
}
