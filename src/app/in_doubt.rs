//! Lanes that are held because the policy book does not know a generation that governs them: each is an open doubt as
//! long as something waits in it. While the store is held as a whole, the doubt that holds it concerns all that waits.
//!
//! Must not know: how generations become known.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::dispatch::{HoldReason, PlannerFigures};
use crate::event::LaneKey;
use crate::queue::LaneCounts;
use crate::store::Doubts;
use crate::store::doubts::{DoubtKind, NewDoubt};

/// Lanes with a doubt of their own; further ones share one.
const MAX_LANES: usize = 128;
/// The subject of the doubt about further lanes; no key of a lane has a space.
pub(super) const FURTHER: &str = "further lanes";
/// What can be done about further lanes.
pub(super) const FURTHER_WAY_OUT: &str = "stop tidegate and restore the documents/policies.json that knows the generations, or give up \
                                          the lanes that have a doubt of their own: the next ones then get one";

/// Brings the open doubts in line with the lanes that are held.
pub(super) fn report(doubts: &Doubts, figures: &PlannerFigures, counts: &[LaneCounts], now: Timestamp) {
    if doubts.store_held().is_some() {
        // The book itself is in doubt: what it knows says nothing.
        doubts.count_held(counts.iter().map(LaneCounts::owed).sum());
        return;
    }
    let is_unknown = |reason| reason == HoldReason::Generation;
    let held: BTreeSet<&LaneKey> =
        figures.held.iter().filter(|(_, hold)| is_unknown(hold.reason)).map(|(lane, _)| lane.key()).collect();
    let open: Vec<String> = subjects(doubts);
    if held.is_empty() && open.is_empty() {
        return;
    }
    let waiting = counts.iter().filter(|counts| held.contains(&counts.lane));
    let waiting = waiting.map(|counts| (&counts.lane, counts.owed()));
    let waiting: BTreeMap<&LaneKey, u64> = waiting.filter(|(_, events)| *events > 0).collect();
    let mut raised = BTreeSet::new();
    // In the order of their keys, so that a lane keeps its doubt from look to look.
    for (lane, events) in waiting.iter().take(MAX_LANES) {
        doubts.raise(doubt(lane.as_str(), *events), now);
        raised.insert(lane.as_str());
    }
    let further: u64 = waiting.values().skip(MAX_LANES).sum();
    if further > 0 {
        doubts.raise(NewDoubt { way_out: FURTHER_WAY_OUT.to_owned(), ..doubt(FURTHER, further) }, now);
        raised.insert(FURTHER);
    }
    for subject in open.iter().filter(|subject| !raised.contains(subject.as_str())) {
        doubts.clear(DoubtKind::Generation, subject);
    }
}

fn subjects(doubts: &Doubts) -> Vec<String> {
    let of_generations = |kind| kind == DoubtKind::Generation;
    let open = doubts.list().into_iter().filter(|doubt| of_generations(doubt.kind));
    open.map(|doubt| doubt.subject).collect()
}

fn doubt(subject: &str, events: u64) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Generation,
        subject: subject.to_owned(),
        detail: "the policy book does not know a generation that governs these events: they are held".to_owned(),
        way_out: "stop tidegate and restore the documents/policies.json that knows it, or give the events up; they \
                  expire when their time is over"
            .to_owned(),
        events,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Hold;
    use crate::event::Lane;

    fn lane(n: usize) -> Lane {
        Lane::parse(&LaneKey::new(&format!("p{n:03}@1")).expect("short")).expect("a lane")
    }

    fn held(lanes: std::ops::Range<usize>, reason: HoldReason) -> PlannerFigures {
        let hold = Hold { reason, until: None, busy: None, is_partial: false };
        PlannerFigures { held: lanes.map(|n| (lane(n), hold)).collect(), ..PlannerFigures::default() }
    }

    fn counts(lanes: std::ops::Range<usize>, ready: u64) -> Vec<LaneCounts> {
        let count = |n| LaneCounts {
            lane: lane(n).key().clone(),
            ready,
            delayed: 1,
            inflight: 1,
            oldest: None,
            next_due: None,
            bytes: 0,
        };
        lanes.map(count).collect()
    }

    fn open(doubts: &Doubts) -> Vec<(String, u64)> {
        doubts.list().into_iter().map(|doubt| (doubt.subject, doubt.events)).collect()
    }

    #[test]
    fn each_lane_of_an_unknown_generation_is_a_doubt_until_it_is_known_or_empty() {
        let (doubts, now) = (Doubts::default(), Timestamp::ZERO);
        report(&doubts, &held(0..2, HoldReason::Paused), &counts(0..2, 3), now);
        assert_eq!(open(&doubts), [], "the control: a pause is no doubt");
        report(&doubts, &held(0..2, HoldReason::Generation), &counts(0..3, 3), now);
        assert_eq!(open(&doubts), [("p000@1".to_owned(), 5), ("p001@1".to_owned(), 5)]);
        report(&doubts, &held(0..2, HoldReason::Generation), &counts(1..3, 2), now);
        assert_eq!(open(&doubts), [("p001@1".to_owned(), 4)], "the other is empty");
        report(&doubts, &PlannerFigures::default(), &counts(0..3, 3), now);
        assert_eq!(open(&doubts), [], "they are known");
    }

    #[test]
    fn a_book_in_doubt_concerns_all_that_waits_and_says_nothing_about_generations() {
        let (doubts, now) = (Doubts::default(), Timestamp::ZERO);
        let book = NewDoubt { kind: DoubtKind::Book, ..doubt("the book", 0) };
        doubts.raise(NewDoubt { kind: DoubtKind::Usages, ..doubt("the usages", 0) }, now);
        let id = doubts.raise(book, now);
        doubts.acknowledge(id).expect("open");
        report(&doubts, &held(0..2, HoldReason::Generation), &counts(0..3, 3), now);
        let expected = [("the usages".to_owned(), 0), ("the book".to_owned(), 15)];
        assert_eq!(open(&doubts), expected, "the usages hold nothing");
        assert!(doubts.get(id).is_some_and(|doubt| doubt.acknowledged), "what it holds is nothing new");
    }

    #[test]
    fn very_many_lanes_share_a_doubt() {
        let (doubts, now) = (Doubts::default(), Timestamp::ZERO);
        report(&doubts, &held(0..200, HoldReason::Generation), &counts(0..200, 8), now);
        assert_eq!(doubts.list().len(), MAX_LANES + 1);
        let further = doubts.find(DoubtKind::Generation, FURTHER).expect("open");
        assert_eq!(further.events, 72 * 10);
    }
}
