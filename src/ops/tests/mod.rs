//! Tests of the probes, and of the desk over a queue in memory, a running dispatcher and an endpoint that keeps its calls.

mod explain;
mod policies;
mod verbs;
mod world;

use super::*;

fn failed(store: &StoreHealth, closing: bool) -> Vec<&'static str> {
    checks(store, 0, closing).iter().filter(|check| !check.ok).map(|check| check.name).collect()
}

#[test]
fn each_reason_not_to_be_ready_is_named() {
    let well = StoreHealth::default();
    assert!(failed(&well, false).is_empty());
    assert_eq!(failed(&well, true), ["not_draining"]);
    assert_eq!(failed(&StoreHealth { full: true, ..well.clone() }, false), ["store_writable"]);
    let slow = StoreHealth { slow: true, operation_age: std::time::Duration::from_secs(7), ..well.clone() };
    assert_eq!(failed(&slow, false), ["store_responsive"]);
    let poisoned = StoreHealth { poisoned: Some("sync failed".to_owned()), ..well };
    assert_eq!(failed(&poisoned, true), ["store_writable", "not_draining"]);
}

#[test]
fn damage_is_told_but_keeps_the_store_in_service() {
    let damaged = StoreHealth { damaged_frames: 2, lost_entries: 3, ..StoreHealth::default() };
    assert!(failed(&damaged, false).is_empty());
    let told =
        checks(&damaged, 0, false).iter().any(|check| check.detail.contains("2 damaged_frames, 3 lost"));
    assert!(told);
}
