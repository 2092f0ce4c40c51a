//! What lists and single changes make of a book.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::policy::testing::{id, spec};
use crate::policy::{DRAIN_WINDOW, PolicyChange, Runtime, document};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn list(rows: &[(&str, f64)]) -> Vec<(PolicyId, Wanted)> {
    rows.iter().map(|(name, pace)| (id(name), spec("https://h.org/*", *pace).into())).collect()
}

fn synced(book: &mut Book, rows: &[(&str, f64)]) -> SyncReport {
    book.sync(&Origin::file(), &list(rows), NOW, DRAIN_WINDOW).expect("active")
}

fn runtime(book: &Book) -> Runtime {
    Runtime::build(book).expect("small")
}

#[test]
fn only_the_difference_is_made_and_reported() {
    let mut book = Book::default();
    let report = synced(&mut book, &[("a", 1.0), ("b", 2.0), ("c", 3.0)]);
    assert_eq!(report.added, [id("a"), id("b"), id("c")]);
    let (before, was) = (runtime(&book), book.clone());
    assert!(synced(&mut book, &[("c", 3.0), ("a", 1.0), ("b", 2.0)]).is_empty());
    assert_eq!(book, was, "nothing to write");

    let report = synced(&mut book, &[("a", 1.0), ("b", 20.0), ("d", 4.0)]);
    assert_eq!((report.added, report.changed, report.removed), (vec![id("d")], vec![id("b")], vec![id("c")]));
    let after = runtime(&book);
    let set = ["b", "c", "d"].map(|name| PolicyChange::Set(id(name)));
    assert_eq!(after.diff(&before), set, "a does not notice, c drains");
    let lives = |name: &str| after.get(&id(name)).map(|policy| policy.generations.len());
    assert_eq!((lives("b"), lives("c")), (Some(1), Some(1)));
    assert_eq!(book.get(&id("b")).and_then(|policy| policy.lifecycle().active()), Some(1), "goes on");
    assert_eq!(book.get(&id("c")), None);
}

#[test]
fn the_order_of_a_list_can_be_the_order_of_age() {
    let mut book = Book::default();
    synced(&mut book, &[("b", 1.0), ("other", 1.0)]);
    synced(&mut book, &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("other", 1.0)]);
    let governs = |book: &Book| {
        let (at, labels) = (crate::policy::testing::url("https://h.org/x"), crate::event::Labels::default());
        let lane = runtime(book).route(&http::Method::GET, &at, &labels).expect("few").expect("governed");
        lane.key().to_string()
    };
    assert_eq!(governs(&book), "b@1", "the first active");
    let ids = ["a", "gone", "b", "c"].map(id);
    book.put_in_order(ids.iter());
    assert_eq!(governs(&book), "a@1");
    let before = book.clone();
    book.put_in_order(ids.iter());
    assert_eq!(book, before);
}

#[test]
fn what_comes_back_while_it_drains_starts_a_new_generation() {
    let mut book = Book::default();
    synced(&mut book, &[("a", 1.0)]);
    synced(&mut book, &[]);
    let report = synced(&mut book, &[("a", 1.0)]);
    assert_eq!(report.added, [id("a")]);
    let policy = book.get(&id("a")).expect("authored");
    assert_eq!((policy.lifecycle().active(), policy.lifecycle().generations().len()), (Some(2), 2));
}

#[test]
fn the_id_of_another_origin_is_named_and_nothing_changes() {
    let mut book = Book::default();
    book.rest(&Origin::new("x"), &id("api"), NOW, DRAIN_WINDOW).expect("free");
    synced(&mut book, &[("a", 1.0), ("b", 1.0)]);
    let before = book.clone();
    for name in ["api", "a"] {
        // The second row changes, the last one is what cannot be.
        let rows = list(&[("new", 1.0), ("a", 2.0), (name, 1.0)]);
        let error = book.sync(&Origin::file(), &rows, NOW, DRAIN_WINDOW).expect_err("refused");
        assert_eq!(error, SyncError { policy: id(name), error: BookError::Exists });
        assert_eq!(book, before);
    }
    // What an origin left behind is its own until it has drained.
    book.put(&Origin::new("x"), &id("api"), spec("https://h.org/*", 1.0)).expect("idle");
    book.remove(&id("api"), NOW, DRAIN_WINDOW).expect("there");
    let error = book.sync(&Origin::file(), &list(&[("api", 1.0)]), NOW, DRAIN_WINDOW).expect_err("drains");
    assert!(error.to_string().contains("\"api\""), "{error}");
    book.expire(NOW + DRAIN_WINDOW);
    synced(&mut book, &[("api", 1.0)]);
}

#[test]
fn the_file_takes_over_what_the_api_has_deleted_and_nothing_that_it_has() {
    let mut book = Book::default();
    book.put(&Origin::api(), &id("a"), spec("https://h.org/*", 1.0)).expect("free");
    let before = book.clone();
    book.sync(&Origin::file(), &list(&[("a", 2.0)]), NOW, DRAIN_WINDOW).expect_err("it is the API's");
    assert_eq!(book, before);
    book.remove(&id("a"), NOW, DRAIN_WINDOW).expect("there");
    assert_eq!(synced(&mut book, &[("a", 2.0)]).added, [id("a")]);
    let policy = book.get(&id("a")).expect("authored");
    assert_eq!((policy.origin(), policy.lifecycle().active()), (&Origin::file(), Some(2)));
    assert_eq!(policy.lifecycle().generations().len(), 2, "the first one drains");
    book.remove(&id("a"), NOW, DRAIN_WINDOW).expect("there");
    let back = book.put(&Origin::api(), &id("a"), spec("https://h.org/*", 1.0));
    assert_eq!(back, Err(BookError::Exists), "not the other way round");
}

/// What the file says that rules, by id.
fn active(book: &Book) -> BTreeMap<&PolicyId, &Spec> {
    let policies = book.of_origin(&Origin::file()).into_iter();
    let deployed = policies.filter(|(_, policy)| policy.lifecycle().active().is_some());
    deployed.filter_map(|(id, policy)| Some((id, policy.ruling()?))).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Sync(Vec<(u8, u8)>),
    Foreign(u8),
    Wait { hours: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec((0..6_u8, 1..4_u8), 0..6).prop_map(Step::Sync),
        1 => (0..6_u8).prop_map(Step::Foreign),
        2 => (0..30_u64).prop_map(|hours| Step::Wait { hours }),
    ];
    prop::collection::vec(step, 0..30)
}

proptest! {
    #[test]
    fn after_any_syncs_the_book_has_the_last_list_that_could_be(steps in steps()) {
        let (mut book, mut now) = (Book::default(), NOW);
        let mut last: Vec<(PolicyId, Spec)> = Vec::new();
        let wanted = |rows: &[(PolicyId, Spec)]| -> Vec<(PolicyId, Wanted)> {
            rows.iter().map(|(id, spec)| (id.clone(), spec.clone().into())).collect()
        };
        let mut foreign = Vec::new();
        for step in steps {
            match step {
                Step::Sync(rows) => {
                    let rows: Vec<_> = rows
                        .into_iter()
                        .map(|(which, pace)| (id(&format!("p{which}")), spec("https://h.org/*", pace.into())))
                        .collect();
                    let before = book.clone();
                    let ids: BTreeSet<_> = rows.iter().map(|(id, _)| id).collect();
                    let taken = ids.len() < rows.len() || ids.iter().any(|id| foreign.contains(*id));
                    match book.sync(&Origin::file(), &wanted(&rows), now, DRAIN_WINDOW) {
                        Ok(report) => {
                            prop_assert!(!taken, "an id was taken");
                            prop_assert_eq!(report.is_empty(), book == before);
                            last = rows;
                        }
                        Err(_) => {
                            prop_assert!(taken, "refused without a reason");
                            prop_assert_eq!(&book, &before, "a refusal changes nothing");
                        }
                    }
                }
                Step::Foreign(which) => {
                    let id = id(&format!("p{which}"));
                    if book.known(&id).is_none() {
                        book.rest(&Origin::new("x"), &id, now, DRAIN_WINDOW).expect("free");
                        foreign.push(id);
                    }
                }
                Step::Wait { hours } => {
                    now = now + Duration::from_secs(hours * 3600);
                    book.expire(now);
                }
            }
            let expected: BTreeMap<_, _> = last.iter().map(|(id, spec)| (id, spec)).collect();
            prop_assert_eq!(active(&book), expected);
            prop_assert_eq!(book.of_origin(&Origin::new("x")).len(), foreign.len());
            let body = document::encode(&book).expect("encodes");
            prop_assert_eq!(&document::decode(&body).expect("decodes"), &book);
            let running = Runtime::build(&book).expect("small");
            for (id, _) in &last {
                let active = book.get(id).and_then(|policy| policy.lifecycle().active());
                prop_assert!(active.is_some() && running.get(id).is_some());
            }
        }
    }
}

#[test]
fn an_idle_policy_is_known_keeps_its_numbers_and_its_pause_and_starts_again() {
    let (mut book, origin) = (Book::default(), Origin::new("x"));
    let active = || Wanted::from(spec("https://h.org/*", 1.0));
    let mut sync = |wanted: Wanted, now| {
        book.sync(&origin, &[(id("a"), wanted)], now, DRAIN_WINDOW).expect("free");
        book.expire(now);
        let policy = book.get(&id("a")).expect("there");
        let life = policy.lifecycle();
        (life.active(), life.generations().len(), policy.ruling().is_some())
    };
    assert_eq!(sync(Wanted::Idle, NOW), (None, 0, false));
    assert_eq!(sync(active(), NOW), (Some(1), 1, true));
    assert_eq!(sync(Wanted::Idle, NOW), (None, 1, true), "it drains under its own limits");
    assert_eq!(sync(Wanted::AsItIs, NOW), (None, 1, true));
    assert_eq!(sync(Wanted::Idle, NOW + DRAIN_WINDOW), (None, 0, false));
    assert_eq!(sync(active(), NOW + DRAIN_WINDOW), (Some(2), 1, true));
    assert_eq!(sync(Wanted::AsItIs, NOW + DRAIN_WINDOW), (Some(2), 1, true));
    let mut reported = |wanted: Wanted| {
        let SyncReport { added, changed, removed } =
            book.sync(&origin, &[(id("a"), wanted)], NOW, DRAIN_WINDOW).expect("free");
        (added.len(), changed.len(), removed.len())
    };
    assert_eq!(reported(active()), (0, 0, 0));
    assert_eq!(reported(Wanted::Idle), (0, 0, 1));
    assert_eq!(reported(Wanted::Idle), (0, 0, 0));
    assert_eq!(reported(active()), (1, 0, 0));
}
