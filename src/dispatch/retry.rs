//! What follows an attempt: one pure, exhaustive function.
//!
//! - Waits grow exponentially with full jitter: uniformly between nothing and `base * 2^(tries - 1)`, at
//!   most `cap`. A `Retry-After` of the endpoint prevails when it asks for longer.
//! - A try is an attempt and counts against the limit of attempts, unless it is proven that the endpoint has processed
//!   nothing of it, or it was a probe of an open breaker: these cost no attempt, and what ends them is the TTL.
//! - After a shortage of tidegate's own the entry comes back soon, and nothing was tried. The same after the egress guard
//!   has withheld a call, at a slow pace.
//! - A wait that the endpoint imposes is as long as it says and uses up no attempt; what
//!   ends one that never ends is the TTL.
//! - A due time is a whole millisecond, rounded up, and strictly later than now.
//! - A wait that would end after the entry's life is drawn from what is left of it, as long as that is more than the bound
//!   of the first wait: it is tried to the end of its life.
//! - Attempts that are used up make a dead letter, where their number is bounded. While some are left and only the TTL
//!   forbids another one, the entry expires at once instead of resting until then: no attempt could start any more.
//! - Where all tries have to lie within a time, each one is an attempt, and the wait takes at most half of what is left
//!   of it. An entry that could not be tried again within it is a dead letter.
//!
//! Must not know: clocks, dice, the queue.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Cause, Outcome, Settlement, Tries, Wait};

/// The longest wait that an endpoint can ask for by `Retry-After`.
pub(crate) const MAX_RETRY_AFTER: Duration = Wait::LONGEST;

/// The longest wait after a shortage of tidegate's own; the shortest is half of it.
const SHORTAGE_WAIT: Duration = Duration::from_secs(1);

/// How often a call is tried whose address the egress guard denies: nothing is connected for it.
pub(super) const WITHHELD_WAIT: Duration = Duration::from_secs(30);

/// The shortest wait of an entry whose lane goes on meanwhile: others may be told to wait in the same moment.
const SHORTEST_WAIT_ALONE: Duration = Duration::from_secs(1);

/// How failed attempts are repeated, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest wait after the first try.
    pub base: Duration,
    /// The longest wait after any try.
    pub cap: Duration,
    /// Most attempts that count; those that are used up make a dead letter. `None`: it is tried until the end of its life.
    pub max_attempts: Option<NonZeroU16>,
}

impl Default for RetryPolicy {
    /// 1 s, 5 min, any number of attempts.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(300), max_attempts: None }
    }
}

impl RetryPolicy {
    /// The wait after these tries, for a `roll` in `0.0..=1.0`.
    fn backoff(&self, tries: Tries, roll: f64) -> Duration {
        let doublings = u32::from(tries.all().saturating_sub(1));
        // What does not fit, from 32 doublings on at the latest, is taken for longer than any cap.
        let longest = 2_u32
            .checked_pow(doublings)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |wait| wait.min(self.cap));
        longest.mul_f64(share(roll))
    }

    fn is_used_up(&self, attempts: u16) -> bool {
        self.max_attempts.is_some_and(|most| attempts >= most.get())
    }
}

fn share(roll: f64) -> f64 {
    // `Duration::mul_f64` panics on a factor that is negative or no number.
    if roll.is_nan() { 0.0 } else { roll.clamp(0.0, 1.0) }
}

/// An attempt that has ended, with what its entry needs for what follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedAttempt<'a> {
    /// What the delivery reported of it.
    pub outcome: &'a Outcome,
    /// Tries made before this one, counted and free.
    pub tries: Tries,
    /// Whether it was to find out whether the endpoint of an open breaker takes calls again.
    pub is_probe: bool,
    /// The moment at which its end was noticed.
    pub now: Timestamp,
    /// No attempt starts at or after this moment.
    pub expires_at: Timestamp,
    /// All tries have to start before this moment, where that is set for its endpoint.
    pub retry_until: Option<Timestamp>,
    /// It is not to be repeated, because nobody knows whether the endpoint has acted on it.
    pub is_parked: bool,
    /// Whether its lane is held while the endpoint wants to be left alone.
    pub is_lane_held: bool,
    /// Whether it is certain how much time has passed.
    pub is_time_trusted: bool,
}

impl EndedAttempt<'_> {
    /// The entry comes back after `wait` with these tries on record, if it may still start then.
    fn put_off(&self, wait: Duration, tries: Tries) -> Settlement {
        let due_at = next_milli(self.now, wait);
        // No attempt could start any more: the entry need not rest until then.
        if due_at >= self.expires_at {
            Settlement::Expired
        } else {
            let doubted_at = (!self.is_time_trusted).then_some(self.now);
            Settlement::Reschedule { due_at, tries, doubted_at }
        }
    }

    /// The entry comes back after a wait of at least `asked`, otherwise that of `policy`, if it may be tried again then.
    fn repeat(
        &self,
        policy: &RetryPolicy,
        roll: f64,
        asked: Duration,
        tries: Tries,
        cause: &Cause,
    ) -> Settlement {
        let backoff = policy.backoff(tries, roll);
        let Some(until) = self.retry_until else {
            let left = self.expires_at.since(self.now);
            let is_too_long = next_milli(self.now, backoff) >= self.expires_at && left > policy.base;
            // By two milliseconds earlier: a due time is rounded up to a whole one and has to lie before the end.
            let last = left.saturating_sub(Duration::from_millis(2)).mul_f64(share(roll));
            let wait = if is_too_long { last } else { backoff };
            return self.put_off(wait.max(asked), tries);
        };
        let left = until.since(self.now);
        let wait = backoff.min(left / 2).max(asked);
        if next_milli(self.now, wait) >= until {
            return Settlement::Dead { reason: exhausted(cause), attempts: tries.attempts() };
        }
        self.put_off(wait, tries)
    }
}

/// Decides what becomes of the entry. `roll` lies in `0.0..1.0`.
#[must_use]
pub(crate) fn settle(ended: EndedAttempt<'_>, policy: &RetryPolicy, roll: f64) -> Settlement {
    let (counted, free) = (ended.tries.and_attempt(), ended.tries.and_free());
    let attempts = counted.attempts();
    match ended.outcome.end() {
        // No end says anything of the next call.
        Outcome::Delivered { .. } | Outcome::Paced { .. } => Settlement::Delivered,
        Outcome::Reject { cause } => Settlement::Dead { reason: cause.to_string(), attempts },
        Outcome::Retry { cause, .. } if ended.is_parked => {
            Settlement::Dead { reason: format!("ambiguous: {cause}"), attempts }
        }
        end @ (Outcome::Retry { cause, .. } | Outcome::Unprocessed { cause }) => {
            let is_unprocessed = matches!(end, Outcome::Unprocessed { .. });
            let is_free = (is_unprocessed || ended.is_probe) && ended.retry_until.is_none();
            if !is_free && policy.is_used_up(attempts) {
                return Settlement::Dead { reason: exhausted(cause), attempts };
            }
            let tries = if is_free { free } else { counted };
            let asked = if let Outcome::Retry { retry_after, .. } = end { *retry_after } else { None };
            // The bound of every wait that an endpoint imposes.
            let asked = asked.unwrap_or_default().min(MAX_RETRY_AFTER);
            ended.repeat(policy, roll, asked, tries, cause)
        }
        Outcome::Shortage { .. } => {
            ended.put_off(SHORTAGE_WAIT.mul_f64(0.5 + 0.5 * share(roll)), ended.tries)
        }
        Outcome::Withheld => {
            // To the end of its life: the guard may allow it in the last moment.
            // By two milliseconds earlier: a due time is rounded up to a whole one and has to lie before the end.
            let left = ended.expires_at.since(ended.now).saturating_sub(Duration::from_millis(2));
            ended.put_off(WITHHELD_WAIT.min(left), ended.tries)
        }
        Outcome::Wait(wait) => {
            let shortest = if ended.is_lane_held { Duration::ZERO } else { SHORTEST_WAIT_ALONE };
            ended.put_off(wait.length().max(shortest), ended.tries)
        }
    }
}

/// Why an entry is parked that may not be tried again.
pub(super) fn exhausted(cause: &Cause) -> String {
    format!("attempts_exhausted: {cause}")
}

/// The first whole millisecond at or after `now + wait` that is later than `now`.
pub(super) fn next_milli(now: Timestamp, wait: Duration) -> Timestamp {
    let due = (now + wait).ceil_millis();
    Timestamp::from_millis(due.max(now.as_millis().saturating_add(1)))
}

#[cfg(test)]
mod tests;
