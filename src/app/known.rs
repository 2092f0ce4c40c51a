//! What the gauges show of policies before anything happens under them, and how many policies are in each state. Worked
//! out when the policies change and not at every look: there may be thousands of them.
//!
//! Must not know: what happens under a policy.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::app::snapshot::{GaugeRows, row};
use crate::clock::Timestamp;
use crate::dispatch::{HoldReason, SlowReason};
use crate::limit::{most_at_once, period_end};
use crate::policy::{Book, GenerationState, Quota, Runtime, RuntimePolicy};
use crate::telemetry::{PolicyGauges, series_of};

/// What is known of the present policies, kept until they change.
#[derive(Default)]
pub(super) struct KnownPolicies {
    /// The number of the policies that the rows are made from.
    number: Option<u64>,
    rows: GaugeRows,
    /// For each row one quota of each period that is there.
    quotas: HashMap<String, Vec<Quota>>,
    states: Option<States>,
}

struct States {
    book: Arc<Book>,
    counts: Vec<(&'static str, u64)>,
    /// When the first of the pauses ends, which changes the counts.
    until: Option<Timestamp>,
}

impl KnownPolicies {
    /// A row for each label, with nothing under way.
    pub(super) fn rows(&mut self, runtime: &Runtime, now: Timestamp) -> GaugeRows {
        if self.number != Some(runtime.number()) {
            self.number = Some(runtime.number());
            (self.rows, self.quotas) = (GaugeRows::new(), HashMap::new());
            for policy in runtime.policies() {
                add_policy(row(&mut self.rows, policy.id.as_str()), policy);
                self.add_quota(policy);
            }
        }
        let mut rows = self.rows.clone();
        for (label, quotas) in &self.quotas {
            if let Some(row) = rows.get_mut(label) {
                row.quota_resets_at = quotas.iter().map(|quota| period_end(*quota, now)).min();
            }
        }
        rows
    }

    fn add_quota(&mut self, policy: &RuntimePolicy) {
        let limited = policy.spec.limits.quota.filter(|quota| quota.calls.is_some());
        let Some(quota) = limited else { return };
        let quotas = self.quotas.entry(series_of(policy.id.as_str()).to_owned()).or_default();
        if !quotas.iter().any(|known| known.per == quota.per) {
            quotas.push(quota);
        }
    }

    /// How many policies are in each state; every policy is in one.
    pub(super) fn states(&mut self, book: &Arc<Book>, now: Timestamp) -> Vec<(&'static str, u64)> {
        let holds =
            |states: &States| Arc::ptr_eq(&states.book, book) && states.until.is_none_or(|until| until > now);
        let states = self.states.take().filter(holds);
        self.states.insert(states.unwrap_or_else(|| States::of(book, now))).counts.clone()
    }
}

impl States {
    fn of(book: &Arc<Book>, now: Timestamp) -> Self {
        let mut counts = BTreeMap::from(["deployed", "paused", "draining", "idle"].map(|state| (state, 0)));
        let mut until = None;
        for (_, policy) in book.after(None) {
            let life = policy.lifecycle();
            let state = match policy.pause() {
                // Before the pause: that of an idle policy holds nothing.
                _ if life.generations().is_empty() => "idle",
                Some(pause) if pause.holds(now) => {
                    // A pause without an end changes the counts only together with the book.
                    until = until.into_iter().chain(pause.until).min();
                    "paused"
                }
                _ if life.active().is_some() => "deployed",
                _ => "draining",
            };
            *counts.entry(state).or_default() += 1;
        }
        Self { book: Arc::clone(book), counts: counts.into_iter().collect(), until }
    }
}

/// Adds a policy whose limits have at most one key.
fn add_policy(row: &mut PolicyGauges, policy: &RuntimePolicy) {
    let limits = &policy.spec.limits;
    if let Some(pace) = limits.pace {
        let pace = pace.starts_per_second();
        *row.permits_per_second.get_or_insert_default() += pace;
        // The first start makes the first key.
        *row.capacity_per_second.get_or_insert_default() += pace;
    }
    let slots = u64::from(most_at_once(limits).get());
    *row.concurrency_limit.get_or_insert_default() += slots;
    *row.concurrency_capacity.get_or_insert_default() += slots;
    row.limit_keys.get_or_insert_default();
    if row.held.is_empty() {
        row.held = HoldReason::ALL.map(|reason| (reason.word(), 0)).into();
        row.slowed = SlowReason::ALL.map(|reason| (reason.word(), 0)).into();
    }
    for limit in limits.metered() {
        row.window_peaks.entry(limit.kind().word()).or_default();
    }
    if let Some(calls) = limits.quota.and_then(|quota| quota.calls) {
        let calls = u64::from(calls.get());
        row.quota_remaining = Some(row.quota_remaining.map_or(calls, |least| least.min(calls)));
    }
    row.drains_until = row.drains_until.into_iter().chain(drains_until(policy)).min();
}

/// Adds the further keys of a policy, each of which has the whole pace and all slots. Before anything is added up: the
/// keys of one policy have nothing to do with the pace of another.
pub(super) fn add_keys(row: &mut PolicyGauges, policy: &RuntimePolicy, keys: u64) {
    let further = f64::from(u32::try_from(keys.saturating_sub(1)).unwrap_or(u32::MAX));
    if let Some(pace) = policy.spec.limits.pace {
        *row.capacity_per_second.get_or_insert_default() += pace.starts_per_second() * further;
    }
    let slots = u64::from(most_at_once(&policy.spec.limits).get());
    *row.concurrency_capacity.get_or_insert_default() += slots.saturating_mul(keys.saturating_sub(1));
}

/// When the first of its generations ends that drain.
fn drains_until(policy: &RuntimePolicy) -> Option<Timestamp> {
    let until = |state: &GenerationState| match state {
        GenerationState::Active => None,
        GenerationState::Draining { until } => Some(*until),
    };
    policy.generations.values().filter_map(until).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::{DRAIN_WINDOW, Limits, Origin, Pause, Period, Spec, testing};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn deployed(policies: &[(&str, Limits)]) -> Book {
        let mut book = Book::default();
        for (name, limits) in policies {
            let id = testing::id(name);
            let spec = Spec { limits: limits.clone(), ..testing::spec("https://h.org/*", 1.0) };
            book.put(&Origin::new("x"), &id, spec).expect("free");
        }
        book
    }

    #[test]
    fn the_pace_is_multiplied_by_the_keys_of_its_own_policy_before_it_is_added_up() {
        let policies = [("fast", 100.0), ("slow", 2.0), ("idle", 5.0)];
        let limits = policies.map(|(name, pace)| (name, testing::spec("https://h.org/*", pace).limits));
        let runtime = Runtime::build(&deployed(&limits)).expect("small");
        let mut shared = PolicyGauges::default();
        for (name, keys) in [("fast", 1), ("slow", 30), ("idle", 0)] {
            let policy = runtime.get(&testing::id(name)).expect("deployed");
            add_policy(&mut shared, policy);
            add_keys(&mut shared, policy, keys);
        }
        assert_eq!(shared.permits_per_second, Some(107.0));
        assert_eq!(shared.capacity_per_second, Some(165.0), "and not 107 for each of 31 keys");
        assert_eq!(shared.concurrency_limit, Some(100 + 64 + 64));
        assert_eq!(shared.concurrency_capacity, Some(100 + 30 * 64 + 64), "and not 228 for each of 31 keys");
    }

    #[test]
    fn rows_change_with_the_policies_and_quotas_with_time() {
        let quota = |per| Limits { quota: Quota::new(5, per).ok(), ..Limits::default() };
        let runtime = |per| Runtime::build(&deployed(&[("p", quota(per))])).expect("small");
        // Whatever the label is: which policies have series of their own is the same for all tests.
        let resets = |rows: GaugeRows| rows.into_values().find_map(|row| row.quota_resets_at);
        let hour = Duration::from_secs(3600);
        let (mut known, hourly) = (KnownPolicies::default(), runtime(Period::Hour));
        assert_eq!(resets(known.rows(&hourly, NOW)), Some(Timestamp::ZERO + hour));
        assert_eq!(resets(known.rows(&hourly, NOW + hour)), Some(Timestamp::ZERO + hour * 2));
        let daily = runtime(Period::Day);
        assert_eq!(
            resets(known.rows(&daily, NOW)),
            Some(Timestamp::ZERO + hour),
            "the control: the same number"
        );
        assert_eq!(resets(known.rows(&daily.numbered(1), NOW)), Some(Timestamp::ZERO + hour * 24));
    }

    #[test]
    fn states_change_with_the_book_and_when_a_pause_ends() {
        let mut book = deployed(&[("a", Limits::closed()), ("b", Limits::closed())]);
        let until = Some(NOW + Duration::from_secs(5));
        book.pause(&testing::id("a"), Pause { reason: "x".to_owned(), since: NOW, until }).expect("known");
        let mut known = KnownPolicies::default();
        let mut count = |book: &Arc<Book>, state: &str, now| {
            let counts = known.states(book, now);
            counts.iter().find(|(of, _)| *of == state).map(|(_, count)| *count)
        };
        let paused = Arc::new(book.clone());
        assert_eq!((count(&paused, "paused", NOW), count(&paused, "deployed", NOW)), (Some(1), Some(1)));
        assert_eq!(count(&paused, "paused", NOW + Duration::from_secs(5)), Some(0), "without a write");
        book.rest(&Origin::new("x"), &testing::id("b"), NOW, DRAIN_WINDOW).expect("deployed");
        let drains = Arc::new(book);
        assert_eq!((count(&drains, "draining", NOW), count(&drains, "paused", NOW)), (Some(1), Some(1)));
    }
}
