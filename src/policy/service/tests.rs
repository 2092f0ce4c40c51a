//! Changes of the book over a store whose failures are ordered.

use futures_util::FutureExt;
use serde_json::Value;

use super::*;
use crate::event::Lane;
use crate::policy::testing::{Fault, TestDocuments, id, spec};
use crate::policy::{
    BookError, Clause, DRAIN_WINDOW, ExceededBound, LabelCondition, Limits, Origin, Spec, UrlPattern,
};

const START: Timestamp = Timestamp::from_millis(1_000_000);

async fn open(documents: &Arc<TestDocuments>) -> (Policies, Clock) {
    let clock = Clock::manual(START);
    let policies = Policies::open(documents.clone(), clock.clone()).await.expect("readable");
    (policies, clock)
}

fn add(book: &mut Book, name: &str) -> Result<(), BookError> {
    if book.get(&id(name)).is_some() {
        return Err(BookError::Exists);
    }
    book.put(&x(), &id(name), spec("https://h.org/*", 200.0)).map(drop)
}

fn x() -> Origin {
    Origin::new("x")
}

/// What rules nothing: an element beside the policies.
fn name(book: &mut Book, name: &str) -> Result<(), BookError> {
    book.put_element(&x(), "name", "p", Value::from(name));
    Ok(())
}

#[tokio::test]
async fn a_change_is_durable_and_active_on_return() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    let mut seen = policies.shared.runtime.subscribe();
    policies.change(|book| add(book, "p")).await.expect("changed");
    assert!(seen.has_changed().expect("alive"));
    assert!(seen.borrow_and_update().get(&id("p")).is_some());
    let (again, _) = open(&documents).await;
    assert_eq!(again.book(), policies.book());
    assert_eq!(again.runtime().diff(&policies.runtime()), []);

    policies.change(|book| name(book, "name")).await.expect("changed");
    assert!(!seen.has_changed().expect("alive"), "a cosmetic edit wakes nobody");
    assert_eq!(policies.book().element(&x(), "name", "p"), Some(&Value::from("name")));
}

#[tokio::test]
async fn a_change_returns_when_those_who_follow_act_by_it() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    let mut follower = policies.follow();
    assert!(follower.news().is_none());
    let mut change = Box::pin(policies.change(|book| add(book, "p")));
    let runtime = loop {
        // The change gets its turns, but does not end.
        assert!((&mut change).now_or_never().is_none());
        if let Some(runtime) = follower.news() {
            break runtime;
        }
    };
    assert!(runtime.get(&id("p")).is_some());
    follower.act_by(&runtime);
    change.await.expect("changed");
    drop(follower);
    policies.change(|book| add(book, "q")).await.expect("nobody follows any more");
}

#[tokio::test]
async fn a_refusal_or_a_failure_changes_nothing() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    let half = |book: &mut Book| {
        add(book, "p").expect("free");
        add(book, "p")
    };
    assert!(matches!(policies.change(half).await, Err(ChangeError::Refused(BookError::Exists))));
    documents.fail([Fault::Refuse]);
    let failed = policies.change(|book| add(book, "p")).await;
    assert!(matches!(failed, Err(ChangeError::Failed(PolicyError::Store(StoreError::Closed)))));
    assert_eq!((policies.book().as_ref(), documents.body(DOCUMENT)), (&Book::default(), None));
}

#[tokio::test]
async fn only_a_bounded_handle_refuses_to_add_and_more_than_the_bound_is_read_again() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    let one = Bounds { policies: 1, ..Bounds::default() };
    let bounded = policies.bounded(one);
    bounded.change(|book| add(book, "p")).await.expect("the last one");
    let before = documents.body(DOCUMENT);
    let refused = bounded.change(|book| add(book, "q")).await;
    assert!(matches!(
        refused,
        Err(ChangeError::Failed(PolicyError::Full(ExceededBound::Policies { most: 1 })))
    ));
    assert_eq!(documents.body(DOCUMENT), before, "nothing was written");
    policies.change(|book| add(book, "q")).await.expect("the control");

    let (again, _) = open(&documents).await;
    assert_eq!(again.runtime().policies().count(), 2);
    let bounded = again.bounded(one);
    bounded
        .change(|book| book.put(&x(), &id("p"), spec("https://h.org/*", 100.0)))
        .await
        .expect("it is there already");
    assert!(bounded.change(|book| add(book, "r")).await.is_err());

    again.change(|book| name(book, "name")).await.expect("no bound");
    let short = again.bounded(Bounds { book_bytes: 10, ..Bounds::default() });
    let named = async |text: &'static str| short.change(move |book| name(book, text)).await;
    named("n").await.expect("it is shorter than before");
    let longer = named("longer").await;
    assert!(matches!(longer, Err(ChangeError::Failed(PolicyError::Full(ExceededBound::Bytes { most: 10 })))));
}

#[tokio::test]
async fn what_could_not_be_read_at_the_next_start_is_not_written() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    policies.change(|book| add(book, "p")).await.expect("changed");
    let before = (policies.book(), documents.body(DOCUMENT));
    let without_clauses = Spec::new(Vec::new(), Limits::default());
    let failed = policies.change(|book| book.put(&x(), &id("q"), without_clauses.clone()));
    assert!(matches!(failed.await, Err(ChangeError::Failed(PolicyError::Document { .. }))));
    assert_eq!((policies.book(), documents.body(DOCUMENT)), before);
    let or_absent = LabelCondition::equals_or_absent("org", "A");
    let clause =
        Clause { labels: vec![or_absent], ..Clause::of(UrlPattern::any_host("/{}").expect("valid")) };
    policies
        .change(|book| book.put(&x(), &id("r"), Spec::new(vec![clause.clone()], Limits::default())))
        .await
        .expect("readable");
}

#[tokio::test]
async fn an_overtaken_writer_repeats_its_edit_on_what_the_other_wrote() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    let mut other = Book::default();
    add(&mut other, "other").expect("free");
    documents.fail([Fault::Overtake(document::encode(&other).expect("encodes"))]);
    let mut runs = 0;
    policies
        .change(|book| {
            runs += 1;
            add(book, "mine")
        })
        .await
        .expect("changed");
    assert_eq!(runs, 2);
    let (again, _) = open(&documents).await;
    for name in ["mine", "other"] {
        assert!(again.runtime().get(&id(name)).is_some(), "{name}");
        assert!(policies.runtime().get(&id(name)).is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_becomes_active_with_the_next_call() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    documents.fail([Fault::LoseTheAnswer]);
    assert!(policies.change(|book| add(book, "p")).await.is_err());
    assert!(policies.runtime().get(&id("p")).is_none());
    policies.expire(START, None).await.expect("reads again");
    assert!(policies.runtime().get(&id("p")).is_some());
}

#[tokio::test]
async fn a_write_whose_caller_went_away_becomes_active_when_the_store_answers() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    documents.fail([Fault::Hang]);
    assert!(policies.change(|book| add(book, "p")).now_or_never().is_none(), "dropped half-way");
    policies.expire(START, None).await.expect("waits for nobody");
    assert!(policies.runtime().get(&id("p")).is_none());
    documents.let_go();
    policies.change(|book| add(book, "q")).await.expect("changed, after the other one");
    for name in ["p", "q"] {
        assert!(policies.runtime().get(&id(name)).is_some(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_hangs_changes_are_answered_in_time_and_memory_is_as_the_store_is_afterwards() {
    let documents = Arc::new(TestDocuments::default());
    let (patient, _) = open(&documents).await;
    let policies = patient.within(Duration::from_secs(5));
    let late = |answer: Result<(), ChangeError<BookError>>| match answer {
        Err(ChangeError::Failed(PolicyError::Store(error))) => error,
        other => panic!("{other:?}"),
    };
    documents.fail([Fault::Hang]);
    let first = late(policies.change(|book| add(book, "first")).await);
    assert!(matches!(first, StoreError::OutcomeUnknown), "the store has it: {first}");
    for name in ["second", "third"] {
        let withdrawn = late(policies.change(|book| add(book, name)).await);
        assert!(matches!(withdrawn, StoreError::Slow), "the store does not have it: {withdrawn}");
    }
    policies.expire(START, Some(&BTreeSet::new())).await.expect("does not wait");
    assert_eq!(policies.book().policies.len(), 0);

    documents.let_go();
    policies.change(|book| add(book, "fourth")).await.expect("the control: the store answers");
    let names: Vec<_> = policies.book().policies.keys().map(|id| id.as_str().to_owned()).collect();
    assert_eq!(names, ["first", "fourth"], "what was withdrawn never comes");
    let (again, _) = open(&documents).await;
    assert_eq!(again.book(), policies.book());

    // The store took it and failed: memory follows what is stored.
    documents.fail([Fault::LoseTheAnswer]);
    policies.change(|book| add(book, "fifth")).await.expect_err("no answer");
    policies.expire(START, None).await.expect("reads again");
    let (again, _) = open(&documents).await;
    assert_eq!((again.book(), again.book().policies.len()), (policies.book(), 3));
}

#[tokio::test]
async fn drained_generations_leave_when_their_time_is_over() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, clock) = open(&documents).await;
    policies.change(|book| add(book, "p")).await.expect("changed");
    policies.change(|book| book.remove(&id("p"), clock.now(), DRAIN_WINDOW)).await.expect("changed");
    clock.advance(DRAIN_WINDOW - Duration::from_nanos(1));
    policies.expire(clock.now(), None).await.expect("stored");
    assert!(policies.runtime().get(&id("p")).is_some());
    let version = documents.body(DOCUMENT).map(|(version, _)| version);
    policies.expire(clock.now(), None).await.expect("stored");
    assert_eq!(documents.body(DOCUMENT).map(|(version, _)| version), version, "nothing to write");
    clock.advance(Duration::from_nanos(1));
    policies.expire(clock.now(), None).await.expect("stored");
    assert!(policies.runtime().get(&id("p")).is_none());
    assert_eq!(policies.book().as_ref().policies.len(), 0);
    assert!(policies.book().has_ended());
    policies.expire(clock.now(), Some(&BTreeSet::from([id("p")]))).await.expect("stored");
    assert!(policies.book().has_ended(), "something waits");
    policies.expire(clock.now(), Some(&BTreeSet::new())).await.expect("stored");
    assert!(!policies.book().has_ended());
}

#[tokio::test]
async fn a_book_that_does_not_decode_is_never_active_nor_written_over() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, _) = open(&documents).await;
    policies.change(|book| add(book, "p")).await.expect("changed");
    let (_, body) = documents.body(DOCUMENT).expect("written");
    let text = String::from_utf8(body.to_vec()).expect("text").replace("\"pace\"", "\"pacf\"");
    documents.set(DOCUMENT, text);
    let before = documents.body(DOCUMENT);
    let (policies, clock) = open(&documents).await;
    assert!(policies.held().is_some_and(|reason| reason.contains("pacf")));
    assert_eq!(policies.runtime().policies().count(), 0);
    let refused = policies.change(|book| add(book, "q")).await;
    assert!(matches!(refused, Err(ChangeError::Failed(PolicyError::Store(StoreError::Held { .. })))));
    policies.expire(clock.now(), None).await.expect("nothing is done");
    assert_eq!(documents.body(DOCUMENT), before);
}

#[tokio::test]
async fn a_book_whose_policies_cannot_be_active_together_holds_the_store() {
    let documents = Arc::new(TestDocuments::default());
    let mut book = Book::default();
    let deploy = |book: &mut Book, n: usize| {
        let name = format!("p{n}");
        book.put(&Origin::new(&name), &id(&name), spec("https://h.org/*", 1.0)).expect("free");
    };
    (0..Lane::MAX_POLICIES).for_each(|n| deploy(&mut book, n));
    documents.set(DOCUMENT, document::encode(&book).expect("encodes"));
    assert_eq!(open(&documents).await.0.runtime().policies().count(), Lane::MAX_POLICIES, "the control");
    deploy(&mut book, Lane::MAX_POLICIES);
    documents.set(DOCUMENT, document::encode(&book).expect("encodes"));
    let before = documents.body(DOCUMENT);
    let (policies, clock) = open(&documents).await;
    assert!(policies.held().is_some_and(|reason| reason.contains("origins")), "{:?}", policies.held());
    assert_eq!(policies.runtime().policies().count(), 0);
    policies.expire(clock.now(), None).await.expect("nothing is done");
    policies.change(|book| add(book, "q")).await.expect_err("held");
    assert_eq!(documents.body(DOCUMENT), before);
}

#[tokio::test]
async fn an_older_book_is_shown_and_nothing_of_it_expires() {
    let documents = Arc::new(TestDocuments::default());
    let (policies, clock) = open(&documents).await;
    policies.change(|book| add(book, "p")).await.expect("changed");
    let delete = |book: &mut Book| book.remove(&id("p"), clock.now(), DRAIN_WINDOW);
    policies.change(delete).await.expect("changed");
    let before = documents.body(DOCUMENT);
    documents.hold("the book is older");
    clock.advance(DRAIN_WINDOW);
    let policies = Policies::open(documents.clone(), clock.clone()).await.expect("readable");
    assert_eq!(policies.book().policies.len(), 1);
    assert_eq!(documents.body(DOCUMENT), before);
}
