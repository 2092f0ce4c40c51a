//! Giving up what cannot be read.

use super::unread::{Fault, Faulty, Plan, open_over, three_lanes};
use super::*;
use crate::store::doubts::DoubtKind;

const SUBJECT: &str = "journal/0000000001.seg";

fn unread(at_most: u64) -> GiveUp {
    GiveUp::Unread { subject: SUBJECT.to_owned(), at_most }
}

#[test]
fn what_cannot_be_read_is_given_up_and_what_can_or_is_out_stays() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    let none = runtime.block_on(store.give_up(store.owner(), unread(36), HashSet::new())).expect("tries");
    assert_eq!(none, 0, "the control: everything can be read");
    let out = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads").remove(0);
    source.plan(Some(Plan { fault: Fault::Errno(5), from: 0, count: usize::MAX }));
    runtime.block_on(store.read_ready(&lane("b"), None, ALL)).expect_err("fails");
    let events = || store.doubts().find(DoubtKind::Unread, SUBJECT).map(|doubt| doubt.events);
    assert_eq!(events(), Some(4), "one block was tried");
    let handed_out = HashSet::from([out.id]);
    let refused = runtime.block_on(store.give_up(store.owner(), unread(4), handed_out.clone()));
    assert!(matches!(refused, Err(StoreError::WrongCount { found: 35, confirmed: 4 })), "{refused:?}");
    assert_eq!((store.health().lost_entries, events()), (0, Some(36)), "the doubt concerns all of them now");
    let given_up = runtime.block_on(store.give_up(store.owner(), unread(36), handed_out)).expect("gives up");
    assert_eq!((given_up, store.health().lost_entries), (35, 35));
    assert_eq!(store.doubts().find(DoubtKind::Lost, SUBJECT), None, "the operator knows");
    assert_eq!(store.take_losses().len(), 35);
    source.plan(None);
    let left = runtime.block_on(contents(&store, &["a", "b", "late"]));
    assert_eq!(left[0].0, texts(std::slice::from_ref(&out)), "it is sound and still owed");
    assert!(left[1].0.is_empty() && left[2].1.is_empty());
    assert_eq!(store.doubts().list(), [], "nothing is owed that cannot be read");
    drop(store);
    let store = open(dir.path());
    assert_eq!(runtime.block_on(contents(&store, &["a", "b", "late"])), left);
}

#[test]
fn a_lane_is_given_up_although_none_of_it_can_be_read() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    source.plan(Some(Plan { fault: Fault::Errno(5), from: 0, count: usize::MAX }));
    for name in ["a", "late"] {
        let given_up =
            runtime.block_on(store.give_up(store.owner(), GiveUp::Lane(lane(name)), HashSet::new()));
        assert_eq!(given_up.expect("gives up"), 12, "{name}");
    }
    assert_eq!(source.failed(), 0, "no block is read");
    source.plan(None);
    let left = runtime.block_on(contents(&store, &["a", "b", "late"]));
    assert_eq!((left[0].0.len(), left[1].0.len(), left[2].1.len()), (0, 12, 0));
}
