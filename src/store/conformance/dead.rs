//! Dead letters: pages in both orders, what is taken, and what a crash leaves.

use super::{ALL, Subject, lane, plain, ready, settle};
use crate::clock::Timestamp;
use crate::event::{EventId, Settlement};
use crate::store::{DeadLetter, DeadLetters, Expect, LetterOrder, ReadLimit, StoreError};

/// Parks an entry for each of these records, one after the other, and returns their ids.
async fn parked(subject: &dyn Subject, lane_name: &str, records: &[&str]) -> Vec<EventId> {
    let store = subject.entries();
    let mut ids = Vec::new();
    for record in records {
        store.append(vec![plain(lane_name, record)]).await.expect("appends");
        let entry = ready(&*store, lane_name).await.remove(0);
        let dead = Settlement::Dead { reason: format!("http_4{:02}", ids.len()), attempts: 7 };
        store.settle(store.owner(), vec![settle(lane_name, &entry, dead)]).await.expect("settles");
        ids.push(entry.id);
    }
    ids
}

/// All letters, read in pages of this size.
async fn listed(store: &dyn DeadLetters, order: LetterOrder, entries: usize) -> Vec<DeadLetter> {
    let (mut letters, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(order, after, ReadLimit { entries, ..ALL }).await.expect("lists");
        assert!(page.letters.len() <= entries);
        assert_eq!(page.unreadable, 0);
        letters.extend(page.letters);
        after = page.next;
        if after.is_none() {
            return letters;
        }
    }
}

fn ids(letters: &[DeadLetter]) -> Vec<EventId> {
    letters.iter().map(|letter| letter.id).collect()
}

pub(in crate::store) async fn letters_are_whole_and_in_pages_of_either_order(subject: &mut dyn Subject) {
    let none = subject.dead().list(LetterOrder::OldestFirst, None, ALL).await.expect("lists");
    assert_eq!((none.letters, none.next), (Vec::new(), None));
    let mut expected = parked(subject, "a", &["0", "1", "2", "3"]).await;
    expected.extend(parked(subject, "b", &["4", "5", "6"]).await);
    for _ in 0..2 {
        let store = subject.dead();
        let all = listed(&*store, LetterOrder::OldestFirst, 100).await;
        assert_eq!(ids(&all), expected);
        let first = DeadLetter {
            id: expected[0],
            lane: lane("a"),
            at: Timestamp::from_millis(1_000),
            attempts: 7,
            reason: "http_400".to_owned(),
            record: "0".into(),
        };
        assert_eq!((&all[0], all[5].status()), (&first, Some(401)));
        for size in [1, 2, 3, 7, 8] {
            assert_eq!(listed(&*store, LetterOrder::OldestFirst, size).await, all, "pages of {size}");
            let mut back = listed(&*store, LetterOrder::NewestFirst, size).await;
            back.reverse();
            assert_eq!(back, all, "pages of {size}, backwards");
        }
        drop(store);
        subject.crash();
    }
}

pub(in crate::store) async fn a_page_is_bounded_by_bytes_and_has_one_letter_at_least(
    subject: &mut dyn Subject,
) {
    let expected = parked(subject, "a", &["12345", "12345", "12345", "1234567890123"]).await;
    let store = subject.dead();
    let of = async |order, bytes| {
        let page = store.list(order, None, ReadLimit { entries: 100, bytes }).await.expect("lists");
        assert_eq!(page.next.is_some(), page.letters.len() < 4);
        ids(&page.letters)
    };
    assert_eq!(of(LetterOrder::OldestFirst, 0).await, expected[..1]);
    assert_eq!(of(LetterOrder::OldestFirst, 14).await, expected[..2]);
    assert_eq!(of(LetterOrder::OldestFirst, 15).await, expected[..3]);
    assert_eq!(of(LetterOrder::NewestFirst, 1).await, expected[3..]);
    assert_eq!(of(LetterOrder::NewestFirst, 18).await, [expected[3], expected[2]]);
    assert_eq!(of(LetterOrder::NewestFirst, 28).await.len(), 4);
}

pub(in crate::store) async fn what_was_taken_is_gone_for_good_and_taken_once(subject: &mut dyn Subject) {
    let all = parked(subject, "a", &["0", "1", "2", "3", "4"]).await;
    let (store, unknown) = (subject.dead(), EventId::new(1, 2));
    assert_eq!(subject.entries().health().dead_entries, 5);
    let page =
        store.list(LetterOrder::OldestFirst, None, ReadLimit { entries: 2, ..ALL }).await.expect("lists");
    let taken =
        store.take(subject.entries().owner(), vec![all[3], unknown, all[1], all[3]]).await.expect("takes");
    assert_eq!(taken, [all[3], all[1]]);
    assert_eq!(
        store.take(subject.entries().owner(), vec![all[3], all[1]]).await.expect("takes"),
        [],
        "a repetition does nothing"
    );
    assert_eq!(store.take(subject.entries().owner(), Vec::new()).await.expect("takes"), []);
    let rest = store.list(LetterOrder::OldestFirst, page.next, ALL).await.expect("lists");
    assert_eq!(ids(&rest.letters), [all[2], all[4]], "a page begins also behind a letter that was taken");
    drop(store);
    for _ in 0..2 {
        let store = subject.dead();
        assert_eq!(ids(&listed(&*store, LetterOrder::OldestFirst, 2).await), [all[0], all[2], all[4]]);
        assert_eq!(subject.entries().health().dead_entries, 3);
        drop(store);
        subject.crash();
    }
    let store = subject.dead();
    assert_eq!(
        store.take(subject.entries().owner(), all.clone()).await.expect("takes"),
        [all[0], all[2], all[4]]
    );
    assert_eq!(listed(&*store, LetterOrder::NewestFirst, 9).await, []);
    assert_eq!(subject.entries().health().dead_entries, 0);
    drop(store);
    let later = parked(subject, "a", &["5"]).await;
    subject.crash();
    assert_eq!(ids(&listed(&*subject.dead(), LetterOrder::NewestFirst, 9).await), later);
}

pub(in crate::store) async fn of_many_that_take_a_letter_one_has_it(subject: &mut dyn Subject) {
    let all = parked(subject, "a", &["0", "1"]).await;
    let store = subject.dead();
    let takes = (0..8).map(|_| store.take(subject.entries().owner(), all.clone()));
    let taken = futures_util::future::join_all(takes).await;
    let taken: usize = taken.into_iter().map(|taken| taken.expect("takes").len()).sum();
    assert_eq!(taken, 2);
}

pub(in crate::store) async fn a_store_that_is_held_or_closed_takes_no_letter(subject: &mut dyn Subject) {
    let all = parked(subject, "a", &["0"]).await;
    let (store, documents) = (subject.dead(), subject.documents());
    documents.put("policies", Expect::Absent, "{}".into()).await.expect("writes");
    documents.reject("policies", "no book");
    let held = store.take(subject.entries().owner(), all.clone()).await;
    assert!(matches!(held, Err(StoreError::Held { .. })), "{held:?}");
    assert_eq!(ids(&listed(&*store, LetterOrder::OldestFirst, 9).await), all, "but they are shown");
    subject.entries().close().await.expect("closes");
    assert!(matches!(store.take(subject.entries().owner(), all).await, Err(StoreError::Closed)));
    let closed = store.list(LetterOrder::OldestFirst, None, ALL).await;
    assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
}

pub(in crate::store) async fn an_earlier_owner_takes_no_letter(subject: &mut dyn Subject) {
    let all = parked(subject, "a", &["0"]).await;
    let before = subject.entries().owner();
    subject.crash();
    let (store, present) = (subject.dead(), subject.entries().owner());
    let late = store.take(before, all.clone()).await;
    let Err(StoreError::Fenced { epoch, .. }) = late else { panic!("{late:?}") };
    assert_eq!(epoch, before.epoch);
    assert_eq!(ids(&listed(&*store, LetterOrder::OldestFirst, 9).await), all, "nothing was taken");
    assert_eq!(store.take(present, all.clone()).await.expect("the control"), all);
}
