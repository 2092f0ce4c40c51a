//! The present state of limiters, for people and metrics: read in portions, so that many of them stop nobody.
//!
//! Must not know: who asks.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::Kind;
use crate::limit::forecast::LimitOutlook;
use crate::limit::limiter::Limiter;
use crate::limit::{Binding, Gate, LimiterId};

/// The state of one limiter.
#[derive(Debug, Clone, PartialEq)]
pub struct LimiterFigures {
    /// The policy whose limits it keeps.
    pub policy: PolicyId,
    /// Its label values, `a=1;b=2`; empty without a scope.
    pub key: Box<str>,
    /// One for each limit, calls in flight aside.
    pub counters: Vec<Counter>,
    /// Calls in flight now.
    pub inflight: u32,
    /// Most calls in flight; `None` means unlimited.
    pub slots: Option<NonZeroU32>,
    /// What its limits mean for calls to come.
    pub outlook: Vec<LimitOutlook>,
}

/// The state of one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counter {
    /// Which limit of the policy it counts for.
    pub kind: Kind,
    /// Most starts per `length`.
    pub calls: u32,
    /// Of the sliding window, or of the present calendar period.
    pub length: Duration,
    /// Starts that count now.
    pub used: u32,
    /// Most starts in any window of the last minute; for a quota what is used.
    pub window_peak: u32,
    /// Starts beyond the limit since the process began: not zero is a defect.
    pub violations: u64,
    /// When a quota begins anew.
    pub resets_at: Option<Timestamp>,
}

impl Gate {
    /// The state of up to `most` limiters from place `from` on, and the place at which to go on. Those of policies
    /// that are gone are left out.
    pub fn figures(
        &mut self,
        from: usize,
        most: usize,
        now: Timestamp,
    ) -> (Vec<LimiterFigures>, Option<usize>) {
        let (page, next) = self.table.page_mut(from, most);
        (page.filter(|limiter| limiter.active).map(|limiter| figures(limiter, now)).collect(), next)
    }

    /// The state of up to `most` limiters of a policy, in order of their keys, those after `after`.
    pub fn figures_of(
        &mut self,
        policy: &PolicyId,
        after: Option<&str>,
        most: usize,
        now: Timestamp,
    ) -> Vec<LimiterFigures> {
        let ids: Vec<_> = self.table.of_policy(policy, after).take(most).collect();
        ids.into_iter().filter_map(|id| self.figures_at(id, now)).collect()
    }

    /// The state of the limiters of a lane.
    pub fn figures_of_lane(&mut self, lane: &Binding, now: Timestamp) -> Vec<LimiterFigures> {
        lane.limiters().iter().filter_map(|id| self.figures_at(*id, now)).collect()
    }

    fn figures_at(&mut self, id: LimiterId, now: Timestamp) -> Option<LimiterFigures> {
        let limiter = self.table.get_mut(id)?;
        let (mut figures, bound) = (figures(limiter, now), limiter.bound.clone());
        if let Some(bound) = bound {
            let counter = bound.counter.and_then(|counter| self.table.get_mut(counter));
            figures.counters = counter.map(|counter| bound.counters(counter, now)).unwrap_or_default();
        }
        Some(figures)
    }

    /// How many limiters there are.
    #[must_use]
    pub fn limiters(&self) -> usize {
        self.table.len()
    }
}

fn figures(limiter: &mut Limiter, now: Timestamp) -> LimiterFigures {
    // What limits nothing has no figures of its own.
    let counters = limiter.meters.iter_mut().filter_map(|meter| {
        let most = meter.limit()?.get();
        Some(meter.counter(most, now))
    });
    LimiterFigures {
        policy: limiter.policy.clone(),
        key: limiter.key.clone(),
        counters: counters.collect(),
        inflight: limiter.slots.inflight(),
        slots: limiter.slots.limit(),
        outlook: limiter.outlook(now),
    }
}
