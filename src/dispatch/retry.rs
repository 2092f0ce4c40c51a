//! What follows an attempt: one pure, exhaustive function.
//!
//! - Waits grow exponentially with full jitter: uniformly between nothing and `base * 2^(tries - 1)`, at
//!   most `cap`. A time to come back that the endpoint names prevails when it is later.
//! - A try is an attempt and counts against the limit of attempts, unless it is proven that the endpoint has processed
//!   nothing of it, or it was a probe of an open breaker: these cost no attempt, and what ends them is the TTL.
//! - After a shortage of tidegate's own the entry comes back soon, and nothing was tried. The same after the egress guard
//!   has withheld a call, at a slow pace.
//! - A wait that the endpoint imposes is as long as it says and uses up no attempt, whether it said so in words of its own
//!   or beside a failure; what ends one that never ends is the TTL. One beyond the life of the entry lasts to its end.
//! - A call whose token was refused is tried again when there may be another one; that costs no attempt either.
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
    /// What is left of the entry's life, by two milliseconds less: a due time is rounded up to a whole one and has to lie
    /// before the end.
    fn left(&self) -> Duration {
        self.expires_at.since(self.now).saturating_sub(Duration::from_millis(2))
    }

    /// The entry comes back after `wait`, or at the end of its life if that is before: whoever imposed the wait may think
    /// better of it.
    fn leave_alone(&self, wait: Duration, tries: Tries) -> Settlement {
        self.put_off(wait.min(self.left()).max(Wait::SHORTEST), tries)
    }

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
        Outcome::Retry { retry_after: Some(asked), .. } if ended.retry_until.is_none() => {
            ended.leave_alone(policy.backoff(free, roll).max(*asked), free)
        }
        end @ (Outcome::Retry { cause, .. } | Outcome::Unprocessed { cause }) => {
            let is_unprocessed = matches!(end, Outcome::Unprocessed { .. });
            let is_free = (is_unprocessed || ended.is_probe) && ended.retry_until.is_none();
            if !is_free && policy.is_used_up(attempts) {
                return Settlement::Dead { reason: exhausted(cause), attempts };
            }
            let tries = if is_free { free } else { counted };
            ended.repeat(policy, roll, end.asked().unwrap_or_default(), tries, cause)
        }
        Outcome::TokenRefused { wait } => ended.put_off(*wait, free),
        Outcome::Shortage { .. } => {
            ended.put_off(SHORTAGE_WAIT.mul_f64(0.5 + 0.5 * share(roll)), ended.tries)
        }
        Outcome::Withheld => {
            // To the end of its life: the guard may allow it in the last moment.
            ended.put_off(WITHHELD_WAIT.min(ended.left()), ended.tries)
        }
        Outcome::Wait(wait) => {
            let shortest = if ended.is_lane_held { Duration::ZERO } else { SHORTEST_WAIT_ALONE };
            ended.leave_alone(wait.length().max(shortest), ended.tries)
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
