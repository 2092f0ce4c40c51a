//! Promises: a call that only refusing limits govern is tried when it is handed in, and what passes is owed a start.
//!
//! Must not know: how limits count, HTTP, what is sent next.

use crate::clock::Timestamp;
use crate::dispatch::planner::policies::ActivePolicies;
use crate::dispatch::planner::roster::{Roster, Spot};
use crate::event::{Lane, LaneKey};
use crate::limit::OverLimit;
use crate::telemetry::defect;

/// Tries a call of this lane, which is promised a start where no waiting limit governs it. Returns whether something
/// was promised.
pub(super) fn promise(
    lane: &Lane,
    policies: &ActivePolicies,
    roster: &mut Roster,
    now: Timestamp,
) -> Result<bool, OverLimit> {
    if !policies.refuses(lane) {
        return Ok(false);
    }
    // The lane keeps the promise until its entry comes; it may be the first of the lane.
    let id = policies.find_or_add(lane, roster, now);
    let Some(Spot { lane, gate, .. }) = roster.spot(id) else { return Ok(false) };
    match gate.promise(&lane.binding, now) {
        Ok(()) => {
            lane.promises += 1;
            Ok(true)
        }
        Err((blocker, free_at)) => {
            let policy = gate.whose(blocker.limiter).map(|(policy, _)| policy.clone());
            // It may have been made for this call alone.
            roster.forget_if_idle(id, now);
            match policy {
                Some(policy) => Err(OverLimit { policy, kind: blocker.kind, free_at }),
                // The limiter is bound by the lane, so it is there.
                None => {
                    defect!("a limiter that refuses and belongs to no policy");
                    Ok(false)
                }
            }
        }
    }
}

/// This many calls of a lane that were promised a start were not taken in after all.
pub(super) fn withdraw(lane: &LaneKey, count: usize, roster: &mut Roster, now: Timestamp) {
    if let Some(id) = roster.lanes().find(lane) {
        roster.redeem(id, count);
        roster.forget_if_idle(id, now);
    }
}
