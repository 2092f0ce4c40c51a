//! The rules that every step must keep, checked against naive logs of what really started and ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::AttemptReport;
use crate::event::{Cause, EventId, Lane, LaneKey, Outcome, PolicyId, Priority, Settlement, Tries};
use crate::policy::Window;
use crate::telemetry::LaneSeries;

/// Starts are remembered so long: longer than every window.
const MEMORY: Duration = Duration::from_secs(61);
const MINUTE_MS: u64 = 60_000;

/// What a policy allows at the moment: starts per sliding window and per minute of the clock, calls in flight.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    pub(super) windows: Vec<Window>,
    pub(super) per_minute: Option<usize>,
    pub(super) slots: usize,
}

/// What the queue knows about an entry, told independently of the planner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) due_at: Option<Timestamp>,
    pub(super) expires_at: Timestamp,
}

#[derive(Default)]
pub(super) struct Checker {
    pub(super) allowed: BTreeMap<PolicyId, Allowed>,
    pub(super) starts: BTreeMap<PolicyId, VecDeque<Timestamp>>,
    /// Starts under a quota by minute.
    pub(super) under_quota: BTreeMap<(PolicyId, u64), usize>,
    pub(super) under_way: BTreeMap<EventId, Lane>,
    /// The newest entry per lane that has had its first attempt.
    pub(super) newest: BTreeMap<LaneKey, EventId>,
    pub(super) ever_started: BTreeSet<EventId>,
    /// Lanes whose endpoint wants to be left alone until then.
    pub(super) left_alone: BTreeMap<LaneKey, Timestamp>,
    /// Calls whose endpoint said that it is busy.
    pub(super) waits: usize,
    pub(super) started: usize,
}

impl Checker {
    pub(super) fn start(
        &mut self,
        lane: &Lane,
        id: EventId,
        facts: Facts,
        at: Timestamp,
    ) -> Result<(), String> {
        if self.under_way.contains_key(&id) {
            return Err(format!("{id} started twice at once"));
        }
        if facts.due_at.is_some_and(|due_at| at < due_at) {
            return Err(format!("{id} started at {at} before its due time {:?}", facts.due_at));
        }
        if at >= facts.expires_at {
            return Err(format!("{id} started at {at} after its expiry {}", facts.expires_at));
        }
        if self.left_alone.get(&endpoint_of(lane)).is_some_and(|until| at < *until) {
            return Err(format!("{id} started at {at} while its endpoint wants to be left alone"));
        }
        let first = self.ever_started.insert(id);
        if first
            && facts.due_at.is_none()
            && let Some(newest) = self.newest.insert(lane.key().clone(), id)
            && newest > id
        {
            return Err(format!("{id} started after the newer {newest} of lane {}", lane.key()));
        }
        for part in lane.policies() {
            self.start_under(&part.policy, at)?;
        }
        self.under_way.insert(id, lane.clone());
        self.started += 1;
        Ok(())
    }

    fn start_under(&mut self, policy: &PolicyId, at: Timestamp) -> Result<(), String> {
        let Some(allowed) = self.allowed.get(policy) else {
            return Err(format!("started under {policy}, which rules nothing"));
        };
        let starts = self.starts.entry(policy.clone()).or_default();
        starts.push_back(at);
        while starts.front().is_some_and(|start| *start + MEMORY <= at) {
            starts.pop_front();
        }
        for window in &allowed.windows {
            let recent = starts.iter().rev().take_while(|start| **start + window.length() > at).count();
            if window.calls().is_some_and(|calls| recent > calls.get() as usize) {
                return Err(format!("{recent} starts under {policy} in {:?} before {at}", window.length()));
            }
        }
        if let Some(most) = allowed.per_minute {
            // A quota counts from when it was brought in.
            let minute = (policy.clone(), at.as_millis() / MINUTE_MS);
            let used = self.under_quota.entry(minute).or_default();
            *used += 1;
            if *used > most {
                return Err(format!("{used} starts under {policy} in the minute of {at}"));
            }
        }
        let governs = |lane: &&Lane| lane.policies().iter().any(|part| part.policy == *policy);
        let calls = self.under_way.values().filter(governs).count() + 1;
        if calls > allowed.slots {
            return Err(format!("{calls} calls in flight under {policy}"));
        }
        Ok(())
    }

    pub(super) fn end(&mut self, id: EventId, outcome: &Outcome, now: Timestamp) {
        let asked = match outcome {
            Outcome::Wait(wait) | Outcome::Paced { next: wait, .. } => Some(wait.length()),
            Outcome::Retry { retry_after, .. } => *retry_after,
            Outcome::Delivered { .. }
            | Outcome::Reject { .. }
            | Outcome::Unprocessed { .. }
            | Outcome::Shortage { .. }
            | Outcome::TokenRefused { .. }
            | Outcome::Withheld => None,
        };
        self.waits += usize::from(matches!(outcome, Outcome::Wait(_)));
        let Some(lane) = self.under_way.remove(&id) else { return };
        let has_endpoint = !lane.policies().is_empty() || lane.key().host().is_some();
        if let Some(asked) = asked.filter(|_| has_endpoint) {
            let until = self.left_alone.entry(endpoint_of(&lane)).or_default();
            *until = (*until).max(now + asked);
        }
    }

    pub(super) fn crash(&mut self) {
        self.under_way.clear();
        // What endpoints asked for is not on record.
        self.left_alone.clear();
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// `tried`: the settlement follows an attempt. `over`: the lane's drain window is over.
    pub(super) fn settle(
        &self,
        id: EventId,
        facts: Option<Facts>,
        how: &Settlement,
        (tried, over): (bool, bool),
        now: Timestamp,
    ) -> Result<(), String> {
        let Some(facts) = facts else { return Err(format!("{id} settled without being handed out")) };
        let right = match how {
            Settlement::Expired => tried || facts.expires_at <= now,
            Settlement::ExpiredHeld => !tried && facts.expires_at <= now,
            Settlement::Drained => over && !tried,
            Settlement::Reschedule { due_at, .. } => tried && *due_at > now && *due_at < facts.expires_at,
            Settlement::Delivered | Settlement::Dead { .. } => tried,
            Settlement::Cancelled | Settlement::Lost => false,
        };
        if right {
            Ok(())
        } else {
            Err(format!("{id} settled wrongly at {now}: {how:?} {facts:?} {tried} {over}"))
        }
    }
}

/// What a lane has in common with those that differ from it in their priority alone.
fn endpoint_of(lane: &Lane) -> LaneKey {
    lane.key().with_priority(Priority::Normal).expect("shorter")
}

/// A failed attempt counts, unless it was a probe; one of a call that was not processed does not, but is a try; a wait,
/// a shortage and a call that was withheld are neither.
pub(super) fn add_up(before: Tries, attempt: Option<&AttemptReport>, how: &Settlement) -> Result<(), String> {
    let cause = attempt.and_then(|attempt| attempt.cause.as_ref());
    let is_right = match (how, cause) {
        (
            Settlement::Reschedule { tries, .. },
            Some(Cause::Busy(_) | Cause::Shortage(_) | Cause::Blocked),
        ) => *tries == before,
        (Settlement::Reschedule { tries, .. }, Some(Cause::Connect)) => *tries == before.and_free(),
        (Settlement::Reschedule { tries, .. }, _) => {
            [before.and_attempt(), before.and_free()].contains(tries)
        }
        (Settlement::Dead { attempts, .. }, Some(_)) => *attempts == before.attempts() + 1,
        _ => true,
    };
    if is_right { Ok(()) } else { Err(format!("{how:?} after {before:?} and {attempt:?}")) }
}

/// Doctored histories: each rule, broken once, is reported.
mod tests {
    use super::*;
    use crate::event::testing::API_LIMIT;
    use crate::event::{PolicyRef, Shortage, Wait};
    use crate::policy::testing;

    const AT: Timestamp = Timestamp::from_millis(10_000);

    fn checker(per_second: i64, slots: usize) -> (Checker, Lane) {
        let policy = testing::id("p");
        let lane = Lane::of(vec![PolicyRef { policy: policy.clone(), generation: 1 }]).expect("valid");
        let mut checker = Checker::default();
        let windows = vec![Window::new(per_second, 1000).expect("valid")];
        checker.allowed.insert(policy, Allowed { windows, per_minute: Some(4), slots });
        (checker, lane)
    }

    fn id(n: u128) -> EventId {
        EventId::new(1, n)
    }

    const PLAIN: Facts = Facts { due_at: None, expires_at: Timestamp::from_millis(20_000) };

    #[test]
    fn every_broken_rule_of_a_start_is_reported() {
        let (mut c, lane) = checker(2, 10);
        c.start(&lane, id(5), PLAIN, AT).expect("fine");
        assert!(c.start(&lane, id(5), PLAIN, AT).expect_err("twice").contains("twice"));
        assert!(c.start(&lane, id(4), PLAIN, AT).expect_err("order").contains("newer"));
        let early = Facts { due_at: Some(AT + Duration::from_nanos(1)), ..PLAIN };
        assert!(c.start(&lane, id(6), early, AT).expect_err("early").contains("before its due"));
        let late = Facts { expires_at: AT, ..PLAIN };
        assert!(c.start(&lane, id(7), late, AT).expect_err("late").contains("after its expiry"));

        let (mut c, lane) = checker(2, 10);
        let last = AT + Duration::from_nanos(999_999_999);
        c.start(&lane, id(1), PLAIN, AT).expect("fine");
        c.start(&lane, id(2), PLAIN, AT).expect("fine");
        assert!(c.start(&lane, id(3), PLAIN, last).expect_err("pace").contains("3 starts"));

        let (mut c, lane) = checker(10, 1);
        c.start(&lane, id(1), PLAIN, AT).expect("fine");
        assert!(c.start(&lane, id(2), PLAIN, AT).expect_err("slots").contains("2 calls"));

        let (mut c, lane) = checker(10, 10);
        (1..5).for_each(|n| c.start(&lane, id(n), PLAIN, AT).expect("fine"));
        assert!(c.start(&lane, id(5), PLAIN, last).expect_err("quota").contains("in the minute"));

        let (mut c, lane) = checker(10, 1);
        let wait = Wait::new(API_LIMIT, Duration::from_secs(2));
        c.start(&lane, id(1), PLAIN, AT).expect("fine");
        c.end(id(1), &Outcome::Wait(wait), AT);
        let early = AT + Duration::from_nanos(1_999_999_999);
        assert!(c.start(&lane, id(2), PLAIN, early).expect_err("wait").contains("left alone"));
        c.start(&lane, id(2), PLAIN, AT + Duration::from_secs(2)).expect("the wait is over");

        let (mut c, lane) = checker(10, 1);
        c.allowed.clear();
        assert!(c.start(&lane, id(1), PLAIN, AT).expect_err("unknown").contains("rules nothing"));
    }

    #[test]
    fn every_wrong_settlement_is_reported() {
        let (c, _) = checker(1, 1);
        for (how, tried, over) in [
            (Settlement::Expired, false, true),
            (Settlement::ExpiredHeld, true, true),
            (Settlement::Drained, false, false),
            (Settlement::Drained, true, true),
            (Settlement::Delivered, false, false),
            (Settlement::Cancelled, true, true),
            (Settlement::Reschedule { due_at: AT, tries: Tries::of(1), doubted_at: None }, true, false),
            (
                Settlement::Reschedule { due_at: PLAIN.expires_at, tries: Tries::of(1), doubted_at: None },
                true,
                false,
            ),
        ] {
            assert!(c.settle(id(1), Some(PLAIN), &how, (tried, over), AT).is_err(), "{how:?}");
        }
        let before = Tries::of(3);
        for (cause, right) in [
            (Cause::Busy(API_LIMIT), vec![before]),
            (Cause::Shortage(Shortage::Ports), vec![before]),
            (Cause::Connect, vec![before.and_free()]),
            (Cause::Timeout, vec![before.and_free(), before.and_attempt()]),
        ] {
            let series = LaneSeries::named(&LaneKey::new("-").expect("short"));
            let (is_ambiguous, asks_too_much, is_halved) = (false, false, false);
            let took = Duration::ZERO;
            let facts = crate::dispatch::follows::AttemptFacts::default();
            let attempt = AttemptReport {
                cause: Some(cause),
                is_ambiguous,
                took,
                series,
                asks_too_much,
                facts,
                is_halved,
            };
            for tries in [before, before.and_free(), before.and_attempt()] {
                let how = Settlement::Reschedule { due_at: AT, tries, doubted_at: None };
                let found = add_up(before, Some(&attempt), &how);
                assert_eq!(found.is_ok(), right.contains(&tries), "{attempt:?} {tries:?}");
            }
            let dead = |attempts| Settlement::Dead { reason: String::new(), attempts };
            assert!(add_up(before, Some(&attempt), &dead(3)).is_err());
            assert!(add_up(before, Some(&attempt), &dead(4)).is_ok());
        }
        assert!(c.settle(id(1), None, &Settlement::Delivered, (true, false), AT).is_err());
        assert!(c.settle(id(1), Some(PLAIN), &Settlement::Delivered, (true, false), AT).is_ok());
    }
}
