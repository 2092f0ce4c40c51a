//! The last attempts of an event as lines.
//!
//! Must not know: which command shows them.

use serde_json::Value;

use crate::cli::words::{about_seconds, count, list, text};

/// A line for each attempt of `shown`, the newest first, and further ones for what was remarkable about its answer.
pub(super) fn rows(shown: &Value) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    for attempt in list(shown, "/last_attempts") {
        rows.push(("attempt", line(attempt)));
        rows.extend(named(attempt).map(|told| ("", told)));
        for (pointer, what) in [
            ("/broken_lines", "header lines of the answer were broken"),
            ("/surplus_lines", "header lines of the answer were too many"),
        ] {
            let lines = count(attempt, pointer);
            rows.extend((lines > 0).then(|| ("", format!("{lines} {what}"))));
        }
        if attempt.get("answer").is_some() {
            let status = count(attempt, "/answer/status");
            rows.push(("", format!("answer {status}, head: {}", in_one_line(text(attempt, "/answer/head")))));
            let body = text(attempt, "/answer/body");
            rows.extend((!body.is_empty()).then(|| ("", format!("body: {}", in_one_line(body)))));
        }
    }
    rows
}

fn line(attempt: &Value) -> String {
    let number = count(attempt, "/number");
    let took = about_seconds(attempt.get("duration_seconds").and_then(Value::as_f64).unwrap_or_default());
    let [at, result, then, why, next] =
        ["/started_at", "/result", "/then", "/why", "/next_at"].map(|pointer| text(attempt, pointer));
    let why = if why == then { String::new() } else { format!(" ({why})") };
    let next = if next.is_empty() { String::new() } else { format!(", next {next}") };
    format!("{number} at {at}, took {took}: {result}; {then}{why}{next}")
}

/// The time to come back that the answer named.
fn named(attempt: &Value) -> Option<String> {
    let named = attempt.get("named_time")?;
    let seconds = |member: &str| named.get(member).and_then(Value::as_f64).map(about_seconds);
    let asked = seconds("asked_seconds").unwrap_or_else(|| "an unreadable time".to_owned());
    let obeyed = match seconds("obeyed_seconds") {
        Some(obeyed) => format!("obeyed for {obeyed}"),
        None => "ignored".to_owned(),
    };
    let why = text(named, "/why");
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    Some(format!("{} named {asked}, {obeyed}{why}", text(named, "/by")))
}

/// Line ends would break the table.
fn in_one_line(text: &str) -> String {
    text.trim_end().replace("\r\n", "\n").replace('\n', " | ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_attempt_is_a_line_and_what_is_remarkable_stands_below() {
        let event = json!({"last_attempts": [
            {"number": 2, "started_at": "2030-01-31T08:00:00Z", "duration_seconds": 0.25, "result": "http_503",
             "then": "retried", "why": "endpoint_asked", "next_at": "2030-01-31T09:00:00Z", "broken_lines": 3,
             "named_time": {"by": "Retry-After", "asked_seconds": 7200.0, "obeyed_seconds": 3600.0, "why": "beyond_life"},
             "answer": {"status": 503, "head": "server: x\nset-cookie: ***\n", "body": "a\nb", "is_cut": false}},
            {"number": 1, "started_at": "2030-01-31T07:00:00Z", "duration_seconds": 30, "result": "timeout",
             "then": "dead", "why": "dead", "next_at": null,
             "named_time": {"by": "Retry-After", "asked_seconds": null, "obeyed_seconds": null, "why": "unreadable"}},
        ]});
        let shown: Vec<String> = rows(&event).into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            shown,
            [
                "2 at 2030-01-31T08:00:00Z, took 250 ms: http_503; retried (endpoint_asked), next 2030-01-31T09:00:00Z",
                "Retry-After named 2 h, obeyed for 1 h: beyond_life",
                "3 header lines of the answer were broken",
                "answer 503, head: server: x | set-cookie: ***",
                "body: a | b",
                "1 at 2030-01-31T07:00:00Z, took 30 s: timeout; dead",
                "Retry-After named an unreadable time, ignored: unreadable",
            ]
        );
        assert!(rows(&json!({"state": "ready"})).is_empty());
    }
}
