//! Lanes that go slower than their limits allow, because their endpoint asks for that.

use metrics::counter;
use tracing::debug;

use crate::event::LaneKey;
use crate::telemetry::names;

/// The rate of a lane was halved, because its endpoint answered 429 or 503.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateHalved<'a> {
    /// The lane, for the debug line.
    pub lane: &'a LaneKey,
}

impl RateHalved<'_> {
    /// Adds one to the counter.
    pub(crate) fn emit(&self) {
        counter!(names::RATE_HALVINGS.name).increment(1);
        debug!(lane = %self.lane, "the rate of a lane is halved: its endpoint answers 429 or 503");
    }

    /// Shows the counter before the first one.
    pub(crate) fn show() {
        counter!(names::RATE_HALVINGS.name).increment(0);
    }
}
