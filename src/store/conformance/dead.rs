//! Dead letters: pages in both orders, what is taken, and what a crash leaves.

use super::{ALL, Subject, lane, plain, ready, settle};
use crate::clock::Timestamp;
use crate::event::{EventId, Settlement};
use crate::store::{
    DeadLetter, DeadLetters, Expect, LetterOrder, LetterPlace, NewEntry, PlacedLetter, ReadLimit, StoreError,
};

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

/// All letters, read in pages of this size, with their places.
async fn placed(store: &dyn DeadLetters, order: LetterOrder, entries: usize) -> Vec<PlacedLetter> {
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

async fn listed(store: &dyn DeadLetters, order: LetterOrder, entries: usize) -> Vec<DeadLetter> {
    placed(store, order, entries).await.into_iter().map(|placed| placed.letter).collect()
}

fn ids(letters: &[DeadLetter]) -> Vec<EventId> {
    letters.iter().map(|letter| letter.id).collect()
}

/// The places of the letters of these entries.
async fn places(store: &dyn DeadLetters, ids: &[EventId]) -> Vec<LetterPlace> {
    let all = placed(store, LetterOrder::OldestFirst, 100).await;
    let place = |id: &EventId| all.iter().find(|placed| placed.letter.id == *id).expect("kept").place;
    ids.iter().map(place).collect()
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
        page.letters.iter().map(|placed| placed.letter.id).collect::<Vec<_>>()
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
    let (store, owner) = (subject.dead(), subject.entries().owner());
    assert_eq!(subject.entries().health().dead_entries, 5);
    let page =
        store.list(LetterOrder::OldestFirst, None, ReadLimit { entries: 2, ..ALL }).await.expect("lists");
    let at = places(&*store, &all).await;
    let taken = store.take(owner, vec![at[3], at[1], at[3]]).await.expect("takes");
    assert_eq!(taken, [at[3], at[1]], "each once, in the order given");
    assert_eq!(store.take(owner, vec![at[3], at[1]]).await.expect("takes"), [], "a repetition does nothing");
    assert_eq!(store.take(owner, Vec::new()).await.expect("takes"), []);
    let rest = store.list(LetterOrder::OldestFirst, page.next, ALL).await.expect("lists");
    let rest: Vec<EventId> = rest.letters.iter().map(|placed| placed.letter.id).collect();
    assert_eq!(rest, [all[2], all[4]], "a page begins also behind a letter that was taken");
    drop(store);
    for _ in 0..2 {
        let store = subject.dead();
        assert_eq!(ids(&listed(&*store, LetterOrder::OldestFirst, 2).await), [all[0], all[2], all[4]]);
        assert_eq!(subject.entries().health().dead_entries, 3);
        drop(store);
        subject.crash();
    }
    let store = subject.dead();
    let left = store.take(subject.entries().owner(), at.clone()).await.expect("takes");
    assert_eq!(left, [at[0], at[2], at[4]], "places outlast a crash");
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
    let at = places(&*store, &all).await;
    let takes = (0..8).map(|_| store.take(subject.entries().owner(), at.clone()));
    let taken = futures_util::future::join_all(takes).await;
    let taken: usize = taken.into_iter().map(|taken| taken.expect("takes").len()).sum();
    assert_eq!(taken, 2);
}

pub(in crate::store) async fn a_store_that_is_held_or_closed_takes_no_letter(subject: &mut dyn Subject) {
    let all = parked(subject, "a", &["0"]).await;
    let (store, documents) = (subject.dead(), subject.documents());
    let at = places(&*store, &all).await;
    documents.put("policies", Expect::Absent, "{}".into()).await.expect("writes");
    documents.reject("policies", "no book");
    let held = store.take(subject.entries().owner(), at.clone()).await;
    assert!(matches!(held, Err(StoreError::Held { .. })), "{held:?}");
    assert_eq!(ids(&listed(&*store, LetterOrder::OldestFirst, 9).await), all, "but they are shown");
    subject.entries().close().await.expect("closes");
    assert!(matches!(store.take(subject.entries().owner(), at).await, Err(StoreError::Closed)));
    let closed = store.list(LetterOrder::OldestFirst, None, ALL).await;
    assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
}

pub(in crate::store) async fn an_earlier_owner_takes_no_letter(subject: &mut dyn Subject) {
    let all = parked(subject, "a", &["0"]).await;
    let before = subject.entries().owner();
    subject.crash();
    let (store, present) = (subject.dead(), subject.entries().owner());
    let at = places(&*store, &all).await;
    let late = store.take(before, at.clone()).await;
    let Err(StoreError::Fenced { epoch, .. }) = late else { panic!("{late:?}") };
    assert_eq!(epoch, before.epoch);
    assert_eq!(ids(&listed(&*store, LetterOrder::OldestFirst, 9).await), all, "nothing was taken");
    assert_eq!(store.take(present, at.clone()).await.expect("the control"), at);
}

pub(in crate::store) async fn letters_that_are_added_are_like_others(subject: &mut dyn Subject) {
    let all = parked(subject, "a", &["0"]).await;
    let (store, owner) = (subject.dead(), subject.entries().owner());
    let letter = DeadLetter {
        id: EventId::new(3, 4),
        lane: lane("elsewhere"),
        at: Timestamp::from_millis(2_000),
        attempts: 2,
        reason: "timeout".to_owned(),
        record: "1".into(),
    };
    store.add(owner, vec![letter.clone()]).await.expect("adds");
    drop(store);
    for _ in 0..2 {
        let store = subject.dead();
        let found = listed(&*store, LetterOrder::OldestFirst, 9).await;
        assert_eq!((found[0].id, &found[1], found.len()), (all[0], &letter, 2));
        assert_eq!(subject.entries().health().dead_entries, 2);
        assert_eq!(subject.entries().lanes().await.expect("reads"), [], "nothing waits by it");
        drop(store);
        subject.crash();
    }
    let late = subject.dead().add(owner, vec![letter]).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
}

/// What is left of a redriven event that has died again goes by the name of the event.
pub(in crate::store) async fn a_letter_is_found_by_the_name_of_its_event(subject: &mut dyn Subject) {
    let first = parked(subject, "a", &["0", "1"]).await;
    // The head of the record of a redriven event: see `store::record`.
    let head = [&[3_u8][..], &first[0].to_bytes(), &[0, 1], &[0; 13]].concat();
    let entries = subject.entries();
    let entry = NewEntry { record: head.into(), ..plain("a", "") };
    entries.append(vec![entry]).await.expect("appends");
    let entry = ready(&*entries, "a").await.remove(0);
    let dead = Settlement::Dead { reason: "http_410".to_owned(), attempts: 1 };
    entries.settle(entries.owner(), vec![settle("a", &entry, dead)]).await.expect("settles");
    drop(entries);
    for _ in 0..2 {
        let store = subject.dead();
        let of = async |name| {
            let found = store.find(name).await.expect("reads");
            found.into_iter().map(|placed| placed.letter.id).collect::<Vec<_>>()
        };
        assert_eq!(of(first[0]).await, [first[0], entry.id]);
        assert_eq!(of(first[1]).await, [first[1]]);
        assert_eq!(of(entry.id).await, [], "it does not go by the id of its entry");
        drop(store);
        subject.crash();
    }
}
