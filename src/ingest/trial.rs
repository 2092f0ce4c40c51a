//! The trial of calls that only refusing policies govern, before they are taken in.
//!
//! Must not know: how limits count, how events arrive.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::HeaderMap;
use tracing::warn;

use crate::clock::Timestamp;
use crate::event::Lane;
use crate::ingest::decode::Decoded;
use crate::ingest::intake::{Intake, IntakeAnswer};
use crate::ingest::problems::shutting_down;
use crate::limit::Promise;
use crate::policy::Runtime;
use crate::queue::NewEvent;
use crate::store::Dedup;
use crate::telemetry::defect;

/// Whether an event is tried when it is handed in: what is put off is tried when it is due.
pub(super) fn is_tried(runtime: &Runtime, lane: &Lane, due_at: Option<Timestamp>) -> bool {
    due_at.is_none() && runtime.refuses(lane)
}

/// How one event of a batch is tried.
#[derive(Clone, Copy)]
enum Trial {
    /// Not at all: it is put off, no refusing policy governs it, or it repeats what is on record.
    Spared,
    /// By the answer with this index.
    Asked(usize),
    /// It has the key of an event before it and shares its fate, by the answer with this index.
    Repeats(usize),
}

/// How each event of the batch is tried, and the lanes to be asked for.
fn trials(batch: &[NewEvent], runtime: &Runtime, known: HashSet<[u8; 16]>) -> (Vec<Trial>, Vec<Lane>) {
    let mut by_key: HashMap<[u8; 16], Trial> = known.into_iter().map(|key| (key, Trial::Spared)).collect();
    let mut lanes = Vec::new();
    let trial = |accept: &NewEvent| {
        let key = accept.dedup.map(|dedup| dedup.key);
        let trial = if !is_tried(runtime, &accept.lane, accept.event.due_at) {
            Trial::Spared
        } else if let Some(same) = key.and_then(|key| by_key.get(&key)) {
            // Of all events with one key only one becomes a call, and it is tried once.
            return *same;
        } else {
            lanes.push(accept.lane.clone());
            Trial::Asked(lanes.len() - 1)
        };
        if let Some(key) = key {
            by_key.insert(key, trial.of_repetition());
        }
        trial
    };
    let trials = batch.iter().map(trial).collect();
    (trials, lanes)
}

impl Trial {
    /// How an event is tried that has the key of this one.
    const fn of_repetition(self) -> Self {
        match self {
            Self::Spared => Self::Spared,
            Self::Asked(nth) | Self::Repeats(nth) => Self::Repeats(nth),
        }
    }
}

impl Intake {
    /// Takes the events out of the batch that are over a limit which turns calls away. Returns what the others were
    /// promised, by their place among the verdicts.
    pub(super) async fn try_limits(
        &self,
        runtime: &Runtime,
        batch: &mut Vec<NewEvent>,
        places: &mut Vec<usize>,
        verdicts: &mut [IntakeAnswer],
    ) -> Vec<(usize, Promise)> {
        let tried = |accept: &&NewEvent| is_tried(runtime, &accept.lane, accept.event.due_at);
        if !batch.iter().any(|accept| tried(&accept)) {
            return Vec::new();
        }
        // Of the others nothing depends on it, and each look-up may cost a read.
        let keys = batch.iter().filter(tried).filter_map(|accept| accept.dedup);
        let known = self.on_record(keys.collect()).await;
        let (trials, lanes) = trials(batch, runtime, known);
        let asked = lanes.len();
        let answers = if asked == 0 { None } else { self.admission().promise(lanes).await };
        defect!(
            unless answers.as_ref().is_none_or(|answers| answers.len() == asked),
            "another number of calls was tried than was asked for"
        );
        let mut answers = answers.unwrap_or_default();
        let now = self.clock().now();
        let mut promised = Vec::new();
        let mut kept = places.iter().zip(trials);
        let mut kept_places = Vec::with_capacity(places.len());
        batch.retain(|accept| {
            let Some((place, trial)) = kept.next() else {
                defect!("an event of a batch that has no place among the answers");
                return false;
            };
            let refusal = match trial {
                Trial::Spared => None,
                Trial::Asked(nth) | Trial::Repeats(nth) => match answers.get_mut(nth) {
                    Some(Ok(promise)) => {
                        // A repetition adds no call: the promise belongs to the first event with its key.
                        if matches!(trial, Trial::Asked(_)) {
                            promised.extend(promise.take().map(|promise| (*place, promise)));
                        }
                        None
                    }
                    Some(Err(over)) => Some(self.refusals().over_limit(over, &accept.lane, runtime, now)),
                    // The dispatcher, which keeps the limits, has stopped.
                    None => Some(shutting_down()),
                },
            };
            let Some(refusal) = refusal else {
                kept_places.push(*place);
                return true;
            };
            if let Some(refused) = verdicts.get_mut(*place) {
                *refused = Err(Box::new(refusal));
            }
            false
        });
        *places = kept_places;
        promised
    }

    /// Those of these keys under which something was handed in before: what repeats it adds no call.
    async fn on_record(&self, keys: Vec<Dedup>) -> HashSet<[u8; 16]> {
        if keys.is_empty() {
            return HashSet::new();
        }
        let found = self.queue().find_keys(keys.clone()).await.unwrap_or_else(|error| {
            warn!(%error, "idempotency keys could not be looked up; repeated calls are tried like new ones");
            Vec::new()
        });
        keys.iter().zip(found).filter(|(_, found)| found.is_some()).map(|(key, _)| key.key).collect()
    }

    /// The lane of an event whose use of limits is shown with its answer.
    pub(super) fn usage_asked(&self, decoded: &Decoded) -> Option<(Arc<Runtime>, Lane)> {
        self.refusals().usage.as_ref()?;
        let runtime = self.policies().runtime();
        let lane = self.lane(&runtime, decoded)?;
        Some((runtime, lane))
    }

    /// The headers that show how far these limits are used.
    pub(super) async fn usage(&self, (runtime, lane): (Arc<Runtime>, Lane)) -> HeaderMap {
        let Some(tell) = &self.refusals().usage else { return HeaderMap::new() };
        tell(&runtime, &self.admission().used(lane).await)
    }
}

/// Lets the events that were added keep what was promised to them; the rest is given back.
pub(super) fn keep(promised: Vec<(usize, Promise)>, verdicts: &[IntakeAnswer]) {
    let is_new = |verdict: &IntakeAnswer| verdict.as_ref().is_ok_and(|receipt| !receipt.duplicate);
    let added = promised.into_iter().filter(|(place, _)| verdicts.get(*place).is_some_and(is_new));
    added.for_each(|(_, promise)| promise.keep());
}
