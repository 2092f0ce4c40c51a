//! Looks after the wall clock: its steps are logged, and a doubt about it ends when it is proven or confirmed.
//!
//! Must not know: what depends on time.

use tracing::{info, warn};

use crate::clock::{Anomaly, Clock, WallClockWatch};
use crate::dispatch::DispatchHandle;
use crate::policy::Policies;
use crate::queue::Queue;
use crate::store::doubts::{DoubtKind, WALL_CLOCK};
use crate::telemetry::ClockAnomaly;

/// Compares the clocks at every look.
#[derive(Default)]
pub(super) struct ClockWatch(WallClockWatch);

impl ClockWatch {
    /// To be called about once per second.
    pub(super) async fn look(
        &mut self,
        clock: &Clock,
        dispatch: &DispatchHandle,
        policies: &Policies,
        queue: &Queue,
    ) {
        for anomaly in self.0.look(clock.read()) {
            tell(anomaly);
        }
        let is_confirmed = clock.is_confirmed();
        // While the book is in doubt it cannot be written, and the leap has to be in it before it counts.
        if clock.is_trusted() || policies.held().is_some() || !(is_confirmed || self.0.is_proven()) {
            return;
        }
        let Some(expected) = clock.expected_leap() else { return };
        // Before the leap: no drain and no pause may end by it. When that fails the doubt goes on.
        if let Err(error) = policies.leap(&expected).await {
            warn!(%error, "the wall clock stays in doubt: the policy book was not written");
            return;
        }
        let Some(leap) = dispatch.trust().await else { return };
        queue.doubts().clear(DoubtKind::Clock, WALL_CLOCK);
        let (by_s, ahead_s) = (leap.by.as_secs(), leap.ahead.as_secs());
        info!(is_confirmed, by_s, "the wall clock is trusted again; what is over ends now");
        if ahead_s > 0 {
            warn!(ahead_s, "dates are ahead of the wall clock until the next start");
        }
    }
}

fn tell(anomaly: Anomaly) {
    let (kind, by) = match anomaly {
        Anomaly::Forward(by) => ("forward", by),
        Anomaly::Backward(by) => ("backward", by),
        Anomaly::Suspend(by) => ("suspend", by),
    };
    ClockAnomaly { kind, count: 1 }.emit();
    let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    match anomaly {
        Anomaly::Suspend(_) => info!(by_ms, "the machine was suspended; that time counts"),
        _ => warn!(kind, by_ms, "the wall clock was set; ages and due times do not follow it"),
    }
}
