//! The book over a life of its policies, by example and by random steps.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::testing::{id, spec};
use crate::policy::{DRAIN_WINDOW, GenerationState, Runtime, document};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn x() -> Origin {
    Origin::new("x")
}

fn with_deployed() -> Book {
    let mut book = Book::default();
    book.put(&x(), &id("p"), spec("https://h.org/*", 200.0)).expect("free");
    book
}

#[test]
fn a_deletion_hides_the_policy_and_lets_the_generations_drain() {
    let mut book = with_deployed();
    book.remove(&id("p"), NOW, DRAIN_WINDOW).expect("there");
    assert_eq!(book.get(&id("p")), None);
    assert_eq!(book.remove(&id("p"), NOW, DRAIN_WINDOW), Err(BookError::NotFound));
    assert_eq!(book.policies.len(), 1);
    book.expire(NOW + DRAIN_WINDOW - Duration::from_nanos(1));
    assert_eq!(book.policies.len(), 1);
    book.expire(NOW + DRAIN_WINDOW);
    assert_eq!(book.policies.len(), 0);
}

#[test]
fn an_id_taken_again_goes_on_counting_generations() {
    let mut book = with_deployed();
    let new = || spec("https://h.org/*", 300.0);
    assert_eq!(book.put(&Origin::new("y"), &id("p"), new()), Err(BookError::Exists));
    book.remove(&id("p"), NOW, DRAIN_WINDOW).expect("there");
    assert_eq!(book.put(&Origin::new("y"), &id("p"), new()), Err(BookError::Exists));
    book.put(&x(), &id("p"), new()).expect("free again");
    let policy = book.get(&id("p")).expect("authored");
    assert_eq!(policy.lifecycle().active(), Some(2));
    assert_eq!(policy.lifecycle().generations().len(), 2);
}

/// Ends that were set before the doubt and in it, before and after the moment of the leap.
#[test]
fn a_leap_moves_drains_and_the_pauses_that_began_in_doubt() {
    let hour = Duration::from_secs(3600);
    let from = NOW + hour * 10;
    let leap = Leap { by: hour * 30, from, ..Leap::default() };
    let pause = |since, until| Pause { reason: "x".to_owned(), since, until };
    let table = [
        (pause(from, Some(from + hour)), Some(from + hour * 31)),
        (pause(from + hour, Some(from + hour * 2)), Some(from + hour * 32)),
        (pause(from, None), None),
        // A real outage ages what was set before it.
        (pause(from - hour, Some(from + hour)), Some(from + hour)),
    ];
    for (pause, expected) in table {
        let mut book = with_deployed();
        book.pause(&id("p"), pause.clone()).expect("known");
        book.leap(&leap);
        let moved = book.get(&id("p")).expect("authored").pause().expect("paused");
        assert_eq!((moved.until, moved.since), (expected, pause.since), "{pause:?}");
    }
    for (begun, expected) in [
        (from, from + hour * 2 + leap.by),
        (from - hour, from + hour + leap.by),
        // Over when the doubt began.
        (from - hour * 3, from - hour),
    ] {
        let mut book = with_deployed();
        book.rest(&x(), &id("p"), begun, hour * 2).expect("deployed");
        let mut still = book.clone();
        still.leap(&Leap { from, ..Leap::default() });
        assert_eq!(still, book, "the control: the line did not move");
        book.leap(&leap);
        let generations = book.get(&id("p")).expect("authored").lifecycle().generations().clone();
        assert_eq!(generations, [(1, GenerationState::Draining { until: expected })].into());
    }
}

#[test]
fn what_has_ended_stays_on_record_while_something_waits_under_it() {
    let mut book = with_deployed();
    book.remove(&id("p"), NOW, DRAIN_WINDOW).expect("there");
    assert!(!book.has_ended(), "it drains");
    book.expire(NOW + DRAIN_WINDOW);
    assert_eq!(book.ended, BTreeMap::from([(id("p"), 1)]));
    book.forget_ended(&[id("p")].into());
    assert!(book.has_ended());
    book.rest(&Origin::new("y"), &id("p"), NOW, DRAIN_WINDOW).expect("free again");
    assert!(!book.has_ended(), "the policy itself knows");
    book.put(&Origin::new("y"), &id("p"), spec("https://h.org/*", 1.0)).expect("idle");
    assert_eq!(book.get(&id("p")).and_then(|policy| policy.lifecycle().active()), Some(2));
    book.remove(&id("p"), NOW, Duration::ZERO).expect("there");
    book.expire(NOW);
    assert_eq!(book.ended, BTreeMap::from([(id("p"), 2)]));
    book.forget_ended(&BTreeSet::new());
    assert_eq!(book, Book { next_order: book.next_order, ..Book::default() });
    book.rest(&x(), &id("q"), NOW, DRAIN_WINDOW).expect("free");
    book.remove(&id("q"), NOW, DRAIN_WINDOW).expect("idle");
    assert!(!book.has_ended(), "it never had a generation");
}

#[test]
fn whether_anything_ends_is_known_beforehand() {
    let hour = Duration::from_secs(3600);
    let mut book = with_deployed();
    assert!(!book.ends_something(Timestamp::MAX, Some(&BTreeSet::new())), "the control: it is deployed");
    let until = Some(NOW + hour);
    book.pause(&id("p"), Pause { reason: "x".to_owned(), since: NOW, until }).expect("known");
    assert!(!book.ends_something(NOW, None));
    assert!(book.ends_something(NOW + hour, None), "the pause");
    book.expire(NOW + hour);
    assert!(!book.ends_something(NOW + hour, None));
    book.remove(&id("p"), NOW, DRAIN_WINDOW).expect("there");
    assert!(!book.ends_something(NOW + hour, None));
    assert!(book.ends_something(NOW + DRAIN_WINDOW, None), "the drain");
    book.expire(NOW + DRAIN_WINDOW);
    assert!(!book.ends_something(Timestamp::MAX, None), "nobody has counted what waits");
    assert!(!book.ends_something(Timestamp::MAX, Some(&BTreeSet::from([id("p")]))));
    assert!(book.ends_something(NOW, Some(&BTreeSet::new())), "nothing waits under it");
}

#[test]
fn a_draining_life_keeps_what_rules() {
    let mut book = with_deployed();
    let next = spec("https://h.org/*", 900.0);
    book.put(&x(), &id("p"), next.clone()).expect("deployed");
    assert_eq!(book.get(&id("p")).and_then(Policy::ruling), Some(&next));
    book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("deployed");
    book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("idle");
    assert_eq!(book.get(&id("p")).and_then(Policy::ruling), Some(&next), "a draining life keeps its limits");
}

#[test]
fn the_list_is_oldest_first_and_of_one_origin() {
    let mut book = Book::default();
    for (name, origin) in [("z", "x"), ("a", "x"), ("m", "y")] {
        book.rest(&Origin::new(origin), &id(name), NOW, DRAIN_WINDOW).expect("free");
    }
    let names: Vec<_> = book.of_origin(&Origin::new("x")).iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(names, ["z", "a"]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Update,
    Deploy,
    Undeploy,
    TakeOver,
    Delete,
    Wait { hours: u64 },
}

fn steps() -> impl Strategy<Value = Vec<(u8, Step)>> {
    let step = prop_oneof![
        Just(Step::Update),
        Just(Step::Deploy),
        Just(Step::Undeploy),
        Just(Step::TakeOver),
        Just(Step::Delete),
        (0..30_u64).prop_map(|hours| Step::Wait { hours }),
    ];
    prop::collection::vec((0..3_u8, step), 0..60)
}

fn take(book: &mut Book, id: &PolicyId, step: Step, now: Timestamp) -> Result<(), BookError> {
    match step {
        Step::Update => book.put(&x(), id, spec("https://h.org/new/*", 300.0)).map(drop),
        Step::Deploy => book.put(&x(), id, spec("https://h.org/*", 200.0)).map(drop),
        Step::Undeploy => book.rest(&x(), id, now, DRAIN_WINDOW).map(drop),
        Step::TakeOver => book.put(&Origin::new("y"), id, spec("https://h.org/*", 200.0)).map(drop),
        Step::Delete => book.remove(id, now, DRAIN_WINDOW),
        Step::Wait { .. } => {
            book.expire(now);
            Ok(())
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_book_stays_in_order(steps in steps()) {
        let mut book = Book::default();
        let mut now = NOW;
        let mut known: BTreeSet<(PolicyId, u32)> = BTreeSet::new();
        for (which, step) in steps {
            let id = id(&format!("p{which}"));
            if let Step::Wait { hours } = step {
                now = now + Duration::from_secs(hours * 3600) + Duration::from_nanos(1);
            }
            let before = book.clone();
            if take(&mut book, &id, step, now).is_err() {
                prop_assert_eq!(&book, &before, "a refusal changes nothing");
            }
            if let Step::Wait { .. } = step {
                prop_assert_eq!(before.ends_something(now, None), book != before);
            }
            let body = document::encode(&book).expect("encodes");
            prop_assert_eq!(&document::decode(&body).expect("decodes"), &book);
            let runtime = Runtime::build(&book).expect("small");
            for (id, policy) in &book.policies {
                let life = policy.lifecycle();
                let active = life.generations().values().filter(|g| **g == GenerationState::Active).count();
                prop_assert_eq!(active, usize::from(life.active().is_some()));
                prop_assert!(!policy.is_deleted || active == 0, "what is deleted takes no events");
                prop_assert_eq!(runtime.get(id).is_some(), !life.generations().is_empty());
                for (number, state) in life.generations().iter() {
                    let fresh = known.insert((id.clone(), *number));
                    let old = before.policies.get(id).is_some_and(|p| p.lifecycle().generations().contains_key(number));
                    prop_assert!(old || fresh, "a generation that was gone came back");
                    if let (GenerationState::Draining { until }, Step::Wait { .. }) = (state, step) {
                        prop_assert!(*until > now);
                    }
                }
            }
        }
    }
}
