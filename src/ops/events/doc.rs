//! Examples of the changes of events in the API description.
//!
//! Must not know: how an event is changed.

use serde_json::{Value, json};

const ID: &str = "0198c4f0-5f3a-7c00-8000-000000000001";

pub(super) fn cancelled() -> Value {
    json!({"id": ID, "state": "settled", "outcome": "cancelled", "reason": "cancelled"})
}

pub(super) fn delayed() -> Value {
    waiting("delayed", "2030-01-31T09:00:00Z")
}

pub(super) fn sent_now() -> Value {
    waiting("ready", "2030-01-31T08:00:00Z")
}

pub(super) fn meant() -> Value {
    json!({"filter": {"policy": "orders", "labels": {"fairness_key": "shop-3"}}})
}

pub(super) fn meant_later() -> Value {
    json!({"filter": {"policy": "orders", "state": "ready"}, "delay_seconds": 600})
}

pub(super) fn purged() -> Value {
    json!({"filter": {"labels": {"customer": "4711"}}})
}

fn waiting(state: &str, due_at: &str) -> Value {
    json!({
        "id": ID,
        "state": state,
        "lane": "orders@1;~host=127.0.0.1:9000",
        "priority": "normal",
        "attempts": 0,
        "due_at": due_at,
        "expires_at": "2030-01-31T14:00:00Z",
        "method": "POST",
        "url": "http://127.0.0.1:9000/orders",
    })
}
