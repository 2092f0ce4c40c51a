//! Where labels of events come from, in the description of the route that takes events: the table, and the headers that are
//! labels of all events of a request.
//!
//! Must not know: any one dialect.

use serde_json::{Value, json};

use crate::manage;
use crate::telemetry::defect;

/// Adds both to the route.
pub(super) fn add(document: &mut Value) {
    let Some(operation) = document.pointer_mut("/paths/~1v1~1events/post").and_then(Value::as_object_mut)
    else {
        defect!("an API description without the route for events");
        return;
    };
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        for (header, label) in manage::label_headers() {
            parameters.push(json!({
                "name": header, "in": "header", "required": false, "schema": {"type": "string"},
                "description": format!("The label `{label}` of all events of the request that do not carry it."),
            }));
        }
    }
    let about = operation.get("description").and_then(Value::as_str).unwrap_or_default();
    let about = format!(
        "{about}\n\nA label of an event goes first. Without it:\n\n{}",
        manage::label_table().trim_end()
    );
    operation.insert("description".to_owned(), Value::String(about));
}
