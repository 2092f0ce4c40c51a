//! What the limits of each policy did, for metrics: starts that they allowed, and the time in which something was ready
//! and they let none of it start.
//!
//! Must not know: what waits, how a limit counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::LimitKind;
use crate::limit::table::LimiterId;

/// One figure for each kind of limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerKind<T>([T; LimitKind::ALL.len()]);

impl<T> PerKind<T> {
    /// One figure for each kind, asked for in the order of `LimitKind::ALL`.
    #[must_use]
    pub fn of(figure: impl FnMut(LimitKind) -> T) -> Self {
        Self(LimitKind::ALL.map(figure))
    }

    /// The figure of this kind of limit.
    #[must_use]
    pub fn get(&self, kind: LimitKind) -> &T {
        // Each kind has its place in `LimitKind::ALL`: see there.
        &self.0[kind as usize]
    }
}

/// What the limits of one policy did since the process began, or since its limits came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Worked {
    /// Starts allowed, by the limits that allowed them; under `Slots` once for each start.
    pub permits: PerKind<u64>,
    /// Time in which something was ready and the limit let none of it start, added up over all label values.
    pub held: PerKind<Duration>,
}

/// The counts of one policy, shared by its limiters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    permits: PerKind<AtomicU64>,
    held_ns: PerKind<AtomicU64>,
}

impl Tally {
    pub(super) fn granted(&self, kind: LimitKind) {
        add(&self.permits, kind, 1);
    }

    fn worked(&self) -> Worked {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Worked {
            permits: PerKind::of(|kind| read(self.permits.get(kind))),
            held: PerKind::of(|kind| Duration::from_nanos(read(self.held_ns.get(kind)))),
        }
    }
}

fn add(counters: &PerKind<AtomicU64>, kind: LimitKind, count: u64) {
    counters.get(kind).fetch_add(count, Ordering::Relaxed);
}

/// The counts of all policies, and the limiters that let nothing start at present.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    by_policy: HashMap<PolicyId, Arc<Tally>>,
    /// By which of its limits, and since when.
    holding: BTreeMap<LimiterId, (LimitKind, Timestamp, Arc<Tally>)>,
    /// Starts beyond a limit since the process began.
    violations: BTreeMap<(PolicyId, LimitKind), u64>,
}

impl Tallies {
    pub(super) fn of(&mut self, policy: &PolicyId) -> Arc<Tally> {
        match self.by_policy.get(policy) {
            Some(tally) => Arc::clone(tally),
            None => Arc::clone(self.by_policy.entry(policy.clone()).or_default()),
        }
    }

    /// A start was one too many.
    pub(super) fn violated(&mut self, policy: &PolicyId, kind: LimitKind) {
        *self.violations.entry((policy.clone(), kind)).or_default() += 1;
    }

    /// Starts beyond a limit, by policy and kind.
    pub(super) const fn violations(&self) -> &BTreeMap<(PolicyId, LimitKind), u64> {
        &self.violations
    }

    /// A limiter said no to something that is ready.
    pub(super) fn refused(
        &mut self,
        limiter: LimiterId,
        kind: LimitKind,
        tally: &Arc<Tally>,
        now: Timestamp,
    ) {
        match self.holding.get_mut(&limiter) {
            Some((of, ..)) if *of == kind => {}
            Some((of, since, tally)) => {
                add(&tally.held_ns, *of, nanos(now.since(*since)));
                (*of, *since) = (kind, now);
            }
            None => {
                self.holding.insert(limiter, (kind, now, Arc::clone(tally)));
            }
        }
    }

    /// A limiter let something start: the time of its refusal is over.
    pub(super) fn allowed(&mut self, limiter: LimiterId, now: Timestamp) {
        // Asked for every start: nearly always nothing is held.
        if self.holding.is_empty() {
            return;
        }
        if let Some((kind, since, tally)) = self.holding.remove(&limiter) {
            add(&tally.held_ns, kind, nanos(now.since(since)));
        }
    }

    /// Adds the time until now of those that go on letting nothing start; `waits` says whether anything is ready there.
    pub(super) fn go_on(&mut self, now: Timestamp, waits: impl Fn(LimiterId) -> bool) {
        self.holding.retain(|limiter, (kind, since, tally)| {
            let goes_on = waits(*limiter);
            if goes_on {
                add(&tally.held_ns, *kind, nanos(now.since(*since)));
                *since = now;
            }
            goes_on
        });
    }

    /// Of every policy whose limits had something to do; those that nobody uses any more and `is_known` does not hold
    /// for are forgotten.
    pub(super) fn worked(&mut self, is_known: impl Fn(&PolicyId) -> bool) -> Vec<(PolicyId, Worked)> {
        // Each living limiter holds one reference: they may still count.
        self.by_policy.retain(|policy, tally| Arc::strong_count(tally) > 1 || is_known(policy));
        self.by_policy.iter().map(|(policy, tally)| (policy.clone(), tally.worked())).collect()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn time_counts_from_a_no_to_the_next_yes_under_the_kind_that_said_no() {
        let mut tallies = Tallies::default();
        let policy: PolicyId = PolicyId::parse("p").expect("a name");
        let tally = tallies.of(&policy);
        let one = LimiterId(1);
        tallies.refused(one, LimitKind::Pace, &tally, at(1_000));
        tallies.refused(one, LimitKind::Pace, &tally, at(1_500));
        tallies.refused(one, LimitKind::Slots, &tally, at(2_000));
        tallies.go_on(at(2_100), |_| true);
        tallies.allowed(one, at(2_200));
        tallies.allowed(one, at(9_000));
        tally.granted(LimitKind::Slots);
        let ms = Duration::from_millis;
        let permits = PerKind::of(|kind| u64::from(kind == LimitKind::Slots));
        let held = PerKind::of(|kind| match kind {
            LimitKind::Pace => ms(1_000),
            LimitKind::Slots => ms(200),
            _ => ms(0),
        });
        let expected = Worked { permits, held };
        assert_eq!(tallies.worked(|_| true), [(policy.clone(), expected)]);
        tallies.refused(one, LimitKind::Pace, &tally, at(10_000));
        tallies.go_on(at(20_000), |_| false);
        tallies.allowed(one, at(30_000));
        assert_eq!(tallies.worked(|_| true), [(policy, expected)], "nothing was ready any more");
        drop(tally);
        assert_eq!(tallies.worked(|_| false), [], "forgotten with its policy");
    }
}
