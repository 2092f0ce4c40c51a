//! The trial of calls that only refusing policies govern, before they are taken in.
//!
//! Must not know: how limits count, how events arrive.

use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::event::{Event, Lane, LaneKey};
use crate::ingest::intake::{Intake, Verdict, shutting_down};
use crate::policy::Runtime;
use crate::queue::Accept;

/// Whether an event is tried when it is handed in: what is put off is tried when it is due.
pub(super) fn is_tried(runtime: &Runtime, lane: &Lane, due_at: Option<Timestamp>) -> bool {
    due_at.is_none() && runtime.refuses(lane)
}

impl Intake {
    /// Takes the events out of the batch that are over a limit which turns calls away. Returns those that were promised
    /// a start, by their place among the verdicts.
    pub(super) async fn try_limits(
        &self,
        runtime: &Runtime,
        batch: &mut Vec<Accept>,
        places: &mut Vec<usize>,
        verdicts: &mut [Verdict],
    ) -> Vec<(usize, LaneKey)> {
        let tried = |accept: &Accept| is_tried(runtime, &accept.lane, accept.event.due_at);
        let lanes: Vec<Lane> =
            batch.iter().filter(|accept| tried(accept)).map(|accept| accept.lane.clone()).collect();
        if lanes.is_empty() {
            return Vec::new();
        }
        let mut answers = self.admission().promise(lanes).await.unwrap_or_default().into_iter();
        let now = self.clock().now();
        let mut promised = Vec::new();
        let mut kept = places.iter();
        let mut kept_places = Vec::with_capacity(places.len());
        batch.retain(|accept| {
            let Some(place) = kept.next().copied() else { return false };
            let answer = if tried(accept) { answers.next() } else { Some(Ok(false)) };
            let verdict = match answer {
                Some(Ok(is_promised)) => {
                    if is_promised {
                        promised.push((place, accept.lane.key().clone()));
                    }
                    kept_places.push(place);
                    return true;
                }
                Some(Err(over)) => self.refusals().over_limit(&over, runtime, now),
                // Nobody keeps the limits any more.
                None => shutting_down(),
            };
            if let Some(refused) = verdicts.get_mut(place) {
                *refused = Err(Box::new(verdict));
            }
            false
        });
        *places = kept_places;
        promised
    }

    /// The lane of an event whose limits are told with its answer.
    pub(super) fn usage_asked(&self, event: &Event) -> Option<(Arc<Runtime>, Lane)> {
        self.refusals().usage.as_ref()?;
        let runtime = self.policies().runtime();
        let lane = runtime.route(&event.method, &event.url, &event.labels).ok().flatten()?;
        Some((runtime, lane))
    }

    /// The headers that tell how far these limits are used.
    pub(super) async fn usage(&self, (runtime, lane): (Arc<Runtime>, Lane)) -> HeaderMap {
        let Some(tell) = &self.refusals().usage else { return HeaderMap::new() };
        tell(&runtime, &self.admission().used(lane).await)
    }

    /// Gives back what was promised to events that were not added.
    pub(super) fn withdraw(&self, promised: Vec<(usize, LaneKey)>, verdicts: &[Verdict]) {
        let is_new = |verdict: &Verdict| verdict.as_ref().is_ok_and(|receipt| !receipt.duplicate);
        let unused = promised.into_iter().filter(|(place, _)| !verdicts.get(*place).is_some_and(is_new));
        let unused: Vec<LaneKey> = unused.map(|(_, lane)| lane).collect();
        if !unused.is_empty() {
            self.admission().withdraw(unused);
        }
    }
}
