//! The record of what limits have consumed: what is found again, rounding, closing, and a record that is lost.

use super::Subject;
use crate::clock::Timestamp;
use crate::store::{MAX_LIMIT_NAME_BYTES, StoreError, Usage, UsageFound};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn usage(limit: &str, count: u32, at_ms: u64, over_ms: u64) -> Usage {
    Usage { limit: limit.into(), count, at: ms(at_ms), over_at: ms(over_ms) }
}

fn orderly(usages: &[Usage]) -> UsageFound {
    UsageFound { usages: usages.to_vec(), orderly: true, ..UsageFound::default() }
}

fn disorderly(usages: &[Usage]) -> UsageFound {
    UsageFound { orderly: false, ..orderly(usages) }
}

pub(in crate::store) async fn a_new_record_is_empty_and_orderly(subject: &mut dyn Subject) {
    assert_eq!(subject.usages().open(NOW).await.expect("opens"), orderly(&[]));
    subject.crash();
    assert_eq!(subject.usages().open(NOW).await.expect("opens"), disorderly(&[]), "it was taken up");
}

pub(in crate::store) async fn what_was_recorded_is_found_in_order(subject: &mut dyn Subject) {
    let store = subject.usages();
    store.open(NOW).await.expect("opens");
    let long = "ü \"\\".repeat(MAX_LIMIT_NAME_BYTES / 5);
    let first = [usage("b", 2, 1_500, 9_000), usage("a", 1, 1_500, 9_000)];
    let second = [usage("b", 1, 1_501, 9_000), usage(&long, u32::MAX, 2, u64::MAX / 1_000_000)];
    store.record(store.owner(), first.to_vec()).await.expect("records");
    store.record(store.owner(), Vec::new()).await.expect("nothing to do");
    store.record(store.owner(), second.to_vec()).await.expect("records");
    let all = [first, second].concat();
    for _ in 0..2 {
        subject.crash();
        assert_eq!(subject.usages().open(NOW).await.expect("opens"), disorderly(&all));
    }
    subject.usages().record(subject.usages().owner(), vec![usage("c", 3, 1, 9_000)]).await.expect("records");
    subject.crash();
    let found = subject.usages().open(NOW).await.expect("opens").usages;
    assert_eq!(found.last(), Some(&usage("c", 3, 1, 9_000)));
    assert_eq!(found[..4], all);
}

pub(in crate::store) async fn what_is_over_is_not_taken_up(subject: &mut dyn Subject) {
    let store = subject.usages();
    store.open(NOW).await.expect("opens");
    let all = [usage("a", 1, 1, 1_500), usage("b", 1, 1, 1_501), usage("c", 1, 1, 999)];
    store.record(store.owner(), all.to_vec()).await.expect("records");
    subject.crash();
    assert_eq!(subject.usages().open(ms(1_499)).await.expect("opens").usages, all[..2]);
    subject.crash();
    assert_eq!(subject.usages().open(ms(1_500)).await.expect("opens").usages, all[1..2]);
    subject.crash();
    assert_eq!(subject.usages().open(NOW).await.expect("opens").usages, all[1..2], "gone for good");
}

pub(in crate::store) async fn like_usages_are_summed_and_moments_rounded_up(subject: &mut dyn Subject) {
    let store = subject.usages();
    store.open(NOW).await.expect("opens");
    let (at, over_at) = (Timestamp::from_nanos(1_500_000_001), Timestamp::from_nanos(1_999_000_001));
    let fine = Usage { limit: "a".into(), count: 2, at, over_at };
    let batch = vec![fine.clone(), usage("b", 1, 1, 3_000), usage("a", 3, 1_501, 2_000), fine];
    store.record(store.owner(), batch).await.expect("records");
    store
        .record(store.owner(), vec![usage("b", u32::MAX, 1, 3_000), usage("b", 4, 1, 3_000)])
        .await
        .expect("records");
    subject.crash();
    let found = subject.usages().open(ms(1_999)).await.expect("opens").usages;
    // A sum that the number cannot hold stays in two.
    let sums = [usage("a", 7, 1_501, 2_000), usage("b", 1, 1, 3_000), usage("b", u32::MAX, 1, 3_000)];
    assert_eq!(found[..3], sums);
    assert_eq!(found[3..], [usage("b", 4, 1, 3_000)]);
}

pub(in crate::store) async fn closing_replaces_everything(subject: &mut dyn Subject) {
    let store = subject.usages();
    store.open(NOW).await.expect("opens");
    store.record(store.owner(), vec![usage("a", 10, 1_500, 9_000)]).await.expect("records");
    let left = [usage("a", 4, 1_200, 9_000), usage("b", 1, 1, 2)];
    store.close(store.owner(), left.to_vec()).await.expect("closes");
    subject.crash();
    assert_eq!(subject.usages().open(NOW).await.expect("opens"), orderly(&left[..1]));
    subject.crash();
    assert_eq!(subject.usages().open(NOW).await.expect("opens"), disorderly(&left[..1]));
}

pub(in crate::store) async fn a_record_that_is_not_open_says_so(subject: &mut dyn Subject) {
    let store = subject.usages();
    let one = vec![usage("a", 1, 1_500, 9_000)];
    assert!(
        matches!(store.record(store.owner(), one.clone()).await, Err(StoreError::Closed)),
        "not before it is opened"
    );
    assert!(matches!(store.close(store.owner(), one.clone()).await, Err(StoreError::Closed)));
    assert_eq!(store.open(NOW).await.expect("opens"), orderly(&[]), "nothing came of it");
    store.close(store.owner(), one.clone()).await.expect("closes");
    assert!(matches!(store.record(store.owner(), one.clone()).await, Err(StoreError::Closed)));
    assert!(matches!(store.close(store.owner(), Vec::new()).await, Err(StoreError::Closed)));
    assert!(matches!(store.open(NOW).await, Err(StoreError::Closed)));
    assert_eq!(store.poisoned(), None);
    subject.crash();
    assert_eq!(subject.usages().open(NOW).await.expect("opens"), orderly(&one));
}

pub(in crate::store) async fn names_are_checked_and_nothing_is_recorded(subject: &mut dyn Subject) {
    let store = subject.usages();
    store.open(NOW).await.expect("opens");
    for bad in ["", "a\nb", "\u{85}", &"x".repeat(MAX_LIMIT_NAME_BYTES + 1)] {
        let batch = vec![usage("good", 1, 1, 9_000), usage(bad, 1, 1, 9_000)];
        assert!(
            matches!(store.record(store.owner(), batch.clone()).await, Err(StoreError::Io { .. })),
            "{bad:?}"
        );
        assert!(matches!(store.close(store.owner(), batch).await, Err(StoreError::Io { .. })), "{bad:?}");
    }
    assert_eq!(store.poisoned(), None);
    store.record(store.owner(), vec![usage("good", 1, 1, 9_000)]).await.expect("still open");
    subject.crash();
    let found = subject.usages().open(NOW).await.expect("opens");
    assert_eq!(found, disorderly(&[usage("good", 1, 1, 9_000)]));
}

pub(in crate::store) async fn a_lost_record_is_told_until_its_moment_is_past(subject: &mut dyn Subject) {
    let one = [usage("a", 1, 1_500, 9_000)];
    subject.usages().open(NOW).await.expect("opens");
    subject.usages().close(subject.usages().owner(), one.to_vec()).await.expect("closes");
    subject.lose_usages();
    let lost = UsageFound { complete_from: ms(1_001), ..disorderly(&[]) };
    let opened = Timestamp::from_nanos(1_000_000_001);
    assert_eq!(subject.usages().open(opened).await.expect("opens"), lost);
    subject.crash();
    assert_eq!(subject.usages().open(ms(2_000)).await.expect("opens"), lost);
    subject.usages().close(subject.usages().owner(), one.to_vec()).await.expect("closes");
    subject.crash();
    let told = UsageFound { complete_from: ms(1_001), ..orderly(&one) };
    assert_eq!(subject.usages().open(ms(2_000)).await.expect("opens"), told);
}

pub(in crate::store) async fn what_an_earlier_owner_records_is_refused(subject: &mut dyn Subject) {
    let before = subject.usages().owner();
    subject.crash();
    let store = subject.usages();
    assert!(store.owner() > before);
    store.open(NOW).await.expect("opens");
    let one = vec![usage("a", 1, 1_500, 9_000)];
    for late in [store.record(before, one.clone()).await, store.close(before, one.clone()).await] {
        assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    }
    store.record(store.owner(), vec![usage("b", 2, 1_500, 9_000)]).await.expect("the control: it is open");
    subject.crash();
    let found = subject.usages().open(NOW).await.expect("opens");
    assert_eq!(found, disorderly(&[usage("b", 2, 1_500, 9_000)]), "nothing else was changed");
}
