//! What is shown of each policy.
//!
//! Must not know: how it is drawn.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use crate::cli::output::{Cell, Colour, TextTable, left, right};
use crate::cli::policies::fetched::{FetchedPolicy, Figures};
use crate::cli::policies::shown;
use crate::cli::words::{age, grouped, or_dash};
use crate::clock::Timestamp;

/// Calls that ended since the daemon's start, by policy.
pub(super) type Attempts = HashMap<String, f64>;

/// One policy, as a row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub policy: String,
    pub state: String,
    /// Its limits in a few words.
    pub limit: String,
    /// Calls per second; `null` where the daemon does not count them for this policy alone.
    pub calls_per_second: Option<f64>,
    pub waiting: u64,
    pub delayed: u64,
    pub inflight: u64,
    pub oldest: Option<String>,
    /// What holds it, in words; empty while nothing does.
    pub held_by: String,
    /// The colour of `held_by` on a terminal.
    #[serde(skip)]
    colour: Option<Colour>,
}

impl Row {
    /// Of a policy as the API shows it. `since` is what was counted that long ago.
    pub(super) fn of(policy: &FetchedPolicy, now: &Attempts, since: Option<(&Attempts, Duration)>) -> Self {
        let rate = since.and_then(|(before, passed)| {
            let calls = now.get(&policy.id)? - before.get(&policy.id).copied().unwrap_or(0.0);
            // A daemon that was started anew counts from zero.
            Some((calls.max(0.0) / passed.as_secs_f64().max(0.001) * 10.0).round() / 10.0)
        });
        let figures = policy.figures.as_ref();
        let figure = |of: fn(&Figures) -> u64| figures.map_or(0, of);
        let (held_by, colour) = shown::held(policy);
        Self {
            policy: policy.id.clone(),
            state: policy.state.clone(),
            limit: shown::limits(policy.limits.as_ref()),
            calls_per_second: rate,
            waiting: figure(|figures| figures.waiting),
            delayed: figure(|figures| figures.delayed),
            inflight: figure(|figures| figures.inflight),
            oldest: figures.and_then(|figures| figures.oldest.clone()),
            held_by,
            colour,
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
        // No id of a policy has a quotation mark: the next one ends the value.
        let policy = labels.split("policy=\"").nth(1).and_then(|rest| rest.split('"').next());
        if let (Some(policy), Ok(value)) = (policy, value.parse::<f64>()) {
            *attempts.entry(policy.to_owned()).or_default() += value;
        }
    }
    attempts
}

/// The rows as a table, in their order.
pub(super) fn table(rows: &[Row], now: Timestamp) -> TextTable {
    let mut table = TextTable::new(&[
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
            age(row.oldest.as_deref(), now).into(),
            Cell::coloured(or_dash(&row.held_by), row.colour),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::policies::fetched::read;

    #[test]
    fn a_row_has_the_limits_the_rate_and_what_holds_it() {
        let policy = json!({
            "id": "orders", "origin": "api", "state": "deployed", "generations": [], "hold": {"reason": "rebuilt"},
            "limits": {"pace": 200.0, "window": {"calls": 5, "per_ms": 1000}, "quota": null, "slots": 2},
            "figures": {
                "keys": 1, "waiting": 12, "delayed": 0, "inflight": 2, "oldest": "2030-01-31T08:00:00Z",
                "limits": {"pace": {"used": 199}, "window": {"used": 5}},
                "held": [{"reason": "paused", "lanes": 1}, {"reason": "breaker", "lanes": 3}],
            },
        });
        let policy = read(&policy).expect("reads");
        let metrics = "# HELP x\ntidegate_call_attempts_total{policy=\"orders\",result=\"2xx\"} 30\n\
                       tidegate_call_attempts_total{result=\"5xx\",policy=\"orders\"} 12\n";
        let now = attempts(metrics);
        let before = Attempts::from([("orders".to_owned(), 22.0)]);
        let row = Row::of(&policy, &now, Some((&before, Duration::from_secs(2))));
        assert_eq!(row.calls_per_second, Some(10.0));
        assert_eq!(row.limit, "200/s, 5 per 1 s, 2 slots");
        assert_eq!(row.held_by, "paused: rebuilt, breaker (3 lanes), window, slots");
        assert_eq!(Row::of(&policy, &Attempts::new(), None).calls_per_second, None);

        let at = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        let table = table(&[row], at).render(crate::cli::output::Style::of_stdout());
        let table = console::strip_ansi_codes(&table).into_owned();
        assert!(table.contains("10 s") && table.lines().count() == 2, "{table}");
    }
}
