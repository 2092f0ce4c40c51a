//! A lane that starts fewer calls than its limits allow, because its endpoint asks for that or has just come back.
//!
//! - *Reduced*: when calls are answered with 429 or 503 for a second, at least as many as one in a hundred of those that
//!   started in it, the rate is halved: from what the lane has started in that second, or from the rate that holds already.
//!   It grows again by the same amount in each second, up to the rate at which the first refusal came; from there on the
//!   limits alone rule. Calls that had started before it was halved tell nothing new. Where that goes on for ever a tenth
//!   of the first rate is left.
//! - *Ramp*: after the breaker has closed the rate begins low and doubles in each second, until it is beyond what any limit
//!   allows.
//!
//! The rate only delays starts: every limit has its say all the same. A lane to whose endpoint none of that happens has none of
//! it. Pure: at the moments that it is handed.
//!
//! Must not know: limits, entries, why a breaker closes.

use std::time::Duration;

use crate::clock::{Leap, Timestamp};

/// At least one in so many starts of a second has to be refused.
const ONE_IN: u32 = 100;
/// Starts per second to which no rate is reduced further.
const LOWEST: f64 = 1.0;
/// In so many seconds a rate grows again by as much as it was before it was reduced at all.
const RESTORED_IN_SECONDS: f64 = 20.0;
/// Starts per second with which a ramp begins.
const RAMP_FROM: f64 = 10.0;
/// It doubles so often, once in a second; then it is over.
const RAMP_DOUBLINGS: u32 = 11;
const RAMP_SECONDS: f64 = RAMP_DOUBLINGS as f64;
/// How far starts may be ahead of the rate, so that timers that fire late lower it by nothing.
const AHEAD: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
/// Refusals are counted for so long: from the first second on they tell, and so does what the lane has started meanwhile.
const WATCHED: Duration = Duration::from_secs(2);

/// Why the rate of a lane is lower than its limits allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SlowReason {
    /// Its endpoint answered 429 or 503.
    Reduced,
    /// Its breaker has closed a short time ago.
    Ramp,
}

impl SlowReason {
    /// Both reasons, in the order of their declaration.
    pub(crate) const ALL: [Self; 2] = [Self::Reduced, Self::Ramp];

    /// The word that API and metrics use.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Reduced => "reduced",
            Self::Ramp => "ramp",
        }
    }
}

/// How fast a lane may start calls at one moment, whatever its limits allow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SlowRate {
    /// The lower one of both reasons.
    pub reason: SlowReason,
    /// How many calls the lane may start in a second.
    pub calls_per_second: f64,
    /// When the limits alone rule again, if nothing else happens.
    pub until: Timestamp,
}

/// The rate of one lane, while it is lower than its limits allow or may soon be.
#[derive(Debug, Default)]
pub(super) struct Slowdown {
    /// Refusals since a moment; none of before the rate was halved.
    refused: u32,
    refused_since: Timestamp,
    reduced: Option<Reduced>,
    /// When the ramp began.
    ramp: Option<Timestamp>,
    /// The time of the next start, if all came at even distances.
    next: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Reduced {
    /// The rate at `grows_from`.
    rate: f64,
    /// Until here the lane is left alone anyway.
    grows_from: Timestamp,
    /// The rate at which the first refusal came.
    full: f64,
    /// Calls that had started before tell nothing new.
    halved_at: Timestamp,
}

/// A refusal, and how the lane stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// When the call started that was refused.
    pub(super) started_at: Timestamp,
    /// What the lane started in the last second.
    pub(super) starts: u32,
    /// Until when the lane is left alone anyway, if it is.
    pub(super) held_until: Option<Timestamp>,
}

impl Reduced {
    fn growth(&self) -> f64 {
        self.full / RESTORED_IN_SECONDS
    }

    fn rate(&self, now: Timestamp) -> f64 {
        self.rate + self.growth() * now.since(self.grows_from).as_secs_f64()
    }

    fn until(&self) -> Timestamp {
        // Neither negative nor endless: the rate is below the full one, which is more than the lowest.
        self.grows_from + Duration::from_secs_f64(((self.full - self.rate) / self.growth()).max(0.0))
    }
}

impl Slowdown {
    /// A call was answered with 429 or 503. Returns whether the rate was halved.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Timestamp) -> bool {
        let Refusal { started_at, starts, held_until } = refusal;
        if self.reduced.is_some_and(|reduced| started_at < reduced.halved_at) {
            return false;
        }
        let watched = now.since(self.refused_since);
        if self.refused == 0 || watched >= WATCHED {
            (self.refused, self.refused_since) = (1, now);
            return false;
        }
        self.refused = self.refused.saturating_add(1);
        // Before that a lane that has just begun has not shown how fast it goes.
        if watched < SECOND || self.refused.saturating_mul(ONE_IN) < starts {
            return false;
        }
        let before = self.reduced.filter(|reduced| reduced.until() > now);
        let observed = f64::from(starts.max(1));
        // A lane without enough to send does not use its rate.
        let used = |rate: f64| if observed < rate / 2.0 { observed } else { rate };
        let present = before.map_or(observed, |reduced| used(reduced.rate(now)));
        let full = before.map_or(observed, |reduced| reduced.full);
        let rate = (present / 2.0).max(LOWEST);
        if rate >= full {
            return false;
        }
        let grows_from = held_until.map_or(now, |until| until.max(now));
        self.reduced = Some(Reduced { rate, grows_from, full, halved_at: now });
        self.refused = 0;
        true
    }

    /// The breaker has closed: calls start again from `from` on.
    pub(super) fn begin_ramp(&mut self, from: Timestamp) {
        self.ramp = Some(from);
    }

    /// A call has got its permit at `now`.
    pub(super) fn started(&mut self, now: Timestamp) {
        if let Some(rate) = self.rate(now) {
            let distance = Duration::from_secs_f64(1.0 / rate.calls_per_second);
            self.next = self.next.max(now) + distance;
        }
    }

    /// When the next call may start, if that is later than `now`.
    pub(super) fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.rate(now)?;
        Some(self.next - AHEAD).filter(|at| *at > now)
    }

    /// The rate at `now`; `None` where the limits alone rule.
    pub(super) fn rate(&self, now: Timestamp) -> Option<SlowRate> {
        let reduced = self.reduced.filter(|reduced| reduced.until() > now).map(|reduced| SlowRate {
            reason: SlowReason::Reduced,
            calls_per_second: reduced.rate(now),
            until: reduced.until(),
        });
        let ramp = self.ramp.filter(|from| ramp_end(*from) > now).map(|from| SlowRate {
            reason: SlowReason::Ramp,
            calls_per_second: RAMP_FROM * now.since(from).as_secs_f64().exp2(),
            until: ramp_end(from),
        });
        let lower = |a: SlowRate, b: SlowRate| if b.calls_per_second < a.calls_per_second { b } else { a };
        match (reduced, ramp) {
            (Some(reduced), Some(ramp)) => Some(lower(reduced, ramp)),
            (reduced, ramp) => reduced.or(ramp),
        }
    }

    /// When nothing of it is left that is worth keeping.
    pub(super) fn over_at(&self) -> Timestamp {
        let reduced = self.reduced.map(|reduced| reduced.until());
        let ramp = self.ramp.map(ramp_end);
        reduced.into_iter().chain(ramp).fold(self.refused_since + WATCHED, Timestamp::max)
    }

    /// The line of time has leapt.
    pub(super) fn leap(&mut self, leap: &Leap) {
        self.refused_since = leap.moved(self.refused_since);
        self.ramp = self.ramp.map(|from| leap.moved(from));
        self.next = leap.moved(self.next);
        if let Some(reduced) = &mut self.reduced {
            reduced.grows_from = leap.moved(reduced.grows_from);
            reduced.halved_at = leap.moved(reduced.halved_at);
        }
    }
}

fn ramp_end(from: Timestamp) -> Timestamp {
    from + Duration::from_secs_f64(RAMP_SECONDS)
}

#[cfg(test)]
mod tests;
