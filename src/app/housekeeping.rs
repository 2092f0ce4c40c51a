//! What has to be done now and then: gauges, forecasts, histogram upkeep, the end of drain windows and of connections.
//!
//! Must not know: HTTP.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::clock_watch::ClockWatch;
use crate::app::drain_ends::DrainEnds;
use crate::app::in_doubt;
use crate::app::known::KnownPolicies;
use crate::app::letter_census::LetterCensus;
use crate::app::live::Live;
use crate::app::snapshot::{self, HousekeepingView};
use crate::app::spent::SpentLimits;
use crate::app::worked::WorkCounter;
use crate::clock::{Clock, Timestamp};
use crate::dispatch::{DispatchHandle, Hold, HoldReason, PlannerFigures};
use crate::event::{Lane, LaneKey, PolicyId};
use crate::limit::{LimiterFigures, Outlooks};
use crate::ops::Pulse;
use crate::policy::Policies;
use crate::queue::{Completed, LaneCounts, Queue};
use crate::telemetry::{Gauges, MetricsHandle, TokensMissing};

/// How often the figures are taken. Folding the histograms rides along.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Taking them uses at most this part of the time, however many lanes and limiters there are.
const SHARE_OF_TIME: u32 = 20;
/// The shortest time between two looks, also when a drain window ends meanwhile.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two looks, whatever they take.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long it may be until the drain windows are looked at again.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// Takes the figures about once per second, and does what has to be done now and then.
pub(super) struct Housekeeper {
    pub(super) queue: Queue,
    pub(super) policies: Policies,
    pub(super) dispatch: DispatchHandle,
    pub(super) metrics: MetricsHandle,
    pub(super) clock: Clock,
    /// What forecasts are made from, replaced as a whole at each look.
    pub(super) outlooks: Arc<ArcSwap<Outlooks>>,
    /// The counts of the last looks, from which rates are made.
    pub(super) pulse: Pulse,
    /// Counts the dead letters of each policy, beside this.
    pub(super) letters: LetterCensus,
    /// Keeps the doubt about lost usages up to date.
    pub(super) spent: SpentLimits,
    /// What applies to endpoints at present.
    pub(super) live: Live,
}

impl Housekeeper {
    /// Looks until `cancelled`; a look that has begun is finished.
    pub(super) async fn run(mut self, cancelled: CancellationToken) {
        let mut gauges = Gauges::default();
        let mut worked = WorkCounter::default();
        let mut known = KnownPolicies::default();
        let mut watch = ClockWatch::default();
        let mut expired_at = Timestamp::ZERO;
        let mut ends = DrainEnds::default();
        let mut pause = Duration::ZERO;
        let mut beside = JoinSet::new();
        beside.spawn(self.letters.clone().run(cancelled.clone()));
        while cancelled.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            watch.look(&self.clock, &self.dispatch, &self.policies, &self.queue).await;
            let begun = self.clock.now();
            let (figures, limiters) = (self.dispatch.figures().await, self.dispatch.limiters().await);
            // `None` once the dispatcher has stopped: the process is ending.
            if let (Some(figures), Some(limiters)) = (figures, limiters) {
                let lanes = self.queue.counts();
                in_doubt::report(&self.queue.doubts(), &figures, &lanes, begun);
                self.spent.look(figures.spent_until, figures.now);
                self.beat(begun);
                let letters = self.letters.counts.load();
                let seen = HousekeepingView {
                    figures: &figures,
                    limiters: &limiters,
                    lanes: &lanes,
                    letters: &letters,
                };
                gauges.set(&snapshot::take(&mut known, &self.queue, &self.policies, &self.clock, &seen));
                worked.count(&self.policies.runtime(), &figures);
                self.outlooks.store(Arc::new(self.outlooks(&figures, limiters, &lanes)));
            }
            self.live.renew_connections().await;
            TokensMissing { endpoints: self.live.without_token(begun) }.emit();
            self.metrics.upkeep();
            let is_over = self.drain_end(&mut ends).is_some_and(|end| end <= begun);
            if is_over || begun.since(expired_at) >= EXPIRE_EVERY {
                expired_at = begun;
                self.expire(begun).await;
            }
            // The line of time may have leapt, over a suspension, in between.
            pause = (self.clock.now().since(begun) * SHARE_OF_TIME).clamp(LOOK_EVERY, LONGEST_PAUSE);
            // A generation that has drained is gone from answers when its time is over, not a look later.
            if let Some(end) = self.drain_end(&mut ends).filter(|end| *end > begun) {
                pause = pause.min(end.since(self.clock.now()).max(SHORTEST_PAUSE));
            }
        }
    }

    /// Ends the drain windows that are over, and forgets what is needed no more.
    async fn expire(&self, now: Timestamp) {
        // Taken only when the book keeps generations of policies that are gone: it costs a look at every lane.
        let waiting = self.policies.book().has_ended().then(|| self.waiting());
        // While the clock is in doubt no drain window ends.
        let certain = if self.clock.is_trusted() { now } else { Timestamp::ZERO };
        if let Err(error) = self.policies.expire(certain, waiting.as_ref()).await {
            warn!(%error, "drained policies stay on record for now");
        }
    }

    /// When the next drain window ends; `None` while none does, because nothing drains or the clock is in doubt.
    fn drain_end(&self, ends: &mut DrainEnds) -> Option<Timestamp> {
        ends.next(self.policies.book()).filter(|_| self.clock.is_trusted())
    }

    fn beat(&self, now: Timestamp) {
        // Of one moment: what comes in is what is here more, and what has ended.
        let ledger = self.queue.ledger();
        let Completed { delivered, dead, expired, dropped, lost } = Completed::of(&ledger);
        let here = ledger.owed();
        self.pulse.beat(now, delivered, delivered + dead + expired + dropped + lost, here);
    }

    /// The policies under which something waits or is on its way into the queue.
    fn waiting(&self) -> BTreeSet<PolicyId> {
        let lanes = self.queue.counts();
        let lanes = lanes.iter().filter_map(|counts| Lane::parse(&counts.lane).ok());
        lanes
            .flat_map(|lane| lane.policies().iter().map(|part| part.policy.clone()).collect::<Vec<_>>())
            .collect()
    }

    fn outlooks(
        &self,
        figures: &PlannerFigures,
        limiters: Vec<LimiterFigures>,
        lanes: &[LaneCounts],
    ) -> Outlooks {
        let runtime = self.policies.runtime();
        let mut outlooks = Outlooks::default();
        for limiter in limiters {
            outlooks.add_limiter(&limiter.policy, &limiter.key, limiter.outlook);
        }
        // Pauses are read from the policies, where they end at once; a clock in doubt holds back single events; a wait
        // for a share ends whenever a call does. A stop that holds back some events of a lane leaves the others to go.
        let is_elsewhere = |hold: &Hold| {
            hold.is_partial
                || matches!(hold.reason, HoldReason::Paused | HoldReason::Clock | HoldReason::Share)
        };
        let held = figures.held.iter().filter(|(_, hold)| !is_elsewhere(hold));
        let mut stalled: HashSet<&LaneKey> = figures.cautious.iter().collect();
        for (lane, hold) in held {
            if hold.reason == HoldReason::Stopped {
                outlooks.add_stop(lane.key().clone(), hold.until);
            } else {
                outlooks.add_hold(lane.key().clone(), hold.until);
            }
            stalled.insert(lane.key());
        }
        for counts in lanes.iter().filter(|counts| !stalled.contains(&counts.lane)) {
            if let Ok(lane) = Lane::parse(&counts.lane) {
                outlooks.add_lane(&lane, counts.ready + counts.inflight, &runtime);
            }
        }
        outlooks
    }
}
