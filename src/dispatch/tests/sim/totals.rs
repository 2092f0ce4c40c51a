//! What all seeds together have been through: whether they reach what they are meant to reach.

use std::collections::BTreeMap;

use crate::dispatch::tests::sim::world::World;
use crate::event::Settlement;

#[derive(Debug, Default)]
pub(super) struct Totals {
    accepted: usize,
    started: usize,
    stale: u64,
    crashes: u32,
    waits: usize,
    shared_out: usize,
    ends: BTreeMap<&'static str, usize>,
}

impl Totals {
    pub(super) fn add(&mut self, world: &World) {
        self.accepted += world.queue.accepted();
        self.started += world.checker.started;
        self.stale += world.stale_permits();
        self.crashes += world.crashes();
        self.waits += world.checker.waits;
        self.shared_out += world.shares.waits;
        for end in world.queue.ends.values() {
            *self.ends.entry(end.outcome_label().unwrap_or("none")).or_default() += 1;
        }
    }

    pub(super) fn every_kind_happened(&self) -> bool {
        let ends = [Settlement::Delivered, Settlement::Expired, Settlement::Drained];
        let label = |end: &Settlement| end.outcome_label().unwrap_or("none");
        self.started > self.ends.values().sum::<usize>() / 2
            && self.stale > 0
            && self.crashes > 0
            && self.waits > 0
            && self.shared_out > 0
            && ends.iter().all(|end| self.ends.contains_key(label(end)))
            && self.ends.contains_key("dead")
    }
}
