//! Events that may end the process: which of them may start, and how many at a time.
//!
//! - An event that was under way in two ends of a process in a row is suspected. Suspects start one at a time, or some more
//!   when there are very many, so that a further end leaves one under suspicion, or few. Of few the one is blamed.
//! - One whose call ends, or has lasted for [`TRIAL`], is suspected no longer: the process lives.
//! - One that is set aside does not start again by itself.
//!
//! In a process that follows an orderly stop there are none, and nothing is looked up.
//!
//! Must not know: where marks are kept.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Entry, EventId, Reason, Settlement};
use crate::store::FlightsFound;

/// For so many suspects one more of them starts at a time.
const FOR_ONE_MORE: usize = 128;
/// From so many ends on in which its call was under way an event is suspected.
const SUSPECTED_FROM: u8 = 2;
/// Of more suspects than these an end blames nobody yet, it only makes them fewer: each is under way for a moment when it is
/// tried, so that a kill from outside would hit one of many easily.
const FEW: usize = 16;
/// For so long a call is under suspicion: what ends a process does it when a call begins, or is answered.
pub(super) const TRIAL: Duration = Duration::from_secs(2);
/// How long a suspect waits at least for those before it.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
/// What each suspect adds to the longest such wait.
const WAIT_FOR_EACH: Duration = Duration::from_millis(100);
/// The longest there is.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many events are remembered at most that had nothing to do with the first end.
const CLEARED_MAX: usize = 65_536;

/// What holds an event back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Others are tried first.
    Waits,
    /// It is not tried any more.
    SetAside,
}

/// The suspects of one process.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// In how many ends in a row they were under way.
    ends: HashMap<EventId, u8>,
    /// Calls under suspicion, with their starts.
    under_way: HashMap<EventId, Timestamp>,
    at_a_time: usize,
    are_many: bool,
    set_aside: HashSet<EventId>,
    /// Events that are older than this may have been under way in an end before which nothing was marked.
    any_before: Timestamp,
    /// Those of them whose calls have ended since.
    cleared: HashSet<EventId>,
}

impl Suspects {
    /// Those that the process before has left, at the start of this one.
    pub(super) fn new(found: &FlightsFound, now: Timestamp) -> Self {
        let ends: HashMap<EventId, u8> = found.under_way.iter().copied().collect();
        let suspected = ends.values().filter(|ends| **ends >= SUSPECTED_FROM).count();
        Self {
            ends,
            under_way: HashMap::new(),
            at_a_time: (suspected / FOR_ONE_MORE).max(1),
            are_many: suspected > FEW,
            set_aside: found.set_aside.iter().copied().collect(),
            any_before: if found.any_was { now } else { Timestamp::ZERO },
            cleared: HashSet::new(),
        }
    }

    /// What holds an event back; `None` where nothing does.
    pub(super) fn ask(&self, id: EventId, now: Timestamp) -> Option<Suspicion> {
        if !self.set_aside.is_empty() && self.set_aside.contains(&id) {
            return Some(Suspicion::SetAside);
        }
        if self.ends.is_empty() || !self.is_suspected(id) {
            return None;
        }
        let on_trial = self.under_way.values().filter(|started| now.since(**started) < TRIAL).count();
        (on_trial >= self.at_a_time).then_some(Suspicion::Waits)
    }

    /// Nobody is suspected, nor may be: no table is looked into.
    fn is_calm(&self) -> bool {
        self.ends.is_empty() && self.any_before == Timestamp::ZERO
    }

    fn is_suspected(&self, id: EventId) -> bool {
        self.ends.get(&id).is_some_and(|ends| *ends >= SUSPECTED_FROM)
    }

    /// The call of an event starts. Returns in how many ends in a row it was under way, or may have been.
    pub(super) fn started(&mut self, id: EventId, now: Timestamp) -> u8 {
        if self.is_calm() {
            return 0;
        }
        if !self.ends.is_empty() && self.is_suspected(id) {
            self.under_way.insert(id, now);
        }
        let may_have_been = id.accepted_at() < self.any_before
            && self.cleared.len() < CLEARED_MAX
            && !self.cleared.contains(&id);
        let ends = self.ends.get(&id).copied().unwrap_or(u8::from(may_have_been));
        if self.are_many { ends.min(SUSPECTED_FROM - 1) } else { ends }
    }

    /// The call of an event has ended, and the process has not.
    pub(super) fn ended(&mut self, id: EventId) {
        if self.is_calm() {
            return;
        }
        self.under_way.remove(&id);
        self.ends.remove(&id);
        if id.accepted_at() < self.any_before && self.cleared.len() < CLEARED_MAX {
            self.cleared.insert(id);
        }
    }

    /// The process has lasted: nobody is suspected any more.
    pub(super) fn calm(&mut self) {
        let set_aside = std::mem::take(&mut self.set_aside);
        *self = Self { set_aside, at_a_time: 1, ..Self::default() };
    }

    /// What becomes of an event that is held back; `share` lies in `0.0..1.0`.
    pub(super) fn settle(
        &self,
        why: Suspicion,
        entry: &Entry,
        share: f64,
        now: Timestamp,
        certain: bool,
    ) -> Settlement {
        match why {
            Suspicion::SetAside => {
                let attempts = entry.tries.and_attempt().attempts();
                Settlement::Dead { reason: Reason::EndedProcess.word(), attempts }
            }
            Suspicion::Waits => {
                let suspects = u32::try_from(self.ends.len() / self.at_a_time).unwrap_or(u32::MAX);
                let longest = WAIT_FOR_EACH.saturating_mul(suspects).min(LONGEST_WAIT);
                let wait = SHORTEST_WAIT + longest.mul_f64(share);
                let before = entry.event.expires_at.as_millis().saturating_sub(2);
                let due_ms = (now + wait).ceil_millis().min(before).max(now.as_millis() + 1);
                let doubted_at = (!certain).then_some(now);
                Settlement::Reschedule {
                    due_at: Timestamp::from_millis(due_ms),
                    tries: entry.tries,
                    doubted_at,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EventId {
        EventId::new(ms, 1)
    }

    fn found(under_way: &[(u64, u8)]) -> FlightsFound {
        let under_way = under_way.iter().map(|(ms, ends)| (id(*ms), *ends)).collect();
        FlightsFound { marks: true, under_way, ..FlightsFound::default() }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn suspects_start_one_at_a_time_and_others_freely() {
        let mut suspects = Suspects::new(&found(&[(1, 2), (2, 2), (3, 1)]), NOW);
        assert_eq!(suspects.started(id(1), NOW), 2);
        assert_eq!(suspects.ask(id(2), NOW), Some(Suspicion::Waits));
        assert_eq!((suspects.ask(id(3), NOW), suspects.ask(id(4), NOW)), (None, None));
        assert_eq!((suspects.started(id(3), NOW), suspects.started(id(4), NOW)), (1, 0));
        assert_eq!(suspects.ask(id(2), NOW + TRIAL), None, "the process has survived the trial");
        suspects.ended(id(1));
        assert_eq!((suspects.ask(id(2), NOW), suspects.started(id(2), NOW)), (None, 2));
        assert_eq!(suspects.ask(id(1), NOW), None, "its next call is like any other");
        assert_eq!(suspects.started(id(1), NOW), 0);
        suspects.calm();
        assert_eq!((suspects.ask(id(2), NOW), suspects.started(id(2), NOW)), (None, 0));
    }

    #[test]
    fn an_end_of_many_suspects_makes_them_fewer_and_blames_nobody() {
        let suspects = |count: u64| {
            let all: Vec<(u64, u8)> = (0..count).map(|ms| (ms, 2)).collect();
            Suspects::new(&found(&all), NOW)
        };
        assert_eq!(
            suspects(FEW as u64 + 1).started(id(1), NOW),
            1,
            "with the end to come it is suspected once more"
        );
        assert_eq!(suspects(FEW as u64).started(id(1), NOW), 2, "with the end to come it is set aside");
    }

    #[test]
    fn of_very_many_some_start_at_a_time() {
        let many: Vec<(u64, u8)> = (0..8192).map(|ms| (ms, 2)).collect();
        let mut suspects = Suspects::new(&found(&many), NOW);
        let started = (0..8192).filter(|ms| {
            let may = suspects.ask(id(*ms), NOW).is_none();
            may.then(|| suspects.started(id(*ms), NOW)).is_some()
        });
        assert_eq!(started.count(), 64);
    }

    #[test]
    fn after_a_first_end_what_was_there_may_have_been_under_way_until_its_call_ends() {
        let first = FlightsFound { marks: true, any_was: true, ..FlightsFound::default() };
        let mut suspects = Suspects::new(&first, NOW);
        assert_eq!((suspects.started(id(999), NOW), suspects.started(id(1_000), NOW)), (1, 0));
        suspects.ended(id(999));
        assert_eq!(suspects.started(id(999), NOW), 0);
        assert_eq!(suspects.ask(id(999), NOW), None);
    }

    #[test]
    fn what_is_set_aside_does_not_start() {
        let aside = FlightsFound { set_aside: vec![id(1)], ..FlightsFound::default() };
        let mut suspects = Suspects::new(&aside, NOW);
        assert_eq!((suspects.ask(id(1), NOW), suspects.ask(id(2), NOW)), (Some(Suspicion::SetAside), None));
        suspects.calm();
        assert_eq!(suspects.ask(id(1), NOW), Some(Suspicion::SetAside));
    }
}
