//! The table by itself: bounds, order, what is kept and for how long.

use std::time::Duration;

use futures_util::FutureExt;

use super::START;
use crate::clock::Timestamp;
use crate::event::NameFailure;
use crate::names::table::{LookupStep, NameAnswer, NameTable, Question, TableBounds, Waiter};

const BOUNDS: TableBounds = TableBounds {
    max_questions: 4,
    max_waiting: 8,
    max_names: 40,
    max_wait: Duration::from_secs(3),
    max_ttl: Duration::from_secs(600),
};

fn after(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn found() -> NameAnswer {
    Ok(vec!["10.0.0.1".parse().expect("an address")].into())
}

fn ask(table: &mut NameTable, name: &str, now: Timestamp) -> Waiter {
    match table.look_up(name, now) {
        LookupStep::Asked(waiter) => waiter,
        _ => panic!("{name} is not asked"),
    }
}

fn begun(table: &mut NameTable, now: Timestamp) -> Vec<Question> {
    std::iter::from_fn(|| table.next_question(now)).collect()
}

fn settle(table: &mut NameTable, name: &str, answer: &NameAnswer, ttl_s: Option<u64>, now: Timestamp) {
    let _waiter = ask(table, name, now);
    let question = table.next_question(now).expect("a place");
    assert_eq!(&*question.name, name);
    table.settle(question, answer.clone(), ttl_s.map(Duration::from_secs), now);
}

fn is_known(table: &mut NameTable, name: &str, now: Timestamp) -> bool {
    matches!(table.look_up(name, now), LookupStep::Known(_))
}

fn answer_of(waiter: &Waiter) -> Option<NameAnswer> {
    waiter.clone().now_or_never().map(|told| told.expect("an answer"))
}

#[test]
fn a_name_under_way_is_joined_and_all_get_the_answer() {
    let mut table = NameTable::new(BOUNDS);
    let first = ask(&mut table, "a", START);
    let Some(question) = table.next_question(START) else { panic!("no question") };
    let LookupStep::Joined(second) = table.look_up("a", START) else { panic!("not joined") };
    assert!(table.next_question(START).is_none(), "one question for both");
    assert_eq!(answer_of(&second), None);
    table.settle(question, found(), Some(Duration::from_secs(9)), START);
    assert_eq!(answer_of(&first), Some(found()));
    assert_eq!(answer_of(&second), Some(found()));
}

#[test]
fn answers_are_kept_by_their_ttl_within_bounds() {
    use NameFailure::{NoAddress, NoSuchName, ServerFailed, Shortage, Timeout};
    for (answer, ttl_s, kept_s) in [
        (found(), Some(60), 60),
        (found(), Some(0), 1),
        (found(), None, 1),
        (found(), Some(86_400), 600),
        (Err(NoSuchName), Some(10), 10),
        (Err(NoAddress), Some(86_400), 30),
        (Err(NoSuchName), None, 5),
        (Err(Timeout), None, 2),
        (Err(ServerFailed), Some(60), 2),
        (Err(Shortage), None, 0),
    ] {
        let mut table = NameTable::new(BOUNDS);
        settle(&mut table, "a", &answer, ttl_s, START);
        let end = after(kept_s);
        if kept_s > 0 {
            assert!(is_known(&mut table, "a", end - Duration::from_nanos(1)), "{answer:?} {ttl_s:?}");
        }
        assert!(!is_known(&mut table, "a", end), "{answer:?} {ttl_s:?}");
    }
}

#[test]
fn a_flood_of_names_is_bounded_in_questions_line_and_memory() {
    let mut table = NameTable::new(BOUNDS);
    let mut under_way = Vec::new();
    let mut full = 0;
    for number in 0..100 {
        full += usize::from(matches!(table.look_up(&format!("n{number}"), START), LookupStep::Full));
        under_way.extend(begun(&mut table, START));
    }
    assert_eq!((under_way.len(), table.load(), full), (3, (3, 8), 89));
    // A place that becomes free goes to the first in line.
    let question = under_way.remove(0);
    table.settle(question, found(), None, START);
    let next: Vec<_> = begun(&mut table, START).iter().map(|question| question.name.to_string()).collect();
    assert_eq!(next, ["n3"]);

    let mut table = NameTable::new(BOUNDS);
    for number in 0..1000 {
        settle(&mut table, &format!("n{number}"), &found(), Some(60 + number), START);
    }
    let known = |number: u64, table: &mut NameTable| is_known(table, &format!("n{number}"), START);
    assert!(known(999, &mut table), "the newest is kept");
    let kept = (0..1000)
        .filter(|number| matches!(table.look_up(&format!("n{number}"), START), LookupStep::Known(_)));
    assert!(kept.count() <= BOUNDS.max_names);
}

#[test]
fn names_that_failed_leave_half_of_the_places_to_others_and_stand_behind_them() {
    let mut table = NameTable::new(BOUNDS);
    for number in 0..6 {
        settle(&mut table, &format!("bad{number}"), &Err(NameFailure::Timeout), None, START);
    }
    let now = after(2);
    let waiters: Vec<_> = (0..6).map(|number| ask(&mut table, &format!("bad{number}"), now)).collect();
    let bad = begun(&mut table, now);
    assert_eq!(bad.len(), 2, "half of four");
    let _waiter = ask(&mut table, "good", now);
    let next: Vec<_> = begun(&mut table, now).iter().map(|question| question.name.to_string()).collect();
    assert_eq!(next, ["good"], "although four stand before it");
    // The control: names without a failure take all places.
    let mut table = NameTable::new(BOUNDS);
    let _waiters: Vec<_> = (0..6).map(|number| ask(&mut table, &format!("new{number}"), now)).collect();
    assert_eq!(begun(&mut table, now).len(), 3);
    drop(waiters);
}

#[test]
fn a_name_that_resolved_has_a_place_whatever_hangs() {
    let mut table = NameTable::new(BOUNDS);
    settle(&mut table, "good", &found(), Some(1), START);
    let now = after(1);
    let _hanging: Vec<_> = (0..7).map(|number| ask(&mut table, &format!("new{number}"), now)).collect();
    assert_eq!(begun(&mut table, now).len(), 3, "three quarters of four");
    let _waiter = ask(&mut table, "good", now);
    let next: Vec<_> = begun(&mut table, now).iter().map(|question| question.name.to_string()).collect();
    assert_eq!(next, ["good"]);
}

#[test]
fn who_stood_in_line_for_too_long_is_not_asked() {
    let mut table = NameTable::new(BOUNDS);
    let waiters: Vec<_> = (0..6).map(|number| ask(&mut table, &format!("n{number}"), START)).collect();
    let mut under_way = begun(&mut table, START);
    assert_eq!(under_way.len(), 3);
    table.settle(under_way.remove(0), Err(NameFailure::Timeout), None, after(3));
    assert!(table.next_question(after(3)).is_none());
    assert_eq!(answer_of(&waiters[5]), Some(Err(NameFailure::Shortage)));
    assert_eq!(table.load(), (2, 0));
    let _asked_anew = ask(&mut table, "n5", after(3));
}

#[test]
fn an_answer_to_an_older_question_is_passed_on_and_not_kept() {
    let mut table = NameTable::new(BOUNDS);
    settle(&mut table, "known", &found(), Some(60), START);
    let waiter = ask(&mut table, "a", START);
    let Some(old) = table.next_question(START) else { panic!("no question") };
    table.forget();
    assert!(!is_known(&mut table, "known", START));
    let newer = ask(&mut table, "a", START);
    let new = begun(&mut table, START).pop().expect("a question of its own");
    table.settle(old, Err(NameFailure::Timeout), None, START);
    assert_eq!(answer_of(&waiter), Some(Err(NameFailure::Timeout)));
    assert_eq!(answer_of(&newer), None);
    table.settle(new, found(), Some(Duration::from_secs(60)), START);
    assert_eq!(answer_of(&newer), Some(found()));
    assert!(is_known(&mut table, "a", START));
}
