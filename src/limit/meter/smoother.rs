//! Spreads the starts of a pace over its window: governor's GCRA with a small burst that covers the caller's
//! tick. It promises no limit; the ring does that.
//!
//! governor is given time by hand, on a line that begins at the epoch: so the theoretical arrival time in the
//! store is a plain moment that can be looked at, put back and carried over to another pace.
//!
//! Must not know: windows, calls in flight.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use crate::clock::Timestamp;
use crate::policy::Pace;

/// A start that is late by up to 5 ms is made up for, so that callers that wake once per millisecond, and late at
/// times, lose nothing. Slow paces tolerate up to twice as much, and never a whole interval.
const TOLERANCE_NS: u64 = 5_000_000;
/// Later moments count as this one, so that governor's plain arithmetic cannot overflow.
const LAST: u64 = u64::MAX / 2;

/// One pace, smoothed: when the next start is due, and what a late one may make up for.
#[derive(Debug)]
pub(super) struct Smoother {
    limiter: RateLimiter<NotKeyed, GovernorStore, Hand, NoOpMiddleware<GovernorInstant>>,
    cells: Arc<Cells>,
    /// Cells of the burst that one start takes.
    weight: NonZeroU32,
    interval_ns: u64,
    tolerance_ns: u64,
    /// The last grant before which the smoother had been at rest.
    rested_at: Timestamp,
}

/// What a grant changed, for putting it back.
#[derive(Debug)]
pub(super) struct GrantStep {
    before_ns: u64,
    after_ns: u64,
    at: Timestamp,
}

impl Smoother {
    /// At rest: the first start is due at once.
    pub(super) fn new(pace: Pace) -> Self {
        let interval_ns = ((1e9 / pace.starts_per_second()) as u64).max(1);
        // A start of a slow pace takes several cells, so that what is tolerated is less than an interval.
        let weight = u32::try_from(interval_ns / TOLERANCE_NS).unwrap_or(u32::MAX / 2).max(1);
        let cell_ns = (interval_ns / u64::from(weight)).max(1);
        // A burst of two at least, of which one is the start itself.
        let burst = u32::try_from(TOLERANCE_NS.div_ceil(cell_ns)).unwrap_or(u32::MAX / 2).max(2);
        let tolerated = if weight > 1 { 1 } else { burst - 1 };
        Self::with_burst(cell_ns, weight, tolerated)
    }

    fn with_burst(cell_ns: u64, weight: u32, tolerated: u32) -> Self {
        let cells = Arc::new(Cells::default());
        let quota = Quota::with_period(Duration::from_nanos(cell_ns))
            // Only for a period of zero.
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(NonZeroU32::MIN.saturating_add(weight + tolerated - 1));
        let limiter = RateLimiter::new(quota, GovernorStore(Arc::clone(&cells)), Hand(Arc::clone(&cells)));
        Self {
            limiter,
            cells,
            weight: NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN),
            interval_ns: cell_ns * u64::from(weight),
            tolerance_ns: cell_ns * u64::from(tolerated),
            rested_at: Timestamp::ZERO,
        }
    }

    /// From when on a start is smooth; changes nothing.
    pub(super) fn ready_at(&self, now: Timestamp) -> Timestamp {
        // Relaxed everywhere here: one thread uses them (see `Cells`), and nothing else is published by these values.
        self.cells.now_ns.store(now.as_nanos().min(LAST), Ordering::Relaxed);
        match self.limiter.check_n(self.weight) {
            Ok(Err(not_until)) => Timestamp::from_nanos(not_until.earliest_possible().0),
            // The burst holds more than one start.
            Ok(Ok(())) | Err(_) => now,
        }
    }

    /// Takes what the last [`Smoother::ready_at`] found ready at this `now`.
    pub(super) fn take(&mut self, now: Timestamp) -> GrantStep {
        debug_assert_eq!(
            self.cells.now_ns.load(Ordering::Relaxed),
            now.as_nanos().min(LAST),
            "a start is taken at another moment than it was asked for"
        );
        let before_ns = self.cells.tat_ns.load(Ordering::Relaxed);
        let mut after_ns = self.cells.next_ns.load(Ordering::Relaxed);
        // The arrival time has passed: the smoother had nothing to do.
        if before_ns <= now.as_nanos() {
            self.rested_at = now;
            if self.weight > NonZeroU32::MIN {
                // Nothing was late: the next start is due one interval later, not before.
                after_ns = after_ns.saturating_add(self.tolerance_ns).min(LAST);
            }
        }
        self.cells.tat_ns.store(after_ns, Ordering::Relaxed);
        GrantStep { before_ns, after_ns, at: now }
    }

    /// Takes a step back: exactly when it was the last one; else by one interval, unless the smoother has
    /// been at rest since and forgot it already.
    pub(super) fn put_back(&mut self, step: &GrantStep) {
        let tat_ns = self.cells.tat_ns.load(Ordering::Relaxed);
        if tat_ns == step.after_ns {
            self.cells.tat_ns.store(step.before_ns, Ordering::Relaxed);
        } else if step.at >= self.rested_at {
            // Later steps build on this one: all of them are due one interval earlier now.
            self.cells.tat_ns.store(tat_ns.saturating_sub(self.interval_ns), Ordering::Relaxed);
        }
    }

    /// Another pace, with an empty burst: the next start is due when it was due, at the latest one new interval
    /// from `now`.
    pub(super) fn edit(&mut self, pace: Pace, now: Timestamp) {
        let next = Self::new(pace);
        let now_ns = now.as_nanos().min(LAST);
        let due_ns = self.cells.tat_ns.load(Ordering::Relaxed).saturating_sub(self.tolerance_ns);
        // From a slow pace the next start might be due in an hour; the new one must not wait for that.
        let due_ns = due_ns.clamp(now_ns, now_ns + next.interval_ns);
        next.cells.tat_ns.store(due_ns + next.tolerance_ns, Ordering::Relaxed);
        *self = next;
    }
}

/// What governor and the smoother share. Only one thread uses it; atomics make it sendable.
#[derive(Debug, Default)]
struct Cells {
    /// The time that governor sees; zero while it is built, which puts its origin at the epoch.
    now_ns: AtomicU64,
    /// The theoretical arrival time of the next start.
    tat_ns: AtomicU64,
    /// What it becomes if the start that was found ready is taken.
    next_ns: AtomicU64,
}

/// Lets governor decide without taking: the outcome is kept aside.
#[derive(Debug)]
struct GovernorStore(Arc<Cells>);

impl StateStore for GovernorStore {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(self.0.tat_ns.load(Ordering::Relaxed))))?;
        self.0.next_ns.store(next.as_u64(), Ordering::Relaxed);
        Ok(outcome)
    }
}

/// A clock that is set by hand before each question.
#[derive(Debug, Clone)]
struct Hand(Arc<Cells>);

impl Clock for Hand {
    type Instant = GovernorInstant;

    fn now(&self) -> GovernorInstant {
        GovernorInstant(self.0.now_ns.load(Ordering::Relaxed))
    }
}

/// Nanoseconds since the epoch, as governor's instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GovernorInstant(u64);

impl Reference for GovernorInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        Nanos::new(self.0.saturating_sub(earlier.0))
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

impl Add<Nanos> for GovernorInstant {
    type Output = Self;

    fn add(self, rhs: Nanos) -> Self {
        Self(self.0.saturating_add(rhs.as_u64()))
    }
}
