//! How many lanes are for one host alone. Beyond a bound further hosts share lanes, so that calls to very many hosts
//! cost a bounded number of lanes.
//!
//! Must not know: what lanes hold, which limits they have.

use std::collections::HashMap;

use crate::event::LaneKey;
use crate::telemetry::defect;

/// Hosts with a lane of their own under one set of limits: producers choose the hosts, and each lane costs memory,
/// reads and turns.
const MOST_OF_ONE: usize = 4096;
/// The same of all sets of limits together.
const MOST: usize = 16_384;

/// Counts the lanes that are for one host alone.
#[derive(Default)]
pub(super) struct HostCounts {
    /// By their keys without the host.
    by_limits: HashMap<Box<str>, usize>,
    all: usize,
}

impl HostCounts {
    /// Whether one more lane of this kind may be made.
    pub(super) fn have_room_for(&self, lane: &LaneKey) -> bool {
        let of_these_limits = self.by_limits.get(lane.without_host()).copied().unwrap_or(0);
        of_these_limits < MOST_OF_ONE && self.all < MOST
    }

    /// A lane was made; counts it if it is for one host alone.
    pub(super) fn add(&mut self, lane: &LaneKey) {
        if lane.host().is_some() {
            *self.by_limits.entry(lane.without_host().into()).or_default() += 1;
            self.all += 1;
        }
    }

    /// A lane that was made is gone.
    pub(super) fn remove(&mut self, lane: &LaneKey) {
        if lane.host().is_none() {
            return;
        }
        let Some(lanes) = self.by_limits.get_mut(lane.without_host()) else {
            defect!("a lane of one host that was never counted");
            return;
        };
        let of_these_limits = *lanes;
        defect!(unless of_these_limits <= self.all, "more lanes under one set of limits than in all");
        *lanes -= 1;
        self.all -= 1;
        if *lanes == 0 {
            // Else label values that came once would stay here for good.
            self.by_limits.remove(lane.without_host());
        }
    }
}
