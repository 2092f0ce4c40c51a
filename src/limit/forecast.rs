//! When calls to come will start at the present limits: estimates, made in constant time for each call.
//!
//! An estimate knows how many calls wait before this one in its lane and, from a snapshot that is a second or so old,
//! how many calls and lanes share each limit. Lanes take turns, so of each other lane as many calls go first as of
//! its own. It does not know how long calls will take, nor which of them will fail.
//!
//! Must not know: how limits count, where waiting calls are.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Lane, LaneKey, PolicyId};
use crate::limit::limiter::Kind;
use crate::policy::{Limits, Pace, Period, Quota, Runtime, RuntimePolicy, Window};

/// What one limit means for the calls to come: `room` of them start at once, then `portion` every `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitOutlook {
    kind: Kind,
    room: u64,
    first_at: Timestamp,
    portion: u64,
    every: Duration,
}

/// What is known of all limits and lanes at one moment.
#[derive(Debug, Default)]
pub struct Outlooks {
    limiters: HashMap<PolicyId, HashMap<Box<str>, Shared>>,
    held: HashMap<LaneKey, Option<Timestamp>>,
}

#[derive(Debug, Default)]
struct Shared {
    limits: Vec<LimitOutlook>,
    waiting: u64,
    lanes: u64,
}

/// What is expected of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// When it would start; `None` while it is held without an end.
    pub starts_at: Option<Timestamp>,
    /// Whether it would outlive its time before.
    pub expires_first: bool,
}

impl LimitOutlook {
    pub(super) fn pace(pace: Pace, ready_at: Timestamp) -> Self {
        let every = Duration::from_secs_f64(1.0 / pace.starts_per_second());
        Self { kind: Kind::Pace, room: 0, first_at: ready_at, portion: 1, every }
    }

    pub(super) fn window(window: Window, used: u32, ready_at: Timestamp) -> Self {
        let calls = window.calls().get();
        let room = u64::from(calls.saturating_sub(used));
        Self {
            kind: Kind::Window,
            room,
            first_at: ready_at,
            portion: u64::from(calls),
            every: window.length(),
        }
    }

    pub(super) fn quota(quota: Quota, used: u32, end: Timestamp) -> Self {
        let calls = quota.calls.get();
        let every = Duration::from_secs(match quota.per {
            Period::Minute => 60,
            Period::Hour => 3600,
            Period::Day => 86_400,
            Period::Month => 30 * 86_400,
        });
        let room = u64::from(calls.saturating_sub(used));
        Self { kind: Kind::Quota, room, first_at: end, portion: u64::from(calls), every }
    }

    /// Of a limiter that has nothing to remember.
    fn fresh(limits: &Limits, now: Timestamp) -> Vec<Self> {
        let pace = limits.pace.map(|pace| Self::pace(pace, now));
        let window = limits.window.map(|window| Self::window(window, 0, now));
        let quota = limits.quota.map(|quota| Self::quota(quota, 0, end_of(quota.per, now)));
        pace.into_iter().chain(window).chain(quota).collect()
    }

    /// Which limit.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// When a call starts that has `ahead` others before it.
    #[must_use]
    pub fn starts_at(&self, ahead: u64, now: Timestamp) -> Timestamp {
        if ahead < self.room {
            return now;
        }
        // A window that has room now refills when what goes now has left it.
        let refills_at =
            if self.room > 0 && self.kind == Kind::Window { now + self.every } else { self.first_at };
        let portions = u32::try_from((ahead - self.room) / self.portion).unwrap_or(u32::MAX);
        refills_at.max(now) + self.every.saturating_mul(portions)
    }
}

impl Outlooks {
    /// Learns of a limiter.
    pub fn add_limiter(&mut self, policy: &PolicyId, key: &str, limits: Vec<LimitOutlook>) {
        self.shared(policy, key).limits = limits;
    }

    /// Learns of a lane with so many calls that wait for their turn.
    pub fn add_lane(&mut self, lane: &Lane, waiting: u64, runtime: &Runtime) {
        for part in lane.policies() {
            let scope = runtime.get(&part.policy).map(|policy| policy.scope.labels()).unwrap_or_default();
            let shared = self.shared(&part.policy, &lane.scope_key(scope));
            shared.waiting += waiting;
            shared.lanes += 1;
        }
    }

    /// Learns of a lane that is held until then, or without an end.
    pub fn add_hold(&mut self, lane: LaneKey, until: Option<Timestamp>) {
        self.held.insert(lane, until);
    }

    /// What is expected of a call that has `ahead` others before it in its lane and may start at `due_at`.
    #[must_use]
    pub fn forecast(
        &self,
        lane: &Lane,
        runtime: &Runtime,
        ahead: u64,
        (due_at, expires_at): (Option<Timestamp>, Timestamp),
        now: Timestamp,
    ) -> Forecast {
        let mut starts_at = Some(due_at.map_or(now, |due_at| due_at.max(now)));
        let not_before =
            |starts_at: Option<Timestamp>, other: Option<Timestamp>| Some(starts_at?.max(other?));
        if let Some(until) = self.held.get(lane.key()) {
            starts_at = not_before(starts_at, *until);
        }
        for policy in lane.policies().iter().filter_map(|part| runtime.get(&part.policy)) {
            if let Some(pause) = &policy.pause {
                starts_at = not_before(starts_at, pause.until);
            }
            starts_at = not_before(starts_at, Some(self.under(policy, lane, ahead, now)));
        }
        Forecast { starts_at, expires_first: starts_at.is_none_or(|at| at >= expires_at) }
    }

    fn under(&self, policy: &RuntimePolicy, lane: &Lane, ahead: u64, now: Timestamp) -> Timestamp {
        let key = lane.scope_key(policy.scope.labels());
        let latest = |limits: &[LimitOutlook], ahead: u64| {
            limits.iter().map(|limit| limit.starts_at(ahead, now)).max().unwrap_or(now)
        };
        match self.limiters.get(&policy.id).and_then(|keys| keys.get(&key)) {
            Some(shared) => {
                let in_turn =
                    ahead.saturating_mul(shared.lanes.max(1)).min(shared.waiting.saturating_add(ahead));
                let limits = &shared.limits;
                let fresh =
                    if limits.is_empty() { LimitOutlook::fresh(&policy.limits, now) } else { Vec::new() };
                latest(if limits.is_empty() { &fresh } else { limits }, in_turn.max(ahead))
            }
            None => latest(&LimitOutlook::fresh(&policy.limits, now), ahead),
        }
    }

    fn shared(&mut self, policy: &PolicyId, key: &str) -> &mut Shared {
        self.limiters.entry(policy.clone()).or_default().entry(key.into()).or_default()
    }
}

fn end_of(per: Period, now: Timestamp) -> Timestamp {
    crate::limit::quota::Span::of(per, now).end
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn after(seconds: f64) -> Timestamp {
        NOW + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_pace_starts_one_after_the_other() {
        let limit = LimitOutlook::pace(Pace::per_second(2.0).expect("valid"), NOW);
        assert_eq!([limit.starts_at(0, NOW), limit.starts_at(10, NOW)], [NOW, after(5.0)]);
        let later = LimitOutlook::pace(Pace::per_second(2.0).expect("valid"), after(3.0));
        assert_eq!(later.starts_at(2, NOW), after(4.0));
    }

    #[test]
    fn windows_and_quotas_start_in_portions() {
        let window = Window::new(10, 1000).expect("valid");
        let limit = LimitOutlook::window(window, 4, NOW);
        assert_eq!(
            [5, 6, 15, 16].map(|ahead| limit.starts_at(ahead, NOW)),
            [NOW, after(1.0), after(1.0), after(2.0)]
        );
        let full = LimitOutlook::window(window, 10, after(0.3));
        assert_eq!([0, 10].map(|ahead| full.starts_at(ahead, NOW)), [after(0.3), after(1.3)]);
        let quota = LimitOutlook::quota(Quota::new(5, Period::Minute).expect("valid"), 3, after(20.0));
        assert_eq!([1, 2, 7].map(|ahead| quota.starts_at(ahead, NOW)), [NOW, after(20.0), after(80.0)]);
    }
}
