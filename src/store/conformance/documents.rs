//! Documents: compare-and-set, versions, and what holds a store.

use bytes::Bytes;

use super::{Subject, plain};
use crate::store::{Expect, StoreError, Version};

/// The one document that holds a store when it cannot be understood.
const BOOK: &str = "policies";

fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(in crate::store) async fn a_document_is_replaced_only_by_who_knows_its_version(
    subject: &mut dyn Subject,
) {
    let documents = subject.documents();
    assert_eq!(documents.get("other").await.expect("reads"), None);
    let early = documents.put("other", Expect::At(Version(1)), body("one")).await;
    assert!(matches!(early, Err(StoreError::VersionConflict { found: None })), "{early:?}");
    assert_eq!(documents.put("other", Expect::Absent, body("one")).await.expect("writes"), Version(1));
    let again = documents.put("other", Expect::Absent, body("two")).await;
    assert!(matches!(again, Err(StoreError::VersionConflict { found: Some(Version(1)) })), "{again:?}");
    assert_eq!(
        documents.put("other", Expect::At(Version(1)), body("two")).await.expect("writes"),
        Version(2)
    );
    let stale = documents.put("other", Expect::At(Version(1)), body("three")).await;
    assert!(matches!(stale, Err(StoreError::VersionConflict { found: Some(Version(2)) })), "{stale:?}");
    assert_eq!(documents.get("other").await.expect("reads"), Some((Version(2), body("two"))));
}

pub(in crate::store) async fn documents_survive_a_crash_each_at_its_version(subject: &mut dyn Subject) {
    let documents = subject.documents();
    let (one, none) = (body("{\"a\":\n1}\u{0}"), body(""));
    documents.put("other", Expect::Absent, body("before")).await.expect("writes");
    documents.put("other", Expect::At(Version(1)), one.clone()).await.expect("writes");
    documents.put("another", Expect::Absent, none.clone()).await.expect("writes");
    drop(documents);
    for _ in 0..2 {
        subject.crash();
        let documents = subject.documents();
        assert_eq!(documents.get("other").await.expect("reads"), Some((Version(2), one.clone())));
        assert_eq!(documents.get("another").await.expect("reads"), Some((Version(1), none.clone())));
        assert_eq!(documents.get("none").await.expect("reads"), None);
    }
    let documents = subject.documents();
    assert_eq!(
        documents.put("other", Expect::At(Version(2)), body("next")).await.expect("writes"),
        Version(3)
    );
}

pub(in crate::store) async fn of_many_writers_at_once_each_version_has_one(subject: &mut dyn Subject) {
    let documents = subject.documents();
    let puts = (0..16).map(|_| documents.put("other", Expect::Absent, body("x")));
    let answers = futures_util::future::join_all(puts).await;
    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    let lost =
        |answer: &&Result<Version, StoreError>| matches!(answer, Err(StoreError::VersionConflict { .. }));
    assert_eq!((won, answers.iter().filter(lost).count()), (1, 15));
}

pub(in crate::store) async fn a_book_that_its_reader_rejects_holds_the_store(subject: &mut dyn Subject) {
    let documents = subject.documents();
    documents.put(BOOK, Expect::Absent, body("{}")).await.expect("writes");
    assert_eq!(documents.held(), None);
    documents.reject(BOOK, "no book");
    assert!(documents.held().is_some_and(|reason| reason.contains("no book")));
    let store = subject.entries();
    assert_eq!(store.health().held, documents.held());
    for name in [BOOK, "other"] {
        let put = documents.put(name, Expect::At(Version(1)), body("next")).await;
        assert!(matches!(put, Err(StoreError::Held { .. })), "{name}: {put:?}");
    }
    let appended = store.append(vec![plain("a", "1")]).await;
    assert!(matches!(appended, Err(StoreError::Held { .. })), "{appended:?}");
}
