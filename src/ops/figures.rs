//! Live figures of policies: one pass over the lanes for what waits, the limiters of a policy in portions.
//!
//! Must not know: how they are written.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::clock::{Clock, Timestamp};
use crate::dispatch::{DispatchHandle, Hold, HoldReason, PlannerFigures};
use crate::event::{Lane, PolicyId};
use crate::limit::LimiterFigures;
use crate::ops::desk::Desk;
use crate::ops::wire::{FiguresBody, HeldBody, UsedBody, WaitingCounts, date};
use crate::policy::Scope;
use crate::problem::{Problem, codes};
use crate::queue::{LaneCounts, Queue};

/// Limiters of one policy that are read at a time: few enough that calls do not wait for them.
const LIMITERS_AT_ONCE: usize = 1024;

/// What waits under some policies, by key.
pub(super) struct Waits(HashMap<PolicyId, HashMap<Box<str>, WaitingCounts>>);

impl Waits {
    /// One pass over all lanes. With `only`, of these keys alone.
    fn count(
        lanes: &[LaneCounts],
        scopes: &HashMap<PolicyId, Scope>,
        only: Option<&HashSet<Box<str>>>,
    ) -> Self {
        let mut waits = Self(HashMap::new());
        // Reading a name costs more than looking for the one id in it.
        let alone = scopes.keys().next().filter(|_| scopes.len() == 1);
        for counts in lanes {
            if alone.is_some_and(|id| !counts.lane.as_str().contains(id.as_str())) {
                continue;
            }
            let Ok(lane) = Lane::parse(&counts.lane) else { continue };
            for part in lane.policies() {
                let Some(scope) = scopes.get(&part.policy) else { continue };
                let key = lane.scope_key(scope.labels());
                if only.is_some_and(|only| !only.contains(&*key)) {
                    continue;
                }
                // Looked up first: an entry would need a clone of the id for each lane.
                if !waits.0.contains_key(&part.policy) {
                    waits.0.insert(part.policy.clone(), HashMap::new());
                }
                if let Some(keys) = waits.0.get_mut(&part.policy) {
                    keys.entry(key).or_default().add(counts);
                }
            }
        }
        waits
    }

    pub(super) fn of(&self, policy: &PolicyId, key: &str) -> WaitingCounts {
        self.0.get(policy).and_then(|keys| keys.get(key)).copied().unwrap_or_default()
    }

    fn all_of(&self, policy: &PolicyId) -> WaitingCounts {
        let mut all = WaitingCounts::default();
        for wait in self.0.get(policy).into_iter().flat_map(HashMap::values) {
            all.ready += wait.ready;
            all.delayed += wait.delayed;
            all.oldest = all.oldest.into_iter().chain(wait.oldest).min();
        }
        all
    }
}

impl WaitingCounts {
    fn add(&mut self, counts: &LaneCounts) {
        self.ready += counts.ready;
        self.delayed += counts.delayed;
        self.oldest = self.oldest.into_iter().chain(counts.oldest).min();
    }
}

/// How long what waits under one limiter takes at its present limits; `None` when they do not say.
pub(super) fn drains_in(
    limiter: &LimiterFigures,
    wait: &WaitingCounts,
    paused: bool,
    now: Timestamp,
) -> Option<f64> {
    if paused {
        return None;
    }
    // The forecast is asked for the last of those that wait; the first one has the number 0.
    let Some(last) = wait.ready.checked_sub(1) else { return Some(0.0) };
    // Every limit has to let the last one start, so that the latest decides; without limits there is no estimate.
    let ends = limiter.outlook.iter().map(|limit| limit.starts_at(last, now)).max()?;
    Some((ends.since(now).as_secs_f64() * 1000.0).ceil() / 1000.0)
}

/// Takes the live figures of policies from queue and dispatcher.
pub(super) struct LiveFigures<'d> {
    queue: &'d Queue,
    dispatch: &'d DispatchHandle,
    clock: &'d Clock,
}

impl<'d> From<&'d Desk> for LiveFigures<'d> {
    fn from(desk: &'d Desk) -> Self {
        Self { queue: &desk.queue, dispatch: &desk.dispatch, clock: &desk.clock }
    }
}

impl LiveFigures<'_> {
    /// What waits under these policies, by key; with `only`, of these keys alone. There may be very many lanes: the
    /// pass is made where it stops no call.
    pub(super) async fn waits(
        &self,
        scopes: HashMap<PolicyId, Scope>,
        only: Option<HashSet<Box<str>>>,
    ) -> Result<Waits, Box<Problem>> {
        if scopes.is_empty() {
            return Ok(Waits(HashMap::new()));
        }
        let queue = self.queue.clone();
        let pass = move || Waits::count(&queue.counts(), &scopes, only.as_ref());
        tokio::task::spawn_blocking(pass).await.map_err(|_| {
            let detail = "the figures could not be taken";
            Box::new(Problem::of(codes::INTERNAL, detail))
        })
    }

    /// The figures of one policy over all its keys; `None` once the dispatcher has stopped.
    pub(super) async fn of(
        &self,
        policy: &PolicyId,
        waits: &Waits,
        going_on: &PlannerFigures,
        paused: bool,
    ) -> Option<FiguresBody> {
        let now = self.clock.now();
        let (mut keys, mut inflight, mut seen) = (0_u64, 0_u64, 0_u64);
        let mut drains_in_seconds = (!paused).then_some(0.0_f64);
        let mut limits: BTreeMap<&'static str, UsedBody> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.dispatch.limiters_of(policy, after.take(), LIMITERS_AT_ONCE).await?;
            for limiter in &page {
                let wait = waits.of(policy, &limiter.key);
                keys += 1;
                inflight += u64::from(limiter.inflight);
                seen += wait.ready;
                for counter in &limiter.counters {
                    let used = limits.entry(counter.kind.word()).or_default();
                    // The fullest key is shown: a sum over all keys could not be compared with the limit, which each
                    // has for itself.
                    used.used = used.used.max(counter.used);
                    used.window_peak = used.window_peak.max(counter.window_peak);
                    used.violations += counter.violations;
                }
                let drains = drains_in(limiter, &wait, paused, now);
                // One key without an estimate leaves the whole policy without one.
                drains_in_seconds = drains_in_seconds.zip(drains).map(|(longest, this)| longest.max(this));
            }
            match page.last() {
                // A full page may be the last one: the next is then empty and ends the loop.
                Some(last) if page.len() == LIMITERS_AT_ONCE => after = Some(last.key.to_string()),
                _ => break,
            }
        }
        let all = waits.all_of(policy);
        Some(FiguresBody {
            keys,
            inflight,
            waiting: all.ready,
            delayed: all.delayed,
            oldest: date(all.oldest),
            limits,
            held: held(policy, going_on),
            // What waits under a key whose limiter is not there yet is not known to take any time.
            drains_in_seconds: drains_in_seconds.filter(|_| seen >= all.ready),
        })
    }
}

/// The lanes of a policy that are held, by reason.
fn held(policy: &PolicyId, going_on: &PlannerFigures) -> Vec<HeldBody> {
    let is_its_own = |lane: &Lane| lane.policies().iter().any(|part| part.policy == *policy);
    by_reason(going_on.held.iter().filter(|(lane, _)| is_its_own(lane)).map(|(_, hold)| hold))
}

/// How many lanes are held for each reason, and when the first of them may go on.
pub(super) fn by_reason<'h>(holds: impl Iterator<Item = &'h Hold>) -> Vec<HeldBody> {
    let mut by_reason: BTreeMap<HoldReason, (u64, Option<Timestamp>)> = BTreeMap::new();
    for hold in holds {
        let (lanes, first) = by_reason.entry(hold.reason).or_default();
        *lanes += 1;
        *first = first.iter().copied().chain(hold.until).min();
    }
    let body = |(reason, (lanes, until)): (HoldReason, (u64, Option<Timestamp>))| HeldBody {
        reason: reason.word(),
        lanes,
        until: date(until),
    };
    by_reason.into_iter().map(body).collect()
}
