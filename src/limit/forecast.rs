//! When calls to come will start at the present limits: estimates, made in constant time for each call.
//!
//! An estimate knows how many calls wait before this one in its lane and, from a snapshot that is a second or so old,
//! how many calls wait in lanes that differ from it in their host alone, and how many calls and groups of such lanes
//! share each limit. Calls of one group go in the order in which they came. Groups take turns, so of each other group
//! of its priority as many calls go first as of its own, and of the other priorities as many as their weights allow. It
//! does not know how long calls will take, nor which of them will fail.
//!
//! Must not know: how limits count, where waiting calls are.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Lane, LaneKey, PolicyId, Priority};
use crate::limit::LimitKind;
use crate::limit::meter;
use crate::policy::{Limits, Runtime};

/// What one limit means for the calls to come: `room` of them start at once, then `portion` every `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitOutlook {
    pub(super) kind: LimitKind,
    pub(super) room: u64,
    pub(super) first_at: Timestamp,
    pub(super) portion: u64,
    pub(super) every: Duration,
    /// What starts now makes room again when it has left, not at a moment that is known before.
    pub(super) slides: bool,
}

/// What is known of all limits and lanes at one moment.
#[derive(Debug, Default)]
pub(crate) struct Outlooks {
    limiters: HashMap<PolicyId, HashMap<Box<str>, SharedOutlooks>>,
    held: HashMap<LaneKey, Option<Timestamp>>,
    /// Lanes that an operator has stopped: until then, or until somebody ends it.
    stopped: HashMap<LaneKey, Option<Timestamp>>,
    /// Calls that wait in lanes which differ in their host alone, by the rest of their keys, which names their priority.
    groups: HashMap<Box<str>, u64>,
    /// Those of them whose keys name a host, lane by lane.
    of_hosts: HashMap<LaneKey, u64>,
}

#[derive(Debug, Default)]
struct SharedOutlooks {
    limits: Vec<LimitOutlook>,
    /// For each priority, in the order of [`Priority::ALL`].
    waiting: [u64; Priority::ALL.len()],
    groups: [u64; Priority::ALL.len()],
}

/// What is known of one lane at one moment.
#[derive(Debug)]
pub(crate) struct LaneOutlook {
    /// Held until then, or without an end.
    held: Option<Option<Timestamp>>,
    /// The policy whose pause that is, if it is one.
    paused_by: Option<PolicyId>,
    /// An emergency stop, until then or without an end: no event is doomed by it.
    stopped: Option<Option<Timestamp>>,
    /// Calls of its group that wait in other lanes.
    beside: u64,
    limits: Vec<LimitShare>,
    now: Timestamp,
}

/// A limit and who shares it.
#[derive(Debug)]
struct LimitShare {
    policy: PolicyId,
    limit: LimitOutlook,
    priority: Priority,
    /// Groups of this priority.
    groups: u64,
    /// Calls that wait, for each priority.
    waiting: [u64; Priority::ALL.len()],
}

/// What is expected of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forecast {
    /// When it would start; `None` while it is held without an end.
    pub starts_at: Option<Timestamp>,
    /// Whether it would outlive its time before.
    pub expires_first: bool,
}

impl LimitOutlook {
    /// When a call starts that has `ahead` others before it.
    #[must_use]
    pub fn starts_at(&self, ahead: u64, now: Timestamp) -> Timestamp {
        if ahead < self.room {
            return now;
        }
        // A window that has room now refills when what goes now has left it.
        let refills_at = if self.room > 0 && self.slides { now + self.every } else { self.first_at };
        // More portions than `u32` holds lie beyond any time that matters; the product saturates as well.
        let portions = u32::try_from((ahead - self.room) / self.portion).unwrap_or(u32::MAX);
        refills_at.max(now) + self.every.saturating_mul(portions)
    }
}

impl Outlooks {
    /// Adds the outlook of one limiter; the lanes that share it are added by [`Outlooks::add_lane`].
    pub(crate) fn add_limiter(&mut self, policy: &PolicyId, key: &str, limits: Vec<LimitOutlook>) {
        self.shared(policy, key).limits = limits;
    }

    /// Adds a lane with this many calls that wait for their turn. A lane whose endpoint takes no calls at present is
    /// not to be added: nobody waits for those.
    pub(crate) fn add_lane(&mut self, lane: &Lane, waiting: u64, runtime: &Runtime) {
        let group = lane.key().without_host();
        // Lanes that differ in their host alone are one group and take one turn: only the first of them adds to the
        // groups that share a limit.
        let is_first = !self.groups.contains_key(group);
        *self.groups.entry(group.into()).or_default() += waiting;
        if group != lane.key().as_str() {
            self.of_hosts.insert(lane.key().clone(), waiting);
        }
        for part in lane.policies() {
            let scope =
                runtime.get(&part.policy).map(|policy| policy.spec.scope.labels()).unwrap_or_default();
            let shared = self.shared(&part.policy, &lane.scope_key(scope));
            let place = lane.priority().place();
            shared.waiting.get_mut(place).into_iter().for_each(|sum| *sum += waiting);
            shared.groups.get_mut(place).into_iter().for_each(|sum| *sum += u64::from(is_first));
        }
    }

    /// Learns of a lane that is held until then, or without an end.
    pub(crate) fn add_hold(&mut self, lane: LaneKey, until: Option<Timestamp>) {
        self.held.insert(lane, until);
    }

    /// Learns of a lane that an emergency stop holds until then, or without an end.
    pub(crate) fn add_stop(&mut self, lane: LaneKey, until: Option<Timestamp>) {
        self.stopped.insert(lane, until);
    }

    /// What is known of one lane: for the forecasts of many calls.
    #[must_use]
    pub(crate) fn of_lane(&self, lane: &Lane, runtime: &Runtime, now: Timestamp) -> LaneOutlook {
        let mut held = self.held.get(lane.key()).copied();
        let (mut paused_by, mut limits, priority) = (None, Vec::new(), lane.priority());
        for policy in lane.policies().iter().filter_map(|part| runtime.get(&part.policy)) {
            if let Some(pause) = &policy.pause {
                // Of a hold and a pause the one that lasts longer counts; without an end is longest.
                let end = |until: Option<Timestamp>| until.unwrap_or(Timestamp::MAX);
                if held.is_none_or(|held| end(pause.until) >= end(held)) {
                    (held, paused_by) = (Some(pause.until), Some(policy.id.clone()));
                }
            }
            let key = lane.scope_key(policy.spec.scope.labels());
            let shared = self.limiters.get(&policy.id).and_then(|keys| keys.get(&key));
            // Label values that nobody waits for yet are shared by this lane alone.
            let groups = shared.and_then(|shared| shared.groups.get(priority.place())).copied();
            let (groups, waiting) =
                (groups.unwrap_or(0).max(1), shared.map_or_else(Default::default, |shared| shared.waiting));
            // No limiter was looked at: its limits are taken for unused.
            let known = shared.map(|shared| &shared.limits).filter(|limits| !limits.is_empty());
            let of_policy = known.cloned().unwrap_or_else(|| fresh(policy.spec.limits_of(&key), now));
            let policy = &policy.id;
            let share = |limit| LimitShare { policy: policy.clone(), limit, priority, groups, waiting };
            limits.extend(of_policy.into_iter().map(share));
        }
        let stopped = self.stopped.get(lane.key()).copied();
        LaneOutlook { held, paused_by, stopped, beside: self.beside(lane.key()), limits, now }
    }

    /// Calls that wait in the other lanes of a lane's group; none where the lane is for all hosts.
    fn beside(&self, lane: &LaneKey) -> u64 {
        let group = lane.without_host();
        if group == lane.as_str() {
            return 0;
        }
        let own = self.of_hosts.get(lane).copied().unwrap_or(0);
        self.groups.get(group).map_or(0, |all| all.saturating_sub(own))
    }

    fn shared(&mut self, policy: &PolicyId, key: &str) -> &mut SharedOutlooks {
        self.limiters.entry(policy.clone()).or_default().entry(key.into()).or_default()
    }
}

impl Forecast {
    /// The same of a call that an emergency stop holds back until then, or without an end.
    #[must_use]
    pub(crate) fn stopped(self, until: Option<Timestamp>) -> Self {
        let starts_at = self.starts_at.zip(until).map(|(at, until)| at.max(until));
        Self { starts_at, ..self }
    }
}

impl LaneOutlook {
    /// What is expected of a call that has `ahead` others before it in its lane and may start at `due_at`.
    #[must_use]
    pub(crate) fn forecast(&self, ahead: u64, due_at: Option<Timestamp>, expires_at: Timestamp) -> Forecast {
        let ahead = ahead.saturating_add(self.beside);
        let starts_at = match self.held {
            Some(None) => None,
            held => {
                let limits = self.limits.iter().map(|share| share.starts_at(ahead, self.now));
                held.flatten().into_iter().chain(due_at).chain(limits).chain([self.now]).max()
            }
        };
        // Stopped events go on being taken, whatever becomes of those that are doomed.
        let expires_first = starts_at.is_none_or(|at| at >= expires_at);
        let forecast = Forecast { starts_at, expires_first };
        self.stopped.map_or(forecast, |until| forecast.stopped(until))
    }

    /// The policy that such a call waits for longest, with the kind of its limit; without one, its pause. `None` when that
    /// is no policy's doing.
    #[must_use]
    pub(crate) fn slowest(&self, ahead: u64) -> Option<(&PolicyId, Option<LimitKind>)> {
        let ahead = ahead.saturating_add(self.beside);
        let limits = self
            .limits
            .iter()
            .map(|share| (share.starts_at(ahead, self.now), Some(&share.policy), Some(share.limit.kind)));
        let held = self.held.map(|until| (until.unwrap_or(Timestamp::MAX), self.paused_by.as_ref(), None));
        // Of equals the hold: while it lasts no limit is asked.
        let (_, policy, kind) = limits.chain(held).max_by_key(|(at, ..)| *at)?;
        Some((policy?, kind))
    }
}

impl LimitShare {
    fn starts_at(&self, ahead: u64, now: Timestamp) -> Timestamp {
        let waiting = |priority: Priority| self.waiting.get(priority.place()).copied().unwrap_or(0);
        // Of each other group as many go first as of its own, if it has as many.
        let of_priority =
            ahead.saturating_mul(self.groups - 1).min(waiting(self.priority)).saturating_add(ahead);
        let others = Priority::ALL.into_iter().filter(|priority| *priority != self.priority);
        let others = others.map(|priority| {
            let allowed = of_priority.saturating_mul(priority.weight()) / self.priority.weight();
            allowed.min(waiting(priority))
        });
        self.limit.starts_at(others.fold(of_priority, u64::saturating_add), now)
    }
}

/// Of a limiter that has nothing to remember.
fn fresh(limits: &Limits, now: Timestamp) -> Vec<LimitOutlook> {
    limits.metered().filter_map(|limit| meter::fresh_outlook(limit, now)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::meter::{pace, quota, window};
    use crate::policy::{Pace, Period, Quota, Window};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn after(seconds: f64) -> Timestamp {
        NOW + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_pace_starts_one_after_the_other() {
        let limit = pace::outlook(Pace::per_second(2.0).expect("valid"), NOW);
        assert_eq!([limit.starts_at(0, NOW), limit.starts_at(10, NOW)], [NOW, after(5.0)]);
        let later = pace::outlook(Pace::per_second(2.0).expect("valid"), after(3.0));
        assert_eq!(later.starts_at(2, NOW), after(4.0));
    }

    #[test]
    fn windows_and_quotas_start_in_portions() {
        let window = Window::new(10, 1000).expect("valid");
        let limit = window::outlook(window, 4, NOW).expect("a limit");
        assert_eq!(
            [5, 6, 15, 16].map(|ahead| limit.starts_at(ahead, NOW)),
            [NOW, after(1.0), after(1.0), after(2.0)]
        );
        let full = window::outlook(window, 10, after(0.3)).expect("a limit");
        assert_eq!([0, 10].map(|ahead| full.starts_at(ahead, NOW)), [after(0.3), after(1.3)]);
        let quota = quota::outlook(Quota::new(5, Period::Minute).expect("valid"), 3, after(20.0));
        let quota = quota.expect("a limit");
        assert_eq!([1, 2, 7].map(|ahead| quota.starts_at(ahead, NOW)), [NOW, after(20.0), after(80.0)]);
    }

    #[test]
    fn a_lane_waits_for_the_slowest_of_its_limits_and_for_its_turn() {
        let pace = |per_second| pace::outlook(Pace::per_second(per_second).expect("valid"), NOW);
        let policy = crate::policy::testing::id;
        let alone = LimitShare {
            policy: policy("alone"),
            limit: pace(10.0),
            priority: Priority::Normal,
            groups: 1,
            waiting: [0, 1000, 0],
        };
        let shared = LimitShare {
            policy: policy("shared"),
            limit: pace(100.0),
            priority: Priority::Normal,
            groups: 50,
            waiting: [0, 1000, 0],
        };
        let limits = vec![alone, shared];
        let outlook = LaneOutlook { held: None, paused_by: None, stopped: None, beside: 0, limits, now: NOW };
        let forecast = |ahead| outlook.forecast(ahead, None, after(100.0));
        assert_eq!(forecast(0), Forecast { starts_at: Some(NOW), expires_first: false });
        assert_eq!(forecast(10).starts_at, Some(after(5.0)), "ten of each of fifty lanes at 100/s");
        assert_eq!(forecast(500).starts_at, Some(after(50.0)), "the others have no more than 1000 in all");
        assert_eq!(forecast(1001), Forecast { starts_at: Some(after(100.1)), expires_first: true });
        assert_eq!(outlook.forecast(0, Some(after(7.0)), after(8.0)).starts_at, Some(after(7.0)));
        let slowest = |ahead| outlook.slowest(ahead).map(|(policy, kind)| (policy.as_str(), kind));
        assert_eq!(slowest(10), Some(("shared", Some(LimitKind::Pace))));
        assert_eq!(slowest(1001), Some(("alone", Some(LimitKind::Pace))));
    }

    #[test]
    fn a_call_waits_for_those_of_other_hosts_under_the_same_limits_that_came_before() {
        let runtime = Runtime::build(&crate::policy::Book::default()).expect("small");
        let part = crate::event::PolicyRef { policy: crate::policy::testing::id("p"), generation: 1 };
        let governed = Lane::of(vec![part]).expect("valid");
        let (one, other) = (governed.at("one.org:443"), governed.at("other.org:443"));
        let mut outlooks = Outlooks::default();
        outlooks.add_lane(&one, 1_000, &runtime);
        outlooks.add_lane(&other, 10, &runtime);
        let beside = |lane: &Lane| outlooks.of_lane(lane, &runtime, NOW).beside;
        assert_eq!([&one, &other, &governed.at("new.org:443"), &governed].map(beside), [10, 1_000, 1_010, 0]);
        let part = PolicyId::parse("p").expect("valid");
        assert_eq!(
            outlooks.limiters.get(&part).and_then(|keys| keys.get("")).map(|shared| shared.groups),
            Some([0, 1, 0])
        );
        let limits = vec![LimitShare {
            policy: part,
            limit: pace::outlook(Pace::per_second(10.0).expect("valid"), NOW),
            priority: Priority::Normal,
            groups: 1,
            waiting: [0, 1_010, 0],
        }];
        let outlook =
            LaneOutlook { held: None, paused_by: None, stopped: None, beside: 1_000, limits, now: NOW };
        assert_eq!(outlook.forecast(10, None, after(500.0)).starts_at, Some(after(101.0)));
    }

    #[test]
    fn calls_of_other_priorities_go_first_as_their_weights_allow() {
        let share = |priority, waiting| LimitShare {
            policy: crate::policy::testing::id("p"),
            limit: pace::outlook(Pace::per_second(1.0).expect("valid"), NOW),
            priority,
            groups: 1,
            waiting,
        };
        let starts_at = |priority, waiting| share(priority, waiting).starts_at(8, NOW);
        assert_eq!(starts_at(Priority::High, [8, 0, 0]), after(8.0), "the control: nobody else waits");
        assert_eq!(starts_at(Priority::High, [8, 100, 100]), after(8.0 + 4.0 + 1.0));
        assert_eq!(starts_at(Priority::Low, [100, 3, 8]), after(8.0 + 64.0 + 3.0));
    }

    #[test]
    fn holds_put_everything_off() {
        let outlook = |held: Option<Option<Timestamp>>| {
            let paused_by = held.map(|_| crate::policy::testing::id("paused"));
            LaneOutlook { held, paused_by, stopped: None, beside: 0, limits: Vec::new(), now: NOW }
        };
        let forecast = |held| outlook(held).forecast(3, None, after(60.0));
        assert_eq!(forecast(None), Forecast { starts_at: Some(NOW), expires_first: false });
        assert_eq!(forecast(Some(Some(after(9.0)))).starts_at, Some(after(9.0)));
        assert_eq!(forecast(Some(None)), Forecast { starts_at: None, expires_first: true });
        let stopped = |until| LaneOutlook { stopped: Some(until), ..outlook(None) };
        let forecast = |until| stopped(until).forecast(3, None, after(60.0));
        assert_eq!(forecast(None), Forecast { starts_at: None, expires_first: false });
        assert_eq!(
            forecast(Some(after(90.0))),
            Forecast { starts_at: Some(after(90.0)), expires_first: false }
        );
        let paused = outlook(Some(None));
        assert_eq!(paused.slowest(3).map(|(policy, kind)| (policy.as_str(), kind)), Some(("paused", None)));
        assert_eq!(outlook(None).slowest(3), None);
    }
}
