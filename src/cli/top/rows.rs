//! What is shown of each policy.
//!
//! Must not know: how it is drawn.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{Cell, Colour, Table, left, right};
use crate::cli::words::{age, count, grouped, list, text};
use crate::clock::Timestamp;

/// Calls that ended since the daemon's start, by policy.
pub(super) type Attempts = HashMap<String, f64>;

/// One policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub policy: String,
    pub state: String,
    /// Its limits in words.
    pub limit: String,
    /// Calls per second; `null` where the daemon does not count them for this policy alone.
    pub calls_per_second: Option<f64>,
    pub waiting: u64,
    pub delayed: u64,
    pub inflight: u64,
    pub oldest: Option<String>,
    /// Empty while nothing holds it.
    pub held_by: String,
}

impl Row {
    /// Of a policy as the API shows it. `since` is what was counted that long ago.
    pub(super) fn of(policy: &Value, now: &Attempts, since: Option<(&Attempts, Duration)>) -> Self {
        let id = text(policy, "/id");
        let rate = since.and_then(|(before, passed)| {
            let calls = now.get(id)? - before.get(id).copied().unwrap_or(0.0);
            Some((calls.max(0.0) / passed.as_secs_f64().max(0.001) * 10.0).round() / 10.0)
        });
        let oldest = text(policy, "/figures/oldest");
        Self {
            policy: id.to_owned(),
            state: text(policy, "/state").to_owned(),
            limit: limits(policy),
            calls_per_second: rate,
            waiting: count(policy, "/figures/waiting"),
            delayed: count(policy, "/figures/delayed"),
            inflight: count(policy, "/figures/inflight"),
            oldest: (!oldest.is_empty()).then(|| oldest.to_owned()),
            held_by: held_by(policy),
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.calls_per_second.unwrap_or(-1.0)
    }
}

/// Reads one counter of the metrics, summed for each policy.
pub(super) fn attempts(metrics: &str) -> Attempts {
    let mut attempts = Attempts::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("tidegate_call_attempts_total{") else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let policy = labels.split("policy=\"").nth(1).and_then(|rest| rest.split('"').next());
        if let (Some(policy), Ok(value)) = (policy, value.parse::<f64>()) {
            *attempts.entry(policy.to_owned()).or_default() += value;
        }
    }
    attempts
}

fn limits(policy: &Value) -> String {
    let limit = |pointer: &str| policy.pointer(&format!("/limits{pointer}")).filter(|value| !value.is_null());
    let mut words = Vec::new();
    if limit("/closed").is_some() {
        words.push("closed".to_owned());
    }
    words.extend(limit("/pace").map(|pace| format!("{pace}/s")));
    if limit("/window").is_some() {
        let calls = count(policy, "/limits/window/calls");
        words.push(format!("{calls} per {} ms", count(policy, "/limits/window/per_ms")));
    }
    if limit("/quota").is_some() {
        words.push(format!(
            "{} per {}",
            count(policy, "/limits/quota/calls"),
            text(policy, "/limits/quota/per")
        ));
    }
    words.extend(limit("/slots").map(|slots| format!("{slots} slots")));
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn held_by(policy: &Value) -> String {
    let mut words = Vec::new();
    if policy.get("hold").is_some_and(|hold| !hold.is_null()) {
        words.push(format!("paused: {}", text(policy, "/hold/reason")));
    }
    let others = list(policy, "/figures/held").iter().filter(|held| text(held, "/reason") != "paused");
    words.extend(others.map(|held| match count(held, "/lanes") {
        1 => text(held, "/reason").to_owned(),
        lanes => format!("{} ({lanes} lanes)", text(held, "/reason")),
    }));
    if count(policy, "/figures/waiting") > 0 {
        words.extend(used_up(policy).map(str::to_owned));
    }
    words.join(", ")
}

/// The limits whose fullest counter has no room.
fn used_up(policy: &Value) -> impl Iterator<Item = &'static str> {
    let used = |kind: &str| count(policy, &format!("/figures/limits/{kind}/used"));
    let number = |pointer: &str| policy.pointer(pointer).and_then(Value::as_f64);
    let counters = [
        ("pace", used("pace"), number("/limits/pace")),
        ("window", used("window"), number("/limits/window/calls")),
        ("quota", used("quota"), number("/limits/quota/calls")),
        // Of a policy with several keys each has slots of its own.
        ("slots", count(policy, "/figures/inflight"), number("/limits/slots").filter(|_| keys(policy) == 1)),
    ];
    #[expect(clippy::cast_precision_loss, reason = "no limit counts to 2^53")]
    let is_full = |(_, used, most): &(&str, u64, Option<f64>)| most.is_some_and(|most| *used as f64 >= most);
    counters.into_iter().filter(is_full).map(|(kind, ..)| kind)
}

fn keys(policy: &Value) -> u64 {
    count(policy, "/figures/keys")
}

/// The rows as they stand.
pub(super) fn table(rows: &[Row], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        left("POLICY"),
        left("STATE"),
        left("LIMIT"),
        right("RATE/S"),
        right("WAITING"),
        right("DELAYED"),
        right("IN FLIGHT"),
        right("OLDEST"),
        left("HELD BY"),
    ]);
    for row in rows {
        table.row([
            row.policy.as_str().into(),
            row.state.as_str().into(),
            row.limit.as_str().into(),
            row.calls_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")).into(),
            grouped(row.waiting).into(),
            grouped(row.delayed).into(),
            grouped(row.inflight).into(),
            row.oldest.as_deref().map_or_else(|| "-".to_owned(), |oldest| age(oldest, now)).into(),
            match row.held_by.as_str() {
                "" => "-".into(),
                held => Cell::coloured(held, Some(Colour::Warning)),
            },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_the_limits_the_rate_and_what_holds_it() {
        let policy = json!({
            "id": "orders", "state": "deployed", "hold": {"reason": "rebuilt"},
            "limits": {"pace": 200.0, "window": {"calls": 5, "per_ms": 1000}, "quota": null, "slots": 2},
            "figures": {
                "keys": 1, "waiting": 12, "delayed": 0, "inflight": 2, "oldest": "2030-01-31T08:00:00Z",
                "limits": {"pace": {"used": 199}, "window": {"used": 5}},
                "held": [{"reason": "paused", "lanes": 1}, {"reason": "breaker", "lanes": 3}],
            },
        });
        let metrics = "# HELP x\ntidegate_call_attempts_total{policy=\"orders\",result=\"2xx\"} 30\n\
                       tidegate_call_attempts_total{result=\"5xx\",policy=\"orders\"} 12\n";
        let now = attempts(metrics);
        let before = Attempts::from([("orders".to_owned(), 22.0)]);
        let row = Row::of(&policy, &now, Some((&before, Duration::from_secs(2))));
        assert_eq!(row.calls_per_second, Some(10.0));
        assert_eq!(row.limit, "200.0/s, 5 per 1000 ms, 2 slots");
        assert_eq!(row.held_by, "paused: rebuilt, breaker (3 lanes), window, slots");
        assert_eq!(Row::of(&policy, &Attempts::new(), None).calls_per_second, None);

        let at = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        let table = table(&[row], at).render(crate::cli::output::Style::of_stdout());
        let table = console::strip_ansi_codes(&table).into_owned();
        assert!(table.contains("10.0 s") && table.lines().count() == 2, "{table}");
    }
}
