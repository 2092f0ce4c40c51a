//! Walks over everything that is owed an end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Subject, delayed, due, lane, plain, ready, settle};
use crate::clock::Timestamp;
use crate::event::{EventId, Settlement, Tries};
use crate::store::{EntryStore, LanePick, ReadLimit, Scan, ScanPage, ScanPlace, Scanned};

fn step(after: Option<ScanPlace>, entries: usize) -> Scan {
    let limit = ReadLimit { entries, bytes: usize::MAX };
    Scan { after, lanes: LanePick::new(|_| true), accepted_from: Timestamp::ZERO, limit }
}

async fn scan(store: &dyn EntryStore, step: Scan) -> ScanPage {
    store.scan(step).await.expect("reads")
}

/// Everything from there on, by steps of this many entries.
async fn walk(store: &dyn EntryStore, mut after: Option<ScanPlace>, entries: usize) -> Vec<Scanned> {
    let mut found = Vec::new();
    loop {
        let page = scan(store, step(after, entries)).await;
        assert!(page.entries.len() <= entries && page.unread == 0);
        assert!(
            page.entries.iter().all(|scanned| ScanPlace::from_bits(scanned.place.to_bits()) == scanned.place)
        );
        found.extend(page.entries);
        match page.next {
            None => return found,
            next => after = next,
        }
    }
}

fn ids(found: &[Scanned]) -> Vec<EventId> {
    found.iter().map(|scanned| scanned.entry.id).collect()
}

pub(in crate::store) async fn a_walk_comes_by_everything_once_whatever_is_settled_meanwhile(
    subject: &mut dyn Subject,
) {
    let store = subject.entries();
    for round in 0..3 {
        let name = |n| if n % 3 == 0 { "b" } else { "a" };
        let mut batch: Vec<_> = (0..300).map(|n| plain(name(n), &format!("{round} {n}"))).collect();
        batch.extend((0..40).map(|n| delayed(name(n), &format!("{round} late {n}"), 9_000 + n)));
        store.append(batch).await.expect("appends");
    }
    let all = walk(&*store, None, 50).await;
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>().len(), 1020);
    assert_eq!(walk(&*store, None, 5_000).await, all, "whatever the steps");
    assert!(all.iter().all(
        |scanned| scanned.entry.due_at.is_some() == scanned.entry.record.windows(4).any(|w| w == b"late")
    ));

    // Half-way, entries on both sides end or are put off, so that blocks change their kind.
    let half = all[500].place;
    let later = Settlement::Reschedule {
        due_at: Timestamp::from_millis(20_000),
        tries: Tries::of(1),
        doubted_at: None,
    };
    let mut ended = BTreeSet::new();
    let mut batch = BTreeMap::new();
    for (n, scanned) in all.iter().enumerate() {
        let lane_name = scanned.lane.as_str().to_owned();
        match n % 4 {
            0 => {
                ended.insert(scanned.entry.id);
                batch.insert(n, settle(&lane_name, &scanned.entry, Settlement::Delivered));
            }
            1 | 2 => drop(batch.insert(n, settle(&lane_name, &scanned.entry, later.clone()))),
            _ => {}
        }
    }
    store.settle(store.owner(), batch.into_values().collect()).await.expect("settles");
    let rest = walk(&*store, Some(half), 7).await;
    let expected: Vec<EventId> =
        all[501..].iter().map(|scanned| scanned.entry.id).filter(|id| !ended.contains(id)).collect();
    assert_eq!(ids(&rest), expected, "what lives on keeps its place");
    let put_off = rest.iter().filter(|scanned| scanned.entry.due_at == Some(Timestamp::from_millis(20_000)));
    assert!(
        put_off.clone().count() > 200 && put_off.clone().all(|scanned| scanned.entry.tries == Tries::of(1))
    );

    let before = walk(&*store, None, 100).await;
    drop(store);
    subject.crash();
    let store = subject.entries();
    assert_eq!(walk(&*store, None, 100).await, before, "over a crash as well");
    assert_eq!(walk(&*store, Some(half), 100).await, rest);
    let found = due(&*store, "a", 30_000).await.entries.len() + ready(&*store, "a").await.len();
    assert_eq!(before.iter().filter(|scanned| scanned.lane == lane("a")).count(), found);
}

pub(in crate::store) async fn steps_of_a_walk_are_bounded_and_pass_over_what_is_not_meant(
    subject: &mut dyn Subject,
) {
    let store = subject.entries();
    assert_eq!(scan(&*store, step(None, 10)).await, ScanPage::default(), "an empty store has no walk");
    store
        .append((0..90).map(|n| plain(["a", "b", "c"][n % 3], "0123456789")).collect())
        .await
        .expect("appends");
    let of_b = Scan { lanes: LanePick::new(|lane| lane.as_str() == "b"), ..step(None, 1_000) };
    let found = scan(&*store, of_b.clone()).await.entries;
    assert!(found.len() == 30 && found.iter().all(|scanned| scanned.lane == lane("b")));
    let few = Scan { limit: ReadLimit { entries: 1_000, bytes: 25 }, ..of_b.clone() };
    let page = scan(&*store, few).await;
    assert_eq!((page.entries.len(), page.next), (2, Some(found[1].place)));
    let tiny = Scan { limit: ReadLimit { entries: 1_000, bytes: 1 }, ..of_b.clone() };
    assert_eq!(scan(&*store, tiny).await.entries.len(), 1, "one at least");
    let of_later = |ms| Scan { accepted_from: Timestamp::from_millis(ms), ..of_b.clone() };
    assert_eq!(scan(&*store, of_later(1_000)).await.entries.len(), 30);
    assert_eq!(scan(&*store, of_later(1_001)).await.entries, []);
    let nowhere = walk(&*store, Some(ScanPlace::from_bits(u128::MAX)), 10).await;
    assert_eq!(nowhere, [], "behind everything");
}
