//! What a policy allows, how fast it goes and what holds it, in a few words.
//!
//! Must not know: where the figures come from.

use std::time::Duration;

use crate::cli::output::Colour;
use crate::cli::policies::fetched::{Figures, Limits, Listed};
use crate::clock::Timestamp;

/// All limits in one line; `-` while nothing rules.
pub(in crate::cli) fn limits(limits: Option<&Limits>) -> String {
    let Some(Limits { pace, window, quota, slots, timeout_ms, closed }) = limits else {
        return "-".to_owned();
    };
    let parts = [
        closed.then(|| "closed".to_owned()),
        pace.map(|pace| format!("{pace}/s")),
        window.as_ref().map(|window| format!("{} per {}", window.calls, span(window.per_ms))),
        quota.as_ref().map(|quota| format!("{}/{}", quota.calls, quota.per)),
        slots.map(|slots| format!("{slots} slots")),
        timeout_ms.map(|timeout_ms| format!("timeout {}", span(timeout_ms))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Starts per second at present under the pace or the window, of the fullest key; `-` where neither is kept.
pub(in crate::cli) fn rate(policy: &Listed) -> String {
    let used = |kind: &str| policy.figures.as_ref()?.limits.get(kind).map(|used| f64::from(used.used));
    let limits = policy.limits.as_ref();
    let by_pace = || {
        let pace = limits?.pace?;
        // That many are counted in the time that they take at this pace.
        Some(used("pace")? * pace / pace.ceil())
    };
    let by_window = || {
        let per_ms = limits?.window.as_ref()?.per_ms;
        Some(used("window")? * 1000.0 / per_ms as f64)
    };
    by_pace().or_else(by_window).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
}

/// What holds the events of a policy.
pub(in crate::cli) fn held(policy: &Listed) -> (String, Option<Colour>) {
    if let Some(hold) = &policy.hold {
        let until = hold.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        return (format!("paused{until}: {}", hold.reason), Some(Colour::Warning));
    }
    let Some(figures) = &policy.figures else { return ("-".to_owned(), None) };
    if !figures.held.is_empty() {
        let told = figures.held.iter().map(|held| match held.lanes {
            1 => held.reason.clone(),
            lanes => format!("{} ({lanes} lanes)", held.reason),
        });
        return (told.collect::<Vec<_>>().join(", "), Some(Colour::Warning));
    }
    match (figures, policy.generations.iter().find_map(|generation| generation.draining_until.as_ref())) {
        (Figures { waiting: 0, delayed: 0, .. }, _) => ("-".to_owned(), None),
        (Figures { waiting: 0, .. }, _) => ("not due".to_owned(), None),
        (_, Some(until)) if policy.state == "draining" => {
            (format!("draining until {until}"), Some(Colour::Dim))
        }
        _ => ("limits".to_owned(), None),
    }
}

/// How long ago a time is, as people say it; `-` without one.
pub(in crate::cli) fn age(at: Option<&str>, now: Timestamp) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let age = Timestamp::parse(at).map(|at| now.since(at));
    age.map_or_else(|| at.to_owned(), length)
}

/// A length of time as [`span`] tells it.
pub(in crate::cli) fn length(length: Duration) -> String {
    span(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

/// A length of time in its largest units, two of them at most.
pub(in crate::cli) fn span(millis: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    let mut parts = Vec::new();
    let mut rest = millis;
    for (length, unit) in UNITS {
        if rest >= length && parts.len() < 2 {
            parts.push(format!("{} {unit}", rest / length));
            rest %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::policies::fetched::read;

    fn policy(changes: &Value) -> Listed {
        let mut policy = json!({
            "id": "a", "origin": "api", "state": "deployed", "definition": null, "etag": null, "hold": null,
            "generations": [{"draining_until": null}],
            "limits": {"pace": 2.5, "window": {"calls": 100, "per_ms": 90_000}, "quota": {"calls": 5, "per": "day"},
                       "slots": 3, "timeout_ms": 1500},
            "figures": {"keys": 1, "inflight": 0, "waiting": 0, "delayed": 0, "oldest": null, "held": [],
                        "limits": {"pace": {"used": 3}, "window": {"used": 45}}, "drains_in_seconds": 0.0},
        });
        for (pointer, value) in changes.as_object().into_iter().flatten() {
            *policy.pointer_mut(pointer).expect("a member") = value.clone();
        }
        read(&policy).expect("reads")
    }

    #[test]
    fn limits_and_rates_fit_into_a_line() {
        let all = policy(&json!({}));
        let expected = "2.5/s, 100 per 1 min 30 s, 5/day, 3 slots, timeout 1 s 500 ms";
        assert_eq!(limits(all.limits.as_ref()), expected);
        assert_eq!(rate(&all), "2.5");
        assert_eq!(rate(&policy(&json!({"/limits/pace": null}))), "0.5");
        let none = policy(&json!({"/limits": null}));
        assert_eq!((limits(none.limits.as_ref()), rate(&none)), ("-".to_owned(), "-".to_owned()));
    }

    #[test]
    fn the_strongest_reason_is_named() {
        let told = |changes: Value| held(&policy(&changes)).0;
        assert_eq!(told(json!({})), "-");
        assert_eq!(told(json!({"/figures/delayed": 1})), "not due");
        assert_eq!(told(json!({"/figures/waiting": 1})), "limits");
        let busy = json!([{"reason": "breaker", "lanes": 2}, {"reason": "share", "lanes": 1}]);
        assert_eq!(told(json!({"/figures/waiting": 1, "/figures/held": busy})), "breaker (2 lanes), share");
        let hold = json!({"reason": "rebuilt", "until": "2030-01-31T08:00:00Z"});
        assert_eq!(told(json!({"/hold": hold})), "paused until 2030-01-31T08:00:00Z: rebuilt");
        let draining = json!({
            "/state": "draining", "/figures/waiting": 1, "/generations/0/draining_until": "2030-01-31T08:00:00Z",
        });
        assert_eq!(told(draining), "draining until 2030-01-31T08:00:00Z");
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (millis, text) in
            [(0, "0 s"), (7, "7 ms"), (1000, "1 s"), (3_661_000, "1 h 1 min"), (86_400_000, "1 d")]
        {
            assert_eq!(span(millis), text);
        }
        let now = Timestamp::parse("2030-01-31T08:01:05Z").expect("a date");
        assert_eq!(age(Some("2030-01-31T08:00:00Z"), now), "1 min 5 s");
        assert_eq!(age(None, now), "-");
    }
}
