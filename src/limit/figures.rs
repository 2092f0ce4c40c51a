//! The present state of limiters, for people and metrics: read in portions, so that many of them stop nobody.
//!
//! Must not know: who asks.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::LimitKind;
use crate::limit::forecast::LimitOutlook;
use crate::limit::limiter::Limiter;
use crate::limit::table::{LimiterId, LimiterTable};

/// The state of one limiter, as it was at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LimiterFigures {
    /// The policy whose limits it keeps.
    pub policy: PolicyId,
    /// Its label values, `a=1;b=2`; empty without a scope.
    pub key: Box<str>,
    /// One for each limit, calls in flight aside.
    pub counters: Vec<Counter>,
    /// Starts that were promised to calls which were taken in and have not started yet; they do not count as used.
    pub promised: u32,
    /// Calls in flight under it, also those that started before the policy was removed.
    pub inflight: u32,
    /// Most calls in flight; `None` means unlimited.
    pub slots: Option<NonZeroU32>,
    /// What its limits mean for calls to come.
    pub outlook: Vec<LimitOutlook>,
}

/// The state of one limit that counts starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counter {
    /// Which limit of the policy it counts for.
    pub kind: LimitKind,
    /// Most starts per `length`; for a bound what it allows.
    pub calls: u32,
    /// Of the sliding window, or of the present calendar period.
    pub length: Duration,
    /// Starts that count now, and those that may have happened where that is not known.
    pub used: u32,
    /// Most starts in any window of the last minute; for a quota what is used.
    pub window_peak: u32,
    /// Starts beyond the limit since the process began: not zero is a defect.
    pub violations: u64,
    /// When a quota begins anew; `None` for sliding windows.
    pub resets_at: Option<Timestamp>,
}

/// The state of up to `most` limiters from place `from` on, and the place at which to go on. Those of policies that are
/// gone are left out.
pub(super) fn page(
    table: &mut LimiterTable,
    from: usize,
    most: usize,
    now: Timestamp,
) -> (Vec<LimiterFigures>, Option<usize>) {
    let (page, next) = table.page_mut(from, most);
    (page.filter(|limiter| limiter.active).map(|limiter| figures(limiter, now)).collect(), next)
}

/// The state of these limiters, with the counters that those count on which only bound them.
pub(super) fn of(table: &mut LimiterTable, ids: &[LimiterId], now: Timestamp) -> Vec<LimiterFigures> {
    ids.iter().filter_map(|id| at(table, *id, now)).collect()
}

fn at(table: &mut LimiterTable, id: LimiterId, now: Timestamp) -> Option<LimiterFigures> {
    let limiter = table.get_mut(id)?;
    let (mut figures, bound) = (figures(limiter, now), limiter.bound.clone());
    if let Some(bound) = bound {
        let counter = bound.counter.and_then(|counter| table.get_mut(counter));
        // A policy with bounds shows the counter that it looks at, under its own most. Until a lane is bound to both
        // there is none.
        figures.counters = counter.map(|counter| bound.counters(counter, now)).unwrap_or_default();
    }
    Some(figures)
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
        promised: limiter.promised,
        inflight: limiter.slots.inflight(),
        slots: limiter.slots.limit(),
        outlook: limiter.outlook(now),
    }
}
