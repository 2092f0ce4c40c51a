//! What an attempt was and what follows it, in the words of those who ask later.
//!
//! Must not know: where it is kept.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::input::{AttemptReport, SettledEntry};
use crate::event::{AttemptDetail, Cause, Follows, NamedTime, Noticed, Outcome, Settlement, Word};

/// What an attempt came to, beside its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AttemptFacts {
    /// The status of the answer, where that decided.
    pub status: Option<u16>,
    /// For how long the endpoint is left alone because it asked for that.
    pub obeyed: Option<Duration>,
    /// Why the event comes back when it does: a word of a closed set.
    pub why: &'static str,
}

impl AttemptFacts {
    /// Of what was reported, what it counts as, and what was decided at `now`.
    pub(super) fn of(
        reported: &Outcome,
        counts_as: &Outcome,
        settlement: &Settlement,
        now: Timestamp,
    ) -> Self {
        let status = match reported.end() {
            Outcome::Delivered { status } => Some(*status),
            end => end.cause().and_then(|cause| cause.status()),
        };
        let wait = match settlement {
            Settlement::Reschedule { due_at, .. } => due_at.since(now),
            _ => Duration::ZERO,
        };
        let why = match counts_as.end() {
            Outcome::Wait(_) => "endpoint_busy",
            // A due time is rounded up to a millisecond.
            Outcome::Retry { retry_after: Some(asked), .. } if wait <= *asked + Duration::from_millis(1) => {
                "endpoint_asked"
            }
            Outcome::Shortage { .. } => "shortage",
            Outcome::Withheld => "egress_denied",
            _ => "backoff",
        };
        Self { status, obeyed: counts_as.asked(), why }
    }
}

/// An attempt that is worth keeping: it failed, or others of its event did before. `None` for one of an event that never
/// failed.
pub(super) fn detail(
    settled: &SettledEntry,
    attempt: &AttemptReport,
    noticed: Option<Box<Noticed>>,
    now: Timestamp,
) -> Option<AttemptDetail> {
    let SettledEntry { entry, settlement, .. } = settled;
    if attempt.cause.is_none() && entry.tries.all() == 0 {
        return None;
    }
    let started_ns =
        now.as_nanos().saturating_sub(u64::try_from(attempt.took.as_nanos()).unwrap_or(u64::MAX));
    Some(AttemptDetail {
        event: entry.name(),
        number: entry.tries.and_attempt().attempts(),
        started_at: Timestamp::from_nanos(started_ns),
        took: attempt.took,
        result: attempt.cause.as_ref().map_or(Word::Borrowed("delivered"), |cause| cause.to_string().into()),
        status: attempt.facts.status,
        then: follows(settlement, attempt.facts.why, attempt.cause.as_ref()),
        noticed: noticed.map(|noticed| with_obeyed(noticed, attempt)),
    })
}

fn follows(settlement: &Settlement, why: &'static str, cause: Option<&Cause>) -> Follows {
    let what = Word::Borrowed(settlement.outcome_label().unwrap_or("retried"));
    let (why, next_at) = match settlement {
        Settlement::Reschedule { due_at, .. } => (Word::Borrowed(why), Some(*due_at)),
        Settlement::Dead { reason, .. } => (reason.clone().into(), None),
        Settlement::Delivered if cause.is_some() => (Word::Borrowed("status_is_fine"), None),
        Settlement::Expired | Settlement::ExpiredHeld => (Word::Borrowed("no_time_left"), None),
        _ => (what.clone(), None),
    };
    Follows { what, why, next_at }
}

/// For how long what the answer named is obeyed, and why not for longer.
fn with_obeyed(mut noticed: Box<Noticed>, attempt: &AttemptReport) -> Box<Noticed> {
    if let Some(named) = &mut noticed.named {
        let ignored = [NamedTime::UNREADABLE, NamedTime::OTHER_STATUS, NamedTime::OTHER_PREVAILS];
        let is_ignored = named.why.as_ref().is_some_and(|why| ignored.contains(why));
        named.obeyed = attempt.facts.obeyed.filter(|_| !is_ignored);
        if !is_ignored && attempt.facts.obeyed.is_none() {
            // A rule of the operator has made something else of the answer.
            named.why = Some(NamedTime::OTHER_STATUS);
        } else if !is_ignored && attempt.asks_too_much {
            named.why = Some(NamedTime::BEYOND_LIFE);
        }
    }
    noticed
}

#[cfg(test)]
mod tests;
