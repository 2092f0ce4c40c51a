//! Counts the dead letters of each policy, in the background: the store knows their number alone, and their policies may be
//! long gone.
//!
//! Must not know: how figures are shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock::Clock;
use crate::event::Lane;
use crate::queue::{Parked, Queue, QueueError};
use crate::store::ReadLimit;
use crate::telemetry::{policy_names, series_of};

/// The shortest time between two counts. A first one is made at the start.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How often is looked whether there is something to count.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Counting takes at most this part of the time, however many letters there are.
const SHARE_OF_TIME: u32 = 20;
/// Letters that are read at once; between two reads others get their turn.
const AT_ONCE: ReadLimit = ReadLimit { entries: 512, bytes: 4 << 20 };

/// Letters by the label under which their policies are shown; a letter of several policies counts under each.
pub(super) type LetterCounts = BTreeMap<String, u64>;

/// Counts now and then, when something may have changed.
#[derive(Clone)]
pub(super) struct LetterCensus {
    pub(super) parked: Parked,
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    /// What the last count has found.
    pub(super) counts: Arc<ArcSwap<LetterCounts>>,
}

impl LetterCensus {
    pub(super) fn new(parked: Parked, queue: Queue, clock: Clock) -> Self {
        Self { parked, queue, clock, counts: Arc::default() }
    }

    /// Counts at once and whenever letters came or went, until `cancelled`.
    pub(super) async fn run(self, cancelled: CancellationToken) {
        let _ = cancelled.run_until_cancelled(self.count_for_ever()).await;
    }

    async fn count_for_ever(&self) {
        let mut counted = None;
        loop {
            let now_there = self.letters();
            let mut pause = LOOK_EVERY;
            if counted != Some(now_there) {
                let begun = self.clock.now();
                match self.count().await {
                    Ok(counts) => {
                        self.counts.store(Arc::new(counts));
                        counted = Some(now_there);
                    }
                    // The last count stays; it is tried again.
                    Err(error) => debug!(%error, "dead letters could not be counted by policy"),
                }
                pause = (self.clock.now().since(begun) * SHARE_OF_TIME).max(COUNT_EVERY);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// How many letters there are, and how many have died: whatever changes the one or the other changes a count, but for an
    /// import and a purge of as many. And how many records lack their key: with the key their letters can be counted.
    fn letters(&self) -> (u64, u64, u64) {
        let health = self.queue.store_health();
        let locked = health.keys.iter().filter(|key| !key.present).map(|key| key.records).sum();
        (health.dead_entries, self.queue.completed().dead, locked)
    }

    /// Walks over all letters.
    async fn count(&self) -> Result<LetterCounts, QueueError> {
        let (mut counts, mut after) = (LetterCounts::new(), None);
        loop {
            let page = self.parked.on_record(after, AT_ONCE).await?;
            for placed in &page.letters {
                let mut add = |policy: &str| *counts.entry(series_of(policy).to_owned()).or_default() += 1;
                match Lane::parse(&placed.letter.lane) {
                    Ok(lane) => policy_names(&lane).for_each(&mut add),
                    Err(_) => add("-"),
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(counts),
            }
        }
    }
}
