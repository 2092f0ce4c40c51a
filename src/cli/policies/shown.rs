//! What a policy allows, how fast it goes and what holds it, in a few words.
//!
//! Must not know: where the figures come from.

use std::time::Duration;

use crate::cli::output::Colour;
use crate::cli::policies::fetched::{FetchedLimits, FetchedPolicy, Figures};
use crate::cli::words;

/// All limits in one line; `-` without an active definition.
pub(in crate::cli) fn limits(limits: Option<&FetchedLimits>) -> String {
    let span = |millis: u64| words::span(Duration::from_millis(millis));
    let Some(FetchedLimits { pace, window, quota, slots, timeout_ms, closed, others }) = limits else {
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
    let given = others.iter().filter(|(_, value)| !value.is_null());
    let others = given.map(|(member, value)| format!("{member} {value}"));
    let parts: Vec<String> = parts.into_iter().flatten().chain(others).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Starts per second at present under the pace or the window, of the fullest key; `-` where neither is kept.
pub(in crate::cli) fn rate(policy: &FetchedPolicy) -> String {
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

/// What holds the events of a policy: its pause, the reasons for which lanes are held, while events wait the limits that
/// are used up. Empty while nothing does.
pub(in crate::cli) fn held(policy: &FetchedPolicy) -> (String, Option<Colour>) {
    let mut reasons = Vec::new();
    if let Some(hold) = &policy.hold {
        let until = hold.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        reasons.push(format!("paused{until}: {}", hold.reason));
    }
    let figures = policy.figures.as_ref();
    let others = figures.into_iter().flat_map(|figures| &figures.held);
    reasons.extend(others.filter(|held| held.reason != "paused").map(|held| match held.lanes {
        1 => held.reason.clone(),
        lanes => format!("{} ({lanes} lanes)", held.reason),
    }));
    // Before the limits are added: that a limit is used up is its purpose and no warning.
    let colour = (!reasons.is_empty()).then_some(Colour::Warning);
    if let Some(figures) = figures.filter(|figures| figures.waiting > 0) {
        reasons.extend(used_up(policy, figures).map(str::to_owned));
    }
    if !reasons.is_empty() {
        return (reasons.join(", "), colour);
    }
    let drains_until = policy.generations.iter().find_map(|generation| generation.draining_until.as_ref());
    match (figures, drains_until) {
        (None | Some(Figures { waiting: 0, delayed: 0, .. }), _) => (String::new(), None),
        (Some(Figures { waiting: 0, .. }), _) => ("not due".to_owned(), None),
        (_, Some(until)) if policy.state == "draining" => {
            (format!("draining until {until}"), Some(Colour::Dim))
        }
        _ => ("limits".to_owned(), None),
    }
}

/// The limits whose fullest counter has no room.
fn used_up(policy: &FetchedPolicy, figures: &Figures) -> impl Iterator<Item = &'static str> {
    let used = |kind: &str| figures.limits.get(kind).map_or(0.0, |used| f64::from(used.used));
    let limits = policy.limits.as_ref();
    // Of a policy with several keys each has slots of its own.
    let slots = limits.and_then(|limits| limits.slots).filter(|_| figures.keys == 1);
    let counters = [
        ("pace", used("pace"), limits.and_then(|limits| limits.pace)),
        ("window", used("window"), limits.and_then(|limits| Some(f64::from(limits.window.as_ref()?.calls)))),
        ("quota", used("quota"), limits.and_then(|limits| Some(f64::from(limits.quota.as_ref()?.calls)))),
        ("slots", figures.inflight as f64, slots.map(f64::from)),
    ];
    let is_full = |(_, used, most): &(&str, f64, Option<f64>)| most.is_some_and(|most| *used >= most);
    counters.into_iter().filter(is_full).map(|(kind, ..)| kind)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::policies::fetched::read;

    fn policy(changes: &Value) -> FetchedPolicy {
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
        let newer = policy(&json!({"/limits": {"pace": null, "cooldown_ms": 500, "credits": null}}));
        assert_eq!(limits(newer.limits.as_ref()), "cooldown_ms 500", "a kind that is not known here");
        let none = policy(&json!({"/limits": null}));
        assert_eq!((limits(none.limits.as_ref()), rate(&none)), ("-".to_owned(), "-".to_owned()));
    }

    #[test]
    fn every_reason_is_named() {
        let shown = |changes: Value| held(&policy(&changes)).0;
        assert_eq!(shown(json!({})), "");
        assert_eq!(shown(json!({"/figures/delayed": 1})), "not due");
        assert_eq!(shown(json!({"/figures/waiting": 1})), "pace");
        assert_eq!(shown(json!({"/figures/waiting": 1, "/limits/pace": 4.0})), "limits");
        let full = json!({"/figures/waiting": 1, "/figures/inflight": 3, "/limits/window/calls": 45});
        assert_eq!(shown(full), "pace, window, slots");
        let busy = json!([{"reason": "breaker", "lanes": 2}, {"reason": "share", "lanes": 1}]);
        assert_eq!(shown(json!({"/figures/held": busy})), "breaker (2 lanes), share");
        let hold = json!({"reason": "rebuilt", "until": "2030-01-31T08:00:00Z"});
        let paused = json!([{"reason": "paused", "lanes": 2}, {"reason": "share", "lanes": 1}]);
        let both = shown(json!({"/hold": hold, "/figures/held": paused}));
        assert_eq!(both, "paused until 2030-01-31T08:00:00Z: rebuilt, share");
        let draining = json!({
            "/state": "draining", "/figures/waiting": 1, "/limits": null,
            "/generations/0/draining_until": "2030-01-31T08:00:00Z",
        });
        assert_eq!(shown(draining), "draining until 2030-01-31T08:00:00Z");
    }
}
