//! What holds an event now: in one sentence for people, in members for programs.
//!
//! Must not know: how an event was found.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::dispatch::{BlockedLimit, Hold, HoldReason, LaneReport, SlowRate, SlowReason, Stop};
use crate::event::Lane;
use crate::limit::LimitKind;
use crate::ops::wire::date;
use crate::policy::Runtime;
use crate::store::doubts::Doubt;

/// What holds it: a doubt, a hold, a limit, the slots, its due time, or nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeldBy {
    pub(super) by: &'static str,
    pub(super) text: String,
    /// Of a hold: `generation`, `paused`, `retry_after`, `busy`, `breaker`, `token`, `shortage`, `egress`, `share`, `unread` or
    /// `clock`.
    #[schema(required)]
    reason: Option<&'static str>,
    /// Of a limit: `pace`, `window` or `quota`.
    #[schema(required)]
    limit: Option<&'static str>,
    #[schema(required)]
    policy: Option<String>,
    #[schema(required)]
    key: Option<String>,
    #[schema(required)]
    until: Option<String>,
    /// The number of the doubt that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    doubt: Option<u64>,
    /// The kind of the doubt that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    doubt_kind: Option<&'static str>,
}

/// How fast its lane may start calls, while that is slower than its limits allow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SlowRate)]
pub(super) struct RateBody {
    calls_per_second: f64,
    /// `reduced`: its endpoint answered 429 or 503. `ramp`: its breaker has closed a short time ago.
    reason: &'static str,
    /// When the limits alone rule again, if nothing else happens.
    until: String,
}

impl RateBody {
    pub(super) fn of(rate: &SlowRate) -> Self {
        // To a hundredth: it grows all the time.
        let calls_per_second = (rate.calls_per_second * 100.0).round() / 100.0;
        Self { calls_per_second, reason: rate.reason.word(), until: rate.until.to_string() }
    }
}

impl HeldBy {
    fn new(by: &'static str, text: String, until: Option<Timestamp>) -> Self {
        let until = date(until);
        Self {
            by,
            text,
            reason: None,
            limit: None,
            policy: None,
            key: None,
            until,
            doubt: None,
            doubt_kind: None,
        }
    }

    /// It is held until a doubt has ended.
    pub(super) fn doubt(doubt: &Doubt) -> Self {
        let Doubt { id, detail, way_out, kind, .. } = doubt;
        let text = format!("It is held for doubt {id} ({}): {detail}. Way out: {way_out}.", kind.word());
        Self { doubt: Some(*id), doubt_kind: Some(kind.word()), ..Self::new("doubt", text, None) }
    }

    /// Nothing holds it: its call is under way.
    pub(super) fn under_way() -> Self {
        Self::new("nothing", "Its call is under way.".to_owned(), None)
    }

    /// An operator has stopped it.
    pub(super) fn stopped(stop: &Stop) -> Self {
        let end = match stop.until {
            Some(until) => format!(" until {until}"),
            None => " until it is resumed".to_owned(),
        };
        let text = format!("Dispatch of {} is stopped{end}: {}", stop.target, stop.reason);
        Self { reason: Some(HoldReason::Stopped.word()), ..Self::new("hold", text, stop.until) }
    }

    /// The record of stops cannot be read, so that everything is stopped.
    pub(super) fn stopped_unread(reason: &str) -> Self {
        let text = format!(
            "Nothing is sent: the record of emergency stops cannot be read ({reason}); resume everything once that is right."
        );
        Self { reason: Some(HoldReason::Stopped.word()), ..Self::new("hold", text, None) }
    }

    /// It would not be taken in at the door, for what `by` names.
    pub(super) fn refused(by: &'static str, text: String) -> Self {
        Self::new(by, text, None)
    }

    /// It waits for its due time.
    pub(super) fn due(at: Timestamp) -> Self {
        Self::new("due", format!("It waits for its due time, {at}."), Some(at))
    }

    /// What its lane waits for: a hold, a limit, or the `ahead` events before it.
    pub(super) fn lane(lane: &Lane, report: &LaneReport, runtime: &Runtime, ahead: Option<u64>) -> Self {
        match (&report.hold, &report.blocked) {
            // A hold comes first: as long as it lasts, room in the limits makes no difference.
            (Some(hold), _) => Self::hold(lane, hold, runtime),
            (None, Some(blocked)) => Self::limit(blocked),
            (None, None) if report.slowed.is_some_and(|rate| rate.reason == SlowReason::Reduced) => {
                let text = "Its endpoint answered 429 or 503: its lane goes more slowly than its limits allow (see rate).";
                Self::new("rate", text.to_owned(), None)
            }
            (None, None) if report.slowed.is_some() => {
                let text =
                    "Its endpoint has just come back: its lane goes ever faster up to its limits (see rate).";
                Self::new("rate", text.to_owned(), None)
            }
            (None, None) => {
                let text = match ahead {
                    None | Some(0) => "Nothing holds it; it goes next.".to_owned(),
                    Some(1) => "Nothing holds its lane; 1 event of it goes first.".to_owned(),
                    Some(ahead) => format!("Nothing holds its lane; {ahead} events of it go first."),
                };
                Self::new("nothing", text, None)
            }
        }
    }

    fn hold(lane: &Lane, hold: &Hold, runtime: &Runtime) -> Self {
        let end = |word| hold.until.map_or_else(String::new, |until| format!(" {word} {until}"));
        // The report names a hold and not whose it is: the pause with the same end is the one that holds.
        let mut policies = lane.policies().iter().filter_map(|part| runtime.get(&part.policy));
        // Of several pauses the one that lasts longest holds.
        let pausing = policies.find(|policy| {
            policy.pause.as_ref().is_some_and(|pause| {
                hold.reason == HoldReason::Paused && (hold.until.is_none() || pause.until == hold.until)
            })
        });
        let pause = pausing.and_then(|policy| Some((policy.id.as_str(), policy.pause.as_ref()?)));
        let text = match (hold.reason, pause) {
            (HoldReason::Generation, _) => {
                "The policy book does not know one of its generations; see the open doubts.".to_owned()
            }
            (HoldReason::Paused, Some((id, pause))) => {
                let end = if hold.until.is_some() { end("until") } else { " until it is resumed".to_owned() };
                format!("Policy {id} is paused{end}: {}", pause.reason)
            }
            (HoldReason::Paused, None) => format!("One of its policies is paused{}.", end("until")),
            (HoldReason::RetryAfter, _) => format!("Its endpoint asked to be left alone{}.", end("until")),
            (HoldReason::Busy, _) => {
                let said = hold.busy.map_or("that it is busy", |said| said.code);
                format!("Its endpoint said {said}; it is left alone{}.", end("until"))
            }
            (HoldReason::Clock, _) => "The wall clock is in doubt: events of its lane that have outlived their time if it is \
                                       right are neither sent nor dropped, and those whose due_at was given meanwhile are not sent, \
                                       until it is synchronised or confirmed."
                .to_owned(),
            // The reason of a stop is put in by whoever knows the event.
            (HoldReason::Stopped, _) if hold.is_partial => {
                "Some events of its lane are stopped by an operator.".to_owned()
            }
            (HoldReason::Stopped, _) => {
                format!("An operator has stopped it{}.", if hold.until.is_some() { end("until") } else { String::new() })
            }
            (HoldReason::Breaker, _) => {
                format!("Its endpoint has failed too often; it is tried again{}.", end("at"))
            }
            (HoldReason::Token, _) => format!(
                "There is no token for calls to its endpoint (see tokens of /readyz?verbose); it is looked again{}.",
                end("at")
            ),
            (HoldReason::Share, _) => {
                "Its lane has its share of the calls in flight (dispatch.max_inflight): one of its calls, or enough \
                 of others, have to end first."
                    .to_owned()
            }
            (HoldReason::Shortage, _) => format!(
                "tidegate is short of descriptors, ports or memory for calls (see its log); it tries again{}.",
                end("at")
            ),
            (HoldReason::Egress, _) => format!(
                "egress.allow denies its address now, and may have allowed it when the event was accepted; list its block \
                 again and send SIGHUP, or it waits until its time is over; it is tried again{}.",
                end("at")
            ),
            (HoldReason::Unread, _) => {
                let again = end("at");
                format!(
                    "Its next events cannot be read from the disk (see the doubts); it is tried again{again}."
                )
            }
        };
        Self {
            reason: Some(hold.reason.word()),
            policy: pause.map(|(id, _)| id.to_owned()),
            ..Self::new("hold", text, hold.until)
        }
    }

    fn limit(blocked: &BlockedLimit) -> Self {
        let BlockedLimit { policy, key, kind, until } = blocked;
        let of = if key.is_empty() { String::new() } else { format!(" for {key}") };
        let (by, limit, text) = match kind {
            LimitKind::Slots => {
                let text = format!(
                    "Policy {policy} has as many calls in flight{of} as it may have; one of them has to end first."
                );
                ("slots", None, text)
            }
            LimitKind::Closed => {
                let text = format!("Policy {policy} lets no such call through{of}.");
                ("limit", Some(kind.word()), text)
            }
            kind => {
                let end = match until {
                    Some(until) => format!(" before {until}."),
                    None => ": calls beyond it are turned away.".to_owned(),
                };
                let text = format!("The {} limit of policy {policy} has no room{of}{end}", kind.word());
                ("limit", Some(kind.word()), text)
            }
        };
        Self {
            limit,
            policy: Some(policy.to_string()),
            key: Some(key.to_string()),
            ..Self::new(by, text, *until)
        }
    }
}
