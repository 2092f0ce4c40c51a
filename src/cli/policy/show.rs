//! One policy as people read it.
//!
//! Must not know: how it was asked for.

use serde_json::Value;

use crate::cli::output::{Cell, Colour, Style, TextTable, left, printable, right};
use crate::cli::policies::fetched::FetchedPolicy;
use crate::cli::policies::shown;
use crate::cli::words::{about_seconds, age, or_dash};
use crate::clock::{Clock, Timestamp};

/// Names and values below each other, then the counters.
pub(super) fn text(policy: &FetchedPolicy, answer: &Value, style: Style) -> String {
    // Ages are those of dates which the daemon has written: the wall clock counts.
    let now = Clock::system().wall();
    let mut text = String::new();
    for (name, value, colour) in lines(policy, answer, now) {
        let name = style.paint(Some(Colour::Strong), &format!("{name:<10}"));
        text.push_str(&format!("{name}  {}\n", style.paint(colour, &printable(&value))));
    }
    let keys = answer.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !keys.is_empty() {
        text.push('\n');
        text.push_str(&counters(keys, now).render(style));
    }
    if answer.get("next_keys_cursor").is_some_and(Value::is_string) {
        // The first page is shown: there may be a key for each of thousands of customers.
        text.push_str("there are more keys; GET /v1/policies/{id} has them all, page by page\n");
    }
    text
}

fn lines(
    policy: &FetchedPolicy,
    answer: &Value,
    now: Timestamp,
) -> Vec<(&'static str, String, Option<Colour>)> {
    let figures = policy.figures.as_ref();
    let (held, held_colour) = shown::held(policy);
    let words = |name: &str| {
        let words = answer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let pattern = answer.get("pattern").and_then(Value::as_str).unwrap_or("-").to_owned();
    let waiting = figures.map_or_else(String::new, |figures| {
        format!("{}, delayed {}, in flight {}", figures.waiting, figures.delayed, figures.inflight)
    });
    let drains =
        figures.and_then(|figures| figures.drains_in_seconds).map_or_else(|| "-".to_owned(), about_seconds);
    let family = answer.get("family").and_then(Value::as_str).unwrap_or("-").to_owned();
    let plain = |name, value| (name, value, None);
    vec![
        plain("policy", policy.id.clone()),
        plain("origin", policy.origin.clone()),
        plain("state", policy.state.clone()),
        plain("url", pattern),
        plain("methods", or(words("methods"), "all")),
        plain("labels", or(conditions(answer), "any")),
        plain("scope", or(words("scope"), "one set of counters")),
        plain("family", family),
        plain("limits", shown::limits(policy.limits.as_ref())),
        plain("rate/s", shown::rate(policy)),
        plain("waiting", waiting),
        plain("oldest", age(figures.and_then(|figures| figures.oldest.as_deref()), now)),
        plain("drains in", drains),
        plain("keys", figures.map_or_else(String::new, |figures| figures.keys.to_string())),
        ("held by", or_dash(&held).to_owned(), held_colour),
        plain("etag", policy.etag.clone().unwrap_or_else(|| "-".to_owned())),
    ]
}

fn conditions(answer: &Value) -> String {
    let labels = answer.get("labels").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let conditions = labels.iter().filter_map(|label| {
        let text = |name: &str| label.get(name).and_then(Value::as_str);
        let or_absent = label.get("or_absent").and_then(Value::as_bool).unwrap_or(false);
        Some(format!("{}={}{}", text("key")?, text("value")?, if or_absent { " or none" } else { "" }))
    });
    conditions.collect::<Vec<_>>().join(", ")
}

fn counters(keys: &[Value], now: Timestamp) -> TextTable {
    let mut table = TextTable::new(&[
        left("KEY"),
        left("USED"),
        right("WAITING"),
        right("DELAYED"),
        right("IN FLIGHT"),
        right("OLDEST"),
    ]);
    for key in keys {
        let number = |name: &str| key.get(name).and_then(Value::as_u64).unwrap_or(0);
        let name = key.get("key").and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or("-");
        table.row([
            Cell::from(name),
            used(key).into(),
            number("waiting").into(),
            number("delayed").into(),
            number("inflight").into(),
            age(key.get("oldest").and_then(Value::as_str), now).into(),
        ]);
    }
    table
}

/// Of each limit what is used and what is allowed.
fn used(key: &Value) -> String {
    let limits = key.get("limits").and_then(Value::as_object);
    let counters = limits.into_iter().flatten().filter_map(|(kind, counter)| {
        let number = |name: &str| counter.get(name).and_then(Value::as_u64);
        Some(format!("{kind} {}/{}", number("used")?, number("limit")?))
    });
    counters.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::policies::fetched::read;

    #[test]
    fn every_line_is_there_and_nothing_in_it_steers_a_terminal() {
        let answer = json!({
            "id": "a", "origin": "api", "state": "deployed", "pattern": "https://h.org/*", "methods": [],
            "labels": [{"key": "org", "value": "A\u{1b}", "or_absent": false}], "scope": ["org"], "family": "wait",
            "limits": {"pace": 2, "window": null, "quota": null, "slots": null, "timeout_ms": null},
            "generations": [], "definition": null, "etag": "\"1\"", "hold": null,
            "figures": {"keys": 1, "inflight": 1, "waiting": 2, "delayed": 3, "oldest": null, "limits": {}, "held": [],
                        "drains_in_seconds": 61.5},
            "keys": [{"key": "A", "limits": {"pace": {"used": 1, "limit": 2}}, "waiting": 2, "delayed": 3, "inflight": 1}],
            "next_keys_cursor": "x",
        });
        let policy = read(&answer).expect("reads");
        let lines = lines(&policy, &answer, Timestamp::ZERO);
        let value = |name: &str| lines.iter().find(|line| line.0 == name).expect(name).1.clone();
        assert_eq!(value("waiting"), "2, delayed 3, in flight 1");
        assert_eq!((value("drains in"), value("labels")), ("1 min 1 s".to_owned(), "org=A\u{1b}".to_owned()));
        let text = text(&policy, &answer, Style::of_stdout());
        assert!(
            text.contains("org=A\\u{1b}") && text.contains("pace 1/2") && text.contains("more keys"),
            "{text}"
        );
    }
}
