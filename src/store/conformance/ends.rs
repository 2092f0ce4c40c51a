//! Ends: each once, in the order in which it became durable, at places that stay.

use std::time::Duration;

use super::{Subject, lane, plain, ready};
use crate::clock::Timestamp;
use crate::event::{Limited, Reason, Settlement, Tries, Why};
use crate::store::{EndLog, EndPlace, EndRecord, EndsPage, EndsRead, EntryStore, SettleRequest, StoredEntry};

const LANE: &str = "crm@3+org@1;~host=h:80";

async fn page(log: &dyn EndLog, from: Option<EndPlace>, most: usize) -> EndsPage {
    match log.read(from, most).await.expect("reads") {
        EndsRead::Page(page) => page,
        EndsRead::Gone => panic!("{from:?} is gone"),
    }
}

/// All ends from a place on, two at a time.
async fn all(log: &dyn EndLog, mut from: Option<EndPlace>) -> Vec<(EndPlace, EndRecord)> {
    let mut all = Vec::new();
    loop {
        let EndsPage { ends, next } = page(log, from, 2).await;
        assert!(ends.len() <= 2);
        if ends.is_empty() {
            assert_eq!(from.unwrap_or(next), next, "nothing was passed over");
            return all;
        }
        assert_eq!(ends.last().map(|(behind, _)| *behind), Some(next));
        all.extend(ends);
        from = Some(next);
    }
}

fn end(entry: &StoredEntry, settlement: Settlement, why: Option<Why>) -> SettleRequest {
    SettleRequest { why, lane: lane(LANE), id: entry.id, due_at: entry.due_at, settlement }
}

fn why(reason: Reason, status: Option<u16>) -> Option<Why> {
    Some(Why { reason, status, limited: None })
}

async fn settle(store: &dyn EntryStore, request: SettleRequest) {
    store.settle(store.owner(), vec![request]).await.expect("settles");
}

pub(in crate::store) async fn ends_are_read_in_their_order_and_keep_their_places_over_crashes(
    subject: &mut dyn Subject,
) {
    let store = subject.entries();
    let log = store.clone().ends();
    let mut grown = log.grown();
    store.append((0..6).map(|n| plain(LANE, &n.to_string())).collect()).await.expect("appends");
    assert_eq!(all(&*log, None).await, [], "nothing has ended");
    let entries = ready(&*store, LANE).await;
    let dead = Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
    let limited = Some(Why { reason: Reason::OverPace, status: None, limited: Limited::by(Some(1), "pace") });
    // Not in the order of acceptance, and some more than once.
    settle(&*store, end(&entries[3], Settlement::Delivered, why(Reason::Delivered, Some(204)))).await;
    settle(&*store, end(&entries[0], dead.clone(), why(Reason::Status(404), Some(404)))).await;
    settle(&*store, end(&entries[3], Settlement::Cancelled, why(Reason::Cancelled, None))).await;
    let due_at = Timestamp::from_millis(1_500);
    let later = Settlement::Reschedule { due_at, tries: Tries::of(2), doubted_at: None };
    settle(&*store, end(&entries[1], later, None)).await;
    // Of the place in which it stands no longer.
    settle(&*store, end(&entries[1], Settlement::Delivered, why(Reason::Delivered, Some(200)))).await;
    settle(&*store, end(&entries[2], dead, limited)).await;
    let moved = StoredEntry { due_at: Some(due_at), ..entries[1].clone() };
    settle(&*store, end(&moved, Settlement::Delivered, why(Reason::Delivered, Some(200)))).await;
    settle(&*store, end(&entries[4], Settlement::Lost, None)).await;
    let found = all(&*log, None).await;
    let shown: Vec<_> =
        found.iter().map(|(_, end)| (end.id, end.why.reason.word(), end.why.status, end.attempts)).collect();
    let expected = [
        (entries[3].id, "delivered".to_owned(), Some(204), Some(1)),
        (entries[0].id, "http_404".to_owned(), Some(404), Some(1)),
        (entries[2].id, "over_pace".to_owned(), None, Some(0)),
        (entries[1].id, "delivered".to_owned(), Some(200), Some(3)),
        (entries[4].id, "lost".to_owned(), None, Some(0)),
    ];
    assert_eq!(shown, expected);
    assert!(found.iter().all(|(_, end)| end.policies.as_deref() == Some("crm+org")), "{found:?}");
    assert!(found.iter().all(|(_, end)| end.ended_at == Timestamp::from_millis(1_000)), "{found:?}");
    assert_eq!(found[2].1.why.limited, Limited::by(Some(1), "pace"));
    tokio::time::timeout(Duration::from_secs(5), grown.changed()).await.expect("tells").expect("is there");
    let third = found[2].0;
    assert_eq!(all(&*log, Some(third)).await, found[3..]);
    drop((store, log, grown));
    for _ in 0..2 {
        subject.crash();
        let log = subject.entries().ends();
        assert_eq!(all(&*log, None).await, found, "a crash keeps them");
        assert_eq!(all(&*log, Some(third)).await, found[3..], "and their places");
    }
    let store = subject.entries();
    settle(&*store, end(&entries[5], Settlement::Expired, why(Reason::Expired, None))).await;
    let log = store.clone().ends();
    let after = all(&*log, found.last().map(|(behind, _)| *behind)).await;
    assert_eq!(after.iter().map(|(_, end)| end.id).collect::<Vec<_>>(), [entries[5].id]);
    assert_eq!(log.kept().known_since, None, "these are all there were");
    assert_eq!(log.kept().next, after[0].0);
}

pub(in crate::store) async fn a_place_that_is_not_kept_is_gone(subject: &mut dyn Subject) {
    let store = subject.entries();
    let log = store.clone().ends();
    store.append(vec![plain("a", "1")]).await.expect("appends");
    let entry = ready(&*store, "a").await.remove(0);
    let request = SettleRequest { lane: lane("a"), ..end(&entry, Settlement::Delivered, None) };
    settle(&*store, request).await;
    let next = log.kept().next;
    assert_eq!(page(&*log, Some(next), 1).await, EndsPage { ends: Vec::new(), next });
    let beyond = EndPlace { number: next.number + 1, ..next };
    let other = EndPlace { log: next.log + 1, ..next };
    for place in [beyond, other] {
        assert_eq!(log.read(Some(place), 1).await.expect("reads"), EndsRead::Gone);
    }
}
