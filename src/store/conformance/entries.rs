//! Entries: order, places, settlements, repetitions, losses, and what a crash leaves.

use std::collections::HashSet;

use super::{ALL, Subject, delayed, due, keyed, lane, plain, ready, settle, texts};
use crate::clock::Timestamp;
use crate::event::{EventId, Limited, Reason, Redriven, Settlement, Tries, Why};
use crate::store::{
    Appended, Dedup, EntryStore, GiveUp, KeptEnd, LastRedrive, Lookup, MAX_RECORD_BYTES, NewEntry, ReadLimit,
    SettleRequest, StoreError, record,
};

pub(in crate::store) async fn order_pages_and_limits(subject: &mut dyn Subject) {
    let store = subject.entries();
    let batch: Vec<_> =
        (0..600).map(|n| plain(if n % 3 == 0 { "b" } else { "a" }, &format!("{n:04}"))).collect();
    let answers = store.append(batch).await.expect("appends");
    assert_eq!(answers.len(), 600);
    let all = ready(&*store, "a").await;
    let expected: Vec<String> = (0..600).filter(|n| n % 3 != 0).map(|n| format!("{n:04}")).collect();
    assert_eq!(texts(&all), expected);
    assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id), "ids ascend");
    let limit = ReadLimit { entries: 7, bytes: usize::MAX };
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = store.read_ready(&lane("a"), after, limit).await.expect("reads");
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let tiny = ReadLimit { entries: 100, bytes: 10 };
    assert_eq!(store.read_ready(&lane("a"), None, tiny).await.expect("reads").len(), 2);
    let none = ReadLimit { entries: 100, bytes: 1 };
    assert_eq!(store.read_ready(&lane("a"), None, none).await.expect("reads").len(), 1);
    assert!(ready(&*store, "unknown").await.is_empty());
}

pub(in crate::store) async fn due_order_and_skip(subject: &mut dyn Subject) {
    let store = subject.entries();
    let batch = vec![delayed("a", "late", 900), delayed("a", "soon", 100), delayed("a", "soon too", 100)];
    store.append(batch).await.expect("appends");
    assert!(ready(&*store, "a").await.is_empty(), "entries with a due time are not in plain order");
    assert_eq!(due(&*store, "a", 99).await.next_due, Some(Timestamp::from_millis(100)));
    let page = due(&*store, "a", 100).await;
    assert_eq!(texts(&page.entries), ["soon", "soon too"]);
    assert_eq!(page.next_due, Some(Timestamp::from_millis(900)));
    let skip: HashSet<EventId> = [page.entries[0].id].into();
    let page = store.read_due(&lane("a"), Timestamp::MAX, &skip, ALL).await.expect("reads");
    assert_eq!(texts(&page.entries), ["soon too", "late"]);
    assert_eq!(page.next_due, None);
    let one = ReadLimit { entries: 1, bytes: usize::MAX };
    let page = store.read_due(&lane("a"), Timestamp::MAX, &HashSet::new(), one).await.expect("reads");
    assert_eq!((page.entries.len(), page.next_due), (1, Some(Timestamp::from_millis(100))));
}

pub(in crate::store) async fn those_before_an_entry_are_counted(subject: &mut dyn Subject) {
    let store = subject.entries();
    for round in 0..3 {
        let batch: Vec<_> =
            (0..300).map(|n| plain(if n % 3 == 0 { "b" } else { "a" }, &format!("{n}"))).collect();
        store.append(batch).await.expect("appends");
        store.append(vec![delayed("a", "later", 900 + round)]).await.expect("appends");
    }
    let check = async |store: &dyn EntryStore, left: usize| {
        let entries = ready(store, "a").await;
        assert_eq!(entries.len(), left);
        for (before, entry) in (0..).zip(&entries) {
            assert_eq!(store.count_before(&lane("a"), entry.id).await.expect("counts"), before);
        }
        let put_off = due(store, "a", 10_000).await.entries;
        let last = put_off.iter().map(|entry| entry.id).max().expect("three are put off");
        let all = entries.iter().filter(|entry| entry.id < last).count() as u64;
        assert_eq!(store.count_before(&lane("a"), last).await.expect("counts"), all, "of the plain ones");
    };
    check(&*store, 600).await;
    let entries = ready(&*store, "a").await;
    let mut gone: Vec<_> =
        entries.iter().step_by(2).map(|entry| settle("a", entry, Settlement::Delivered)).collect();
    let later = Settlement::Reschedule {
        due_at: Timestamp::from_millis(5_000),
        tries: Tries::of(1),
        doubted_at: None,
    };
    gone.extend(entries.iter().skip(1).step_by(10).map(|entry| settle("a", entry, later.clone())));
    store.settle(store.owner(), gone).await.expect("settles");
    check(&*store, 240).await;
    let settled = entries[598].id;
    assert_eq!(
        store.count_before(&lane("a"), settled).await.expect("counts"),
        239,
        "also before one that is gone"
    );
    assert_eq!(store.count_before(&lane("none"), settled).await.expect("counts"), 0);
    drop(store);
    subject.crash();
    check(&*subject.entries(), 240).await;
}

/// What is known of an event of this lane that was delivered.
fn delivered(text: &str) -> Lookup {
    Lookup::Settled(Some(KeptEnd { lane: Some(lane(text)), why: Why::DELIVERED }))
}

/// Why an event ended is known as long as the event is, over a crash; of a success that it was one.
pub(in crate::store) async fn reasons_are_kept(subject: &mut dyn Subject) {
    let store = subject.entries();
    // The last one keeps their segment.
    store
        .append(vec![plain("a", "1"), plain("a", "2"), plain("a", "3"), plain("a", "4")])
        .await
        .expect("appends");
    let entries = ready(&*store, "a").await;
    let why = |reason, limited| Why { reason, status: Some(503), limited };
    let turned_away = why(Reason::ApiLimitExceeded, Limited::by(Some(0), "window"));
    let ends = [
        (Settlement::Dead { reason: "API_LIMIT_EXCEEDED".to_owned(), attempts: 1 }, turned_away),
        (Settlement::Expired, why(Reason::Expired, None)),
        (Settlement::Delivered, why(Reason::Delivered, None)),
    ];
    let batch = entries
        .iter()
        .zip(ends.clone())
        .map(|(entry, (settlement, why))| SettleRequest { why: Some(why), ..settle("a", entry, settlement) });
    store.settle(store.owner(), batch.collect()).await.expect("settles");
    let kept = |why| Lookup::Settled(Some(KeptEnd { lane: Some(lane("a")), why }));
    let expected = [kept(ends[0].1), kept(ends[1].1), delivered("a")];
    for (entry, expected) in entries.iter().zip(&expected) {
        assert_eq!(store.lookup(entry.id).await.expect("looks up"), *expected);
    }
    drop(store);
    subject.crash();
    let store = subject.entries();
    for (entry, expected) in entries.iter().zip(&expected) {
        assert_eq!(store.lookup(entry.id).await.expect("looks up"), *expected, "a crash keeps it");
    }
}

pub(in crate::store) async fn settlements_and_their_places(subject: &mut dyn Subject) {
    let store = subject.entries();
    store.append(vec![plain("a", "1"), plain("a", "2"), plain("a", "3")]).await.expect("appends");
    let entries = ready(&*store, "a").await;
    let later =
        Settlement::Reschedule { due_at: Timestamp::from_millis(700), tries: Tries::of(2), doubted_at: None };
    let batch =
        vec![settle("a", &entries[0], Settlement::Delivered), settle("a", &entries[1], later.clone())];
    store.settle(store.owner(), batch.clone()).await.expect("settles");
    store.settle(store.owner(), batch).await.expect("a repetition changes nothing");
    drop(store);
    subject.crash();
    let store = subject.entries();
    assert_eq!(texts(&ready(&*store, "a").await), ["3"]);
    let page = due(&*store, "a", 700).await;
    assert_eq!((texts(&page.entries), page.entries[0].tries), (vec!["2".to_owned()], Tries::of(2)));
    assert_eq!(store.lookup(entries[0].id).await.expect("looks up"), delivered("a"));
    let found = store.lookup(entries[1].id).await.expect("looks up");
    assert_eq!(found, Lookup::Waiting(lane("a"), page.entries[0].clone()));
    let waiting = store.lookup(entries[2].id).await.expect("looks up");
    assert_eq!(waiting, Lookup::Waiting(lane("a"), entries[2].clone()));
    assert_eq!(store.lookup(EventId::new(1, 2)).await.expect("looks up"), Lookup::Unknown);
    let stale = settle("a", &entries[1], Settlement::Delivered);
    store.settle(store.owner(), vec![stale]).await.expect("settles");
    assert_eq!(
        due(&*store, "a", 700).await.entries.len(),
        1,
        "a settlement from another place is left alone"
    );
    let doubted_at = Some(Timestamp::from_millis(650));
    let again = Settlement::Reschedule {
        due_at: Timestamp::from_millis(800),
        tries: Tries::of(3).and_free(),
        doubted_at,
    };
    store.settle(store.owner(), vec![settle("a", &page.entries[0], again)]).await.expect("settles");
    let moved = due(&*store, "a", 900).await.entries;
    assert_eq!(
        (moved[0].due_at, moved[0].tries),
        (Some(Timestamp::from_millis(800)), Tries::of(3).and_free())
    );
    assert_eq!((page.entries[0].doubted_at, moved[0].doubted_at), (None, doubted_at));
    drop(store);
    subject.crash();
    let store = subject.entries();
    assert_eq!(due(&*store, "a", 900).await.entries, moved, "a crash keeps it");
    let found = store.lookup(moved[0].id).await.expect("looks up");
    assert_eq!(found, Lookup::Waiting(lane("a"), moved[0].clone()));
    let dead = Settlement::Dead { reason: "http_404".to_owned(), attempts: 4 };
    store.settle(store.owner(), vec![settle("a", &moved[0], dead)]).await.expect("settles");
    assert_eq!(store.lookup(moved[0].id).await.expect("looks up"), Lookup::Settled(None));
    assert!(due(&*store, "a", 900).await.entries.is_empty());
}

pub(in crate::store) async fn repetitions_are_recognised(subject: &mut dyn Subject) {
    let store = subject.entries();
    let batch = vec![keyed("one", 1, 10), keyed("one", 1, 10), keyed("other", 1, 11), keyed("two", 2, 20)];
    let answers = store.append(batch).await.expect("appends");
    let Appended::New(id) = answers[0] else { panic!("{answers:?}") };
    assert_eq!(answers[1..3], [Appended::Duplicate(id), Appended::Conflict(id)]);
    assert!(matches!(answers[3], Appended::New(_)));
    assert_eq!(texts(&ready(&*store, "a").await), ["one", "two"]);
    let entries = ready(&*store, "a").await;
    store
        .settle(store.owner(), vec![settle("a", &entries[0], Settlement::Delivered)])
        .await
        .expect("settles");
    drop(store);
    subject.crash();
    let store = subject.entries();
    let answers = store.append(vec![keyed("one", 1, 10), keyed("x", 1, 12)]).await.expect("appends");
    assert_eq!(answers, [Appended::Duplicate(id), Appended::Conflict(id)]);
    assert_eq!(texts(&ready(&*store, "a").await), ["two"]);
}

pub(in crate::store) async fn keys_on_record_are_found(subject: &mut dyn Subject) {
    let store = subject.entries();
    let key = |key: u8, fingerprint| Dedup { key: [key; 16], fingerprint };
    let answers = store.append(vec![keyed("one", 1, 10), keyed("two", 2, 20)]).await.expect("appends");
    let (Appended::New(one), Appended::New(two)) = (answers[0], answers[1]) else { panic!("{answers:?}") };
    let keys = vec![key(2, 20), key(3, 30), key(1, 11)];
    let expected = [Some(Appended::Duplicate(two)), None, Some(Appended::Conflict(one))];
    assert_eq!(store.find_keys(keys.clone()).await.expect("reads"), expected);
    assert_eq!(store.find_keys(Vec::new()).await.expect("reads"), []);
    let entries = ready(&*store, "a").await;
    store
        .settle(store.owner(), vec![settle("a", &entries[0], Settlement::Delivered)])
        .await
        .expect("settles");
    drop(store);
    subject.crash();
    let store = subject.entries();
    assert_eq!(store.find_keys(keys.clone()).await.expect("reads"), expected, "also of what has ended");
    assert_eq!(texts(&ready(&*store, "a").await), ["two"], "nothing is added");
    store.close().await.expect("closes");
    assert!(matches!(store.find_keys(keys).await, Err(StoreError::Closed)));
}

pub(in crate::store) async fn the_last_redrive_of_an_event_is_known_after_its_end(subject: &mut dyn Subject) {
    let store = subject.entries();
    let origin = EventId::new(5, 6);
    let redriven = |count, is_renamed| Redriven {
        origin,
        is_renamed,
        count,
        at: Timestamp::from_millis(7),
        by: "on call".to_owned(),
        from_url: Some("http://h.org/".to_owned()),
    };
    let entry = |redriven: &Redriven, key| NewEntry {
        record: record::testing::redriven_record(redriven).into(),
        ..keyed("", key, Dedup::REDRIVES[usize::from(redriven.is_renamed)])
    };
    let of = async |store: &dyn EntryStore, name| {
        store.last_redrives(vec![name]).await.expect("reads").pop().flatten()
    };
    assert_eq!(of(&*store, origin).await, None, "the control");
    let batch =
        vec![entry(&redriven(1, false), 1), entry(&redriven(2, false), 2), entry(&redriven(3, true), 3)];
    let answers = store.append(batch).await.expect("appends");
    let ids: Vec<EventId> =
        answers.iter().map(|one| if let Appended::New(id) = one { *id } else { panic!("{one:?}") }).collect();
    let expected = [(origin, ids[1], redriven(2, false)), (ids[2], ids[2], redriven(3, true))];
    for ends in [false, true] {
        if ends {
            let entries = ready(&*store, "a").await;
            let ended = entries.iter().map(|entry| settle("a", entry, Settlement::Delivered)).collect();
            store.settle(store.owner(), ended).await.expect("settles");
        }
        for (name, entry, redriven) in &expected {
            let last = LastRedrive { entry: *entry, redriven: redriven.clone() };
            assert_eq!(of(&*store, *name).await, Some(last), "ended: {ends}");
        }
    }
    drop(store);
    subject.crash();
    let store = subject.entries();
    let both = store.last_redrives(vec![ids[0], origin]).await.expect("reads");
    assert_eq!(both, [None, Some(LastRedrive { entry: ids[1], redriven: redriven(2, false) })]);
}

pub(in crate::store) async fn everything_survives_a_crash(subject: &mut dyn Subject) {
    let big = "x".repeat(MAX_RECORD_BYTES);
    let store = subject.entries();
    store.append(vec![plain("a", &big), plain("a", "small")]).await.expect("appends");
    let too_long = store.append(vec![plain("a", &format!("{big}x"))]).await;
    assert!(matches!(too_long, Err(StoreError::TooLarge { .. })));
    store.append(vec![delayed("b", "later", 50)]).await.expect("appends");
    drop(store);
    for _ in 0..3 {
        subject.crash();
        let store = subject.entries();
        let entries = ready(&*store, "a").await;
        assert_eq!(entries.iter().map(|entry| entry.record.len()).collect::<Vec<_>>(), [big.len(), 5]);
        let lanes = store.lanes().await.expect("lists");
        let summary: Vec<_> =
            lanes.iter().map(|lane| (lane.lane.as_str(), lane.ready, lane.delayed, lane.next_due)).collect();
        assert_eq!(summary, [("a", 2, 0, None), ("b", 0, 1, Some(Timestamp::from_millis(50)))]);
        let last = store.append(vec![plain("c", "n")]).await.expect("appends");
        let Appended::New(id) = last[0] else { panic!("{last:?}") };
        assert!(id > entries[1].id, "ids ascend over a crash");
        let entries = ready(&*store, "c").await;
        store
            .settle(store.owner(), vec![settle("c", &entries[0], Settlement::Expired)])
            .await
            .expect("settles");
    }
}

pub(in crate::store) async fn a_lane_that_is_given_up_is_lost_once_and_others_stay(
    subject: &mut dyn Subject,
) {
    let store = subject.entries();
    let batch: Vec<_> = (0..300).map(|n| plain("a", &n.to_string())).collect();
    store.append(batch).await.expect("appends");
    store.append(vec![delayed("a", "later", 900), plain("b", "other")]).await.expect("appends");
    assert_eq!(store.take_losses(), []);
    let entries = ready(&*store, "a").await;
    let out = HashSet::from([entries[7].id]);
    let later =
        Settlement::Reschedule { due_at: Timestamp::from_millis(700), tries: Tries::of(2), doubted_at: None };
    let settles = vec![settle("a", &entries[0], Settlement::Delivered), settle("a", &entries[1], later)];
    store.settle(store.owner(), settles).await.expect("settles");
    assert_eq!(
        store.give_up(store.owner(), GiveUp::Lane(lane("none")), out.clone()).await.expect("gives up"),
        0
    );
    assert_eq!(
        store.give_up(store.owner(), GiveUp::Lane(lane("a")), out.clone()).await.expect("gives up"),
        299
    );
    assert_eq!(
        store.give_up(store.owner(), GiveUp::Lane(lane("a")), out).await.expect("gives up"),
        0,
        "once"
    );
    let losses = store.take_losses();
    let due: Vec<_> = losses.iter().filter_map(|loss| loss.due_at).map(Timestamp::as_millis).collect();
    assert_eq!((losses.len(), due.len(), due.iter().sum::<u64>()), (299, 2, 1600));
    assert_eq!(store.take_losses(), [], "each is told once");
    assert_eq!(store.health().lost_entries, 299);
    drop(store);
    subject.crash();
    let store = subject.entries();
    assert_eq!(ready(&*store, "a").await, entries[7..8]);
    assert_eq!(
        (due_texts(&*store).await, texts(&ready(&*store, "b").await)),
        (Vec::new(), vec!["other".into()])
    );
    for (n, entry) in entries.iter().enumerate().take(9) {
        let found = store.lookup(entry.id).await.expect("looks up");
        match n {
            0 => assert_eq!(found, delivered("a")),
            7 => assert!(matches!(found, Lookup::Waiting(..))),
            _ => assert_eq!(found, Lookup::Lost, "{n}"),
        }
    }
    let other = GiveUp::Unread { subject: "journal/0000000001.seg".to_owned(), at_most: 1 };
    assert_eq!(
        store.give_up(store.owner(), other, HashSet::new()).await.expect("gives up"),
        0,
        "all of it can be read"
    );
}

async fn due_texts(store: &dyn EntryStore) -> Vec<String> {
    texts(&due(store, "a", 10_000).await.entries)
}

pub(in crate::store) async fn a_closed_store_says_so(subject: &mut dyn Subject) {
    let store = subject.entries();
    store.append(vec![plain("a", "1")]).await.expect("appends");
    store.close().await.expect("closes");
    store.close().await.expect("closes twice");
    assert!(matches!(store.append(vec![plain("a", "2")]).await, Err(StoreError::Closed)));
    assert!(matches!(store.read_ready(&lane("a"), None, ALL).await, Err(StoreError::Closed)));
    drop(store);
    subject.crash();
    assert_eq!(texts(&ready(&*subject.entries(), "a").await), ["1"]);
}

pub(in crate::store) async fn what_an_earlier_owner_decides_is_refused(subject: &mut dyn Subject) {
    let store = subject.entries();
    store.append(vec![plain("a", "1"), plain("a", "2")]).await.expect("appends");
    let entries = ready(&*store, "a").await;
    let before = store.owner();
    assert_eq!(store.owner(), before, "one opening has one owner");
    drop(store);
    subject.crash();
    let store = subject.entries();
    assert!(store.owner() > before);
    let late = store.settle(before, vec![settle("a", &entries[0], Settlement::Delivered)]).await;
    let expected = (before.epoch, store.owner().epoch);
    let Err(StoreError::Fenced { epoch, present }) = late else { panic!("{late:?}") };
    assert_eq!((epoch, present), expected);
    let late = store.give_up(before, GiveUp::Lane(lane("a")), HashSet::new()).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    assert_eq!(ready(&*store, "a").await, entries, "nothing was changed");
    store
        .settle(store.owner(), vec![settle("a", &entries[0], Settlement::Delivered)])
        .await
        .expect("the control");
    assert_eq!(texts(&ready(&*store, "a").await), ["2"]);
    let given_up = store.give_up(store.owner(), GiveUp::Lane(lane("a")), HashSet::new()).await;
    assert_eq!(given_up.expect("the control"), 1);
}
