//! Tests of the probes, and of the desk over a queue in memory, a running dispatcher and an endpoint that keeps its calls.

mod authoring;
mod bulk;
mod events;
mod explain;
mod policies;
mod purge;
mod stops;
mod usage;
mod verbs;
mod world;

use super::*;

fn failed(store: &StoreHealth, closing: bool) -> Vec<&'static str> {
    checks(store, &[], 0, closing).iter().filter(|check| !check.ok).map(|check| check.name).collect()
}

#[test]
fn each_reason_not_to_be_ready_is_named() {
    let well = StoreHealth::default();
    assert!(failed(&well, false).is_empty());
    assert_eq!(failed(&well, true), ["not_draining"]);
    assert_eq!(
        failed(&StoreHealth { no_room: Some("full".to_owned()), ..well.clone() }, false),
        ["store_writable"]
    );
    let slow = StoreHealth { slow: true, operation_age: std::time::Duration::from_secs(7), ..well.clone() };
    assert_eq!(failed(&slow, false), ["store_responsive"]);
    let poisoned = StoreHealth { poisoned: Some("sync failed".to_owned()), ..well };
    assert_eq!(failed(&poisoned, true), ["store_writable", "not_draining"]);
}

#[test]
fn damage_is_told_but_keeps_the_store_in_service() {
    let damaged = StoreHealth { damaged: 2, lost_entries: 3, ..StoreHealth::default() };
    assert!(failed(&damaged, false).is_empty());
    let told =
        checks(&damaged, &[], 0, false).iter().any(|check| check.detail.contains("2 damaged_frames, 3 lost"));
    assert!(told);
}

fn doubt(id: u64, kind: DoubtKind) -> Doubt {
    let text = str::to_owned;
    let (subject, detail, way_out) = (text("a"), text("it is older"), text("restore it"));
    Doubt { id, kind, subject, detail, way_out, events: 3, since_ms: 5, acknowledged: false }
}

#[test]
fn doubts_are_listed_by_kind_and_only_one_that_holds_the_store_is_a_reason() {
    let well = StoreHealth::default();
    let check = |doubts: &[Doubt]| {
        let checks = checks(&well, doubts, 0, false);
        let found = checks.iter().find(|check| check.name == "doubts").expect("a check");
        (found.ok, found.detail.clone())
    };
    assert_eq!(check(&[]), (true, "none unacknowledged".to_owned()));
    let mut doubts = vec![doubt(1, DoubtKind::Lost), doubt(2, DoubtKind::Usages), doubt(3, DoubtKind::Lost)];
    assert_eq!(check(&doubts), (true, "2 lost, 1 usages".to_owned()));
    doubts[0].acknowledged = true;
    assert_eq!(check(&doubts), (true, "1 lost, 1 usages".to_owned()));
    let mut book = doubt(4, DoubtKind::Book);
    book.acknowledged = true;
    let (ok, detail) = check(&[book]);
    assert!(!ok && detail == "the store is held by doubt 4: it is older; restore it", "{detail}");
}
