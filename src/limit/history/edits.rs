//! Starts that an edit or a crash made us forget. A limiter remembers what its present windows reach back to. A longer
//! window, one that is brought in, or other label values reach further: to starts that are forgotten, that were made
//! under limiters which are gone, or in an earlier process. New limiters of such a policy, or of such label values of
//! it, are silent until all of that has left their windows: they count as if something had started at the *floor* of
//! the policy or of the label values.
//!
//! For windows whose starts are put on record a *mark* is on record, too, and before them: "from this floor on, starts
//! are on record for windows of this length". The last mark of a policy counts. After a disorderly end the window of a
//! policy that the process before knew and that finds no mark, or one for a shorter length, is silent from the start.
//!
//! Must not know: how limits count.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::event::PolicyId;
use crate::limit::history::record::Consumed;
use crate::limit::meter::SILENT_AT_MOST;

/// What stands before the policy in the name of a mark.
const MARK: &str = "mark ";

/// The floors and marks of all policies. See the head of this file.
#[derive(Debug, Default)]
pub(in crate::limit) struct Edits {
    /// The latest start under limiters that are gone.
    gone: HashMap<PolicyId, Timestamp>,
    floors: HashMap<PolicyId, Timestamp>,
    /// Those of single label values, where they are later.
    key_floors: HashMap<PolicyId, HashMap<Box<str>, Timestamp>>,
    /// Label values that this process took away.
    removed_keys: HashMap<PolicyId, HashSet<Box<str>>>,
    /// Policies that this process took away.
    removed: HashSet<PolicyId>,
    /// The last marks of the earlier process.
    found: HashMap<PolicyId, HistoryMark>,
    marks: HashMap<PolicyId, (HistoryMark, RecordState)>,
}

/// From `floor` on, starts are on record for windows up to `reach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) struct HistoryMark {
    pub(in crate::limit) reach: Duration,
    pub(in crate::limit) floor: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordState {
    Missing,
    Asked,
    OnRecord,
}

impl Edits {
    /// Takes a mark back from the record, in the order of writing; other records are not for this.
    pub(in crate::limit) fn recognise(&mut self, name: &str, consumed: Consumed) -> bool {
        let Some((policy, reach_ms)) = name.strip_prefix(MARK).and_then(|rest| rest.split_once(' ')) else {
            return false;
        };
        if let (Ok(policy), Ok(reach_ms)) = (PolicyId::parse(policy), reach_ms.parse()) {
            let mark = HistoryMark { reach: Duration::from_millis(reach_ms), floor: consumed.at };
            self.found.insert(policy, mark);
        }
        true
    }

    /// A limiter is gone; its latest start was then.
    pub(in crate::limit) fn forgotten(&mut self, policy: &PolicyId, last_start: Timestamp) {
        // Limiters are forgotten in the order in which they are empty, not in that of their last starts.
        let latest = self.gone.entry(policy.clone()).or_default();
        *latest = last_start.max(*latest);
    }

    /// The policy was taken away; when it comes back nobody knows what it allowed.
    pub(in crate::limit) fn removed(&mut self, policy: &PolicyId) {
        self.removed.insert(policy.clone());
    }

    /// Whether it was taken away since the last call.
    pub(in crate::limit) fn came_back(&mut self, policy: &PolicyId) -> bool {
        self.removed.remove(policy)
    }

    /// Label values of the policy were taken away; when they come back nobody knows what they allowed.
    pub(in crate::limit) fn removed_key(&mut self, policy: &PolicyId, key: &str) {
        self.removed_keys.entry(policy.clone()).or_default().insert(key.into());
    }

    /// Whether these label values were taken away since the last call.
    pub(in crate::limit) fn key_came_back(&mut self, policy: &PolicyId, key: &str) -> bool {
        self.removed_keys.get_mut(policy).is_some_and(|keys| keys.remove(key))
    }

    /// Limiters of these label values are silent until what was started by then has left their windows.
    pub(in crate::limit) fn raise_floor(&mut self, policy: &PolicyId, key: &str, floor: Timestamp) {
        self.key_floors.entry(policy.clone()).or_default().insert(key.into(), floor);
    }

    /// Lets go of floors of label values that are of no interest any more.
    pub(in crate::limit) fn forget_floors(&mut self, policy: &PolicyId, reach: Duration, now: Timestamp) {
        if let Some(keys) = self.key_floors.get_mut(policy) {
            keys.retain(|_, floor| *floor + reach > now);
        }
    }

    /// The latest start under limiters that are gone.
    pub(in crate::limit) fn latest_gone(&self, policy: &PolicyId) -> Timestamp {
        self.gone.get(policy).copied().unwrap_or_default()
    }

    /// The line of time has leapt.
    pub(in crate::limit) fn leap(&mut self, leap: &Leap) {
        let of_keys = self.key_floors.values_mut().flat_map(HashMap::values_mut);
        for at in self.gone.values_mut().chain(self.floors.values_mut()).chain(of_keys) {
            *at = leap.moved(*at);
        }
    }

    /// The moment up to which something unknown may have been started under a policy; zero when nothing is unknown.
    pub(in crate::limit) fn floor(&self, policy: &PolicyId) -> Timestamp {
        self.floors.get(policy).copied().unwrap_or_default()
    }

    /// The floor for a limiter that is made.
    pub(in crate::limit) fn floor_of_key(&self, policy: &PolicyId, key: &str) -> Timestamp {
        let of_key = self.key_floors.get(policy).and_then(|keys| keys.get(key)).copied();
        self.floor(policy).max(of_key.unwrap_or_default())
    }

    /// The process before this one, which began at `opened_at`, had a policy with windows of up to `reach`. `orderly`:
    /// it forgot nothing.
    pub(in crate::limit) fn knew(
        &mut self,
        policy: &PolicyId,
        reach: Duration,
        orderly: bool,
        opened_at: Timestamp,
    ) {
        let found = self.found.remove(policy);
        let floor = match found {
            // All starts since its floor are on record, for windows that are at least as long.
            Some(mark) if mark.reach >= reach => mark.floor,
            // An orderly end puts everything on record that still counts. Short windows are silent after a disorderly
            // one anyway, whatever their policy (`HistoryGap::before`).
            _ if orderly || reach <= SILENT_AT_MOST => Timestamp::ZERO,
            // It was killed before its mark was on record: what it started since the policy was brought in is not
            // known.
            _ => opened_at,
        };
        self.rule(policy, reach, floor);
        if let Some((mark, state)) = self.marks.get_mut(policy)
            // Else the mark on record says something else than what applies now, and is replaced before the first
            // start.
            && found == Some(*mark)
        {
            *state = RecordState::OnRecord;
        }
    }

    /// From now on a policy has windows of up to `reach`, and this floor.
    pub(in crate::limit) fn rule(&mut self, policy: &PolicyId, reach: Duration, floor: Timestamp) {
        self.floors.insert(policy.clone(), floor);
        // A later process knows no floors of single label values.
        let of_keys = self.key_floors.get(policy).into_iter().flat_map(HashMap::values).max().copied();
        let mark = HistoryMark { reach, floor: floor.max(of_keys.unwrap_or_default()) };
        if self.marks.get(policy).is_some_and(|(present, _)| *present == mark) {
            return;
        }
        // Short windows need none, but must not leave one behind that is for a longer one.
        if reach > SILENT_AT_MOST || self.marks.contains_key(policy) {
            self.marks.insert(policy.clone(), (mark, RecordState::Missing));
        }
    }

    /// The mark that has to be on record before any start is; it counts as asked for from now on.
    pub(in crate::limit) fn missing(&mut self, policy: &PolicyId) -> Option<(Box<str>, Consumed)> {
        let (mark, state) = self.marks.get_mut(policy).filter(|(_, state)| *state == RecordState::Missing)?;
        // Asked for once: each of the many limiters of a policy comes by here before its first start.
        *state = RecordState::Asked;
        Some(mark.on_record(policy))
    }

    /// Whether starts may be put on record.
    pub(in crate::limit) fn is_marked(&self, policy: &PolicyId) -> bool {
        self.marks.get(policy).is_none_or(|(_, state)| *state == RecordState::OnRecord)
    }

    /// A mark was put on record, or could not be. One that was replaced meanwhile is of no use.
    pub(in crate::limit) fn confirmed(
        &mut self,
        policy: &PolicyId,
        name: &str,
        consumed: Consumed,
        is_recorded: bool,
    ) {
        if let Some((mark, state)) = self.marks.get_mut(policy)
            && mark.on_record(policy) == (name.into(), consumed)
        {
            // After a failed write the next limiter that wants to start asks again.
            *state = if is_recorded { RecordState::OnRecord } else { RecordState::Missing };
        }
    }

    /// The latest floor of any policy.
    pub(in crate::limit) fn latest_floor(&self) -> Timestamp {
        self.floors.values().max().copied().unwrap_or_default()
    }

    /// All marks, for the record of an orderly end.
    pub(in crate::limit) fn on_record(&self) -> impl Iterator<Item = (Box<str>, Consumed)> {
        self.marks.iter().map(|(policy, (mark, _))| mark.on_record(policy))
    }
}

impl HistoryMark {
    /// As it is on record: for good, until another one replaces it.
    fn on_record(self, policy: &PolicyId) -> (Box<str>, Consumed) {
        let Self { reach, floor } = self;
        let name = format!("{MARK}{policy} {}", reach.as_millis()).into();
        (name, Consumed { count: 1, at: floor, over_at: Timestamp::MAX })
    }
}
