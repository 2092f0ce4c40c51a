//! Watching the wall clock of a running process: steps, suspensions, and whether it is proven right.
//!
//! Must not know: where readings come from, what follows.

use std::time::Duration;

use super::source::ClockReading;

/// A difference between two clocks beyond this is a step.
const STEP_NS: i128 = 1_000_000_000;
/// A synchronised clock that ran this long without a step is right.
const PROOF: Duration = Duration::from_secs(60);

/// Something unusual that the clocks did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anomaly {
    /// The wall clock was set forward by this much.
    Forward(Duration),
    /// The wall clock was set back by this much.
    Backward(Duration),
    /// The machine was suspended for this long.
    Suspend(Duration),
}

/// Compares one reading with the one before.
#[derive(Debug, Default)]
pub(crate) struct WallClockWatch {
    last: Option<ClockReading>,
    /// The boot clock when the wall clock was first seen synchronised after its last step.
    steady_since_ns: Option<u64>,
}

impl WallClockWatch {
    /// Takes a reading in; returns what has happened since the one before.
    pub(crate) fn look(&mut self, now: ClockReading) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        if let Some(last) = &self.last {
            // Signed and wide: clocks may go either way, by any amount.
            let booted = i128::from(now.boot_ns) - i128::from(last.boot_ns);
            let awake = i128::from(now.awake_ns) - i128::from(last.awake_ns);
            let wall = i128::from(now.wall.as_nanos()) - i128::from(last.wall.as_nanos());
            if booted - awake > STEP_NS {
                anomalies.push(Anomaly::Suspend(length(booted - awake)));
            }
            // Against the boot clock, which counts suspended time as the wall clock does.
            if wall - booted > STEP_NS {
                anomalies.push(Anomaly::Forward(length(wall - booted)));
            } else if booted - wall > STEP_NS {
                anomalies.push(Anomaly::Backward(length(booted - wall)));
            }
        }
        let is_stepped = anomalies.iter().any(|anomaly| !matches!(anomaly, Anomaly::Suspend(_)));
        // A suspension proves nothing against a clock; a step begins the proof anew.
        let since_ns = self.steady_since_ns.filter(|_| !is_stepped).unwrap_or(now.boot_ns);
        self.steady_since_ns = now.is_synchronised.then_some(since_ns);
        self.last = Some(now);
        anomalies
    }

    /// Whether the wall clock is synchronised and has run for 60 s since without a step.
    #[must_use]
    pub(crate) fn is_proven(&self) -> bool {
        let Some((last, since_ns)) = self.last.as_ref().zip(self.steady_since_ns) else { return false };
        Duration::from_nanos(last.boot_ns.saturating_sub(since_ns)) >= PROOF
    }
}

fn length(ns: i128) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}
